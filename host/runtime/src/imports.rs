//! The capabilities of `witmq:plugin`, as one instance's store answers them.
//!
//! Every call counts against the budget of the hook's call; beyond it nothing is done. None of them waits but
//! `host-clients`, which only effectful components have.

use crate::abi::witmq::plugin::{
    host_clients, host_clock, host_kv, host_log, host_metrics, host_payload, host_publish,
    host_secrets, host_timers, types,
};
use crate::convert;
use crate::limited::Bound;
use crate::log::Level;
use std::time::{SystemTime, UNIX_EPOCH};
use witmq_broker::ports::kv::{Expect, KvError};

pub(crate) use crate::state::State;

/// Keys given at a time.
const KEYS: u32 = 1000;

type Answer<T> = wasmtime::Result<T>;

impl types::Host for State {}

impl host_log::Host for State {
    fn log(&mut self, level: host_log::Level, text: String) -> Answer<()> {
        if self.may_call() {
            let level = match level {
                host_log::Level::Trace => Level::Trace,
                host_log::Level::Debug => Level::Debug,
                host_log::Level::Info => Level::Info,
                host_log::Level::Warn => Level::Warn,
                host_log::Level::Error => Level::Error,
            };
            self.plugin.log.write(&self.plugin.name, level, &text);
        }
        Ok(())
    }
}

impl host_metrics::Host for State {
    fn count(&mut self, name: String, by: u64) -> Answer<()> {
        if self.may_call() {
            self.plugin.numbers.count(&name, by);
        }
        Ok(())
    }

    fn gauge(&mut self, name: String, value: f64) -> Answer<()> {
        if self.may_call() {
            self.plugin.numbers.gauge(&name, value);
        }
        Ok(())
    }
}

/// What a guest hears that called too often in one call of a hook.
fn too_many() -> String {
    "more host calls than one call of a hook may make".to_owned()
}

impl State {
    fn kv_error(&self, error: KvError) -> host_kv::KvError {
        match error {
            KvError::TooLarge => host_kv::KvError::TooLarge,
            KvError::Bytes => {
                self.plugin.limited.hit(Bound::KvBytes);
                host_kv::KvError::Quota
            }
            KvError::Keys => {
                self.plugin.limited.hit(Bound::KvKeys);
                host_kv::KvError::Quota
            }
            KvError::Removed | KvError::Tables => host_kv::KvError::Other(error.to_string()),
            KvError::Mismatch(version) => host_kv::KvError::Conflict(version.unwrap_or(0)),
        }
    }
}

fn expect(expected: host_kv::Expected) -> Expect {
    match expected {
        host_kv::Expected::Any => Expect::Any,
        host_kv::Expected::Absent => Expect::Absent,
        host_kv::Expected::Version(version) => Expect::Version(version),
    }
}

impl host_kv::Host for State {
    fn get(&mut self, key: String) -> Answer<Result<Option<host_kv::Entry>, host_kv::KvError>> {
        if !self.may_call() {
            return Ok(Err(host_kv::KvError::Other(too_many())));
        }
        let kept = self.plugin.kv.get(&key, now_ms());
        Ok(Ok(kept.map(|kept| host_kv::Entry {
            value: kept.value.to_vec(),
            version: kept.version,
        })))
    }

    fn put(
        &mut self,
        key: String,
        value: Vec<u8>,
        expected: host_kv::Expected,
        ttl_ms: u64,
    ) -> Answer<Result<u64, host_kv::KvError>> {
        if !self.may_call() {
            return Ok(Err(host_kv::KvError::Other(too_many())));
        }
        let put = (self.plugin.kv).put(&key, value.into(), expect(expected), ttl_ms, now_ms());
        Ok(put.map_err(|error| self.kv_error(error)))
    }

    fn remove(
        &mut self,
        key: String,
        expected: host_kv::Expected,
    ) -> Answer<Result<bool, host_kv::KvError>> {
        if !self.may_call() {
            return Ok(Err(host_kv::KvError::Other(too_many())));
        }
        let removed = self.plugin.kv.remove(&key, expect(expected), now_ms());
        Ok(removed.map_err(|error| self.kv_error(error)))
    }

    fn increment(&mut self, key: String, by: i64) -> Answer<Result<i64, host_kv::KvError>> {
        if !self.may_call() {
            return Ok(Err(host_kv::KvError::Other(too_many())));
        }
        let new = self.plugin.kv.increment(&key, by, now_ms());
        Ok(new.map_err(|error| self.kv_error(error)))
    }

    fn keys(
        &mut self,
        prefix: String,
        after: String,
        limit: u32,
    ) -> Answer<Result<Vec<String>, host_kv::KvError>> {
        if !self.may_call() {
            return Ok(Err(host_kv::KvError::Other(too_many())));
        }
        let limit = usize::try_from(limit.min(KEYS)).unwrap_or(0);
        let after = Some(after.as_str()).filter(|after| !after.is_empty());
        let found = self.plugin.kv.scan(&prefix, after, limit, now_ms());
        let keys = found.into_iter().map(|(key, _)| key.to_string());
        Ok(Ok(keys.collect()))
    }
}

impl host_publish::Host for State {
    fn publish(&mut self, emit: types::Emit) -> Answer<Result<(), host_publish::PublishError>> {
        Ok(self.publish_one(emit))
    }
}

