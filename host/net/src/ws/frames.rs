//! Frames that come (RFC 6455 section 5): their payload, without heads and masks, as bytes in a row.
//!
//! Owns: [`Frames`], which knows where in a frame the bytes read so far end. Must not: read, write, or keep payload: a frame
//! need not be there in full, for what it carries is a stream.

/// Two bytes, a length of eight, a mask of four.
const HEAD_BYTES: usize = 14;
/// What a control frame may carry (section 5.5).
const CONTROL_BYTES: usize = 125;

/// Status codes of a close frame (section 7.4.1).
pub(super) mod code {
    pub(in super::super) const PROTOCOL: u16 = 1002;
    pub(in super::super) const UNSUPPORTED: u16 = 1003;
    pub(in super::super) const TOO_LARGE: u16 = 1009;
}

/// Nothing more is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The peer closes, and said why.
    Closed(Option<u16>),
    /// The peer broke a rule: the status code it is told, and the rule.
    Fault(u16, &'static str),
}

/// What a frame is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Data,
    Close,
    Ping,
    Pong,
}

/// What a control frame carries.
#[derive(Debug, Default)]
pub(super) struct Control {
    bytes: Vec<u8>,
}

impl Control {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Between or within frames of one peer.
#[derive(Debug)]
pub(super) struct Frames {
    head: [u8; HEAD_BYTES],
    /// Bytes of the head that are there; 0 behind it.
    have: u8,
    kind: Kind,
    /// The head was taken, the payload not in full.
    is_within: bool,
    /// Further frames of the same message follow.
    is_unfinished: bool,
    /// That of the next byte comes first.
    mask: [u8; 4],
    /// Bytes of the payload that are still to come.
    left: u64,
    /// Bytes that the message has had.
    message: u64,
    /// Bytes that a message may have.
    maximum: u64,
    /// Of the control frame that is being read.
    control: Option<Box<Control>>,
    /// Of the last ping that was not answered.
    ping: Option<Box<Control>>,
}

impl Frames {
    /// `maximum`: bytes of the largest message.
    pub(super) fn new(maximum: u64) -> Self {
        Self {
            head: [0; HEAD_BYTES],
            have: 0,
            kind: Kind::default(),
            is_within: false,
            is_unfinished: false,
            mask: [0; 4],
            left: 0,
            message: 0,
            maximum,
            control: None,
            ping: None,
        }
    }

    /// The last ping that waits for its pong: earlier ones need none (section 5.5.3).
    pub(super) fn take_ping(&mut self) -> Option<Box<Control>> {
        self.ping.take()
    }

    pub(super) fn has_ping(&self) -> bool {
        self.ping.is_some()
    }

    /// Leaves in front of `raw` the payload that is in it; how much that is. What is behind an end is thrown away.
    pub(super) fn strip(&mut self, raw: &mut [u8]) -> (usize, Option<End>) {
        let (mut from, mut kept) = (0, 0);
        while from < raw.len() {
            let step = match self.is_within {
                true => self.take_payload(raw, &mut from, &mut kept),
                false => self.take_head(raw, &mut from),
            };
            if let Err(end) = step {
                return (kept, Some(end));
            }
        }
        (kept, None)
    }

    fn take_head(&mut self, raw: &[u8], from: &mut usize) -> Result<(), End> {
        let have = usize::from(self.have);
        let needed = match (have, self.head.get(1).copied().unwrap_or(0) & 0x7F) {
            (0 | 1, _) => 2,
            (_, 127) => HEAD_BYTES,
            (_, 126) => 8,
            _ => 6,
        };
        let there = raw.get(*from..).unwrap_or_default();
        let count = there.len().min(needed - have);
        if let (Some(place), Some(new)) =
            (self.head.get_mut(have..have + count), there.get(..count))
        {
            place.copy_from_slice(new);
        }
        *from += count;
        self.have = u8::try_from(have + count).unwrap_or(0);
        match have + count {
            2 => self.judge(),
            whole if whole == needed => self.begin(),
            _ => Ok(()),
        }
    }

    /// Whether a frame may begin with these two bytes, here.
    fn judge(&mut self) -> Result<(), End> {
        let [first, second, ..] = self.head;
        let fault = |rule| Err(End::Fault(code::PROTOCOL, rule));
        if first & 0x70 != 0 {
            return fault("a frame has reserved bits and no extension was agreed on");
        }
        if second & 0x80 == 0 {
            return fault("a client's frames are masked");
        }
        let is_final = first & 0x80 != 0;
        let is_text = "MQTT needs binary messages [MQTT-6.0.0-1]";
        self.kind = match (first & 0x0F, self.is_unfinished) {
            (0, true) | (2, false) => Kind::Data,
            (1, false) => return Err(End::Fault(code::UNSUPPORTED, is_text)),
            (0, false) => return fault("a frame continues no message"),
            (1 | 2, true) => return fault("a message begins within another"),
            (8, _) => Kind::Close,
            (9, _) => Kind::Ping,
            (10, _) => Kind::Pong,
            _ => return fault("a frame has a reserved opcode"),
        };
        if self.kind == Kind::Data {
            self.is_unfinished = !is_final;
        } else if !is_final || usize::from(second & 0x7F) > CONTROL_BYTES {
            return fault("a control frame is whole and carries at most 125 bytes");
        }
        Ok(())
    }

