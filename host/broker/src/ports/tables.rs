//! What the admin API asks of the tables of chains. Blocking calls.

use super::ControlError;

/// A table as `witmq table ls` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableInfo {
    /// Its name.
    pub name: String,
    /// Keys in it.
    pub keys: usize,
    /// Bytes of keys and values.
    pub bytes: usize,
}

/// Tables of chains. Values are JSON text.
pub trait TableControl: Send + Sync {
    /// Tables that are not empty, by name.
    fn list(&self) -> Vec<TableInfo>;
    /// At most `limit` entries behind the key `after`, by key.
    ///
    /// # Errors
    /// No name for a table.
    fn entries(
        &self,
        table: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, String)>, ControlError>;
    /// The value of a key.
    ///
    /// # Errors
    /// No such key, or no name for a table.
    fn find(&self, table: &str, key: &str) -> Result<String, ControlError>;
    /// Sets a key.
    ///
    /// # Errors
    /// No JSON, too large, or the table is full.
    fn put(&self, table: &str, key: &str, json: &str) -> Result<(), ControlError>;
    /// Sets many, one after the other; how many.
    ///
    /// # Errors
    /// As `put`; those before the one that is wrong are set.
    fn load(&self, table: &str, entries: &[(String, String)]) -> Result<usize, ControlError> {
        for (key, json) in entries {
            self.put(table, key, json)?;
        }
        Ok(entries.len())
    }
    /// Removes a key, or all; how many.
    ///
    /// # Errors
    /// There is none.
    fn remove(&self, table: &str, key: Option<&str>) -> Result<usize, ControlError>;
}
