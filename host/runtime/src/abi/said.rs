//! What `on-message` answered: the two outcomes that nearly all messages have are read where they lie.
//!
//! Owns: [`Said`], which comes out where the answer would, with the same bounds. Must not: judge it.

use super::hot::Answer;
use bytes::Bytes;
use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext};
use wasmtime::component::{ComponentType, Lift};

/// An answer.
#[derive(Debug)]
pub(crate) enum Said {
    /// Unchanged.
    Passed,
    /// With another payload and nothing else changed.
    Payload(Bytes),
    /// Rare, and large.
    Other(Box<Answer>),
}

/// Bytes of an answer where it lies: whether it failed, the outcome, then the fields of a patch, each behind whether it is there.
const BYTES: usize = 48;
const FAILED: usize = 0;
const OUTCOME: usize = 4;
const PASS: u8 = 0;
const MODIFY: u8 = 1;
const TOPIC: usize = 8;
const PAYLOAD: usize = 20;
const PROPERTIES: usize = 32;
const QOS: usize = 44;
const RETAIN: usize = 46;

const _: () = assert!(<Answer as ComponentType>::SIZE32 == BYTES);

// SAFETY: it has the type of an answer.
unsafe impl ComponentType for Said {
    type Lower = <Answer as ComponentType>::Lower;

    const ABI: CanonicalAbiInfo = <Answer as ComponentType>::ABI;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()> {
        <Answer as ComponentType>::typecheck(ty, types)
    }
}

/// The payload of an answer in which nothing else is changed: its address and bytes.
fn payload_alone(bytes: &[u8]) -> Option<(usize, usize)> {
    let is = |at: usize, value: u8| bytes.get(at) == Some(&value);
    let is_alone = is(OUTCOME, MODIFY)
        && is(PAYLOAD, 1)
        && [TOPIC, PROPERTIES, QOS, RETAIN]
            .into_iter()
            .all(|at| is(at, 0));
    let word = |at: usize| {
        let word = bytes.get(at..)?.first_chunk()?;
        usize::try_from(u32::from_le_bytes(*word)).ok()
    };
    is_alone
        .then(|| Some((word(PAYLOAD + 4)?, word(PAYLOAD + 8)?)))
        .flatten()
}

// SAFETY: what is not understood here is lifted as an answer.
unsafe impl Lift for Said {
    fn linear_lift_from_flat(
        cx: &mut LiftContext<'_>,
        ty: InterfaceType,
        src: &Self::Lower,
    ) -> wasmtime::Result<Self> {
        let answer = Answer::linear_lift_from_flat(cx, ty, src)?;
        Ok(Self::Other(Box::new(answer)))
    }

    #[inline]
    fn linear_lift_from_memory(
        cx: &mut LiftContext<'_>,
        ty: InterfaceType,
        bytes: &[u8],
    ) -> wasmtime::Result<Self> {
        if bytes.get(FAILED) == Some(&0) {
            if bytes.get(OUTCOME) == Some(&PASS) {
                return Ok(Self::Passed);
            }
            if let Some((at, length)) = payload_alone(bytes) {
                cx.consume_fuel(length)?;
                let payload = at.checked_add(length);
                let payload = payload.and_then(|end| cx.memory().get(at..end));
                let payload = payload.ok_or_else(|| {
                    wasmtime::Error::msg("the payload of an answer lies beyond its memory")
                })?;
                return Ok(Self::Payload(Bytes::copy_from_slice(payload)));
            }
        }
        let answer = Answer::linear_lift_from_memory(cx, ty, bytes)?;
        Ok(Self::Other(Box::new(answer)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_read_by_itself_only_if_nothing_else_is_changed() {
        let mut answer = [0; BYTES];
        assert_eq!(payload_alone(&answer), None, "passed");
        (answer[OUTCOME], answer[PAYLOAD]) = (MODIFY, 1);
        (answer[PAYLOAD + 5], answer[PAYLOAD + 8]) = (1, 7);
        assert_eq!(payload_alone(&answer), Some((256, 7)));
        for at in [TOPIC, PROPERTIES, QOS, RETAIN] {
            let mut more = answer;
            more[at] = 1;
            assert_eq!(payload_alone(&more), None, "{at}");
        }
        answer[OUTCOME] = 2;
        assert_eq!(payload_alone(&answer), None, "another outcome");
        assert_eq!(payload_alone(&answer[..OUTCOME]), None);
    }
}
