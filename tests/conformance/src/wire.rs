//! Packets by hand: valid ones, and every kind of invalid one.
//!
//! Owns: [`Body`] to build and [`Got`] to take apart. Must not: judge.

/// Builds the bytes behind a fixed header.
#[derive(Clone, Debug, Default)]
pub struct Body(pub Vec<u8>);

impl Body {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One byte.
    #[must_use]
    pub fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    /// Two bytes.
    #[must_use]
    pub fn u16(mut self, value: u16) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Bytes as they are.
    #[must_use]
    pub fn raw(mut self, value: &[u8]) -> Self {
        self.0.extend_from_slice(value);
        self
    }

    /// Length and bytes: a string, right or wrong.
    #[must_use]
    pub fn text(self, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        self.u16(length).raw(value)
    }

    /// Properties, from MQTT 5 on.
    #[must_use]
    pub fn props(self, level: u8, props: &[u8]) -> Self {
        if level < 5 {
            return self;
        }
        self.raw(&varint(props.len())).raw(props)
    }

    /// The whole packet.
    #[must_use]
    pub fn packet(self, first: u8) -> Vec<u8> {
        let mut bytes = vec![first];
        bytes.extend(varint(self.0.len()));
        bytes.extend(self.0);
        bytes
    }
}

/// A variable byte integer.
#[must_use]
pub fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let digit = u8::try_from(value % 128).unwrap_or(0);
        value /= 128;
        bytes.push(if value > 0 { digit | 0x80 } else { digit });
        if value == 0 {
            return bytes;
        }
    }
}

/// A property with one byte.
#[must_use]
pub fn prop_u8(id: u8, value: u8) -> Vec<u8> {
    vec![id, value]
}

/// A property with two bytes.
#[must_use]
pub fn prop_u16(id: u8, value: u16) -> Vec<u8> {
    Body::new().u8(id).u16(value).0
}

/// A property with four bytes.
#[must_use]
pub fn prop_u32(id: u8, value: u32) -> Vec<u8> {
    Body::new().u8(id).raw(&value.to_be_bytes()).0
}

/// A property with text or bytes.
#[must_use]
pub fn prop_text(id: u8, value: impl AsRef<[u8]>) -> Vec<u8> {
    Body::new().u8(id).text(value).0
}

/// A user property.
#[must_use]
pub fn user(name: &str, value: &str) -> Vec<u8> {
    Body::new().u8(0x26).text(name).text(value).0
}

/// A packet of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// High nibble of the first byte.
    pub kind: u8,
    /// Low nibble.
    pub flags: u8,
    /// What follows the fixed header.
    pub body: Vec<u8>,
    /// Bytes of the whole packet.
    pub size: usize,
}

/// A PUBLISH taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Topic Name.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// QoS.
    pub qos: u8,
    /// DUP.
    pub dup: bool,
    /// RETAIN.
    pub retain: bool,
    /// Packet Identifier; 0 with QoS 0.
    pub id: u16,
    /// Properties as sent: identifier and value bytes (strings without their length, pairs as name=value).
    pub props: Vec<(u8, Vec<u8>)>,
}

impl Message {
    /// The values of a property.
    #[must_use]
    pub fn prop(&self, id: u8) -> Vec<&[u8]> {
        let of = self.props.iter().filter(|(known, _)| *known == id);
        of.map(|(_, value)| value.as_slice()).collect()
    }
}

/// Takes the first packet off `input`, once it is there.
pub fn split(input: &mut Vec<u8>) -> Option<Got> {
    let (mut length, mut shift) = (0usize, 0);
    for place in 1..=4 {
        let byte = *input.get(place)?;
        length |= usize::from(byte & 0x7F) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            let start = place + 1;
            let body = input.get(start..start + length)?.to_vec();
            let first = *input.first()?;
            input.drain(..start + length);
            return Some(Got {
                kind: first >> 4,
                flags: first & 15,
                body,
                size: start + length,
            });
        }
    }
    None
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (part, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(part)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    fn varint(&mut self) -> Option<usize> {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = *self.take(1)?.first()?;
            value |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
    }

    fn props(&mut self) -> Option<Vec<(u8, Vec<u8>)>> {
        let length = self.varint()?;
        let mut inner = Cursor(self.take(length)?);
        let mut props = Vec::new();
        while let Some(id) = inner.take(1).and_then(|part| part.first().copied()) {
            let value = match id {
                0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => inner.take(1)?.to_vec(),
                0x13 | 0x21 | 0x22 | 0x23 => inner.take(2)?.to_vec(),
                0x02 | 0x11 | 0x18 | 0x27 => inner.take(4)?.to_vec(),
                0x0B => inner.varint()?.to_string().into_bytes(),
                0x26 => [inner.text()?, b"=", inner.text()?].concat(),
                _ => inner.text()?.to_vec(),
            };
            props.push((id, value));
        }
        Some(props)
    }
}

impl Got {
    /// The first two bytes of the body: a packet identifier.
    #[must_use]
    pub fn id(&self) -> u16 {
        Cursor(&self.body).u16().unwrap_or(0)
    }

    /// A byte of the body.
    #[must_use]
    pub fn byte(&self, at: usize) -> u8 {
        self.body.get(at).copied().unwrap_or(0)
    }

    /// A PUBLISH; `None` if it is none or damaged.
    #[must_use]
    pub fn message(&self, level: u8) -> Option<Message> {
        let mut cursor = Cursor(&self.body);
        let topic = String::from_utf8(cursor.text()?.to_vec()).ok()?;
        let qos = self.flags >> 1 & 3;
        let id = if qos > 0 { cursor.u16()? } else { 0 };
        let props = if level >= 5 {
            cursor.props()?
        } else {
            Vec::new()
        };
        (self.kind == 3).then(|| Message {
            topic,
            payload: cursor.0.to_vec(),
            qos,
            dup: self.flags & 8 != 0,
            retain: self.flags & 1 != 0,
            id,
            props,
        })
    }

    /// Properties of CONNACK, DISCONNECT (behind so many bytes), SUBACK and the like.
    #[must_use]
    pub fn props_at(&self, at: usize) -> Vec<(u8, Vec<u8>)> {
        let rest = self.body.get(at..).unwrap_or_default();
        Cursor(rest).props().unwrap_or_default()
    }

    /// Reason codes behind identifier and properties: SUBACK and UNSUBACK.
    #[must_use]
    pub fn codes(&self, level: u8) -> Vec<u8> {
        let mut cursor = Cursor(self.body.get(2..).unwrap_or_default());
        if level >= 5 {
            let _props = cursor.props();
        }
        cursor.0.to_vec()
    }
}
