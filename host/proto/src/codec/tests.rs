//! Round trips, splits and hostile bytes; the fuzzers' corpus is replayed here.

use super::*;
use crate::packet::*;
use crate::{ReasonCode, TopicName};
use bytestring::ByteString;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

fn text() -> impl Strategy<Value = ByteString> {
    "[a-zäß€😀 ]{0,12}".prop_map(ByteString::from)
}

fn topic() -> impl Strategy<Value = ByteString> {
    "[a-z/]{1,20}".prop_map(ByteString::from)
}

fn binary() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(|id| PacketId::new(id).unwrap())
}

fn qos() -> impl Strategy<Value = QoS> {
    (0u8..3).prop_map(|bits| QoS::from_bits(bits).unwrap())
}

fn users() -> impl Strategy<Value = UserProperties> {
    vec((text(), text()), 0..3)
}

fn properties() -> impl Strategy<Value = PublishProperties> {
    let first = (
        option::of(0u8..2),
        option::of(any::<u32>()),
        option::of(topic()),
        option::of(binary()),
    );
    (first, option::of(text()), users()).prop_map(|(first, content_type, user)| {
        PublishProperties::from(MessageProperties {
            payload_format: first.0,
            message_expiry: first.1,
            response_topic: first.2,
            correlation_data: first.3,
            subscription_ids: Vec::new(),
            content_type,
            user,
        })
    })
}

fn publish() -> impl Strategy<Value = Packet> {
    let flags = (any::<bool>(), qos(), any::<bool>(), id());
    let payload = prop_oneof![binary(), vec(any::<u8>(), 4000..9000).prop_map(Bytes::from)];
    let ids = vec(1u32..268_435_455, 0..3);
    (
        flags,
        topic(),
        payload,
        option::of(1..u16::MAX),
        properties(),
        ids,
    )
        .prop_map(
            |(
                (dup, qos, retain, id),
                topic,
                payload,
                topic_alias,
                properties,
                subscription_ids,
            )| {
                let mut properties = properties;
                properties.subscription_ids = subscription_ids;
                Packet::Publish(Box::new(Publish {
                    dup: dup && qos > QoS::AtMostOnce,
                    qos,
                    retain,
                    topic,
                    packet_id: (qos > QoS::AtMostOnce).then_some(id),
                    payload,
                    topic_alias,
                    properties,
                }))
            },
        )
}

fn connect(version: Version) -> impl Strategy<Value = Packet> {
    let will = (
        topic(),
        binary(),
        qos(),
        any::<bool>(),
        any::<u32>(),
        properties(),
    )
        .prop_map(|(topic, payload, qos, retain, delay, properties)| Will {
            topic: TopicName::new(topic).unwrap(),
            payload,
            qos,
            retain,
            delay,
            properties,
        });
    let maxima = (
        option::of(1..u16::MAX),
        option::of(1..u32::MAX),
        option::of(any::<u16>()),
        option::of(any::<u32>()),
    );
    let auth = option::of((text(), option::of(binary())));
    let login = (
        text(),
        option::of(will),
        option::of((text(), option::of(binary()))),
    );
    (any::<bool>(), any::<u16>(), login, maxima, auth, users()).prop_map(
        move |(clean_start, keep_alive, (client_id, will, login), maxima, auth, user)| {
            let (username, password) =
                login.map_or((None, None), |(name, password)| (Some(name), password));
            let (method, data) = auth.map_or((None, None), |(method, data)| (Some(method), data));
            Packet::Connect(Box::new(Connect {
                version,
                clean_start,
                keep_alive,
                client_id,
                will,
                username,
                password,
                properties: ConnectProperties {
                    session_expiry: maxima.3,
                    receive_maximum: maxima.0,
                    maximum_packet_size: maxima.1,
                    topic_alias_maximum: maxima.2,
                    request_response_information: Some(clean_start),
                    request_problem_information: None,
                    authentication_method: method,
                    authentication_data: data,
                    user,
                },
            }))
        },
    )
}

