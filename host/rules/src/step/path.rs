//! Where in a payload: `a.b`, `list[0].c`, `list[-1]`, `"a name.with dots".x`.

use crate::payload::Doc;
use serde_json::{Map, Value as Json};

/// Names and places of one path.
const PARTS: usize = 32;

/// A field of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Field(String),
    /// From 0, or from the end if it is negative.
    Index(i64),
}

impl Path {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no path of fields, as in a.b, list[0].c or \"a.b\".c");
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() || parts.is_empty() {
            if let Some(behind) = rest.strip_prefix('[').filter(|_| !parts.is_empty()) {
                let (number, behind) = behind.split_once(']').ok_or_else(wrong)?;
                parts.push(Part::Index(number.parse().map_err(|_| wrong())?));
                rest = behind;
            } else {
                let name = match parts.is_empty() {
                    true => rest,
                    false => rest.strip_prefix('.').ok_or_else(wrong)?,
                };
                let (name, behind) = field(name).ok_or_else(wrong)?;
                parts.push(Part::Field(name));
                rest = behind;
            }
            if parts.len() > PARTS {
                return Err(format!("a path has at most {PARTS} names and places"));
            }
        }
        Ok(Self(parts))
    }

    /// Whether it is the name of a field of the payload itself.
    pub(crate) fn is_name(&self) -> bool {
        matches!(self.0[..], [Part::Field(_)])
    }

    /// Writes there; objects on the way are made, lists are not.
    pub(crate) fn put_in(&self, doc: &mut Doc, value: Json) -> Result<(), String> {
        match (doc, self.0.split_first()) {
            (Doc::Flat(flat), Some((Part::Field(name), []))) => flat.set(name, value),
            (Doc::Flat(flat), Some((Part::Field(name), rest))) => {
                if let Some(field) = flat.get_mut(name) {
                    return put(rest, field, value);
                }
                let mut field = Json::Null;
                put(rest, &mut field, value)?;
                flat.set(name, field);
            }
            (Doc::Tree(json), _) => put(&self.0, json, value)?,
            (Doc::Flat(_), Some((Part::Index(_), _)) | None) => {
                unreachable!("a path begins with a name")
            }
        }
        Ok(())
    }

    /// Takes out what is there, if it is.
    pub(crate) fn delete_in(&self, doc: &mut Doc) {
        match (doc, self.0.split_first()) {
            (Doc::Flat(flat), Some((Part::Field(name), []))) => flat.remove(name),
            (Doc::Flat(flat), Some((Part::Field(name), rest))) => {
                if let Some(field) = flat.get_mut(name) {
                    delete(rest, field);
                }
            }
            (Doc::Tree(json), _) => delete(&self.0, json),
            (Doc::Flat(_), Some((Part::Index(_), _)) | None) => {}
        }
    }
}

fn put(parts: &[Part], root: &mut Json, value: Json) -> Result<(), String> {
    let mut at = root;
    for part in parts {
        at = match part {
            Part::Field(name) => {
                if at.is_null() {
                    *at = Json::Object(Map::new());
                }
                let object = at.as_object_mut();
                let object =
                    object.ok_or_else(|| format!("set: `{name}` is not within an object"))?;
                object.entry(name.clone()).or_insert(Json::Null)
            }
            Part::Index(index) => {
                let list = at.as_array_mut();
                let list = list.ok_or_else(|| format!("set: [{index}] is not within a list"))?;
                let count = list.len();
                place(*index, count)
                    .and_then(|place| list.get_mut(place))
                    .ok_or_else(|| format!("set: there is no [{index}] in a list of {count}"))?
            }
        };
    }
    *at = value;
    Ok(())
}

fn delete(parts: &[Part], root: &mut Json) {
    let Some((last, parents)) = parts.split_last() else {
        return;
    };
    let mut at = root;
    for part in parents {
        let next = match (part, at) {
            (Part::Field(name), Json::Object(fields)) => fields.get_mut(name),
            (Part::Index(index), Json::Array(list)) => {
                place(*index, list.len()).and_then(|place| list.get_mut(place))
            }
            _ => None,
        };
        let Some(next) = next else { return };
        at = next;
    }
    match (last, at) {
        (Part::Field(name), Json::Object(fields)) => drop(fields.remove(name)),
        (Part::Index(index), Json::Array(list)) => {
            if let Some(place) = place(*index, list.len()) {
                list.remove(place);
            }
        }
        _ => {}
    }
}

