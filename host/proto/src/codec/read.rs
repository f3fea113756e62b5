//! Reading fields off one packet's body, each bounded by what is left of it.

use super::Limits;
use crate::error::DecodeError;
use crate::packet::PacketId;
use bytes::{Buf, Bytes};
use bytestring::ByteString;

/// The rest of a packet's body.
pub(super) struct Reader {
    rest: Bytes,
    limits: Limits,
}

impl Reader {
    pub(super) fn new(body: Bytes, limits: &Limits) -> Self {
        Self {
            rest: body,
            limits: *limits,
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    fn need(&self, count: usize, field: &'static str) -> Result<(), DecodeError> {
        if self.rest.len() < count {
            Err(DecodeError::Truncated(field))
        } else {
            Ok(())
        }
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.need(1, field)?;
        Ok(self.rest.get_u8())
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.need(2, field)?;
        Ok(self.rest.get_u16())
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.need(4, field)?;
        Ok(self.rest.get_u32())
    }

    /// A variable byte integer in its shortest form.
    pub(super) fn variable(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        let mut value = 0u32;
        for index in 0..4u32 {
            let byte = self.u8(field)?;
            value |= u32::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                return if index > 0 && byte == 0 {
                    Err(DecodeError::Length)
                } else {
                    Ok(value)
                };
            }
        }
        Err(DecodeError::Length)
    }

    /// The next `count` bytes as a reader of their own.
    pub(super) fn part(&mut self, count: u32, field: &'static str) -> Result<Self, DecodeError> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        self.need(count, field)?;
        Ok(Self {
            rest: self.rest.split_to(count),
            limits: self.limits,
        })
    }

    pub(super) fn binary(&mut self, field: &'static str) -> Result<Bytes, DecodeError> {
        let count = usize::from(self.u16(field)?);
        self.need(count, field)?;
        Ok(self.rest.split_to(count))
    }

    /// A UTF-8 string: well-formed, no surrogate, no U+0000 [MQTT-1.5.4-1] [MQTT-1.5.4-2].
    pub(super) fn text(&mut self, field: &'static str) -> Result<ByteString, DecodeError> {
        let bytes = self.binary(field)?;
        if bytes.contains(&0) {
            return Err(DecodeError::Utf8(field));
        }
        ByteString::try_from(bytes).map_err(|_| DecodeError::Utf8(field))
    }

    pub(super) fn packet_id(&mut self) -> Result<PacketId, DecodeError> {
        PacketId::new(self.u16("packet identifier")?).ok_or(DecodeError::PacketIdZero)
    }

    /// Everything that is left.
    pub(super) fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.rest)
    }

    /// Nothing may be left.
    pub(super) fn finish(&self, packet: &'static str) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(DecodeError::Trailing {
            packet,
            count: self.rest.len(),
        })
    }
}
