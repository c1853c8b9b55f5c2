//! Snapshots made of the differentials of US Core and IPS, against those that were published.
//!
//! Every difference is one that [`reasons::REASONS`] explains, and each of those explains as many as it says. Suites
//! are not part of the project; without them the test says so and skips (but fails in CI).

mod reasons;

use std::collections::{BTreeMap, BTreeSet};

use kiln::fhir::json::{Value, parse};
use kiln::spec::structure::{Element, Library, Structure};

use crate::harness::shared::archive;

use reasons::{REASONS, Reason};

const PACKAGES: [&str; 4] = [
    "hl7.fhir.us.core-3.1.1",
    "hl7.fhir.us.core-6.1.0",
    "hl7.fhir.us.core-7.0.0",
    "hl7.fhir.uv.ips-1.1.0",
];

/// Something that is not the same in both snapshots.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Difference {
    /// `us-core-patient#Patient.name`, with the package's version behind it.
    place: String,
    /// Which of the facts of the element, or `missing`, `extra`, `fault`.
    fact: &'static str,
    published: String,
    made: String,
}

/// What is compared of an element.
fn facts(element: &Element) -> [(&'static str, String); 10] {
    let types = element.types.iter();
    let types: Vec<_> = types.map(|it| (&it.code, &it.profiles, &it.target_profiles)).collect();
    let details = element.types.iter();
    let details: BTreeSet<_> = details
        .map(|it| format!("{:?} {:?} {:?}", it.aggregation, it.versioning, it.regex))
        .collect();
    let invariants = element.invariants.iter();
    let invariants: BTreeSet<_> =
        invariants.map(|it| (&it.key, format!("{:?}", it.severity), &it.expression)).collect();
    let text = |value: &Option<Value<'_>>| value.as_ref().map(Value::to_text);
    let values = [&element.fixed, &element.pattern, &element.min_value, &element.max_value];
    let flags = [element.is_modifier, element.is_summary];
    // The type that a content reference is in is told by newer snapshots alone.
    let reference = element.content_reference.as_deref();
    let reference = reference.map(|it| it.rsplit_once('#').map_or(it, |(_, id)| id));
    [
        ("bounds", format!("{}..{:?}", element.min, element.max)),
        ("types", format!("{types:?}")),
        ("details", format!("{details:?} {:?} {:?}", element.max_length, element.representation)),
        ("slicing", format!("{:?} {:?}", element.slice_name, element.slicing)),
        ("reference", format!("{reference:?}")),
        ("values", format!("{:?}", values.map(text))),
        ("binding", format!("{:?}", element.binding)),
        ("invariants", format!("{invariants:?}")),
        ("must support", element.must_support.to_string()),
        ("flags", format!("{flags:?}")),
    ]
}

/// The structures of a package, as published and as made of their differentials.
fn libraries(package: &str) -> Option<(Vec<String>, Library, Library)> {
    let files = archive(&format!("packages/{package}.tgz"))?;
    let is_structure = |path: &str| path.starts_with("package/StructureDefinition-");
    let files: Vec<_> = files.into_iter().filter(|(path, _)| is_structure(path)).collect();
    let values =
        files.iter().map(|(path, bytes)| parse(bytes).unwrap_or_else(|_| panic!("{path}")));
    let published: Vec<Value<'_>> = values.collect();
    let urls = published.iter().filter_map(|value| value.str_at("url").map(str::to_owned));
    let urls: Vec<String> = urls.collect();
    let mut differentials = published.clone();
    for value in &mut differentials {
        assert!(value.get("differential").is_some(), "{package} has differentials");
        value.as_object_mut().unwrap().remove("snapshot");
    }
    let library = |values| Library::r4().with_resources(values);
    Some((urls, library(published), library(differentials)))
}

fn by_id(structure: &Structure) -> BTreeMap<&str, &Element> {
    structure.elements.iter().map(|element| (&*element.id, element)).collect()
}

/// The differences between two snapshots of a structure.
fn compare(name: &str, published: &Structure, made: &Structure) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut differ = |id: &str, fact, published: &str, made: &str| {
        let (published, made) = (published.to_owned(), made.to_owned());
        found.push(Difference { place: format!("{name}#{id}"), fact, published, made });
    };
    let (published, made) = (by_id(published), by_id(made));
    for (id, element) in &published {
        let Some(other) = made.get(id) else {
            differ(id, "missing", "", "");
            continue;
        };
        for ((fact, published), (_, made)) in facts(element).into_iter().zip(facts(other)) {
            if published != made {
                differ(id, fact, &published, &made);
            }
        }
    }
    for id in made.keys().filter(|id| !published.contains_key(*id)) {
        differ(id, "extra", "", "");
    }
    found
}

/// Elements that both have come in the same order.
fn assert_same_order(name: &str, published: &Structure, made: &Structure) {
    let (of_published, of_made) = (by_id(published), by_id(made));
    let ids = |of: &Structure, other: &BTreeMap<&str, &Element>| -> Vec<String> {
        let ids = of.elements.iter().map(|element| element.id.to_string());
        ids.filter(|id| other.contains_key(&**id)).collect()
    };
    assert_eq!(ids(published, &of_made), ids(made, &of_published), "{name}");
}

/// Whether `text` is as `pattern`, in which `*` stands for anything.
fn is_like(pattern: &str, text: &str) -> bool {
    let Some((before, pattern)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut rest) = text.strip_prefix(before) else { return false };
    loop {
        if is_like(pattern, rest) {
            return true;
        }
        let mut letters = rest.chars();
        if letters.next().is_none() {
            return false;
        }
        rest = letters.as_str();
    }
}

fn explains(reason: &Reason, difference: &Difference) -> bool {
    let is_place = reason.places.iter().any(|place| is_like(place, &difference.place));
    is_place
        && reason.facts.contains(&difference.fact)
        && difference.published.contains(reason.published)
        && difference.made.contains(reason.made)
}

#[test]
fn snapshots_are_those_that_were_published_but_for_what_is_explained() {
    let mut found = Vec::new();
    let (mut elements, mut structures) = (0, 0);
    for package in PACKAGES {
        let Some((urls, published, made)) = libraries(package) else { return };
        let version = package.rsplit('-').next().unwrap();
        for url in urls {
            let name = format!("{}@{version}", url.rsplit('/').next().unwrap());
            let published = published.structure(&url).unwrap_or_else(|fault| panic!("{fault}"));
            match made.structure(&url) {
                Ok(made) => {
                    (elements, structures) = (elements + made.elements.len(), structures + 1);
                    found.extend(compare(&name, &published, &made));
                    assert_same_order(&name, &published, &made);
                }
                Err(fault) => found.push(Difference {
                    place: name,
                    fact: "fault",
                    published: String::new(),
                    made: fault.to_string(),
                }),
            }
        }
    }
    assert!(structures > 180 && elements > 10_000, "{structures} structures, {elements} elements");
    let mut met = vec![0; REASONS.len()];
    let mut unexplained = Vec::new();
    for difference in &found {
        match REASONS.iter().position(|reason| explains(reason, difference)) {
            Some(at) => met[at] += 1,
            None => unexplained.push(difference),
        }
    }
    assert!(unexplained.is_empty(), "{} differences: {unexplained:#?}", unexplained.len());
    let told: Vec<(usize, &str)> = REASONS.iter().map(|it| (it.count, it.why)).collect();
    let met: Vec<(usize, &str)> =
        met.into_iter().zip(REASONS).map(|(met, it)| (met, it.why)).collect();
    assert_eq!(met, told, "each reason explains as many as it says");
}
