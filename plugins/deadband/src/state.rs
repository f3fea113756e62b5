//! What passed last on each topic, and its form between two instances.
//!
//! Owns: the bytes of the handover. Must not: decide what passes.

use witmq_sdk::Memory;

/// Bytes that topics and values may have together: what is handed over has to stay below 1 MiB.
const STATE_BYTES: usize = 900_000;
/// The form of the handover, so that another one is told apart.
const FORM: u8 = 1;

/// What passed last on a topic.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Last {
    /// When, milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// Whether it was to be retained.
    pub(crate) retain: bool,
    /// A number for each field, if it ever came.
    pub(crate) values: Vec<Option<f64>>,
}

/// All topics.
pub(crate) type Topics = Memory<Last>;

pub(crate) fn topics(max_topics: u32) -> Topics {
    Memory::new(
        usize::try_from(max_topics).unwrap_or(usize::MAX),
        STATE_BYTES,
    )
}

/// What an entry needs besides its name: no less than in the handover.
pub(crate) fn bytes(last: &Last) -> usize {
    16 + 8 * last.values.len()
}

/// The handover: the paths of the fields, then the topics, the least recently used first.
pub(crate) fn encode(topics: &Topics, paths: &[&str]) -> Vec<u8> {
    let mut out = vec![FORM];
    let mut put = |text: &str| {
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        out.extend(length.to_le_bytes());
        out.extend(text.bytes().take(usize::from(length)));
    };
    paths.iter().for_each(|path| put(path));
    put("");
    for (topic, last) in topics.iter() {
        let Ok(length) = u16::try_from(topic.len()) else {
            continue; // no topic is longer
        };
        out.extend(length.to_le_bytes());
        out.extend(topic.as_bytes());
        out.extend(last.at_ms.to_le_bytes());
        out.push(u8::from(last.retain));
        for value in &last.values {
            out.extend(value.unwrap_or(f64::NAN).to_le_bytes());
        }
    }
    out
}

/// Takes a handover over, also that of another configuration: fields are found by their paths.
pub(crate) fn adopt(topics: &mut Topics, paths: &[&str], state: &[u8]) -> Option<usize> {
    let mut rest = state.strip_prefix(&[FORM])?;
    let mut theirs = Vec::new();
    loop {
        match text(&mut rest)? {
            "" => break,
            path => theirs.push(path),
        }
    }
    let count = theirs.len().max(1);
    let places: Vec<Option<usize>> = match (paths, theirs.as_slice()) {
        ([], []) => vec![Some(0)],
        ([], _) => vec![None],
        _ => paths
            .iter()
            .map(|path| theirs.iter().position(|their| their == path))
            .collect(),
    };
    let mut gone = 0;
    while !rest.is_empty() {
        let topic = text(&mut rest)?;
        let at_ms = u64::from_le_bytes(take(&mut rest)?);
        let [retain] = take(&mut rest)?;
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(f64::from_le_bytes(take(&mut rest)?));
        }
        let value = |place: &Option<usize>| {
            values
                .get((*place)?)
                .copied()
                .filter(|value| value.is_finite())
        };
        let values: Vec<_> = places.iter().map(value).collect();
        if values.iter().all(Option::is_none) {
            continue;
        }
        let last = Last {
            at_ms,
            retain: retain != 0,
            values,
        };
        let bytes = bytes(&last);
        gone += topics.insert(topic, last, bytes);
    }
    Some(gone)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (part, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*part)
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let length = usize::from(u16::from_le_bytes(take(rest)?));
    let (part, after) = rest.split_at_checked(length)?;
    *rest = after;
    std::str::from_utf8(part).ok()
}
