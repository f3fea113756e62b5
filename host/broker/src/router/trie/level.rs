//! A level of a filter, or a few, in the node's own memory if they are short, as nearly all are: to look at a node is
//! then to look at one place.

/// Bytes that lie in the node: with them, and a byte each for their number and the kind, as large as two
/// pointers and a half.
const SHORT: usize = 22;

#[derive(Debug)]
pub(super) enum Level {
    Short { len: u8, bytes: [u8; SHORT] },
    Long(Box<[u8]>),
}

impl Level {
    pub(super) fn new(text: &[u8]) -> Self {
        let mut bytes = [0; SHORT];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(room), Ok(len)) => {
                room.copy_from_slice(text);
                Self::Short { len, bytes }
            }
            _ => Self::Long(text.into()),
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Long(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Level, SHORT};

    #[test]
    fn a_level_is_what_it_was_made_of_on_both_sides_of_short() {
        for len in [0, 1, SHORT - 1, SHORT, SHORT + 1, 1000] {
            let text = "x".repeat(len);
            let level = Level::new(text.as_bytes());
            assert_eq!(level.as_bytes(), text.as_bytes());
            assert_eq!(matches!(level, Level::Short { .. }), len <= SHORT);
        }
        assert_eq!(size_of::<Level>(), 24);
    }
}
