//! The manifest accounts for every statement, every case is there for one or for a trap, and no proof is missing.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use witmq_conformance::cases;
use witmq_conformance::manifest::{self, Status};

#[test]
fn every_statement_has_a_status_and_every_case_a_statement() {
    let statements = manifest::read().unwrap();
    let known = cases::all();
    let mut ids = BTreeSet::new();
    let mut cited = BTreeSet::new();
    for statement in &statements {
        assert!(
            ids.insert((statement.level, statement.id.clone())),
            "{} twice",
            statement.id
        );
        assert_ne!(
            statement.status,
            Status::NotMet,
            "{}: argue it in the report",
            statement.id
        );
        let Status::Tested(names) = &statement.status else {
            continue;
        };
        for name in names {
            let case = known.iter().find(|case| case.name == name);
            let fits = case.is_some_and(|case| case.levels.contains(&statement.level));
            assert!(
                fits,
                "{} of level {} cites {name}",
                statement.id, statement.level
            );
            cited.insert(name.clone());
        }
    }
    let traps = traps();
    for case in &known {
        assert!(
            cited.contains(case.name) || traps.iter().any(|proof| proof == case.name),
            "neither a statement nor a line of {TRAPS} cites {}",
            case.name
        );
    }
    let count = |level| {
        statements
            .iter()
            .filter(|statement| statement.level == level)
            .count()
    };
    assert_eq!((count(4), count(5)), (COUNT_311, COUNT_5));
}

const TRAPS: &str = "host/docs/traps.md";

/// Lines of its tables of behaviour; the one of clients says itself where its proof is.
fn rows(text: &str) -> impl Iterator<Item = &str> {
    let parts = text
        .split("\n## ")
        .filter(|part| !part.starts_with("Clients"));
    parts
        .flat_map(str::lines)
        .filter(|line| line.starts_with("| "))
}

/// Every proof that the page of traps names: what its last column has in backticks.
fn traps() -> Vec<String> {
    let text = std::fs::read_to_string(witmq_e2e::root().join(TRAPS)).unwrap();
    let last = rows(&text).filter_map(|line| line.trim_end_matches(" |").rsplit(" | ").next());
    let proofs = last.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    proofs.map(str::to_owned).collect()
}

#[test]
fn every_trap_has_its_proof() {
    let text = std::fs::read_to_string(witmq_e2e::root().join(TRAPS)).unwrap();
    let without = rows(&text).filter(|line| !line.ends_with("` |") && !line.ends_with("proof |"));
    assert_eq!(
        without.collect::<Vec<_>>(),
        [""; 0],
        "lines without a proof"
    );
    let known = cases::all();
    let proofs = traps();
    assert!(proofs.len() > 80, "{} proofs were read", proofs.len());
    for proof in proofs {
        let Some((file, name)) = proof.split_once("::") else {
            assert!(
                known.iter().any(|case| case.name == proof),
                "{TRAPS}: there is no case {proof}"
            );
            continue;
        };
        let source = std::fs::read_to_string(witmq_e2e::root().join(file));
        let source = source.unwrap_or_else(|error| panic!("{TRAPS}: {file}: {error}"));
        assert!(
            source.contains(&format!("fn {name}(")),
            "{TRAPS}: {file} has no test {name}"
        );
    }
}

/// Normative statements of appendix B of either standard.
const COUNT_311: usize = 138;
const COUNT_5: usize = 251;
