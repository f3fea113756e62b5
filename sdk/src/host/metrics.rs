//! Numbers of the plugin's own, in the broker's metrics as `witmq_plugin_NAME` with the label `plugin`. A name is 1 to 64
//! of the characters a-z, 0-9 and `_`; at most 64 names. Beyond that a call does nothing.

use super::broker;

/// Adds to a counter.
pub fn count(name: &str, by: u64) {
    broker::count(name, by);
}

/// Sets a gauge.
pub fn gauge(name: &str, value: f64) {
    broker::gauge(name, value);
}
