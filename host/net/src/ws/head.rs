//! Frames that go: whole, and not masked (RFC 6455 section 5.2).
//!
//! Owns: [`Head`], of a frame that is being written. Must not: hold its body.

/// First byte of a close frame.
pub(super) const CLOSE: u8 = 0x88;
/// First byte of the answer to a ping.
pub(super) const PONG: u8 = 0x8A;
/// What a control frame carries at most.
const CONTROL_BYTES: usize = 125;

/// What comes before the body of a binary frame, and how much of both is still to be written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Head {
    bytes: [u8; 10],
    written: u8,
    length: u8,
    /// Bytes of the body that are to follow.
    body: usize,
}

impl Head {
    /// Before a body of so many bytes.
    pub(super) fn binary(body: usize) -> Self {
        const FINAL_BINARY: u8 = 0x82;
        let long = u64::try_from(body).unwrap_or(u64::MAX);
        let [a, b, c, d, e, f, g, h] = long.to_be_bytes();
        let (bytes, length) = match body {
            0..=125 => ([FINAL_BINARY, h, 0, 0, 0, 0, 0, 0, 0, 0], 2),
            126..=0xFFFF => ([FINAL_BINARY, 126, g, h, 0, 0, 0, 0, 0, 0], 4),
            _ => ([FINAL_BINARY, 127, a, b, c, d, e, f, g, h], 10),
        };
        Self {
            bytes,
            written: 0,
            length,
            body,
        }
    }

    pub(super) fn left(&self) -> &[u8] {
        let (from, to) = (usize::from(self.written), usize::from(self.length));
        self.bytes.get(from..to).unwrap_or_default()
    }

    /// Bytes of the body that are to follow.
    pub(super) fn body(&self) -> usize {
        self.body
    }

    /// So many bytes went out; those of the body among them.
    pub(super) fn advance(&mut self, count: usize) -> usize {
        let of_head = count.min(self.left().len());
        self.written += u8::try_from(of_head).unwrap_or(0);
        let of_body = (count - of_head).min(self.body);
        self.body -= of_body;
        of_body
    }

    pub(super) fn is_over(&self) -> bool {
        self.body == 0 && self.left().is_empty()
    }
}

/// A control frame, with as much of the payload as it may carry.
pub(super) fn control(first: u8, payload: &[u8], out: &mut Vec<u8>) {
    let payload = payload.get(..CONTROL_BYTES).unwrap_or(payload);
    out.push(first);
    out.push(u8::try_from(payload.len()).unwrap_or(0));
    out.extend_from_slice(payload);
}
