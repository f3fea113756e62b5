//! `witmq user …`: users of the bundled authenticator. What is kept of a password is made on this side.

use super::args::UserCommand;
use super::credentials::{hash, scram};
use super::plugin::read;
use super::remote::{Remote, encode};
use super::{CliError, Exit, print};
use serde_json::{Value, json};
use std::path::Path;

pub(crate) fn run(command: UserCommand) -> Result<(), CliError> {
    match command {
        UserCommand::Add {
            name,
            password_stdin,
            no_scram,
            superuser,
            publish,
            subscribe,
            admin,
        } => {
            let remote = Remote::new(&admin)?;
            let password = password(&name, password_stdin)?;
            let mut entry = json!({ "hash": hash(&password)?, "superuser": superuser });
            if !no_scram {
                entry["scram"] = scram(&password)?;
            }
            let acl = rules(&publish, &subscribe);
            if !acl.is_empty() {
                entry["acl"] = Value::Array(acl);
            }
            let body = entry.to_string();
            remote.put(
                &format!("users/{}", encode(&name)),
                "application/json",
                body.as_bytes(),
            )?;
            print(&format!("{name}: may connect now"));
            Ok(())
        }
        UserCommand::Ls { admin } => {
            let list = Remote::new(&admin)?.read("users")?;
            list.as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .for_each(print);
            Ok(())
        }
        UserCommand::Rm { name, admin } => {
            Remote::new(&admin)?.delete(&format!("users/{}", encode(&name)))?;
            print(&format!("{name}: removed"));
            Ok(())
        }
    }
}

/// Rules in the form of the auth-file plugin's configuration.
fn rules(publish: &[String], subscribe: &[String]) -> Vec<Value> {
    [("publish", publish), ("subscribe", subscribe)]
        .into_iter()
        .filter(|(_, topics)| !topics.is_empty())
        .map(|(action, topics)| json!({ "allow": true, "actions": [action], "topics": topics }))
        .collect()
}

fn password(name: &str, from_stdin: bool) -> Result<String, CliError> {
    let text = if from_stdin {
        let bytes = read(Path::new("/dev/stdin"))?;
        String::from_utf8(bytes)
            .map_err(|_| CliError::new(Exit::Usage, "the password is not UTF-8"))?
    } else {
        let ask = |prompt: &str| {
            rpassword::prompt_password(prompt).map_err(|e| {
                CliError::new(Exit::Usage, format!("cannot ask for the password: {e}"))
                    .hint("pipe it in: `witmq user add NAME --password-stdin < FILE`")
            })
        };
        let first = ask(&format!("Password for {name}: "))?;
        if first != ask("Again: ")? {
            return Err(CliError::new(Exit::Usage, "the two passwords differ"));
        }
        first
    };
    let text = text.trim_end_matches(['\r', '\n']).to_owned();
    if text.is_empty() {
        return Err(CliError::new(
            Exit::Usage,
            "an empty password is no password",
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_become_one_rule_per_action() {
        let rules = rules(&["a/#".into()], &[]);
        assert_eq!(
            rules,
            [json!({ "allow": true, "actions": ["publish"], "topics": ["a/#"] })]
        );
    }
}
