//! `witmq pub` and `witmq sub`: an MQTT 5 client (rumqttc) with clear words when something is refused.

#![allow(
    clippy::large_futures,
    reason = "one connection of a command line tool"
)]

use super::args::{MqttArgs, PubArgs, SubArgs};
use super::{CliError, Exit, plugin, tls};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode, Filter, Packet, PubAckReason, PubRecReason, Publish, PublishProperties,
    SubscribeReasonCode,
};
use rumqttc::v5::{
    AsyncClient, ConnectionError, Event, EventLoop, Incoming, MqttOptions, StateError,
};
use rumqttc::{NetworkOptions, TlsConfiguration, Transport};
use serde_json::{Map, Value, json};
use std::future::Future;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

/// Requests waiting for the connection; one is in use at a time.
const REQUESTS: usize = 16;
/// Largest packet taken from the broker.
const MAX_PACKET_BYTES: u32 = 256 * 1024 * 1024;

pub(crate) fn publish(args: &PubArgs) -> Result<(), CliError> {
    let payload = match (&args.message, &args.file) {
        (Some(text), _) => text.clone().into_bytes(),
        (None, Some(file)) => plugin::read(file)?,
        (None, None) => plugin::read(Path::new("/dev/stdin"))?,
    };
    let properties = PublishProperties {
        message_expiry_interval: args.expiry,
        content_type: args.content_type.clone(),
        response_topic: args.response_topic.clone(),
        correlation_data: args.correlation.clone().map(Into::into),
        user_properties: args.properties.clone(),
        ..PublishProperties::default()
    };
    block_on(async {
        let (client, mut events) = connect(&args.mqtt, false).await?;
        let qos = qos(args.mqtt.qos);
        client
            .publish_with_properties(&args.topic, qos, args.retain, payload, properties)
            .await
            .map_err(|_| {
                CliError::new(
                    Exit::Usage,
                    format!("`{}` is no topic name (a wildcard in it?)", args.topic),
                )
            })?;
        within(&args.mqtt, published(&mut events, qos)).await?;
        goodbye(&client, &mut events, &args.mqtt).await;
        Ok(())
    })
}

/// Waits for the acknowledgement that `qos` promises; for QoS 0 until the packet is written.
async fn published(events: &mut EventLoop, qos: QoS) -> Result<(), CliError> {
    loop {
        match next(events).await? {
            Event::Outgoing(rumqttc::Outgoing::Publish(_)) if qos == QoS::AtMostOnce => {
                return Ok(());
            }
            Event::Incoming(Incoming::PubAck(ack)) => {
                return match ack.reason {
                    PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(()),
                    reason => Err(refused(
                        "the message",
                        &format!("{reason:?}"),
                        ack.properties.and_then(|p| p.reason_string),
                    )),
                };
            }
            Event::Incoming(Incoming::PubRec(ack))
                if !matches!(
                    ack.reason,
                    PubRecReason::Success | PubRecReason::NoMatchingSubscribers
                ) =>
            {
                let text = ack.properties.and_then(|p| p.reason_string);
                return Err(refused("the message", &format!("{:?}", ack.reason), text));
            }
            Event::Incoming(Incoming::PubComp(_)) => return Ok(()),
            _ => {}
        }
    }
}

pub(crate) fn subscribe(args: &SubArgs) -> Result<(), CliError> {
    block_on(async {
        let (client, mut events) = connect(&args.mqtt, args.resume).await?;
        let filters = args.filters.iter().map(|text| Filter {
            nolocal: args.no_local,
            preserve_retain: args.retain_as_published,
            ..Filter::new(text, qos(args.mqtt.qos))
        });
        client.subscribe_many(filters).await.map_err(|_| {
            CliError::new(
                Exit::Usage,
                format!("`{}` is no topic filter", args.filters.join(" ")),
            )
        })?;
        let mut left = args.count.unwrap_or(u64::MAX);
        while left > 0 {
            tokio::select! {
                event = next(&mut events) => match event? {
                    Event::Incoming(Incoming::Publish(message)) => {
                        show(&message, args)?;
                        left = left.saturating_sub(1);
                    }
                    Event::Incoming(Incoming::SubAck(ack)) => granted(&args.filters, &ack.return_codes)?,
                    _ => {}
                },
                _ = tokio::signal::ctrl_c() => break,
            }
        }
        goodbye(&client, &mut events, &args.mqtt).await;
        Ok(())
    })
}

