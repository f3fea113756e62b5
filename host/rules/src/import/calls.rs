//! Functions of EMQX's rule SQL, and what does the same here.
//! Must not: know columns.

/// How a bare `payload` is given to a function.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// As it came, as text.
    Text,
    /// What its JSON says.
    Value,
    /// As it came, as bytes.
    Bytes,
}

/// Any number of arguments.
pub(super) const ANY: usize = usize::MAX;

/// A function: its name, how many arguments, what does it here, and how it takes a payload.
///
/// `$1` is the first argument, `$*` all of them. An argument that has to be a literal is translated: `%1` a unit of
/// time, `#1` a zone, `&1` a format of times, `~1` a format of texts.
pub(super) struct Call(
    pub(super) &'static str,
    pub(super) usize,
    pub(super) &'static str,
    pub(super) Want,
);

use Want::{Bytes, Text, Value};

/// Known by the same name, with the same arguments.
const SAME: &[(&str, usize)] = &[
    ("abs", 1),
    ("ceil", 1),
    ("floor", 1),
    ("round", 1),
    ("sqrt", 1),
    ("exp", 1),
    ("log", 1),
    ("log2", 1),
    ("log10", 1),
    ("sin", 1),
    ("cos", 1),
    ("tan", 1),
    ("asin", 1),
    ("acos", 1),
    ("atan", 1),
    ("sinh", 1),
    ("cosh", 1),
    ("tanh", 1),
    ("asinh", 1),
    ("acosh", 1),
    ("atanh", 1),
    ("random", 0),
    ("div", 2),
    ("mod", 2),
    ("bool", 1),
    ("int", 1),
    ("lower", 1),
    ("upper", 1),
    ("trim", 1),
    ("reverse", 1),
    ("concat", ANY),
    ("ascii", 1),
    ("first", 1),
    ("last", 1),
    ("coalesce", ANY),
];

const CALLS: &[Call] = &[
    Call("power", 2, "pow($1, $2)", Text),
    Call("fmod", 2, "mod($1, $2)", Text),
    Call(
        "truncate",
        2,
        "(trunc($1 * pow(10, $2)) / pow(10, $2))",
        Text,
    ),
    Call("float", 1, "double($1)", Text),
    Call("float", 2, "round(double($1), $2)", Text),
    Call("float2str", 2, "string(round($1, $2))", Text),
    Call("str", 1, "string($1)", Text),
    Call("str_utf8", 1, "string($1)", Text),
    Call("is_null", 1, "isNull($1)", Value),
    Call("is_not_null", 1, "(!isNull($1))", Value),
    Call("is_null_var", 1, "isNull($1)", Value),
    Call("is_not_null_var", 1, "(!isNull($1))", Value),
    Call("is_empty", 1, "isEmpty($1)", Value),
    Call("is_array", 1, "isList($1)", Value),
    Call("is_bool", 1, "isBool($1)", Value),
    Call("is_map", 1, "isMap($1)", Value),
    Call("is_num", 1, "isNumber($1)", Value),
    Call("is_str", 1, "isString($1)", Value),
    Call("is_int", 1, "(isNumber($1) && isWhole($1))", Value),
    Call("is_float", 1, "(isNumber($1) && !isWhole($1))", Value),
    Call("ltrim", 1, "trimStart($1)", Text),
    Call("rtrim", 1, "trimEnd($1)", Text),
    Call("strlen", 1, "size($1)", Text),
    Call("substr", 2, "substring($1, $2)", Text),
    Call("substr", 3, "substring($1, $2, $2 + $3)", Text),
    Call("split", 1, "split($1, ' ').filter(x, x != '')", Text),
    Call("split", 2, "split($1, $2).filter(x, x != '')", Text),
    Call("tokens", 2, "split($1, $2).filter(x, x != '')", Text),
    Call("sprintf_s", ANY, "~", Text),
    Call("sprintf", ANY, "~", Text),
    Call("pad", 2, "padEnd($1, $2)", Text),
    Call("replace", 3, "replace($1, $2, $3)", Text),
    Call("regex_match", 2, "matches($1, $2)", Text),
    Call("regex_replace", 3, "regexReplace($1, $2, $3)", Text),
    Call("regex_extract", 2, "regexExtract($1, $2)", Text),
    Call(
        "find",
        2,
        "(contains($1, $2) ? substring($1, indexOf($1, $2)) : '')",
        Text,
    ),
    Call("join_to_string", 1, "join($1, ', ')", Text),
    Call("join_to_string", 2, "join($2, $1)", Text),
    Call("rm_prefix", 2, "withoutPrefix($1, $2)", Text),
    Call("eq", 2, "($1 == $2)", Text),
    Call("coalesce_ne", ANY, "nonEmpty($*)", Text),
    Call("map_get", 2, "get($2, $1)", Value),
    Call("map_get", 3, "get($2, $1, $3)", Value),
    Call("mget", 2, "get($2, $1)", Value),
    Call("mget", 3, "get($2, $1, $3)", Value),
    Call("map_put", 3, "put($3, $1, $2)", Value),
    Call("mput", 3, "put($3, $1, $2)", Value),
    Call("map_keys", 1, "keys($1)", Value),
    Call("map_values", 1, "values($1)", Value),
    Call("map_to_entries", 1, "entries($1)", Value),
    Call("nth", 2, "$2[$1 - 1]", Value),
    Call("length", 1, "size($1)", Value),
    Call("sublist", 2, "slice($2, 0, $1)", Value),
    Call("sublist", 3, "slice($3, $1 - 1, $1 - 1 + $2)", Value),
    Call("contains", 2, "contains($2, $1)", Value),
    Call("range", 2, "range($1, $2 + 1)", Text),
    Call("md5", 1, "md5($1)", Bytes),
    Call("sha", 1, "sha1($1)", Bytes),
    Call("sha256", 1, "sha256($1)", Bytes),
    Call("bitnot", 1, "bitNot($1)", Text),
    Call("bitand", 2, "bitAnd($1, $2)", Text),
    Call("bitor", 2, "bitOr($1, $2)", Text),
    Call("bitxor", 2, "bitXor($1, $2)", Text),
    Call("bitsl", 2, "shiftLeft($1, $2)", Text),
    Call("bitsr", 2, "shiftRight($1, $2)", Text),
    Call("bitsize", 1, "bitSize(bytes($1))", Bytes),
    Call("bytesize", 1, "size(bytes($1))", Bytes),
    Call("subbits", 2, "subbits(bytes($1), $2)", Bytes),
    Call("subbits", 3, "subbits(bytes($1), $2, $3)", Bytes),
    Call(
        "subbits",
        6,
        "subbits(bytes($1), $2, $3, $4, $5, $6)",
        Bytes,
    ),
    Call("base64_encode", 1, "base64Encode($1)", Bytes),
    Call("base64_decode", 1, "string(base64Decode($1))", Text),
    Call("json_encode", 1, "jsonEncode($1)", Value),
    Call("json_decode", 1, "jsonDecode($1)", Text),
    Call("bin2hexstr", 1, "upper(hexEncode($1))", Bytes),
    Call("hexstr2bin", 1, "hexDecode($1)", Text),
    Call("now_timestamp", 0, "now('s')", Text),
    Call("now_timestamp", 1, "now(%1)", Text),
    Call(
        "now_rfc3339",
        0,
        "rfc3339(truncateTime(now(), 'second'))",
        Text,
    ),
    Call("now_rfc3339", 1, "rfc3339(fromUnix(now(%1), %1))", Text),
    Call("unix_ts_to_rfc3339", 1, "rfc3339(fromUnix($1, 's'))", Text),
    Call("unix_ts_to_rfc3339", 2, "rfc3339(fromUnix($1, %2))", Text),
    Call("rfc3339_to_unix_ts", 1, "toUnix(timestamp($1), 's')", Text),
    Call("rfc3339_to_unix_ts", 2, "toUnix(timestamp($1), %2)", Text),
    Call("timezone_to_second", 1, "zoneOffset(#1)", Text),
    Call("timezone_to_offset_seconds", 1, "zoneOffset(#1)", Text),
    Call("format_date", 3, "formatTime(now(), &3, #2)", Text),
    Call(
        "format_date",
        4,
        "formatTime(fromUnix($4, %1), &3, #2)",
        Text,
    ),
    Call(
        "date_to_unix_ts",
        3,
        "toUnix(parseTime($3, &2, 'UTC'), %1)",
        Text,
    ),
    Call(
        "date_to_unix_ts",
        4,
        "toUnix(parseTime($4, &3, #2), %1)",
        Text,
    ),
    Call("uuid_v4", 0, "uuid()", Text),
    Call("uuid_v4_no_hyphen", 0, "replace(uuid(), '-', '')", Text),
    Call("clientid", 0, "client.id", Text),
    Call("username", 0, "client.username", Text),
    Call("topic", 0, "topic.name", Text),
    Call("topic", 1, "level(topic.name, $1)", Text),
    Call("qos", 0, "qos", Text),
    Call("payload", 0, "string(raw)", Text),
];

