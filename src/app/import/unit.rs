//! Pieces of input turned into Bundles that the server takes.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;

use crate::fhir::json::{Object, Value, parse};

use super::head::head;
use super::source::{Content, Piece};
use super::{Failure, Origin, Unit, UnitKind};

/// A unit and where its entries come from.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) unit: Unit,
    places: Places,
}

/// Which entry of the piece an entry of the unit is.
#[derive(Debug)]
enum Places {
    /// All entries are this one.
    One(u32),
    /// In the piece's own order.
    Same,
    /// Some of the piece's entries.
    Some(Vec<u32>),
}

impl Part {
    /// The entry of the piece that the unit's entry `at` is; `None` is the whole unit.
    pub(super) fn place(&self, at: Option<usize>) -> Option<u32> {
        match (&self.places, at) {
            (Places::One(place), _) => Some(*place),
            (Places::Same, at) => at.map(|at| at as u32),
            (Places::Some(places), at) => places.get(at?).copied(),
        }
    }

    /// All entries of the piece that the unit holds; `None` is the whole piece.
    pub(super) fn all_places(&self) -> Option<Vec<u32>> {
        match &self.places {
            Places::One(place) => Some(vec![*place]),
            Places::Same => None,
            Places::Some(places) => Some(places.clone()),
        }
    }
}

/// What a piece comes to: units to load, and what cannot be loaded at all.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub(super) parts: Vec<Part>,
    /// Failures by the entry of the piece.
    pub(super) failures: Vec<Failure>,
}

/// Turns a piece into Bundles; `only` are the entries that an earlier run could not load.
pub(super) fn prepare(piece: Piece, only: Option<&[u32]>) -> Prepared {
    let origin = Origin { path: piece.file.path.clone(), entry: piece.entry };
    match piece.content {
        Content::Unreadable(reason) => {
            Prepared { parts: Vec::new(), failures: vec![Failure::whole(reason)] }
        }
        Content::Document(text) => {
            let prepared = document(&origin, Bytes::from(text), only);
            prepared.map_or_else(
                |reason| Prepared { parts: Vec::new(), failures: vec![Failure::whole(reason)] },
                |part| Prepared { parts: part.into_iter().collect(), failures: Vec::new() },
            )
        }
        Content::Lines { text, .. } => lines(&origin, &text, only),
    }
}

fn document(origin: &Origin, text: Bytes, only: Option<&[u32]>) -> Result<Option<Part>, String> {
    let found = head(&text)?;
    let kind = match (found.resource_type, found.bundle_type) {
        (Some("Bundle"), Some("collection")) => return collection(origin, &text, only).map(Some),
        (Some("Bundle"), Some("batch")) => UnitKind::Batch,
        (Some("Bundle"), Some("transaction")) => UnitKind::Transaction,
        (Some("Bundle"), Some("document" | "message")) => return single(origin, &text).map(Some),
        (Some("Bundle"), other) => {
            return Err(format!(
                "a Bundle of type {} cannot be imported: transaction, batch and collection can",
                other.unwrap_or("unknown")
            ));
        }
        (Some(_), _) => return single(origin, &text).map(Some),
        (None, _) => return Err("there is no resourceType".to_owned()),
    };
    match only {
        Some(only) if kind == UnitKind::Batch => {
            let mut value = parse(&text).map_err(|fault| fault.to_string())?;
            let entries = value.as_object_mut().and_then(|bundle| bundle.get_mut("entry"));
            if let Some(entries) = entries.and_then(Value::as_array_mut) {
                let mut at = 0;
                entries.retain(|_| {
                    at += 1;
                    only.contains(&(at - 1))
                });
            }
            let places = Places::Some(only.to_vec());
            Ok(Some(Part { unit: unit(origin, kind, value.to_text().into()), places }))
        }
        _ => Ok(Some(Part { unit: unit(origin, kind, text), places: Places::Same })),
    }
}

fn unit(origin: &Origin, kind: UnitKind, bytes: Bytes) -> Unit {
    Unit { origin: origin.clone(), kind, bytes }
}

/// A resource of its own becomes a batch of one entry.
fn single(origin: &Origin, text: &[u8]) -> Result<Part, String> {
    let value = parse(text).map_err(|fault| fault.to_string())?;
    let mut batch = Batch::new();
    batch.add(&value, text)?;
    Ok(Part { unit: unit(origin, UnitKind::Batch, batch.finish()), places: Places::Same })
}

