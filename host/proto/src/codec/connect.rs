//! CONNECT and CONNACK.

use super::acks::reason;
use super::properties as p;
use super::properties::{MESSAGE, set};
use super::read::Reader;
use super::write::{Sink, prefixed};
use crate::error::DecodeError;
use crate::packet::{
    Connack, ConnackProperties, Connect, ConnectProperties, PublishProperties, QoS, Version, Will,
};
use crate::{ReasonCode, TopicName};
use bytes::BytesMut;

const CLEAN_START: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USERNAME: u8 = 0x80;

const CONNECT_SET: p::Set = set(&[
    p::SESSION_EXPIRY,
    p::RECEIVE_MAXIMUM,
    p::MAXIMUM_PACKET_SIZE,
    p::TOPIC_ALIAS_MAXIMUM,
    p::REQUEST_RESPONSE,
    p::REQUEST_PROBLEM,
    p::AUTH_METHOD,
    p::AUTH_DATA,
    p::USER,
]);

const CONNACK_SET: p::Set = set(&[
    p::SESSION_EXPIRY,
    p::RECEIVE_MAXIMUM,
    p::MAXIMUM_QOS,
    p::RETAIN_AVAILABLE,
    p::MAXIMUM_PACKET_SIZE,
    p::ASSIGNED_CLIENT_ID,
    p::TOPIC_ALIAS_MAXIMUM,
    p::REASON_STRING,
    p::WILDCARD_AVAILABLE,
    p::SUBSCRIPTION_IDS_AVAILABLE,
    p::SHARED_AVAILABLE,
    p::SERVER_KEEP_ALIVE,
    p::RESPONSE_INFORMATION,
    p::SERVER_REFERENCE,
    p::AUTH_METHOD,
    p::AUTH_DATA,
    p::USER,
]);

pub(super) fn decode(reader: &mut Reader) -> Result<Connect, DecodeError> {
    let name = reader.binary("protocol name")?;
    let level = reader.u8("protocol level")?;
    let version = match (&name[..], level) {
        (b"MQIsdp", 3) => Version::V31,
        (b"MQTT", 4) => Version::V311,
        (b"MQTT", 5) => Version::V5,
        (b"MQIsdp" | b"MQTT", _) => return Err(DecodeError::UnsupportedVersion(level)), // [MQTT-3.1.2-2]
        _ => return Err(DecodeError::ProtocolName), // [MQTT-3.1.2-1]
    };
    let flags = reader.u8("connect flags")?;
    let will_qos = check_flags(flags, version)?;
    let keep_alive = reader.u16("keep alive")?;
    let mut properties = ConnectProperties::default();
    if version.is_v5() {
        p::read(reader, "CONNECT", CONNECT_SET, 0, |id, value| {
            take_connect(&mut properties, id, value)
        })?;
    }
    let client_id = reader.text("client identifier")?; // [MQTT-3.1.3-4]
    let will = if flags & WILL != 0 {
        Some(decode_will(
            reader,
            version,
            will_qos,
            flags & WILL_RETAIN != 0,
        )?)
    } else {
        None
    };
    let username = if flags & USERNAME != 0 {
        Some(reader.text("user name")?)
    } else {
        None
    };
    let password = if flags & PASSWORD != 0 {
        Some(reader.binary("password")?)
    } else {
        None
    };
    let clean_start = flags & CLEAN_START != 0;
    Ok(Connect {
        version,
        clean_start,
        keep_alive,
        client_id,
        will,
        username,
        password,
        properties,
    })
}

/// Checks the connect flags; the QoS of the will.
fn check_flags(flags: u8, version: Version) -> Result<QoS, DecodeError> {
    if flags & 1 != 0 {
        return Err(DecodeError::ConnectFlags(
            "the reserved bit is set [MQTT-3.1.2-3]",
        ));
    }
    let qos = QoS::from_bits(flags >> 3 & 3)
        .ok_or(DecodeError::ConnectFlags("will QoS 3 [MQTT-3.1.2-12]"))?;
    if flags & WILL == 0 && (qos != QoS::AtMostOnce || flags & WILL_RETAIN != 0) {
        return Err(DecodeError::ConnectFlags(
            "will QoS or will retain without a will [MQTT-3.1.2-11] [MQTT-3.1.2-13]",
        ));
    }
    if version != Version::V5 && flags & PASSWORD != 0 && flags & USERNAME == 0 {
        return Err(DecodeError::ConnectFlags(
            "a password without a user name [MQTT-3.1.2-22]",
        ));
    }
    Ok(qos)
}

