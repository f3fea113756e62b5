//! Tables of chains for the admin API: what is changed there is on disk before the answer.

use crate::kept::Pending;
use std::sync::Arc;
use witmq_broker::ShardId;
use witmq_broker::ports::ControlError;
use witmq_broker::ports::{TableControl, TableInfo};
use witmq_net::Node;
use witmq_rules::Tables;

/// Keys are kept by all shards alike: the first one is asked.
const ASKED: ShardId = ShardId(0);

/// The tables, and who keeps them.
pub(crate) struct KeptTables {
    pub(crate) tables: Tables,
    pub(crate) node: Arc<Node>,
}

impl KeptTables {
    fn wait(&self) -> Result<(), ControlError> {
        let late = || {
            let text = "it is done, but not on disk yet: it may be undone if the broker ends now";
            ControlError::Internal(text.to_owned())
        };
        let pending = Pending::new();
        let waiter = pending.notice().waiter();
        let asked = (self.node).inspect(ASKED, move |shard, _| {
            shard.keep_keys();
            shard.when_stored(waiter);
        });
        asked.ok_or_else(late)?;
        pending.wait().then_some(()).ok_or_else(late)
    }
}

impl TableControl for KeptTables {
    fn list(&self) -> Vec<TableInfo> {
        self.tables.list()
    }

    fn entries(
        &self,
        table: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, String)>, ControlError> {
        self.tables.entries(table, after, limit)
    }

    fn find(&self, table: &str, key: &str) -> Result<String, ControlError> {
        self.tables.find(table, key)
    }

    fn put(&self, table: &str, key: &str, json: &str) -> Result<(), ControlError> {
        self.tables.put(table, key, json)?;
        self.wait()
    }

    fn load(&self, table: &str, entries: &[(String, String)]) -> Result<usize, ControlError> {
        let loaded = self.tables.load(table, entries)?;
        self.wait()?;
        Ok(loaded)
    }

    fn remove(&self, table: &str, key: Option<&str>) -> Result<usize, ControlError> {
        let removed = self.tables.remove(table, key)?;
        self.wait()?;
        Ok(removed)
    }
}
