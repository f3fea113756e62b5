//! Just enough of MQTT 3.1.1 to play a client: packets made once and patched, packet ends found.
//!
//! Owns: the bytes. Must not: share code with `witmq-proto`: a mistake there must not hide here.
//!
//! A payload begins with a stamp of [`STAMP`] bytes: when it was due (ns), whose it is, which one it is.

/// Bytes of the stamp that every payload begins with, and so the smallest payload.
pub const STAMP: usize = 16;
/// The largest packet that the generator and the floors take.
pub const LARGEST: usize = 1 << 19;

/// What a payload says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// When it was due, nanoseconds since the generator began.
    pub due_ns: u64,
    /// Number of the publisher.
    pub publisher: u32,
    /// Number of the message among its publisher's, from 0.
    pub sequence: u32,
}

impl Stamp {
    /// The stamp at the start of a payload; nothing when it is too short for one.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        let (due, rest) = payload.split_first_chunk::<8>()?;
        let (publisher, rest) = rest.split_first_chunk::<4>()?;
        let (sequence, _) = rest.split_first_chunk::<4>()?;
        Some(Self {
            due_ns: u64::from_le_bytes(*due),
            publisher: u32::from_le_bytes(*publisher),
            sequence: u32::from_le_bytes(*sequence),
        })
    }

    fn bytes(self) -> [u8; STAMP] {
        let mut bytes = [0; STAMP];
        let fields = self.due_ns.to_le_bytes().into_iter();
        let fields = fields.chain(self.publisher.to_le_bytes());
        let fields = fields.chain(self.sequence.to_le_bytes());
        bytes
            .iter_mut()
            .zip(fields)
            .for_each(|(at, byte)| *at = byte);
        bytes
    }
}

/// A packet from its first byte and its body.
#[must_use]
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut left = body.len();
    loop {
        let low = u8::try_from(left % 128).unwrap_or(0);
        left /= 128;
        bytes.push(if left > 0 { low | 0x80 } else { low });
        if left == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend(text.bytes().take(usize::from(length)));
}

/// A CONNECT with a keep-alive of ten minutes.
#[must_use]
pub fn connect(client_id: &str, is_clean: bool, login: Option<&(String, String)>) -> Vec<u8> {
    let mut body = Vec::new();
    put_text(&mut body, "MQTT");
    let clean = if is_clean { 0x02 } else { 0 };
    let named = if login.is_some() { 0xC0 } else { 0 };
    body.extend_from_slice(&[4, clean | named]);
    body.extend_from_slice(&600_u16.to_be_bytes());
    put_text(&mut body, client_id);
    if let Some((user, password)) = login {
        put_text(&mut body, user);
        put_text(&mut body, password);
    }
    packet(0x10, &body)
}

/// A SUBSCRIBE.
#[must_use]
pub fn subscribe<'a>(id: u16, filters: impl IntoIterator<Item = &'a str>, qos: u8) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    for filter in filters {
        put_text(&mut body, filter);
        body.push(qos);
    }
    packet(0x82, &body)
}

/// An UNSUBSCRIBE.
#[must_use]
pub fn unsubscribe<'a>(id: u16, filters: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    for filter in filters {
        put_text(&mut body, filter);
    }
    packet(0xA2, &body)
}

/// A PUBLISH whose packet id and stamp are patched for each message.
#[derive(Debug, Clone)]
pub struct Template {
    bytes: Vec<u8>,
    id_at: Option<usize>,
    payload_at: usize,
}

impl Template {
    /// `payload` is its size in bytes, at least that of a stamp.
    #[must_use]
    pub fn new(topic: &str, qos: u8, payload: usize, retain: bool) -> Self {
        let mut body = Vec::new();
        put_text(&mut body, topic);
        let id_in_body = body.len();
        if qos > 0 {
            body.extend_from_slice(&[0, 1]);
        }
        let payload_in_body = body.len();
        body.resize(payload_in_body + payload.max(STAMP), b'x');
        let bytes = packet(0x30 | (qos << 1) | u8::from(retain), &body);
        let head = bytes.len() - body.len();
        Self {
            bytes,
            id_at: (qos > 0).then_some(head + id_in_body),
            payload_at: head + payload_in_body,
        }
    }

    /// Appends one message. Packet ids follow the sequence, 1 to 65,535 and again.
    pub fn emit(&self, out: &mut Vec<u8>, stamp: Stamp) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let Some(bytes) = out.get_mut(start..) else {
            return;
        };
        if let Some(at) = self.id_at {
            let id = u16::try_from(stamp.sequence % 65_535).unwrap_or(0) + 1;
            put(bytes, at, &id.to_be_bytes());
        }
        put(bytes, self.payload_at, &stamp.bytes());
    }
}

fn put(bytes: &mut [u8], at: usize, part: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + part.len()) {
        place.copy_from_slice(part);
    }
}

/// Where a packet's parts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Bytes before the body.
    pub head: usize,
    /// Bytes in all.
    pub whole: usize,
}

