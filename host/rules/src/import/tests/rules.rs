//! What EMQX's rules do, rule by rule: each is imported, and messages go through it.

use super::*;
use serde_json::json;

#[test]
fn columns_of_the_message() {
    let rule =
        "SELECT clientid, username, topic, qos, timestamp, flags.retain as kept FROM \"t/#\"";
    let wanted = json!({"clientid": "dev-7", "username": "ann", "topic": "t/1", "qos": 1,
        "timestamp": 1_795_773_600_123_u64, "kept": false});
    selects(rule, "t/1", "x", wanted);
}

#[test]
fn every_column() {
    let all = selected("SELECT * FROM \"t/#\"", "t/1", r#"{"a":1}"#).unwrap();
    assert_eq!(all["payload"], r#"{"a":1}"#);
    assert_eq!(all["flags"], json!({"retain": false}));
    assert_eq!(all["pub_props"], json!({"User-Property": {"site": "ams"}}));
    let more = "SELECT *, payload.a as a FROM \"t/#\"";
    assert_eq!(selected(more, "t/1", r#"{"a":1}"#).unwrap()["a"], 1);
}

#[test]
fn fields_keep_their_path_or_take_a_name() {
    let rule = "SELECT payload.a.b, payload.c as c, payload.c as d.e FROM \"t\"";
    let wanted = json!({"payload": {"a": {"b": 7}}, "c": "x", "d": {"e": "x"}});
    selects(rule, "t", r#"{"a":{"b":7},"c":"x"}"#, wanted);
}

#[test]
fn a_field_that_is_not_there_is_null() {
    selects(
        "SELECT payload.x.y as y FROM \"t\"",
        "t",
        "{}",
        json!({"y": null}),
    );
}

#[test]
fn a_condition_on_a_column() {
    let rule = "SELECT qos FROM \"#\" WHERE username = 'ann'";
    selects(rule, "any/topic", "x", json!({"qos": 1}));
    is_silent("SELECT qos FROM \"#\" WHERE username <> 'ann'", "any", "x");
}

#[test]
fn a_condition_on_an_alias() {
    selects(
        "SELECT clientid as cid FROM \"#\" WHERE cid = 'dev-7'",
        "t",
        "",
        json!({"cid": "dev-7"}),
    );
    is_silent(
        "SELECT clientid as cid FROM \"#\" WHERE cid = 'dev-8'",
        "t",
        "",
    );
}

#[test]
fn a_condition_on_the_payload() {
    let rule =
        "SELECT payload.temp as temp FROM \"room/+\" WHERE payload.temp > 30 and payload.temp < 50";
    selects(rule, "room/1", r#"{"temp":31.5}"#, json!({"temp": 31.5}));
    is_silent(rule, "room/1", r#"{"temp":50}"#);
    is_silent(rule, "room/1", "{}");
    is_silent(rule, "hall/1", r#"{"temp":31.5}"#);
}

#[test]
fn not_and_or_have_their_ranks() {
    let rule =
        "SELECT 1 as x FROM \"t\" WHERE not payload.a = 1 and payload.b = 2 or payload.c = 3";
    selects(rule, "t", r#"{"a":0,"b":2}"#, json!({"x": 1}));
    selects(rule, "t", r#"{"a":1,"c":3}"#, json!({"x": 1}));
    is_silent(rule, "t", r#"{"a":1,"b":2}"#);
}

#[test]
fn numbers_are_computed() {
    let rule = "SELECT payload.t * 9 / 5 + 32 as f, payload.n div 4 as d, payload.n mod 4 as m, \
        -(1 - 3) as k FROM \"t\"";
    selects(
        rule,
        "t",
        r#"{"t":20,"n":11}"#,
        json!({"f": 68.0, "d": 2, "m": 3, "k": 2.0}),
    );
}

#[test]
fn elements_count_from_one_or_from_the_end() {
    let rule = "SELECT payload.l[1] as a, payload.l[-1] as z, payload.l[2..3] as m, \
        payload.l[2].n as n, payload.l[-2..-1] as e FROM \"t\"";
    let list = r#"{"l":[{"n":1},{"n":2},{"n":3},{"n":4}]}"#;
    let n = |n: u8| json!({"n": n});
    let wanted = json!({"a": n(1), "z": n(4), "m": [n(2), n(3)], "n": 2, "e": [n(3), n(4)]});
    selects(rule, "t", list, wanted);
}

#[test]
fn lists_are_written_down() {
    selects(
        "SELECT [1, payload.a, 'x'] as l FROM \"t\"",
        "t",
        r#"{"a":2}"#,
        json!({"l": [1, 2, "x"]}),
    );
}

#[test]
fn case_when() {
    let rule = "SELECT CASE WHEN payload.x < 0 THEN 0 WHEN payload.x > 7 THEN 7 ELSE payload.x END \
        as x FROM \"t\"";
    selects(rule, "t", r#"{"x":-3}"#, json!({"x": 0}));
    selects(rule, "t", r#"{"x":9}"#, json!({"x": 7}));
    selects(rule, "t", r#"{"x":5}"#, json!({"x": 5}));
    let of = "SELECT CASE payload.s WHEN 'on' THEN 1 WHEN 'off' THEN 0 END as s FROM \"t\"";
    selects(of, "t", r#"{"s":"off"}"#, json!({"s": 0}));
    selects(of, "t", r#"{"s":"?"}"#, json!({"s": null}));
}

#[test]
fn topics_match_filters() {
    let rule = "SELECT topic FROM \"t/#\" WHERE topic =~ 't/+/temp'";
    selects(rule, "t/1/temp", "x", json!({"topic": "t/1/temp"}));
    is_silent(rule, "t/1/hum", "x");
}

#[test]
fn several_topics() {
    let rule = "SELECT topic FROM \"a/+\", 'b'";
    selects(rule, "a/1", "x", json!({"topic": "a/1"}));
    selects(rule, "b", "x", json!({"topic": "b"}));
    is_silent(rule, "c", "x");
}

#[test]
fn user_properties() {
    let rule = "SELECT pub_props.'User-Property'.site as site, client_attrs.floor as floor FROM \"t\" \
        WHERE pub_props.'User-Property'.site = 'ams'";
    selects(rule, "t", "x", json!({"site": "ams", "floor": "2"}));
}

#[test]
fn texts() {
    let rule = "SELECT upper(payload.s) as up, substr(payload.s, 1, 2) as sub, strlen(payload.s) as n, \
        concat(payload.s, '-', clientid) as c, split('a,,b', ',') as l, nth(2, tokens('a b', ' ')) as second, \
        replace(payload.s, 'b', '''') as r, sprintf_s('~s is ~p%', payload.s, qos) as f, \
        regex_match(payload.s, '^a.c$') as m, find('key=v', '=') as v FROM \"t\"";
    let wanted = json!({"up": "ABC", "sub": "bc", "n": 3, "c": "abc-dev-7", "l": ["a", "b"],
        "second": "b", "r": "a'c", "f": "abc is 1%", "m": true, "v": "=v"});
    selects(rule, "t", r#"{"s":"abc"}"#, wanted);
}

#[test]
fn kinds() {
    let rule = "SELECT is_null(payload.x) as n, is_map(payload.m) as m, is_int(payload.i) as i, \
        int(payload.t) as t, str(payload.i) as s, coalesce(payload.x, payload.i) as c FROM \"t\"";
    let wanted = json!({"n": true, "m": true, "i": true, "t": 7, "s": "4", "c": 4});
    selects(rule, "t", r#"{"m":{},"i":4,"t":"7"}"#, wanted);
}

#[test]
fn maps_and_lists() {
    let rule = "SELECT map_get('a.b', payload) as b, mget('z', payload, 'none') as z, \
        map_put('c', 1, payload.a) as c, map_keys(payload) as k, length(payload.l) as n, \
        contains(2, payload.l) as has, sublist(2, payload.l) as s FROM \"t\"";
    let wanted = json!({"b": 5, "z": "none", "c": {"b": 5, "c": 1}, "k": ["a", "l"], "n": 3,
        "has": true, "s": [1, 2]});
    selects(rule, "t", r#"{"a":{"b":5},"l":[1,2,3]}"#, wanted);
}

#[test]
fn payloads_that_are_no_json() {
    selects(
        "SELECT payload FROM \"t\" WHERE payload = 'on'",
        "t",
        "on",
        json!({"payload": "on"}),
    );
    let bytes = "SELECT subbits(payload, 1, 8) as b, bin2hexstr(payload) as h, base64_encode(payload) as e, \
        md5(payload) as m FROM \"t\"";
    let wanted =
        json!({"b": 111, "h": "6F6E", "e": "b24=", "m": "ed2b5c0139cec8ad2873829dc1117d50"});
    selects(bytes, "t", "on", wanted);
}

#[test]
fn json_in_json() {
    let rule = "SELECT json_decode(payload) as p, p.a as a, json_decode(payload.text) as inner, \
        inner.b as b FROM \"t\"";
    let payload = r#"{"a":1,"text":"{\"b\":2}"}"#;
    let wanted = json!({"p": {"a": 1, "text": "{\"b\":2}"}, "a": 1, "inner": {"b": 2}, "b": 2});
    selects(rule, "t", payload, wanted);
}

#[test]
fn times() {
    let rule = "SELECT now_timestamp() as s, now_timestamp('millisecond') as ms, \
        unix_ts_to_rfc3339(payload.at) as r, rfc3339_to_unix_ts('2026-11-27T10:00:00Z') as u, \
        format_date('second', '+08:00', '%Y-%m-%d %H:%M:%S', payload.at) as f, \
        date_to_unix_ts('second', '%Y-%m-%d', '2026-11-27') as d FROM \"t\"";
    let wanted = json!({"s": 1_795_773_600, "ms": 1_795_773_600_123_u64,
        "r": "2026-11-27T10:00:00Z", "u": 1_795_773_600, "f": "2026-11-27 18:00:00",
        "d": 1_795_737_600});
    selects(rule, "t", r#"{"at":1795773600}"#, wanted);
}

#[test]
fn each_element_of_a_list() {
    let rule = "FOREACH payload.sensors AS s DO clientid, s.name as name, s.idx as idx INCASE s.idx >= 1 \
        FROM \"t/#\" WHERE payload.on = true";
    assert_eq!(import(rule).remarks, []);
    let given =
        r#"{"on":true,"sensors":[{"name":"a","idx":0},{"name":"b","idx":1},{"name":"c","idx":2}]}"#;
    let wanted = [
        r#"rules/r {"clientid":"dev-7","idx":1,"name":"b"} 1"#,
        r#"rules/r {"clientid":"dev-7","idx":2,"name":"c"} 1"#,
    ];
    assert_eq!(came(rule, "t/1", given), wanted);
    assert!(
        came(
            rule,
            "t/1",
            r#"{"on":false,"sensors":[{"name":"a","idx":5}]}"#
        )
        .is_empty()
    );
    assert!(came(rule, "t/1", r#"{"on":true}"#).is_empty());
}

#[test]
fn each_element_without_do() {
    let rule = r#"{"sql": "FOREACH payload.l FROM \"t\"", "actions": [{"function": "republish",
        "args": {"topic": "out/${item.id}", "payload": "${item.v} of ${clientid}"}}]}"#;
    let wanted = ["out/a 1 of dev-7 1", "out/b 2 of dev-7 1"];
    assert_eq!(
        came(rule, "t", r#"{"l":[{"id":"a","v":1},{"id":"b","v":2}]}"#),
        wanted
    );
}

#[test]
fn each_element_with_columns_before_it() {
    let rule = "FOREACH payload.date as date, payload.l as e DO date, e as v FROM \"t\"";
    assert_eq!(
        came(rule, "t", r#"{"date":"d","l":[1,2]}"#),
        [
            r#"rules/r {"date":"d","v":1} 1"#,
            r#"rules/r {"date":"d","v":2} 1"#
        ]
    );
}

#[test]
fn republish_with_templates() {
    let rule = r#"{"id": "hot rooms", "sql": "SELECT payload.t as t, clientid FROM \"rooms/+\" WHERE t > 30",
        "actions": [{"function": "republish", "args": {"topic": "alerts/${clientid}",
        "payload": "{\"t\": ${t}}", "qos": 2, "retain": true}}]}"#;
    assert_eq!(import_emqx(None, "r", rule).unwrap().name, "hot-rooms");
    assert_eq!(import(rule).remarks, []);
    assert_eq!(
        came(rule, "rooms/1", r#"{"t":31}"#),
        [r#"alerts/dev-7 {"t": 31} 2 retained"#]
    );
    assert!(came(rule, "rooms/1", r#"{"t":30}"#).is_empty());
}

#[test]
fn republish_of_the_payload_and_of_everything() {
    let rule = |payload: &str| {
        format!(
            r#"{{"sql": "SELECT payload, payload.a as a FROM \"t\"", "actions": [{{"function": "republish",
            "args": {{"topic": "copy", "payload": "{payload}"}}}}]}}"#
        )
    };
    assert_eq!(
        came(&rule("${payload}"), "t", r#"{"a": 1}"#),
        [r#"copy {"a": 1} 1"#]
    );
    assert_eq!(came(&rule("${a}"), "t", r#"{"a": 1}"#), ["copy 1 1"]);
    assert_eq!(
        came(&rule(""), "t", r#"{"a": 1}"#),
        [r#"copy {"a":1,"payload":"{\"a\": 1}"} 1"#]
    );
}

#[test]
fn topics_that_come_out_wrong_are_not_published() {
    let rule = r#"{"sql": "SELECT payload.to as to FROM \"t\"", "actions": [{"function": "republish",
        "args": {"topic": "${to}", "payload": "x"}}]}"#;
    // What a payload says makes no level and no wildcard.
    assert_eq!(came(rule, "t", r#"{"to":"a/b"}"#), ["a%2Fb x 1"]);
    assert_eq!(came(rule, "t", r##"{"to":"a/#"}"##), ["a%2F%23 x 1"]);
    assert_eq!(came(rule, "t", r#"{"to":"$SYS"}"#), ["%24SYS x 1"]);
    for to in ["null", "[1]", r#""""#] {
        assert!(
            came(rule, "t", &format!(r#"{{"to":{to}}}"#)).is_empty(),
            "{to}"
        );
    }
}

#[test]
fn actions_that_are_not_there_are_said() {
    let rule = r#"{"sql": "SELECT * FROM \"t\"", "enable": false, "actions": ["webhook:w",
        {"function": "console"}, {"function": "republish", "args": {"topic": "a", "qos": "${q}"}}]}"#;
    let imported = import(rule);
    let texts: Vec<_> = imported.remarks.iter().map(|r| r.text.as_str()).collect();
    assert_eq!(texts.len(), 3, "{texts:?}");
    assert!(texts[0].contains("`webhook:w`") && texts[1].contains("`console`"));
    assert!(texts[2].contains("the qos"));
    assert!(imported.text.contains("\nenabled = false\n"));
}

#[test]
fn comments_and_case_and_semicolons() {
    let rule = "-- a comment\nselect\n Clientid from \"t\" -- and another\n;";
    assert!(
        !import(rule).remarks.is_empty(),
        "columns have small letters"
    );
    selects(
        "-- a\nselect clientid\nfrom \"t\" where Qos() = 1;",
        "t",
        "",
        json!({"clientid": "dev-7"}),
    );
}

#[test]
fn an_event_by_its_old_and_its_new_name() {
    let shown = r#"{"event":"client.disconnected","client":"dev-7","reason":"keep alive timeout","at_ms":7}"#;
    for name in ["client_disconnected", "client/disconnected"] {
        let rule = format!(
            "SELECT clientid, reason, disconnected_at as at, qos FROM \"$events/{name}\" WHERE reason <> 'normal'"
        );
        let wanted =
            json!({"clientid": "dev-7", "reason": "keep alive timeout", "at": 7, "qos": null});
        selects(&rule, "$events/client/disconnected", shown, wanted);
    }
    let dropped = r#"{"event":"message.dropped","topic":"a/b","payload":{"t":1},"from":"p"}"#;
    selects(
        "SELECT from_clientid, topic, payload.t as t FROM \"$events/delivery_dropped\"",
        "$events/message/dropped",
        dropped,
        json!({"from_clientid": "p", "topic": "a/b", "t": 1}),
    );
    let rule = "SELECT topic FROM \"$events/message_dropped\", \"t\"";
    let imported = import(rule);
    assert!(
        imported.text.contains("no chain can listen there"),
        "{}",
        imported.text
    );
}
