//! Every command of the README's walk, in order, against a running `witmq dev`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::process::Command;
use witmq_e2e::{Broker, binary, component, root, run, text};

/// Blocks of commands behind a mark.
fn blocks(readme: &str, mark: &str) -> Vec<String> {
    let block = |rest: &str| {
        rest.trim_start()
            .strip_prefix("```sh\n")
            .and_then(|rest| rest.split("```").next())
            .map(str::to_owned)
    };
    readme
        .split(mark)
        .skip(1)
        .map(|rest| block(rest).expect("a block behind the mark"))
        .collect()
}

#[test]
fn the_walk_of_the_readme_works_as_written() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let walk = blocks(&readme, "<!-- run -->");
    assert!(walk.len() >= 7, "{} blocks", walk.len());
    let starts = blocks(&readme, "<!-- starts -->");
    assert_eq!(starts, ["cargo xtask dev\n", "cargo xtask test\n"]);
    assert_eq!(
        readme.matches("```sh").count(),
        walk.len() + starts.len(),
        "every block has its mark"
    );
    assert!(
        binary().ends_with("target/release/witmq") && component("celsius_to_fahrenheit").is_file()
    );
    let broker = Broker::dev(&[]);
    let mut bash = Command::new("bash");
    bash.current_dir(root())
        .args(["-euo", "pipefail", "-c", &walk.concat()])
        .env("WITMQ_URL", format!("http://{}", broker.address("http")))
        .env(
            "WITMQ_MQTT_URL",
            format!("mqtt://{}", broker.address("tcp")),
        )
        .env("WITMQ_DATA_DIR", broker.folder().join(".witmq"));
    let output = run(bash, "").unwrap();
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    for expected in ["\"f\":", "fine", "shout", "version 1 serves", "ada"] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}
