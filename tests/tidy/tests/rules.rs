//! Each rule of the house fails on a bad snippet and is silent on a good one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use witmq_tidy::arrows::{Allowed, Package};
use witmq_tidy::source::{Function, Source};
use witmq_tidy::{layout, paths, records, size, tree, words};

const BLOCKS: &str = "\
```arrows
proto:
broker: proto
net admin: broker proto
plugins/*: sdk
sdk:
```
```owners
wasmtime: runtime
rustls tokio-rustls: net
```
```closed
proto: bytes thiserror
```
";

fn package(name: &str, folder: &str, uses: &[&str]) -> Package {
    let uses = uses.iter().map(|name| (*name).to_owned()).collect();
    Package {
        name: name.to_owned(),
        folder: folder.to_owned(),
        uses,
        ..Package::default()
    }
}

fn arrows(tried: Package) -> Vec<String> {
    let mut packages = vec![tried];
    for name in ["proto", "broker", "net", "admin", "sdk"] {
        if packages.iter().all(|one| one.name != name) {
            packages.push(package(name, "host/x", &[]));
        }
    }
    let found = Allowed::read(BLOCKS).unwrap().check(&packages);
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn an_arrow_between_siblings_is_found() {
    assert_eq!(
        arrows(package("net", "host/net", &["broker", "admin"])),
        ["net: may not use admin"]
    );
    assert!(arrows(package("net", "host/net", &["broker", "proto", "rustls"])).is_empty());
}

#[test]
fn an_arrow_of_tests_is_found_too_but_a_crate_may_use_itself() {
    let mut net = package("net", "host/net", &[]);
    net.tests_use = vec!["net".to_owned(), "admin".to_owned()];
    assert_eq!(arrows(net), ["net: may not use admin"]);
}

#[test]
fn a_plugin_that_sees_the_host_is_found() {
    assert_eq!(
        arrows(package("auth", "plugins/auth", &["broker"])),
        ["auth: may not use broker"]
    );
    assert!(arrows(package("auth", "plugins/auth", &["sdk"])).is_empty());
}

#[test]
fn a_crate_without_a_line_is_found() {
    assert_eq!(
        arrows(package("new", "host/new", &[])),
        ["new: has no line in the `arrows` block"]
    );
}

#[test]
fn an_external_crate_in_the_wrong_room_is_found() {
    assert_eq!(
        arrows(package("net", "host/net", &["wasmtime"])),
        ["net: uses wasmtime, which only runtime may"]
    );
}

#[test]
fn a_longer_list_of_a_closed_crate_is_found() {
    let found = arrows(package("proto", "host/proto", &["bytes", "tokio"]));
    assert_eq!(
        found,
        ["proto: uses tokio, and its `closed` list is without it"]
    );
}

#[test]
fn a_document_without_blocks_is_found() {
    assert_eq!(Allowed::read("nothing").unwrap_err().len(), 3);
    let unreadable = BLOCKS.replace("broker: proto", "broker to proto");
    assert!(
        Allowed::read(&unreadable).unwrap_err()[0]
            .to_string()
            .contains(":3: is to read")
    );
    let twice = BLOCKS.replace("sdk:\n", "sdk:\nsdk:\n");
    assert!(
        Allowed::read(&twice).unwrap_err()[0]
            .to_string()
            .contains("names sdk twice")
    );
}

fn function_of(lines: usize) -> String {
    format!(
        "//! Head.\nfn long() {{\n{}}}\n",
        "    step();\n\n    // a comment\n".repeat(lines)
    )
}

#[test]
fn a_function_is_measured_in_lines_of_code() {
    assert!(size::check("a.rs", &function_of(70)).is_empty());
    let found = size::check("a.rs", &function_of(71));
    assert_eq!(
        found[0].to_string(),
        "a.rs:2: fn long has 71 lines, at most 70: name its parts"
    );
}

#[test]
fn a_file_is_measured_in_lines() {
    assert!(size::check("a.rs", &"//! Line.\n".repeat(600)).is_empty());
    assert_eq!(size::check("a.rs", &"//! Line.\n".repeat(601)).len(), 1);
    assert!(size::long("a.rs", &"//! Line.\n".repeat(400)).is_none());
    assert!(size::long("a.rs", &"//! Line.\n".repeat(401)).is_some());
}

#[test]
fn functions_are_found_where_they_are() {
    let source = Source::new(
        "trait T { fn none(&self); }\n/* fn a() {} /* nested */ */\nfn one<const N: usize>(f: fn() -> [u8; 2]) -> u8 {\n\
         let s = \"} fn x() {\"; let c = '}'; let l: &'static str = r#\"}\"\n\"#;\n 1 }\nfn two() { }\n",
    );
    let function = |name: &str, line, lines| Function {
        name: name.to_owned(),
        line,
        lines,
    };
    assert_eq!(
        source.functions(),
        [function("one", 3, 3), function("two", 7, 0)]
    );
}

#[test]
fn a_file_without_a_head_is_found() {
    assert!(words::head("a.rs", "//! Owns a.\n").is_empty());
    assert_eq!(words::head("a.rs", "use std::fmt;\n//! Late.\n").len(), 1);
    assert_eq!(words::head("a.rs", "").len(), 1);
}

