//! Users of a configuration: what the components `auth-file` and `scram` have in common. They differ in where keys come from
//! and in what else they take: `auth-file` has passwords too, `scram` has keys of two mechanisms and secrets of the host.
//!
//! Owns: SCRAM as its server sees it, the order of access rules. Must not: be a component, or know how a user is written
//! down.

pub mod access;
pub mod scram;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
