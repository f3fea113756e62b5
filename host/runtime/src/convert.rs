//! Between the broker's types and those of the ABI. Every answer of a guest is checked here.

mod beside;

use crate::abi::hot;
use crate::abi::laid::Laid;
use crate::abi::lean::{Desk, Nothing};
use crate::abi::witmq::plugin::types;
use crate::abi::{authenticate, authorize};
use crate::manifest::{Manifest, Need};
pub(crate) use beside::{client, delivered, disconnect_reason, event};

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use std::time::Duration;
use witmq_broker::ports::chains::{Emit, Patch, StepOutcome};
use witmq_broker::ports::hooks::{Attempt, Certificate, Query};
use witmq_broker::ports::{
    AclRule, AuthStep, AuthorizeAction, Decision, Grant, Publisher, Transport, Verdict,
};
use witmq_broker::redirect::Referral;
use witmq_proto::codec::{Limits, decode_properties, encode_properties};
use witmq_proto::packet::{PublishProperties, QoS};
use witmq_proto::{Message, ReasonCode, TopicName};

fn qos_in(qos: QoS) -> types::Qos {
    match qos {
        QoS::AtMostOnce => types::Qos::AtMostOnce,
        QoS::AtLeastOnce => types::Qos::AtLeastOnce,
        QoS::ExactlyOnce => types::Qos::ExactlyOnce,
    }
}

fn qos_out(qos: types::Qos) -> QoS {
    match qos {
        types::Qos::AtMostOnce => QoS::AtMostOnce,
        types::Qos::AtLeastOnce => QoS::AtLeastOnce,
        types::Qos::ExactlyOnce => QoS::ExactlyOnce,
    }
}

fn hot_qos(qos: QoS) -> hot::Qos {
    match qos {
        QoS::AtMostOnce => hot::Qos::AtMostOnce,
        QoS::AtLeastOnce => hot::Qos::AtLeastOnce,
        QoS::ExactlyOnce => hot::Qos::ExactlyOnce,
    }
}

fn hot_qos_out(qos: hot::Qos) -> QoS {
    match qos {
        hot::Qos::AtMostOnce => QoS::AtMostOnce,
        hot::Qos::AtLeastOnce => QoS::AtLeastOnce,
        hot::Qos::ExactlyOnce => QoS::ExactlyOnce,
    }
}

/// Which fields a plugin asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fill {
    payload: bool,
    properties: bool,
    client: bool,
}

impl Fill {
    pub(crate) fn of(manifest: &Manifest) -> Self {
        Self {
            payload: manifest.needs(Need::Payload),
            properties: manifest.needs(Need::Properties),
            client: manifest.needs(Need::Client),
        }
    }

    /// The message as the guest sees it, where it lies: what it did not ask for is empty. `properties` is scratch, and
    /// `nothing` what the guest has for what is empty, or its desk.
    pub(crate) fn message<'a>(
        self,
        message: &'a Message,
        publisher: Publisher<'a>,
        properties: &'a mut BytesMut,
        nothing: &'a Nothing,
    ) -> hot::Message<'a> {
        properties.clear();
        if self.properties {
            encode_properties(&message.properties, properties);
        }
        let (client_id, username) = match self.client {
            true => (publisher.client_id, publisher.username.unwrap_or_default()),
            false => ("", ""),
        };
        let mut laying = nothing.lay();
        hot::Message {
            topic: laying.text(message.topic.as_str()),
            payload: laying.bytes(if self.payload { &message.payload } else { &[] }),
            payload_len: u32::try_from(message.payload.len()).unwrap_or(u32::MAX),
            properties: laying.bytes(properties),
            client_id: laying.text(client_id),
            username: laying.text(username),
            session: publisher.session,
            received_ms: message.received_ms,
            qos: hot_qos(message.qos),
            retain: message.retain,
        }
    }

    /// The same on a desk.
    pub(crate) fn laid<'a>(
        self,
        message: &'a Message,
        publisher: Publisher<'a>,
        properties: &'a mut BytesMut,
        desk: Desk,
    ) -> Laid<'a> {
        let mut parts: [&[u8]; 5] = [message.topic.as_str().as_bytes(), &[], &[], &[], &[]];
        let [_, payload, encoded, client_id, username] = &mut parts;
        if self.payload {
            *payload = &message.payload;
        }
        if self.properties && !message.properties.are_none() {
            properties.clear();
            encode_properties(&message.properties, properties);
            *encoded = properties;
        }
        if self.client {
            *client_id = publisher.client_id.as_bytes();
            *username = publisher.username.unwrap_or_default().as_bytes();
        }
        Laid {
            desk,
            parts,
            payload_len: u32::try_from(message.payload.len()).unwrap_or(u32::MAX),
            session: publisher.session,
            received_ms: message.received_ms,
            qos: message.qos as u8,
            retain: message.retain,
        }
    }

    /// The same as a copy, for a batch.
    pub(crate) fn owned(self, message: &Message, client: &str, username: &str) -> types::Message {
        let mut properties = BytesMut::new();
        if self.properties {
            encode_properties(&message.properties, &mut properties);
        }
        let text = |text: &str| {
            if self.client {
                text.to_owned()
            } else {
                String::new()
            }
        };
        types::Message {
            topic: message.topic.to_string(),
            payload: if self.payload {
                message.payload.to_vec()
            } else {
                Vec::new()
            },
            payload_len: u32::try_from(message.payload.len()).unwrap_or(u32::MAX),
            properties: properties.to_vec(),
            client_id: text(client),
            username: text(username),
            session: 0,
            received_ms: message.received_ms,
            qos: qos_in(message.qos),
            retain: message.retain,
        }
    }
}

