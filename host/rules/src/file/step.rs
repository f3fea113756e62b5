//! The shape of a `[[step]]`.

use super::{Changed, Dedup, Either, Rate};
use serde::Deserialize;
use serde_spanned::Spanned;
use std::collections::BTreeMap;
use std::ops::Range;

/// What a failed step does.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnError {
    /// The chain ends; the message goes on as it was.
    Stop,
    /// The step is skipped.
    Continue,
    /// The message is refused and its publisher told (transform chains only).
    Refuse,
    /// The chain ends; the message, as it came into it, is published as a dead letter.
    DeadLetter,
}

/// One `[[step]]`: exactly one of the words of `crate::step::WORDS`, and keys that belong to it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    pub(crate) filter: Option<Spanned<String>>,
    pub(crate) set: Option<BTreeMap<Spanned<String>, Spanned<String>>>,
    /// Paths that are taken out.
    pub(crate) delete: Option<Spanned<Vec<Spanned<String>>>>,
    /// CEL: on to the named chain `then`.
    pub(crate) when: Option<Spanned<String>>,
    pub(crate) then: Option<Spanned<String>>,
    /// CEL that gives a list: a message for each element, known as `as` (`item`).
    pub(crate) foreach: Option<Spanned<String>>,
    #[serde(rename = "as")]
    pub(crate) name: Option<Spanned<String>>,
    pub(crate) plugin: Option<Spanned<String>>,
    pub(crate) publish: Option<Spanned<String>>,
    /// Name of a plugin with a sink.
    pub(crate) sink: Option<Spanned<String>>,
    pub(crate) dedup: Option<Dedup>,
    pub(crate) rate: Option<Rate>,
    pub(crate) changed: Option<Changed>,
    /// CEL: the payload of a `publish`.
    pub(crate) payload: Option<Spanned<String>>,
    pub(crate) qos: Option<Spanned<Either<u8>>>,
    pub(crate) retain: Option<Spanned<Either<bool>>>,
    /// Seconds.
    pub(crate) expiry: Option<Spanned<Either<u32>>>,
    pub(crate) content_type: Option<Spanned<String>>,
    pub(crate) response_topic: Option<Spanned<String>>,
    /// User properties, each CEL.
    pub(crate) user: Option<Spanned<BTreeMap<Spanned<String>, Spanned<String>>>>,
    pub(crate) on_error: Option<Spanned<OnError>>,
}

impl Step {
    /// Keys that are given beside the word, except `on_error`, which every step may have.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&'static str, Range<usize>)> {
        let keys = [
            ("delete", self.delete.as_ref().map(Spanned::span)),
            ("then", self.then.as_ref().map(Spanned::span)),
            ("as", self.name.as_ref().map(Spanned::span)),
            ("payload", self.payload.as_ref().map(Spanned::span)),
            ("qos", self.qos.as_ref().map(Spanned::span)),
            ("retain", self.retain.as_ref().map(Spanned::span)),
            ("expiry", self.expiry.as_ref().map(Spanned::span)),
            (
                "content_type",
                self.content_type.as_ref().map(Spanned::span),
            ),
            (
                "response_topic",
                self.response_topic.as_ref().map(Spanned::span),
            ),
            ("user", self.user.as_ref().map(Spanned::span)),
        ];
        keys.into_iter()
            .filter_map(|(key, span)| Some((key, span?)))
    }
}
