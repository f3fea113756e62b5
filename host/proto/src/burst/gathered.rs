//! Messages of a burst that go on together after each of them was looked at.
//!
//! Owns: [`Gathered`]: those left as they were cost nothing while no other comes between them; a new payload or a gap makes it a copy.
//! Must not: decide what goes on.

use super::{BYTES, Burst, PACKETS, Packets, Span};
use crate::Message;
use crate::codec::{self, PublishHead};
use crate::packet::{PublishProperties, Version};
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
    pub fn keep(&mut self, span: Span) {
        if self.count == 0 {
            (self.from, self.to) = (span.start, span.end);
        } else if self.written.is_empty() && span.start == self.to {
            self.to = span.end;
        } else {
            self.write();
            let packet = self.burst.packets.bytes.get(span.start..span.end);
            self.written.extend_from_slice(packet.unwrap_or_default());
        }
        self.add(span.end - span.start, span.payload_bytes());
    }

    /// One more that took the place of the message of the burst at `span`; false (and nothing done) if more than the payload is another, or
    /// if a copy of that costs too much.
    pub fn put(&mut self, span: Span, message: &Message) -> bool {
        let burst = self.burst;
        let is_plain = message.qos == burst.packets.qos
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
            qos: burst.packets.qos,
            retain: false,
            topic: &burst.topic,
            packet_id: span.id(),
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
            count: self.count,
            payload_bytes: self.payload_bytes,
            largest: self.largest,
            ..burst.packets.clone()
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
    use crate::packet::{Packet, PacketId, Publish, QoS};
    use bytes::Bytes;
    use proptest::prelude::*;

    fn burst(payloads: &[Vec<u8>], is_v5: bool, qos: QoS) -> Burst {
        let mut input = BytesMut::new();
        for (id, payload) in (1..).zip(payloads) {
            let publish = Publish {
                topic: "a/b".into(),
                qos,
                packet_id: PacketId::new(id).filter(|_| qos > QoS::AtMostOnce),
                payload: payload.clone().into(),
                ..Publish::default()
            };
            let version = if is_v5 { Version::V5 } else { Version::V311 };
            codec::encode(&Packet::Publish(Box::new(publish)), version, &mut input).unwrap();
        }
        let packets = Packets::take(&mut input, b"a/b", is_v5, 1 << 20, |_, _| true).unwrap();
        Burst::new(TopicName::new("a/b").unwrap(), "p".into(), 5, packets)
    }

    proptest! {
        /// Whatever is kept, replaced or left out: what is taken are those messages, in order, and counted as they are.
        #[test]
        fn what_is_taken_is_what_was_put(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..40),
            kinds in proptest::collection::vec(0u8..5, 40),
            is_v5: bool,
            qos in 0u8..3,
        ) {
            let qos = QoS::from_bits(qos).unwrap();
            let burst = burst(&payloads, is_v5, qos);
            let mut gathered = Gathered::new(&burst);
            let (mut expected, mut ids, mut all) = (Vec::new(), Vec::new(), Vec::new());
            for ((span, payload), kind) in burst.spans().zip(&payloads).zip(&kinds) {
                prop_assert_eq!(&burst.payload(span), payload);
                ids.extend(span.id().filter(|_| *kind < 3));
                match kind {
                    0 | 1 => {
                        gathered.keep(span);
                        expected.push(payload.clone());
                    }
                    2 => {
                        let other = [&payload[..], b"!"].concat();
                        let message = burst.with_payload(other.clone().into());
                        prop_assert!(gathered.put(span, &message));
                        expected.push(other);
                    }
                    3 => {}
                    _ => all.extend(gathered.take()),
                }
            }
            all.extend(gathered.take());
            prop_assert!(gathered.take().is_none());
            let messages: Vec<_> = all.iter().flat_map(Burst::messages).collect();
            let expected: Vec<_> = expected.into_iter().map(|payload| burst.with_payload(payload.into())).collect();
            prop_assert_eq!(messages, expected);
            let published: Vec<_> = all.iter().flat_map(|burst| burst.packets().ids()).collect();
            prop_assert_eq!(published, ids);
            for burst in &all {
                let packets = burst.packets();
                prop_assert_eq!(packets.count(), burst.messages().count());
                let payloads = burst.messages().map(|message| message.payload.len());
                prop_assert_eq!(packets.payload_bytes(), payloads.sum::<usize>());
                let lengths = burst.spans().map(|span| span.end - span.start);
                prop_assert_eq!(Some(packets.largest), lengths.max());
            }
        }
    }

    #[test]
    fn only_another_payload_that_is_small_goes_on_with_others() {
        let burst = burst(&[vec![1]], true, QoS::AtMostOnce);
        let span = burst.spans().next().unwrap();
        let mut gathered = Gathered::new(&burst);
        let message = burst.with_payload(Bytes::from(vec![0; COPIED_BELOW - 1]));
        assert!(gathered.put(span, &message));
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
            assert!(!gathered.put(span, &message), "{message:?}");
        }
        assert_eq!(gathered.take().unwrap().packets().count(), 1);
    }

    #[test]
    fn they_are_no_more_than_a_burst_has() {
        let burst = burst(&[vec![1; 200]], false, QoS::AtMostOnce);
        let span = burst.spans().next().unwrap();
        let mut gathered = Gathered::new(&burst);
        let message = burst.with_payload(Bytes::from(vec![0; 1000]));
        let most = BYTES.div_ceil(1000 + 8);
        for number in 0..most {
            assert!(!gathered.is_full(), "{number}");
            assert!(gathered.put(span, &message));
        }
        assert!(gathered.is_full());
        gathered.take();
        for number in 0..PACKETS {
            assert!(!gathered.is_full(), "{number}");
            assert!(gathered.put(span, &burst.with_payload(Bytes::new())));
        }
        assert!(gathered.is_full());
    }
}
