//! Shared and exclusive subscriptions, Response Information and the way to another server, at the wire.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, Packet, SubscribeReasonCode};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use witmq_e2e::client::{Client, connect, options};
use witmq_e2e::{Broker, PATIENCE};

/// Exit code of a command the broker refused.
const REFUSED: i32 = 4;

async fn client(broker: &Broker, id: &str) -> Client {
    connect(options(broker.address("tcp"), id)).await.unwrap()
}

/// Who of the members got which messages, after so many.
async fn shares(members: &mut [Client], publisher: &mut Client, topics: &[String]) -> Vec<usize> {
    for topic in topics {
        publisher
            .sender
            .publish(topic, QoS::AtLeastOnce, false, "x")
            .await
            .unwrap();
        publisher
            .wait(|packet| matches!(packet, Packet::PubAck(_)).then_some(()))
            .await;
    }
    // A member has all of its share once it has what is sent to each of them afterwards.
    let mut counts = Vec::new();
    for (number, member) in members.iter_mut().enumerate() {
        let end = format!("end/{number}");
        publisher
            .sender
            .publish(&end, QoS::AtLeastOnce, false, "end")
            .await
            .unwrap();
        let mut count = 0;
        while member.text().await != "end" {
            count += 1;
        }
        counts.push(count);
    }
    counts
}

#[tokio::test]
async fn groups_share_by_the_strategy_of_the_configuration() {
    let broker = Broker::serve_open(
        "shards = 3\n[shared]\nstrategy = \"round-robin\"\ngroups = { hashed = \"hash-topic\", stuck = \"sticky\" }\n",
    );
    let topics: Vec<String> = (0..30).map(|n| format!("t/{}", n % 10)).collect();
    let mut publisher = client(&broker, "publisher").await;
    let mut seen = BTreeMap::new();
    for group in ["turns", "hashed", "stuck"] {
        let mut members = Vec::new();
        for number in 0..3 {
            let mut member = client(&broker, &format!("{group}-{number}")).await;
            member
                .subscribe(&format!("end/{number}"), QoS::AtLeastOnce)
                .await;
            member
                .subscribe(&format!("$share/{group}/t/#"), QoS::AtLeastOnce)
                .await;
            members.push(member);
        }
        seen.insert(group, shares(&mut members, &mut publisher, &topics).await);
    }
    assert_eq!(seen["turns"], [10; 3]);
    let hashed = &seen["hashed"];
    assert!(hashed.iter().all(|count| count % 3 == 0), "{hashed:?}");
    assert_eq!(hashed.iter().sum::<usize>(), 30);
    let mut stuck = seen["stuck"].clone();
    stuck.sort_unstable();
    assert_eq!(stuck, [0, 0, 30]);
}

#[tokio::test]
async fn an_exclusive_filter_has_one_client_also_after_kill_9() {
    let mut broker = Broker::serve_open("shards = 2\n");
    let asks = async |broker: &Broker, id: &str| {
        let mut options = options(broker.address("tcp"), id);
        options.set_clean_start(false);
        options.set_session_expiry_interval(Some(600));
        let mut client = connect(options).await.unwrap();
        client
            .sender
            .subscribe("$exclusive/a/b", QoS::AtLeastOnce)
            .await
            .unwrap();
        client
            .wait(|packet| match packet {
                Packet::SubAck(suback) => Some(suback.return_codes[0]),
                _ => None,
            })
            .await
    };
    let granted = SubscribeReasonCode::Success(QoS::AtLeastOnce);
    assert_eq!(asks(&broker, "first").await, granted);
    assert_eq!(
        asks(&broker, "second").await,
        SubscribeReasonCode::QuotaExceeded
    );
    broker.kill_9_and_start_again();
    assert_eq!(
        asks(&broker, "second").await,
        SubscribeReasonCode::QuotaExceeded
    );
    assert_eq!(asks(&broker, "first").await, granted);
}

#[tokio::test]
async fn clients_are_sent_to_another_server_until_they_are_served_again() {
    let broker = Broker::serve_open("");
    // By hand: the client library keeps a DISCONNECT of the server to itself.
    let mut connected = std::net::TcpStream::connect(broker.address("tcp")).unwrap();
    connected.set_read_timeout(Some(PATIENCE)).unwrap();
    let hello = b"\x10\x0E\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01r";
    connected.write_all(hello).unwrap();
    let mut connack = [0; 4];
    connected.read_exact(&mut connack).unwrap();
    assert_eq!((connack[0], connack[3]), (0x20, 0));
    let said = broker.ok(&["drain", "--to", "other.example:1883", "--permanent"], "");
    assert!(said.contains("other.example:1883 for good"), "{said}");
    let mut rest = Vec::new();
    connected.read_to_end(&mut rest).unwrap();
    let reference = b"\x1C\x00\x12other.example:1883";
    assert!(rest.windows(reference.len()).any(|part| part == reference));
    let disconnect = rest.windows(3).any(|part| matches!(part, [0xE0, _, 0x9D]));
    assert!(disconnect, "{rest:02x?}");
    let refused = connect(options(broker.address("tcp"), "late")).await;
    assert_eq!(refused.err(), Some(ConnectReturnCode::ServerMoved));
    let said = broker.ok(&["drain", "--stop"], "");
    assert!(said.contains("clients are served"), "{said}");
    client(&broker, "late").await;
}

#[tokio::test]
async fn a_configured_redirect_refuses_everybody_and_is_not_overridden() {
    let broker = Broker::serve_open("[redirect]\nserver = \"other:1883\"\n");
    let refused = connect(options(broker.address("tcp"), "c")).await;
    assert_eq!(refused.err(), Some(ConnectReturnCode::UseAnotherServer));
    let text = broker.fails(&["drain", "--stop"], REFUSED);
    assert!(text.contains("redirect.server"), "{text}");
}

#[tokio::test]
async fn response_information_is_told_on_request() {
    let broker = Broker::serve_open("[mqtt]\nresponse_information = \"response/{client}\"\n");
    for (request, told) in [(1, Some("response/c")), (0, None)] {
        let mut options = options(broker.address("tcp"), "c");
        options.set_request_response_info(Some(request));
        let (_, mut events) = rumqttc::v5::AsyncClient::new(options, 8);
        let first = events.poll().await.unwrap();
        let rumqttc::v5::Event::Incoming(Packet::ConnAck(connack)) = first else {
            panic!("{first:?}")
        };
        let information = connack
            .properties
            .and_then(|said| said.response_information);
        assert_eq!(information.as_deref(), told);
    }
}
