//! A chain does the same with a payload that is read where it lies and with one that is read into a tree.

use super::{deployed, message, through};
use proptest::prelude::*;
use witmq_broker::ports::{ChainOutcome, ChainRun};

/// What a chain may do; each of them fails on some payloads and goes on.
const STEPS: [&str; 14] = [
    "filter = 'payload.a > 1'",
    "filter = 'payload.b.c == 1 || has(payload.d)'",
    "filter = 'payload.b[0] < 3.5'",
    "filter = 'payload != {} && size(payload) < 6'",
    "set = { a = 'payload.b', e = 'payload.a + 1' }",
    "set = { 'b.c' = 'topic.name', 'b[-1]' = '2' }",
    "set = { 'b[0]' = 'payload.a' }",
    "set = { whole = 'payload', n = 'payload.map(k, k)' }",
    "set = { '$payload' = 'payload.b' }",
    "delete = ['a', 'b.c']",
    "delete = ['b[0]', 'none.x']",
    "set = { d = 'default(payload.d, 7)' }\ndelete = ['b']",
    "publish = 'u/{payload.d}'",
    "publish = 'u'\npayload = \"{'raw': string(raw), 'b': default(payload.b, null)}\"",
];

/// The text of a value.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[0-5]",
        "[0-5]\\.[0-9]{1,3}",
        "-?[1-9]e-?[1-9]",
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just(r#""text""#.to_owned()),
        Just(r#""é\n\u00e9""#.to_owned()),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..4);
        let map = prop::collection::vec(("[abc]", inner), 0..4);
        prop_oneof![
            list.prop_map(|items| format!("[{}]", items.join(", "))),
            map.prop_map(|fields| {
                let fields = fields.iter();
                let fields = fields.map(|(name, value)| format!("\"{name}\":{value}"));
                format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
            }),
        ]
    })
}

fn words(run: &ChainRun) -> Vec<String> {
    let message = |it: &witmq_proto::Message| super::text(it);
    let mut words: Vec<String> = run.emissions.iter().map(|it| message(it)).collect();
    words.push(match &run.outcome {
        ChainOutcome::Replaced(it) => message(it),
        other => format!("{:?}", std::mem::discriminant(other)),
    });
    words
}

proptest! {
    #[test]
    fn it_does_not_matter_how_a_payload_is_read(
        steps in prop::collection::vec(prop::sample::select(&STEPS[..]), 1..6),
        fields in prop::collection::vec(("[abd]", value()), 0..5),
    ) {
        let steps: Vec<String> = (steps.iter())
            .map(|step| format!("[[step]]\n{step}\non_error = 'continue'\n"))
            .collect();
        let file = format!("mode = 'transform'\nfrom = 't'\n{}", steps.concat());
        let (rules, mut chains) = deployed(&[("c", &file)]);
        let mut errors = Vec::new();
        let mut outcome = |name: &str| {
            let fields = fields.iter().map(|(name, value)| format!(",\"{name}\": {value}"));
            let payload = format!("{{\"{name}\":0{}}}", fields.collect::<String>());
            let run = through(&mut chains, &message("t", &payload));
            let info = witmq_broker::ports::RuleControl::list(&rules).remove(0);
            errors.push((info.failed, info.last_error));
            // `raw` is what came in.
            let written = |text: String| text.replace(r"\\u007a", "z").replace(r"\u007a", "z");
            words(&run).into_iter().map(written).collect::<Vec<_>>()
        };
        // A name with an escape is what the tree is for.
        prop_assert_eq!(outcome("z"), outcome(r"\u007a"));
        let [(once, flat), (twice, tree)] = &errors[..] else { unreachable!() };
        prop_assert_eq!((2 * once, flat), (*twice, tree));
    }
}
