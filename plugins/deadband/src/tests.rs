//! What passes, on both sides of each bound.

use super::*;
use witmq_sdk::assert_outcome;
use witmq_sdk::testing::TestBroker;

type Broker = TestBroker<Deadband>;

const PASS: Outcome = Outcome::Pass;
const CONSUME: Outcome = Outcome::Consume;

fn start(config: &str) -> Broker {
    Broker::start(config).unwrap()
}

fn retained(payload: &str) -> Message {
    Message {
        retain: true,
        ..Message::new("t", payload)
    }
}

#[test]
fn the_vectors_of_the_manifest_hold() {
    assert_eq!(Broker::run_vectors(), 6);
}

#[test]
fn without_a_band_any_change_passes() {
    let mut broker = start("{}");
    assert_outcome!(broker,
        ("t", "20") => PASS,
        ("t", "20.0") => CONSUME,
        ("t", " 2e1\n") => CONSUME,
        ("t", "20.000001") => PASS,
        ("other", "20") => PASS,
        ("t", "-0") => PASS,
        ("t", "0") => CONSUME,
    );
}

#[test]
fn a_change_is_measured_from_the_last_value_that_passed() {
    let mut broker = start(r#"{"absolute":0.5}"#);
    assert_outcome!(broker,
        ("t", "20") => PASS,
        ("t", "20.25") => CONSUME,
        ("t", "20.5") => CONSUME,
        ("t", "19.5") => CONSUME,
        ("t", "20.51") => PASS,
        ("t", "20.02") => CONSUME,
        ("t", "20") => PASS,
    );
}

#[test]
fn percent_is_that_of_the_last_value_and_of_zero_everything_is_more() {
    let mut broker = start(r#"{"percent":10}"#);
    assert_outcome!(broker,
        ("t", "-200") => PASS,
        ("t", "-220") => CONSUME,
        ("t", "-180") => CONSUME,
        ("t", "-221") => PASS,
        ("t", "0") => PASS,
        ("t", "0") => CONSUME,
        ("t", "1e-9") => PASS,
    );
    // With both, either is enough.
    let mut broker = start(r#"{"percent":10,"absolute":5}"#);
    assert_outcome!(broker,
        ("t", "100") => PASS,
        ("t", "105") => CONSUME,
        ("t", "106") => PASS,
        ("t", "10") => PASS,
        ("t", "11") => CONSUME,
        ("t", "11.5") => PASS,
    );
}

#[test]
fn the_largest_numbers_do_not_confuse_it() {
    let mut broker = start(r#"{"absolute":1e300}"#);
    assert_outcome!(broker,
        ("t", "1.7e308") => PASS,
        ("t", "1.7e308") => CONSUME,
        ("t", "-1.7e308") => PASS,
    );
}

#[test]
fn silence_ends_when_its_time_is_up_or_the_clock_was_set_back() {
    let mut broker = start(r#"{"absolute":1,"max_silence_s":10}"#);
    assert_outcome!(broker, ("t", "1") => PASS);
    broker.advance_ms(9_999).unwrap();
    assert_outcome!(broker, ("t", "1") => CONSUME);
    broker.advance_ms(1).unwrap();
    assert_outcome!(broker, ("t", "1") => PASS, ("t", "1") => CONSUME);
    let earlier = Message {
        received_ms: 1,
        ..Message::new("t", "1")
    };
    assert_outcome!(broker, earlier.clone() => PASS, earlier => CONSUME);
}

#[test]
fn without_max_silence_it_never_ends() {
    let mut broker = start("{}");
    assert_outcome!(broker, ("t", "1") => PASS);
    broker.advance_ms(u64::from(u32::MAX) * 1000).unwrap();
    assert_outcome!(broker, ("t", "1") => CONSUME);
}

#[test]
fn what_is_no_number_passes_and_makes_the_next_number_news() {
    let mut broker = start("{}");
    let long = format!("1{}", " ".repeat(NUMBER_BYTES));
    for other in [
        "", "warm", "NaN", "-inf", "infinity", "1e999", "0x10", "1,5", &long,
    ] {
        assert_outcome!(broker, ("t", "1") => PASS, ("t", "1") => CONSUME, ("t", other) => PASS);
    }
    assert_outcome!(broker, ("t", b"\xFF") => PASS);
    assert_eq!(broker.counter("not_a_number"), 10);
    let just = format!("1{}", " ".repeat(NUMBER_BYTES - 1));
    assert_outcome!(broker, ("t", "1") => PASS, ("t", just) => CONSUME);
}

#[test]
fn what_is_no_number_is_refused_if_asked_for_and_changes_nothing() {
    let mut broker = start(r#"{"not_a_number":"refuse"}"#);
    assert_outcome!(broker, ("t", "1") => PASS);
    for other in ["warm", "NaN", ""] {
        let refused = Outcome::refuse(0x99, "payload on t: it is not a number");
        assert_outcome!(broker, ("t", other) => refused, ("t", "1") => CONSUME);
    }
}

#[test]
fn fields_have_bands_of_their_own_and_any_of_them_is_enough() {
    let config = r#"{"absolute":1,"fields":[{"path":"/c"},{"path":"/motor/rpm","percent":10},{"path":"/list/0"}]}"#;
    let mut broker = start(config);
    assert_outcome!(broker,
        ("t", r#"{"c":20,"motor":{"rpm":1000},"x":1}"#) => PASS,
        ("t", r#"{"c":21,"motor":{"rpm":1100},"x":2}"#) => CONSUME,
        ("t", r#"{"c":21.5,"motor":{"rpm":1100}}"#) => PASS,
        // Of what is not there nothing is said.
        ("t", r#"{"motor":{"rpm":1100}}"#) => CONSUME,
        ("t", r#"{"motor":{"rpm":1300}}"#) => PASS,
        ("t", r#"{"c":21.5}"#) => CONSUME,
        ("t", r#"{"c":21.5,"list":[5]}"#) => PASS,
        ("t", r#"{"list":[6]}"#) => CONSUME,
    );
}

#[test]
fn a_field_that_is_no_number_or_a_payload_without_any_is_not_compared() {
    let mut broker = start(r#"{"fields":[{"path":"/c"},{"path":"/d"}],"not_a_number":"refuse"}"#);
    for (payload, reason) in [
        (r#"{"c":null}"#, "`/c` is not a number"),
        (r#"{"c":1,"d":"2"}"#, "`/d` is not a number"),
        ("{}", "it has none of the fields"),
        ("[1]", "it has none of the fields"),
        ("1", "it has none of the fields"),
    ] {
        let refused = Outcome::refuse(0x99, format!("payload on t: {reason}"));
        assert_outcome!(broker, ("t", payload) => refused);
    }
    for payload in ["", "warm", r#"{"c":1e999}"#, &"[".repeat(100_000)] {
        let outcome = broker.send(("t", payload)).unwrap();
        assert!(
            matches!(
                outcome,
                Outcome::Refuse {
                    reason_code: 0x99,
                    ..
                }
            ),
            "{outcome:?}"
        );
    }
}

#[test]
fn a_retained_message_passes_where_the_last_one_was_not_and_an_empty_one_forgets() {
    let mut broker = start(r#"{"not_a_number":"refuse"}"#);
    assert_outcome!(broker,
        ("t", "1") => PASS,
        retained("1") => PASS,
        retained("1") => CONSUME,
        ("t", "1") => CONSUME,
        retained("") => PASS,
        retained("1") => PASS,
    );
}

#[test]
fn topics_are_bounded_and_those_that_go_are_counted() {
    let mut broker = start(r#"{"max_topics":2}"#);
    assert_outcome!(broker, ("a", "1") => PASS, ("b", "1") => PASS);
    assert_eq!(
        (broker.counter("evicted"), broker.gauge("topics")),
        (0, Some(2.0))
    );
    assert_outcome!(broker, ("a", "1") => CONSUME, ("c", "1") => PASS);
    assert_eq!(
        (broker.counter("evicted"), broker.gauge("topics")),
        (1, Some(2.0))
    );
    assert_outcome!(broker, ("a", "1") => CONSUME, ("b", "1") => PASS);
    assert_eq!(broker.counter("consumed"), 2);
}

#[test]
fn a_swap_forgets_nothing() {
    let mut broker = start(r#"{"absolute":1,"max_silence_s":10}"#);
    assert_outcome!(broker, ("t", "1") => PASS, retained("5") => PASS, ("other", "1") => PASS);
    broker.advance_ms(5000).unwrap();
    broker.swap(r#"{"absolute":1,"max_silence_s":10}"#).unwrap();
    assert_outcome!(broker, retained("6") => CONSUME, ("other", "1") => CONSUME);
    broker.advance_ms(5000).unwrap();
    assert_outcome!(broker, ("t", "5") => PASS);
}

#[test]
fn a_swap_to_fewer_topics_keeps_the_latest_and_one_to_other_fields_those_they_share() {
    let mut broker = start("{}");
    assert_outcome!(broker, ("a", "1") => PASS, ("b", "1") => PASS, ("a", "1") => CONSUME);
    broker.swap(r#"{"max_topics":1}"#).unwrap();
    assert_outcome!(broker, ("a", "1") => CONSUME);
    assert_eq!(broker.counter("evicted"), 1);

    let mut broker = start(r#"{"fields":[{"path":"/a"},{"path":"/b"}]}"#);
    assert_outcome!(broker, ("t", r#"{"a":1,"b":2,"c":3}"#) => PASS);
    broker
        .swap(r#"{"fields":[{"path":"/b"},{"path":"/c"}]}"#)
        .unwrap();
    assert_outcome!(broker,
        ("t", r#"{"a":9,"b":2}"#) => CONSUME,
        ("t", r#"{"a":9,"b":2,"c":3}"#) => PASS,
        ("t", r#"{"b":2,"c":3}"#) => CONSUME,
    );
    broker.swap("{}").unwrap();
    assert_outcome!(broker, ("t", "2") => PASS);
}

#[test]
fn what_is_handed_over_fits_whatever_the_topics_are() {
    let mut broker = start(r#"{"max_topics":50000}"#);
    for number in 0..200 {
        let topic = format!("{number}/{}", "x".repeat(60_000));
        assert_outcome!(broker, (topic, "1") => PASS);
    }
    assert_eq!(
        (broker.gauge("topics"), broker.counter("evicted")),
        (Some(14.0), 186)
    );
    for number in 0..60_000 {
        assert_outcome!(broker, (number.to_string(), "1") => PASS);
    }
    let state = broker.with(Deadband::shut_down).unwrap();
    assert!(
        (500_000..1_048_576).contains(&state.len()),
        "{}",
        state.len()
    );
    broker.swap("{}").unwrap();
    assert!(broker.logged().is_empty());
    assert_outcome!(broker, ("59999", "1") => CONSUME, ("50000", "1") => CONSUME, ("49999", "1") => PASS);
}

#[test]
fn a_state_of_somebody_else_is_refused_and_harms_nothing() {
    let mut broker = start("{}");
    assert_outcome!(broker, ("t", "1") => PASS);
    let state = broker.with(Deadband::shut_down).unwrap();
    for cut in 0..state.len() {
        let adopted = broker.with(|plugin| plugin.adopt(&state[..cut]));
        // Cut behind the paths, it is the state of nothing.
        assert_eq!(adopted.is_ok(), cut == 3, "{cut}");
    }
    assert!(broker.with(|plugin| plugin.adopt(&[2, 0, 0])).is_err());
    assert_outcome!(broker, ("t", "1") => CONSUME);
}

#[test]
fn configurations_that_cannot_work_are_refused_in_words() {
    for (config, expected) in [
        (r#"{"fields":[{"path":"c"}]}"#, "as `/c`"),
        (
            r#"{"fields":[{"path":"/c"},{"path":"/c"}]}"#,
            "`/c` is there twice",
        ),
        (r#"{"fields":[{"path":""}]}"#, "characters"),
        (r#"{"absolute":-1}"#, "less than 0"),
        (r#"{"percent":-0.1}"#, "less than 0"),
        (r#"{"max_silence_s":0}"#, "less than 1"),
        (r#"{"max_topics":0}"#, "less than 1"),
        (r#"{"max_topics":50001}"#, "more than 50000"),
        (r#"{"not_a_number":"drop"}"#, "expected one of"),
        (r#"{"absolut":1}"#, "unknown field"),
    ] {
        let error = Broker::start(config).unwrap_err();
        assert!(error.contains(expected), "{config}: {error}");
    }
    let fields: Vec<_> = (0..65)
        .map(|number| format!(r#"{{"path":"/{number}"}}"#))
        .collect();
    let config = |count: usize| format!(r#"{{"fields":[{}]}}"#, fields[..count].join(","));
    assert!(Broker::start(config(64)).is_ok() && Broker::start(config(65)).is_err());
}