fn take_connect(properties: &mut ConnectProperties, id: u8, value: p::Value) {
    match id {
        p::SESSION_EXPIRY => properties.session_expiry = value.number(),
        p::RECEIVE_MAXIMUM => properties.receive_maximum = value.short(),
        p::MAXIMUM_PACKET_SIZE => properties.maximum_packet_size = value.number(),
        p::TOPIC_ALIAS_MAXIMUM => properties.topic_alias_maximum = value.short(),
        p::REQUEST_RESPONSE => properties.request_response_information = value.flag(),
        p::REQUEST_PROBLEM => properties.request_problem_information = value.flag(),
        p::AUTH_METHOD => properties.authentication_method = value.text(),
        p::AUTH_DATA => properties.authentication_data = value.binary(),
        _ => value.push_to(&mut properties.user),
    }
}

fn decode_will(
    reader: &mut Reader,
    version: Version,
    qos: QoS,
    retain: bool,
) -> Result<Will, DecodeError> {
    let mut properties = PublishProperties::default();
    let mut delay = 0;
    if version.is_v5() {
        let allowed = MESSAGE | set(&[p::WILL_DELAY]);
        p::read(
            reader,
            "the will of CONNECT",
            allowed,
            0,
            |id, value| match id {
                p::WILL_DELAY => delay = value.number().unwrap_or(0),
                _ => p::take_message(&mut properties, id, value),
            },
        )?;
    }
    let topic = TopicName::new(reader.text("will topic")?)?; // [MQTT-3.1.3-11]
    let payload = reader.binary("will payload")?;
    Ok(Will {
        topic,
        payload,
        qos,
        retain,
        delay,
        properties,
    })
}

pub(super) fn write(connect: &Connect, out: &mut impl Sink) {
    let name = if connect.version == Version::V31 {
        "MQIsdp"
    } else {
        "MQTT"
    };
    out.text(name);
    out.u8(connect.version.level());
    let mut flags = 0;
    let mut set_if = |bit: u8, is_set: bool| flags |= if is_set { bit } else { 0 };
    set_if(CLEAN_START, connect.clean_start);
    set_if(USERNAME, connect.username.is_some());
    set_if(PASSWORD, connect.password.is_some());
    if let Some(will) = &connect.will {
        set_if(WILL | (will.qos as u8) << 3, true);
        set_if(WILL_RETAIN, will.retain);
    }
    out.u8(flags);
    out.u16(connect.keep_alive);
    if connect.version.is_v5() {
        prefixed(out, |out| {
            write_connect_properties(&connect.properties, out)
        });
    }
    out.text(&connect.client_id);
    if let Some(will) = &connect.will {
        if connect.version.is_v5() {
            prefixed(out, |out| {
                p::number(
                    out,
                    p::WILL_DELAY,
                    Some(will.delay).filter(|delay| *delay > 0),
                );
                p::write_message(&will.properties, will.properties.message_expiry, out);
            });
        }
        out.text(&will.topic);
        out.binary(&will.payload);
    }
    if let Some(username) = &connect.username {
        out.text(username);
    }
    if let Some(password) = &connect.password {
        out.binary(password);
    }
}

fn write_connect_properties(properties: &ConnectProperties, out: &mut dyn Sink) {
    p::number(out, p::SESSION_EXPIRY, properties.session_expiry);
    p::short(out, p::RECEIVE_MAXIMUM, properties.receive_maximum);
    p::number(out, p::MAXIMUM_PACKET_SIZE, properties.maximum_packet_size);
    p::short(out, p::TOPIC_ALIAS_MAXIMUM, properties.topic_alias_maximum);
    p::flag(
        out,
        p::REQUEST_RESPONSE,
        properties.request_response_information,
    );
    p::flag(
        out,
        p::REQUEST_PROBLEM,
        properties.request_problem_information,
    );
    p::text(
        out,
        p::AUTH_METHOD,
        properties.authentication_method.as_ref(),
    );
    p::binary(out, p::AUTH_DATA, properties.authentication_data.as_ref());
    p::users(out, &properties.user);
}

pub(super) fn decode_connack(
    reader: &mut Reader,
    version: Version,
) -> Result<Connack, DecodeError> {
    let flags = reader.u8("connect acknowledge flags")?;
    if flags > 1 {
        return Err(DecodeError::ConnectFlags(
            "reserved bits of CONNACK are set [MQTT-3.2.2-1]",
        ));
    }
    let code = reader.u8("reason code")?;
    let mut connack = Connack {
        session_present: flags == 1,
        reason: ReasonCode::Success,
        properties: ConnackProperties::default(),
    };
    if !version.is_v5() {
        connack.reason = match code {
            0 => ReasonCode::Success,
            1 => ReasonCode::UnsupportedVersion,
            2 => ReasonCode::ClientIdNotValid,
            3 => ReasonCode::ServerUnavailable,
            4 => ReasonCode::BadUserNameOrPassword,
            5 => ReasonCode::NotAuthorized,
            code => {
                return Err(DecodeError::Reason {
                    packet: "CONNACK",
                    code,
                });
            }
        };
        return Ok(connack);
    }
    connack.reason = reason("CONNACK", code)?;
    let properties = &mut connack.properties;
    p::read(reader, "CONNACK", CONNACK_SET, 0, |id, value| {
        take_connack(properties, id, value)
    })?;
    Ok(connack)
}

