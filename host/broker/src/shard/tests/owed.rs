//! What a publisher may have unacknowledged, where messages of one read go through chains together.

use super::bursts::scripted::Scripted;
use super::lifetime::Slow;
use super::{connect, join, join_with, publish, subscribed};
use crate::limits::Limits;
use crate::ports::raised::Wanted;
use crate::testing::Rig;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use witmq_proto::packet::{Packet, QoS, Version};
use witmq_proto::{BytesMut, ReasonCode, codec};

/// Messages to `a/b` of which a chain makes another one, to `a/d`, which somebody keeps.
fn kept_by_chains(ids: std::ops::RangeInclusive<u16>) -> BytesMut {
    let mut bytes = BytesMut::new();
    for number in ids {
        let packet = publish("a/b", "aaaaaaaaaaaa", QoS::AtLeastOnce, number);
        let packet = Packet::Publish(Box::new(packet));
        codec::encode(&packet, Version::V5, &mut bytes).unwrap();
    }
    bytes
}

/// Each message of a burst that is acknowledged by itself, later, counts until then [MQTT-3.3.4-9].
#[test]
fn what_chains_kept_of_a_burst_counts_against_the_receive_maximum() {
    let stored = Arc::new(AtomicU64::new(1_000));
    let make = stored.clone();
    let mut limits = Limits::default();
    limits.settings.receive_maximum = 6;
    let mut rig = Rig::with_store(1, limits, move || Box::new(Slow::until(&make)));
    rig.shards[0].ports.chains = Box::new(Scripted {
        has_chains: true,
        wanted: Wanted::default(),
        told: Arc::default(),
    });
    let mut keeper = connect(Version::V5, "keeper");
    keeper.properties.session_expiry = Some(1_000);
    let (keeper, _) = join_with(&mut rig, keeper);
    subscribed(&mut rig, keeper, "a/d", QoS::AtLeastOnce);
    let publisher = join(&mut rig, Version::V5, "p");
    rig.send_bytes(publisher, &kept_by_chains(1..=1)); // its topic is settled
    assert_eq!(rig.received(publisher).len(), 1);
    stored.store(0, Ordering::Relaxed);
    rig.send_bytes(publisher, &kept_by_chains(1..=5));
    assert!(
        rig.counters().burst_messages >= 5,
        "they were read together"
    );
    rig.send_bytes(publisher, &kept_by_chains(6..=6));
    assert!(rig.received(publisher).is_empty() && rig.is_open(publisher));
    rig.send_bytes(publisher, &kept_by_chains(7..=7));
    let last = rig.received(publisher).pop();
    let Some(Packet::Disconnect(disconnect)) = last else {
        panic!("{last:?}")
    };
    assert_eq!(disconnect.reason, ReasonCode::ReceiveMaximumExceeded);
    assert!(!rig.is_open(publisher));
}
