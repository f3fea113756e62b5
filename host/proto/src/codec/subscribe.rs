//! SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK.

use super::acks::reason;
use super::properties::{self, REASON_STRING, SUBSCRIPTION_ID, USER, set, write_reason};
use super::read::Reader;
use super::write::{Sink, prefixed};
use crate::ReasonCode;
use crate::error::DecodeError;
use crate::packet::{
    QoS, RetainHandling, Suback, Subscribe, SubscribeFilter, SubscribeOptions, Unsuback,
    Unsubscribe, Version,
};

pub(super) fn decode(reader: &mut Reader, version: Version) -> Result<Subscribe, DecodeError> {
    let packet_id = reader.packet_id()?;
    let mut subscribe = Subscribe {
        packet_id,
        subscription_id: None,
        user: Vec::new(),
        filters: Vec::new(),
    };
    if version.is_v5() {
        properties::read(
            reader,
            "SUBSCRIBE",
            set(&[SUBSCRIPTION_ID, USER]),
            0,
            |id, value| match id {
                SUBSCRIPTION_ID => subscribe.subscription_id = value.number(),
                _ => value.push_to(&mut subscribe.user),
            },
        )?;
    }
    if reader.is_empty() {
        return Err(DecodeError::NoFilters("SUBSCRIBE")); // [MQTT-3.8.3-2]
    }
    while !reader.is_empty() {
        let maximum = reader.limits().filters;
        if subscribe.filters.len() >= maximum {
            return Err(DecodeError::TooMany {
                what: "topic filters",
                maximum,
            });
        }
        let filter = reader.text("topic filter")?; // [MQTT-3.8.3-1]
        let options = decode_options(reader.u8("subscription options")?, version)?;
        if options.no_local && filter.starts_with("$share/") {
            return Err(DecodeError::NoLocalShared); // [MQTT-3.8.3-4]
        }
        subscribe.filters.push(SubscribeFilter { filter, options });
    }
    Ok(subscribe)
}

fn decode_options(byte: u8, version: Version) -> Result<SubscribeOptions, DecodeError> {
    let reserved = if version.is_v5() {
        0b1100_0000
    } else {
        0b1111_1100
    };
    if byte & reserved != 0 {
        return Err(DecodeError::Options("reserved bits are set [MQTT-3.8.3-5]"));
    }
    let qos = QoS::from_bits(byte & 3).ok_or(DecodeError::OptionValue("QoS 3"))?;
    let retain_handling = match byte >> 4 & 3 {
        0 => RetainHandling::Send,
        1 => RetainHandling::SendIfNew,
        2 => RetainHandling::DoNotSend,
        _ => return Err(DecodeError::OptionValue("Retain Handling 3")),
    };
    Ok(SubscribeOptions {
        qos,
        no_local: byte & 4 != 0,
        retain_as_published: byte & 8 != 0,
        retain_handling,
    })
}

pub(super) fn write(subscribe: &Subscribe, version: Version, out: &mut impl Sink) {
    out.u16(subscribe.packet_id.get());
    if version.is_v5() {
        prefixed(out, |out| {
            if let Some(id) = subscribe.subscription_id {
                out.u8(SUBSCRIPTION_ID);
                out.variable(usize::try_from(id).unwrap_or(0));
            }
            properties::users(out, &subscribe.user);
        });
    }
    for SubscribeFilter { filter, options } in &subscribe.filters {
        out.text(filter);
        let handling = match options.retain_handling {
            RetainHandling::Send => 0,
            RetainHandling::SendIfNew => 0x10,
            RetainHandling::DoNotSend => 0x20,
        };
        let v5 =
            u8::from(options.no_local) << 2 | u8::from(options.retain_as_published) << 3 | handling;
        out.u8(options.qos as u8 | if version.is_v5() { v5 } else { 0 });
    }
}

