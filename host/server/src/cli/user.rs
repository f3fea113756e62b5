//! `witmq user …`: users of the bundled authenticator. The hash is made here.

use super::args::UserCommand;
use super::plugin::read;
use super::remote::{Remote, encode};
use super::{CliError, Exit, print};
use argon2::Argon2;
use argon2::password_hash::{PasswordHasher as _, SaltString};
use serde_json::{Value, json};
use std::path::Path;

pub(crate) fn run(command: UserCommand) -> Result<(), CliError> {
    match command {
        UserCommand::Add {
            name,
            password_stdin,
            superuser,
            publish,
            subscribe,
            admin,
        } => {
            let remote = Remote::new(&admin)?;
            let password = password(&name, password_stdin)?;
            let mut entry = json!({ "hash": hash(&password)?, "superuser": superuser });
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

/// argon2id with the library's defaults (19 MiB, 2 passes), as a PHC string.
pub(crate) fn hash(password: &str) -> Result<String, CliError> {
    let mut salt = [0_u8; 16];
    rand::RngCore::fill_bytes(&mut rand::rng(), &mut salt);
    let failed = |e: argon2::password_hash::Error| CliError::failed(format!("cannot hash: {e}"));
    let salt = SaltString::encode_b64(&salt).map_err(failed)?;
    let hash = Argon2::default()
        .hash_password(password.as_bytes(), &salt)
        .map_err(failed)?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::password_hash::{PasswordHash, PasswordVerifier as _};

    #[test]
    fn the_hash_is_argon2id_salted_and_verifies() {
        let (a, b) = (hash("pw").expect("hash"), hash("pw").expect("hash"));
        assert!(a.starts_with("$argon2id$") && a != b);
        let parsed = PasswordHash::new(&a).expect("phc");
        assert!(Argon2::default().verify_password(b"pw", &parsed).is_ok());
        assert!(Argon2::default().verify_password(b"px", &parsed).is_err());
    }

    #[test]
    fn filters_become_one_rule_per_action() {
        let rules = rules(&["a/#".into()], &[]);
        assert_eq!(
            rules,
            [json!({ "allow": true, "actions": ["publish"], "topics": ["a/#"] })]
        );
    }
}
