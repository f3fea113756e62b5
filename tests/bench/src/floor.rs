//! What a floor does with bytes: finds packets, forwards publishes as they are, answers what has to be answered.
//!
//! Owns: [`sort`] and [`Hello`]. No topic, no session, no state: what a broker costs beyond this is its MQTT.

use crate::wire::{TooLong, frame, publish};

/// What a floor answers to a [`Hello`].
pub const REGISTERED: u8 = b'K';

/// What a client of a floor begins with: `F`, role (1: subscriber), group (two bytes, the low one first).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// Whether it receives.
    pub is_subscriber: bool,
    /// What it sends goes to this group's subscribers.
    pub group: usize,
}

impl Hello {
    /// Bytes of a hello.
    pub const BYTES: usize = 4;

    /// Reads one.
    #[must_use]
    pub fn read(bytes: [u8; Self::BYTES]) -> Self {
        Self {
            is_subscriber: bytes[1] == 1,
            group: usize::from(u16::from_le_bytes([bytes[2], bytes[3]])),
        }
    }
}

/// Goes through whole packets: `forward` gets runs of publishes, `answers` the acknowledgements. How many bytes are done.
///
/// # Errors
/// When a packet is too long.
pub fn sort(
    bytes: &[u8],
    answers: &mut Vec<u8>,
    mut forward: impl FnMut(&[u8]),
) -> Result<usize, TooLong> {
    let (mut start, mut end) = (0, 0);
    while let Some(found) = frame(bytes.get(end..).unwrap_or_default())? {
        let packet = bytes.get(end..end + found.whole).unwrap_or_default();
        let first = packet.first().copied().unwrap_or(0);
        let body = packet.get(found.head..).unwrap_or_default();
        end += found.whole;
        let id = match first >> 4 {
            3 if first & 0x06 == 0 => continue,
            3 => publish(first, body).and_then(|(id, _)| id),
            _ => body.first_chunk().copied(),
        };
        let answer = match first >> 4 {
            3 if first & 0x06 == 0x02 => Some(0x40),
            3 => Some(0x50),
            5 => Some(0x62),
            6 => Some(0x70),
            _ => None,
        };
        if let (Some([high, low]), Some(answer)) = (id, answer) {
            answers.extend_from_slice(&[answer, 2, high, low]);
        }
        if first >> 4 != 3 {
            run(bytes, start, end - found.whole, &mut forward);
            start = end;
        }
    }
    run(bytes, start, end, &mut forward);
    Ok(end)
}

fn run(bytes: &[u8], start: usize, end: usize, forward: &mut impl FnMut(&[u8])) {
    if let Some(run) = bytes.get(start..end).filter(|run| !run.is_empty()) {
        forward(run);
    }
}

#[cfg(test)]
mod tests {
    use super::{Hello, sort};
    use crate::wire::{Stamp, Template};

    fn message(qos: u8) -> Vec<u8> {
        let stamp = Stamp {
            due_ns: 1,
            publisher: 2,
            sequence: 4,
        };
        let mut bytes = Vec::new();
        Template::new("a", qos, 16, false).emit(&mut bytes, stamp);
        bytes
    }

    #[test]
    fn publishes_go_on_in_runs_and_the_rest_is_answered() {
        let parts = [
            message(0),
            message(1),
            message(2),
            vec![0x50, 2, 0, 9],
            vec![0x62, 2, 0, 8],
        ];
        let bytes = [
            parts.concat(),
            vec![0x40, 2, 0, 7],
            message(0),
            vec![0x30, 9],
        ]
        .concat();
        let (mut answers, mut runs) = (Vec::new(), Vec::new());
        let done = sort(&bytes, &mut answers, |run| runs.push(run.to_vec())).unwrap();
        assert_eq!(done, bytes.len() - 2, "the last packet is not whole");
        assert_eq!(runs, [parts[..3].concat(), message(0)]);
        let wanted = [
            [0x40, 2, 0, 5],
            [0x50, 2, 0, 5],
            [0x62, 2, 0, 9],
            [0x70, 2, 0, 8],
        ];
        assert_eq!(answers, wanted.concat());
    }

    #[test]
    fn a_hello_names_role_and_group() {
        let hello = Hello::read([b'F', 1, 2, 1]);
        assert_eq!(
            hello,
            Hello {
                is_subscriber: true,
                group: 258
            }
        );
    }
}
