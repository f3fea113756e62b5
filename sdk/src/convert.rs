//! From the types of the ABI to those of the SDK and back. Nothing here decides anything.

use crate::abi::authenticating::exports::witmq::plugin::authenticate;
use crate::abi::authorizing::exports::witmq::plugin::authorize;
use crate::abi::base::witmq::plugin::types;
use crate::abi::observing::exports::witmq::plugin::events;
use crate::abi::sinking::exports::witmq::plugin::sink;
use crate::abi::transforming::exports::witmq::plugin::transform;
use crate::auth::{Action, Attempt, Certificate, Decision, Query, Rule, Step, Verdict};
use crate::desk;
use crate::failure::Failure;
use crate::message::{Delivered, Emit, Event, Message, Outcome, Patch, QoS};
use crate::properties::Properties;

impl From<types::Qos> for QoS {
    fn from(qos: types::Qos) -> Self {
        match qos {
            types::Qos::AtMostOnce => Self::AtMostOnce,
            types::Qos::AtLeastOnce => Self::AtLeastOnce,
            types::Qos::ExactlyOnce => Self::ExactlyOnce,
        }
    }
}

impl From<QoS> for types::Qos {
    fn from(qos: QoS) -> Self {
        match qos {
            QoS::AtMostOnce => Self::AtMostOnce,
            QoS::AtLeastOnce => Self::AtLeastOnce,
            QoS::ExactlyOnce => Self::ExactlyOnce,
        }
    }
}

impl From<types::Message> for Message {
    #[inline(always)]
    fn from(message: types::Message) -> Self {
        Self {
            topic: message.topic,
            payload: message.payload,
            payload_len: message.payload_len,
            properties: desk::read(message.properties, Properties::decode),
            client_id: message.client_id,
            username: message.username,
            session: message.session,
            received_ms: message.received_ms,
            qos: message.qos.into(),
            retain: message.retain,
        }
    }
}

impl From<Failure> for types::Failure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::BadInput(text) => Self::BadInput(text),
            Failure::Failed(text) => Self::Failed(text),
        }
    }
}

impl From<Emit> for types::Emit {
    fn from(emit: Emit) -> Self {
        Self {
            topic: emit.topic,
            payload: emit.payload,
            properties: emit.properties.encode(),
            qos: emit.qos.into(),
            retain: emit.retain,
        }
    }
}

impl From<Patch> for types::Patch {
    #[inline(always)]
    fn from(patch: Patch) -> Self {
        Self {
            topic: patch.topic,
            payload: patch.payload,
            properties: patch.properties.map(|properties| properties.encode()),
            qos: patch.qos.map(Into::into),
            retain: patch.retain,
        }
    }
}

impl From<Outcome> for transform::Outcome {
    #[inline(always)]
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Pass => Self::Pass,
            Outcome::Modify(patch) => Self::Modify(patch.into()),
            Outcome::Split(parts) => Self::Split(parts.into_iter().map(Into::into).collect()),
            Outcome::Refuse { reason_code, text } => {
                Self::Refuse(types::Refusal { reason_code, text })
            }
            Outcome::Consume => Self::Consume,
            Outcome::Withhold => Self::Withhold,
            Outcome::Stop => Self::Stop,
            Outcome::Jump(chain) => Self::Jump(chain),
        }
    }
}

impl From<Delivered> for sink::Delivered {
    fn from(delivered: Delivered) -> Self {
        match delivered {
            Delivered::Done => Self::Done,
            Delivered::Again { after_ms } => Self::Again(after_ms),
            Delivered::Never(text) => Self::Never(text),
        }
    }
}

impl From<events::Event> for Event {
    fn from(event: events::Event) -> Self {
        Self {
            name: event.name,
            at_ms: event.at_ms,
            client_id: event.client_id,
            username: event.username,
            topic: event.topic,
            reason_code: event.reason_code,
            text: event.text,
            details: event.details,
        }
    }
}

impl From<authenticate::Attempt> for Attempt {
    fn from(attempt: authenticate::Attempt) -> Self {
        Self {
            client_id: attempt.client_id,
            username: attempt.username,
            password: attempt.password,
            method: attempt.method,
            data: attempt.data,
            peer: attempt.peer,
            listener: attempt.listener,
            transport: attempt.transport,
            protocol: attempt.protocol,
            certificate: attempt.certificate.map(|certificate| Certificate {
                subject: certificate.subject,
                fingerprint: certificate.fingerprint,
                names: certificate.names,
            }),
        }
    }
}

impl From<Rule> for authenticate::Rule {
    fn from(rule: Rule) -> Self {
        Self {
            allow: rule.allow,
            publish: rule.publish,
            subscribe: rule.subscribe,
            filter: rule.filter,
        }
    }
}

impl From<Step> for authenticate::Step {
    fn from(step: Step) -> Self {
        match step {
            Step::Allow(grant) => Self::Allow(authenticate::Grant {
                username: grant.username,
                superuser: grant.superuser,
                acl: grant.acl.into_iter().map(Into::into).collect(),
                acl_complete: grant.acl_complete,
                expires_ms: grant.expires_ms,
                attributes: grant.attributes,
                data: grant.data,
            }),
            Step::Deny(denial) => Self::Deny(authenticate::Denial {
                reason_code: denial.reason_code,
                text: denial.text,
                server_reference: denial.server_reference,
            }),
            Step::Challenge { data, state } => {
                Self::Challenge(authenticate::Challenge { data, state })
            }
            Step::Ignore => Self::Ignore,
        }
    }
}

impl From<authorize::Query> for Query {
    fn from(query: authorize::Query) -> Self {
        Self {
            client_id: query.client_id,
            username: query.username,
            session: query.session,
            action: match query.action {
                authorize::Action::Publish => Action::Publish,
                authorize::Action::Subscribe => Action::Subscribe,
                authorize::Action::Will => Action::Will,
            },
            topic: query.topic,
            qos: query.qos.into(),
            retain: query.retain,
        }
    }
}

impl From<Verdict> for authorize::Verdict {
    fn from(verdict: Verdict) -> Self {
        Self {
            decision: match verdict.decision {
                Decision::Allow => authorize::Decision::Allow,
                Decision::Deny => authorize::Decision::Deny,
                Decision::Ignore => authorize::Decision::Ignore,
            },
            cache_ms: verdict.cache_ms,
        }
    }
}