/// The entries of a collection become PUTs at their own ids, each for itself.
///
/// References by `urn:` to a fullUrl of the Bundle are turned to `Type/id`, since a batch does not
/// resolve them.
fn collection(origin: &Origin, text: &[u8], only: Option<&[u32]>) -> Result<Part, String> {
    let mut value = parse(text).map_err(|fault| fault.to_string())?;
    let entries = value
        .as_object_mut()
        .and_then(|bundle| bundle.get_mut("entry"))
        .and_then(Value::as_array_mut)
        .ok_or("the collection has no entry")?;
    let mut targets = HashMap::new();
    for entry in entries.iter_mut() {
        give_id(entry);
        let Some(url) = entry.str_at("fullUrl").filter(|url| url.starts_with("urn:")) else {
            continue;
        };
        let resource = entry.get("resource");
        let part = |name| resource.and_then(|resource| resource.str_at(name));
        if let (Some(resource_type), Some(id)) = (part("resourceType"), part("id")) {
            targets.insert(url.to_owned(), format!("{resource_type}/{id}"));
        }
    }
    let mut batch = Batch::new();
    let mut places = Vec::new();
    for (at, entry) in entries.iter_mut().enumerate() {
        if only.is_some_and(|only| !only.contains(&(at as u32))) {
            continue;
        }
        let resource = entry.as_object_mut().and_then(|entry| entry.get_mut("resource"));
        let resource = resource.ok_or_else(|| format!("entry[{at}] has no resource"))?;
        point(resource, &targets);
        let mut text = Vec::new();
        resource.write(&mut text);
        batch.add(resource, &text).map_err(|reason| format!("entry[{at}]: {reason}"))?;
        places.push(at as u32);
    }
    let unit = unit(origin, UnitKind::Batch, batch.finish());
    Ok(Part { unit, places: Places::Some(places) })
}

/// Gives a resource without an id the UUID of its fullUrl, so that a second run updates it.
fn give_id(entry: &mut Value<'_>) {
    let url = entry.str_at("fullUrl").and_then(|url| url.strip_prefix("urn:uuid:"));
    let Some(id) = url.map(str::to_owned) else { return };
    let resource = entry.as_object_mut().and_then(|entry| entry.get_mut("resource"));
    if let Some(resource) = resource.and_then(Value::as_object_mut)
        && !resource.contains("id")
    {
        resource.set("id", id);
    }
}

/// Turns each `reference` that is a key of `targets` to its value.
fn point(value: &mut Value<'_>, targets: &HashMap<String, String>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| point(item, targets)),
        Value::Object(object) => {
            for (name, item) in object.iter_mut() {
                match item {
                    Value::String(text) if name == "reference" => {
                        if let Some(target) = targets.get(&**text) {
                            *text = Cow::Owned(target.clone());
                        }
                    }
                    other => point(other, targets),
                }
            }
        }
        _ => {}
    }
}

/// Lines that are resources go together as one batch, lines that are Bundles each for itself.
fn lines(origin: &Origin, text: &[u8], only: Option<&[u32]>) -> Prepared {
    let mut prepared = Prepared::default();
    let mut batch = Batch::new();
    let mut places = Vec::new();
    for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let at = at as u32;
        let line = line.trim_ascii();
        if line.is_empty() || only.is_some_and(|only| !only.contains(&at)) {
            continue;
        }
        let is_bundle = head(line).is_ok_and(|head| head.resource_type == Some("Bundle"));
        let added = if is_bundle {
            // Two lines may be alike and yet be two units.
            let entry = format!("{}#{at}", origin.entry);
            let own = Origin { path: origin.path.clone(), entry };
            document(&own, Bytes::copy_from_slice(line), None).map(|part| {
                let places = Places::One(at);
                prepared.parts.extend(part.map(|part| Part { unit: part.unit, places }));
            })
        } else {
            let line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
            parse(line)
                .map_err(|fault| fault.to_string())
                .and_then(|value| batch.add(&value, line))
                .map(|()| places.push(at))
        };
        if let Err(message) = added {
            prepared.failures.push(Failure { entry: Some(at as usize), message });
        }
    }
    if !places.is_empty() {
        let unit = unit(origin, UnitKind::Batch, batch.finish());
        prepared.parts.push(Part { unit, places: Places::Some(places) });
    }
    prepared
}

/// A batch Bundle in the making; resources go in as the text they came as.
struct Batch(Vec<u8>);

