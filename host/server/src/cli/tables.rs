//! `witmq table …`.
//!
//! Owns: what a file of entries may look like. Must not: know what a table holds beyond JSON.

use super::args::TableCommand;
use super::remote::{Remote, encode};
use super::{CliError, print, table};
use serde_json::{Map, Value};
use std::path::Path;

/// Entries asked for at a time.
const PAGE: u64 = 1000;
/// Bytes of entries sent at a time.
const CHUNK_BYTES: usize = 512 * 1024;

type Entries = Vec<(String, Value)>;

pub(crate) fn run(command: TableCommand) -> Result<(), CliError> {
    match command {
        TableCommand::Ls { table, admin } => {
            let remote = Remote::new(&admin)?;
            match table {
                Some(table) => entries(&remote, &table),
                None => list(&remote),
            }
        }
        TableCommand::Get { table, key, admin } => {
            let value = Remote::new(&admin)?.read(&path(&table, &key))?;
            print(&value.to_string());
            Ok(())
        }
        TableCommand::Put {
            table,
            key,
            value,
            admin,
        } => {
            let remote = Remote::new(&admin)?;
            remote.put(&path(&table, &key), "application/json", value.as_bytes())?;
            print(&format!("{key}: set"));
            Ok(())
        }
        TableCommand::Rm {
            table, key, admin, ..
        } => {
            let remote = Remote::new(&admin)?;
            match key {
                Some(key) => {
                    remote.delete(&path(&table, &key))?;
                    print(&format!("{key}: removed"));
                }
                None => {
                    let answer = remote.delete(&format!("tables/{}", encode(&table)))?;
                    print(&format!("{table}: {} keys removed", answer["removed"]));
                }
            }
            Ok(())
        }
        TableCommand::Load {
            table,
            file,
            key,
            admin,
        } => {
            let entries = read(&file, key.as_deref())?;
            let count = load(&Remote::new(&admin)?, &table, entries)?;
            print(&format!("{table}: {count} keys set"));
            Ok(())
        }
    }
}

fn path(table: &str, key: &str) -> String {
    format!("tables/{}/{}", encode(table), encode(key))
}

fn list(remote: &Remote) -> Result<(), CliError> {
    let list = remote.read("tables")?;
    let rows: Vec<Vec<String>> = (list.as_array().into_iter().flatten())
        .map(|info| {
            let name = info["name"].as_str().unwrap_or_default().to_owned();
            vec![name, info["keys"].to_string(), info["bytes"].to_string()]
        })
        .collect();
    table(&["NAME", "KEYS", "BYTES"], &rows);
    Ok(())
}

/// All entries, page by page, a line each.
fn entries(remote: &Remote, name: &str) -> Result<(), CliError> {
    let mut after = String::new();
    loop {
        let page = remote.read(&format!("tables/{}?limit={PAGE}{after}", encode(name)))?;
        for (key, value) in page["entries"].as_object().into_iter().flatten() {
            print(&format!("{} {value}", Value::from(key.as_str())));
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={}", encode(next)),
            None => return Ok(()),
        }
    }
}

/// Sends entries, some at a time; how many.
fn load(remote: &Remote, name: &str, entries: Entries) -> Result<usize, CliError> {
    let (mut chunk, mut bytes, mut sent) = (Map::new(), 0, 0);
    let mut send = |chunk: &mut Map<String, Value>| {
        let count = chunk.len();
        let body = Value::Object(std::mem::take(chunk));
        let answer = remote.post_json(&format!("tables/{}", encode(name)), &body);
        answer.map_err(|error| error.hint(format!("{sent} keys were set before")))?;
        sent += count;
        Ok(sent)
    };
    for (key, value) in entries {
        bytes += key.len() + value.to_string().len() + 8;
        if bytes > CHUNK_BYTES && !chunk.is_empty() {
            send(&mut chunk)?;
            bytes = 0;
        }
        chunk.insert(key, value);
    }
    send(&mut chunk)
}

fn read(file: &Path, key: Option<&str>) -> Result<Entries, CliError> {
    let shown = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|error| CliError::failed(format!("cannot read {shown}: {error}")))?;
    let parsed = match file.extension().and_then(|extension| extension.to_str()) {
        Some("json") => from_json(&text, key),
        Some("csv") => from_csv(&text, key),
        _ => Err("it is neither .json nor .csv".to_owned()),
    };
    parsed.map_err(|cause| CliError::failed(format!("{shown}: {cause}")))
}

/// `{"KEY": VALUE, …}`, or a list of objects, one field of which is the key.
fn from_json(text: &str, key: Option<&str>) -> Result<Entries, String> {
    let json: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let items = match (json, key) {
        (Value::Object(fields), None) => return Ok(fields.into_iter().collect()),
        (Value::Array(items), Some(key)) => items.into_iter().map(move |item| (key, item)),
        (Value::Array(_), None) => return Err("a list needs --key FIELD".to_owned()),
        _ => return Err("it is neither an object nor a list with --key FIELD".to_owned()),
    };
    let entry = |(number, (key, item)): (usize, (&str, Value))| {
        let name = match &item[key] {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return Err(format!("element {}: no text or number `{key}`", number + 1)),
        };
        Ok((name, item))
    };
    items.enumerate().map(entry).collect()
}