fn topic_out(topic: String) -> Result<ByteString, String> {
    match TopicName::new(ByteString::from(topic)) {
        Ok(name) => Ok(name.as_byte_string().clone()),
        Err(error) => Err(format!("its topic is none: {error}")),
    }
}

fn properties_out(blob: &[u8]) -> Result<PublishProperties, String> {
    decode_properties(blob, &Limits::default())
        .map_err(|error| format!("its properties are malformed: {error}"))
}

fn reason_out(code: u8) -> ReasonCode {
    ReasonCode::from_u8(code)
        .filter(|reason| reason.is_failure())
        .unwrap_or(ReasonCode::ImplementationSpecific)
}

fn emit(emit: hot::Emit) -> Result<Emit, String> {
    Ok(Emit {
        topic: topic_out(emit.topic)?,
        payload: emit.payload,
        properties: properties_out(&emit.properties)?,
        qos: hot_qos_out(emit.qos),
        retain: emit.retain,
    })
}

/// What a plugin wants to publish itself.
pub(crate) fn published(emit: types::Emit) -> Result<Emit, String> {
    Ok(Emit {
        topic: topic_out(emit.topic)?,
        payload: Bytes::from(emit.payload),
        properties: properties_out(&emit.properties)?,
        qos: qos_out(emit.qos),
        retain: emit.retain,
    })
}

/// A message that a plugin publishes itself.
pub(crate) fn message_of(emit: Emit, topic: TopicName, received_ms: u64) -> Message {
    let expires_at = emit.properties.message_expiry.and_then(|seconds| {
        std::time::Instant::now().checked_add(Duration::from_secs(u64::from(seconds)))
    });
    Message {
        topic,
        payload: emit.payload,
        qos: emit.qos,
        retain: emit.retain,
        properties: emit.properties,
        expires_at,
        publisher: ByteString::new(),
        received_ms,
        hops: 0,
    }
}

/// What the guest made of a message; `split` is bounded.
pub(crate) fn outcome(outcome: hot::Outcome, split_messages: usize) -> Result<StepOutcome, String> {
    Ok(match outcome {
        hot::Outcome::Pass => StepOutcome::Pass,
        hot::Outcome::Modify(patch) => StepOutcome::Modify(Patch {
            topic: patch.topic.map(topic_out).transpose()?,
            payload: patch.payload,
            properties: patch
                .properties
                .as_deref()
                .map(properties_out)
                .transpose()?,
            qos: patch.qos.map(hot_qos_out),
            retain: patch.retain,
        }),
        hot::Outcome::Split(parts) if parts.len() > split_messages => {
            return Err(format!(
                "it split one message into {}, at most {split_messages} are allowed",
                parts.len()
            ));
        }
        hot::Outcome::Split(parts) => {
            StepOutcome::Split(parts.into_iter().map(emit).collect::<Result<_, _>>()?)
        }
        hot::Outcome::Refuse(refusal) => StepOutcome::Refuse {
            reason: reason_out(refusal.reason_code),
            text: refusal.text.map(words),
        },
        hot::Outcome::Consume => StepOutcome::Consume,
        hot::Outcome::Withhold => StepOutcome::Withhold,
        hot::Outcome::Stop => StepOutcome::Stop,
        hot::Outcome::Jump(chain) => StepOutcome::Jump(chain),
    })
}

/// Bytes of a text for people; the rest is cut.
const TEXT_BYTES: usize = 1024;

/// What a guest says to people, short enough for packets and logs.
pub(crate) fn words(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES));
    text
}

