//! Chains of one text have the same steps in memory, and nothing else in common.

use super::{message, text, through};
use crate::chain::Chain;
use crate::{Rules, RulesConfig};
use std::sync::Arc;
use witmq_broker::ports::RuleControl;

const STEPS: &str = "
[[step]]
filter = 'payload.c > 1'
[[step]]
publish = 'out/{b}'
payload = 'payload.c'
";

fn chain(rules: &Rules, name: &str) -> Arc<Chain> {
    rules.inner.state().deployed[name].chain.clone()
}

fn are_shared(rules: &Rules, one: &str, other: &str) -> bool {
    Arc::ptr_eq(&chain(rules, one).steps, &chain(rules, other).steps)
}

#[test]
fn chains_that_differ_in_topic_words_and_tests_share_their_steps() {
    let (rules, _) = Rules::new(RulesConfig::default());
    let test = |site: u32| {
        format!(
            "[[test]]\nname = 'of {site}'\ngiven = {{ topic = 's/{site}/x', payload = {{ c = 2 }} }}\n\
             expect = [{{ topic = 'out/x', payload = 2 }}]\n"
        )
    };
    let texts = [
        ("a", format!("from = 's/1/{{b}}'\n{STEPS}{}", test(1))),
        ("b", format!("from = 's/1717/{{b}}'\n{STEPS}{}", test(1717))),
        ("c", format!("from = ['s/2/{{b}}', 's/3/{{b}}']\n{STEPS}")),
        (
            "d",
            format!("description = 'hall'\nfrom = 's/4/{{b}}'{STEPS}"),
        ),
        (
            "e",
            format!("description = 'roof'\nfrom = 's/5/{{b}}'{STEPS}"),
        ),
        (
            "more",
            format!("from = 's/6/{{b}}'\n{}", STEPS.replace("> 1", "> 9")),
        ),
        ("named", format!("from = 's/{{a}}/{{b}}'\n{STEPS}")),
        (
            "rate",
            format!("from = 's/7/{{b}}'\n{STEPS}[[step]]\nrate = {{ limit = 1, per = '1s' }}\n"),
        ),
        (
            "rates",
            format!("from = 's/8/{{b}}'\n{STEPS}[[step]]\nrate = {{ limit = 1, per = '1s' }}\n"),
        ),
    ];
    for (name, text) in &texts {
        let applied = rules.apply(&format!("{name}.toml"), text, false);
        applied.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    assert!(are_shared(&rules, "a", "b"));
    assert!(are_shared(&rules, "d", "e"));
    for (one, other) in [
        ("a", "c"), // the brackets of a list are text
        ("a", "d"), // other lines
        ("a", "more"),
        ("a", "named"),
        ("rate", "rates"),
    ] {
        assert!(!are_shared(&rules, one, other), "{one} {other}");
    }

    let mut chains = rules.shard_chains();
    let run = through(&mut chains, &message("s/1717/x", "{\"c\":3}"));
    let said: Vec<String> = run.emissions.iter().map(|it| text(it)).collect();
    assert_eq!(said, ["out/x 3", "out/x 3"], "of `b` and `named`");
    let passed = |name: &str| rules.info(name).unwrap().steps[0].passed;
    assert_eq!((passed("a"), passed("b")), (0, 1), "each counts for itself");
}

#[test]
fn what_nobody_has_any_more_is_forgotten_and_errors_say_the_line() {
    let (rules, _) = Rules::new(RulesConfig::default());
    let of = |site: u32| format!("from = 's/{site}/{{b}}'{STEPS}");
    for site in 0..3 {
        rules
            .apply(&format!("c{site}.toml"), &of(site), false)
            .unwrap();
    }
    let steps = Arc::downgrade(&chain(&rules, "c0").steps);
    assert!(are_shared(&rules, "c0", "c2"));
    through(&mut rules.shard_chains(), &message("s/2/x", "[]"));
    let error = rules.info("c2").unwrap().last_error.unwrap();
    assert!(error.starts_with("3:11: "), "{error}");
    assert_eq!(rules.info("c0").unwrap().last_error, None);
    for site in 0..3 {
        let other = of(site).replace("> 1", "> 2");
        rules
            .apply(&format!("c{site}.toml"), &other, false)
            .unwrap();
    }
    assert_eq!(steps.strong_count(), 0);
    assert!(are_shared(&rules, "c0", "c2"));
}
