//! The cases: each speaks raw packets and proves the statements that cite it in the manifest.

mod auth;
mod connect;
mod flow;
mod malformed;
mod publish;
mod qos;
mod retained;
mod session;
mod shared;
mod subscribe;
mod topics;
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
    /// Only over WebSocket.
    pub only_ws: bool,
    /// What it does.
    pub run: fn(&Target, u8) -> Verdict,
}

const BOTH: &[u8] = &[4, 5];
const V4: &[u8] = &[4];
const V5: &[u8] = &[5];

const fn case(name: &'static str, levels: &'static [u8], run: fn(&Target, u8) -> Verdict) -> Case {
    Case {
        name,
        levels,
        only_ws: false,
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
        auth::CASES,
        malformed::CASES,
        websocket::CASES,
    ]
    .concat()
}
