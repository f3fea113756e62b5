//! The topic namespace of Sparkplug B.
//!
//! Owns: which message a topic stands for. Must not: see a payload.

/// The first level of all topics.
pub(crate) const NAMESPACE: &str = "spBv1.0";

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Birth,
    Death,
    Data,
    Command,
}

/// What a topic stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic<'t> {
    /// `spBv1.0/STATE/{host}`, which has JSON already.
    State,
    /// `spBv1.0/{group}/{type}/{node}[/{device}]`.
    Metrics {
        kind: Kind,
        group: &'t str,
        node: &'t str,
        device: Option<&'t str>,
    },
}

impl<'t> Topic<'t> {
    /// `None` if it is not of the namespace at all.
    pub(crate) fn parse(topic: &'t str) -> Option<Result<Self, String>> {
        let mut levels = topic.split('/');
        (levels.next() == Some(NAMESPACE)).then(|| Self::within(levels))
    }

    fn within(levels: impl Iterator<Item = &'t str>) -> Result<Self, String> {
        // One more than there may be.
        let levels: Vec<&str> = levels.take(5).collect();
        if levels.iter().any(|level| level.is_empty()) {
            return Err("the topic has an empty level".to_owned());
        }
        let (group, word, node, device) = match *levels {
            ["STATE", _host] => return Ok(Self::State),
            [group, word, node] => (group, word, node, None),
            [group, word, node, device] => (group, word, node, Some(device)),
            _ => return Err(form()),
        };
        let kind = match (word, device) {
            ("NBIRTH", None) | ("DBIRTH", Some(_)) => Kind::Birth,
            ("NDEATH", None) | ("DDEATH", Some(_)) => Kind::Death,
            ("NDATA", None) | ("DDATA", Some(_)) => Kind::Data,
            ("NCMD", None) | ("DCMD", Some(_)) => Kind::Command,
            _ => return Err(form()),
        };
        Ok(Self::Metrics {
            kind,
            group,
            node,
            device,
        })
    }
}

fn form() -> String {
    format!(
        "the topic is neither {NAMESPACE}/GROUP/N…/NODE, {NAMESPACE}/GROUP/D…/NODE/DEVICE nor {NAMESPACE}/STATE/HOST"
    )
}
