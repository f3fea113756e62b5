//! What the service said.
//!
//! Owns: the reading of status and body. Must not: be lenient: what cannot be read lets nobody in.

use serde::Deserialize;
use std::collections::BTreeMap;
use witmq_sdk::AclEntry;
use witmq_sdk::host::http::Response;

/// Rules of one answer.
const RULES: usize = 1000;
/// Attributes of one answer.
const ATTRIBUTES: usize = 64;
/// MQTT 5: bad user name or password.
const BAD_CREDENTIALS: u8 = 0x86;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Allow(Allowed),
    Deny { reason_code: u8, text: String },
    Ignore,
}

/// Rights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allowed {
    pub(crate) username: Option<String>,
    pub(crate) superuser: bool,
    pub(crate) acl: Vec<AclEntry>,
    /// Milliseconds since 1970.
    pub(crate) ends_ms: Option<u64>,
    pub(crate) attributes: BTreeMap<String, String>,
}

/// The body of a 200.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    result: Word,
    username: Option<String>,
    #[serde(default)]
    superuser: bool,
    #[serde(default)]
    acl: Vec<AclEntry>,
    expires_s: Option<u64>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    reason_code: Option<u8>,
    text: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Word {
    Allow,
    Deny,
    Ignore,
}

/// Reads an answer.
///
/// # Errors
/// It is none, in words for the operator.
pub(crate) fn read(response: &Response, now_ms: u64) -> Result<Answer, String> {
    let denied = || Answer::Deny {
        reason_code: BAD_CREDENTIALS,
        text: "bad user name or password".to_owned(),
    };
    match response.status {
        200 => {}
        204 => return Ok(Answer::Allow(Allowed::default())),
        401 | 403 => return Ok(denied()),
        status => return Err(format!("the service said {status}")),
    }
    let body: Body = serde_json::from_slice(&response.body)
        .map_err(|error| format!("the service's answer is not what it should be: {error}"))?;
    Ok(match body.result {
        Word::Allow => allowed(body, now_ms)?,
        Word::Ignore => Answer::Ignore,
        Word::Deny => match denied() {
            Answer::Deny { reason_code, text } => Answer::Deny {
                reason_code: body.reason_code.unwrap_or(reason_code),
                text: body.text.unwrap_or(text),
            },
            other => other,
        },
    })
}

fn allowed(body: Body, now_ms: u64) -> Result<Answer, String> {
    let rules: usize = body.acl.iter().map(|entry| entry.topics.len()).sum();
    if rules > RULES {
        return Err(format!(
            "the service's answer has {rules} rules, at most {RULES}"
        ));
    }
    let count = body.attributes.len();
    if count > ATTRIBUTES {
        return Err(format!(
            "the service's answer has {count} attributes, at most {ATTRIBUTES}"
        ));
    }
    let ends = |seconds: u64| now_ms.saturating_add(seconds.saturating_mul(1000));
    Ok(match body.expires_s {
        Some(0) => return Err("the service's answer expires at once".to_owned()),
        expires_s => Answer::Allow(Allowed {
            username: body.username,
            superuser: body.superuser,
            acl: body.acl,
            ends_ms: expires_s.map(ends),
            attributes: body.attributes,
        }),
    })
}

impl Answer {
    /// About how many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Allow(allowed) => {
                let topics = allowed.acl.iter().flat_map(|entry| &entry.topics);
                let texts = topics.chain(allowed.attributes.iter().flat_map(|(n, v)| [n, v]));
                texts
                    .chain(&allowed.username)
                    .map(|text| text.len() + 64)
                    .sum()
            }
            Self::Deny { text, .. } => text.len(),
            Self::Ignore => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn said(status: u16, body: &str) -> Result<Answer, String> {
        read(&Response::new(status, body), 1000)
    }

    fn ok(body: &Value) -> Result<Answer, String> {
        said(200, &body.to_string())
    }

    #[test]
    fn only_two_answers_let_somebody_in() {
        assert_eq!(said(204, ""), Ok(Answer::Allow(Allowed::default())));
        assert_eq!(
            ok(&json!({"result": "allow"})),
            Ok(Answer::Allow(Allowed::default()))
        );
        for denied in [
            said(401, "x"),
            said(403, ""),
            ok(&json!({"result": "deny"})),
        ] {
            let text = "bad user name or password".to_owned();
            assert_eq!(
                denied,
                Ok(Answer::Deny {
                    reason_code: 0x86,
                    text
                })
            );
        }
        assert_eq!(ok(&json!({"result": "ignore"})), Ok(Answer::Ignore));
        for (status, body) in [
            (200, ""),
            (200, "ok"),
            (200, "true"),
            (200, "{}"),
            (200, "<html>"),
            (200, r#"{"result":"ALLOW"}"#),
            (200, r#"{"result":true}"#),
            (200, r#"{"result":"allow","result":"deny"}"#),
            (200, r#"{"result":"allow","super_user":false}"#),
            (
                200,
                r#"{"result":"allow","acl":[{"allow":true,"topic":"a"}]}"#,
            ),
            (200, r#"{"result":"allow","expires_s":-1}"#),
            (200, r#"{"result":"allow","expires_s":0}"#),
            (201, r#"{"result":"allow"}"#),
            (302, ""),
            (400, ""),
            (404, ""),
            (500, r#"{"result":"allow"}"#),
            (503, ""),
        ] {
            assert!(said(status, body).is_err(), "{status} {body}");
        }
    }

    #[test]
    fn rights_are_read_within_their_bounds() {
        let body = json!({
            "result": "allow", "username": "ada", "superuser": true, "expires_s": 9,
            "acl": [{ "allow": true, "topics": ["a"] }], "attributes": { "tenant": "x" }
        });
        let Answer::Allow(allowed) = ok(&body).unwrap() else {
            panic!("denied")
        };
        assert_eq!(
            (allowed.username.as_deref(), allowed.superuser),
            (Some("ada"), true)
        );
        assert_eq!(
            (allowed.ends_ms, allowed.acl[0].topics[0].as_str()),
            (Some(10_000), "a")
        );
        let topics = |count: usize| {
            ok(
                &json!({ "result": "allow", "acl": [{ "allow": true, "topics": vec!["a"; count] }] }),
            )
        };
        assert!(topics(RULES).is_ok() && topics(RULES + 1).is_err());
        let attributes = |count: usize| {
            let all: BTreeMap<String, &str> = (0..count).map(|n| (n.to_string(), "x")).collect();
            ok(&json!({ "result": "allow", "attributes": all }))
        };
        assert!(attributes(ATTRIBUTES).is_ok() && attributes(ATTRIBUTES + 1).is_err());
        let denied = ok(&json!({ "result": "deny", "reason_code": 0x8A, "text": "banned" }));
        assert_eq!(
            denied,
            Ok(Answer::Deny {
                reason_code: 0x8A,
                text: "banned".to_owned()
            })
        );
    }
}
