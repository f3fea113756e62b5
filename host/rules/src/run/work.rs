//! A message on its way, and expressions over it.

use crate::breaker::Fared;
use crate::chain::{Chain, Count};
use crate::expression::{Expression, Parts, Scope, Value};
use crate::file::Mode;
use crate::payload::{Doc, Format, Prepared};
use bytes::Bytes;
use std::sync::Arc;
use witmq_broker::ports::Publisher;
use witmq_proto::Message;

/// What a message that is held counts beside its topic and payload, and each named value or user property.
const MESSAGE_BYTES: usize = 256;
const BOUND_BYTES: usize = 64;

/// A message on its way, with its payload read at most once, and written at most once.
pub(crate) struct Work {
    /// Its payload is old if `is_changed`, or if there is a fresh one.
    message: Arc<Message>,
    /// What was written of `doc` and is not in the message yet.
    fresh: Option<Bytes>,
    /// Of the payload, fresh or in `message`.
    format: Format,
    /// None: it was not read. Some(None): it is text or bytes.
    doc: Option<Option<Doc>>,
    /// `doc` is newer than the payload.
    is_changed: bool,
    /// How the chain writes.
    encode: Format,
    /// What steps before have named, by slot.
    bound: Vec<(u8, Value<'static>)>,
    /// How often it went on to a named chain.
    pub(super) jumps: usize,
    /// It was held by a window: its publisher may be gone.
    pub(super) is_late: bool,
}

/// Whether a change of a payload cannot fail once it is JSON.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Sure {
    #[default]
    No,
    /// If it is an object.
    InObject,
    Yes,
}

/// A message that a window holds, with what was named for it.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    message: Arc<Message>,
    format: Format,
    encode: Format,
    bound: Vec<(u8, Value<'static>)>,
}

impl Held {
    /// On its way again.
    pub(crate) fn into_work(self) -> Work {
        Work {
            message: self.message,
            fresh: None,
            format: self.format.clone(),
            doc: None,
            is_changed: false,
            encode: self.encode,
            bound: self.bound,
            jumps: 0,
            is_late: true,
        }
    }
}

impl Work {
    pub(crate) fn new(message: Arc<Message>, chain: &Chain) -> Self {
        Self {
            message,
            fresh: None,
            format: chain.decode.clone(),
            doc: None,
            is_changed: false,
            encode: chain.encode.clone(),
            bound: Vec::new(),
            jumps: 0,
            is_late: false,
        }
    }

    /// One of the messages that this one becomes.
    pub(crate) fn part(&self, message: Arc<Message>) -> Self {
        Self {
            message,
            fresh: None,
            format: self.format.clone(),
            doc: None,
            is_changed: false,
            encode: self.encode.clone(),
            bound: self.bound.clone(),
            jumps: self.jumps,
            is_late: self.is_late,
        }
    }

    /// For a window to hold, and its bytes. Its payload is that of `message`.
    pub(crate) fn hold(&self) -> (Held, usize) {
        let held = Held {
            message: self.message.clone(),
            bound: self.bound.clone(),
            format: self.format.clone(),
            encode: self.encode.clone(),
        };
        let bound = held
            .bound
            .iter()
            .map(|(_, value)| value.bytes() + BOUND_BYTES);
        let user = held.message.properties.user.iter();
        let user = user.map(|(name, value)| name.len() + value.len() + BOUND_BYTES);
        let bytes = held.message.topic.len() + held.message.payload.len() + MESSAGE_BYTES;
        let all = bytes + bound.sum::<usize>() + user.sum::<usize>();
        (held, all)
    }

    /// The message as it is now.
    pub(crate) fn message(&mut self) -> Result<&Arc<Message>, String> {
        self.write()?;
        self.refresh();
        Ok(&self.message)
    }

    /// Its payload as it is now, without the message around it, which others may hold as it was.
    pub(crate) fn payload(&mut self) -> Result<&Bytes, String> {
        self.write()?;
        Ok(self.present())
    }

    fn present(&self) -> &Bytes {
        self.fresh.as_ref().unwrap_or(&self.message.payload)
    }

    /// The message as it is now, or as it was where it cannot be written, for whoever looks on.
    pub(super) fn shown(&mut self) -> &Arc<Message> {
        let _what_the_step_says = self.write().is_err();
        self.refresh();
        &self.message
    }

    /// The message as it is now, except that its payload may be older, and be said to be text if that was so.
    pub(crate) fn head(&self) -> &Message {
        &self.message
    }

    fn write(&mut self) -> Result<(), String> {
        if let (true, Some(Some(doc))) = (self.is_changed, &self.doc) {
            self.fresh = Some(self.encode.close(doc)?);
            (self.is_changed, self.format) = (false, self.encode.clone());
        }
        Ok(())
    }

