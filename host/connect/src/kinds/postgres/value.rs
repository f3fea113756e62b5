//! From a message to the parameters of a statement.
//!
//! Owns: what a path names, and how a JSON value becomes a value of a column's type.

use crate::outlet;
use crate::record::Record;
use bytes::{BufMut as _, BytesMut};
use serde_json::Value;
use std::borrow::Cow;
use std::error::Error;
use std::str::FromStr;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// Milliseconds from 1970 to 2000, where the database's time begins.
const EPOCH_MS: i64 = 946_684_800_000;

/// Names a part of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Path {
    Topic,
    Client,
    Username,
    Qos,
    Retain,
    ReceivedMs,
    /// The payload, or a field of it.
    Payload(Vec<String>),
}

impl FromStr for Path {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split('.').map(str::to_owned);
        let first = parts.next().unwrap_or_default();
        let rest: Vec<String> = parts.collect();
        let path = match &*first {
            "payload" if rest.iter().all(|part| !part.is_empty()) => Self::Payload(rest),
            "topic" if rest.is_empty() => Self::Topic,
            "client" if rest.is_empty() => Self::Client,
            "username" if rest.is_empty() => Self::Username,
            "qos" if rest.is_empty() => Self::Qos,
            "retain" if rest.is_empty() => Self::Retain,
            "received_ms" if rest.is_empty() => Self::ReceivedMs,
            _ => {
                return Err(format!(
                    "`{text}` is no value: there are topic, payload, payload.FIELD, received_ms, client, username, qos and \
                     retain; a `set` step of the chain computes others"
                ));
            }
        };
        Ok(path)
    }
}

impl Path {
    /// What it names; null if that is not there.
    fn of<'a>(&self, record: &Record, payload: &'a Value) -> Cow<'a, Value> {
        Cow::Owned(match self {
            Self::Topic => (*record.topic).into(),
            Self::Client => (*record.client).into(),
            Self::Username => record.username.as_deref().map_or(Value::Null, Value::from),
            Self::Qos => (record.qos as u8).into(),
            Self::Retain => record.retain.into(),
            Self::ReceivedMs => record.received_ms.into(),
            Self::Payload(fields) => {
                let field = |value: &'a Value, name: &String| match value {
                    Value::Array(list) => name.parse::<usize>().ok().and_then(|at| list.get(at)),
                    value => value.get(name),
                };
                let found = fields.iter().try_fold(payload, field);
                return found.map_or(Cow::Owned(Value::Null), Cow::Borrowed);
            }
        })
    }
}

/// A parameter, as it goes over the wire.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Param(Option<Vec<u8>>);

impl Param {
    pub(super) fn as_sql(&self) -> &(dyn ToSql + Sync) {
        self
    }
}

impl ToSql for Param {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match &self.0 {
            Some(bytes) => {
                out.put_slice(bytes);
                Ok(IsNull::No)
            }
            None => Ok(IsNull::Yes),
        }
    }

    fn accepts(_: &Type) -> bool {
        true // it was made for this type
    }

    to_sql_checked!();
}

/// Types that values can become.
const KNOWN: [Type; 16] = [
    Type::BOOL,
    Type::INT2,
    Type::INT4,
    Type::INT8,
    Type::FLOAT4,
    Type::FLOAT8,
    Type::TEXT,
    Type::VARCHAR,
    Type::BPCHAR,
    Type::NAME,
    Type::UNKNOWN,
    Type::JSON,
    Type::JSONB,
    Type::TIMESTAMP,
    Type::TIMESTAMPTZ,
    Type::BYTEA,
];

pub(super) fn is_known(kind: &Type) -> bool {
    KNOWN.contains(kind)
}

/// The parameters of one message.
pub(super) fn row(record: &Record, paths: &[Path], kinds: &[Type]) -> Result<Vec<Param>, String> {
    let (payload, is_binary) = match outlet::payload(record) {
        Ok(value) => (value, false),
        Err(_) => (Value::Null, true),
    };
    let params = paths
        .iter()
        .zip(kinds)
        .zip(1..)
        .map(|((path, kind), number)| {
            if *path == Path::Payload(Vec::new()) {
                if *kind == Type::BYTEA {
                    return Ok(Param(Some(record.payload.to_vec())));
                }
                if is_binary {
                    return Err(format!(
                        "parameter {number} is a {kind}, and the payload is no text"
                    ));
                }
            }
            let value = path.of(record, &payload);
            param(&value, kind).ok_or_else(|| {
                let shown: String = value.to_string().chars().take(100).collect();
                format!("parameter {number} is a {kind}, and {shown} is none")
            })
        });
    params.collect()
}

fn whole(value: &Value) -> Option<i64> {
    let whole = |number: f64| {
        let is_whole = number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0;
        is_whole.then(|| format!("{number}").parse().ok()).flatten()
    };
    value.as_i64().or_else(|| value.as_f64().and_then(whole))
}

