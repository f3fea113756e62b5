//! A disk that takes nothing: what would have to be kept is refused, the rest is served, nothing acknowledged is
//! lost, and it goes on by itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use witmq_e2e::client::{Client, connect, options};
use witmq_e2e::raw::{Incoming, Raw};
use witmq_e2e::{Broker, PATIENCE};

async fn publish(client: &mut Client, topic: &str, payload: &str) -> PubAckReason {
    let sent = client
        .sender
        .publish(topic, QoS::AtLeastOnce, false, payload.to_owned());
    sent.await.unwrap();
    client
        .wait(|packet| match packet {
            Packet::PubAck(ack) => Some(ack.reason),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn a_full_disk_refuses_what_must_be_kept_and_nothing_else() {
    let mut broker = Broker::serve_open("");
    let address = broker.address("tcp");
    let (mut keeper, _) = Raw::connect(address, "keeper", false, None).unwrap();
    keeper.subscribe("kept/#", 1, 1).unwrap();
    assert_eq!(keeper.next(PATIENCE).unwrap(), Some(Incoming::Suback(1)));
    keeper.disconnect().unwrap();
    let mut first = connect(options(address, "first")).await.unwrap();
    assert_eq!(
        publish(&mut first, "kept/x", "before").await,
        PubAckReason::Success
    );

    broker.fill_disk(true);
    // Whoever finds out is not answered before it is stored.
    let waiting = first
        .sender
        .publish("kept/x", QoS::AtLeastOnce, false, "withheld");
    waiting.await.unwrap();
    broker.wait_for_log("the storage takes nothing").await;
    let mut second = connect(options(address, "second")).await.unwrap();
    assert_eq!(
        publish(&mut second, "kept/x", "refused").await,
        PubAckReason::QuotaExceeded
    );
    // What nobody keeps goes its way.
    second.subscribe("live/#", QoS::AtLeastOnce).await;
    assert_eq!(
        publish(&mut second, "live/x", "live").await,
        PubAckReason::Success
    );
    let refused = Raw::connect(address, "another", false, None);
    assert!(
        refused.is_err(),
        "a session was promised that cannot be kept"
    );

    broker.fill_disk(false);
    broker.wait_for_log("the storage takes records again").await;
    let reason = first
        .wait(|packet| match packet {
            Packet::PubAck(ack) => Some(ack.reason),
            _ => None,
        })
        .await;
    assert_eq!(reason, PubAckReason::Success);
    assert_eq!(
        publish(&mut second, "kept/x", "after").await,
        PubAckReason::Success
    );
    broker.kill_9_and_start_again();
    let (mut keeper, is_present) = Raw::connect(address, "keeper", false, None).unwrap();
    assert!(is_present);
    for expected in ["before", "withheld", "after"] {
        match keeper.next(PATIENCE).unwrap() {
            Some(Incoming::Publish { payload, id, .. }) => {
                assert_eq!(String::from_utf8(payload).unwrap(), expected);
                keeper.acknowledge(0x40, id).unwrap();
            }
            other => panic!("{other:?} where {expected} was expected"),
        }
    }
}
