//! What the claims of a verified token allow.
//!
//! Owns: the configuration of that, the checks of RFC 7519 section 4.1 and the operator's own, the grant. Must not: be
//! asked about a token whose signature was not verified.

use crate::{Key, Rejection, Token, acl};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::time::Duration;
use witmq_sdk::{AclEntry, Attempt, Failure, Grant, Rule, Step};

/// MQTT 5: bad user name or password.
const BAD_CREDENTIALS: u8 = 0x86;
/// MQTT 5: not authorized.
const NOT_AUTHORIZED: u8 = 0x87;

/// Which tokens are taken, and what they grant.
#[derive(Clone, Debug, Deserialize, witmq_sdk::Config)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    /// Where clients without an authentication method have their token.
    #[serde(default)]
    pub field: Field,
    /// The method of enhanced authentication, whose data is a token; empty for none.
    #[serde(default = "method")]
    pub method: String,
    /// Seconds that the clocks of issuer and broker may differ.
    #[serde(default = "leeway_s")]
    #[config(maximum = 3600)]
    pub leeway_s: u32,
    /// Whether a token without `exp` is refused.
    #[serde(default = "yes")]
    pub exp_required: bool,
    /// `iss` has to be one of them; left out or empty, it is not looked at.
    #[serde(default)]
    pub issuers: Vec<String>,
    /// `aud` has to name one of them; left out or empty, a token that is for somebody is refused.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// Claims that have to be there with this value, or with it in their list; `{client}` and `{user}` stand for what the
    /// client said in CONNECT.
    #[serde(default)]
    pub require: BTreeMap<String, String>,
    /// The claim that is the client's user name.
    #[serde(default = "username_claim")]
    #[config(min_length = 1)]
    pub username_claim: String,
    /// The claim with access rules.
    #[serde(default = "acl_claim")]
    pub acl_claim: String,
    /// The claim that is `true` for who may do everything; left out, nobody may.
    pub superuser_claim: Option<String>,
    /// Access rules for everybody, after those of the token. What no rule decides is denied.
    #[serde(default)]
    pub acl: Vec<AclEntry>,
    /// Attributes of the client for chains, and the claims they are.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// Where a token is.
#[derive(Clone, Copy, Debug, Default, Deserialize, witmq_sdk::Config, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Field {
    /// In the password.
    #[default]
    Password,
    /// In the user name.
    Username,
}

fn method() -> String {
    "JWT".to_owned()
}

fn leeway_s() -> u32 {
    30
}

fn yes() -> bool {
    true
}

fn username_claim() -> String {
    "sub".to_owned()
}

fn acl_claim() -> String {
    "acl".to_owned()
}

/// All defaults, as an empty object has them.
impl Default for Tokens {
    fn default() -> Self {
        Self {
            field: Field::default(),
            method: method(),
            leeway_s: leeway_s(),
            exp_required: yes(),
            issuers: Vec::new(),
            audiences: Vec::new(),
            require: BTreeMap::new(),
            username_claim: username_claim(),
            acl_claim: acl_claim(),
            superuser_claim: None,
            acl: Vec::new(),
            attributes: BTreeMap::new(),
        }
    }
}

/// Decides about tokens.
#[derive(Debug)]
pub struct Judge {
    tokens: Tokens,
    /// Rules for everybody.
    general: Vec<Rule>,
}

impl Judge {
    /// From its configuration.
    #[must_use]
    pub fn new(tokens: Tokens) -> Self {
        Self {
            general: AclEntry::rules(&tokens.acl),
            tokens,
        }
    }

