//! From CONNECT to CONNACK: client id, authentication, takeover, session.

use super::authorize::{Permission, Question};
use super::client::{Connection, Exchange, Identity, Pending};
use super::drain::is_referral;
use super::topics::placed_before;
use super::{Action, ConnectionId, Link, Shard, Timer, shard_of};
use crate::acl::substitute;
use crate::ports::hooks::{Attempt, AuthRequest, AuthStep, Grant};
use crate::ports::raised::{Detail, EventKind};
use crate::ports::store::Health;
use crate::ports::{AuthorizeAction, BrokerEvent, Position};
use bytes::Bytes;
use bytestring::ByteString;
use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::time::Instant;
use witmq_proto::ReasonCode;
use witmq_proto::endpoint::Endpoint;
use witmq_proto::packet::{Auth, ConnackProperties, Connect, Version, Will};
use witmq_proto::session::Session;

impl Shard {
    /// A connection whose CONNECT was read. Answered by actions: `Authenticate`, or `Close` after a refusal.
    pub fn connect(&mut self, now: Instant, link: Link, mut connect: Connect) -> ConnectionId {
        let endpoint = Endpoint::new(now, &connect, &self.limits.settings);
        self.generation = self.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        let generation = self.generation;
        let peer = link.clone();
        let number = self.connections.insert_with(|index| Connection {
            id: ConnectionId::new(index, generation),
            link: peer,
            endpoint,
            client: None,
            pending: None,
            exchange: None,
            asking: false,
            parked: None,
            changing: None,
            closing: false,
            woken: false,
            stalled: false,
            grant_ends: None,
            gate: Position::default(),
            owes: 0,
        });
        let id = ConnectionId::new(number, generation);
        let is_assigned = match self.settle_client_id(&mut connect) {
            Ok(is_assigned) => is_assigned,
            Err(text) => {
                self.refuse(
                    id,
                    &connect.client_id,
                    ReasonCode::ClientIdNotValid,
                    Some(text),
                );
                return id;
            }
        };
        if self.refer(id, &connect.client_id) {
            return id;
        }
        if let Err((reason, text)) = self.check_bounds(&connect) {
            self.refuse(id, &connect.client_id, reason, Some(text.to_owned()));
            return id;
        }
        let attempt = attempt(&link, &connect);
        let pending = Pending {
            attempt: attempt.clone(),
            clean_start: connect.clean_start,
            expiry: self.expiry(&connect),
            will: connect.will,
            is_assigned,
        };
        self.timers
            .set(now + self.limits.authentication, Timer::Authentication(id));
        if let Some(connection) = self.connection_mut(id) {
            connection.pending = Some(Box::new(pending));
            connection.asking = true;
        }
        self.actions.push_back(Action::Authenticate {
            id,
            request: Box::new(AuthRequest::Begin(attempt)),
        });
        id
    }

    /// What this broker can do, and has room for.
    fn check_bounds(&self, connect: &Connect) -> Result<(), (ReasonCode, &'static str)> {
        if let Some(will) = &connect.will {
            self.limits.settings.abilities.check_will(will)?;
        }
        let is_full = self.clients.len() >= self.limits.sessions;
        if is_full && self.key_of(&connect.client_id).is_none() {
            let text = "this broker has no room for another session (limits.sessions)";
            return Err((ReasonCode::QuotaExceeded, text));
        }
        Ok(())
    }

    /// Checks or assigns the client id; whether it was assigned.
    fn settle_client_id(&mut self, connect: &mut Connect) -> Result<bool, String> {
        if connect.client_id.len() > self.limits.client_id_bytes {
            return Err(format!(
                "a client id is at most {} bytes long here",
                self.limits.client_id_bytes
            ));
        }
        if !connect.client_id.is_empty() {
            return Ok(false);
        }
        match connect.version {
            Version::V31 => return Err("MQTT 3.1 needs a client id".to_owned()),
            Version::V311 if !connect.clean_start => {
                return Err("a client id is needed with clean session 0 [MQTT-3.1.3-8]".to_owned());
            }
            Version::V311 | Version::V5 => {}
        }
        connect.client_id = self.assign_client_id(); // [MQTT-3.1.3-6]
        Ok(true)
    }

    /// A fresh client id that hashes to this shard, so that the client finds its session again. Not
    /// guessable: whoever knows an id may take over its session.
    fn assign_client_id(&mut self) -> ByteString {
        let random = std::hash::RandomState::new();
        loop {
            self.assigned += 1;
            let id = ByteString::from(format!("auto-{:016x}", random.hash_one(self.assigned)));
            if shard_of(&id, self.shards) == self.id && self.key_of(&id).is_none() {
                return id;
            }
        }
    }

