//! Definitions to be read as resources, for the end of a pack: in blocks, with a catalog that says
//! where each is and what it is searched by.
//!
//! They have all facts of what was published; its prose is left out, and where an element must be
//! there, its name or its code stands for it.
//!
//! A block is unpacked to read one definition of it: larger ones pack better (a megabyte to a
//! fourteenth) and take longer (a megabyte a millisecond).

use crate::fhir::json::{Object, Value};

use super::build::{PackageError, pack_section, text_of};
use super::pack::{Packed, Section};

/// The types of resource that define something.
///
/// <https://hl7.org/fhir/R4/conformance-module.html>, rest 5.18
pub const DEFINING: [&str; 8] = [
    "CodeSystem",
    "CompartmentDefinition",
    "ConceptMap",
    "NamingSystem",
    "OperationDefinition",
    "SearchParameter",
    "StructureDefinition",
    "ValueSet",
];

/// The elements that a definition is searched by.
const SEARCHED: [&str; 15] = [
    "url",
    "version",
    "name",
    "title",
    "status",
    "publisher",
    "kind",
    "abstract",
    "code",
    "type",
    "system",
    "instance",
    "base",
    "baseDefinition",
    "derivation",
];

/// The elements that are prose, wherever they stand, and those that are about other specifications.
const PROSE: [&str; 16] = [
    "alias",
    "comment",
    "copyright",
    "definition",
    "description",
    "documentation",
    "example",
    "human",
    "isModifierReason",
    "mapping",
    "meaningWhenMissing",
    "orderMeaning",
    "purpose",
    "requirements",
    "short",
    "xpath",
];

/// Text of a block; one that is longer has a single definition.
const BLOCK_BYTES: usize = 1 << 20;
/// Higher ones make a pack 7 % smaller and take ten times as long: who installs a guide waits.
const LEVEL: i32 = 12;

/// What is collected.
#[derive(Default)]
pub(super) struct Readable(Vec<Resource>);

struct Resource {
    of: String,
    id: String,
    record: Object<'static>,
    body: String,
}

impl Readable {
    /// Takes `object` along when it is a definition with an id.
    pub(super) fn add(&mut self, value: &Value<'_>, object: &Object<'_>) {
        let text = |name| value.str_at(name).unwrap_or_default().to_owned();
        let (resource_type, id) = (text("resourceType"), text("id"));
        if !DEFINING.contains(&&*resource_type) || id.is_empty() {
            return;
        }
        let meta = value.get("meta");
        let updated = meta.and_then(|meta| meta.str_at("lastUpdated"));
        let updated = updated.map(str::to_owned).or_else(|| value.str_at("date").map(moment));
        let profile = meta.and_then(|meta| meta.get("profile")).map(|it| it.clone().into_owned());
        let mut record = Object::new()
            .with("resourceType", resource_type.clone())
            .with("id", id.clone())
            .with_some("lastUpdated", updated)
            .with_some("profile", profile);
        for name in SEARCHED {
            record = record.with_some(name, object.get(name).map(|it| it.clone().into_owned()));
        }
        let mut body = object.clone();
        for name in ["resourceType", "id", "meta", "text"] {
            body.remove(name);
        }
        leave_facts(&mut body);
        stand_in(&resource_type, &mut body);
        self.0.push(Resource { of: resource_type, id, record, body: text_of(&body) });
    }

    /// The catalog and the blocks.
    pub(super) fn sections(self) -> Result<Vec<Packed>, PackageError> {
        let mut all = self.0;
        all.sort_by(|a, b| (&a.of, &a.id).cmp(&(&b.of, &b.id)));
        all.dedup_by(|a, b| (&a.of, &a.id) == (&b.of, &b.id));
        let (mut catalog, mut blocks) = (Vec::with_capacity(all.len()), Vec::new());
        let (mut block, mut size) = (Vec::new(), 0);
        for Resource { record, body, .. } in all {
            if size > 0 && size + body.len() > BLOCK_BYTES {
                blocks.push(std::mem::take(&mut block));
                size = 0;
            }
            let record = record.with("block", blocks.len() as u64).with("line", block.len() as u64);
            catalog.push(text_of(&record));
            size += body.len();
            block.push(body);
        }
        if !block.is_empty() {
            blocks.push(block);
        }
        let mut sections = vec![pack_section(Section::Catalog, LEVEL, catalog)?];
        for block in blocks {
            sections.push(pack_section(Section::Resources, LEVEL, block)?);
        }
        Ok(sections)
    }
}

