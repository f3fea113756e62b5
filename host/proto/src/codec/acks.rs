//! PUBACK, PUBREC, PUBREL and PUBCOMP as one; DISCONNECT and AUTH.

use super::properties::{
    self, AUTH_DATA, AUTH_METHOD, REASON_STRING, SERVER_REFERENCE, SESSION_EXPIRY, USER, set,
    write_reason,
};
use super::read::Reader;
use super::write::{Sink, prefixed};
use crate::ReasonCode;
use crate::error::DecodeError;
use crate::packet::{Ack, Auth, Disconnect, Packet, PacketId, Version};

/// An acknowledgement of two bytes, the usual one, without an allocation; `None` if it is another packet.
pub(super) fn decode_short(body: &[u8], kind: u8) -> Option<Result<Packet, DecodeError>> {
    let wrap = match kind {
        4 => Packet::Puback,
        5 => Packet::Pubrec,
        6 => Packet::Pubrel,
        7 => Packet::Pubcomp,
        _ => return None,
    };
    let &[high, low] = body else { return None };
    let id = PacketId::new(u16::from_be_bytes([high, low]));
    Some(
        id.map(|id| wrap(Ack::new(id, ReasonCode::Success)))
            .ok_or(DecodeError::PacketIdZero),
    )
}

/// Whether `packet` may carry `code` (sections 3.4.2.1, 3.6.2.1, 3.14.2.1, 3.15.2.1 and so on).
pub(super) fn reason(packet: &'static str, code: u8) -> Result<ReasonCode, DecodeError> {
    let is_allowed = match packet {
        "PUBACK" | "PUBREC" => matches!(
            code,
            0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99
        ),
        "PUBREL" | "PUBCOMP" => matches!(code, 0x00 | 0x92),
        "SUBACK" => {
            matches!(
                code,
                0x00..=0x02 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2
            )
        }
        "UNSUBACK" => matches!(code, 0x00 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91),
        "DISCONNECT" => {
            matches!(code, 0x00 | 0x04 | 0x80..=0x83 | 0x87 | 0x89 | 0x8B | 0x8D..=0x90 | 0x93..=0xA2)
        }
        "AUTH" => matches!(code, 0x00 | 0x18 | 0x19),
        _ => matches!(code, 0x00 | 0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99..=0x9D | 0x9F), // CONNACK
    };
    let known = ReasonCode::from_u8(code).filter(|_| is_allowed);
    known.ok_or(DecodeError::Reason { packet, code })
}

pub(super) fn decode(
    reader: &mut Reader,
    packet: &'static str,
    version: Version,
) -> Result<Ack, DecodeError> {
    let mut ack = Ack::new(reader.packet_id()?, ReasonCode::Success);
    if !version.is_v5() || reader.is_empty() {
        return Ok(ack);
    }
    ack.reason = reason(packet, reader.u8("reason code")?)?;
    if reader.is_empty() {
        return Ok(ack); // section 3.4.2.2.1: no property length means none
    }
    properties::read(
        reader,
        packet,
        set(&[REASON_STRING, USER]),
        0,
        |id, value| match id {
            REASON_STRING => ack.reason_string = value.text(),
            _ => value.push_to(&mut ack.user),
        },
    )?;
    Ok(ack)
}

pub(super) fn write(ack: &Ack, version: Version, out: &mut impl Sink) {
    out.u16(ack.packet_id.get());
    let has_properties = ack.reason_string.is_some() || !ack.user.is_empty();
    if !version.is_v5() || (ack.reason == ReasonCode::Success && !has_properties) {
        return;
    }
    out.u8(ack.reason.to_u8());
    if has_properties {
        write_reason(out, ack.reason_string.as_ref(), &ack.user);
    }
}

pub(super) fn decode_disconnect(
    reader: &mut Reader,
    version: Version,
) -> Result<Disconnect, DecodeError> {
    let mut disconnect = Disconnect::new(ReasonCode::Success);
    if !version.is_v5() || reader.is_empty() {
        return Ok(disconnect);
    }
    disconnect.reason = reason("DISCONNECT", reader.u8("reason code")?)?;
    if reader.is_empty() {
        return Ok(disconnect);
    }
    let allowed = set(&[SESSION_EXPIRY, REASON_STRING, USER, SERVER_REFERENCE]);
    properties::read(reader, "DISCONNECT", allowed, 0, |id, value| match id {
        SESSION_EXPIRY => disconnect.session_expiry = value.number(),
        REASON_STRING => disconnect.reason_string = value.text(),
        SERVER_REFERENCE => disconnect.server_reference = value.text(),
        _ => value.push_to(&mut disconnect.user),
    })?;
    Ok(disconnect)
}

pub(super) fn write_disconnect(disconnect: &Disconnect, version: Version, out: &mut impl Sink) {
    let has_properties = disconnect.session_expiry.is_some()
        || disconnect.reason_string.is_some()
        || disconnect.server_reference.is_some()
        || !disconnect.user.is_empty();
    if !version.is_v5() || (disconnect.reason == ReasonCode::Success && !has_properties) {
        return;
    }
    out.u8(disconnect.reason.to_u8());
    if !has_properties {
        return;
    }
    prefixed(out, |out| {
        properties::number(out, SESSION_EXPIRY, disconnect.session_expiry);
        properties::text(out, REASON_STRING, disconnect.reason_string.as_ref());
        properties::text(out, SERVER_REFERENCE, disconnect.server_reference.as_ref());
        properties::users(out, &disconnect.user);
    });
}

pub(super) fn decode_auth(reader: &mut Reader) -> Result<Auth, DecodeError> {
    let mut auth = Auth {
        reason: ReasonCode::Success,
        method: None,
        data: None,
        reason_string: None,
        user: Vec::new(),
    };
    if reader.is_empty() {
        return Ok(auth); // section 3.15.2.1
    }
    auth.reason = reason("AUTH", reader.u8("reason code")?)?;
    if reader.is_empty() {
        return Ok(auth);
    }
    let allowed = set(&[AUTH_METHOD, AUTH_DATA, REASON_STRING, USER]);
    properties::read(reader, "AUTH", allowed, 0, |id, value| match id {
        AUTH_METHOD => auth.method = value.text(),
        AUTH_DATA => auth.data = value.binary(),
        REASON_STRING => auth.reason_string = value.text(),
        _ => value.push_to(&mut auth.user),
    })?;
    Ok(auth)
}

pub(super) fn write_auth(auth: &Auth, out: &mut impl Sink) {
    let has_properties = auth.method.is_some()
        || auth.data.is_some()
        || auth.reason_string.is_some()
        || !auth.user.is_empty();
    if auth.reason == ReasonCode::Success && !has_properties {
        return;
    }
    out.u8(auth.reason.to_u8());
    prefixed(out, |out| {
        properties::text(out, AUTH_METHOD, auth.method.as_ref());
        properties::binary(out, AUTH_DATA, auth.data.as_ref());
        properties::text(out, REASON_STRING, auth.reason_string.as_ref());
        properties::users(out, &auth.user);
    });
}
