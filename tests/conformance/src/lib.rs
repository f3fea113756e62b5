//! Every normative statement of MQTT 3.1.1 and 5.0, each with its status and its cases, against any broker.
//!
//! Owns: the manifest (`manifest/*.txt`), the cases, which speak raw packets, and the report.
//! Must not: use a crate of the host: what judges the broker shares nothing with it.
//!
//! ```text
//! manifest ─► statement ─► cases ─► Target (tcp, tls or ws) ─► report (text, JSON, JUnit)
//! ```
#![forbid(unsafe_code)]

pub mod cases;
pub mod manifest;
pub mod own;
pub mod pairs;
pub mod peer;
pub mod report;
pub mod run;
pub mod stream;
pub mod wire;
