//! Lists of which a message tells a part.
//!
//! An element such as the participants of a visit is made of several fields and segments. A field that
//! is empty says nothing of its entries, and an entry may say by an action code what becomes of it
//! alone. Such an entry has an id of its own in its resource, by which it is found again.
//!
//! Spec: v2 S10, S12

use super::Json;
use crate::fhir::json::Value;

/// How ids of entries begin that are told of by action codes.
const MARK: &str = "v2-";
/// How long the part of such an id is that is the same for all values of one segment.
const LONG: usize = MARK.len() + 16;

/// An element that is to go.
#[derive(Clone, Debug, PartialEq)]
pub struct Removal {
    /// The way to it: `name`, `contact[0].telecom`, `extension[http://..]`.
    pub path: String,
    /// In which entries of the list that the way begins with: those that have this.
    pub slot: Option<Json>,
}

impl From<&str> for Removal {
    fn from(path: &str) -> Self {
        Self { path: path.to_owned(), slot: None }
    }
}

/// What a message says of a list beside the entries that it tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    /// The element.
    pub element: String,
    /// What entries have of which it says nothing, for their field is empty.
    pub silent: Vec<Json>,
    /// The ids of entries that it deletes.
    pub gone: Vec<String>,
    /// Whether those that are told of by codes are all there are.
    pub is_all: bool,
}

/// The id of an entry, from the digest of what it is known by.
pub fn mark(digest: &[u8]) -> String {
    let start = digest.iter().take(8).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    format!("{MARK}{start:016x}")
}

/// Whether an entry is told of by action codes.
pub fn is_coded(entry: &Value<'static>) -> bool {
    mark_of(entry).is_some()
}

fn mark_of<'v>(entry: &'v Value<'_>) -> Option<&'v str> {
    entry.str_at("id").filter(|id| id.starts_with(MARK) && id.is_char_boundary(LONG))
}

/// What all entries of one segment have in their ids.
fn stem(mark: &str) -> &str {
    mark.get(..LONG).unwrap_or(mark)
}

impl Part {
    /// The list of now: each entry that stays keeps its place, those with ids come last.
    pub fn merged(
        &self,
        stored: Vec<Value<'static>>,
        said: Vec<Value<'static>>,
    ) -> Vec<Value<'static>> {
        let (mut coded, mut plain): (Vec<_>, Vec<_>) = said.into_iter().partition(is_coded);
        let (known_coded, known): (Vec<_>, Vec<_>) = stored.into_iter().partition(is_coded);
        let says_plain = !plain.is_empty();
        let is_silent = |one: &Value<'static>| {
            let object = one.as_object();
            object.is_some_and(|object| self.silent.iter().any(|slot| has(object, slot)))
        };
        let mut all = Vec::new();
        for one in known {
            if coded.iter().any(|new| is_same(new, &one)) {
                // It was told of without a code before.
            } else if let Some(at) = plain.iter().position(|new| *new == one) {
                all.push(plain.remove(at));
            } else if !(says_plain || self.is_all) || is_silent(&one) {
                all.push(one);
            }
        }
        all.append(&mut plain);
        let told: Vec<String> =
            coded.iter().filter_map(mark_of).map(|mark| stem(mark).to_owned()).collect();
        for one in known_coded {
            let own = mark_of(&one).unwrap_or_default();
            let is_told = told.iter().any(|told| told == stem(own));
            if let Some(at) = coded.iter().position(|new| mark_of(new) == Some(own)) {
                all.push(patched(one, coded.remove(at)));
            } else if !is_told && !self.is_all && !self.gone.iter().any(|gone| gone == stem(own)) {
                all.push(one);
            }
        }
        all.append(&mut coded);
        all
    }
}

/// Whether an entry told of by a code is this one without its id.
fn is_same(coded: &Value<'static>, plain: &Value<'static>) -> bool {
    let Value::Object(mut bare) = coded.clone() else { return false };
    bare.remove("id");
    plain.as_object() == Some(&bare)
}

/// An entry as a new telling of it patches it: what is not told stays. A reference is told whole.
fn patched(stored: Value<'static>, said: Value<'static>) -> Value<'static> {
    let (Value::Object(mut now), Value::Object(said)) = (stored, said.clone()) else { return said };
    if said.contains("reference") {
        return Value::Object(said);
    }
    for (name, value) in said {
        let value = match now.get(&name) {
            Some(before) if name == "period" => patched(before.clone(), value),
            _ => value,
        };
        now.set(name, value);
    }
    Value::Object(now)
}

/// Whether an object has all that another one has.
pub fn has(object: &Json, wanted: &Json) -> bool {
    wanted.iter().all(|(name, wanted)| object.get(name).is_some_and(|own| holds(own, wanted)))
}

