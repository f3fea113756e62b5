//! `witmq user …`: users of the bundled authenticator, and keys for the plugin `scram`. What is kept of a password is made on
//! this side.

use super::args::AdminArgs;
use super::credentials::{ITERATIONS, Keys, Mechanism, hash, scram};
use super::plugin::read;
use super::remote::{Remote, encode};
use super::{CliError, Exit, print};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::Path;

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add a user or set a new password; the hash is made here, the password never leaves this process
    Add {
        name: String,
        /// Read the password from standard input
        #[arg(long)]
        password_stdin: bool,
        /// Make no keys for SCRAM-SHA-256: guesses against stolen keys are cheaper than against the argon2id hash
        #[arg(long)]
        no_scram: bool,
        /// May do everything
        #[arg(long)]
        superuser: bool,
        /// Topic filter the user may publish to; {user} and {client} stand for its names; may be repeated
        #[arg(long = "pub", value_name = "FILTER")]
        publish: Vec<String>,
        /// Topic filter the user may subscribe to; may be repeated
        #[arg(long = "sub", value_name = "FILTER")]
        subscribe: Vec<String>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Print a user with keys for the plugin `scram`, for its configuration; no broker is asked
    Keys(KeysArgs),
    /// List users
    Ls {
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Remove a user
    Rm {
        name: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    pub(crate) name: String,
    /// Read the password from standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// For this mechanism; may be repeated; for both if absent
    #[arg(long = "mechanism", value_enum, value_name = "MECHANISM")]
    pub(crate) mechanisms: Vec<Mechanism>,
    /// Iterations of PBKDF2, which each log-in costs the client
    #[arg(long, value_name = "N", default_value_t = ITERATIONS, value_parser = clap::value_parser!(u32).range(4096..=1_000_000))]
    pub(crate) iterations: u32,
    /// Print one line a mechanism instead, which may be the text of a secret
    #[arg(long, conflicts_with_all = ["publish", "subscribe"])]
    pub(crate) line: bool,
    /// Topic filter the user may publish to; {user} and {client} stand for its names; may be repeated
    #[arg(long = "pub", value_name = "FILTER")]
    pub(crate) publish: Vec<String>,
    /// Topic filter the user may subscribe to; may be repeated
    #[arg(long = "sub", value_name = "FILTER")]
    pub(crate) subscribe: Vec<String>,
}

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
                entry["scram"] = scram(Mechanism::Sha256, &password, ITERATIONS)?.entry();
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
        UserCommand::Keys(args) => keys(args),
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

/// A user of the plugin `scram`, or lines for secrets that it reads.
fn keys(args: KeysArgs) -> Result<(), CliError> {
    let password = password(&args.name, args.password_stdin)?;
    let mechanisms = match args.mechanisms.is_empty() {
        true => Mechanism::ALL.to_vec(),
        false => args.mechanisms,
    };
    let made = |mechanism| scram(mechanism, &password, args.iterations);
    let keys: Vec<Keys> = mechanisms.into_iter().map(made).collect::<Result<_, _>>()?;
    if args.line {
        keys.iter().for_each(|keys| print(&keys.line()));
        return Ok(());
    }
    let keys: Vec<Value> = keys.iter().map(Keys::named_entry).collect();
    let mut entry = json!({ "name": args.name, "keys": keys });
    let acl = rules(&args.publish, &args.subscribe);
    if !acl.is_empty() {
        entry["acl"] = Value::Array(acl);
    }
    print(&format!("{entry:#}"));
    Ok(())
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
