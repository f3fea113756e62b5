//! The cases: each speaks raw packets and proves the statements that cite it in the manifest.

mod auth;
mod connect;
mod fewer;
mod flow;
mod malformed;
mod properties;
mod publish;
mod qos;
mod retained;
mod session;
mod shared;
mod subscribe;
mod topics;
mod versions;
mod websocket;
mod will;

use crate::peer::Verdict;
use crate::stream::Target;

/// One case.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// As the manifest cites it.
    pub name: &'static str,
    /// MQTT levels it is run with.
    pub levels: &'static [u8],
    /// Without this it cannot be run.
    pub needs: Needs,
    /// What it does.
    pub run: fn(&Target, u8) -> Verdict,
}

/// What a case asks of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing that not every broker has.
    Nothing,
    /// WebSocket.
    WebSocket,
    /// A user with SCRAM-SHA-256.
    Scram,
}

/// Also MQTT 3.1, which has no numbered statements: it is held to those it shares with 3.1.1.
const EVERY: &[u8] = &[3, 4, 5];
const V3: &[u8] = &[3];
const NUMBERED: &[u8] = &[4, 5];
const V4: &[u8] = &[4];
const V5: &[u8] = &[5];

const fn case(name: &'static str, levels: &'static [u8], run: fn(&Target, u8) -> Verdict) -> Case {
    Case {
        name,
        levels,
        needs: Needs::Nothing,
        run,
    }
}

/// Every case.
#[must_use]
pub fn all() -> Vec<Case> {
    [
        connect::CASES,
        session::CASES,
        will::CASES,
        publish::CASES,
        retained::CASES,
        qos::CASES,
        flow::CASES,
        subscribe::CASES,
        topics::CASES,
        shared::CASES,
        fewer::CASES,
        auth::CASES,
        malformed::CASES,
        properties::CASES,
        versions::CASES,
        websocket::CASES,
    ]
    .concat()
}
