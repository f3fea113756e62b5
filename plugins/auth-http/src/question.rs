//! An attempt as the service is told of it, and as the memory knows it.
//!
//! Owns: the names of the fields, and what makes two attempts the same. Must not: keep a password.

use crate::config::Format;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use witmq_sdk::{Attempt, Failure};

/// Fields in order; what the client did not say is not there.
fn fields(attempt: &Attempt) -> Vec<(&'static str, Vec<u8>)> {
    let text = |text: &str| text.as_bytes().to_vec();
    let mut fields = vec![("client_id", text(&attempt.client_id))];
    if let Some(username) = &attempt.username {
        fields.push(("username", text(username)));
    }
    if let Some(password) = &attempt.password {
        match std::str::from_utf8(password) {
            Ok(_) => fields.push(("password", password.clone())),
            Err(_) => {
                let encoded = BASE64_STANDARD.encode(password);
                fields.push(("password_base64", encoded.into_bytes()));
            }
        }
    }
    fields.push(("peer_ip", text(ip(&attempt.peer))));
    fields.push(("listener", text(&attempt.listener)));
    fields.push(("transport", text(&attempt.transport)));
    fields.push(("protocol", attempt.protocol.to_string().into_bytes()));
    if let Some(certificate) = &attempt.certificate {
        fields.push(("certificate_subject", text(&certificate.subject)));
        fields.push(("certificate_fingerprint", text(&certificate.fingerprint)));
        fields.push(("certificate_names", text(&certificate.names.join(","))));
    }
    fields
}

/// Without the port, which is another at each try.
fn ip(peer: &str) -> &str {
    peer.rsplit_once(':').map_or(peer, |(ip, _)| ip)
}

/// The body and its type.
pub(crate) fn body(attempt: &Attempt, format: Format) -> Result<(Vec<u8>, &'static str), Failure> {
    let fields = fields(attempt);
    match format {
        Format::Json => {
            let member = |(name, value): (&str, Vec<u8>)| {
                let value = String::from_utf8(value)?;
                let value = match name {
                    "protocol" => value.parse::<u8>()?.into(),
                    _ => serde_json::Value::String(value),
                };
                Ok::<_, Failure>((name.to_owned(), value))
            };
            let object: Result<serde_json::Map<_, _>, _> = fields.into_iter().map(member).collect();
            Ok((serde_json::to_vec(&object?)?, "application/json"))
        }
        Format::Form => {
            let mut form = String::new();
            for (name, value) in fields {
                if !form.is_empty() {
                    form.push('&');
                }
                form.push_str(name);
                form.push('=');
                value.iter().for_each(|byte| encode(*byte, &mut form));
            }
            Ok((form.into_bytes(), "application/x-www-form-urlencoded"))
        }
    }
}

fn encode(byte: u8, form: &mut String) {
    match byte {
        b' ' => form.push('+'),
        _ if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => form.push(byte.into()),
        _ => form.push_str(&format!("%{byte:02X}")),
    }
}

/// What the memory knows an attempt by: everything that the service is told, under a key that no other instance has and
/// nobody can read. A guess of a password cannot be tried against it elsewhere.
pub(crate) fn fingerprint(attempt: &Attempt, key: &[u8; 32]) -> Result<String, Failure> {
    let mac = Hmac::<Sha256>::new_from_slice(key);
    let mut mac = mac.map_err(|error| Failure::failed(error.to_string()))?;
    for (name, value) in fields(attempt) {
        for part in [name.as_bytes(), &value] {
            // With their lengths, so that no two attempts are the same bytes.
            mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            mac.update(part);
        }
    }
    Ok(BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use witmq_sdk::Certificate;

    fn attempt() -> Attempt {
        Attempt {
            client_id: "c".to_owned(),
            username: Some("ada & co".to_owned()),
            password: Some(b"p\xC3\xA9".to_vec()),
            peer: "[::1]:5000".to_owned(),
            listener: "tls".to_owned(),
            transport: "tls".to_owned(),
            protocol: 5,
            ..Attempt::default()
        }
    }

    fn text(attempt: &Attempt, format: Format) -> String {
        String::from_utf8(body(attempt, format).unwrap().0).unwrap()
    }

    #[test]
    fn the_service_is_told_what_the_client_said() {
        let json: serde_json::Value =
            serde_json::from_str(&text(&attempt(), Format::Json)).unwrap();
        let expected = serde_json::json!({
            "client_id": "c", "username": "ada & co", "password": "p\u{e9}", "peer_ip": "[::1]", "listener": "tls",
            "transport": "tls", "protocol": 5
        });
        assert_eq!(json, expected);
        assert_eq!(
            text(&attempt(), Format::Form),
            "client_id=c&username=ada+%26+co&password=p%C3%A9&peer_ip=%5B%3A%3A1%5D&listener=tls&transport=tls&protocol=5"
        );
        let other = Attempt {
            username: None,
            password: Some(vec![0xFF]),
            certificate: Some(Certificate {
                subject: "CN=x".to_owned(),
                fingerprint: "ab".to_owned(),
                names: vec!["a".to_owned(), "b".to_owned()],
            }),
            ..attempt()
        };
        let json: serde_json::Value = serde_json::from_str(&text(&other, Format::Json)).unwrap();
        assert_eq!(json["password_base64"], "/w==");
        assert_eq!(json["certificate_names"], "a,b");
        assert!(json.get("username").is_none() && json.get("password").is_none());
    }

    #[test]
    fn attempts_are_the_same_if_all_of_them_is_but_the_port() {
        let of = |attempt: &Attempt| fingerprint(attempt, &[7; 32]).unwrap();
        let same = Attempt {
            peer: "[::1]:5001".to_owned(),
            ..attempt()
        };
        assert_eq!(of(&attempt()), of(&same));
        assert_ne!(of(&attempt()), fingerprint(&attempt(), &[8; 32]).unwrap());
        let username = |text: &str| Some(text.to_owned());
        for other in [
            Attempt {
                client_id: "d".to_owned(),
                ..attempt()
            },
            Attempt {
                username: None,
                ..attempt()
            },
            Attempt {
                username: username("ada"),
                ..attempt()
            },
            Attempt {
                password: None,
                ..attempt()
            },
            Attempt {
                password: Some(Vec::new()),
                ..attempt()
            },
            Attempt {
                peer: "[::2]:5000".to_owned(),
                ..attempt()
            },
            Attempt {
                listener: "tcp".to_owned(),
                ..attempt()
            },
            Attempt {
                protocol: 4,
                ..attempt()
            },
            Attempt {
                certificate: Some(Certificate::default()),
                ..attempt()
            },
        ] {
            assert_ne!(of(&attempt()), of(&other), "{other:?}");
        }
    }
}