fn holds(own: &Value<'static>, wanted: &Value<'static>) -> bool {
    match (own, wanted) {
        (Value::Object(own), Value::Object(wanted)) => has(own, wanted),
        (Value::Array(own), Value::Array(wanted)) => {
            wanted.iter().all(|wanted| own.iter().any(|own| holds(own, wanted)))
        }
        (own, wanted) => own == wanted,
    }
}

#[cfg(test)]
mod tests {
    use crate::fhir::json::parse;

    use super::*;

    fn entries(text: &str) -> Vec<Value<'static>> {
        let value = parse(text.as_bytes()).unwrap().into_owned();
        value.as_array().map(<[_]>::to_vec).unwrap()
    }

    fn merged(part: &Part, stored: &str, said: &str) -> String {
        let all = part.merged(entries(stored), entries(said));
        // Twice the same is the same.
        assert_eq!(part.merged(all.clone(), entries(said)), all, "{stored} {said}");
        Value::from(all).to_text()
    }

    const A: &str = r#"{"id":"v2-00000000000000aa","period":{"start":"2026","end":"2027"},"x":1}"#;
    const B: &str = r#"{"id":"v2-00000000000000bb","x":2}"#;

    /// Covers: v2 S12.
    #[test]
    fn an_entry_with_an_id_stays_until_it_is_deleted() {
        let part = Part::default();
        let gone = Part { gone: vec!["v2-00000000000000aa".to_owned()], ..Part::default() };
        let all = Part { is_all: true, ..Part::default() };
        let patch = r#"{"id":"v2-00000000000000aa","period":{"start":"2025"}}"#;
        let patched =
            r#"{"id":"v2-00000000000000aa","period":{"start":"2025","end":"2027"},"x":1}"#;
        let plain = r#"{"x":9}"#;
        for (part, stored, said, expected) in [
            (&part, format!("[{A}]"), "[]".to_owned(), format!("[{A}]")),
            (&part, format!("[{A}]"), format!("[{B}]"), format!("[{A},{B}]")),
            (&part, format!("[{A}]"), format!("[{plain}]"), format!("[{plain},{A}]")),
            (&part, format!("[{plain},{A}]"), format!("[{B}]"), format!("[{plain},{A},{B}]")),
            (&part, format!("[{A},{B}]"), format!("[{patch}]"), format!("[{patched},{B}]")),
            (&gone, format!("[{plain},{A},{B}]"), "[]".to_owned(), format!("[{plain},{B}]")),
            (&gone, format!("[{B}]"), "[]".to_owned(), format!("[{B}]")),
            (&gone, format!("[{A}]"), "[]".to_owned(), "[]".to_owned()),
            (&all, format!("[{A},{B}]"), format!("[{plain}]"), format!("[{plain}]")),
            // What was told of without a code is not there twice.
            (&part, r#"[{"x":2}]"#.to_owned(), format!("[{B}]"), format!("[{B}]")),
        ] {
            assert_eq!(merged(part, &stored, &said), expected, "{stored} {said}");
        }
    }

    #[test]
    fn values_of_one_segment_go_together() {
        let two = r#"[{"id":"v2-00000000000000aa","reference":"A/1"},{"id":"v2-00000000000000aa-2","reference":"A/2"}]"#;
        let one = r#"[{"id":"v2-00000000000000aa","reference":"A/3","display":"C"}]"#;
        let gone = Part { gone: vec!["v2-00000000000000aa".to_owned()], ..Part::default() };
        assert_eq!(merged(&Part::default(), two, one), one);
        assert_eq!(merged(&Part::default(), one, two), two);
        assert_eq!(merged(&gone, two, "[]"), "[]");
    }

    /// Covers: v2 S10.
    #[test]
    fn entries_of_a_field_that_is_empty_stay() {
        let slot = |code: &str| match entries(&format!(r#"[{{"type":[{{"code":"{code}"}}]}}]"#))
            .remove(0)
        {
            Value::Object(slot) => slot,
            other => panic!("{other:?}"),
        };
        let part = Part {
            element: "participant".to_owned(),
            silent: vec![slot("REF"), slot("CON")],
            ..Part::default()
        };
        let stored = r#"[{"type":[{"code":"ATND"}],"x":1},{"type":[{"system":"s","code":"REF"}],"x":2},{"x":3}]"#;
        let said = r#"[{"type":[{"code":"ATND"}],"x":4}]"#;
        let expected =
            r#"[{"type":[{"system":"s","code":"REF"}],"x":2},{"type":[{"code":"ATND"}],"x":4}]"#;
        assert_eq!(merged(&part, stored, said), expected);
        assert_eq!(merged(&part, stored, "[]"), stored);
    }
}
