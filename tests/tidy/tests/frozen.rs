//! The rules about released versions of the plugin interface fail on what breaks them, and are silent on what does not.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use witmq_tidy::wit::Package;
use witmq_tidy::{Finding, frozen};

#[track_caller]
fn nothing(found: &[Finding]) {
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    let count = lines.len();
    assert!(found.is_empty(), "{count} findings:\n{}", lines.join("\n"));
}

const FIRST: &str = "
package a:b@1.0.0;
/// Docs.
interface types { record message { topic: string, payload: list<u8> } }
interface store {
    variant problem { full, other(string) }
    get: func(key: string) -> result<option<list<u8>>, problem>;
}
interface hook { use types.{message}; enum outcome { pass, stop } run: func(m: message) -> outcome; }
world guest { import store; export hook; }
";

fn package(text: &str) -> Package {
    Package::of_text(text).unwrap_or_else(|error| panic!("{error}"))
}

/// What is found when a part of the first version becomes something else.
fn changed(from: &str, to: &str) -> String {
    assert!(FIRST.contains(from));
    let now = package(&FIRST.replace(from, to));
    let first = package(FIRST);
    let found = [now.missing(&first), now.unmarked(&first)].concat();
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

#[test]
fn docs_order_and_marked_additions_are_free() {
    assert_eq!(changed("/// Docs.", "/// Other docs."), "");
    assert_eq!(
        changed("import store; export hook;", "export hook; import store;"),
        ""
    );
    let grown = "@1.1.0;\n@since(version = 1.1.0)\ninterface more { f: func(); }\n";
    assert_eq!(changed("@1.0.0;\n", grown), "");
    let get = "    get: func";
    let put = format!("    @since(version = 1.1.0)\n    put: func(key: string);\n{get}");
    let first = package(FIRST);
    let now = FIRST.replace("@1.0.0", "@1.1.0").replace(get, &put);
    nothing(&package(&now).missing(&first));
    nothing(&package(&now).unmarked(&first));
}

#[test]
fn what_components_rely_on_may_neither_go_nor_change() {
    for (from, to, words) in [
        (
            "payload: list<u8> }",
            "payload: list<u8>, qos: u8 }",
            "type types.message is `record { topic: string, payload: list<u8>, qos: u8 }`, and was",
        ),
        (
            "full, other(string)",
            "full, busy, other(string)",
            "type store.problem is",
        ),
        ("pass, stop", "stop, pass", "type hook.outcome is"),
        (
            "get: func(key: string)",
            "get: func(name: string)",
            "function store.get is",
        ),
        ("run: func", "run: async func", "function hook.run is"),
        (
            "get: func",
            "fetch: func",
            "function store.get is not there any more",
        ),
        (
            "import store; ",
            "",
            "store, import of world guest is not there any more",
        ),
        (
            "run: func",
            "stop: func(); run: func",
            "function hook.stop is new in an interface that components made for 1.0.0 export",
        ),
    ] {
        let text = changed(from, to);
        assert!(text.contains(words), "{from} -> {to}: {text}");
    }
}

#[test]
fn an_addition_says_since_when_it_is_there() {
    let text = changed("@1.0.0;\n", "@1.1.0;\ninterface more { f: func(); }\n");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        text.starts_with("wit: interface more is new since 1.0.0: mark it"),
        "{text}"
    );
    let text = changed("    get: func", "    put: func();\n    get: func");
    assert!(
        text.starts_with("wit: function store.put is new since 1.0.0"),
        "{text}"
    );
}

#[test]
fn frozen_files_are_found_by_their_digests() {
    let root = std::env::temp_dir().join(format!("witmq-tidy-{}", std::process::id()));
    let wit = "wit/since-1.0/types.wit";
    std::fs::create_dir_all(root.join("wit/since-1.0")).unwrap();
    std::fs::write(root.join(wit), "x").unwrap();
    let good = format!("{}  {wit}\n", frozen::digest(b"x"));
    let check = |list: &str, paths: &[&str]| -> Vec<String> {
        let found = frozen::check(&root, list, paths.iter().copied());
        found.iter().map(ToString::to_string).collect()
    };
    let readme = "tests/guests/released/README.md";
    assert!(check(&good, &[wit, readme, "wit/types.wit"]).is_empty());
    let found = check("", &[wit]);
    assert!(
        found[0].starts_with("wit/since-1.0/types.wit: is not in wit/frozen.sha256"),
        "{found:?}"
    );
    std::fs::write(root.join(wit), "y").unwrap();
    let found = check(&good, &[wit]);
    assert!(
        found[0].contains("was changed, and a released version never changes"),
        "{found:?}"
    );
    std::fs::remove_file(root.join(wit)).unwrap();
    assert!(check(&good, &[])[0].contains("cannot be read"));
    assert!(check("abc\n", &[])[0].starts_with("wit/frozen.sha256:1: `abc` is no digest"));
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn a_line_cannot_go_with_its_file() {
    let line = |path: &str| format!("{}  {path}\n", frozen::digest(path.as_bytes()));
    let first = [
        line("wit/since-1.0/a.wit"),
        line("tests/guests/released/1.0.0/a.wasm"),
    ]
    .concat();
    let second = [
        line("wit/since-1.1/a.wit"),
        line("tests/guests/released/1.1.0/a.wasm"),
    ]
    .concat();
    let (one, two) = (
        frozen::digest(first.as_bytes()),
        frozen::digest(second.as_bytes()),
    );
    let check = |list: &str, known: &[(&str, &str)]| -> Vec<String> {
        let found = frozen::releases(list, known);
        found.iter().map(ToString::to_string).collect()
    };
    let known = [("1.0", &*one), ("1.1", &*two)];
    let both = format!("{first}{second}");
    assert!(check(&both, &known).is_empty());
    assert!(check(&first, &known[..1]).is_empty());
    for line in both.lines() {
        let rest = both.replace(&format!("{line}\n"), "");
        let found = check(&rest, &known);
        assert_eq!(found.len(), 1, "{line}: {found:?}");
        assert!(
            found[0].contains("are not those of its release"),
            "{found:?}"
        );
    }
    assert_eq!(check("", &known).len(), 2, "the whole list");
    let found = check(&both, &known[..1]);
    assert!(
        found[0].contains(&format!("(\"1.1\", \"{two}\")")),
        "{found:?}"
    );
}
