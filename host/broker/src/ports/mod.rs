//! The traits the siblings of this crate implement, and the plain data that crosses them.
//!
//! Owns: the seams. Siblings (net, runtime, rules, admin) meet here and nowhere else.
//! Must not: contain behaviour beyond small constructors.

pub mod chains;
pub mod clients;
pub mod control;
pub mod events;
pub mod hooks;
pub mod kv;
pub mod raised;
pub mod sinks;
pub mod store;
pub mod tables;

pub use chains::{
    ChainOutcome, ChainProgress, ChainRun, Chains, Inject, Named, Publisher, Rest, StepAnswer,
    StepFailure, StepOutcome, Transform,
};
pub use control::{ControlError, PluginControl, RuleControl};
pub use events::{BrokerEvent, Events};
pub use hooks::{
    AclRule, Attempt, AuthRequest, AuthStep, Authenticate, Authorize, AuthorizeAction, Decision,
    Grant, Query, Transport, Verdict,
};
pub use kv::{KvSpace, PluginKv};
pub use sinks::{Kept, NotTaken, SinkControl, SinkInfo, Take, Taking};
pub use store::{Past, Position, Record, Store};
pub use tables::{TableControl, TableInfo};
