//! The tools of a plugin's author on components, good ones and bad ones, without any broker.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use witmq_e2e::{binary, component, run, text};

/// Runs `witmq plugin …`; its exit code and what it said.
fn plugin(words: &[&str]) -> (i32, String) {
    let mut command = Command::new(binary());
    command.arg("plugin").args(words);
    let output = run(command, "").unwrap();
    (output.status.code().unwrap(), text(&output))
}

fn ok(words: &[&str]) -> String {
    let (code, said) = plugin(words);
    assert_eq!(code, 0, "{words:?}: {said}");
    said
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_component_is_checked_in_words() {
    let guests = component("witmq_test_guests");
    let said = ok(&["check", path(&guests)]);
    for expected in [
        "hooks: authenticate, authorize, transform, sink, events, timer",
        "publishes messages, where it is granted",
        "--add publish:made/by/# --add secret:token",
        "its messages have: topic, payload, properties, client",
        "a broker of this version takes it",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(ok(&["check", path(&guests), "--config", r#"{"mode":"pass"}"#]).contains("fits"));
    let (code, said) = plugin(&["check", path(&guests), "--config", r#"{"mode":"nonsense"}"#]);
    assert_eq!(code, 4);
    assert!(said.contains("/mode"), "{said}");
}

#[test]
fn what_is_no_plugin_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let good = std::fs::read(component("hello_transform")).unwrap();
    let (from, to) = ("lifecycle@1.0.0", "lifecycle@9.0.0");
    let place = (0..good.len()).find(|place| good[*place..].starts_with(from.as_bytes()));
    let mut other = good.clone();
    other[place.unwrap()..][..to.len()].copy_from_slice(to.as_bytes());
    for (file, code, expected) in [
        (write("text.wasm", b"no wasm"), 4, "no WebAssembly at all"),
        (write("core.wasm", b"\0asm\x01\0\0\0"), 4, "not a component"),
        (
            write("cut.wasm", &good[..good.len() / 2]),
            4,
            "no valid WebAssembly component",
        ),
        (write("other.wasm", &other), 4, "1.0"),
        (folder.path().join("missing.wasm"), 1, "No such file"),
        (folder.path().to_owned(), 2, "no Cargo.toml"),
    ] {
        for verb in ["check", "test", "bench"] {
            let (found, said) = plugin(&[verb, path(&file)]);
            assert_eq!(found, code, "{verb} {}: {said}", file.display());
            assert!(said.contains(expected), "{verb} {}: {said}", file.display());
        }
    }
}

#[test]
fn tests_run_on_the_component_and_say_what_failed() {
    let folder = tempfile::tempdir().unwrap();
    let hello = component("hello_transform");
    let cases = folder.path().join("cases.json");
    let case = |name: &str, expect: &str| {
        let given = r#"{"topic":"t","payload":"x"}"#;
        format!(
            r#"{{"name":"{name}","given":{given},"expect":{{"modify":{{"payload":"{expect}"}}}}}}"#
        )
    };
    let words = [
        "test",
        path(&hello),
        "--cases",
        path(&cases),
        "--config",
        r#"{"greeting":"hi"}"#,
    ];
    std::fs::write(&cases, format!("[{}]", case("greets", "hi, x"))).unwrap();
    let said = ok(&words);
    assert!(
        said.contains("greets") && said.contains("0 failed"),
        "{said}"
    );
    assert!(said.contains("5 B"), "the size of what came out: {said}");
    std::fs::write(
        &cases,
        format!("[{},{}]", case("greets", "hi, x"), case("shouts", "HI")),
    )
    .unwrap();
    let (code, said) = plugin(&words);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("shouts: ") && said.contains("1 failed"),
        "{said}"
    );
    std::fs::write(&cases, r#"[{"name":"no message"}]"#).unwrap();
    let (code, said) = plugin(&words);
    assert_eq!(code, 4);
    assert!(
        said.contains("is no test") && said.contains("given"),
        "{said}"
    );
    std::fs::write(&cases, "[").unwrap();
    assert_eq!(plugin(&words).0, 1);
}

#[test]
fn calls_are_measured() {
    let hello = component("hello_transform");
    let words = [
        "bench",
        path(&hello),
        "--count",
        "2000",
        "--config",
        r#"{"greeting":"hi"}"#,
    ];
    let said = ok(&words);
    for expected in ["2000 calls", "256 bytes", "p99", "modify 2000", "memory"] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let guests = component("witmq_test_guests");
    let words = ["bench", path(&guests), "--config", r#"{"mode":"trap"}"#];
    let (code, said) = plugin(&words);
    assert_eq!(code, 1);
    assert!(said.contains("call 0"), "{said}");
    let (code, said) = plugin(&["bench", path(&hello), "--topic", "a/#"]);
    assert_eq!(code, 2, "{said}");
    assert_eq!(plugin(&["bench", path(&hello), "--count", "0"]).0, 2);
}
