//! A message on the desk of a guest: put there in one piece, and its record written without a look at the types of its fields.
//!
//! Owns: [`Laid`], which goes in where `hot::Message` would. Must not: be used where a text or list has no room there.

use super::hot::Message;
use super::lean::{BEYOND, Desk};
use std::mem::MaybeUninit;
use wasmtime::ValRaw;
use wasmtime::component::__internal::{
    CanonicalAbiInfo, InstanceType, InterfaceType, LowerContext,
};
use wasmtime::component::{ComponentType, Lower};

/// Values of a message where it lies flat.
const FLAT: usize = 15;

/// A message for a guest that lends a desk.
#[derive(Debug)]
pub(crate) struct Laid<'a> {
    pub(crate) desk: Desk,
    /// Topic, payload, properties, client id, user name.
    pub(crate) parts: [&'a [u8]; 5],
    pub(crate) payload_len: u32,
    pub(crate) session: u64,
    pub(crate) received_ms: u64,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
}

impl Laid<'_> {
    /// Whether it has room there.
    pub(crate) fn fits(&self) -> bool {
        let sum: usize = self.parts.iter().map(|part| part.len()).sum();
        u32::try_from(sum).is_ok_and(|sum| sum <= self.desk.bytes)
    }
}

// SAFETY: it has the type of a message, which lies flat in so many values (asserted below).
unsafe impl ComponentType for Laid<'_> {
    type Lower = [ValRaw; FLAT];

    const ABI: CanonicalAbiInfo = <Message<'static> as ComponentType>::ABI;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()> {
        <Message<'static> as ComponentType>::typecheck(ty, types)
    }
}

const _: () =
    assert!(size_of::<<Message<'static> as ComponentType>::Lower>() == size_of::<[ValRaw; FLAT]>());

// SAFETY: all values of `dst` are written in the case in which this ends well, in the order of the fields of the record.
unsafe impl Lower for Laid<'_> {
    #[inline]
    fn linear_lower_to_flat<U>(
        &self,
        cx: &mut LowerContext<'_, U>,
        _: InterfaceType,
        dst: &mut MaybeUninit<[ValRaw; FLAT]>,
    ) -> wasmtime::Result<()> {
        let memory = cx.as_slice_mut();
        let mut at = usize::try_from(self.desk.at)?;
        let mut put = |part: &[u8]| -> wasmtime::Result<[ValRaw; 2]> {
            let (begin, bytes) = (at, part.len());
            if bytes > 0 {
                let place = memory.get_mut(begin..begin + bytes);
                let place = place.ok_or_else(|| wasmtime::Error::msg(BEYOND))?;
                place.copy_from_slice(part);
                at += bytes;
            }
            // A desk lies within 32 bits.
            Ok([ValRaw::i64(begin as i64), ValRaw::i64(bytes as i64)])
        };
        let [topic, payload, properties, client_id, username] = self.parts;
        let [topic, topic_bytes] = put(topic)?;
        let [payload, payload_bytes] = put(payload)?;
        let [properties, properties_bytes] = put(properties)?;
        let [client_id, client_id_bytes] = put(client_id)?;
        let [username, username_bytes] = put(username)?;
        dst.write([
            topic,
            topic_bytes,
            payload,
            payload_bytes,
            ValRaw::u32(self.payload_len),
            properties,
            properties_bytes,
            client_id,
            client_id_bytes,
            username,
            username_bytes,
            ValRaw::u64(self.session),
            ValRaw::u64(self.received_ms),
            ValRaw::u32(self.qos.into()),
            ValRaw::u32(self.retain.into()),
        ]);
        Ok(())
    }

    /// Parameters of a function that has so few of them never lie in memory.
    fn linear_lower_to_memory<U>(
        &self,
        _: &mut LowerContext<'_, U>,
        _: InterfaceType,
        _: usize,
    ) -> wasmtime::Result<()> {
        Err(wasmtime::Error::msg("a message on a desk lies flat"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_all_of_a_message_to_the_last_byte() {
        let laid = |payload, bytes| Laid {
            desk: Desk { at: 64, bytes },
            parts: [b"abc", payload, b"", b"c", b""],
            payload_len: 0,
            session: 0,
            received_ms: 0,
            qos: 0,
            retain: false,
        };
        assert!(laid(b"12345", 9).fits());
        assert!(!laid(b"123456", 9).fits());
        assert!(!laid(b"", 0).fits());
    }
}
