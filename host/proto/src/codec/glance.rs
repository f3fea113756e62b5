//! Topics of the PUBLISHes that wait in a buffer, at a glance: for whoever wants to know what comes before it does.
//!
//! Owns: [`topics`]. Must not: judge; what is wrong with a packet [`super::decode`] says when it is its turn.

/// The type of PUBLISH, in the upper half of the first byte.
const PUBLISH: u8 = 3;

/// The topic of each whole PUBLISH in `input`, as the bytes say it: it may be no topic, or empty where an alias is meant. Ends where
/// a packet is not all there.
pub fn topics(mut input: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        loop {
            let (first, body, behind) = cut(input)?;
            input = behind;
            if first >> 4 == PUBLISH {
                let (length, rest) = body.split_at_checked(2)?;
                let length = length
                    .iter()
                    .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
                return rest.get(..length);
            }
        }
    })
}

/// The first byte of a packet, what is behind its length, and what is behind it.
fn cut(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (first, mut rest) = input.split_first()?;
    let mut length = 0;
    for at in 0..4 {
        let (byte, behind) = rest.split_first()?;
        rest = behind;
        length |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            let (body, behind) = rest.split_at_checked(length)?;
            return Some((*first, body, behind));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::topics;

    fn publish(first: u8, topic: &str, payload: usize) -> Vec<u8> {
        let length = 2 + topic.len() + payload;
        let mut bytes = vec![first];
        if length > 127 {
            bytes.extend([
                0x80 | u8::try_from(length & 0x7F).unwrap(),
                u8::try_from(length >> 7).unwrap(),
            ]);
        } else {
            bytes.push(u8::try_from(length).unwrap());
        }
        bytes.extend(u16::try_from(topic.len()).unwrap().to_be_bytes());
        bytes.extend(topic.bytes());
        bytes.extend(vec![0xFF; payload]);
        bytes
    }

    fn seen(input: &[u8]) -> Vec<String> {
        let texts = topics(input).map(|topic| String::from_utf8_lossy(topic).into_owned());
        texts.collect()
    }

    #[test]
    fn topics_of_publishes_are_seen_and_other_packets_passed_by() {
        let ping = vec![0xC0, 0];
        let all = [
            publish(0x30, "a/b", 3),
            ping,
            publish(0x3D, "c", 300),
            publish(0x32, "", 0),
        ]
        .concat();
        assert_eq!(seen(&all), ["a/b", "c", ""]);
        for end in 0..all.len() {
            let seen = seen(&all[..end]);
            assert!(
                ["a/b", "c"].starts_with(&seen.iter().map(String::as_str).collect::<Vec<_>>()),
                "{end}"
            );
        }
    }

    #[test]
    fn what_is_no_packet_ends_it() {
        for bytes in [
            &[][..],
            &[0x30],
            &[0x30, 0x80, 0x80, 0x80, 0x80, 1],
            &[0x30, 1, 0],
            &[0x30, 3, 0, 9, b'a'],
            &[0x30, 0],
        ] {
            assert!(seen(bytes).is_empty(), "{bytes:?}");
        }
    }
}
