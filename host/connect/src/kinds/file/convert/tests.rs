//! A conversion that stops anywhere, and what is read from what it made.

use super::super::columns::all;
use super::*;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::RowAccessor as _;
use serde_json::json;

fn columns() -> Arc<[Column]> {
    all().into()
}

fn line(number: i64) -> String {
    let message = json!({
        "topic": "a/b", "payload": { "n": number }, "qos": 1, "retain": false, "client": "c", "received_ms": number,
    });
    format!("{message}\n")
}

/// A folder with lines that wait.
fn folder(lines: impl Iterator<Item = i64>) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a-1.jsonl.wait");
    fs::write(&path, lines.map(line).collect::<String>()).unwrap();
    (folder, path)
}

/// Numbers in a file, and how many row groups it has.
fn read(path: &Path) -> (Vec<i64>, usize) {
    let reader = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
    let groups = reader.num_row_groups();
    let rows = reader.get_row_iter(None).unwrap();
    let numbers = rows.map(|row| {
        let row = row.unwrap();
        assert_eq!(row.get_string(1).unwrap(), "a/b");
        let number = row.get_timestamp_millis(0).unwrap();
        assert_eq!(row.get_string(2).unwrap(), &format!("{{\"n\":{number}}}"));
        assert!(row.is_null(3).unwrap() && row.is_null(7).unwrap());
        number
    });
    (numbers.collect(), groups)
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn finish(path: &Path) {
    let mut again = Conversion::begin(path, columns()).unwrap();
    while again.go_on().unwrap() {}
}

#[test]
fn a_conversion_that_stops_anywhere_loses_and_doubles_nothing() {
    let count = i64::try_from(GROUP_ROWS).unwrap() + 10;
    let mut steps = 0;
    loop {
        let (folder, path) = folder(0..count);
        let mut conversion = Conversion::begin(&path, columns()).unwrap();
        let mut is_over = false;
        for _ in 0..steps {
            is_over = !conversion.go_on().unwrap();
        }
        drop(conversion); // nothing is written by that: its files are as kill -9 leaves them, or shorter
        if path.exists() {
            finish(&path);
        }
        assert_eq!(names(folder.path()), ["a-1.parquet"], "after {steps}");
        let (numbers, groups) = read(&folder.path().join("a-1.parquet"));
        assert_eq!(numbers, (0..count).collect::<Vec<_>>(), "after {steps}");
        assert_eq!(groups, 2, "a bound of rows");
        if is_over {
            break;
        }
        steps += 1;
    }
    assert!(steps >= 5, "each step was stopped behind: {steps}");
}

#[test]
fn what_another_one_left_in_its_middle_is_written_over() {
    let (folder, path) = folder(0..3);
    let part = folder.path().join("a-1.parquet.part");
    fs::write(&part, "PAR1 and then the power was lost").unwrap();
    finish(&path);
    assert_eq!(names(folder.path()), ["a-1.parquet"]);
    let (numbers, _) = read(&folder.path().join("a-1.parquet"));
    assert_eq!(numbers, [0, 1, 2]);
}

#[test]
fn a_row_group_has_a_bound_in_bytes() {
    let long = "x".repeat(GROUP_BYTES / 2);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a-1.jsonl.wait");
    let line = |number: i64| {
        let message = json!({
            "topic": long, "payload": number, "qos": 0, "retain": true, "client": "c", "received_ms": 1,
        });
        format!("{message}\n")
    };
    fs::write(&path, (0..3).map(line).collect::<String>()).unwrap();
    finish(&path);
    let file = fs::File::open(folder.path().join("a-1.parquet")).unwrap();
    let reader = SerializedFileReader::new(file).unwrap();
    assert_eq!(reader.num_row_groups(), 2);
    assert_eq!(reader.metadata().file_metadata().num_rows(), 3);
}

#[test]
fn lines_that_fit_no_more_are_kept_as_they_are() {
    let (folder, path) = folder(0..2);
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("{\"topic\": \"a/b\"}\nno JSON\n");
    text.push_str(&line(2));
    fs::write(&path, text).unwrap();
    finish(&path);
    assert_eq!(names(folder.path()), ["a-1.parquet", "a-1.rest.jsonl"]);
    let rest = fs::read_to_string(folder.path().join("a-1.rest.jsonl")).unwrap();
    assert_eq!(rest, "{\"topic\": \"a/b\"}\nno JSON\n");
    let (numbers, _) = read(&folder.path().join("a-1.parquet"));
    assert_eq!(numbers, [0, 1, 2]);
}

#[test]
fn every_type_is_read_back_as_what_it_was() {
    use crate::keys::Keys;
    use crate::place::Source;
    let text = "[columns]\ni = \"integer\"\nf = { type = \"float\", required = true }\nb = \"boolean\"\n\
        raw = { type = \"bytes\", from = \"payload_base64\" }\ns = \"text\"\n";
    let mut keys = Keys::parse(Source {
        file: "a.toml",
        text,
    })
    .unwrap();
    let columns = super::super::columns::parse(&mut keys).unwrap().unwrap();
    let (folder, path) = folder(0..0);
    let lines = [
        json!({"payload": {"i": -5, "f": 1.5, "b": true, "s": "ü"}}),
        json!({"payload": {"i": 0.5, "f": 2, "b": 1, "s": 7}}),
    ];
    fs::write(&path, lines.map(|line| format!("{line}\n")).concat()).unwrap();
    let mut conversion = Conversion::begin(&path, columns.into()).unwrap();
    while conversion.go_on().unwrap() {}
    let file = fs::File::open(folder.path().join("a-1.parquet")).unwrap();
    let reader = SerializedFileReader::new(file).unwrap();
    let rows: Vec<_> = reader
        .get_row_iter(None)
        .unwrap()
        .map(|row| row.unwrap())
        .collect();
    let [first, second] = &rows[..] else {
        panic!("{rows:?}");
    };
    assert_eq!(
        (first.get_long(0).unwrap(), first.get_double(1).unwrap()),
        (-5, 1.5)
    );
    assert!(first.get_bool(2).unwrap() && first.is_null(3).unwrap());
    assert_eq!(first.get_string(4).unwrap(), "ü");
    assert!(second.is_null(0).unwrap() && second.is_null(2).unwrap());
    assert_eq!(second.get_double(1).unwrap(), 2.0);
    assert_eq!(second.get_string(4).unwrap(), "7");
}