fn subscribe() -> impl Strategy<Value = Packet> {
    let options = (qos(), any::<bool>(), any::<bool>(), 0u8..3).prop_map(
        |(qos, no_local, as_published, handling)| {
            let retain_handling = [
                RetainHandling::Send,
                RetainHandling::SendIfNew,
                RetainHandling::DoNotSend,
            ][usize::from(handling)];
            SubscribeOptions {
                qos,
                no_local,
                retain_as_published: as_published,
                retain_handling,
            }
        },
    );
    let filter =
        (topic(), options).prop_map(|(filter, options)| SubscribeFilter { filter, options });
    (
        id(),
        option::of(1u32..268_435_455),
        users(),
        vec(filter, 1..5),
    )
        .prop_map(|(packet_id, subscription_id, user, filters)| {
            Packet::Subscribe(Box::new(Subscribe {
                packet_id,
                subscription_id,
                user,
                filters,
            }))
        })
}

fn acks() -> impl Strategy<Value = Packet> {
    let ack = |codes: &'static [ReasonCode]| {
        (
            id(),
            proptest::sample::select(codes),
            option::of(text()),
            users(),
        )
            .prop_map(|(packet_id, reason, reason_string, user)| Ack {
                packet_id,
                reason,
                reason_string,
                user,
            })
    };
    const PUB: &[ReasonCode] = &[
        ReasonCode::Success,
        ReasonCode::NoMatchingSubscribers,
        ReasonCode::NotAuthorized,
    ];
    const REL: &[ReasonCode] = &[ReasonCode::Success, ReasonCode::PacketIdNotFound];
    prop_oneof![
        ack(PUB).prop_map(Packet::Puback),
        ack(PUB).prop_map(Packet::Pubrec),
        ack(REL).prop_map(Packet::Pubrel),
        ack(REL).prop_map(Packet::Pubcomp),
    ]
}

fn answers() -> impl Strategy<Value = Packet> {
    let suback =
        (id(), option::of(text()), users()).prop_map(|(packet_id, reason_string, user)| {
            let reasons = vec![
                ReasonCode::GrantedQos1,
                ReasonCode::Success,
                ReasonCode::UnspecifiedError,
            ];
            Packet::Suback(Box::new(Suback {
                packet_id,
                reasons,
                reason_string,
                user,
            }))
        });
    let connack = (
        any::<bool>(),
        option::of(text()),
        option::of(any::<u16>()),
        users(),
    )
        .prop_map(
            |(session_present, assigned_client_id, server_keep_alive, user)| {
                let properties = ConnackProperties {
                    assigned_client_id,
                    server_keep_alive,
                    user,
                    ..Default::default()
                };
                Packet::Connack(Box::new(Connack {
                    session_present,
                    reason: ReasonCode::Success,
                    properties,
                }))
            },
        );
    prop_oneof![suback, connack]
}

fn other() -> impl Strategy<Value = Packet> {
    let unsubscribe = (id(), users(), vec(topic(), 1..4)).prop_map(|(packet_id, user, filters)| {
        Packet::Unsubscribe(Box::new(Unsubscribe {
            packet_id,
            user,
            filters,
        }))
    });
    let disconnect = (
        option::of(any::<u32>()),
        option::of(text()),
        option::of(text()),
        users(),
    )
        .prop_map(|(session_expiry, reason_string, server_reference, user)| {
            Packet::Disconnect(Box::new(Disconnect {
                reason: ReasonCode::ServerMoved,
                session_expiry,
                reason_string,
                server_reference,
                user,
            }))
        });
    let auth = (text(), option::of(binary()), users()).prop_map(|(method, data, user)| {
        let reason = ReasonCode::ContinueAuthentication;
        Packet::Auth(Box::new(Auth {
            reason,
            method: Some(method),
            data,
            reason_string: None,
            user,
        }))
    });
    prop_oneof![
        acks(),
        unsubscribe,
        disconnect,
        auth,
        answers(),
        Just(Packet::Pingreq),
        Just(Packet::Pingresp),
    ]
}

fn packet() -> impl Strategy<Value = Packet> {
    prop_oneof![publish(), connect(Version::V5), subscribe(), other()]
}

fn encoded(packet: &Packet, version: Version) -> BytesMut {
    let mut out = BytesMut::new();
    encode(packet, version, &mut out).unwrap();
    assert_eq!(out.len(), packet_len(packet, version), "counted as written");
    out
}