fn take_connack(properties: &mut ConnackProperties, id: u8, value: p::Value) {
    match id {
        p::SESSION_EXPIRY => properties.session_expiry = value.number(),
        p::RECEIVE_MAXIMUM => properties.receive_maximum = value.short(),
        p::MAXIMUM_QOS => properties.maximum_qos = value.byte(),
        p::RETAIN_AVAILABLE => properties.retain_available = value.flag(),
        p::MAXIMUM_PACKET_SIZE => properties.maximum_packet_size = value.number(),
        p::ASSIGNED_CLIENT_ID => properties.assigned_client_id = value.text(),
        p::TOPIC_ALIAS_MAXIMUM => properties.topic_alias_maximum = value.short(),
        p::REASON_STRING => properties.reason_string = value.text(),
        p::WILDCARD_AVAILABLE => properties.wildcard_available = value.flag(),
        p::SUBSCRIPTION_IDS_AVAILABLE => properties.subscription_ids_available = value.flag(),
        p::SHARED_AVAILABLE => properties.shared_available = value.flag(),
        p::SERVER_KEEP_ALIVE => properties.server_keep_alive = value.short(),
        p::RESPONSE_INFORMATION => properties.response_information = value.text(),
        p::SERVER_REFERENCE => properties.server_reference = value.text(),
        p::AUTH_METHOD => properties.authentication_method = value.text(),
        p::AUTH_DATA => properties.authentication_data = value.binary(),
        _ => value.push_to(&mut properties.user),
    }
}

pub(super) fn write_connack(connack: &Connack, version: Version, out: &mut impl Sink) {
    // MQTT 3.1 has no session present flag: the byte is reserved.
    let flags = u8::from(connack.session_present && version != Version::V31);
    out.u8(flags);
    if !version.is_v5() {
        return out.u8(connack.reason.connack_v3());
    }
    out.u8(connack.reason.to_u8());
    let properties = &connack.properties;
    prefixed(out, |out| {
        p::number(out, p::SESSION_EXPIRY, properties.session_expiry);
        p::short(out, p::RECEIVE_MAXIMUM, properties.receive_maximum);
        if let Some(qos) = properties.maximum_qos {
            out.u8(p::MAXIMUM_QOS);
            out.u8(qos);
        }
        p::flag(out, p::RETAIN_AVAILABLE, properties.retain_available);
        p::number(out, p::MAXIMUM_PACKET_SIZE, properties.maximum_packet_size);
        p::text(
            out,
            p::ASSIGNED_CLIENT_ID,
            properties.assigned_client_id.as_ref(),
        );
        p::short(out, p::TOPIC_ALIAS_MAXIMUM, properties.topic_alias_maximum);
        p::text(out, p::REASON_STRING, properties.reason_string.as_ref());
        p::flag(out, p::WILDCARD_AVAILABLE, properties.wildcard_available);
        p::flag(
            out,
            p::SUBSCRIPTION_IDS_AVAILABLE,
            properties.subscription_ids_available,
        );
        p::flag(out, p::SHARED_AVAILABLE, properties.shared_available);
        p::short(out, p::SERVER_KEEP_ALIVE, properties.server_keep_alive);
        p::text(
            out,
            p::RESPONSE_INFORMATION,
            properties.response_information.as_ref(),
        );
        p::text(
            out,
            p::SERVER_REFERENCE,
            properties.server_reference.as_ref(),
        );
        p::text(
            out,
            p::AUTH_METHOD,
            properties.authentication_method.as_ref(),
        );
        p::binary(out, p::AUTH_DATA, properties.authentication_data.as_ref());
        p::users(out, &properties.user);
    });
}

/// Appends a CONNACK that refuses a CONNECT of any claimed protocol level: the form of MQTT 5 from level
/// 5 on, the old one below (MQTT 5 section 3.1.2.2).
pub fn encode_refusal(level: u8, reason: ReasonCode, out: &mut BytesMut) {
    if level >= 5 {
        out.extend_from_slice(&[0x20, 3, 0, reason.to_u8(), 0]);
    } else {
        out.extend_from_slice(&[0x20, 2, 0, reason.connack_v3()]);
    }
}
