//! Messages of topics that no chain names pass by the chains, until the chains change.

use super::{Q0, join, payloads, publish, subscribed};
use crate::limits::Limits;
use crate::ports::chains::{ChainProgress, ChainRun, Rest, StepOutcome};
use crate::ports::{Chains, Named, Publisher, StepFailure, Transform};
use crate::testing::Rig;
use std::sync::{Arc, Mutex};
use witmq_proto::Message;
use witmq_proto::packet::{Packet, Version};

/// Chains on one topic, and what they were asked.
#[derive(Default)]
struct Asked {
    version: Option<u64>,
    topic: &'static str,
    named: usize,
    run: Vec<String>,
}

#[derive(Clone, Default)]
struct Naming(Arc<Mutex<Asked>>);

impl Naming {
    fn deploy(&self, version: Option<u64>, topic: &'static str) {
        let mut asked = self.0.lock().unwrap();
        (asked.version, asked.topic) = (version, topic);
    }

    /// How often they were asked for a topic, and the topics that were run, since the last call.
    fn asked(&self) -> (usize, Vec<String>) {
        let mut asked = self.0.lock().unwrap();
        (
            std::mem::take(&mut asked.named),
            std::mem::take(&mut asked.run),
        )
    }
}

impl Chains for Naming {
    fn version(&mut self) -> Option<u64> {
        self.0.lock().unwrap().version
    }

    fn names(&mut self, topic: &str) -> Named {
        let mut asked = self.0.lock().unwrap();
        asked.named += 1;
        if topic == asked.topic {
            Named::only(0)
        } else {
            Named::NONE
        }
    }

    fn run(
        &mut self,
        _: &mut dyn Transform,
        _: Publisher<'_>,
        message: &Arc<Message>,
    ) -> ChainProgress {
        let mut asked = self.0.lock().unwrap();
        asked.run.push(message.topic.to_string());
        ChainProgress::Done(ChainRun::untouched())
    }

    fn resume(
        &mut self,
        _: &mut dyn Transform,
        _: Publisher<'_>,
        _: Rest,
        _: Result<StepOutcome, StepFailure>,
    ) -> ChainProgress {
        ChainProgress::Done(ChainRun::untouched())
    }
}

#[test]
fn chains_are_asked_once_for_a_topic_and_again_when_they_change() {
    let naming = Naming::default();
    let mut rig = Rig::new(1, Limits::default());
    rig.shards[0].ports.chains = Box::new(naming.clone());
    let receiver = join(&mut rig, Version::V5, "receiver");
    subscribed(&mut rig, receiver, "#", Q0);
    let sender = join(&mut rig, Version::V5, "sender");
    let mut send = |topics: &[&str]| {
        for topic in topics {
            let packet = publish(topic, "x", Q0, 0);
            rig.send(sender, &Packet::Publish(Box::new(packet)));
        }
        assert_eq!(payloads(&mut rig, receiver).len(), topics.len());
        naming.asked()
    };
    send(&["a", "b", "a", "b"]); // remembered from here on
    naming.deploy(Some(1), "a");
    assert_eq!(send(&["a", "b", "b", "a", "b"]), (2, vec!["a".into(); 2]));
    assert_eq!(send(&["b", "a"]), (0, vec!["a".into()]));
    naming.deploy(Some(2), "b");
    assert_eq!(send(&["a", "b", "b", "a"]), (2, vec!["b".into(); 2]));
    // Somebody wants to see every message.
    naming.deploy(None, "b");
    assert_eq!(send(&["a", "b"]), (0, vec!["a".into(), "b".into()]));
    naming.deploy(Some(2), "b");
    assert_eq!(send(&["a", "b"]), (0, vec!["b".into()]));
}
