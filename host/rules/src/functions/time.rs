//! Points in time: milliseconds since 1970, as `received_ms`.

use super::{Call, Function, Group};
use crate::expression::{Done, Fail, Value};
use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ZonedDateTime};

/// Bytes of a format.
const FORMAT_BYTES: usize = 256;
/// Steps that a conversion of a time counts.
const CONVERSION: usize = 8;

pub(super) const GROUP: Group = Group {
    name: "Time",
    words: "A point in time is a number: milliseconds since 1970 in UTC, as `received_ms`; a duration is a number of milliseconds too. So `+`, `-` and `<` work on both. A zone is an IANA name (`'Europe/Berlin'`), `'UTC'` or an offset (`'+02:00'`); without one it is UTC. The zones are those the broker was built with, the host's are not asked. Formats are those of strftime, as [jiff](https://docs.rs/jiff/latest/jiff/fmt/strtime/index.html#conversion-specifications) has them.",
    functions: FUNCTIONS,
};

const FUNCTIONS: &[Function] = &[
    Function::new("now", (0, 1), "now([unit]) -> number", "When the broker received the message, in `'ms'`, `'s'`, `'us'` or `'ns'`. The same for all steps of a chain; in a `[[test]]` it is `given.received_ms`.", ("now('s')", "1764237600"), |c| in_unit(c, c.now_ms as f64, 0)).also("now_timestamp"),
    Function::new("timestamp", (1, 1), "timestamp(text) -> number", "The time of an RFC 3339 text.", ("timestamp('2026-11-27T10:00:00Z')", "1795773600000"), |c| { let text = short(c, 0)?; text.parse::<Timestamp>().map(ms).map_err(|_| c.not(0, "RFC 3339 time, as 2026-11-27T10:00:00Z,")) }).also("rfc3339_to_unix_ts"),
    Function::new("rfc3339", (1, 2), "rfc3339(ms[, zone]) -> string", "As RFC 3339 text, with the zone's offset.", ("rfc3339(1795773600000, 'Europe/Berlin')", r#""2026-11-27T11:00:00+01:00""#), rfc3339).also("unix_ts_to_rfc3339 now_rfc3339"),
    Function::new("formatTime", (2, 3), "formatTime(ms, format[, zone]) -> string", "The time in any form.", ("formatTime(1795773600000, '%d.%m.%Y %H:%M %Z', 'Asia/Tokyo')", r#""27.11.2026 19:00 JST""#), format_time).also("format_date"),
    Function::new("parseTime", (2, 3), "parseTime(text, format[, zone]) -> number", "The time that a text of a form says; the zone is for texts that name none.", ("parseTime('27.11.2026 11:00', '%d.%m.%Y %H:%M', 'Europe/Berlin')", "1795773600000"), parse_time).also("date_to_unix_ts"),
    Function::new("toUnix", (2, 2), "toUnix(ms, unit) -> number", "The time in `'s'`, `'ms'`, `'us'` or `'ns'`, whole.", ("toUnix(1795773600123, 's')", "1795773600"), |c| in_unit(c, c.number(0)?, 1)),
    Function::new("fromUnix", (2, 2), "fromUnix(number, unit) -> number", "The time, in milliseconds, of one in `'s'`, `'ms'`, `'us'` or `'ns'`.", ("fromUnix(1795773600, 's')", "1795773600000"), |c| Ok(Value::whole(c.number(0)? / per_ms(c, 1)?))),
    Function::new("duration", (1, 1), "duration(text) -> number", "Milliseconds of a text like `'1h30m'`, `'-1.5s'`, `'250ms'`, `'2d'`, `'1w'`.", ("duration('1h30m')", "5400000"), |c| { let text = short(c, 0)?; duration(text).map(Value::whole).ok_or_else(|| c.not(0, "a duration, as '1h30m',")) }),
    Function::new("zoneOffset", (1, 2), "zoneOffset(zone[, ms]) -> number", "Seconds that a zone is ahead of UTC, then or now.", ("zoneOffset('Asia/Kolkata')", "19800"), |c| { let zone = zone(c, 0)?; let at = instant(c, c.number_or(1, c.now_ms as f64)?)?; Ok(Value::Int(i64::from(zone.to_offset(at).seconds()))) }).also("timezone_to_offset_seconds"),
];

/// A text that is no longer than a time or format needs.
fn short<'c>(c: &'c Call<'_, '_>, at: usize) -> Done<&'c str> {
    c.budget.spend(CONVERSION)?;
    let text = c.text(at)?;
    if text.len() > FORMAT_BYTES {
        return Err(c.not(at, "a text of at most 256 bytes"));
    }
    Ok(text)
}

/// The moment of a number of milliseconds.
fn instant(c: &Call<'_, '_>, ms: f64) -> Done<Timestamp> {
    c.budget.spend(CONVERSION)?;
    let nanoseconds = crate::expression::whole((ms * 1e3).round()).map(|us| i128::from(us) * 1000);
    nanoseconds
        .and_then(|nanoseconds| Timestamp::from_nanosecond(nanoseconds).ok())
        .ok_or_else(|| Fail::wrong(format!("{ms} is no time in milliseconds since 1970")))
}

/// Milliseconds of a moment.
pub(super) fn ms<'a>(moment: Timestamp) -> Value<'a> {
    let us = moment.as_microsecond();
    if us % 1000 == 0 {
        return Value::Int(us / 1000);
    }
    Value::Float(us as f64 / 1e3)
}

/// The zone of an argument; UTC without one.
fn zone(c: &Call<'_, '_>, at: usize) -> Done<TimeZone> {
    let Some(_) = c.get(at) else {
        return Ok(TimeZone::UTC);
    };
    let name = short(c, at)?;
    if matches!(name, "UTC" | "Z" | "") {
        return Ok(TimeZone::UTC);
    }
    if let Some(offset) = offset(name) {
        return Ok(TimeZone::fixed(offset));
    }
    TimeZone::get(name).map_err(|_| c.not(at, "a zone, as 'Europe/Berlin' or '+02:00',"))
}

/// Of `+02:00` or `-0330`.
fn offset(text: &str) -> Option<Offset> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let digits = rest.replace(':', "");
    let number = |from, to| digits.get(from..to)?.parse::<i32>().ok();
    if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes) = (number(0, 2)?, number(2, 4)?);
    Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()
}

