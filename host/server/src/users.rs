//! Users of the bundled authenticator: entries of its configuration, changed one at a time.

use crate::config::AUTH_FILE;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};
use witmq_admin::UserControl;
use witmq_broker::ports::{ControlError, PluginControl};

/// Edits `users` in the configuration of `auth-file`. The plugin judges the result; if it refuses, the old
/// configuration stays.
pub(crate) struct Users {
    plugins: Arc<dyn PluginControl>,
    /// Read, change and write back are one step.
    editing: Mutex<()>,
}

impl Users {
    pub(crate) fn new(plugins: Arc<dyn PluginControl>) -> Self {
        Self {
            plugins,
            editing: Mutex::new(()),
        }
    }

    fn edit(
        &self,
        change: impl FnOnce(&mut Vec<Value>) -> Result<(), ControlError>,
    ) -> Result<(), ControlError> {
        let _one_at_a_time = self.editing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut config = self.read()?;
        let Some(root) = config.as_object_mut() else {
            return Err(unreadable());
        };
        root.entry("scram_secret").or_insert_with(secret);
        let users = root.entry("users").or_insert_with(|| json!([]));
        change(users.as_array_mut().ok_or_else(unreadable)?)?;
        self.plugins
            .configure(AUTH_FILE, config.to_string())
            .map(drop)
    }

    fn read(&self) -> Result<Value, ControlError> {
        serde_json::from_str(&self.plugins.config(AUTH_FILE)?).map_err(|_| unreadable())
    }
}

/// What the plugin makes salts with for names that are not there: made once, so that those salts stay.
fn secret() -> Value {
    let mut bytes = [0_u8; 32];
    rand::RngCore::fill_bytes(&mut rand::rng(), &mut bytes);
    Value::String(BASE64_STANDARD.encode(bytes))
}

fn unreadable() -> ControlError {
    ControlError::Internal(
        "the configuration of auth-file is not an object with a list of users".into(),
    )
}

fn is_named(entry: &Value, name: &Value) -> bool {
    entry.get("name") == Some(name)
}

impl UserControl for Users {
    fn put(&self, entry: Value) -> Result<(), ControlError> {
        self.edit(|users| {
            let name = entry.get("name").cloned().unwrap_or_default();
            users.retain(|known| !is_named(known, &name));
            users.push(entry);
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> Result<(), ControlError> {
        self.edit(|users| {
            let before = users.len();
            users.retain(|known| !is_named(known, &Value::from(name)));
            if users.len() == before {
                return Err(ControlError::NotFound(format!("there is no user `{name}`")));
            }
            Ok(())
        })
    }

    fn list(&self) -> Result<Vec<String>, ControlError> {
        let config = self.read()?;
        let users = config
            .get("users")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let mut names: Vec<String> = users
            .filter_map(|u| u.get("name")?.as_str().map(str::to_owned))
            .collect();
        names.sort();
        Ok(names)
    }
}