    /// Behind the head of a frame.
    fn begin(&mut self) -> Result<(), End> {
        self.have = 0;
        let [_, second, a, b, c, d, e, f, g, h, rest @ ..] = self.head;
        let (length, mask) = match second & 0x7F {
            127 => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), rest),
            126 => (u64::from(u16::from_be_bytes([a, b])), [c, d, e, f]),
            short => (u64::from(short), [a, b, c, d]),
        };
        (self.left, self.mask) = (length, mask);
        if self.kind == Kind::Data {
            self.message = self.message.saturating_add(length);
            if self.message > self.maximum {
                let rule = "the message is larger than the largest packet";
                return Err(End::Fault(code::TOO_LARGE, rule));
            }
        } else {
            self.control = Some(Box::default());
        }
        self.is_within = true;
        match length {
            0 => self.finish(),
            _ => Ok(()),
        }
    }

    fn take_payload(
        &mut self,
        raw: &mut [u8],
        from: &mut usize,
        kept: &mut usize,
    ) -> Result<(), End> {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let count = left.min(raw.len().saturating_sub(*from));
        let to = match self.kind {
            Kind::Data => *kept,
            _ => *from,
        };
        if to != *from {
            raw.copy_within(*from..*from + count, to);
        }
        let payload = raw.get_mut(to..to + count).unwrap_or_default();
        unmask(payload, self.mask);
        match &mut self.control {
            Some(control) => control.bytes.extend_from_slice(payload),
            None => *kept += count,
        }
        *from += count;
        self.mask.rotate_left(count % 4);
        self.left -= u64::try_from(count).unwrap_or(self.left);
        match self.left {
            0 => self.finish(),
            _ => Ok(()),
        }
    }

    /// Behind the last byte of a frame.
    fn finish(&mut self) -> Result<(), End> {
        self.is_within = false;
        let control = self.control.take();
        match (self.kind, control) {
            (Kind::Data, _) if self.is_unfinished => {}
            (Kind::Data, _) => self.message = 0,
            (Kind::Ping, control) => self.ping = control,
            (Kind::Pong, _) => {}
            (Kind::Close, control) => {
                let bytes = control.map(|control| control.bytes).unwrap_or_default();
                return Err(match *bytes {
                    [] => End::Closed(None),
                    [a, b, ..] => End::Closed(Some(u16::from_be_bytes([a, b]))),
                    _ => End::Fault(code::PROTOCOL, "half a status code"),
                });
            }
        }
        Ok(())
    }
}

