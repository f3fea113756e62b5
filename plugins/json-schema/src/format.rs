//! The formats that are checked, if the operator asks for it; others are notes for people.
//!
//! Owns: what a text of a format looks like.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    DateTime,
    Date,
    Time,
    Email,
    Hostname,
    Ipv4,
    Ipv6,
    JsonPointer,
    Uri,
    Uuid,
}

impl Format {
    const ALL: [(&str, Self); 10] = [
        ("date-time", Self::DateTime),
        ("date", Self::Date),
        ("time", Self::Time),
        ("email", Self::Email),
        ("hostname", Self::Hostname),
        ("ipv4", Self::Ipv4),
        ("ipv6", Self::Ipv6),
        ("json-pointer", Self::JsonPointer),
        ("uri", Self::Uri),
        ("uuid", Self::Uuid),
    ];

    pub(crate) fn parse(name: &str) -> Option<Self> {
        let found = Self::ALL.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, this)| this)
    }

    pub(crate) fn name(self) -> &'static str {
        let found = Self::ALL.into_iter().find(|(_, this)| *this == self);
        found.map_or("", |(name, _)| name)
    }

    pub(crate) fn fits(self, text: &str) -> bool {
        match self {
            Self::DateTime => {
                let split = text.split_once(['T', 't']);
                split.is_some_and(|(date, time)| is_date(date) && is_time(time))
            }
            Self::Date => is_date(text),
            Self::Time => is_time(text),
            Self::Email => text.rsplit_once('@').is_some_and(|(local, host)| {
                let is_printable = local
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && byte != b'@');
                (1..=64).contains(&local.len()) && is_printable && is_hostname(host)
            }),
            Self::Hostname => is_hostname(text),
            Self::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
            Self::Ipv6 => text.parse::<Ipv6Addr>().is_ok(),
            Self::JsonPointer => {
                let is_whole = text.is_empty() || text.starts_with('/');
                is_whole
                    && text
                        .split('~')
                        .skip(1)
                        .all(|part| part.starts_with(['0', '1']))
            }
            Self::Uri => is_uri(text),
            Self::Uuid => is_uuid(text),
        }
    }
}

/// So many digits within a range.
fn number(text: &str, digits: usize, range: std::ops::RangeInclusive<u32>) -> Option<u32> {
    let is_right = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|number| is_right && range.contains(number))
}

/// `2026-02-28`
fn is_date(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut next = |digits, range| number(parts.next()?, digits, range);
    let (Some(year), Some(month), Some(day)) =
        (next(4, 0..=9999), next(2, 1..=12), next(2, 1..=31))
    else {
        return false;
    };
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    day <= days && parts.next().is_none()
}

/// `23:59:60.5Z`, `08:30:06+02:00`: a leap second is at the end of a day in UTC.
fn is_time(text: &str) -> bool {
    let Some(sign) = text.find(['Z', 'z', '+', '-']) else {
        return false;
    };
    let (clock, zone) = text.split_at(sign);
    let (clock, fraction) = match clock.split_once('.') {
        Some((clock, fraction)) => (clock, fraction),
        None => (clock, "0"),
    };
    let pair = |text: &str| {
        let (hours, minutes) = text.split_once(':')?;
        Some((number(hours, 2, 0..=23)?, number(minutes, 2, 0..=59)?))
    };
    let offset = match zone {
        "Z" | "z" => Some((0, 0)),
        _ => pair(zone.get(1..).unwrap_or_default()),
    };
    let split = clock.rsplit_once(':');
    let clock = split.and_then(|(rest, seconds)| Some((pair(rest)?, number(seconds, 2, 0..=60)?)));
    let (Some(((hours, minutes), seconds)), Some((ahead_hours, ahead_minutes))) = (clock, offset)
    else {
        return false;
    };
    let (local, ahead) = (hours * 60 + minutes, ahead_hours * 60 + ahead_minutes);
    let utc = if zone.starts_with('-') {
        local + ahead
    } else {
        local + 1440 - ahead
    };
    let is_fraction = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
    is_fraction && (seconds < 60 || utc % 1440 == 1439)
}

fn is_hostname(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_legal = label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        (1..=63).contains(&label.len())
            && is_legal
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

fn is_uri(text: &str) -> bool {
    let is_scheme = |scheme: &str| {
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(is_legal)
    };
    let is_legal = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
    let is_escaped = text.split('%').skip(1).all(|part| {
        let digits = part.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    text.split_once(':')
        .is_some_and(|(scheme, _)| is_scheme(scheme))
        && text.bytes().all(is_legal)
        && is_escaped
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let is_hex = |group: &&str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) && groups.iter().all(is_hex)
}
