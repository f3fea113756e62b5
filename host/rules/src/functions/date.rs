//! Calendars: parts of a time, truncation, and sums of months and days.

use super::time::{in_zone, ms, zoned};
use super::{Call, Function, Group};
use crate::expression::{Done, Fail, Value};
use jiff::{Span, Unit, ZonedDateTime};

pub(super) const GROUP: Group = Group {
    name: "Calendar",
    words: "Of a time in milliseconds, in a zone. `get…` count as CEL has it: months, days of the month and of the year from 0, Sunday is 0.",
    functions: FUNCTIONS,
};

/// One of CEL's getters.
macro_rules! getter {
    ($name:literal, $words:literal, $result:literal, $run:expr) => {
        Function::new(
            $name,
            (1, 2),
            concat!("ms.", $name, "([zone]) -> number"),
            $words,
            (concat!($name, "(1795773600123)"), $result),
            |c| {
                let run: fn(&ZonedDateTime) -> i64 = $run;
                Ok(Value::Int(run(&zoned(c, 1)?)))
            },
        )
    };
}

const FUNCTIONS: &[Function] = &[
    Function::new(
        "datePart",
        (2, 3),
        "datePart(ms, part[, zone]) -> number",
        "`'year'`, `'quarter'`, `'month'` (from 1), `'week'` (ISO), `'day'`, `'weekday'` (Monday is 1), `'yearday'`, `'hour'`, `'minute'`, `'second'`, `'millisecond'`.",
        ("datePart(1795773600000, 'weekday')", "5"),
        date_part,
    ),
    Function::new(
        "truncateTime",
        (2, 3),
        "truncateTime(ms, unit[, zone]) -> number",
        "When the `'year'`, `'month'`, `'week'` (Monday), `'day'`, `'hour'`, `'minute'` or `'second'` began.",
        (
            "rfc3339(truncateTime(1795773600000, 'month'))",
            r#""2026-11-01T00:00:00Z""#,
        ),
        truncate,
    ),
    Function::new(
        "addTime",
        (3, 4),
        "addTime(ms, amount, unit[, zone]) -> number",
        "So many units later: `'year'`, `'month'`, `'week'`, `'day'`, `'hour'`, `'minute'`, `'second'`, `'ms'`; the end of a short month is kept to.",
        (
            "rfc3339(addTime(timestamp('2026-01-31T00:00:00Z'), 1, 'month'))",
            r#""2026-02-28T00:00:00Z""#,
        ),
        add,
    ),
    Function::new(
        "daysBetween",
        (2, 3),
        "daysBetween(ms, ms[, zone]) -> number",
        "Midnights from one to the other.",
        (
            "daysBetween(timestamp('2026-11-27T23:00:00Z'), timestamp('2026-11-28T01:00:00Z'))",
            "1",
        ),
        days_between,
    ),
    getter!("getFullYear", "The year.", "2026", |time| time
        .year()
        .into()),
    getter!(
        "getMonth",
        "The month, January is 0.",
        "10",
        |time| i64::from(time.month()) - 1
    ),
    getter!("getDate", "The day of the month, from 1.", "27", |time| {
        time.day().into()
    }),
    getter!(
        "getDayOfMonth",
        "The day of the month, from 0.",
        "26",
        |time| i64::from(time.day()) - 1
    ),
    getter!(
        "getDayOfWeek",
        "The day of the week, Sunday is 0.",
        "5",
        |time| time.weekday().to_sunday_zero_offset().into()
    ),
    getter!(
        "getDayOfYear",
        "The day of the year, from 0.",
        "330",
        |time| i64::from(time.day_of_year()) - 1
    ),
    getter!("getHours", "The hour.", "10", |time| time.hour().into()),
    getter!("getMinutes", "The minute.", "0", |time| time
        .minute()
        .into()),
    getter!("getSeconds", "The second.", "0", |time| time
        .second()
        .into()),
    getter!("getMilliseconds", "The millisecond.", "123", |time| time
        .millisecond()
        .into()),
];

fn date_part<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let time = zoned(c, 2)?;
    Ok(Value::Int(match c.text(1)? {
        "year" => time.year().into(),
        "quarter" => (i64::from(time.month()) - 1) / 3 + 1,
        "month" => time.month().into(),
        "week" => time.date().iso_week_date().week().into(),
        "day" => time.day().into(),
        "weekday" => time.weekday().to_monday_one_offset().into(),
        "yearday" => time.day_of_year().into(),
        "hour" => time.hour().into(),
        "minute" => time.minute().into(),
        "second" => time.second().into(),
        "millisecond" => time.millisecond().into(),
        _ => return Err(c.not(1, "a part, as 'year' or 'weekday',")),
    }))
}

fn failed(error: jiff::Error) -> Fail {
    Fail::wrong(format!("there is no such time: {error}"))
}

fn truncate<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let time = zoned(c, 2)?;
    let day = time.date();
    let day = match c.text(1)? {
        "hour" => return floored(&time, Unit::Hour),
        "minute" => return floored(&time, Unit::Minute),
        "second" => return floored(&time, Unit::Second),
        "day" => day,
        "week" => {
            let since_monday = time.weekday().to_monday_zero_offset();
            day.checked_sub(Span::new().days(since_monday))
                .map_err(failed)?
        }
        "month" => day.first_of_month(),
        "year" => day.first_of_year(),
        _ => return Err(c.not(1, "a unit from 'second' to 'year'")),
    };
    let began = day
        .to_zoned_datetime(time.time_zone().clone())
        .map_err(failed)?;
    Ok(ms(began.timestamp()))
}

fn floored<'a>(time: &ZonedDateTime, unit: Unit) -> Done<Value<'a>> {
    let round = jiff::ZonedDateTimeRound::new()
        .smallest(unit)
        .mode(jiff::RoundMode::Floor);
    time.round(round)
        .map(|time| ms(time.timestamp()))
        .map_err(failed)
}

fn add<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let (time, amount) = (zoned(c, 3)?, c.whole(1)?);
    let span = Span::new();
    let span = match c.text(2)? {
        "year" => span.try_years(amount),
        "month" => span.try_months(amount),
        "week" => span.try_weeks(amount),
        "day" => span.try_days(amount),
        "hour" => span.try_hours(amount),
        "minute" => span.try_minutes(amount),
        "second" => span.try_seconds(amount),
        "ms" => span.try_milliseconds(amount),
        _ => return Err(c.not(2, "a unit from 'ms' to 'year'")),
    };
    let later = span.and_then(|span| time.checked_add(span));
    later.map(|later| ms(later.timestamp())).map_err(failed)
}

fn days_between<'a>(c: &Call<'_, 'a>) -> Done<Value<'a>> {
    let from = zoned(c, 2)?.date();
    let other = in_zone(c, c.number(1)?, 2)?.date();
    let days = from.until(other).map_err(failed)?.get_days();
    Ok(Value::Int(days.into()))
}