/// `None`: the value cannot become one of this type.
fn param(value: &Value, kind: &Type) -> Option<Param> {
    let bytes = match (kind, value) {
        (_, Value::Null) => return Some(Param(None)),
        (&Type::BOOL, _) => vec![u8::from(value.as_bool()?)],
        (&Type::INT2, _) => i16::try_from(whole(value)?).ok()?.to_be_bytes().to_vec(),
        (&Type::INT4, _) => i32::try_from(whole(value)?).ok()?.to_be_bytes().to_vec(),
        (&Type::INT8, _) => whole(value)?.to_be_bytes().to_vec(),
        (&Type::FLOAT4, Value::Number(number)) => {
            let near: f32 = number.to_string().parse().ok()?;
            near.is_finite().then(|| near.to_be_bytes().to_vec())?
        }
        (&Type::FLOAT8, _) => value.as_f64()?.to_be_bytes().to_vec(),
        (&Type::TIMESTAMP | &Type::TIMESTAMPTZ, _) => {
            let since = whole(value)?.checked_sub(EPOCH_MS)?.checked_mul(1000)?;
            since.to_be_bytes().to_vec()
        }
        (&Type::JSON, _) => value.to_string().into_bytes(),
        (&Type::JSONB, _) => format!("\u{1}{value}").into_bytes(),
        (
            &Type::TEXT
            | &Type::VARCHAR
            | &Type::BPCHAR
            | &Type::NAME
            | &Type::UNKNOWN
            | &Type::BYTEA,
            Value::String(text),
        ) => text.clone().into_bytes(),
        (&Type::TEXT | &Type::VARCHAR | &Type::BPCHAR | &Type::NAME | &Type::UNKNOWN, other) => {
            other.to_string().into_bytes()
        }
        _ => return None,
    };
    Some(Param(Some(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::{message, publisher};
    use crate::record::{HEAD_BYTES, decode, encode};
    use serde_json::json;

    fn bytes(value: &Value, kind: &Type) -> Option<Option<Vec<u8>>> {
        param(value, kind).map(|param| param.0)
    }

    #[test]
    fn values_become_what_the_column_wants_or_are_refused() {
        for (value, kind, wanted) in [
            (json!(true), Type::BOOL, Some(vec![1])),
            (json!(20.0), Type::INT4, Some(vec![0, 0, 0, 20])),
            (json!(20.5), Type::INT4, None),
            (json!(70000), Type::INT2, None),
            (json!("20"), Type::INT8, None),
            (
                json!(1.5),
                Type::FLOAT4,
                Some(1.5_f32.to_be_bytes().to_vec()),
            ),
            (json!(1e300), Type::FLOAT4, None),
            (json!(u64::MAX), Type::INT8, None),
            (
                json!(i64::MAX),
                Type::INT8,
                Some(i64::MAX.to_be_bytes().to_vec()),
            ),
            (json!(1), Type::FLOAT8, Some(1.0_f64.to_be_bytes().to_vec())),
            (json!({"a": 1}), Type::TEXT, Some(b"{\"a\":1}".to_vec())),
            (json!("a"), Type::TEXT, Some(b"a".to_vec())),
            (json!("a"), Type::JSONB, Some(b"\x01\"a\"".to_vec())),
            (
                json!(946_684_800_001_u64),
                Type::TIMESTAMPTZ,
                Some(1000_i64.to_be_bytes().to_vec()),
            ),
            (json!(5), Type::BYTEA, None),
        ] {
            assert_eq!(bytes(&value, &kind), wanted.map(Some), "{value} as {kind}");
        }
        assert_eq!(bytes(&Value::Null, &Type::INT4), Some(None));
    }

    #[test]
    fn a_path_names_a_part_of_the_message() {
        let mut out = BytesMut::new();
        let given = message("a/b", "{\"c\":{\"d\":[7,8]}}");
        assert!(encode(publisher(), &given, &mut out));
        let record = decode(out.freeze().slice(HEAD_BYTES..)).expect("readable");
        let paths = [
            "topic",
            "payload.c.d.1",
            "payload.x.y",
            "client",
            "username",
            "received_ms",
            "payload",
        ];
        let paths: Vec<Path> = paths
            .iter()
            .map(|path| path.parse().expect("a path"))
            .collect();
        let kinds = [
            Type::TEXT,
            Type::INT4,
            Type::INT4,
            Type::TEXT,
            Type::TEXT,
            Type::INT8,
            Type::BYTEA,
        ];
        let row = row(&record, &paths, &kinds).expect("a row");
        let wanted = [
            Some(b"a/b".to_vec()),
            Some(vec![0, 0, 0, 8]),
            None,
            Some(b"c".to_vec()),
            Some(b"u".to_vec()),
            Some(17_i64.to_be_bytes().to_vec()),
            Some(given.payload.to_vec()),
        ];
        assert_eq!(row, wanted.map(Param));
        let mut binary = record;
        binary.payload = bytes::Bytes::from_static(b"\xff");
        let whole = [Path::Payload(Vec::new())];
        assert_eq!(
            super::row(&binary, &whole, &[Type::TEXT]),
            Err("parameter 1 is a text, and the payload is no text".to_owned())
        );
        assert_eq!(
            super::row(&binary, &whole, &[Type::BYTEA]),
            Ok(vec![Param(Some(vec![0xff]))])
        );
        for wrong in ["", "topic.x", "payload.", "payload..c", "time"] {
            assert!(wrong.parse::<Path>().is_err(), "{wrong}");
        }
    }
}
