//! Section 6: MQTT over WebSocket.

use super::{Case, EVERY, Needs};
use crate::peer::{Hello, Peer, Verdict, check, kind, unique};
use crate::stream::Target;

pub(super) const CASES: &[Case] = &[
    only("ws_text_frame_closes", ws_text_frame_closes),
    only("ws_packets_span_frames", ws_packets_span_frames),
    only("ws_packets_share_frames", ws_packets_share_frames),
    only("ws_subprotocols", ws_subprotocols),
];

const fn only(name: &'static str, run: fn(&Target, u8) -> Verdict) -> Case {
    Case {
        name,
        levels: EVERY,
        needs: Needs::WebSocket,
        run,
    }
}

fn ws_text_frame_closes(target: &Target, level: u8) -> Verdict {
    let mut peer = Peer::join(target, level)?;
    check(peer.send_text_frame("MQTT"), "no text frame could be sent")?;
    peer.expect_closed(&[])
}

/// The handshake checked the subprotocol; each byte is a frame of its own.
fn ws_packets_span_frames(target: &Target, level: u8) -> Verdict {
    let mut peer = Peer::open(target, level)?;
    for byte in Hello::new(level, &unique("bytes")).packet(target.login.as_ref()) {
        peer.send(&[byte])?;
    }
    check(
        peer.expect(kind::CONNACK)?.byte(1) == 0,
        "CONNECT was refused",
    )?;
    peer.expect_quiet()
}

fn ws_packets_share_frames(target: &Target, level: u8) -> Verdict {
    let mut peer = Peer::join(target, level)?;
    peer.send(&[0xC0, 0, 0xC0, 0, 0xC0, 0])?;
    for _ in 0..3 {
        peer.expect(kind::PINGRESP)?;
    }
    Ok(())
}

/// `mqtt` alone or in a list is answered by `mqtt`; so is the older name by itself.
fn ws_subprotocols(target: &Target, _: u8) -> Verdict {
    for (offered, taken) in [
        ("mqtt", "mqtt"),
        ("mqttv3.1", "mqttv3.1"),
        ("mqttv3.1, mqtt", "mqtt"),
        ("chat,mqtt", "mqtt"),
    ] {
        let echoed = target.subprotocol(offered);
        let echoed = echoed.map_err(|error| format!("{offered:?}: {error:#}"))?;
        check(
            echoed.as_deref() == Some(taken),
            &format!("{offered:?} is answered by {echoed:?}"),
        )?;
    }
    Ok(())
}
