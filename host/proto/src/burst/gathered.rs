//! Messages of a burst that go on together after each of them was looked at.
//!
//! Owns: [`Gathered`]: those left as they were cost nothing while no other comes between them; a new payload or a gap makes it a copy.
//! Must not: decide what goes on.

use super::{BYTES, Burst, PACKETS, Packets, Part};
use crate::Message;
use crate::codec::{self, PublishHead};
use crate::packet::{PublishProperties, QoS, Version};
use bytes::BytesMut;

/// Payloads from this size on are not copied to go on with others.
const COPIED_BELOW: usize = 2048;

/// Messages of one burst, in order.
#[derive(Debug)]
pub struct Gathered<'a> {
    burst: &'a Burst,
    /// Where they are in the bytes of the burst, as long as nothing is written.
    from: usize,
    to: usize,
    /// All of them, if they are anywhere else.
    written: BytesMut,
    count: usize,
    payload_bytes: usize,
    largest: usize,
}

impl<'a> Gathered<'a> {
    /// None of `burst` yet.
    #[must_use]
    pub fn new(burst: &'a Burst) -> Self {
        Self {
            burst,
            from: 0,
            to: 0,
            written: BytesMut::new(),
            count: 0,
            payload_bytes: 0,
            largest: 0,
        }
    }

    /// One more, as it came.
    #[inline]
    pub fn keep(&mut self, part: Part) {
        if self.count == 0 {
            (self.from, self.to) = (part.start, part.end);
        } else if self.written.is_empty() && part.start == self.to {
            self.to = part.end;
        } else {
            self.write();
            let packet = self.burst.packets.bytes.get(part.start..part.end);
            self.written.extend_from_slice(packet.unwrap_or_default());
        }
        self.add(part.end - part.start, part.end - part.payload);
    }

    /// One more that took the place of a message of the burst; false (and nothing done) if more than the payload is another, or
    /// if a copy of that costs too much.
    pub fn put(&mut self, message: &Message) -> bool {
        let burst = self.burst;
        let is_plain = message.qos == QoS::AtMostOnce
            && !message.retain
            && message.hops == 0
            && message.expires_at.is_none()
            && message.properties.are_none();
        let is_same = message.topic == burst.topic
            && message.publisher == burst.publisher
            && message.received_ms == burst.received_ms;
        if !is_plain || !is_same || message.payload.len() >= COPIED_BELOW {
            return false;
        }
        self.write();
        let before = self.written.len();
        let version = match burst.packets.has_properties {
            true => Version::V5,
            false => Version::V311,
        };
        let head = PublishHead {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: &burst.topic,
            packet_id: None,
            topic_alias: None,
            message_expiry: None,
            subscription_ids: &[],
            properties: &PublishProperties::default(),
            payload: &message.payload,
        };
        codec::encode_publish(&head, version, &mut self.written);
        self.add(self.written.len() - before, message.payload.len());
        true
    }

    fn add(&mut self, length: usize, payload: usize) {
        self.count += 1;
        self.payload_bytes += payload;
        self.largest = self.largest.max(length);
    }

    /// What was kept so far is a copy from here on.
    fn write(&mut self) {
        if !self.written.is_empty() {
            return;
        }
        let bytes = &self.burst.packets.bytes;
        self.written.reserve(bytes.len());
        if self.count > 0 {
            let kept = bytes.get(self.from..self.to).unwrap_or_default();
            self.written.extend_from_slice(kept);
        }
    }

    /// Whether they are as many as one burst may have.
    #[must_use]
    #[inline]
    pub fn is_full(&self) -> bool {
        self.count >= PACKETS || self.written.len() >= BYTES
    }