impl Batch {
    fn new() -> Self {
        Self(br#"{"resourceType":"Bundle","type":"batch","entry":["#.to_vec())
    }

    /// Adds `text`, which `value` was parsed from: PUT at its id, POST when it has none.
    fn add(&mut self, value: &Value<'_>, text: &[u8]) -> Result<(), String> {
        let resource_type = value.str_at("resourceType").ok_or("there is no resourceType")?;
        let id = value.get("id").map(|id| id.as_str().ok_or("the id is no string")).transpose()?;
        let request = match id {
            Some(id) => {
                Object::new().with("method", "PUT").with("url", format!("{resource_type}/{id}"))
            }
            None => Object::new().with("method", "POST").with("url", resource_type),
        };
        if self.0.last() == Some(&b'}') {
            self.0.push(b',');
        }
        self.0.extend_from_slice(br#"{"resource":"#);
        self.0.extend_from_slice(text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text));
        self.0.extend_from_slice(br#","request":"#);
        Value::from(request).write(&mut self.0);
        self.0.push(b'}');
        Ok(())
    }

    fn finish(mut self) -> Bytes {
        self.0.extend_from_slice(b"]}");
        Bytes::from(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::{Kind, SourceFile};
    use super::*;

    fn piece(content: Content) -> Piece {
        let file = SourceFile {
            path: "x".into(),
            size: 1,
            modified: 1,
            kind: Kind::Document,
            is_gzip: false,
        };
        Piece { file: file.into(), entry: String::new(), content }
    }

    fn of_document(text: &str) -> Prepared {
        prepare(piece(Content::Document(text.as_bytes().to_vec())), None)
    }

    fn text_of(part: &Part) -> &str {
        std::str::from_utf8(&part.unit.bytes).unwrap()
    }

    #[test]
    fn each_kind_of_document_becomes_its_bundle() {
        let batch = |entries: &str| {
            format!(r#"{{"resourceType":"Bundle","type":"batch","entry":[{entries}]}}"#)
        };
        let own = r#"{"resourceType":"Bundle","type":"transaction","entry":[]}"#;
        for (text, expected) in [
            (own, own.to_owned()),
            (
                r#"{"resourceType":"Patient","id":"p","n":1.00}"#,
                batch(
                    r#"{"resource":{"resourceType":"Patient","id":"p","n":1.00},"request":{"method":"PUT","url":"Patient/p"}}"#,
                ),
            ),
            (
                r#"{"resourceType":"Patient"}"#,
                batch(
                    r#"{"resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient"}}"#,
                ),
            ),
            (
                r#"{"resourceType":"Bundle","type":"collection","entry":[{"fullUrl":"urn:uuid:1-2","resource":{"resourceType":"Patient"}},{"resource":{"resourceType":"Basic","id":"b","subject":{"reference":"urn:uuid:1-2"}}}]}"#,
                batch(
                    r#"{"resource":{"resourceType":"Patient","id":"1-2"},"request":{"method":"PUT","url":"Patient/1-2"}},{"resource":{"resourceType":"Basic","id":"b","subject":{"reference":"Patient/1-2"}},"request":{"method":"PUT","url":"Basic/b"}}"#,
                ),
            ),
        ] {
            let prepared = of_document(text);
            assert!(prepared.failures.is_empty(), "{text}: {:?}", prepared.failures);
            assert_eq!(text_of(&prepared.parts[0]), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_resource_is_a_failure_of_its_own() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"resourceType":"Bundle","type":"searchset"}"#,
            r#"{"resourceType":"Patient"},{"resourceType":"Patient"}"#,
            r#"{"resourceType":"Patient","id":1}"#,
            r#"{"resourceType":"Bundle","type":"collection","entry":[{}]}"#,
        ] {
            let prepared = of_document(text);
            assert_eq!((prepared.parts.len(), prepared.failures.len()), (0, 1), "{text}");
        }
    }

    #[test]
    fn a_bad_line_does_not_spoil_the_others() {
        let text = concat!(
            "{\"resourceType\":\"Patient\",\"id\":\"a\"}\n",
            "{\"resourceType\":\n",
            "\n",
            "{\"resourceType\":\"Bundle\",\"type\":\"batch\"}\r\n",
            "{\"resourceType\":\"Patient\",\"id\":\"b\"}"
        );
        let content = || Content::Lines { first: 1, text: text.as_bytes().to_vec() };
        let prepared = prepare(piece(content()), None);
        assert_eq!(prepared.failures.len(), 1);
        assert_eq!(prepared.failures[0].entry, Some(1));
        assert_eq!(prepared.parts.len(), 2);
        assert_eq!(prepared.parts[0].all_places(), Some(vec![3]));
        assert_eq!(prepared.parts[1].all_places(), Some(vec![0, 4]));
        assert_eq!(prepared.parts[1].place(Some(1)), Some(4));
        assert!(parse(&prepared.parts[1].unit.bytes).is_ok());

        let again = prepare(piece(content()), Some(&[4]));
        assert_eq!(again.parts.len(), 1);
        assert!(!text_of(&again.parts[0]).contains("\"a\""));
    }
}