    /// What is wrong with keys that there are: for [`witmq_sdk::Plugin::check`].
    #[must_use]
    pub fn fault<'k>(keys: impl IntoIterator<Item = &'k Key>) -> Option<String> {
        keys.into_iter().find_map(Key::fault)
    }

    /// One attempt: CONNECT, or a re-authentication. `verify` says whether a token's signature is right.
    ///
    /// # Errors
    /// Those of `verify` that are no rejections.
    pub fn decide(
        &self,
        attempt: &Attempt,
        now_ms: u64,
        verify: impl FnOnce(&Token<'_>) -> Result<Result<(), Rejection>, Failure>,
    ) -> Result<Step, Failure> {
        let text = match &attempt.method {
            Some(method) if *method == self.tokens.method && !method.is_empty() => &attempt.data,
            Some(_) => return Ok(Step::Ignore),
            None => match self.tokens.field {
                Field::Password => attempt.password.as_deref().unwrap_or_default(),
                Field::Username => attempt.username.as_deref().unwrap_or_default().as_bytes(),
            },
        };
        let code = match attempt.method {
            Some(_) => NOT_AUTHORIZED,
            None => BAD_CREDENTIALS,
        };
        let denied = |rejection: Rejection| Ok(Step::deny(code, rejection.to_string()));
        let token = match Token::parse(text) {
            Ok(token) => token,
            // A password of another kind is for another authenticator.
            Err(Rejection::NotAToken) if attempt.method.is_none() => return Ok(Step::Ignore),
            Err(rejection) => return denied(rejection),
        };
        if let Err(rejection) = verify(&token)? {
            return denied(rejection);
        }
        match self.grant(&token.claims, attempt, now_ms) {
            Ok(grant) => Ok(Step::Allow(grant)),
            Err(rejection) => denied(rejection),
        }
    }

    fn grant(
        &self,
        claims: &Map<String, Value>,
        attempt: &Attempt,
        now_ms: u64,
    ) -> Result<Grant, Rejection> {
        let expires_ms = self.times(claims, now_ms)?;
        self.parties(claims)?;
        self.required(claims, attempt)?;
        let tokens = &self.tokens;
        let claim = |name: &str| Rejection::Claim(name.to_owned());
        let username = claims.get(&tokens.username_claim).and_then(Value::as_str);
        let username = username.filter(|name| !name.is_empty());
        let username = username.ok_or_else(|| claim(&tokens.username_claim))?;
        let mut acl = match claims.get(&tokens.acl_claim) {
            Some(value) => {
                let entries = acl::entries(value).map_err(|_| claim(&tokens.acl_claim))?;
                AclEntry::rules(&entries)
            }
            None => Vec::new(),
        };
        acl.extend(self.general.iter().cloned());
        let superuser = tokens.superuser_claim.as_ref();
        let superuser = superuser.and_then(|name| claims.get(name));
        let attributes = tokens.attributes.iter().filter_map(|(name, claim)| {
            let value = claims.get(claim).and_then(scalar)?;
            Some((name.clone(), value))
        });
        Ok(Grant {
            username: Some(username.to_owned()),
            superuser: superuser == Some(&Value::Bool(true)),
            acl,
            acl_complete: true,
            expires_ms,
            attributes: attributes.collect(),
            data: None,
        })
    }

    /// `exp`, `nbf`, `iat`; milliseconds until the end.
    fn times(&self, claims: &Map<String, Value>, now_ms: u64) -> Result<Option<u64>, Rejection> {
        let leeway_ms = u64::from(self.tokens.leeway_s) * 1000;
        let time = |name: &str| match claims.get(name) {
            None => Ok(None),
            Some(value) => match date_ms(value) {
                Some(ms) => Ok(Some(ms)),
                None => Err(Rejection::Claim(name.to_owned())),
            },
        };
        for name in ["nbf", "iat"] {
            if time(name)?.is_some_and(|begin| begin > now_ms.saturating_add(leeway_ms)) {
                return Err(Rejection::NotYet);
            }
        }
        match time("exp")? {
            None if self.tokens.exp_required => Err(Rejection::Claim("exp".to_owned())),
            None => Ok(None),
            Some(end) => match end.saturating_add(leeway_ms).saturating_sub(now_ms) {
                0 => Err(Rejection::Expired),
                left => Ok(Some(left)),
            },
        }
    }

    /// `iss`, `aud`.
    fn parties(&self, claims: &Map<String, Value>) -> Result<(), Rejection> {
        let other = |name: &str| Err(Rejection::Other(name.to_owned()));
        let Tokens {
            issuers, audiences, ..
        } = &self.tokens;
        let is_issuer = |value: &Value| issuers.iter().any(|one| value == one.as_str());
        if !issuers.is_empty() && !claims.get("iss").is_some_and(is_issuer) {
            return other("iss");
        }
        let names = |value: &Value| audiences.iter().any(|one| holds(value, one));
        match claims.get("aud") {
            None if audiences.is_empty() => Ok(()),
            Some(value) if names(value) => Ok(()),
            _ => other("aud"),
        }
    }

    /// The operator's own.
    fn required(&self, claims: &Map<String, Value>, attempt: &Attempt) -> Result<(), Rejection> {
        for (name, wanted) in &self.tokens.require {
            let user = attempt.username.as_deref();
            if wanted.contains("{user}") && user.is_none() {
                return Err(Rejection::Other(name.clone()));
            }
            let wanted = fill(wanted, &attempt.client_id, user.unwrap_or_default());
            if !claims.get(name).is_some_and(|value| holds(value, &wanted)) {
                return Err(Rejection::Other(name.clone()));
            }
        }
        Ok(())
    }
}

/// Puts both names in at once: what one of them holds is not looked at again.
pub(crate) fn fill(text: &str, client_id: &str, user: &str) -> String {
    let parts = text
        .split("{client}")
        .map(|part| part.replace("{user}", user));
    parts.collect::<Vec<_>>().join(client_id)
}

/// Whether a claim is this text, or a list with it.
fn holds(value: &Value, wanted: &str) -> bool {
    match value {
        Value::Array(all) => all.iter().any(|one| scalar(one).as_deref() == Some(wanted)),
        one => scalar(one).as_deref() == Some(wanted),
    }
}

/// Texts, numbers and truth values as text.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// NumericDate: seconds since 1970, perhaps with a fraction.
fn date_ms(value: &Value) -> Option<u64> {
    if let Some(seconds) = value.as_u64() {
        return Some(seconds.saturating_mul(1000));
    }
    let time = Duration::try_from_secs_f64(value.as_f64()?).ok()?;
    u64::try_from(time.as_millis()).ok()
}
