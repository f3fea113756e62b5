//! Access rules in a claim.
//!
//! Owns: the two forms of such a claim. Must not: be lenient: a rule that cannot be read may be one that denies.

use serde::Deserialize;
use serde_json::Value;
use witmq_sdk::{AclAction, AclEntry};

/// Rules of one token.
const RULES: usize = 256;

/// Filters by what they are for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Filters {
    publish: Vec<String>,
    subscribe: Vec<String>,
    all: Vec<String>,
    deny: Denied,
}

/// The same for what is denied, whatever is allowed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Denied {
    publish: Vec<String>,
    subscribe: Vec<String>,
    all: Vec<String>,
}

/// The entries of a claim: a list of them, or filters by what they are for.
///
/// # Errors
/// What is wrong, in words.
pub(crate) fn entries(claim: &Value) -> Result<Vec<AclEntry>, String> {
    let entries = match claim {
        Value::Array(_) => {
            Vec::<AclEntry>::deserialize(claim).map_err(|error| error.to_string())?
        }
        _ => {
            let filters = Filters::deserialize(claim).map_err(|error| error.to_string())?;
            let Filters {
                publish,
                subscribe,
                all,
                deny,
            } = filters;
            let denied = by_use(false, deny.publish, deny.subscribe, deny.all);
            denied
                .chain(by_use(true, publish, subscribe, all))
                .collect()
        }
    };
    let rules: usize = entries.iter().map(|entry| entry.topics.len()).sum();
    match rules {
        ..=RULES => Ok(entries),
        _ => Err(format!("{rules} rules, at most {RULES}")),
    }
}

fn by_use(
    allow: bool,
    publish: Vec<String>,
    subscribe: Vec<String>,
    all: Vec<String>,
) -> impl Iterator<Item = AclEntry> {
    use AclAction::{Publish, Subscribe};
    let lists = [
        (vec![Publish], publish),
        (vec![Subscribe], subscribe),
        (vec![Publish, Subscribe], all),
    ];
    lists.into_iter().map(move |(actions, topics)| AclEntry {
        allow,
        actions,
        topics,
    })
}