    /// Seconds the session will outlive the connection.
    fn expiry(&self, connect: &Connect) -> u32 {
        if connect.version.is_v5() {
            return connect
                .properties
                .session_expiry
                .unwrap_or(0)
                .min(self.limits.session_expiry);
        }
        if connect.clean_start {
            0
        } else {
            self.limits.session_expiry_v3
        }
    }

    pub(super) fn refuse(
        &mut self,
        id: ConnectionId,
        client_id: &ByteString,
        reason: ReasonCode,
        text: Option<String>,
    ) {
        self.refuse_to(id, client_id, reason, text, None);
    }

    /// Refuses a CONNECT, and says where to go instead: to `server`, or where the node sends its clients.
    fn refuse_to(
        &mut self,
        id: ConnectionId,
        client_id: &ByteString,
        reason: ReasonCode,
        text: Option<String>,
        server: Option<ByteString>,
    ) {
        self.counters.refused += 1;
        let server = server.or_else(|| self.referral(reason));
        let Some(connection) = self.connection_mut(id) else {
            return;
        };
        (connection.endpoint).refuse(reason, text.as_deref(), server.as_deref());
        connection.closing = true;
        connection.pending = None;
        connection.exchange = None;
        let peer = connection.link.peer;
        let text = text.unwrap_or_else(|| reason.as_str().to_owned());
        self.ports.events.emit(BrokerEvent::Refused {
            client_id: client_id.clone(),
            peer,
            reason,
            text,
        });
        self.actions.push_back(Action::Close(id));
    }

    pub(super) fn authentication_timeout(&mut self, _now: Instant, id: ConnectionId) {
        let Some(connection) = self.connection(id) else {
            return;
        };
        let Some(pending) = &connection.pending else {
            if !self.is_keep_alive_short(connection)
                && let Some(at) = connection.endpoint.poll_timeout()
            {
                self.timers.set(at, Timer::KeepAlive(id));
            }
            return;
        };
        let client_id = pending.attempt.client_id.clone();
        let text = "authentication took too long".to_owned();
        self.refuse(id, &client_id, ReasonCode::ServerBusy, Some(text));
    }

    /// Whether its keep-alive may run out before the time for its authentication does. If not, the one timer follows the
    /// other: there is one for each connection, not two.
    fn is_keep_alive_short(&self, connection: &Connection) -> bool {
        let silence = connection.endpoint.keep_alive();
        silence.is_some_and(|silence| silence < self.limits.authentication)
    }

    pub(super) fn handle_auth_step(&mut self, now: Instant, id: ConnectionId, step: AuthStep) {
        let Some(connection) = self.connection_mut(id) else {
            return;
        };
        if !connection.asking || connection.closing {
            return;
        }
        connection.asking = false;
        match step {
            AuthStep::Allow(grant) => self.allow(now, id, *grant),
            AuthStep::Deny {
                reason,
                text,
                server_reference,
            } => self.deny(now, id, reason, text, server_reference),
            AuthStep::Challenge { data, state } => self.challenge(now, id, data, state),
        }
    }

    fn deny(
        &mut self,
        now: Instant,
        id: ConnectionId,
        reason: ReasonCode,
        text: Option<String>,
        server: Option<ByteString>,
    ) {
        let reason = if reason.is_failure() {
            reason
        } else {
            ReasonCode::NotAuthorized
        };
        let server = server.filter(|_| is_referral(reason));
        let Some(connection) = self.connection(id) else {
            return;
        };
        match &connection.pending {
            Some(pending) => {
                let client_id = pending.attempt.client_id.clone();
                self.refuse_to(id, &client_id, reason, text, server); // [MQTT-4.12.0-1]
            }
            None => {
                let text = text.unwrap_or_else(|| "re-authentication failed".to_owned());
                self.end_connection_to(now, id, reason.in_disconnect(), &text, server); // [MQTT-4.12.1-2]
            }
        }
    }

    /// Another round, carried by AUTH [MQTT-4.12.0-2].
    fn challenge(&mut self, now: Instant, id: ConnectionId, data: Bytes, state: Bytes) {
        let rounds = self.limits.authentication_rounds;
        let Some(connection) = self.connection_mut(id) else {
            return;
        };
        let Some(method) = connection.endpoint.auth_method().cloned() else {
            let text =
                "this client cannot answer a challenge: its CONNECT names no authentication method";
            return self.deny(
                now,
                id,
                ReasonCode::BadAuthenticationMethod,
                Some(text.to_owned()),
                None,
            );
        };
        let exchange = match (connection.exchange.take(), &connection.pending) {
            (Some(mut exchange), _) => {
                exchange.state = state;
                exchange.rounds += 1;
                exchange
            }
            (None, Some(pending)) => Box::new(Exchange {
                attempt: pending.attempt.clone(),
                state,
                rounds: 1,
            }),
            (None, None) => return,
        };
        if exchange.rounds > rounds {
            let text = format!("authentication took more than {rounds} rounds");
            return self.deny(now, id, ReasonCode::NotAuthorized, Some(text), None);
        }
        connection.exchange = Some(exchange);
        connection.endpoint.auth(Auth {
            reason: ReasonCode::ContinueAuthentication,
            method: Some(method),
            data: Some(data),
            reason_string: None,
            user: Vec::new(),
        });
        self.actions.push_back(Action::Resume(id));
        self.wake(id);
    }