/// The first argument as time in the zone of another one.
pub(super) fn zoned(c: &Call<'_, '_>, zone_at: usize) -> Done<ZonedDateTime> {
    in_zone(c, c.number(0)?, zone_at)
}

pub(super) fn in_zone(c: &Call<'_, '_>, ms: f64, zone_at: usize) -> Done<ZonedDateTime> {
    Ok(instant(c, ms)?.to_zoned_datetime(zone(c, zone_at)?))
}

fn rfc3339<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let time = zoned(c, 1)?;
    let zone = if time.offset().is_zero() { "Z" } else { "%:z" };
    let text = time
        .strftime(&format!("%Y-%m-%dT%H:%M:%S%.f{zone}"))
        .to_string();
    c.built(text)
}

fn format_time<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let (time, format) = (zoned(c, 2)?, short(c, 1)?);
    // Widths are bounded by the library at 255; a format of 256 bytes has few of them.
    let text = strtime::format(format, &time);
    c.built(text.map_err(|error| Fail::wrong(format!("the format cannot be used: {error}")))?)
}

fn parse_time<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let (text, format) = (short(c, 0)?, short(c, 1)?);
    let failed = |error: jiff::Error| {
        let text = c.value(0).shown();
        Fail::wrong(format!("{text} is no time of that format: {error}"))
    };
    let parsed = BrokenDownTime::parse(format, text).map_err(failed)?;
    if let Ok(moment) = parsed.to_timestamp() {
        return Ok(ms(moment));
    }
    let local = match parsed.to_datetime() {
        Ok(local) => local,
        Err(_) => parsed
            .to_date()
            .map_err(failed)?
            .to_datetime(jiff::civil::Time::midnight()),
    };
    let zoned = local.to_zoned_datetime(zone(c, 2)?).map_err(failed)?;
    Ok(ms(zoned.timestamp()))
}

/// How many of a unit are one millisecond.
fn per_ms(c: &Call<'_, '_>, at: usize) -> Done<f64> {
    Ok(match c.text_or(at, "ms")? {
        "ms" | "millisecond" => 1.0,
        "s" | "second" => 1e-3,
        "us" | "microsecond" => 1e3,
        "ns" | "nanosecond" => 1e6,
        _ => return Err(c.not(at, "'s', 'ms', 'us' or 'ns'")),
    })
}

fn in_unit<'a>(c: &Call<'_, 'a>, ms: f64, at: usize) -> Done<Value<'a>> {
    Ok(Value::whole((ms * per_ms(c, at)?).floor()))
}

/// Whole milliseconds of `1h30m`.
pub(crate) fn milliseconds(text: &str) -> Option<u64> {
    let whole = crate::expression::whole(duration(text)?)?;
    u64::try_from(whole).ok()
}

/// Milliseconds of `1h30m`.
fn duration(text: &str) -> Option<f64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text),
    };
    let mut all = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let unit = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let amount: f64 = rest.get(..rest.len() - unit.len())?.parse().ok()?;
        let behind = unit.trim_start_matches(|c: char| c.is_ascii_alphabetic());
        all += amount
            * match unit.get(..unit.len() - behind.len())? {
                "ns" => 1e-6,
                "us" => 1e-3,
                "ms" => 1.0,
                "s" => 1e3,
                "m" => 6e4,
                "h" => 3.6e6,
                "d" => 8.64e7,
                "w" => 6.048e8,
                _ => return None,
            };
        rest = behind;
    }
    Some(sign * all)
}
