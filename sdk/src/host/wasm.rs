//! The broker's imports, with the SDK's types.

use super::clients::{Client, ClientsError};
use super::kv::{Entry, Expected, KvError};
use super::log::Level;
use super::publish::PublishError;
use super::secrets::SecretError;
use super::timers::TimerError;
use crate::abi::base::witmq::plugin::{
    host_clients, host_clock, host_kv, host_log, host_metrics, host_payload, host_publish,
    host_secrets, host_timers,
};
use crate::message::Emit;

pub(crate) fn log(level: Level, text: &str) {
    let level = match level {
        Level::Trace => host_log::Level::Trace,
        Level::Debug => host_log::Level::Debug,
        Level::Info => host_log::Level::Info,
        Level::Warn => host_log::Level::Warn,
        Level::Error => host_log::Level::Error,
    };
    host_log::log(level, text);
}

pub(crate) fn count(name: &str, by: u64) {
    host_metrics::count(name, by);
}

pub(crate) fn gauge(name: &str, value: f64) {
    host_metrics::gauge(name, value);
}

pub(crate) fn now_ms() -> u64 {
    host_clock::now_ms()
}

pub(crate) fn monotonic_ns() -> u64 {
    host_clock::monotonic_ns()
}

fn expected(expected: Expected) -> host_kv::Expected {
    match expected {
        Expected::Any => host_kv::Expected::Any,
        Expected::Absent => host_kv::Expected::Absent,
        Expected::Version(version) => host_kv::Expected::Version(version),
    }
}

impl From<host_kv::KvError> for KvError {
    fn from(error: host_kv::KvError) -> Self {
        match error {
            host_kv::KvError::TooLarge => Self::TooLarge,
            host_kv::KvError::Quota => Self::Quota,
            host_kv::KvError::Conflict(version) => Self::Conflict { version },
            host_kv::KvError::Other(text) => Self::Other(text),
        }
    }
}

pub(crate) fn kv_get(key: &str) -> Result<Option<Entry>, KvError> {
    Ok(host_kv::get(key)?.map(|entry| Entry {
        value: entry.value,
        version: entry.version,
    }))
}

pub(crate) fn kv_put(
    key: &str,
    value: &[u8],
    expect: Expected,
    ttl_ms: u64,
) -> Result<u64, KvError> {
    Ok(host_kv::put(key, value, expected(expect), ttl_ms)?)
}

pub(crate) fn kv_remove(key: &str, expect: Expected) -> Result<bool, KvError> {
    Ok(host_kv::remove(key, expected(expect))?)
}

pub(crate) fn kv_increment(key: &str, by: i64) -> Result<i64, KvError> {
    Ok(host_kv::increment(key, by)?)
}

pub(crate) fn kv_keys(prefix: &str, after: &str, limit: u32) -> Result<Vec<String>, KvError> {
    Ok(host_kv::keys(prefix, after, limit)?)
}

pub(crate) fn publish(message: &Emit) -> Result<(), PublishError> {
    host_publish::publish(&message.clone().into()).map_err(|error| match error {
        host_publish::PublishError::Denied(text) => PublishError::Denied(text),
        host_publish::PublishError::Invalid(text) => PublishError::Invalid(text),
        host_publish::PublishError::Busy => PublishError::Busy,
        host_publish::PublishError::Other(text) => PublishError::Other(text),
    })
}

fn timer_error(error: host_timers::TimerError) -> TimerError {
    match error {
        host_timers::TimerError::Quota => TimerError::Quota,
        host_timers::TimerError::NoExport => TimerError::NoHook,
        host_timers::TimerError::Other(text) => TimerError::Other(text),
    }
}

pub(crate) fn timer_after(token: u64, delay_ms: u64) -> Result<(), TimerError> {
    host_timers::after(token, delay_ms).map_err(timer_error)
}

pub(crate) fn timer_cancel(token: u64) -> Result<bool, TimerError> {
    host_timers::cancel(token).map_err(timer_error)
}

pub(crate) fn secret(name: &str) -> Result<Option<Vec<u8>>, SecretError> {
    host_secrets::get(name).map_err(|error| match error {
        host_secrets::SecretError::Denied(text) => SecretError::Denied(text),
        host_secrets::SecretError::Other(text) => SecretError::Other(text),
    })
}

pub(crate) fn payload_len() -> u32 {
    host_payload::len()
}

pub(crate) fn payload_read(offset: u32, max: u32) -> Vec<u8> {
    host_payload::read(offset, max)
}

fn clients_error(error: host_clients::ClientsError) -> ClientsError {
    match error {
        host_clients::ClientsError::Denied(text) => ClientsError::Denied(text),
        host_clients::ClientsError::Busy => ClientsError::Busy,
        host_clients::ClientsError::Other(text) => ClientsError::Other(text),
    }
}

pub(crate) fn client(client_id: &str) -> Result<Option<Client>, ClientsError> {
    let found = host_clients::find(client_id).map_err(clients_error)?;
    Ok(found.map(|client| Client {
        username: client.username,
        connected: client.connected,
        peer: client.peer,
        protocol: client.protocol,
        queued: client.queued,
        subscriptions: client.subscriptions,
    }))
}

pub(crate) fn disconnect(client_id: &str, reason_code: u8) -> Result<bool, ClientsError> {
    host_clients::disconnect(client_id, reason_code).map_err(clients_error)
}