    /// A fresh payload is that of the message.
    fn refresh(&mut self) {
        if let Some(payload) = self.fresh.take() {
            let message = Arc::make_mut(&mut self.message);
            if !message.properties.fits_format(&payload) {
                message.properties.payload_format = None;
            }
            message.payload = payload;
        }
    }

    /// The message, when its chain ends.
    pub(super) fn into_message(mut self, chain: &Chain) -> Arc<Message> {
        // JSON can be written in every format that has fields; were it not so, the payload is as it was.
        if let Err(error) = self.write() {
            chain.stats.fail(&error);
        }
        self.refresh();
        self.message
    }

    /// As [`Self::into_message`]; of a rule chain nobody takes it, and only whether it can be written counts.
    pub(super) fn finished(self, chain: &Chain) -> Arc<Message> {
        match chain.mode {
            Mode::Rule if !self.encode.may_refuse() => self.message,
            _ => self.into_message(chain),
        }
    }

    /// Reads the payload, if it was not read yet.
    pub(crate) fn decode(&mut self) -> Result<(), String> {
        if self.doc.is_none() {
            self.doc = Some(self.format.open(self.present())?);
        }
        Ok(())
    }

    /// The payload is not in the format that the chain says.
    pub(crate) fn give_up_format(&mut self) {
        self.format = Format::Auto;
    }

    /// The payload, if it is no text and no bytes, to be changed and given back. Without a copy where it can be read again if
    /// nothing comes of that, or where something is sure to.
    pub(crate) fn borrow_doc(&mut self, sure: Sure) -> Result<Option<Doc>, String> {
        self.decode()?;
        let is_sure = match sure {
            Sure::No => false,
            Sure::InObject => matches!(self.doc, Some(Some(Doc::Flat(_)))),
            Sure::Yes => true,
        };
        if self.is_changed && !is_sure {
            return Ok(self.doc.clone().flatten());
        }
        match self.doc.take() {
            Some(Some(doc)) => Ok(Some(doc)),
            other => {
                self.doc = other;
                Ok(None)
            }
        }
    }

    /// Another payload.
    pub(crate) fn set_payload(&mut self, payload: Prepared) {
        match payload {
            Prepared::Doc(doc) => {
                self.doc = Some(Some(doc));
                self.is_changed = true;
            }
            Prepared::Ready(payload) => {
                Arc::make_mut(&mut self.message).payload = payload;
                self.fresh = None;
                (self.doc, self.is_changed, self.format) = (None, false, self.encode.clone());
            }
        }
    }

    /// Everything but the payload, changed.
    pub(crate) fn change_head(&mut self, head: Message) {
        self.message = Arc::new(head);
    }

    /// The message, changed by someone else.
    pub(crate) fn replace(&mut self, change: impl FnOnce(&mut Message)) {
        self.refresh();
        change(Arc::make_mut(&mut self.message));
        (self.doc, self.is_changed) = (None, false);
    }

    /// Gives a value the name that has this slot.
    pub(crate) fn bind(&mut self, slot: u8, value: Value<'static>) {
        self.bound.retain(|(known, _)| *known != slot);
        self.bound.push((slot, value));
    }
}

/// Of a message that nobody has changed, where nothing of its payload is asked for.
pub(crate) fn glance<T>(
    (chain, publisher): (&Chain, Publisher<'_>),
    expression: &Expression,
    message: &Message,
    fared: &mut Fared,
    keep: impl FnOnce(Value<'_>) -> T,
) -> Result<T, String> {
    debug_assert!(!expression.needs_raw() && !expression.needs_json());
    let scope = Scope::new(expression, &chain.from, publisher, message, None);
    let scope = scope.with(&chain.node, &[]);
    let limited = || {
        chain.stats.count(Count::Limited);
        *fared = Fared::Overran;
    };
    expression.watch(&scope, limited, None, keep)
}

/// `keep` takes what leaves.
pub(super) fn evaluate<T>(
    (chain, publisher): (&Chain, Publisher<'_>),
    expression: &Expression,
    (work, parts): (&mut Work, Option<&Parts>),
    fared: &mut Fared,
    keep: impl FnOnce(Value<'_>) -> T,
) -> Result<T, String> {
    if expression.needs_raw() {
        work.write()?;
        work.refresh();
    }
    let is_bytes = matches!(work.format, Format::Bytes);
    let doc = match expression.needs_json() {
        true => {
            work.decode()?;
            work.doc.as_ref().and_then(Option::as_ref)
        }
        false => None,
    };
    let scope = Scope::new(expression, &chain.from, publisher, &work.message, doc);
    let scope = scope.with(&chain.node, &work.bound);
    let scope = if is_bytes { scope.of_bytes() } else { scope };
    let limited = || {
        chain.stats.count(Count::Limited);
        *fared = Fared::Overran;
    };
    expression.watch(&scope, limited, parts, keep)
}

/// Text as it is, everything else as JSON.
pub(crate) fn to_payload(value: &Value<'_>) -> Result<Bytes, String> {
    Format::Auto.encode(value)
}
