//! One plugin's keys as its instances use them: the port, at the present time.

use crate::imports::now_ms;
use bytes::Bytes;
use std::sync::Arc;
use witmq_broker::ports::KvSpace;
use witmq_broker::ports::kv::{Expect, KvError};

/// The keys.
pub(crate) struct Kv(Arc<dyn KvSpace>);

impl Kv {
    pub(crate) fn new(space: Arc<dyn KvSpace>) -> Self {
        Self(space)
    }

    pub(crate) fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.0.get(key, now_ms()).map(|kept| kept.value.into())
    }

    pub(crate) fn put(&self, key: &str, value: Vec<u8>, ttl_ms: u64) -> Result<(), KvError> {
        let value = Bytes::from(value);
        let put = self.0.put(key, value, Expect::Any, ttl_ms, now_ms());
        put.map(drop)
    }

    pub(crate) fn remove(&self, key: &str) -> bool {
        self.0.remove(key, Expect::Any, now_ms()) == Ok(true)
    }

    pub(crate) fn increment(&self, key: &str, by: i64) -> Result<i64, KvError> {
        self.0.increment(key, by, now_ms())
    }
}
