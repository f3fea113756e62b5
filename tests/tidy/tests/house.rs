//! The rules of the house on this repository. Each test is one rule; its message says where and what to do.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::PathBuf;
use witmq_tidy::arrows::Allowed;
use witmq_tidy::tree::{self, File};
use witmq_tidy::wit::Package;
use witmq_tidy::{Finding, frozen, layout, paths, records, size, words};

fn files() -> Vec<File> {
    tree::files(&tree::root()).unwrap()
}

fn text(path: &str) -> String {
    std::fs::read_to_string(tree::root().join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[track_caller]
fn nothing(found: &[Finding]) {
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(
        found.is_empty(),
        "{} findings:\n{}",
        found.len(),
        lines.join("\n")
    );
}

/// A rule over every Rust file.
fn of_rust(rule: impl Fn(&str, &str) -> Vec<Finding>) -> Vec<Finding> {
    let rust = files()
        .into_iter()
        .filter(|file| file.path.ends_with(".rs"));
    rust.flat_map(|file| rule(&file.path, &file.text)).collect()
}

#[test]
fn crates_use_only_what_the_architecture_allows() {
    let allowed = Allowed::read(&text("host/docs/architecture.md"));
    let allowed = allowed.unwrap_or_else(|found| panic!("{found:?}"));
    let packages = tree::packages(&tree::root()).unwrap();
    assert!(
        packages.iter().any(|package| package.name == "witmq-proto"),
        "no packages were read"
    );
    nothing(&allowed.check(&packages));
}

#[test]
fn files_and_functions_fit_in_a_head() {
    for file in files().iter().filter(|file| file.path.ends_with(".rs")) {
        if let Some(finding) = size::long(&file.path, &file.text) {
            println!(
                "note: {finding}, {} is where to think of a second file",
                size::FILE_LINES_GOOD
            );
        }
    }
    nothing(&of_rust(size::check));
}

#[test]
fn every_file_opens_with_a_head() {
    nothing(&of_rust(words::head));
}

#[test]
fn nothing_is_left_unfinished() {
    nothing(&of_rust(words::unfinished));
}

#[test]
fn sans_io_crates_reach_for_nothing() {
    nothing(&of_rust(words::pure));
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    let texts = files()
        .into_iter()
        .filter(|file| !file.path.ends_with("-lock.json"));
    nothing(
        &texts
            .flat_map(|file| paths::check(&file.path, &file.text))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn the_top_of_the_tree_is_its_rooms() {
    nothing(&layout::top(files().iter().map(|file| file.path.as_str())));
}

#[test]
fn every_crate_takes_the_lints() {
    for package in tree::packages(&tree::root()).unwrap() {
        let manifest = format!("{}/Cargo.toml", package.folder);
        nothing(&layout::lints(&manifest, &text(&manifest)));
    }
}

#[test]
fn decisions_are_numbered_and_listed() {
    let files = files();
    let paths = files.iter().map(|file| file.path.as_str());
    nothing(&records::decisions(paths, &text("host/docs/adr/README.md")));
}

#[test]
fn changes_are_written_down() {
    nothing(&records::changes(&text("CHANGELOG.md")));
}

fn folder(path: PathBuf) -> Package {
    Package::of_folder(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Released packages, the newest last.
fn released() -> Vec<Package> {
    let folders = tree::root().join("wit").read_dir().unwrap();
    let paths = folders.map(|entry| entry.unwrap().path());
    let mut all: Vec<Package> = paths
        .filter(|path| path.is_dir())
        .map(|path| {
            let package = folder(path.clone());
            let (major, minor, _) = package.version;
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            assert_eq!(name, format!("since-{major}.{minor}"), "{}", path.display());
            package
        })
        .collect();
    all.sort_by_key(|package| package.version);
    all
}

#[test]
fn what_is_released_does_not_change() {
    let root = tree::root();
    let list = std::fs::read_to_string(root.join(frozen::LIST)).unwrap_or_default();
    let paths = tree::paths(&root).unwrap();
    nothing(&frozen::check(
        &root,
        &list,
        paths.iter().map(String::as_str),
    ));
    nothing(&frozen::releases(&list, &frozen::RELEASES));
}

#[test]
fn the_present_interface_holds_every_released_one() {
    let present = folder(tree::root().join("wit"));
    let released = released();
    for package in &released {
        if package.version.0 == present.version.0 {
            nothing(&present.missing(package));
        }
    }
    let newest = released.last();
    let newest = newest.filter(|newest| newest.version.0 == present.version.0);
    nothing(&newest.map_or_else(Vec::new, |newest| present.unmarked(newest)));
}
