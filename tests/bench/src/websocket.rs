//! The client's side of a WebSocket, as far as MQTT needs it: the upgrade, binary frames out, frames in.
//!
//! Owns: [`Wrapping`]. Must not: check what the standard wants of a server beyond what it needs to go on.

/// The largest answer to an upgrade.
const HEAD_BYTES: usize = 16 * 1024;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unusable {
    /// The upgrade was answered with something else than 101; its first line.
    Refused(String),
    /// A frame that is neither data nor a continuation.
    Opcode(u8),
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(line) => write!(f, "upgrade to WebSocket refused: {line}"),
            Self::Opcode(code) => write!(f, "WebSocket frame with opcode {code}"),
        }
    }
}

impl std::error::Error for Unusable {}

/// One connection's state.
#[derive(Debug, Default)]
pub struct Wrapping {
    is_open: bool,
    /// Bytes of the present frame still to come.
    left: u64,
    /// A frame head or the upgrade's answer, as far as it has come.
    head: Vec<u8>,
}

impl Wrapping {
    /// The request that a connection begins with.
    #[must_use]
    pub fn request(path: &str, host: &str) -> Vec<u8> {
        format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\
             Sec-WebSocket-Version: 13\r\n\r\n"
        )
        .into_bytes()
    }

    /// Whether the server has agreed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// One binary frame around everything. The mask key is zero, so masking is a copy.
    pub fn frame(payload: &[u8], out: &mut Vec<u8>) {
        out.push(0x82);
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(length @ 0..=125), _) => out.push(0x80 | length),
            (_, Ok(length)) => {
                out.push(0x80 | 126);
                out.extend_from_slice(&length.to_be_bytes());
            }
            _ => {
                out.push(0x80 | 127);
                let length = u64::try_from(payload.len()).unwrap_or(u64::MAX);
                out.extend_from_slice(&length.to_be_bytes());
            }
        }
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(payload);
    }

    /// Takes bytes of the server and appends what they carry.
    ///
    /// # Errors
    /// When the upgrade is refused or a frame carries no data.
    pub fn take(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), Unusable> {
        let rest;
        let mut raw = raw;
        if !self.is_open {
            self.head.extend_from_slice(raw);
            let Some(end) = self.head.windows(4).position(|at| at == b"\r\n\r\n") else {
                return self.limit();
            };
            if !self.head.starts_with(b"HTTP/1.1 101") {
                return Err(self.refused());
            }
            rest = self.head.split_off(end + 4);
            self.head.clear();
            self.is_open = true;
            raw = &rest;
        }
        while !raw.is_empty() {
            if self.left > 0 {
                let count = usize::try_from(self.left).unwrap_or(usize::MAX);
                let (data, rest) = raw.split_at(count.min(raw.len()));
                out.extend_from_slice(data);
                self.left -= u64::try_from(data.len()).unwrap_or(self.left);
                raw = rest;
            } else {
                raw = self.head(raw)?;
            }
        }
        Ok(())
    }

    /// Takes one byte of a frame's head.
    fn head<'raw>(&mut self, raw: &'raw [u8]) -> Result<&'raw [u8], Unusable> {
        let Some((byte, rest)) = raw.split_first() else {
            return Ok(raw);
        };
        self.head.push(*byte);
        let length = match *self.head.as_slice() {
            [_, short] if short & 0x7F < 126 => u64::from(short & 0x7F),
            [_, mark, a, b] if mark & 0x7F == 126 => u64::from(u16::from_be_bytes([a, b])),
            [_, mark, a, b, c, d, e, f, g, h] if mark & 0x7F == 127 => {
                u64::from_be_bytes([a, b, c, d, e, f, g, h])
            }
            _ => return Ok(rest),
        };
        let opcode = self.head.first().map_or(0, |first| first & 0x0F);
        if opcode > 2 {
            return Err(Unusable::Opcode(opcode));
        }
        self.left = length;
        self.head.clear();
        Ok(rest)
    }

    fn limit(&self) -> Result<(), Unusable> {
        if self.head.len() > HEAD_BYTES {
            return Err(self.refused());
        }
        Ok(())
    }

    fn refused(&self) -> Unusable {
        let text = String::from_utf8_lossy(&self.head);
        Unusable::Refused(text.lines().next().unwrap_or_default().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::{HEAD_BYTES, Unusable, Wrapping};

    const AGREED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";

    /// A server's frame: without a mask.
    fn served(payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        Wrapping::frame(payload, &mut bytes);
        bytes[1] &= 0x7F;
        let head = bytes.len() - payload.len();
        bytes.drain(head - 4..head);
        bytes
    }

    #[test]
    fn frames_of_every_length_come_through_byte_by_byte() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload = vec![7; length];
            let mut wrapping = Wrapping::default();
            let mut out = Vec::new();
            for byte in [AGREED, &served(&payload), &served(b"end")].concat() {
                wrapping.take(&[byte], &mut out).unwrap();
            }
            assert!(wrapping.is_open());
            assert_eq!(out, [&payload[..], b"end"].concat());
        }
    }

    #[test]
    fn another_answer_is_refused() {
        let mut out = Vec::new();
        let error = Wrapping::default().take(b"HTTP/1.1 404 Not Found\r\n\r\n", &mut out);
        assert_eq!(
            error,
            Err(Unusable::Refused("HTTP/1.1 404 Not Found".to_owned()))
        );
        let long = vec![b'x'; HEAD_BYTES + 1];
        assert!(Wrapping::default().take(&long, &mut out).is_err());
        assert!(Wrapping::default().take(&long[1..], &mut out).is_ok());
    }

    #[test]
    fn a_close_is_not_data() {
        let mut wrapping = Wrapping::default();
        let mut out = Vec::new();
        let error = wrapping.take(&[AGREED, &[0x88, 0]].concat(), &mut out);
        assert_eq!(error, Err(Unusable::Opcode(8)));
    }
}