/// Takes the prose out.
fn leave_facts(object: &mut Object<'_>) {
    object.retain(|name, _| !PROSE.contains(&name.strip_prefix('_').unwrap_or(name)));
    if let Some(extensions) = object.get_mut("extension").and_then(Value::as_array_mut) {
        extensions.retain(|it| it.get("valueMarkdown").is_none());
        if extensions.is_empty() {
            object.remove("extension");
        }
    }
    for (_, value) in object.iter_mut() {
        match value {
            Value::Object(inner) => leave_facts(inner),
            Value::Array(list) => {
                list.iter_mut().filter_map(Value::as_object_mut).for_each(leave_facts);
            }
            _ => {}
        }
    }
}

/// Puts names where FHIR asks for prose.
fn stand_in(resource_type: &str, body: &mut Object<'_>) {
    if resource_type == "SearchParameter" {
        let code = body.get("code").and_then(Value::as_str).unwrap_or_default().to_owned();
        body.set("description", code);
    }
    for view in ["snapshot", "differential"] {
        let elements = body.get_mut(view).and_then(Value::as_object_mut);
        let elements = elements.and_then(|it| it.get_mut("element")?.as_array_mut());
        for element in elements.into_iter().flatten().filter_map(Value::as_object_mut) {
            if view == "snapshot" {
                let name = element.get("id").or(element.get("path")).and_then(Value::as_str);
                element.set("definition", name.unwrap_or_default().to_owned());
            }
            let invariants = element.get_mut("constraint").and_then(Value::as_array_mut);
            for invariant in invariants.into_iter().flatten().filter_map(Value::as_object_mut) {
                let key = invariant.get("key").and_then(Value::as_str).unwrap_or_default();
                invariant.set("human", key.to_owned());
            }
        }
    }
}

/// A date as the moment that it begins.
fn moment(date: &str) -> String {
    match date.len() {
        4 => format!("{date}-01-01T00:00:00Z"),
        7 => format!("{date}-01T00:00:00Z"),
        10 => format!("{date}T00:00:00Z"),
        _ => date.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::fhir::json::parse;

    use super::*;

    fn read(text: &str) -> String {
        let value = parse(text.as_bytes()).expect(text);
        let mut readable = Readable::default();
        readable.add(&value, value.as_object().expect("an object"));
        readable.0.pop().map(|it| it.body).unwrap_or_default()
    }

    #[test]
    fn prose_is_left_out_and_facts_stay() {
        for (text, expected) in [
            (
                r#"{"resourceType":"ValueSet","id":"v","meta":{},"text":{"div":"x"},"url":"u","description":"x",
                "_description":{"id":"x"},"jurisdiction":[{"text":"US"}],"extension":[{"url":"e","valueMarkdown":"x"}],
                "compose":{"include":[{"system":"s","concept":[{"code":"c","display":"d",
                "extension":[{"url":"e","valueString":"y"}]}]}]}}"#,
                r#"{"url":"u","jurisdiction":[{"text":"US"}],"compose":{"include":[{"system":"s","concept":[{"code":"c","display":"d","extension":[{"url":"e","valueString":"y"}]}]}]}}"#,
            ),
            (
                r#"{"resourceType":"CodeSystem","id":"c","url":"u","concept":[{"code":"a","definition":"x",
                "concept":[{"code":"b","definition":"x"}]}]}"#,
                r#"{"url":"u","concept":[{"code":"a","concept":[{"code":"b"}]}]}"#,
            ),
            (
                r#"{"resourceType":"SearchParameter","id":"s","url":"u","code":"name","description":"x"}"#,
                r#"{"url":"u","code":"name","description":"name"}"#,
            ),
            (
                r#"{"resourceType":"StructureDefinition","id":"s","url":"u","snapshot":{"element":[{"id":"A.b","path":"A.b",
                "short":"x","definition":"x","min":0,"mapping":[{}],"constraint":[{"key":"a-1","human":"x"}]}]},
                "differential":{"element":[{"path":"A","comment":"x"}]}}"#,
                r#"{"url":"u","snapshot":{"element":[{"id":"A.b","path":"A.b","min":0,"constraint":[{"key":"a-1","human":"a-1"}],"definition":"A.b"}]},"differential":{"element":[{"path":"A"}]}}"#,
            ),
            (r#"{"resourceType":"Patient","id":"p"}"#, ""),
        ] {
            assert_eq!(read(text), expected);
        }
    }
}