impl State {
    fn publish_one(&mut self, emit: types::Emit) -> Result<(), host_publish::PublishError> {
        use host_publish::PublishError;
        if !self.may_call() {
            return Err(PublishError::Other(too_many()));
        }
        let Some(left) = self.publishes.checked_sub(1) else {
            self.plugin.limited.hit(Bound::Publishes);
            let text = "more publishes than one call of a hook may make".to_owned();
            return Err(PublishError::Other(text));
        };
        self.publishes = left;
        let emit = convert::published(emit).map_err(PublishError::Invalid)?;
        let topic = witmq_proto::TopicName::new(emit.topic.clone());
        let topic = topic.map_err(|error| PublishError::Invalid(error.to_string()))?;
        if emit.payload.len() > self.max_packet {
            let (length, most) = (emit.payload.len(), self.max_packet);
            let text = format!("its payload is {length} bytes long, at most {most} are allowed");
            return Err(PublishError::Invalid(text));
        }
        let plugin = &self.plugin;
        if !plugin
            .grants()
            .publish
            .iter()
            .any(|filter| filter.matches(&topic))
        {
            let text = format!(
                "plugin `{0}` may not publish to `{topic}`: grant it: witmq plugin grants {0} --add publish:{topic}",
                plugin.name
            );
            plugin.denied(&text);
            return Err(PublishError::Denied(convert::words(text)));
        }
        let message = convert::message_of(emit, topic, now_ms());
        if (plugin.outside.publish)(message) {
            Ok(())
        } else {
            Err(PublishError::Busy)
        }
    }
}

impl host_clock::Host for State {
    fn now_ms(&mut self) -> Answer<u64> {
        Ok(now_ms())
    }

    fn monotonic_ns(&mut self) -> Answer<u64> {
        Ok(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

impl host_timers::Host for State {
    fn after(&mut self, token: u64, delay_ms: u64) -> Answer<Result<(), host_timers::TimerError>> {
        if !self.has_timer {
            return Ok(Err(host_timers::TimerError::NoExport));
        }
        if !self.may_call() {
            return Ok(Err(host_timers::TimerError::Other(too_many())));
        }
        let is_set = self.plugin.timers.after(token, delay_ms);
        if !is_set {
            self.plugin.limited.hit(Bound::Timers);
        }
        Ok(is_set.then_some(()).ok_or(host_timers::TimerError::Quota))
    }

    fn cancel(&mut self, token: u64) -> Answer<Result<bool, host_timers::TimerError>> {
        if !self.may_call() {
            return Ok(Err(host_timers::TimerError::Other(too_many())));
        }
        Ok(Ok(self.plugin.timers.cancel(token)))
    }
}

impl host_secrets::Host for State {
    fn get(&mut self, name: String) -> Answer<Result<Option<Vec<u8>>, host_secrets::SecretError>> {
        if !self.may_call() {
            return Ok(Err(host_secrets::SecretError::Other(too_many())));
        }
        let plugin = &self.plugin;
        if !plugin.grants().secrets.contains(&name) {
            let text = format!(
                "plugin `{0}` may not read the secret `{name}`: grant it: witmq plugin grants {0} --add secret:{name}",
                plugin.name
            );
            plugin.denied(&text);
            return Ok(Err(host_secrets::SecretError::Denied(convert::words(text))));
        }
        Ok(Ok((plugin.outside.secret)(&name)))
    }
}

impl host_payload::Host for State {
    fn len(&mut self) -> Answer<u32> {
        Ok(u32::try_from(self.payload.len()).unwrap_or(u32::MAX))
    }

    fn read(&mut self, offset: u32, max: u32) -> Answer<Vec<u8>> {
        let (offset, max) = (usize::try_from(offset)?, usize::try_from(max)?);
        let end = offset.saturating_add(max).min(self.payload.len());
        Ok(self.payload.get(offset..end).unwrap_or_default().to_vec())
    }
}

impl host_clients::Host for State {
    async fn find(
        &mut self,
        client_id: String,
    ) -> Answer<Result<Option<host_clients::Client>, host_clients::ClientsError>> {
        if let Some(refusal) = self.refuse_clients() {
            return Ok(Err(refusal));
        }
        let found = self.plugin.outside.clients.find(&client_id).await;
        Ok(found
            .map(|client| client.map(convert::client))
            .map_err(|_| host_clients::ClientsError::Busy))
    }

    async fn disconnect(
        &mut self,
        client_id: String,
        reason_code: u8,
    ) -> Answer<Result<bool, host_clients::ClientsError>> {
        if let Some(refusal) = self.refuse_clients() {
            return Ok(Err(refusal));
        }
        let reason = convert::disconnect_reason(reason_code);
        let done = self
            .plugin
            .outside
            .clients
            .disconnect(&client_id, reason)
            .await;
        Ok(done.map_err(|_| host_clients::ClientsError::Busy))
    }
}

impl State {
    fn refuse_clients(&mut self) -> Option<host_clients::ClientsError> {
        if !self.plugin.grants().clients {
            let text = format!(
                "plugin `{0}` may not ask about clients: grant it: witmq plugin grants {0} --add clients",
                self.plugin.name
            );
            self.plugin.denied(&text);
            return Some(host_clients::ClientsError::Denied(text));
        }
        (!self.may_call()).then(|| host_clients::ClientsError::Other(too_many()))
    }
}

pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