/// By eights: the compiler makes vectors of them.
fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let long = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (eights, rest) = bytes.as_chunks_mut::<8>();
    for eight in eights {
        *eight = (u64::from_ne_bytes(*eight) ^ long).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::{End, Frames, code};

    /// A frame as a client sends it; `first` is its first byte.
    fn frame(first: u8, mask: [u8; 4], payload: &[u8], out: &mut Vec<u8>) {
        out.push(first);
        match payload.len() {
            short @ 0..=125 => out.push(0x80 | short.to_le_bytes()[0]),
            middle @ 126..=0xFFFF => {
                out.push(0x80 | 126);
                out.extend(middle.to_be_bytes().last_chunk::<2>().unwrap());
            }
            long => {
                out.push(0x80 | 127);
                out.extend(long.to_be_bytes());
            }
        }
        out.extend(mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
    }

    /// Strips `raw` read so many bytes at a time.
    fn strip(frames: &mut Frames, raw: &[u8], width: usize) -> (Vec<u8>, Option<End>) {
        let mut all = Vec::new();
        for part in raw.chunks(width) {
            let mut part = part.to_vec();
            let (kept, end) = frames.strip(&mut part);
            all.extend_from_slice(&part[..kept]);
            if end.is_some() {
                return (all, end);
            }
        }
        (all, None)
    }

    #[test]
    fn payload_is_the_same_however_it_is_framed_and_read() {
        let payload: Vec<u8> = (0..200_000_u32)
            .map(|at| (at * 7 % 251).to_le_bytes()[0])
            .collect();
        let (mut raw, mut at, mut seed) = (Vec::new(), 0, 1_u32);
        let mut is_unfinished = false;
        while at < payload.len() {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let length = match seed >> 30 {
                0 => 0,
                1 => (seed >> 8) as usize % 126,
                2 => (seed >> 8) as usize % 3000,
                _ => (seed >> 8) as usize % 70_000,
            };
            let part = &payload[at..payload.len().min(at + length)];
            at += part.len();
            let is_final = at == payload.len() || seed & 0x100 != 0;
            let opcode = if is_unfinished { 0 } else { 2 };
            frame(
                u8::from(is_final) << 7 | opcode,
                seed.to_le_bytes(),
                part,
                &mut raw,
            );
            is_unfinished = !is_final;
            if seed & 0x200 != 0 {
                frame(0x89, [1, 2, 3, 4], b"still there?", &mut raw);
                frame(0x8A, [4, 3, 2, 1], b"", &mut raw);
            }
        }
        for width in [1, 2, 3, 5, 7, 13, 64, 1000, 65_536, usize::MAX] {
            let mut frames = Frames::new(u64::MAX);
            assert!(
                strip(&mut frames, &raw, width) == (payload.clone(), None),
                "{width}"
            );
            let ping = frames.take_ping().expect("a ping");
            assert_eq!(ping.bytes(), b"still there?");
            assert!(!frames.has_ping() && frames.control.is_none());
        }
    }

    #[test]
    fn a_broken_rule_ends_it_behind_what_was_sound() {
        let long = [0; 126];
        let cases: [(u8, &[u8], u16); 9] = [
            (0x81, b"MQTT", code::UNSUPPORTED),
            (0x01, b"MQTT", code::UNSUPPORTED),
            (0x80, b"", code::PROTOCOL), // continues nothing
            (0xC2, b"", code::PROTOCOL), // a reserved bit
            (0x83, b"", code::PROTOCOL), // a reserved opcode
            (0x8B, b"", code::PROTOCOL), // another
            (0x09, b"", code::PROTOCOL), // a ping in parts
            (0x89, &long, code::PROTOCOL),
            (0x88, b"1", code::PROTOCOL), // half a status code
        ];
        for (first, payload, expected) in cases {
            for width in [1, 1000] {
                let mut raw = Vec::new();
                frame(0x82, [9; 4], b"sound", &mut raw);
                frame(first, [7; 4], payload, &mut raw);
                frame(0x82, [9; 4], b"behind", &mut raw);
                let (kept, end) = strip(&mut Frames::new(1000), &raw, width);
                assert_eq!(kept, b"sound");
                assert!(
                    matches!(end, Some(End::Fault(code, _)) if code == expected),
                    "{first:x} {end:?}"
                );
            }
        }
        // Within a message none begins; what is not masked is none of a client's.
        let mut raw = Vec::new();
        frame(0x02, [1; 4], b"one", &mut raw);
        frame(0x82, [1; 4], b"two", &mut raw);
        let (kept, end) = strip(&mut Frames::new(1000), &raw, 3);
        assert_eq!(kept, b"one");
        assert!(matches!(end, Some(End::Fault(code::PROTOCOL, _))));
        let (kept, end) = strip(&mut Frames::new(1000), &[0x82, 1, 65], 3);
        assert!(kept.is_empty() && matches!(end, Some(End::Fault(code::PROTOCOL, _))));
    }

    #[test]
    fn a_message_has_so_many_bytes_and_not_one_more() {
        for (parts, fits) in [
            (vec![10], true),
            (vec![11], false),
            (vec![4, 0, 6], true),
            (vec![4, 0, 7], false),
        ] {
            let mut raw = Vec::new();
            for (at, length) in parts.iter().enumerate() {
                let is_last = at + 1 == parts.len();
                let opcode = if at == 0 { 2 } else { 0 };
                frame(
                    u8::from(is_last) << 7 | opcode,
                    [3; 4],
                    &vec![5; *length],
                    &mut raw,
                );
            }
            frame(0x82, [3; 4], &[5; 10], &mut raw); // a message of its own
            let (kept, end) = strip(&mut Frames::new(10), &raw, 4);
            match fits {
                true => assert_eq!((kept.len(), end), (20, None)),
                false => assert!(matches!(end, Some(End::Fault(code::TOO_LARGE, _)))),
            }
        }
    }

    #[test]
    fn a_close_says_why() {
        for (payload, expected) in [
            (&b""[..], End::Closed(None)),
            (&[3, 232], End::Closed(Some(1000))),
            (b"\x03\xE9bye", End::Closed(Some(1001))),
        ] {
            let mut raw = Vec::new();
            frame(0x88, [8; 4], payload, &mut raw);
            assert_eq!(
                strip(&mut Frames::new(10), &raw, 2),
                (Vec::new(), Some(expected))
            );
        }
    }
}
