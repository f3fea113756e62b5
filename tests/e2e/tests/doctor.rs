//! `witmq doctor`: what it says of this machine, of one with too few open files, and of a configuration that is none.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use witmq_e2e::{binary, run, text};

const CHECKS: [&str; 15] = [
    "open files",
    "backlog",
    "tcp buffers",
    "memory",
    "overcommit",
    "mappings",
    "huge pages",
    "shards",
    "clock",
    "time",
    "data folder",
    "admin token",
    "free space",
    "file system",
    "sync",
];

/// Runs it with at most so many open files.
fn doctor(open_files: &str, words: &[&str], folder: &Path) -> Output {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("ulimit -n {open_files}; exec \"$0\" \"$@\"")])
        .arg(binary())
        .arg("doctor")
        .args(words)
        .current_dir(folder)
        .env_remove("WITMQ_CONFIG");
    run(command, "").unwrap()
}

#[test]
fn every_check_has_a_line_and_too_few_open_files_are_a_failure_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let output = doctor("64", &["--json"], folder.path());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    let all = all.as_array().unwrap();
    let names: Vec<&str> = (all.iter())
        .map(|one| one["check"].as_str().unwrap())
        .collect();
    assert_eq!(names, CHECKS);
    assert_eq!(all[0]["level"], "fail");
    assert!(all[0]["found"].as_str().unwrap().starts_with("64;"));
    let command = all[0]["command"].as_str().unwrap();
    assert!(command.contains("LimitNOFILE="), "{command}");

    // Nothing of it stays in a folder that was not there.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn fewer_connections_need_fewer_files_and_a_wrong_key_is_named_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("few.toml");
    std::fs::write(&config, "[limits]\nmax_connections = 20\n").unwrap();
    let output = doctor("1024", &["-c", "few.toml", "--json"], folder.path());
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(all[0]["level"], "ok", "{all}");

    std::fs::write(&config, "[limits]\nmost_connections = 20\n").unwrap();
    let output = doctor("1024", &["-c", "few.toml"], folder.path());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let said = text(&output);
    assert!(said.contains("few.toml:2:1") && said.contains("most_connections"));
}