fn granted(filters: &[String], codes: &[SubscribeReasonCode]) -> Result<(), CliError> {
    for (filter, code) in filters.iter().zip(codes) {
        if !matches!(code, SubscribeReasonCode::Success(_)) {
            return Err(refused(
                &format!("the subscription to `{filter}`"),
                &format!("{code:?}"),
                None,
            ));
        }
    }
    Ok(())
}

fn show(message: &Publish, args: &SubArgs) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let topic = String::from_utf8_lossy(&message.topic);
    let written = if args.raw {
        out.write_all(&message.payload)
    } else if args.json {
        writeln!(out, "{}", as_json(message))
    } else {
        writeln!(out, "{topic} {}", String::from_utf8_lossy(&message.payload))
    };
    written
        .and_then(|()| out.flush())
        .map_err(|e| CliError::failed(format!("standard output: {e}")))
}

fn as_json(message: &Publish) -> Value {
    let mut object = Map::new();
    object.insert(
        "topic".into(),
        String::from_utf8_lossy(&message.topic).into(),
    );
    let payload = serde_json::from_slice(&message.payload)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&message.payload).into_owned()));
    object.insert("payload".into(), payload);
    object.insert("qos".into(), json!(message.qos as u8));
    object.insert("retain".into(), json!(message.retain));
    if let Some(properties) = &message.properties {
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                object.insert(key.to_owned(), value);
            }
        };
        put("expiry", properties.message_expiry_interval.map(Into::into));
        put(
            "content_type",
            properties.content_type.clone().map(Into::into),
        );
        put(
            "response_topic",
            properties.response_topic.clone().map(Into::into),
        );
        let correlation = properties.correlation_data.as_ref();
        put(
            "correlation",
            correlation.map(|data| String::from_utf8_lossy(data).into()),
        );
        if !properties.user_properties.is_empty() {
            put("properties", Some(json!(properties.user_properties)));
        }
    }
    Value::Object(object)
}

/// Connects and waits for CONNACK.
async fn connect(args: &MqttArgs, resume: bool) -> Result<(AsyncClient, EventLoop), CliError> {
    let (client, mut events) = AsyncClient::new(options(args, resume)?, REQUESTS);
    events.set_network_options_nodelay();
    within(args, async {
        loop {
            if let Event::Incoming(Packet::ConnAck(_)) = next(&mut events).await? {
                return Ok(());
            }
        }
    })
    .await?;
    Ok((client, events))
}

fn options(args: &MqttArgs, resume: bool) -> Result<MqttOptions, CliError> {
    let bad = || {
        CliError::new(Exit::Usage, format!("`{}` is no address", args.url))
            .hint("use mqtt://HOST[:PORT], mqtts://…, ws://HOST[:PORT]/PATH or wss://…")
    };
    let (scheme, rest) = args.url.split_once("://").ok_or_else(bad)?;
    let (authority, path) = rest.split_once('/').map_or((rest, "mqtt"), |(a, p)| (a, p));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse::<u16>().map_err(|_| bad())?)),
        None => (authority, None),
    };
    if host.is_empty() {
        return Err(bad());
    }
    let id = args
        .client_id
        .clone()
        .unwrap_or_else(|| format!("witmq-{:08x}", rand::random::<u32>()));
    let tls = || tls::client(args.ca.as_deref()).map(TlsConfiguration::Rustls);
    let mut options = match scheme {
        "mqtt" => MqttOptions::new(id, host, port.unwrap_or(1883)),
        "mqtts" => MqttOptions::new(id, host, port.unwrap_or(8883)),
        "ws" | "wss" => {
            let port = port.unwrap_or(if scheme == "ws" { 8083 } else { 8084 });
            MqttOptions::new(id, format!("{scheme}://{host}:{port}/{path}"), port)
        }
        _ => return Err(bad()),
    };
    match scheme {
        "mqtts" => options.set_transport(Transport::Tls(tls()?)),
        "ws" => options.set_transport(Transport::Ws),
        "wss" => options.set_transport(Transport::Wss(tls()?)),
        _ => &mut options,
    };
    if args.keep_alive > 0 && args.keep_alive < 5 {
        return Err(CliError::new(
            Exit::Usage,
            "--keep-alive is 0 or at least 5 seconds",
        ));
    }
    options.set_keep_alive(Duration::from_secs(u64::from(args.keep_alive)));
    options.set_clean_start(!resume);
    options.set_connection_timeout(args.timeout);
    options.set_max_packet_size(Some(MAX_PACKET_BYTES));
    options.set_session_expiry_interval(args.session_expiry);
    if let Some(username) = &args.username {
        options.set_credentials(username, args.password.clone().unwrap_or_default());
    }
    Ok(options)
}

