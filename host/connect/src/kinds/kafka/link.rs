//! A connection to one broker of a cluster: opened, secured, let in.
//!
//! Owns: [`open`]. What is spoken over it is rskafka's; when it is made anew is the cluster's.

use super::{Bridge, Mechanism};
use crate::kinds::tls::{Identity, Wire, dial, trust_as};
use rskafka::client::{Credentials, SaslConfig};
use rskafka::messenger::{Messenger, SaslError};
use rskafka::protocol::error::Error as Code;
use std::time::Duration;
use tokio::io::BufStream;

/// Bytes of an answer.
const ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// Until a broker is connected, secured and has let this one in.
const OPEN: Duration = Duration::from_secs(5);

/// A connection that carries requests.
pub(super) type Link = Messenger<BufStream<Box<dyn Wire>>>;

/// # Errors
/// Nobody is there, is trusted, or lets this broker in, in words.
pub(super) async fn open(bridge: &Bridge, host: &str, port: u16) -> Result<Link, String> {
    match tokio::time::timeout(OPEN, open_now(bridge, host, port)).await {
        Ok(opened) => opened,
        Err(_) => Err(format!("{host}:{port} does not answer within {OPEN:?}")),
    }
}

async fn open_now(bridge: &Bridge, host: &str, port: u16) -> Result<Link, String> {
    let (settings, secrets) = (&bridge.settings, &bridge.means.secrets);
    let trusted = match &settings.tls {
        Some(tls) => {
            let reveal = |text: &Option<crate::secret::Text>| {
                text.as_ref().map(|text| text.reveal(secrets)).transpose()
            };
            let identity = match (reveal(&tls.cert)?, reveal(&tls.key)?) {
                (Some(cert), Some(key)) => Some(Identity { cert, key }),
                _ => None,
            };
            Some(trust_as(reveal(&tls.ca)?.as_deref(), identity.as_ref())?)
        }
        None => None,
    };
    let wire = dial(host, port, trusted).await?;
    let name = format!("witmq-{}", bridge.name);
    let mut link = Messenger::new(BufStream::new(wire), ANSWER_BYTES, name.into());
    if let Err(error) = link.sync_versions().await {
        let hint = match settings.tls {
            Some(_) => "",
            None => " (if it wants TLS: `tls = true`)",
        };
        return Err(format!("{host}:{port} is no Kafka for us: {error}{hint}"));
    }
    if let Some(access) = &settings.access {
        let password = access.password.reveal(secrets)?;
        // What is in a file may end with a line break.
        let password = password.trim_end_matches(['\r', '\n']).to_owned();
        let credentials = Credentials::new(access.username.clone(), password);
        let sasl = match access.mechanism {
            Mechanism::Plain => SaslConfig::Plain(credentials),
            Mechanism::Scram256 => SaslConfig::ScramSha256(credentials),
            Mechanism::Scram512 => SaslConfig::ScramSha512(credentials),
        };
        let entered = link.do_sasl(sasl).await;
        entered.map_err(|error| format!("{host}:{port} {}", denied(&error)))?;
    }
    Ok(link)
}

fn denied(error: &SaslError) -> String {
    match error {
        SaslError::ApiError(Code::SaslAuthenticationFailed) => {
            "does not know this user with this password".to_owned()
        }
        SaslError::ApiError(Code::UnsupportedSaslMechanism)
        | SaslError::UnsupportedSaslMechanism => "does not speak this `sasl`".to_owned(),
        SaslError::RequestError(_) => {
            format!("ended the connection while a user was to be let in: {error}")
        }
        error => format!("does not let this broker in: {error}"),
    }
}
