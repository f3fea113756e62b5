//! What an evaluation takes: `cargo test --release --package witmq-rules --lib -- --ignored --nocapture bench`.

use super::*;
use crate::step::Kind;
use bytes::Bytes;
use bytestring::ByteString;
use std::time::Instant;
use witmq_proto::TopicName;
use witmq_proto::packet::{PublishProperties, QoS};

fn message(payload: String, chain: &Chain) -> Work {
    let message = Message {
        topic: TopicName::new("sensors/a/b/temp").unwrap(),
        payload: Bytes::from(payload),
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: PublishProperties::default(),
        expires_at: None,
        publisher: ByteString::from_static("c"),
        received_ms: 1,
        hops: 0,
    };
    Work::new(Arc::new(message), chain)
}

fn time(name: &str, expression: &str, payload: String, rounds: u32) {
    let text = format!(
        "from = 'sensors/{{site}}/{{room}}/temp'\n[[step]]\nfilter = \"\"\"{expression}\"\"\"\n"
    );
    let chain = crate::check::compile("a.toml", &text).unwrap();
    let Kind::Filter(filter) = &chain.steps[0].kind else {
        unreachable!()
    };
    let publisher = Publisher {
        client_id: "c",
        username: None,
        attributes: &[],
        session: 1,
    };
    let mut message = message(payload, &chain);
    let mut evaluate = || {
        std::hint::black_box(work::evaluate(
            (&chain, publisher),
            &filter.condition,
            (&mut message, None),
            &mut Fared::Well,
            |value| value.into_owned(),
        ))
    };
    let outcome = evaluate();
    (0..rounds).for_each(|_| drop(evaluate()));
    let started = Instant::now();
    (0..rounds).for_each(|_| drop(evaluate()));
    let took = started.elapsed() / rounds;
    let ends = outcome.map_or_else(|error| error, |_| "ends".to_owned());
    println!("{took:>12.3?}  {name}: {ends}");
}

#[test]
#[ignore = "a measurement"]
fn nanoseconds() {
    let small = || r#"{"c":20}"#.to_owned();
    let celsius = "payload.c * 9 / 5 + 32";
    time("arithmetic", celsius, small(), 200_000);
    time("100 elements beside", celsius, list(100), 200_000);
    let text = "topic.room + ' ' + string(payload.c)";
    time("topic and text", text, small(), 200_000);
    let calls = "round(clamp(payload.c, 0, 100) / 3, 1)";
    time("functions", calls, small(), 200_000);
}

