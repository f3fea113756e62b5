//! `/mqtt` on the HTTP origin: the WebSocket handshake (RFC 6455 section 4.2), then the bare socket goes to the
//! broker. Frames are the broker's business.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use bytes::Bytes;
use hyper_util::rt::TokioIo;
use sha1::{Digest, Sha1};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;

/// A socket whose peer now speaks WebSocket frames.
#[derive(Debug)]
pub struct Upgrade {
    /// The socket, in no reactor.
    pub socket: std::net::TcpStream,
    /// Bytes already read after the handshake.
    pub leftover: Bytes,
    /// Address of the peer.
    pub peer: SocketAddr,
}

/// RFC 6455 section 1.3: appended to the key before hashing.
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Subprotocols of MQTT over WebSocket, the present one first [MQTT-6.0.0-3].
const PROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

const EXPLANATION: &str = "This is the MQTT endpoint of WitMQ. It speaks MQTT over WebSocket: connect an MQTT client to \
    ws://HOST:PORT/mqtt with the subprotocol \"mqtt\", for example mqtt.js: mqtt.connect(\"ws://HOST:PORT/mqtt\").\n";

pub(crate) type Sink = Arc<dyn Fn(Upgrade) + Send + Sync>;

/// Answers the handshake, or explains what this path is for.
pub(crate) async fn mqtt(State(sink): State<Sink>, mut request: Request) -> Response {
    let headers = request.headers();
    if request.method() != Method::GET || !names(headers, &header::UPGRADE, "websocket") {
        let mut response = (StatusCode::UPGRADE_REQUIRED, EXPLANATION).into_response();
        response
            .headers_mut()
            .insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        return response;
    }
    let (accept, protocol) = match negotiate(headers) {
        Ok(agreed) => agreed,
        Err(text) => {
            return (StatusCode::BAD_REQUEST, format!("{text}\n{EXPLANATION}")).into_response();
        }
    };
    let Some(peer) = request.extensions().get::<SocketAddr>().copied() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::task::spawn_local(async move {
        match upgraded.await {
            Ok(upgraded) => hand_over(&sink, upgraded, peer),
            Err(error) => tracing::debug!(%peer, %error, "websocket upgrade failed"),
        }
    });
    switching(&accept, protocol)
}

fn hand_over(sink: &Sink, upgraded: hyper::upgrade::Upgraded, peer: SocketAddr) {
    let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else {
        tracing::error!(%peer, "an upgraded connection was not a TCP socket");
        return;
    };
    match parts.io.into_inner().into_std() {
        Ok(socket) => sink(Upgrade {
            socket,
            leftover: parts.read_buf,
            peer,
        }),
        Err(error) => tracing::warn!(%peer, %error, "could not hand a websocket over"),
    }
}

fn switching(accept: &str, protocol: &'static str) -> Response {
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept)
        .header(header::SEC_WEBSOCKET_PROTOCOL, protocol)
        .body(Body::empty())
        .unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// The accept value and the subprotocol, or why not.
fn negotiate(headers: &HeaderMap) -> Result<(String, &'static str), &'static str> {
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .ok_or("Sec-WebSocket-Key is missing.")?;
    if headers
        .get(header::SEC_WEBSOCKET_VERSION)
        .is_none_or(|v| v != "13")
    {
        return Err("Sec-WebSocket-Version must be 13.");
    }
    let offered: Vec<&str> = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(',').map(str::trim))
        .collect();
    let chosen = PROTOCOLS
        .into_iter()
        .find(|p| offered.contains(p))
        .ok_or("Offer the WebSocket subprotocol \"mqtt\" [MQTT-6.0.0-3].")?;
    let digest = Sha1::new()
        .chain_update(key.as_bytes())
        .chain_update(MAGIC)
        .finalize();
    Ok((
        base64::engine::general_purpose::STANDARD.encode(digest),
        chosen,
    ))
}

fn names(headers: &HeaderMap, name: &header::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .any(|t| t.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(protocols: Option<&str>) -> Result<(String, &'static str), &'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::SEC_WEBSOCKET_KEY,
            HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="),
        );
        headers.insert(
            header::SEC_WEBSOCKET_VERSION,
            HeaderValue::from_static("13"),
        );
        if let Some(protocols) = protocols {
            headers.insert(
                header::SEC_WEBSOCKET_PROTOCOL,
                HeaderValue::from_str(protocols).expect("header"),
            );
        }
        negotiate(&headers)
    }

    #[test]
    fn the_accept_value_is_that_of_rfc_6455() {
        assert_eq!(
            offer(Some("mqtt")).expect("accepted").0,
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn subprotocols_come_in_lists_and_the_present_name_wins() {
        assert_eq!(offer(Some("mqttv3.1, mqtt")).expect("accepted").1, "mqtt");
        assert_eq!(offer(Some("mqttv3.1")).expect("accepted").1, "mqttv3.1");
        assert!(offer(None).is_err());
        assert!(offer(Some("chat")).is_err());
    }
}
