//! The manifest accounts for every statement, and every case is there for one.
#![allow(clippy::unwrap_used, reason = "tests")]

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
    for case in &known {
        assert!(
            cited.contains(case.name),
            "no statement cites {}",
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

/// Normative statements of appendix B of either standard.
const COUNT_311: usize = 138;
const COUNT_5: usize = 251;