fn replay(bytes: &[u8]) {
    for version in VERSIONS {
        let mut input = BytesMut::from(bytes);
        while let Ok(Some(packet)) = decode(&mut input, version, &Limits::default()) {
            // What was understood can be said again, and means the same.
            let mut again = BytesMut::new();
            if encode(&packet, version, &mut again).is_ok() {
                let decoded = decode(&mut again, version, &Limits::default());
                assert_eq!(decoded, Ok(Some(packet)), "{bytes:?}");
            }
        }
    }
    drop(decode_connect(
        &mut BytesMut::from(bytes),
        &Limits::default(),
    ));
    drop(decode_properties(bytes, &Limits::default()));
    assert!(claimed_level(bytes).is_none() || bytes.len() > 8);
}

proptest! {
    #[test]
    fn every_packet_of_mqtt_5_survives_the_wire(packet in packet()) {
        let mut bytes = encoded(&packet, Version::V5);
        prop_assert_eq!(decode(&mut bytes, Version::V5, &Limits::default()), Ok(Some(packet)));
        prop_assert!(bytes.is_empty());
    }

    #[test]
    fn a_publish_taken_in_short_is_the_one_that_is_decoded(
        packets in vec(publish(), 1..4),
        version in prop_oneof![Just(Version::V31), Just(Version::V311), Just(Version::V5)],
        is_plain in any::<bool>(),
        change in option::of((0usize..60, any::<u8>())),
    ) {
        let mut known = ByteString::new();
        for packet in packets {
            let Packet::Publish(mut publish) = packet else { unreachable!() };
            if is_plain {
                (publish.properties, publish.topic_alias) = (PublishProperties::default(), None);
            }
            let mut whole = encoded(&Packet::Publish(publish), version);
            if let Some((place, byte)) = change && let Some(old) = whole.get_mut(place) {
                *old = byte;
            }
            let mut short = whole.clone();
            let limits = Limits::default();
            let taken = decode_publish(&mut short, version, &limits, &mut known);
            let decoded = decode(&mut whole, version, &limits);
            match taken {
                Ok(None) => {}
                Ok(Some(publish)) => {
                    prop_assert_eq!(decoded, Ok(Some(Packet::Publish(Box::new(publish)))));
                    prop_assert_eq!(short, whole);
                }
                Err(error) => prop_assert_eq!(decoded, Err(error)),
            }
        }
    }

    #[test]
    fn a_connect_of_any_version_is_understood_as_the_first_packet(
        packet in prop_oneof![connect(Version::V31), connect(Version::V311), connect(Version::V5)],
    ) {
        let Packet::Connect(mut wanted) = packet else { unreachable!() };
        if !wanted.version.is_v5() {
            wanted.properties = ConnectProperties::default();
            if let Some(will) = &mut wanted.will {
                will.delay = 0;
                will.properties = PublishProperties::default();
            }
        }
        let mut bytes = encoded(&Packet::Connect(wanted.clone()), wanted.version);
        prop_assert_eq!(claimed_level(&bytes), Some(wanted.version.level()));
        prop_assert_eq!(decode_connect(&mut bytes, &Limits::default()), Ok(Some(*wanted)));
    }

    #[test]
    fn every_split_of_the_stream_gives_the_same_packets(packets in vec(packet(), 1..4), cuts in vec(any::<prop::sample::Index>(), 0..5)) {
        let stream: Vec<u8> = packets.iter().flat_map(|packet| encoded(packet, Version::V5).to_vec()).collect();
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        places.extend([0, stream.len()]);
        places.sort_unstable();
        let mut input = BytesMut::new();
        let mut got = Vec::new();
        for part in places.windows(2) {
            input.extend_from_slice(&stream[part[0]..part[1]]);
            while let Some(packet) = decode(&mut input, Version::V5, &Limits::default()).unwrap() {
                got.push(packet);
            }
        }
        prop_assert_eq!(got, packets);
    }

    #[test]
    fn any_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        replay(&bytes);
    }

    #[test]
    fn damaged_packets_never_panic(packet in packet(), at in any::<prop::sample::Index>(), with in any::<u8>()) {
        let mut bytes = encoded(&packet, Version::V5).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = with;
        replay(&bytes);
    }
}

