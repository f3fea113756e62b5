//! What chains hand over is published at the other broker, and is done when that acknowledged it.
//!
//! Owns: which acknowledgement belongs to which message of a batch.

use super::{Bridge, level, mark};
use crate::outlet::{Answer, Later, Outlet, Trouble};
use crate::record::{Record, now_ms};
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason, PubRecReason, PublishProperties};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, StateError};
use std::collections::{HashMap, VecDeque};
use tokio::sync::mpsc;

/// Messages on their way between the link's task and here.
const EVENTS: usize = 64;
/// Messages of a batch, and some.
const REQUESTS: usize = 10_100;

/// A connection, polled by a task of its own so that a batch can be given up without harm to it.
struct Link {
    client: AsyncClient,
    events: mpsc::Receiver<Result<Event, Trouble>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) struct Outward {
    bridge: Bridge,
    link: Option<Link>,
}

fn trouble(error: ConnectionError) -> Trouble {
    match error {
        ConnectionError::MqttState(StateError::OutgoingPacketTooLarge { pkt_size, max }) => {
            Trouble::Refused(format!(
                "it takes {pkt_size} bytes, and the other broker takes {max}"
            ))
        }
        error => Trouble::away(error),
    }
}

impl Link {
    async fn open(bridge: &Bridge, what: &str) -> Result<Self, Trouble> {
        let name = format!("{}-{what}", bridge.name);
        let options = bridge.settings.options(&name, &bridge.means);
        let mut options = options.map_err(Trouble::away)?;
        options.set_clean_start(true);
        let (client, mut eventloop) = AsyncClient::new(options, REQUESTS);
        let (sender, events) = mpsc::channel(EVENTS);
        let task = tokio::spawn(async move {
            loop {
                let event = eventloop.poll().await.map_err(trouble);
                let is_over = event.is_err();
                if sender.send(event).await.is_err() || is_over {
                    return;
                }
            }
        });
        let mut link = Self {
            client,
            events,
            task,
        };
        loop {
            if let Event::Incoming(Packet::ConnAck(_)) = link.next().await? {
                return Ok(link);
            }
        }
    }

    async fn next(&mut self) -> Result<Event, Trouble> {
        let ended = || Trouble::away("the connection ended");
        match self.events.recv().await.ok_or_else(ended)?? {
            Event::Incoming(Packet::Disconnect(said)) => Err(Trouble::away(format!(
                "the other broker said goodbye: {:?}",
                said.reason_code
            ))),
            event => Ok(event),
        }
    }
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
    fn take(&mut self, event: Event) -> Result<bool, Trouble> {
        match event {
            Event::Outgoing(Outgoing::Publish(id)) => {
                let number = self.handed.pop_front();
                match (id, number) {
                    (0, number) => self.answer(number, Answer::Done),
                    (id, Some(number)) => drop(self.sent.insert(id, number)),
                    _ => {}
                }
            }
            Event::Incoming(Packet::PubAck(ack)) => {
                let number = self.sent.remove(&ack.pkid);
                self.answer(number, judged(ack.reason)?);
            }
            Event::Incoming(Packet::PubRec(rec)) if !is_taken(rec.reason) => {
                let number = self.sent.remove(&rec.pkid);
                self.answer(number, judged(as_ack(rec.reason))?);
                return Ok(true); // its place among those under way is not given back
            }
            Event::Incoming(Packet::PubComp(comp)) => {
                let number = self.sent.remove(&comp.pkid);
                self.answer(number, Answer::Done);
            }
            _ => {}
        }
        Ok(false)
    }
}

fn is_taken(reason: PubRecReason) -> bool {
    matches!(
        reason,
        PubRecReason::Success | PubRecReason::NoMatchingSubscribers
    )
}

fn as_ack(reason: PubRecReason) -> PubAckReason {
    match reason {
        PubRecReason::TopicNameInvalid => PubAckReason::TopicNameInvalid,
        PubRecReason::PayloadFormatInvalid => PubAckReason::PayloadFormatInvalid,
        PubRecReason::NotAuthorized => PubAckReason::NotAuthorized,
        PubRecReason::QuotaExceeded => PubAckReason::QuotaExceeded,
        _ => PubAckReason::ImplementationSpecificError,
    }
}

/// What is wrong with the message never comes right; what is wrong with the broker or our rights may.
fn judged(reason: PubAckReason) -> Result<Answer, Trouble> {
    match reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(Answer::Done),
        PubAckReason::TopicNameInvalid | PubAckReason::PayloadFormatInvalid => Ok(Answer::Never(
            format!("the other broker refused it: {reason:?}"),
        )),
        other => Err(Trouble::away(format!(
            "the other broker refused it: {other:?}"
        ))),
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
        let properties = &record.properties;
        let left = record
            .expires_ms
            .map(|at| at.saturating_sub(now_ms()).div_ceil(1000));
        let text = |text: &Option<witmq_proto::ByteString>| text.as_ref().map(ToString::to_string);
        let properties = PublishProperties {
            payload_format_indicator: properties.payload_format,
            message_expiry_interval: left.map(|left| u32::try_from(left).unwrap_or(u32::MAX)),
            response_topic: text(&properties.response_topic),
            correlation_data: properties.correlation_data.clone(),
            content_type: text(&properties.content_type),
            user_properties: user
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
            ..PublishProperties::default()
        };
        let topic = way.topic(&record.topic);
        if witmq_proto::TopicName::new(topic.as_str()).is_err() {
            return Ok(Some(Answer::Never(format!("`{topic}` is no topic"))));
        }
        let qos = level(way.qos.unwrap_or(record.qos));
        let retain = record.retain && way.keeps_retain;
        let handed = link.client.try_publish_with_properties(
            topic,
            qos,
            retain,
            record.payload.clone(),
            properties,
        );
        handed.map_err(Trouble::away)?;
        Ok(None)
    }
}

impl Outlet for Outward {
    fn check(&mut self) -> Later<'_, Result<String, String>> {
        Box::pin(async {
            match Link::open(&self.bridge, "check").await {
                Ok(link) => {
                    let _is_gone = link.client.try_disconnect().is_err();
                    let place = self.bridge.settings.place();
                    Ok(format!("{place} lets this broker in"))
                }
                Err(Trouble::Away { text, .. } | Trouble::Refused(text)) => Err(text),
            }
        })
    }

    fn send<'a>(&'a mut self, batch: &'a [Record]) -> Later<'a, Result<Vec<Answer>, Trouble>> {
        Box::pin(async move {
            let link = self.link.take().filter(|link| !link.task.is_finished());
            let mut link = match link {
                Some(link) => link,
                None => Link::open(&self.bridge, "out").await?,
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
                let event = link.next().await?;
                is_spent |= under_way.take(event)?;
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
            while let Ok(event) = link.events.try_recv() {
                if let Err(Trouble::Away { text, .. } | Trouble::Refused(text)) = event {
                    self.link = None;
                    tracing::debug!(
                        sink = self.bridge.name,
                        "the link to the other broker ended: {text}"
                    );
                    return Ok(()); // made anew when there is something to send
                }
            }
            Ok(())
        })
    }

    fn close(&mut self) -> Later<'_, ()> {
        Box::pin(async {
            if let Some(mut link) = self.link.take()
                && link.client.try_disconnect().is_ok()
            {
                while let Ok(event) = link.next().await {
                    if matches!(event, Event::Outgoing(Outgoing::Disconnect)) {
                        return;
                    }
                }
            }
        })
    }
}
