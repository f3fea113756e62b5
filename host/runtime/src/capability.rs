//! Capabilities in words: what a manifest asks for, what an operator grants.
//!
//! Owns: [`Capability`] and its one way of being written; whether a grant covers it.

use crate::config::Grants;
use crate::http::HttpGrant;
use std::fmt;
use std::str::FromStr;
use witmq_broker::acl::covers;
use witmq_proto::TopicFilter;

/// Something that has to be granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Capability {
    /// `publish:FILTER`.
    Publish(TopicFilter),
    /// `secret:NAME`.
    Secret(String),
    /// `http:HOST`.
    Http(HttpGrant),
    /// `clients`.
    Clients,
}

/// No capability.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no capability; there are publish:FILTER, secret:NAME, http:HOST and clients")]
pub(crate) struct NoCapability(String);

impl FromStr for Capability {
    type Err = NoCapability;

    fn from_str(text: &str) -> Result<Self, NoCapability> {
        let unknown = || NoCapability(text.to_owned());
        match text.split_once(':') {
            None if text == "clients" => Ok(Self::Clients),
            Some(("publish", filter)) => {
                let filter = TopicFilter::new(filter).map_err(|_| unknown())?;
                Ok(Self::Publish(filter))
            }
            Some(("http", host)) => Ok(Self::Http(host.parse().map_err(|_| unknown())?)),
            Some(("secret", name)) if !name.is_empty() => Ok(Self::Secret(name.to_owned())),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publish(filter) => write!(f, "publish:{filter}"),
            Self::Secret(name) => write!(f, "secret:{name}"),
            Self::Http(host) => write!(f, "http:{host}"),
            Self::Clients => f.write_str("clients"),
        }
    }
}

impl Grants {
    /// Whether this may be done.
    pub(crate) fn has(&self, capability: &Capability) -> bool {
        match capability {
            Capability::Publish(asked) => self.publish.iter().any(|wide| covers(wide, asked)),
            Capability::Secret(name) => self.secrets.contains(name),
            Capability::Http(asked) => self.http.iter().any(|wide| wide.covers(asked)),
            Capability::Clients => self.clients,
        }
    }

    /// These, and what was approved while the broker ran.
    pub(crate) fn with(&self, approved: &[Capability]) -> Self {
        let mut all = self.clone();
        for capability in approved {
            match capability.clone() {
                Capability::Publish(filter) => all.publish.push(filter),
                Capability::Secret(name) => drop(all.secrets.insert(name)),
                Capability::Http(host) => all.http.push(host),
                Capability::Clients => all.clients = true,
            }
        }
        all
    }

    /// Each of them in words.
    pub(crate) fn list(&self) -> Vec<String> {
        let publish = self.publish.iter().cloned().map(Capability::Publish);
        let secrets = self.secrets.iter().cloned().map(Capability::Secret);
        let http = self.http.iter().cloned().map(Capability::Http);
        let clients = self.clients.then_some(Capability::Clients);
        let all = publish.chain(secrets).chain(http).chain(clients);
        all.map(|capability| capability.to_string()).collect()
    }
}

/// Reads a list of them.
pub(crate) fn parse(list: &[String]) -> Result<Vec<Capability>, NoCapability> {
    list.iter().map(|text| text.parse()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_as_they_were() {
        for text in [
            "publish:a/#",
            "secret:jwt",
            "http:*.a:80/private",
            "clients",
        ] {
            assert_eq!(text.parse::<Capability>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "clients:",
            "publish:",
            "publish:a#",
            "secret:",
            "http:*",
            "files",
        ] {
            let error = text.parse::<Capability>().unwrap_err().to_string();
            assert!(error.contains("is no capability"), "{text}: {error}");
        }
    }

    #[test]
    fn a_wider_grant_covers_a_narrower_wish() {
        let asked = |text: &str| text.parse::<Capability>().unwrap();
        let granted = Grants::default().with(&[asked("publish:a/#"), asked("secret:one")]);
        assert!(granted.has(&asked("publish:a/b")) && granted.has(&asked("publish:a/+/c")));
        assert!(!granted.has(&asked("publish:#")) && !granted.has(&asked("publish:b")));
        assert!(granted.has(&asked("secret:one")) && !granted.has(&asked("secret:two")));
        assert!(!granted.has(&asked("clients")));
        assert_eq!(granted.list(), ["publish:a/#", "secret:one"]);
    }
}