    /// AUTH of the client: the next round, or the beginning of a re-authentication.
    pub(super) fn handle_auth(&mut self, id: ConnectionId, auth: Auth) {
        let Some(connection) = self.connection_mut(id) else {
            return;
        };
        if connection.asking {
            return; // the endpoint lets one round through at a time
        }
        let data = auth.data.unwrap_or_default();
        let Some(exchange) = &mut connection.exchange else {
            return;
        };
        if auth.reason == ReasonCode::ReAuthenticate {
            exchange.rounds = 0;
            exchange.attempt.data.clone_from(&data);
        }
        let attempt = exchange.attempt.clone();
        let request = if auth.reason == ReasonCode::ReAuthenticate {
            AuthRequest::Begin(attempt)
        } else {
            AuthRequest::Proceed {
                attempt,
                state: std::mem::take(&mut exchange.state), // it serves one round
                data,
            }
        };
        connection.asking = true;
        let request = Box::new(request);
        self.actions.push_back(Action::Authenticate { id, request });
    }

    fn allow(&mut self, now: Instant, id: ConnectionId, mut grant: Grant) {
        let Some(connection) = self.connection(id) else {
            return;
        };
        let known = connection
            .pending
            .as_ref()
            .map(|pending| pending.attempt.clone());
        let Some(attempt) = known.or_else(|| {
            connection
                .exchange
                .as_ref()
                .map(|exchange| exchange.attempt.clone())
        }) else {
            return;
        };
        grant.username = grant.username.or_else(|| attempt.username.clone());
        let acl = match self.last_acl.compile(&grant, &attempt.client_id) {
            Ok(acl) => acl,
            Err(error) => {
                let text = format!("the grant's rules cannot be used: {error}");
                return self.deny(now, id, ReasonCode::NotAuthorized, Some(text), None);
            }
        };
        let identity = Identity {
            username: grant.username,
            acl: Some(acl),
            attributes: grant.attributes,
            verdicts: Vec::new(),
            settled: ByteString::new(),
            waited_at: None,
        };
        let ends = grant.expires.and_then(|after| now.checked_add(after));
        if let Some(at) = ends {
            self.timers.set(at, Timer::Grant(id));
        }
        let Some(connection) = self.connection_mut(id) else {
            return;
        };
        connection.grant_ends = ends;
        match connection.pending.take() {
            Some(pending) => self.accept(now, id, *pending, identity, grant.data),
            None => self.reauthenticated(id, identity, grant.data),
        }
    }

    fn reauthenticated(&mut self, id: ConnectionId, identity: Identity, data: Option<Bytes>) {
        let Some(connection) = self.connection_mut(id) else {
            return;
        };
        let method = connection.endpoint.auth_method().cloned();
        connection.endpoint.auth(Auth {
            reason: ReasonCode::Success,
            method,
            data,
            reason_string: None,
            user: Vec::new(),
        });
        let key = connection.client;
        if let Some(client) = key.and_then(|key| self.client_mut(key)) {
            client.identity = identity;
        }
        self.wake(id);
    }

