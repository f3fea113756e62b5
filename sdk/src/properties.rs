//! The MQTT 5 properties that travel with a message, and their bytes as the broker hands them over.

/// Properties of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// 1 if the payload is UTF-8 text.
    pub payload_format: Option<u8>,
    /// Seconds until the message expires.
    pub message_expiry: Option<u32>,
    /// Describes the payload.
    pub content_type: Option<String>,
    /// Where the answer to a request goes.
    pub response_topic: Option<String>,
    /// Ties an answer to its request.
    pub correlation_data: Option<Vec<u8>>,
    /// User properties in order.
    pub user: Vec<(String, String)>,
}

const PAYLOAD_FORMAT: u8 = 0x01;
const MESSAGE_EXPIRY: u8 = 0x02;
const CONTENT_TYPE: u8 = 0x03;
const RESPONSE_TOPIC: u8 = 0x08;
const CORRELATION_DATA: u8 = 0x09;
const USER: u8 = 0x26;

impl Properties {
    /// The first user property of that name.
    #[must_use]
    pub fn user_property(&self, name: &str) -> Option<&str> {
        self.user
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// From the wire; what cannot be read is left out (the broker has checked it).
    pub(crate) fn decode(mut bytes: &[u8]) -> Self {
        let mut properties = Self::default();
        if bytes.is_empty() {
            return properties;
        }
        while properties.decode_one(&mut bytes).is_some() {}
        properties
    }

    fn decode_one(&mut self, bytes: &mut &[u8]) -> Option<()> {
        let id = take(bytes, 1)?[0];
        match id {
            PAYLOAD_FORMAT => self.payload_format = Some(take(bytes, 1)?[0]),
            MESSAGE_EXPIRY => {
                self.message_expiry = Some(u32::from_be_bytes(take(bytes, 4)?.try_into().ok()?))
            }
            CONTENT_TYPE => self.content_type = Some(text(bytes)?),
            RESPONSE_TOPIC => self.response_topic = Some(text(bytes)?),
            CORRELATION_DATA => self.correlation_data = Some(binary(bytes)?.to_vec()),
            USER => {
                let name = text(bytes)?;
                self.user.push((name, text(bytes)?));
            }
            _ => return None,
        }
        Some(())
    }

    /// To the wire. Texts longer than 65,535 bytes make the broker refuse the answer.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(format) = self.payload_format {
            out.extend([PAYLOAD_FORMAT, format]);
        }
        if let Some(seconds) = self.message_expiry {
            out.push(MESSAGE_EXPIRY);
            out.extend(seconds.to_be_bytes());
        }
        let mut put = |id: u8, parts: &[&[u8]]| {
            out.push(id);
            for part in parts {
                out.extend(u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
                out.extend_from_slice(part);
            }
        };
        if let Some(text) = &self.content_type {
            put(CONTENT_TYPE, &[text.as_bytes()]);
        }
        if let Some(text) = &self.response_topic {
            put(RESPONSE_TOPIC, &[text.as_bytes()]);
        }
        if let Some(data) = &self.correlation_data {
            put(CORRELATION_DATA, &[data]);
        }
        for (name, value) in &self.user {
            put(USER, &[name.as_bytes(), value.as_bytes()]);
        }
        out
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (part, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(part)
}

fn binary<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let count = u16::from_be_bytes(take(bytes, 2)?.try_into().ok()?);
    take(bytes, usize::from(count))
}

fn text(bytes: &mut &[u8]) -> Option<String> {
    String::from_utf8(binary(bytes)?.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_survive_the_wire() {
        let properties = Properties {
            payload_format: Some(1),
            message_expiry: Some(90),
            content_type: Some("text/plain".into()),
            response_topic: Some("answer".into()),
            correlation_data: Some(vec![1, 2, 3]),
            user: vec![("a".into(), "1".into()), ("a".into(), "2".into())],
        };
        assert_eq!(Properties::decode(&properties.encode()), properties);
        assert_eq!(properties.user_property("a"), Some("1"));
        assert_eq!(Properties::decode(&[]), Properties::default());
    }
}
