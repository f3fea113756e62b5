//! Verbs of this repository: `cargo xtask test`. Owns the order of the steps; builds nothing itself.
use std::process::{Command, ExitCode};

/// One cargo call after another; the first failure ends the run and names the command.
fn main() -> ExitCode {
    let steps: [&[&str]; 1] = [&[
        "test",
        "-p",
        "witmq-proto",
        "-p",
        "witmq-broker",
        "-p",
        "witmq-rules",
        "-p",
        "witmq-admin",
        "-p",
        "witmq-net",
        "-p",
        "witmq-tidy",
    ]];
    for step in steps {
        println!("==> cargo {}", step.join(" "));
        match Command::new("cargo").args(step).status() {
            Ok(status) if status.success() => {}
            Ok(_) | Err(_) => {
                eprintln!("failed; repeat with: cargo {}", step.join(" "));
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
