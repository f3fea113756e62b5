//! Short texts in the memory of whoever has them, as nearly all levels, topics and names are: to look at a node or a topic is
//! then to look at one place.
//!
//! Owns: [`Short`].

/// A text that lies here if it has at most `SHORT` bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Short<const SHORT: usize>(Lies<SHORT>);

/// With a byte each for the number of bytes and the kind.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Lies<const SHORT: usize> {
    Here { len: u8, bytes: [u8; SHORT] },
    Away(Box<[u8]>),
}

impl<const SHORT: usize> Short<SHORT> {
    /// Of these bytes.
    #[must_use]
    #[inline]
    pub fn new(text: &[u8]) -> Self {
        let mut bytes = [0; SHORT];
        Self(
            match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
                (Some(room), Ok(len)) => {
                    room.copy_from_slice(text);
                    Lies::Here { len, bytes }
                }
                _ => Lies::Away(text.into()),
            },
        )
    }

    /// The bytes it was made of.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Lies::Here { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Lies::Away(bytes) => bytes,
        }
    }

    /// Whether there are none.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }

    /// The text, if it was made of one.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::{Lies, Short};

    fn holds<const SHORT: usize>() {
        for len in [0, 1, SHORT - 1, SHORT, SHORT + 1, 1000] {
            let text = "x".repeat(len);
            let short = Short::<SHORT>::new(text.as_bytes());
            assert_eq!(short.as_bytes(), text.as_bytes());
            assert_eq!(short.as_str(), text);
            assert_eq!(matches!(short.0, Lies::Here { .. }), len <= SHORT);
        }
    }

    #[test]
    fn a_text_is_what_it_was_made_of_on_both_sides_of_short() {
        holds::<22>();
        holds::<46>();
        assert_eq!((size_of::<Short<22>>(), size_of::<Short<46>>()), (24, 48));
    }
}