fn list(count: usize) -> String {
    let items = vec![r#"{"a":1,"b":"x"}"#; count].join(",");
    format!(r#"{{"c":20,"l":[{items}]}}"#)
}

/// What the limits let through at most.
#[test]
#[ignore = "a measurement"]
fn dearest() {
    for expression in [
        "payload.l.all(x, payload.l.all(y, x.a == y.a))",
        "payload.l.map(x, payload.l.map(y, x.a + y.a * 2 - 1 > 0 && x.b == y.b)).size() > 0",
        "payload.l.map(x, payload.l)",
        "payload.l.distinct()",
        "payload.l.map(x, payload.l == payload.l)",
        "payload.l.map(x, jsonEncode(x)).sort()",
        "payload.l.map(x, uuid())",
        "payload.l.map(x, formatTime(0, '%c %Z', 'Europe/Berlin'))",
        "payload.l.map(x, keys(x)).flatten().distinct()",
        "payload.l.map(x, format('%.1024f %.1024f', x.a, x.a))",
    ] {
        time(expression, expression, list(10_000), 20);
    }
    let wide = format!(r#"{{"t":"{}"}}"#, "ß".repeat(100_000));
    for expression in [
        "range(1000).map(x, size(payload.t.upper()))",
        "range(1000).map(x, size(payload.t.lower()))",
        "range(1000).map(x, size(payload.t.reverse()))",
        "range(1000).map(x, size(payload.t.trim('ß')))",
        "range(1000).map(x, size(payload.t.replace('ß', 's')))",
        "range(1000).map(x, size(urlEncode(payload.t)))",
        "range(1000).map(x, size(urlDecode(urlEncode(payload.t))))",
        "range(1000).map(x, size(hexDecode(hexEncode(payload.t))))",
        "range(1000).map(x, size(base64Decode(base64Encode(payload.t))))",
        "range(1000).map(x, payload.t.lastIndexOf('x'))",
        "range(1000).map(x, size(payload.t))",
        "range(1000).map(x, size(payload.t.split('ß')))",
        "range(1000).map(x, size(padStart(payload.t, 200000, 'ß')))",
        "range(1000).map(x, equalsIgnoreCase(payload.t, payload.t))",
        "range(1000).map(x, size(jsonEncode(payload)))",
        "range(10000).map(x, default(payload.t[1], payload[payload.t], payload.t.none, 1))",
        "range(10000).exists(x, payload.t > 1 || payload.t * 2 == 1 || [payload.t] < 1)",
        "range(1000).map(x, '%s%s'.format(payload.t, payload.t).size())",
        "range(1000).map(x, crc32(payload.t))",
        "range(1000).map(x, size(bytes(payload.t).byteList()))",
        "range(1000).map(x, [payload.t, payload.t + 'a', payload.t + 'b'].sort().size())",
        "range(1000).map(x, jsonDecode('[' + '[],'.repeat(1000) + '0]').size())",
    ] {
        time(expression, expression, wide.clone(), 10);
    }
    let numbers = format!(r#"{{"l":[{}]}}"#, "[1],".repeat(5000) + "[]");
    for expression in [
        "range(1000).map(x, size(jsonEncode(payload.l)))",
        "range(1000).map(x, size(string(payload)))",
        "range(1000).map(x, payload.l.flatten().sort().size())",
        "range(1000).map(x, payload.l.flatten().map(y, {string(y): y}).size())",
        "range(1000).map(x, zip(payload.l, payload.l).size())",
        "range(1000).map(x, payload.l.flatten().median())",
        "range(1000).map(x, payload.l.contains(x))",
        "payload.l.map(x, {'a': x, 'b': x, 'c': x}).map(x, x.merge({'d': 1})).size()",
        "payload.l.map(x, {'a': x, 'b': x, 'c': x})",
    ] {
        time(expression, expression, numbers.clone(), 10);
    }
    let long = format!(r#"{{"t":"{}"}}"#, "ab".repeat(500_000));
    for expression in [
        "payload.t.split('a').join('')",
        "sha512(payload.t)",
        "payload.t.upper().lower().reverse()",
        "range(100).map(x, payload.t.contains('aa'))",
        "range(100).map(x, payload.t.indexOf('abababababababababababababababababababababababac'))",
        "range(100).map(x, hmac('sha512', payload.t, 'a'))",
    ] {
        time(expression, expression, long.clone(), 20);
    }
}

#[test]
#[ignore = "a measurement"]
fn dearest_patterns() {
    // Text on which a table of states grows for each character.
    let mut state = 1u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        if state & 1 == 0 { 'a' } else { 'b' }
    };
    let noise: String = (0..60_000).map(|_| next()).collect();
    for expression in [
        "payload.t.matches('[ab]*a[ab]{12}c')",
        "payload.t.substring(0, 9000).matches('a[ab]{100}c')",
        "payload.t.substring(0, 1000).matches('(a[ab]{300}c|b[ab]{301}d|[ab]{302}e)')",
        "payload.t.substring(0, 3000).regexFindAll('[ab]*c|[ab]').size() > 0",
        "payload.t.substring(0, 1000).regexFindAll('([ab]*a[ab]{14}c|[ab])').size() > 0",
        "payload.t.regexReplace('(a)(b)', '$2$1')",
        "range(8).exists(x, payload.t.substring(0, 1).matches('[ä-ü]{1,80}' + string(x)))",
    ] {
        let payload = format!(r#"{{"t":"{noise}"}}"#);
        time(expression, expression, payload, 10);
    }
}
