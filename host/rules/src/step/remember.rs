//! What steps that remember something have in common: their key, times as text, and what becomes of messages that do
//! not pass.

use super::Compiling;
use crate::chain::Count;
use crate::expression::{Expression, Value};
use crate::file::{Excess, Mode};
use crate::functions::milliseconds;
use crate::place::RuleError;
use crate::run::{Around, End, Next};
use crate::state::KEY_BYTES;
use serde_json::Value as Json;
use serde_spanned::Spanned;
use witmq_proto::ReasonCode;

/// The longest time of a step: a year.
const LONGEST_MS: u64 = 366 * 24 * 3600 * 1000;

/// A time as `"10m"`, in whole milliseconds; `key` is what it is given as.
pub(super) fn time(
    around: &Compiling<'_>,
    key: &str,
    text: &Spanned<String>,
) -> Result<u64, RuleError> {
    milliseconds(text.get_ref())
        .filter(|ms| (1..=LONGEST_MS).contains(ms))
        .ok_or_else(|| {
            let cause = format!("{key}: `{}` is no time", text.get_ref());
            around
                .error(around.source.content(&text.span()), cause)
                .hint("write it as \"250ms\", \"10s\", \"1h30m\" or \"2d\", from 1 ms to 366 days")
        })
}

/// What becomes of messages that do not pass; only `rate` refuses.
pub(super) fn excess(
    around: &Compiling<'_>,
    chosen: Option<&Spanned<Excess>>,
    may_refuse: bool,
) -> Result<Excess, RuleError> {
    let Some(chosen) = chosen else {
        return Ok(Excess::default());
    };
    let at = chosen.span().start;
    let excess = *chosen.get_ref();
    if around.mode == Mode::Rule && excess != Excess::Stop {
        let text = "a rule chain works on a copy and can neither drop nor refuse the message";
        return Err(around
            .error(at, text)
            .hint("use mode = \"transform\", or excess = \"stop\""));
    }
    if excess == Excess::Refuse && !may_refuse {
        return Err(around
            .error(at, "only a rate refuses what is too much")
            .hint("use excess = \"drop\" or \"stop\""));
    }
    Ok(excess)
}

/// What a message that does not pass comes to.
pub(super) fn held_back(around: &Around<'_, '_>, excess: Excess) -> Next {
    around.chain.stats.count(Count::Filtered);
    match excess {
        Excess::Stop => Next::Stop,
        Excess::Drop => Next::Drop,
        Excess::Refuse => Next::Leave(End::Refused {
            reason: ReasonCode::QuotaExceeded,
            text: Some(format!("chain {}: too many messages", around.chain.name)),
        }),
    }
}

/// The key of a message; one for all without an expression.
pub(super) fn key(
    around: &mut Around<'_, '_>,
    expression: Option<&Expression>,
) -> Result<String, String> {
    let Some(expression) = expression else {
        return Ok(String::new());
    };
    let value = around.evaluate(expression)?;
    let key = match &value {
        Value::Null => return Err(format!("the key `{}` is null", expression.source)),
        Value::String(text) => text.to_string(),
        other => plain(other)?.to_string(),
    };
    if key.len() > KEY_BYTES {
        return Err(format!(
            "the key `{}` is {} bytes long, at most {KEY_BYTES} are taken; use sha256(…) of it",
            expression.source,
            key.len()
        ));
    }
    Ok(key)
}

/// As JSON in which 20 and 20.0 are the same.
pub(super) fn plain(value: &Value<'_>) -> Result<Json, String> {
    let mut json = value.to_json()?;
    flatten(&mut json);
    Ok(json)
}

fn flatten(json: &mut Json) {
    match json {
        Json::Number(number) => {
            let float = number.as_f64().filter(|_| number.is_f64());
            if let Some(whole) = float.and_then(crate::expression::whole) {
                *json = whole.into();
            }
        }
        Json::Array(items) => items.iter_mut().for_each(flatten),
        Json::Object(fields) => fields.values_mut().for_each(flatten),
        _ => {}
    }
}