pub(super) fn decode_unsubscribe(
    reader: &mut Reader,
    version: Version,
) -> Result<Unsubscribe, DecodeError> {
    let mut unsubscribe = Unsubscribe {
        packet_id: reader.packet_id()?,
        user: Vec::new(),
        filters: Vec::new(),
    };
    if version.is_v5() {
        properties::read(reader, "UNSUBSCRIBE", set(&[USER]), 0, |_, value| {
            value.push_to(&mut unsubscribe.user)
        })?;
    }
    if reader.is_empty() {
        return Err(DecodeError::NoFilters("UNSUBSCRIBE")); // [MQTT-3.10.3-2]
    }
    while !reader.is_empty() {
        let maximum = reader.limits().filters;
        if unsubscribe.filters.len() >= maximum {
            return Err(DecodeError::TooMany {
                what: "topic filters",
                maximum,
            });
        }
        unsubscribe.filters.push(reader.text("topic filter")?); // [MQTT-3.10.3-1]
    }
    Ok(unsubscribe)
}

pub(super) fn write_unsubscribe(unsubscribe: &Unsubscribe, version: Version, out: &mut impl Sink) {
    out.u16(unsubscribe.packet_id.get());
    if version.is_v5() {
        prefixed(out, |out| properties::users(out, &unsubscribe.user));
    }
    for filter in &unsubscribe.filters {
        out.text(filter);
    }
}

pub(super) fn decode_suback(reader: &mut Reader, version: Version) -> Result<Suback, DecodeError> {
    let packet_id = reader.packet_id()?;
    let mut suback = Suback {
        packet_id,
        reasons: Vec::new(),
        reason_string: None,
        user: Vec::new(),
    };
    if version.is_v5() {
        properties::read(
            reader,
            "SUBACK",
            set(&[REASON_STRING, USER]),
            0,
            |id, value| match id {
                REASON_STRING => suback.reason_string = value.text(),
                _ => value.push_to(&mut suback.user),
            },
        )?;
    }
    suback.reasons.reserve(reader.len());
    while !reader.is_empty() {
        let code = reader.u8("reason code")?;
        if !version.is_v5() && !matches!(code, 0..=2 | 0x80) {
            return Err(DecodeError::Reason {
                packet: "SUBACK",
                code,
            }); // 3.1.1 [MQTT-3.9.3-2]
        }
        suback.reasons.push(reason("SUBACK", code)?);
    }
    Ok(suback)
}

pub(super) fn write_suback(suback: &Suback, version: Version, out: &mut impl Sink) {
    out.u16(suback.packet_id.get());
    if version.is_v5() {
        write_reason(out, suback.reason_string.as_ref(), &suback.user);
    }
    for reason in &suback.reasons {
        let failed = reason.is_failure() && !version.is_v5();
        out.u8(if failed {
            ReasonCode::UnspecifiedError.to_u8()
        } else {
            reason.to_u8()
        });
    }
}

pub(super) fn decode_unsuback(
    reader: &mut Reader,
    version: Version,
) -> Result<Unsuback, DecodeError> {
    let packet_id = reader.packet_id()?;
    let mut unsuback = Unsuback {
        packet_id,
        reasons: Vec::new(),
        reason_string: None,
        user: Vec::new(),
    };
    if !version.is_v5() {
        return Ok(unsuback);
    }
    properties::read(
        reader,
        "UNSUBACK",
        set(&[REASON_STRING, USER]),
        0,
        |id, value| match id {
            REASON_STRING => unsuback.reason_string = value.text(),
            _ => value.push_to(&mut unsuback.user),
        },
    )?;
    while !reader.is_empty() {
        unsuback
            .reasons
            .push(reason("UNSUBACK", reader.u8("reason code")?)?);
    }
    Ok(unsuback)
}

pub(super) fn write_unsuback(unsuback: &Unsuback, version: Version, out: &mut impl Sink) {
    out.u16(unsuback.packet_id.get());
    if !version.is_v5() {
        return; // 3.1.1 section 3.11: no payload
    }
    write_reason(out, unsuback.reason_string.as_ref(), &unsuback.user);
    for reason in &unsuback.reasons {
        out.u8(reason.to_u8());
    }
}