/// A line of headings, and an object of each line behind it.
fn from_csv(text: &str, key: Option<&str>) -> Result<Entries, String> {
    let mut lines = records(text)?.into_iter();
    let (_, headings) = lines.next().ok_or("it is empty")?;
    let place = match key {
        None => 0,
        Some(key) => (headings.iter().position(|heading| heading == key))
            .ok_or_else(|| format!("there is no column `{key}`"))?,
    };
    let entry = |(line, cells): (usize, Vec<String>)| {
        if cells.len() != headings.len() {
            let (found, wanted) = (cells.len(), headings.len());
            return Err(format!(
                "line {line}: {found} cells, the headings are {wanted}"
            ));
        }
        let name = cells.get(place).cloned().unwrap_or_default();
        let fields = headings.iter().cloned().zip(cells.into_iter().map(cell));
        Ok((name, Value::Object(fields.collect())))
    };
    lines.map(entry).collect()
}

/// What JSON takes for a number, true or false is that; everything else is text, `007` too.
fn cell(text: String) -> Value {
    match serde_json::from_str(&text) {
        Ok(value @ (Value::Number(_) | Value::Bool(_))) => value,
        _ => Value::String(text),
    }
}

/// Cells of each line that is not empty, with its number; quoted ones may hold commas, quotes and line breaks.
fn records(text: &str) -> Result<Vec<(usize, Vec<String>)>, String> {
    let mut records = Vec::new();
    let (mut cells, mut cell) = (Vec::new(), String::new());
    let (mut line, mut began, mut is_quoted) = (1, 1, false);
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut rest = text.chars().peekable();
    while let Some(next) = rest.next() {
        line += usize::from(next == '\n');
        match (next, is_quoted) {
            ('"', true) if rest.peek() == Some(&'"') => cell.extend(rest.next()),
            ('"', true) => is_quoted = false,
            ('"', false) if cell.is_empty() => is_quoted = true,
            (',', false) => cells.push(std::mem::take(&mut cell)),
            ('\r', false) if rest.peek() == Some(&'\n') => {}
            ('\n', false) => {
                if !(cells.is_empty() && cell.is_empty()) {
                    cells.push(std::mem::take(&mut cell));
                    records.push((began, std::mem::take(&mut cells)));
                }
                began = line;
            }
            (other, _) => cell.push(other),
        }
    }
    if is_quoted {
        return Err(format!("line {began}: a quote is not closed"));
    }
    if !(cells.is_empty() && cell.is_empty()) {
        cells.push(cell);
        records.push((began, cells));
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(key: &str, value: Value) -> (String, Value) {
        (key.to_owned(), value)
    }

    #[test]
    fn a_csv_file_is_an_object_for_each_line() {
        let text =
            "id,name,limit,on\r\n7,\"press, \"\"old\"\"\",40.5,true\r\n\n008,\"two\nlines\",,x\n";
        let expected = [
            entry(
                "7",
                json!({ "id": 7, "name": "press, \"old\"", "limit": 40.5, "on": true }),
            ),
            entry(
                "008",
                json!({ "id": "008", "name": "two\nlines", "limit": "", "on": "x" }),
            ),
        ];
        assert_eq!(from_csv(text, None).unwrap(), expected);
        let by_name = from_csv(text, Some("name")).unwrap();
        assert_eq!(by_name[1].0, "two\nlines");
        for (text, key, expected) in [
            ("a,b\n1\n", None, "line 2: 1 cells, the headings are 2"),
            ("a,b\n1,2\n\n1,2,3", None, "line 4: 3 cells"),
            ("a\n\"x", None, "line 2: a quote is not closed"),
            ("a\n1", Some("b"), "no column `b`"),
            ("", None, "it is empty"),
        ] {
            let error = from_csv(text, key).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_json_file_is_an_object_or_a_list() {
        let object = from_json(r#"{"a":1,"b":{"c":2}}"#, None).unwrap();
        assert_eq!(
            object,
            [entry("a", json!(1)), entry("b", json!({ "c": 2 }))]
        );
        let list = from_json(r#"[{"id":7,"x":1},{"id":"8"}]"#, Some("id")).unwrap();
        let expected = [
            entry("7", json!({ "id": 7, "x": 1 })),
            entry("8", json!({ "id": "8" })),
        ];
        assert_eq!(list, expected);
        for (text, key, expected) in [
            ("[{}]", None, "--key FIELD"),
            ("[{}]", Some("id"), "element 1: no text or number `id`"),
            ("7", None, "neither an object nor a list"),
            ("{", None, "EOF"),
        ] {
            let error = from_json(text, key).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
