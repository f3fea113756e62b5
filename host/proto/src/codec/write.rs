//! Writing fields, once to count them and once for real: a length is never computed twice by hand.

use bytes::{BufMut, BytesMut};

/// Where fields go.
pub(super) trait Sink {
    fn put(&mut self, bytes: &[u8]);

    fn u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    fn u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    /// A variable byte integer.
    fn variable(&mut self, value: usize) {
        debug_assert!(
            value <= super::MAXIMUM_LENGTH,
            "a length no variable byte integer can say"
        );
        let mut rest = value;
        loop {
            let low = u8::try_from(rest & 0x7F).unwrap_or(0);
            rest >>= 7;
            if rest == 0 {
                return self.u8(low);
            }
            self.u8(low | 0x80);
        }
    }

    fn binary(&mut self, bytes: &[u8]) {
        let bytes = bytes.get(..usize::from(u16::MAX)).unwrap_or(bytes);
        self.u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX));
        self.put(bytes);
    }

    fn text(&mut self, text: &str) {
        let end = text.floor_char_boundary(usize::from(u16::MAX));
        self.binary(text.get(..end).unwrap_or(text).as_bytes());
    }
}

impl Sink for BytesMut {
    fn put(&mut self, bytes: &[u8]) {
        self.put_slice(bytes);
    }
}

/// Counts bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count(pub(super) usize);

impl Sink for Count {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

/// Bytes of `value` as a variable byte integer.
pub(super) fn variable_len(value: usize) -> usize {
    match value {
        0..128 => 1,
        128..16_384 => 2,
        16_384..2_097_152 => 3,
        _ => 4,
    }
}

/// Writes `fields` behind their length as a variable byte integer.
pub(super) fn prefixed<S: Sink>(out: &mut S, fields: impl Fn(&mut dyn Sink)) {
    let mut count = Count::default();
    fields(&mut count);
    out.variable(count.0);
    struct Through<'a, S>(&'a mut S);
    impl<S: Sink> Sink for Through<'_, S> {
        fn put(&mut self, bytes: &[u8]) {
            self.0.put(bytes);
        }
    }
    fields(&mut Through(out));
}
