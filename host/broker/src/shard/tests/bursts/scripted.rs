//! Chains whose outcomes are written in the messages.

use super::*;

/// Chains on some topics, or on none; what they make of a message is in the message. What happens to messages they may want to
/// know.
pub(in crate::shard::tests) struct Scripted {
    pub(in crate::shard::tests) has_chains: bool,
    pub(in crate::shard::tests) wanted: Wanted,
    pub(in crate::shard::tests) told: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    fn chain(&self, message: &Arc<Message>, may_wait: bool) -> ChainProgress {
        let mut run = ChainRun::untouched();
        let first = message.payload.first().copied().map_or(0, usize::from);
        let changed = |change: fn(&mut Message)| {
            let mut message = Message::clone(message);
            change(&mut message);
            Arc::new(message)
        };
        let other_payload = |message: &mut Message| {
            message.payload = [&message.payload[..], b"!"].concat().into();
        };
        let other_topic = |message: &mut Message| message.topic = TopicName::new("a/c").unwrap();
        match (first + message.payload.len()) % 16 {
            8 => run.outcome = ChainOutcome::Replaced(changed(other_payload)),
            9 => run.outcome = ChainOutcome::Replaced(changed(other_topic)),
            10 => {
                let parts = vec![message.clone(), changed(other_topic)];
                run.outcome = ChainOutcome::Split(parts);
            }
            11 => run.outcome = ChainOutcome::Consumed,
            12 => {
                run.outcome = ChainOutcome::Refused {
                    reason: ReasonCode::NotAuthorized,
                    text: None,
                };
            }
            13 => run.emissions.push(changed(|message| {
                message.topic = TopicName::new("a/d").unwrap();
                (message.hops, message.qos) = (1, QoS::AtLeastOnce);
            })),
            14 => {
                run.outcome = ChainOutcome::Replaced(changed(|message| {
                    message.properties.content_type = Some("x".into());
                    message.retain = true;
                }));
            }
            15 if may_wait => {
                return ChainProgress::Waits {
                    answer: Box::pin(std::future::ready(Ok(StepOutcome::Pass))),
                    rest: Box::new(message.clone()),
                };
            }
            _ => {}
        }
        ChainProgress::Done(run)
    }
}

impl Chains for Scripted {
    fn wanted(&mut self) -> Wanted {
        self.wanted
    }

    fn present(&mut self, raised: &Raised, _: u64) -> Option<Message> {
        if let Detail::Message {
            message,
            qos,
            reason,
            cause,
        } = &raised.detail
        {
            let (kind, client_id) = (raised.kind, &raised.client_id);
            let what = (&message.topic, &message.payload, message.qos);
            let how = (qos, reason, cause);
            let told = format!("{kind:?} {client_id} {what:?} {how:?}");
            self.told.lock().unwrap().push(told);
        }
        None
    }

    fn version(&mut self) -> Option<u64> {
        Some(0)
    }

    fn names(&mut self, topic: &str) -> Named {
        match self.has_chains && topic.starts_with("a/") {
            true => Named::SOME,
            false => Named::NONE,
        }
    }

    fn run(
        &mut self,
        _: &mut dyn Transform,
        _: Publisher<'_>,
        message: &Arc<Message>,
    ) -> ChainProgress {
        match self.names(&message.topic).is_some() {
            true => self.chain(message, true),
            false => ChainProgress::Done(ChainRun::untouched()),
        }
    }

    fn resume(
        &mut self,
        _: &mut dyn Transform,
        _: Publisher<'_>,
        rest: Rest,
        _: Result<StepOutcome, StepFailure>,
    ) -> ChainProgress {
        self.chain(&rest.downcast::<Arc<Message>>().unwrap(), false)
    }
}