#[test]
fn malformed_packets_are_refused_with_their_code() {
    for (bytes, reason) in [
        (&[0x00, 0][..], 0x81),                        // type 0
        (&[0x36, 5, 0, 1, b'a', 0, 1], 0x81),          // QoS 3 [MQTT-3.3.1-4]
        (&[0x38, 4, 0, 1, b'a', 0], 0x81),             // DUP on QoS 0 [MQTT-3.3.1-2]
        (&[0x32, 6, 0, 1, b'a', 0, 0, 0], 0x81),       // packet identifier 0 [MQTT-2.2.1-3]
        (&[0x30, 5, 0, 2, b'a', b'#', 0], 0x90),       // wildcard [MQTT-3.3.2-2]
        (&[0x30, 4, 0, 1, 0, 0], 0x81),                // U+0000 [MQTT-1.5.4-2]
        (&[0x30, 4, 0, 1, 0xFF, 0], 0x81),             // not UTF-8 [MQTT-1.5.4-1]
        (&[0x30, 8, 0, 1, b'a', 4, 1, 0, 1, 1], 0x82), // a property twice
        (&[0x30, 6, 0, 1, b'a', 2, 1, 2], 0x82),       // payload format 2
        (&[0x30, 7, 0, 1, b'a', 3, 0x21, 0, 1], 0x81), // a property of CONNECT
        (&[0x80, 6, 0, 1, 0, 0, 0, 0], 0x81),          // flags of SUBSCRIBE [MQTT-3.8.1-1]
        (&[0x82, 3, 0, 1, 0], 0x82),                   // no filter [MQTT-3.8.3-2]
        (&[0x82, 7, 0, 1, 0, 0, 1, b'a', 0x40], 0x81), // reserved bits [MQTT-3.8.3-5]
        (&[0x82, 7, 0, 1, 0, 0, 1, b'a', 0x30], 0x82), // retain handling 3 (section 3.8.3.1)
        (&[0x82, 7, 0, 1, 0, 0, 1, b'a', 0x03], 0x82), // QoS 3 (section 3.8.3.1)
        (&[0x60, 2, 0, 1], 0x81),                      // flags of PUBREL [MQTT-3.6.1-1]
        (&[0xC0, 1, 0], 0x81),                         // bytes behind PINGREQ
        (&[0x30, 0x80, 0x00], 0x81),                   // a length longer than needed [MQTT-1.5.5-1]
        (&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], 0x95),       // too large, before it is there
        (&[0x40, 3, 0, 1, 0x42], 0x81),                // a reason code PUBACK does not have
    ] {
        let error =
            decode(&mut BytesMut::from(bytes), Version::V5, &Limits::default()).unwrap_err();
        assert_eq!(error.reason().to_u8(), reason, "{bytes:02X?}: {error}");
    }
}

#[test]
fn limits_hold_on_both_sides() {
    let limits = Limits {
        maximum_packet_size: 16,
        user_properties: 1,
        filters: 1,
    };
    let publish = |count: usize| {
        let publish = Publish {
            topic: "a".into(),
            payload: Bytes::from(vec![0; count]),
            ..Publish::default()
        };
        encoded(&Packet::Publish(Box::new(publish)), Version::V311)
    };
    assert!(
        decode(&mut publish(11), Version::V311, &limits)
            .unwrap()
            .is_some()
    );
    assert!(matches!(
        decode(&mut publish(12), Version::V311, &limits),
        Err(DecodeError::TooLarge { size: 17, .. })
    ));
    let two = [0x82, 8, 0, 1, 0, 1, b'a', 0, 0, 0][..].to_vec();
    assert!(matches!(
        decode(&mut BytesMut::from(&two[..]), Version::V311, &limits),
        Err(DecodeError::TooMany { .. })
    ));
}

#[test]
fn a_publish_without_properties_is_taken_in_short_and_shares_a_topic_that_comes_again() {
    let mut known = ByteString::new();
    let mut take = |topic: &str| {
        let publish = Publish {
            topic: topic.into(),
            payload: Bytes::from_static(b"x"),
            ..Publish::default()
        };
        let mut bytes = encoded(&Packet::Publish(Box::new(publish)), Version::V5);
        let taken = decode_publish(&mut bytes, Version::V5, &Limits::default(), &mut known);
        taken.unwrap().unwrap().topic
    };
    let first = take("a/b");
    assert_eq!(first.as_ptr(), take("a/b").as_ptr());
    assert_ne!(first.as_ptr(), take("a/c").as_ptr());
    let long = "x".repeat(257);
    assert_ne!(take(&long).as_ptr(), take(&long).as_ptr(), "not remembered");
}

#[test]
fn the_corpus_of_the_fuzzers_is_replayed() {
    let folder =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/packets");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        replay(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 10, "{count} files");
}