    /// All of them; none is left.
    pub fn take(&mut self) -> Option<Burst> {
        if self.count == 0 {
            return None;
        }
        let burst = self.burst;
        let bytes = match self.written.is_empty() {
            true => burst.packets.bytes.slice(self.from..self.to),
            false => std::mem::take(&mut self.written).freeze(),
        };
        let packets = Packets {
            bytes,
            has_properties: burst.packets.has_properties,
            count: self.count,
            payload_bytes: self.payload_bytes,
            largest: self.largest,
        };
        (self.count, self.payload_bytes, self.largest) = (0, 0, 0);
        let (topic, publisher) = (burst.topic.clone(), burst.publisher.clone());
        Some(Burst::new(topic, publisher, burst.received_ms, packets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TopicName;
    use crate::packet::{Packet, Publish};
    use bytes::Bytes;
    use proptest::prelude::*;

    fn burst(payloads: &[Vec<u8>], is_v5: bool) -> Burst {
        let mut input = BytesMut::new();
        for payload in payloads {
            let publish = Publish {
                topic: "a/b".into(),
                payload: payload.clone().into(),
                ..Publish::default()
            };
            let version = if is_v5 { Version::V5 } else { Version::V311 };
            codec::encode(&Packet::Publish(Box::new(publish)), version, &mut input).unwrap();
        }
        let packets = Packets::take(&mut input, b"a/b", is_v5, 1 << 20).unwrap();
        Burst::new(TopicName::new("a/b").unwrap(), "p".into(), 5, packets)
    }

    proptest! {
        /// Whatever is kept, replaced or left out: what is taken are those messages, in order, and counted as they are.
        #[test]
        fn what_is_taken_is_what_was_put(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..40),
            kinds in proptest::collection::vec(0u8..5, 40),
            is_v5: bool,
        ) {
            let burst = burst(&payloads, is_v5);
            let mut gathered = Gathered::new(&burst);
            let (mut expected, mut all) = (Vec::new(), Vec::new());
            for ((part, payload), kind) in burst.parts().zip(&payloads).zip(&kinds) {
                prop_assert_eq!(&burst.payload(part), payload);
                match kind {
                    0 | 1 => {
                        gathered.keep(part);
                        expected.push(payload.clone());
                    }
                    2 => {
                        let other = [&payload[..], b"!"].concat();
                        let message = burst.message(other.clone().into());
                        prop_assert!(gathered.put(&message));
                        expected.push(other);
                    }
                    3 => {}
                    _ => all.extend(gathered.take()),
                }
            }
            all.extend(gathered.take());
            prop_assert!(gathered.take().is_none());
            let messages: Vec<_> = all.iter().flat_map(Burst::messages).collect();
            let expected: Vec<_> = expected.into_iter().map(|payload| burst.message(payload.into())).collect();
            prop_assert_eq!(messages, expected);
            for burst in &all {
                let packets = burst.packets();
                prop_assert_eq!(packets.count(), burst.messages().count());
                let payloads = burst.messages().map(|message| message.payload.len());
                prop_assert_eq!(packets.payload_bytes(), payloads.sum::<usize>());
                let lengths = burst.parts().map(|part| part.end - part.start);
                prop_assert_eq!(Some(packets.largest), lengths.max());
            }
        }
    }

    #[test]
    fn only_another_payload_that_is_small_goes_on_with_others() {
        let burst = burst(&[vec![1]], true);
        let mut gathered = Gathered::new(&burst);
        let message = burst.message(Bytes::from(vec![0; COPIED_BELOW - 1]));
        assert!(gathered.put(&message));
        type Change = fn(&mut Message);
        let changes: [Change; 6] = [
            |message| message.payload = Bytes::from(vec![0; COPIED_BELOW]),
            |message| message.retain = true,
            |message| message.qos = QoS::AtLeastOnce,
            |message| message.topic = TopicName::new("a/c").unwrap(),
            |message| message.hops = 1,
            |message| message.properties.content_type = Some("text/plain".into()),
        ];
        for change in changes {
            let mut message = message.clone();
            change(&mut message);
            assert!(!gathered.put(&message), "{message:?}");
        }
        assert_eq!(gathered.take().unwrap().packets().count(), 1);
    }

    #[test]
    fn they_are_no_more_than_a_burst_has() {
        let burst = burst(&[vec![1; 200]], false);
        let mut gathered = Gathered::new(&burst);
        let message = burst.message(Bytes::from(vec![0; 1000]));
        let most = BYTES.div_ceil(1000 + 8);
        for number in 0..most {
            assert!(!gathered.is_full(), "{number}");
            assert!(gathered.put(&message));
        }
        assert!(gathered.is_full());
        gathered.take();
        for number in 0..PACKETS {
            assert!(!gathered.is_full(), "{number}");
            assert!(gathered.put(&burst.message(Bytes::new())));
        }
        assert!(gathered.is_full());
    }
}