    /// Takes over or makes the session, and says CONNACK.
    fn accept(
        &mut self,
        now: Instant,
        id: ConnectionId,
        mut pending: Pending,
        identity: Identity,
        data: Option<Bytes>,
    ) {
        let client_id = pending.attempt.client_id.clone();
        if self.refer(id, &client_id) {
            return; // the drain began while it was authenticated
        }
        if let Some(will) = &mut pending.will
            && let Err(text) = self.settle_will(will, &client_id, &identity)
        {
            self.counters.topics_invalid += 1;
            return self.refuse(id, &client_id, ReasonCode::TopicNameInvalid, Some(text));
        }
        let before = self.position;
        let key = self.take_over(now, &client_id, pending.clean_start);
        let session_present = key.is_some();
        let asked = pending.expiry;
        if asked > 0 && !session_present && self.ports.store.health() == Health::Refusing {
            let text = "this broker can keep no new session: its disk takes nothing".to_owned();
            return self.refuse(id, &client_id, ReasonCode::QuotaExceeded, Some(text));
        }
        let key = key.unwrap_or_else(|| self.add_client(&client_id, asked > 0));
        let Some(client) = self.client_mut(key) else {
            return;
        };
        let session = client
            .session
            .take()
            .map_or_else(Session::new, |session| *session);
        client.connection = Some(id);
        client.absence = 0;
        client.expiry = asked;
        client.identity = identity;
        client.sent.below = session.next_number();
        self.record_session(now, key);
        self.set_will(now, key, pending.will);
        self.auto_subscribe(key);
        self.gate(id, key, before);
        let properties = ConnackProperties {
            assigned_client_id: pending.is_assigned.then_some(client_id), // [MQTT-3.2.2-16]
            session_expiry: Some(asked).filter(|_| asked < u32::MAX),     // what is in force
            authentication_data: data,
            response_information: self.response_information(id, key),
            ..ConnackProperties::default()
        };
        let Some(connection) = self.connection_mut(id) else {
            return;
        };
        connection.client = Some(key);
        if connection.endpoint.auth_method().is_some() && connection.exchange.is_none() {
            // Kept for re-authentication [MQTT-4.12.1-1].
            connection.exchange = Some(Box::new(Exchange {
                attempt: pending.attempt,
                state: Bytes::new(),
                rounds: 0,
            }));
        }
        connection
            .endpoint
            .accept(now, session, session_present, properties);
        self.begin(now, id, key, session_present);
    }

    /// The client is in: it is heard, and sent what waits for it.
    fn begin(&mut self, now: Instant, id: ConnectionId, key: u32, session_present: bool) {
        let (Some(connection), Some(client)) = (self.connection(id), self.client(key)) else {
            return;
        };
        let event = BrokerEvent::Connected {
            client_id: client.id.clone(),
            username: client.identity.username.clone(),
            peer: connection.link.peer,
            transport: connection.link.transport,
            version: connection.endpoint.version(),
            session_present,
        };
        let detail = Detail::Connection {
            peer: connection.link.peer,
            transport: connection.link.transport,
            version: connection.endpoint.version(),
            session_present,
        };
        if self.is_keep_alive_short(connection)
            && let Some(at) = connection.endpoint.poll_timeout()
        {
            self.timers.set(at, Timer::KeepAlive(id));
        }
        self.counters.accepted += 1;
        self.counters.connections += 1;
        self.ports.events.emit(event);
        self.raise(EventKind::Connected, key, || detail);
        self.actions.push_back(Action::Resume(id));
        self.wake(id);
        self.note_presence(key);
        self.want_page(now, key);
    }

    /// What the client asked for [MQTT-3.1.2-28]; nothing if its names make no topic of the template.
    fn response_information(&self, id: ConnectionId, key: u32) -> Option<ByteString> {
        let template = &self.limits.response_information;
        let endpoint = &self.connection(id)?.endpoint;
        if template.is_empty() || !endpoint.wants_response_information() {
            return None;
        }
        let client = self.client(key)?;
        let user = client.identity.username.as_deref().unwrap_or_default();
        substitute(template, &client.id, user).map(ByteString::from)
    }

    /// CONNACK waits for what was recorded since `before`. If the store takes nothing, a client is not kept out
    /// for that, only for what its last connection was not told: that would be said again at once.
    fn gate(&mut self, id: ConnectionId, key: u32, before: Position) {
        let promised = self.client(key).map_or(before, |client| client.promised);
        let gate = match self.ports.store.health() {
            Health::Refusing => promised,
            Health::Well | Health::Congested if self.position == before => return,
            Health::Well | Health::Congested => self.position,
        };
        if gate <= self.ports.store.stored() {
            return;
        }
        if let Some(connection) = self.connection_mut(id) {
            connection.gate = gate;
            self.gated.push_back((gate, id));
        }
    }

    /// The will of the new connection replaces the one of the connection before.
    fn set_will(&mut self, now: Instant, key: u32, will: Option<Will>) {
        self.forget_will(key);
        let Some(will) = will else { return };
        let place = placed_before(&will.topic);
        let question = Question {
            action: AuthorizeAction::Will,
            topic: place.topic.as_byte_string(),
            qos: will.qos,
            retain: will.retain,
        };
        let is_allowed = self.may_publish(now, key, &question) != Permission::Denied;
        let Some(client) = self.client_mut(key) else {
            return;
        };
        client.will = Some(Box::new(will));
        if is_allowed {
            self.record_will(key, None);
        }
    }
}

fn attempt(link: &Link, connect: &Connect) -> Attempt {
    Attempt {
        client_id: connect.client_id.clone(),
        username: connect.username.clone(),
        password: connect.password.clone(),
        method: connect.properties.authentication_method.clone(),
        data: connect
            .properties
            .authentication_data
            .clone()
            .unwrap_or_default(),
        peer: link.peer,
        listener: link.listener.clone(),
        transport: link.transport,
        version: connect.version,
        certificate: link.certificate.clone(),
    }
}