/// The packet that `bytes` begins with; `Ok(None)` while it is not complete.
///
/// # Errors
/// When it is larger than [`LARGEST`] or its length is none.
pub fn frame(bytes: &[u8]) -> Result<Option<Frame>, TooLong> {
    let mut length = 0;
    for (place, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            let frame = Frame {
                head: place + 2,
                whole: place + 2 + length,
            };
            return match frame.whole {
                whole if whole > LARGEST => Err(TooLong),
                whole => Ok((whole <= bytes.len()).then_some(frame)),
            };
        }
    }
    if bytes.len() > 4 {
        Err(TooLong)
    } else {
        Ok(None)
    }
}

/// A packet beyond [`LARGEST`], or bytes that are no packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a packet of more than {LARGEST} bytes")
    }
}

impl std::error::Error for TooLong {}

/// Topic length, packet id and payload of a PUBLISH by its first byte and body.
#[must_use]
pub fn publish(first: u8, body: &[u8]) -> Option<(Option<[u8; 2]>, &[u8])> {
    let (length, rest) = body.split_first_chunk::<2>()?;
    let rest = rest.get(usize::from(u16::from_be_bytes(*length))..)?;
    if first & 0x06 == 0 {
        return Some((None, rest));
    }
    let (id, payload) = rest.split_first_chunk::<2>()?;
    Some((Some(*id), payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMPED: Stamp = Stamp {
        due_ns: 0x0102_0304_0506_0708,
        publisher: 7,
        sequence: 65_535,
    };

    #[test]
    fn a_connect_is_what_the_standard_says() {
        assert_eq!(
            connect("ab", true, None),
            [
                0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 2, 88, 0, 2, b'a', b'b'
            ]
        );
        let login = ("u".to_owned(), "p".to_owned());
        let bytes = connect("ab", false, Some(&login));
        assert_eq!(bytes[9], 0xC0);
        assert!(bytes.ends_with(&[0, 1, b'u', 0, 1, b'p']));
    }

    #[test]
    fn a_subscribe_holds_all_its_filters() {
        let bytes = subscribe(3, ["a", "b/#"], 1);
        assert_eq!(
            bytes,
            [0x82, 12, 0, 3, 0, 1, b'a', 1, 0, 3, b'b', b'/', b'#', 1]
        );
        let bytes = unsubscribe(3, ["a", "b/#"]);
        let wanted = [0xA2, 10, 0, 3, 0, 1, b'a', 0, 3, b'b', b'/', b'#'];
        assert_eq!(bytes, wanted);
    }

    #[test]
    fn a_message_carries_its_stamp_at_every_qos() {
        for qos in 0..=2 {
            let template = Template::new("a/b", qos, 300, qos == 2);
            let mut bytes = vec![9];
            template.emit(&mut bytes, STAMPED);
            let bytes = &bytes[1..];
            let frame = frame(bytes).unwrap().unwrap();
            assert_eq!(frame.whole, bytes.len());
            assert_eq!(bytes[0], 0x30 | qos << 1 | u8::from(qos == 2));
            let (id, payload) = publish(bytes[0], &bytes[frame.head..]).unwrap();
            assert_eq!(id, (qos > 0).then_some([0, 1]), "65,535 wraps to 1");
            assert_eq!(payload.len(), 300);
            assert_eq!(Stamp::read(payload), Some(STAMPED));
        }
    }

    #[test]
    fn a_payload_is_never_smaller_than_its_stamp() {
        let mut bytes = Vec::new();
        Template::new("a", 0, 1, false).emit(&mut bytes, STAMPED);
        assert_eq!(
            Stamp::read(publish(bytes[0], &bytes[2..]).unwrap().1),
            Some(STAMPED)
        );
        assert_eq!(Stamp::read(&[0; STAMP - 1]), None);
    }

    #[test]
    fn packet_ends_are_found_at_every_length_of_the_length() {
        for length in [0, 127, 128, 16_383, 16_384, LARGEST - 4] {
            let bytes = packet(0x30, &vec![0; length]);
            let found = frame(&bytes).unwrap().unwrap();
            assert_eq!(
                (found.whole, found.whole - found.head),
                (bytes.len(), length)
            );
            assert_eq!(frame(&bytes[..bytes.len() - 1]), Ok(None));
        }
        assert_eq!(frame(&[]), Ok(None));
        assert_eq!(frame(&[0x30, 0x80, 0x80]), Ok(None));
    }

    #[test]
    fn what_is_too_long_or_no_length_is_refused() {
        assert_eq!(frame(&packet(0x30, &vec![0; LARGEST])), Err(TooLong));
        assert_eq!(frame(&[0x30, 0x80, 0x80, 0x80, 0x80]), Err(TooLong));
    }

    #[test]
    fn a_publish_that_ends_early_is_none() {
        assert_eq!(publish(0x30, &[0]), None);
        assert_eq!(publish(0x30, &[0, 5, b'a']), None);
        assert_eq!(publish(0x32, &[0, 1, b'a', 0]), None);
    }
}
