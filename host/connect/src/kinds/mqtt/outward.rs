//! What chains hand over is published at the other broker, and is done when that acknowledged it.
//!
//! Owns: which acknowledgement belongs to which message of a batch.

use super::Bridge;
use super::link::{Happening, Link, Outgoing, Use};
use crate::kinds::via::mark;
use crate::outlet::{Answer, Later, Outlet, Trouble};
use crate::record::Record;
use std::collections::{HashMap, VecDeque};

pub(crate) struct Outward {
    bridge: Bridge,
    link: Option<Link>,
}

/// A batch under way.
#[derive(Default)]
struct Batch {
    answers: Vec<Option<Answer>>,
    /// Numbers of messages that were handed to the link, in order.
    handed: VecDeque<usize>,
    /// By packet identifier.
    sent: HashMap<u16, usize>,
}

impl Batch {
    fn answer(&mut self, number: Option<usize>, answer: Answer) {
        if let Some(place) = number.and_then(|number| self.answers.get_mut(number)) {
            *place = Some(answer);
        }
    }

    /// True: the link is not to be used any more.
    fn take(&mut self, happening: Happening) -> Result<bool, Trouble> {
        match happening {
            Happening::Written(packet_id) => {
                let number = self.handed.pop_front();
                match (packet_id, number) {
                    (0, number) => self.answer(number, Answer::Done),
                    (packet_id, Some(number)) => drop(self.sent.insert(packet_id, number)),
                    _ => {}
                }
                Ok(false)
            }
            Happening::Answered {
                packet_id,
                answer,
                is_spent,
            } => {
                let number = self.sent.remove(&packet_id);
                self.answer(number, answer?);
                Ok(is_spent)
            }
            _ => Ok(false),
        }
    }
}

impl Outward {
    pub(in crate::kinds) fn new(bridge: Bridge) -> Self {
        Self { bridge, link: None }
    }

    /// Hands a message to the link; `Some`: it is not to go there.
    fn hand(&self, link: &Link, record: &Record) -> Result<Option<Answer>, Trouble> {
        let Some(way) = &self.bridge.settings.out else {
            return Ok(Some(Answer::Never("this bridge has no `out`".to_owned())));
        };
        let mut user = record.properties.user.clone();
        if !mark(&mut user, &self.bridge.means.origin) {
            return Ok(Some(Answer::Looped));
        }
        let topic = way.topic(&record.topic);
        if witmq_proto::TopicName::new(topic.as_str()).is_err() {
            return Ok(Some(Answer::Never(format!("`{topic}` is no topic"))));
        }
        let handed = link.publish(Outgoing {
            topic,
            qos: way.qos.unwrap_or(record.qos),
            retain: record.retain && way.keeps_retain,
            record,
            user,
        });
        handed.map_err(Trouble::away)?;
        Ok(None)
    }
}

impl Outlet for Outward {
    fn check(&mut self) -> Later<'_, Result<String, String>> {
        Box::pin(async {
            match Link::open(&self.bridge, Use::Check).await {
                Ok(link) => {
                    link.leave().await;
                    let place = self.bridge.settings.place();
                    Ok(format!("{place} lets this broker in"))
                }
                Err(Trouble::Away { text, .. } | Trouble::Refused(text)) => Err(text),
            }
        })
    }

    fn send<'a>(&'a mut self, batch: &'a [Record]) -> Later<'a, Result<Vec<Answer>, Trouble>> {
        Box::pin(async move {
            let link = self.link.take().filter(|link| !link.is_over());
            let mut link = match link {
                Some(link) => link,
                None => Link::open(&self.bridge, Use::Out).await?,
            };
            let mut under_way = Batch::default();
            for (number, record) in batch.iter().enumerate() {
                let answer = self.hand(&link, record)?;
                if answer.is_none() {
                    under_way.handed.push_back(number);
                }
                under_way.answers.push(answer);
            }
            let mut is_spent = false;
            while under_way.answers.iter().any(Option::is_none) {
                let happening = link.next().await?;
                is_spent |= under_way.take(happening)?;
            }
            if !is_spent {
                self.link = Some(link);
            }
            Ok(under_way.answers.into_iter().flatten().collect())
        })
    }

    fn idle(&mut self) -> Later<'_, Result<(), String>> {
        Box::pin(async {
            let Some(link) = &mut self.link else {
                return Ok(());
            };
            // What comes meanwhile concerns nobody, and must not fill the queue: answers to pings.
            while let Some(past) = link.past() {
                let (Ok(Happening::Goodbye(text))
                | Err(Trouble::Away { text, .. } | Trouble::Refused(text))) = past
                else {
                    continue;
                };
                self.link = None;
                tracing::debug!(
                    sink = self.bridge.name,
                    "the link to the other broker ended: {text}"
                );
                return Ok(()); // made anew when there is something to send
            }
            Ok(())
        })
    }

    fn close(&mut self) -> Later<'_, ()> {
        Box::pin(async {
            if let Some(link) = self.link.take() {
                link.leave().await;
            }
        })
    }
}