pub(crate) fn hot_failure(failure: hot::Failure) -> String {
    match failure {
        hot::Failure::BadInput(text) => words(format!("bad input: {text}")),
        hot::Failure::Failed(text) => words(text),
    }
}

pub(crate) fn failure(failure: types::Failure) -> String {
    match failure {
        types::Failure::BadInput(text) => words(format!("bad input: {text}")),
        types::Failure::Failed(text) => words(text),
    }
}

/// A transport by its name.
fn transport(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Tls => "tls",
        Transport::Ws => "ws",
        Transport::Wss => "wss",
    }
}

fn certificate(known: &Certificate) -> authenticate::Certificate {
    authenticate::Certificate {
        subject: known.subject.clone(),
        fingerprint: known.fingerprint.clone(),
        names: known.names.clone(),
    }
}

pub(crate) fn attempt(attempt: &Attempt) -> authenticate::Attempt {
    authenticate::Attempt {
        client_id: attempt.client_id.to_string(),
        username: attempt.username.as_ref().map(ToString::to_string),
        password: attempt.password.as_ref().map(|password| password.to_vec()),
        method: attempt.method.as_ref().map(ToString::to_string),
        data: attempt.data.to_vec(),
        peer: attempt.peer.to_string(),
        listener: attempt.listener.to_string(),
        transport: transport(attempt.transport).to_owned(),
        protocol: attempt.version.level(),
        certificate: attempt.certificate.as_deref().map(certificate),
    }
}

/// Bytes of what goes to a client as Authentication Data: what Binary Data holds (section 1.5.6).
const DATA_BYTES: usize = 65_535;
/// Bytes of the state that is kept between two rounds.
const STATE_BYTES: usize = 65_535;

fn bounded(bytes: Vec<u8>, maximum: usize, what: &str) -> Result<Bytes, String> {
    if bytes.len() > maximum {
        let length = bytes.len();
        return Err(format!(
            "its {what} is {length} bytes long, at most {maximum} are allowed"
        ));
    }
    Ok(Bytes::from(bytes))
}

/// `None`: the next authenticator decides.
pub(crate) fn step(step: authenticate::Step) -> Result<Option<AuthStep>, String> {
    let data = |bytes| bounded(bytes, DATA_BYTES, "authentication data");
    Ok(Some(match step {
        authenticate::Step::Allow(grant) => AuthStep::Allow(Box::new(Grant {
            username: grant.username.map(ByteString::from),
            superuser: grant.superuser,
            acl: grant.acl.into_iter().map(rule).collect(),
            acl_complete: grant.acl_complete,
            expires: grant.expires_ms.map(Duration::from_millis),
            attributes: grant.attributes,
            data: grant.data.map(data).transpose()?,
        })),
        authenticate::Step::Deny(denial) => AuthStep::Deny {
            reason: reason_out(denial.reason_code),
            text: denial.text.map(words),
            server_reference: denial.server_reference.map(server).transpose()?,
        },
        authenticate::Step::Ignore => return Ok(None),
        authenticate::Step::Challenge(challenge) => AuthStep::Challenge {
            data: data(challenge.data)?,
            state: bounded(challenge.state, STATE_BYTES, "state")?,
        },
    }))
}

/// A Server Reference, printable and short.
fn server(text: String) -> Result<ByteString, String> {
    match Referral::new(&text, false) {
        Ok(referral) => Ok(referral.server),
        Err(error) => Err(format!("its server reference cannot be used: {error}")),
    }
}

fn rule(rule: authenticate::Rule) -> AclRule {
    AclRule {
        allow: rule.allow,
        publish: rule.publish,
        subscribe: rule.subscribe,
        filter: rule.filter,
    }
}

pub(crate) fn query(query: &Query<'_>) -> authorize::Query {
    authorize::Query {
        client_id: query.client_id.to_owned(),
        username: query.username.map(str::to_owned),
        session: query.session,
        action: match query.action {
            AuthorizeAction::Publish => authorize::Action::Publish,
            AuthorizeAction::Subscribe => authorize::Action::Subscribe,
            AuthorizeAction::Will => authorize::Action::Will,
        },
        topic: query.topic.to_owned(),
        qos: qos_in(query.qos),
        retain: query.retain,
    }
}

pub(crate) fn verdict(verdict: authorize::Verdict) -> Verdict {
    let decision = match verdict.decision {
        authorize::Decision::Allow => Decision::Allow,
        authorize::Decision::Deny => Decision::Deny,
        authorize::Decision::Ignore => Decision::Ignore,
    };
    Verdict {
        decision,
        cache: Duration::from_millis(u64::from(verdict.cache_ms)),
    }
}
