//! The mark that ends circles: each broker that carries a message adds itself to the user property `witmq-via`.

use witmq_proto::ByteString;
use witmq_proto::packet::UserProperties;

/// User property of a message for each broker with a bridge that it passed.
pub(super) const VIA: &str = "witmq-via";
/// Such brokers that a message may pass.
const HOPS: usize = 8;

/// Marks a message with this broker; false: it passed it before, or too many.
pub(super) fn mark(user: &mut UserProperties, origin: &str) -> bool {
    let via = || user.iter().filter(|(name, _)| **name == *VIA);
    if via().any(|(_, value)| **value == *origin) || via().count() >= HOPS {
        return false;
    }
    user.push((VIA.into(), ByteString::from(origin)));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_passes_a_broker_once_and_not_too_many() {
        let mut user = UserProperties::default();
        assert!(mark(&mut user, "x"));
        assert!(!mark(&mut user, "x"));
        for number in 1..HOPS {
            assert!(mark(&mut user, &number.to_string()));
        }
        assert!(!mark(&mut user, "y"));
    }
}