/// The name at the beginning, and what is behind it.
fn field(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(['.', '[']).unwrap_or(text.len());
        let (name, behind) = text.split_at_checked(end)?;
        let is_name = !name.is_empty() && !name.contains(['"', ']']);
        return is_name.then(|| (name.to_owned(), behind));
    };
    let mut name = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((name, quoted.get(at + 1..)?)),
            '\\' => name.push(chars.next()?.1),
            c => name.push(c),
        }
    }
    None
}

fn place(index: i64, count: usize) -> Option<usize> {
    let place = match usize::try_from(index) {
        Ok(place) => place,
        Err(_) => count.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?,
    };
    (place < count).then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Format;
    use serde_json::json;

    /// Read as a whole, and not.
    fn docs(json: &Json) -> [Doc; 2] {
        let flat = Format::Json.open(&json.to_string().into());
        let flat = flat.unwrap().unwrap();
        assert!(matches!(flat, Doc::Flat(_)));
        [flat, Doc::Tree(json.clone())]
    }

    fn written(doc: &Doc) -> String {
        let bytes = Format::Json.close(doc).unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn fields_and_elements_are_written_and_taken_out() {
        let given = json!({"a": {"b": 1}, "l": [{"c": 1}, {"c": 2}], "a.b": 3, "n": null});
        for (path, put, deleted) in [
            (
                "a.b",
                json!({"a": {"b": 9}, "l": given["l"], "a.b": 3, "n": null}),
                json!({"a": {}, "l": given["l"], "a.b": 3, "n": null}),
            ),
            (
                "l[0].c",
                json!({"a": given["a"], "l": [{"c": 9}, {"c": 2}], "a.b": 3, "n": null}),
                json!({"a": given["a"], "l": [{}, {"c": 2}], "a.b": 3, "n": null}),
            ),
            (
                "l[-1]",
                json!({"a": given["a"], "l": [{"c": 1}, 9], "a.b": 3, "n": null}),
                json!({"a": given["a"], "l": [{"c": 1}], "a.b": 3, "n": null}),
            ),
            (
                "\"a.b\"",
                json!({"a": given["a"], "l": given["l"], "a.b": 9, "n": null}),
                json!({"a": given["a"], "l": given["l"], "n": null}),
            ),
            (
                "n.x.\"y\\\"\"",
                json!({"a": given["a"], "l": given["l"], "a.b": 3, "n": {"x": {"y\"": 9}}}),
                given.clone(),
            ),
        ] {
            let path_ = Path::parse(path).unwrap();
            for doc in docs(&given) {
                let mut changed = doc.clone();
                path_.put_in(&mut changed, json!(9)).unwrap();
                assert_eq!(written(&changed), put.to_string(), "{path}");
                let mut changed = doc;
                path_.delete_in(&mut changed);
                assert_eq!(written(&changed), deleted.to_string(), "{path}");
            }
        }
    }

    #[test]
    fn what_is_not_there_is_told_or_left() {
        let given = json!({"a": 1, "l": [1, 2]});
        for (path, expected) in [
            ("a.b", "set: `b` is not within an object"),
            ("a[0]", "set: [0] is not within a list"),
            ("l[2]", "set: there is no [2] in a list of 2"),
            ("l[-3]", "set: there is no [-3] in a list of 2"),
            ("l.x", "set: `x` is not within an object"),
        ] {
            let path = Path::parse(path).unwrap();
            for mut doc in docs(&given) {
                assert_eq!(path.put_in(&mut doc, json!(9)).unwrap_err(), expected);
                path.delete_in(&mut doc);
                assert_eq!(written(&doc), given.to_string(), "{path:?}");
            }
        }
    }

    #[test]
    fn bad_paths_are_refused_and_long_ones_too() {
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "[0]",
            "a[",
            "a[]",
            "a[x]",
            "a[0]b",
            "a]",
            "\"a",
            "\"a\"b",
            "a\"",
            "a[9999999999999999999]",
        ] {
            assert!(Path::parse(bad).is_err(), "{bad}");
        }
        assert!(Path::parse(&vec!["a"; 32].join(".")).is_ok());
        let error = Path::parse(&vec!["a"; 33].join(".")).unwrap_err();
        assert!(error.contains("at most 32"), "{error}");
    }
}