#[test]
fn unfinished_work_is_found_in_code_and_in_comments() {
    let found = |text: &str| words::unfinished("a.rs", text).len();
    assert_eq!(found(concat!("fn a() { to", "do!() }\n")), 1);
    assert_eq!(found(concat!("fn a() { un", "implemented!(\"x\") }\n")), 1);
    assert_eq!(found(concat!("// FIX", "ME later\n")), 1);
    assert_eq!(found("let text = \"todo!()\"; // todo!() in words\n"), 0);
    assert_eq!(found("my_todo!()\n"), 0);
}

#[test]
fn a_clock_in_a_sans_io_crate_is_found() {
    let bad = "//! Head.\nfn a() { let now = Instant::now(); }\n";
    let found = words::pure("host/broker/src/shard/mod.rs", bad);
    assert!(
        found[0]
            .to_string()
            .starts_with("host/broker/src/shard/mod.rs:2: `Instant::now`")
    );
    assert!(
        words::pure("host/net/src/driver.rs", bad).is_empty(),
        "net may"
    );
    for path in [
        "host/broker/src/shard/tests.rs",
        "host/broker/src/testing.rs",
        "host/proto/src/tests/a.rs",
    ] {
        assert!(words::pure(path, bad).is_empty(), "tests may: {path}");
    }
    let tested = "//! Head.\n#[cfg(test)]\nmod tests { fn a() { Instant::now(); } }\n";
    assert!(
        words::pure("host/broker/src/will.rs", tested).is_empty(),
        "tests may"
    );
    assert!(
        words::pure("host/proto/src/x.rs", "//! Not `std::fs`.\n").is_empty(),
        "prose may"
    );
}

#[test]
fn a_path_of_one_machine_is_found() {
    let found = |text: &str| paths::check("a.md", text).len();
    assert_eq!(found(concat!("cd /ho", "me/me/witmq\n")), 1);
    assert_eq!(found(concat!("x = \"/ro", "ot/.cargo\"\n")), 1);
    assert_eq!(
        found(concat!(
            "sensors/ho",
            "me/1 https://example.com/ro",
            "ot/\n"
        )),
        0
    );
    assert_eq!(found("/tmp/x /etc/witmq/witmq.toml\n"), 0);
}

#[test]
fn a_surplus_or_missing_room_is_found() {
    let good = [
        ".ci/run",
        "Cargo.toml",
        "Cargo.lock",
        "CHANGELOG.md",
        "README.md",
        "deny.toml",
        "examples/a",
        "host/a",
        "plugins/a",
        "sdk/a",
        "tests/a",
        "wit/a",
    ];
    assert!(layout::top(good).is_empty());
    let text: Vec<_> = layout::top(good.into_iter().chain(["scripts/x.sh"]))
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(text, ["scripts: is no room of this house: put it into one"]);
    let text: Vec<_> = layout::top(good.into_iter().skip(2))
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(text, ["Cargo.toml: is missing at the top of the tree"]);
}

#[test]
fn a_crate_without_the_lints_is_found() {
    assert!(layout::lints("Cargo.toml", "[package]\n\n[lints]\nworkspace = true\n").is_empty());
    assert_eq!(
        layout::lints("Cargo.toml", "[package]\nworkspace = true\n").len(),
        1
    );
    assert_eq!(
        layout::lints("Cargo.toml", "[lints]\nrust.unsafe_code = \"allow\"\n").len(),
        1
    );
}

#[test]
fn a_decision_without_number_or_line_is_found() {
    let check = |paths: &[&str], list: &str| -> Vec<String> {
        records::decisions(paths.iter().copied(), list)
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    let list = "- [Shards](0001-shards.md)\n";
    assert!(
        check(
            &["host/docs/adr/README.md", "host/docs/adr/0001-shards.md"],
            list
        )
        .is_empty()
    );
    assert_eq!(check(&["host/docs/adr/Shards.md"], "").len(), 1);
    assert!(
        check(&["host/docs/adr/0001-shards.md"], "")[0]
            .ends_with("is not listed in host/docs/adr/README.md")
    );
    assert!(
        check(
            &["host/docs/adr/0001-shards.md", "host/docs/adr/0001-mail.md"],
            "(0001-mail.md)(0001-shards.md)"
        )[0]
        .ends_with("has the number of 0001-shards.md")
    );
    assert_eq!(
        check(&[], list),
        ["host/docs/adr/README.md:1: lists 0001-shards.md, which is not there"]
    );
}

#[test]
fn a_list_of_changes_without_a_version_is_found() {
    assert!(records::changes("# Changes\n\n## 0.1.0\n").is_empty());
    assert_eq!(records::changes("# Changes\n").len(), 1);
}

#[test]
fn this_repository_is_read_without_git_too() {
    let folder = std::env::temp_dir().join(format!("witmq-tidy-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("host/target")).unwrap();
    std::fs::write(folder.join("host/a.rs"), "//! A.").unwrap();
    std::fs::write(folder.join("host/target/b.rs"), "//! B.").unwrap();
    std::fs::write(folder.join("host/binary"), [0xff, 0xfe]).unwrap();
    let files = tree::files(&folder).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(
        files
            .iter()
            .map(|file| file.path.as_str())
            .collect::<Vec<_>>(),
        ["host/a.rs"]
    );
}
