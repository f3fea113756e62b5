//! Tables of chains for the admin API: what is changed there is on disk before the answer.

use std::sync::Arc;
use std::time::{Duration, Instant};
use witmq_broker::ShardId;
use witmq_broker::ports::ControlError;
use witmq_broker::ports::{TableControl, TableInfo};
use witmq_broker::shard::Shard;
use witmq_net::Node;
use witmq_rules::Tables;

/// How long changes may take to become durable.
const COMMIT: Duration = Duration::from_secs(5);
/// Pause between looks at it.
const PAUSE: Duration = Duration::from_millis(2);
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
        let position = self.node.inspect(ASKED, |shard, _| shard.keep_keys());
        let position = position.ok_or_else(late)?;
        let end = Instant::now() + COMMIT;
        let is_stored = move |shard: &mut Shard, _| shard.is_stored(position);
        while self.node.inspect(ASKED, is_stored) != Some(true) {
            if Instant::now() >= end {
                return Err(late());
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
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
