//! A connection to the other broker, whichever version it speaks. It is polled by a task of its own, so that whoever
//! waits for something on it may be given up without harm to it.
//!
//! Owns: [`Link`], and the few things that happen on it. `five` and `four` say what packets of a version mean.

use super::{Bridge, Version, five, four};
use crate::outlet::{Answer, Trouble};
use crate::record::Record;
use bytes::Bytes;
use tokio::sync::mpsc;
use witmq_proto::packet::{MessageProperties, QoS, UserProperties};

/// Happenings between the link's task and here.
const EVENTS: usize = 64;
/// Messages of a batch, and some.
const OUT_REQUESTS: usize = 10_100;
/// Beside acknowledgements.
const IN_REQUESTS: usize = 100;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Check,
    Out,
    In,
}

impl Use {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Out => "out",
            Self::In => "in",
        }
    }
}

/// What happens on a connection.
pub(super) enum Happening {
    LetIn,
    /// Or why not.
    Subscribed(Result<(), String>),
    Arrived(Box<Arrived>),
    /// A message was written; 0: it has no packet identifier.
    Written(u16),
    Answered {
        packet_id: u16,
        answer: Result<Answer, Trouble>,
        /// Its place among those under way is not given back.
        is_spent: bool,
    },
    /// The other broker ends the connection.
    Goodbye(String),
    /// Ours was written.
    Left,
    Other,
}

/// A message of the other broker.
pub(super) struct Arrived {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) properties: MessageProperties,
    pub(super) token: Token,
}

/// What acknowledges a message.
pub(super) enum Token {
    Five(Box<rumqttc::v5::mqttbytes::v5::Publish>),
    Four(Box<rumqttc::Publish>),
}

/// A message as it is to be published there.
pub(super) struct Outgoing<'a> {
    pub(super) topic: String,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) record: &'a Record,
    pub(super) user: UserProperties,
}

enum Client {
    Five(rumqttc::v5::AsyncClient),
    Four(rumqttc::AsyncClient),
}

pub(super) struct Link {
    client: Client,
    events: mpsc::Receiver<Result<Happening, Trouble>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    /// Comes back when the other broker let this one in.
    pub(super) async fn open(bridge: &Bridge, purpose: Use) -> Result<Self, Trouble> {
        let requests = match purpose {
            Use::In => {
                let inward = bridge.settings.inward.as_ref();
                let acks = inward.map_or(0, |inward| usize::from(inward.under_way));
                acks + IN_REQUESTS
            }
            Use::Out | Use::Check => OUT_REQUESTS,
        };
        let (sender, events) = mpsc::channel(EVENTS);
        let (client, task) = match bridge.settings.version {
            Version::Five => {
                let options = five::options(bridge, purpose).map_err(Trouble::away)?;
                let (client, mut events) = rumqttc::v5::AsyncClient::new(options, requests);
                let poll = async move || {
                    events
                        .poll()
                        .await
                        .map_or_else(five::failed, five::happening)
                };
                (Client::Five(client), tokio::spawn(follow(poll, sender)))
            }
            Version::Four => {
                let options = four::options(bridge, purpose).map_err(Trouble::away)?;
                let (client, mut events) = rumqttc::AsyncClient::new(options, requests);
                let poll = async move || {
                    events
                        .poll()
                        .await
                        .map_or_else(four::failed, four::happening)
                };
                (Client::Four(client), tokio::spawn(follow(poll, sender)))
            }
        };
        let mut link = Self {
            client,
            events,
            task,
        };
        loop {
            if let Happening::LetIn = link.next().await? {
                return Ok(link);
            }
        }
    }

    /// The next thing that happens. Given up, it loses nothing.
    pub(super) async fn next(&mut self) -> Result<Happening, Trouble> {
        let ended = || Trouble::away("the connection ended");
        match self.events.recv().await.ok_or_else(ended)?? {
            Happening::Goodbye(text) => Err(Trouble::away(text)),
            happening => Ok(happening),
        }
    }

    /// What happened already.
    pub(super) fn past(&mut self) -> Option<Result<Happening, Trouble>> {
        self.events.try_recv().ok()
    }

    pub(super) fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    pub(super) fn subscribe(&self, filters: &[String], qos: QoS) -> Result<(), String> {
        match &self.client {
            Client::Five(client) => client
                .try_subscribe_many(filters.iter().map(|filter| five::filter(filter, qos)))
                .map_err(|error| error.to_string()),
            Client::Four(client) => client
                .try_subscribe_many(filters.iter().map(|filter| four::filter(filter, qos)))
                .map_err(|error| error.to_string()),
        }
    }

    pub(super) fn publish(&self, message: Outgoing<'_>) -> Result<(), String> {
        let payload = message.record.payload.clone();
        let Outgoing { qos, retain, .. } = message;
        match &self.client {
            Client::Five(client) => {
                let properties = five::properties(&message);
                let qos = five::level(qos);
                client
                    .try_publish_with_properties(message.topic, qos, retain, payload, properties)
                    .map_err(|error| error.to_string())
            }
            Client::Four(client) => client
                .try_publish(message.topic, four::level(qos), retain, payload)
                .map_err(|error| error.to_string()),
        }
    }

    pub(super) fn acknowledge(&self, token: &Token) -> Result<(), String> {
        match (&self.client, token) {
            (Client::Five(client), Token::Five(publish)) => {
                client.try_ack(publish).map_err(|error| error.to_string())
            }
            (Client::Four(client), Token::Four(publish)) => {
                client.try_ack(publish).map_err(|error| error.to_string())
            }
            _ => Err("it came by another connection".to_owned()),
        }
    }

    /// Says goodbye, and comes back when that is written or the connection ended.
    pub(super) async fn leave(mut self) {
        let is_said = match &self.client {
            Client::Five(client) => client.try_disconnect().is_ok(),
            Client::Four(client) => client.try_disconnect().is_ok(),
        };
        while is_said && let Ok(happening) = self.next().await {
            if matches!(happening, Happening::Left) {
                return;
            }
        }
    }
}

/// Polls a connection until it ends or nobody listens.
async fn follow(
    mut poll: impl AsyncFnMut() -> Result<Happening, Trouble>,
    sender: mpsc::Sender<Result<Happening, Trouble>>,
) {
    loop {
        let happening = poll().await;
        let is_over = happening.is_err();
        if sender.send(happening).await.is_err() || is_over {
            return;
        }
    }
}
