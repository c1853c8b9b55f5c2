//! The nine linked resource types of *crud*, as texts with gaps for ids.

use std::collections::HashMap;

use crate::app::demo::Generator;
use crate::fhir::json::{Object, Value};

/// The types in the order in which they are created: each refers only to those before it.
pub(super) const TYPES: [&str; 9] = [
    "Organization",
    "Practitioner",
    "Location",
    "Patient",
    "Encounter",
    "Observation",
    "MedicationRequest",
    "Claim",
    "ExplanationOfBenefit",
];

/// Marks a gap in the text; a control character, so that no content can look like it.
const MARK: char = '\u{1}';

/// A resource's JSON with gaps.
#[derive(Clone, Debug)]
pub(super) struct Template(Vec<Segment>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Segment {
    Text(String),
    /// The reference to the resource of this place in [`TYPES`].
    Target(usize),
    /// A number that makes this version differ from the one before.
    Round,
}

/// One resource of each type.
pub(super) type LinkedSet = [Template; 9];

/// `sets` linked sets out of the demo data of `seed`.
pub(super) fn linked_sets(seed: u64, sets: usize) -> Vec<LinkedSet> {
    let generator = Generator::new(seed);
    let practice = generator.practice(0).value;
    (0..)
        .filter_map(|index| linked_set(&practice, &generator.patient(index).value))
        .take(sets)
        .collect()
}

/// The first of each type; `None` when the patient lacks one.
fn linked_set(practice: &Value<'_>, patient: &Value<'_>) -> Option<LinkedSet> {
    let entries = || practice.items_at("entry").iter().chain(patient.items_at("entry"));
    let type_of = |entry: &Value<'_>| {
        let name = entry.get("resource")?.str_at("resourceType")?;
        TYPES.iter().position(|known| *known == name)
    };
    let by_url: HashMap<&str, Option<usize>> =
        entries().filter_map(|entry| Some((entry.str_at("fullUrl")?, type_of(entry)))).collect();
    let found = TYPES.iter().enumerate().map(|(at, _)| {
        let entry = entries().find(|entry| type_of(entry) == Some(at))?;
        Some(template(entry.get("resource")?.clone().into_owned(), &by_url))
    });
    let all: Vec<Template> = found.collect::<Option<_>>()?;
    all.try_into().ok()
}

/// Cuts a resource up: its id goes, references become gaps, and a number of the round comes in.
fn template(mut resource: Value<'static>, by_url: &HashMap<&str, Option<usize>>) -> Template {
    cut_references(&mut resource, by_url);
    if let Some(object) = resource.as_object_mut() {
        object.remove("id");
        object.remove("resourceType");
        let round = Object::new()
            .with("url", "urn:kiln:bench:round")
            .with("valueString", format!("{MARK}round{MARK}"));
        let mut extensions = match object.remove("extension") {
            Some(Value::Array(extensions)) => extensions,
            _ => Vec::new(),
        };
        extensions.push(round.into());
        object.set("extension", extensions);
    }
    let mut text = String::new();
    // The writer escapes the mark; here it is a character of its own again.
    text.push_str(&resource.to_text().replace("\\u0001", "\u{1}"));
    let segments = text.split(MARK).enumerate().map(|(at, part)| {
        if at % 2 == 0 {
            Segment::Text(part.to_owned())
        } else {
            part.parse().map_or(Segment::Round, Segment::Target)
        }
    });
    Template(segments.collect())
}

/// References to one of the nine become gaps; others keep their display alone.
fn cut_references(value: &mut Value<'static>, by_url: &HashMap<&str, Option<usize>>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| cut_references(item, by_url)),
        Value::Object(object) => {
            let target = object.get("reference").and_then(Value::as_str).map(|url| {
                let by_type = url.split_once('/').map(|(name, _)| name);
                let at = by_type.and_then(|name| TYPES.iter().position(|known| *known == name));
                (at.or_else(|| by_url.get(url).copied().flatten()), url.starts_with('#'))
            });
            match target {
                Some((Some(at), _)) => object.set("reference", format!("{MARK}{at}{MARK}")),
                Some((None, false)) => {
                    object.remove("reference");
                    if !object.contains("display") {
                        object.set("display", "not part of the measurement");
                    }
                }
                Some((None, true)) | None => {}
            }
            for (_, item) in object.iter_mut() {
                cut_references(item, by_url);
            }
        }
        _ => {}
    }
}

impl Template {
    /// Writes the resource of type `at` to `out`; `ids` are those of the set's other resources.
    pub(super) fn write(
        &self,
        at: usize,
        id: Option<&str>,
        ids: &[String; 9],
        round: u64,
        out: &mut Vec<u8>,
    ) {
        out.clear();
        out.extend_from_slice(b"{\"resourceType\":\"");
        out.extend_from_slice(TYPES[at].as_bytes());
        out.extend_from_slice(b"\",");
        if let Some(id) = id {
            out.extend_from_slice(b"\"id\":\"");
            out.extend_from_slice(id.as_bytes());
            out.extend_from_slice(b"\",");
        }
        for (place, segment) in self.0.iter().enumerate() {
            match segment {
                // The first segment begins with the brace that is written already.
                Segment::Text(text) if place == 0 => out.extend_from_slice(&text.as_bytes()[1..]),
                Segment::Text(text) => out.extend_from_slice(text.as_bytes()),
                Segment::Target(target) => {
                    out.extend_from_slice(TYPES[*target].as_bytes());
                    out.push(b'/');
                    out.extend_from_slice(ids[*target].as_bytes());
                }
                Segment::Round => out.extend_from_slice(round.to_string().as_bytes()),
            }
        }
    }
}

/// The bodies of a set as a server keeps them, for the floor.
pub(super) fn bodies(set: &LinkedSet) -> Vec<String> {
    let ids: [String; 9] =
        std::array::from_fn(|at| format!("0194f3c2-7c1e-7a55-9f00-00000000000{at}"));
    let mut out = Vec::new();
    set.iter()
        .enumerate()
        .map(|(at, template)| {
            template.write(at, Some(&ids[at]), &ids, 0, &mut out);
            String::from_utf8_lossy(&out).into_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json::parse;
    use crate::spec::Spec;
    use crate::validate::form;

    #[test]
    fn each_of_the_nine_is_a_linked_resource_of_real_size() {
        let spec = Spec::r4().unwrap();
        let schema = &spec.schema;
        let sets = linked_sets(1, 8);
        assert_eq!(sets.len(), 8);
        for set in &sets {
            for (at, body) in bodies(set).iter().enumerate() {
                let value = parse(body.as_bytes()).expect(body);
                assert_eq!(value.str_at("resourceType"), Some(TYPES[at]));
                assert!(!body.contains("urn:uuid:") && !body.contains("demo-"), "{body}");
                let verdict = form::check(&value, schema);
                assert!(verdict.is_sound(), "{body}: {:#?}", verdict.issues());
                assert!(body.len() > 600, "{} has {} bytes", TYPES[at], body.len());
            }
        }
    }

    #[test]
    fn ids_of_the_others_and_the_round_are_written_in() {
        let set = &linked_sets(1, 1)[0];
        let ids: [String; 9] = std::array::from_fn(|at| format!("id-{at}"));
        let mut out = Vec::new();
        set[4].write(4, None, &ids, 7, &mut out);
        let value = parse(&out).unwrap();
        assert_eq!(value.get("subject").unwrap().str_at("reference"), Some("Patient/id-3"));
        assert!(value.get("id").is_none());
        let rounds = value.items_at("extension");
        assert_eq!(rounds.last().unwrap().str_at("valueString"), Some("7"));
    }
}