/// What a call of so many arguments is here.
pub(super) fn find(name: &str, count: usize) -> Option<(String, Want)> {
    let same = SAME.iter().find(|(known, _)| *known == name);
    if let Some((name, known)) = same
        && (*known == count || *known == ANY && count > 0)
    {
        return Some((format!("{name}($*)"), Text));
    }
    let fits = |known: usize| known == count || known == ANY && count > 0;
    let found = CALLS
        .iter()
        .find(|Call(known, arguments, ..)| *known == name && fits(*arguments))?;
    Some((found.2.to_owned(), found.3))
}

/// Whether it is known with another number of arguments.
pub(super) fn is_known(name: &str) -> bool {
    SAME.iter().any(|(known, _)| *known == name)
        || CALLS.iter().any(|Call(known, ..)| *known == name)
}

/// A literal of EMQX's as one of ours: `None` if there is none.
pub(super) fn literal(kind: char, text: &str) -> Option<String> {
    match kind {
        '%' => Some(str::to_owned(match text {
            "second" => "s",
            "millisecond" => "ms",
            "microsecond" => "us",
            "nanosecond" => "ns",
            _ => return None,
        })),
        '#' => match text {
            "" | "local" => None,
            "Z" | "z" => Some("UTC".to_owned()),
            zone => Some(zone.to_owned()),
        },
        '&' => {
            let nine = text.replace("%N", "%9f");
            let fine = nine.replace("%3N", "%3f").replace("%6N", "%6f");
            Some(fine)
        }
        _ => format(text),
    }
}

/// An Erlang format as one of ours.
fn format(text: &str) -> Option<String> {
    let mut ours = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '~' => match rest.next()? {
                's' | 'p' | 'w' => ours.push_str("%s"),
                'b' => ours.push_str("%d"),
                'n' => ours.push('\n'),
                '~' => ours.push('~'),
                _ => return None,
            },
            '%' => ours.push_str("%%"),
            c => ours.push(c),
        }
    }
    Some(ours)
}