/// The one switch `EventLoop` has for its socket.
trait NoDelay {
    fn set_network_options_nodelay(&mut self);
}

impl NoDelay for EventLoop {
    fn set_network_options_nodelay(&mut self) {
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        self.options.set_network_options(network);
    }
}

async fn next(events: &mut EventLoop) -> Result<Event, CliError> {
    events.poll().await.map_err(explain)
}

/// The client library's errors in words.
fn explain(error: ConnectionError) -> CliError {
    match error {
        ConnectionError::ConnectionRefused(code) => refusal(code),
        ConnectionError::MqttState(StateError::ServerDisconnect {
            reason_code,
            reason_string,
        }) => refused("the connection", &format!("{reason_code:?}"), reason_string),
        ConnectionError::Timeout(_) => {
            CliError::new(Exit::Unreachable, "the broker did not answer in time")
        }
        error => CliError::new(Exit::Unreachable, format!("the connection failed: {error}"))
            .hint("is the broker running, and is --url right?"),
    }
}

fn refusal(code: ConnectReturnCode) -> CliError {
    let (number, words) = match code {
        ConnectReturnCode::BadUserNamePassword => ("0x86", "bad user name or password"),
        ConnectReturnCode::NotAuthorized => ("0x87", "not authorized"),
        ConnectReturnCode::ClientIdentifierNotValid => ("0x85", "client identifier not valid"),
        ConnectReturnCode::ServerBusy => ("0x89", "server busy"),
        ConnectReturnCode::Banned => ("0x8A", "banned"),
        other => {
            return CliError::new(
                Exit::Refused,
                format!("the broker refused the connection: {other:?}"),
            );
        }
    };
    CliError::new(
        Exit::Refused,
        format!("the broker refused the connection: {number} {words}"),
    )
    .hint("name a user with -u and a password with -P; make one with `witmq user add`")
}

fn refused(what: &str, reason: &str, text: Option<String>) -> CliError {
    let text = text.map_or_else(String::new, |t| format!(" ({t})"));
    CliError::new(
        Exit::Refused,
        format!("the broker refused {what}: {reason}{text}"),
    )
}

/// DISCONNECT, and as much patience as it takes to write it.
async fn goodbye(client: &AsyncClient, events: &mut EventLoop, args: &MqttArgs) {
    if client.disconnect().await.is_ok() {
        let gone = within(args, async {
            loop {
                if let Event::Outgoing(rumqttc::Outgoing::Disconnect) = next(events).await? {
                    return Ok(());
                }
            }
        });
        drop(gone.await);
    }
}

async fn within<T>(
    args: &MqttArgs,
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    match tokio::time::timeout(Duration::from_secs(args.timeout), work).await {
        Ok(result) => result,
        Err(_) => Err(CliError::new(
            Exit::Unreachable,
            format!("no answer within {} s from {}", args.timeout, args.url),
        )),
    }
}

fn block_on(work: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::failed(e.to_string()))?
        .block_on(work)
}

fn qos(level: u8) -> QoS {
    match level {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}
