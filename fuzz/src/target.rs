//! What is run on each input, and the properties that must hold.

use std::sync::{Arc, LazyLock};

use kiln::engine::bundle::plan;
use kiln::engine::condition::EntityTag;
use kiln::engine::patch::{self, Patch};
use kiln::fhir::codec::xml;
use kiln::fhir::datetime::{DateTime, Zone};
use kiln::fhir::json::{Limits, Value, parse};
use kiln::fhir::reference::Target as Reference;
use kiln::fhir::schema::Primitive;
use kiln::fhir::{Instant, LogicalId, VersionId, primitive};
use kiln::fhirpath::{Environment, Expression, locate};
use kiln::spec::Spec;
use kiln::ucum::Unit;
use kiln::validate::form;

use crate::{definitions, hl7v2, release, search, validate};

/// One reader of bytes.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// The folder of its seeds.
    pub(crate) corpus: &'static str,
    /// Runs it; an error is a broken property.
    pub(crate) run: fn(&[u8]) -> Result<(), String>,
}

/// Every target, in the order in which they run.
pub(crate) const ALL: &[Target] = &[
    Target { name: "json", corpus: "json", run: json },
    Target { name: "xml", corpus: "xml", run: xml },
    Target { name: "bundle", corpus: "bundle", run: bundle },
    Target { name: "form", corpus: "json", run: form },
    Target { name: "patch", corpus: "patch", run: patched },
    Target { name: "fhirpath", corpus: "fhirpath", run: fhirpath },
    Target { name: "ucum", corpus: "ucum", run: ucum },
    Target { name: "date", corpus: "date", run: date },
    Target { name: "id", corpus: "id", run: id },
    Target { name: "query", corpus: "query", run: search::query },
    Target { name: "release", corpus: "release", run: release::read },
    Target { name: "filter", corpus: "filter", run: search::filter },
    Target { name: "cursor", corpus: "cursor", run: search::cursor },
    Target { name: "package", corpus: "package", run: definitions::package },
    Target { name: "snapshot", corpus: "snapshot", run: definitions::snapshot },
    Target { name: "validate", corpus: "json", run: validate::document },
    Target { name: "profile", corpus: "profile", run: validate::definition },
    Target { name: "v2", corpus: "v2", run: hl7v2::message },
    Target { name: "v2-frame", corpus: "v2-frame", run: hl7v2::frame },
    Target { name: "v2-escape", corpus: "v2-escape", run: hl7v2::escape },
    Target { name: "v2-date", corpus: "v2-date", run: hl7v2::date },
    Target { name: "v2-draft", corpus: "v2", run: hl7v2::draft },
    Target { name: "v2-map", corpus: "v2-map", run: hl7v2::map },
    Target { name: "v2-maps", corpus: "v2-maps", run: hl7v2::maps },
];

/// The definitions of R4.
pub(crate) static R4: LazyLock<Arc<Spec>> = LazyLock::new(|| match Spec::r4() {
    Ok(spec) => spec,
    Err(fault) => unreachable!("the embedded pack loads: {fault}"),
});

pub(crate) fn holds(condition: bool, property: &str) -> Result<(), String> {
    if condition { Ok(()) } else { Err(format!("broken: {property}")) }
}

/// What was read as JSON is written and read again as the same value.
fn json(input: &[u8]) -> Result<(), String> {
    let Ok(value) = parse(input) else { return Ok(()) };
    let mut text = Vec::new();
    value.write(&mut text);
    holds(parse(&text).as_ref() == Ok(&value), "JSON survives writing")?;
    text.clear();
    value.write_pretty(&mut text);
    holds(parse(&text).as_ref() == Ok(&value), "JSON survives indented writing")
}

/// What was read as XML and has the form of its type is written and read again as the same.
fn xml(input: &[u8]) -> Result<(), String> {
    let Ok(value) = xml::read(input, &R4.schema, Limits::default()) else { return Ok(()) };
    let is_sound = form::check(&value, &R4.schema).is_sound();
    if is_sound { survives_xml(&value) } else { Ok(()) }
}

fn survives_xml(value: &Value<'_>) -> Result<(), String> {
    for pretty in [false, true] {
        let mut text = Vec::new();
        let written = xml::write(value, &R4.schema, &mut text, pretty);
        written.map_err(|fault| format!("write: {fault}: {}", value.to_text()))?;
        let again = xml::read(&text, &R4.schema, Limits::default());
        let again = again.map_err(|fault| {
            format!("read again: {fault} ({}): {}", fault.path, text.escape_ascii())
        })?;
        let same = || format!("XML keeps {}: {}", value.to_text(), again.to_text());
        holds(*value == again, &if *value == again { String::new() } else { same() })?;
    }
    Ok(())
}

/// A Bundle is planned without a panic, an entry for an entry.
fn bundle(input: &[u8]) -> Result<(), String> {
    let Ok(mut value) = parse(input) else { return Ok(()) };
    let count = value.items_at("entry").len();
    form::check_shell(&value, &R4.schema);
    let planned = plan::entries(&mut value, "http://example.org/fhir", true).len();
    holds(planned == count, "each entry is planned or refused")
}

/// Every resource gets a verdict, at most the stated number of issues, each with a place.
fn form(input: &[u8]) -> Result<(), String> {
    let Ok(value) = parse(input) else { return Ok(()) };
    let verdict = form::check(&value, &R4.schema);
    let issues = verdict.issues();
    holds(issues.len() <= form::MAX_ISSUES, "the number of issues is bounded")?;
    holds(issues.iter().all(|issue| !issue.expression.is_empty()), "each issue has a place")?;
    holds(issues.iter().all(|issue| issue.to_string().len() < 100_000), "issues are short")?;
    if verdict.is_sound() { sound(value) } else { Ok(()) }
}

/// What is sound can be kept: the form the database gives it is sound too, and XML can say it.
fn sound(value: Value<'_>) -> Result<(), String> {
    let shell = form::check_shell(&value, &R4.schema);
    holds(shell.is_sound(), "the shell of what is sound is sound")?;
    let text = value.to_text();
    // XML cannot say these; the narrative has a target of its own, that of XML.
    let in_json_alone = ["\u{fffe}", "\u{ffff}", "\"div\"", "null"];
    if !in_json_alone.iter().any(|part| text.contains(part)) {
        survives_xml(&value)?;
    }
    let mut plain = value;
    plain.write_out_exponents();
    let verdict = form::check(&plain, &R4.schema);
    holds(verdict.is_sound(), &format!("sound without exponents: {verdict:?}: {text}"))?;
    let longest = text.len() + 64 * text.matches(['e', 'E']).count() + 17 * 1024;
    holds(plain.to_text().len() <= longest, "exponents do not make a document large")?;
    let once = plain.clone();
    plain.write_out_exponents();
    holds(plain == once, "exponents are written out once")
}

/// A patch of any format leads to a resource or to an error, and what it leads to has a verdict.
fn patched(input: &[u8]) -> Result<(), String> {
    let Ok(text) = std::str::from_utf8(input) else { return Ok(()) };
    let patch = if text.starts_with('<') {
        Patch::Xml(text)
    } else {
        match parse(input) {
            Ok(operations @ Value::Array(_)) => Patch::Json(operations),
            Ok(parameters) => Patch::FhirPath(parameters),
            Err(_) => return Ok(()),
        }
    };
    let target = parse(PATIENT).map_err(|fault| fault.to_string())?;
    if let Ok(patched) = patch::apply(&patch, target, &R4.schema) {
        form::check(&patched, &R4.schema);
    }
    Ok(())
}

const PATIENT: &[u8] = include_bytes!("../corpus/json/patient.json");

/// An expression is read, checked and evaluated within its budget, and says where it is at fault.
fn fhirpath(input: &[u8]) -> Result<(), String> {
    let Ok(text) = std::str::from_utf8(input) else { return Ok(()) };
    let columns = text.chars().count() + 1;
    let expression = match Expression::parse(text) {
        Ok(expression) => expression,
        Err(fault) => {
            return holds((1..=columns).contains(&fault.column), "a fault has a column");
        }
    };
    let patient = parse(PATIENT).map_err(|fault| fault.to_string())?;
    let environment = Environment::new(&patient, &R4.schema).with_budget(20_000);
    let environment = environment.with_now(Instant::from_micros(0));
    if let Some(node) = environment.resource().node() {
        let can_mean = expression.check(node.type_id, &R4.schema).is_ok();
        let found = expression.finds(node.type_id, &R4.schema);
        holds(found.is_ok() || !can_mean, "searches take what can mean something")?;
    }
    match expression.evaluate(&environment) {
        Ok(items) => {
            holds(items.len() <= 20_000, "no more results than steps")?;
            for item in &items {
                let steps = locate(&patient, item);
                holds(steps.is_some() || item.node().is_none(), "a node has its place")?;
                if let Some(value) = item.system(&R4.schema) {
                    value.to_text();
                }
            }
            Ok(())
        }
        Err(fault) => holds((1..=columns).contains(&fault.column), "a fault has a column"),
    }
}

/// What UCUM reads as a unit has a base code that is a unit of the same dimension.
fn ucum(input: &[u8]) -> Result<(), String> {
    let Ok(text) = std::str::from_utf8(input) else { return Ok(()) };
    let Ok(unit) = Unit::parse(text) else { return Ok(()) };
    let base = unit.base_code();
    if base.len() <= 200 && !base.contains(|next: char| !next.is_ascii()) {
        let again = Unit::parse(&base).map_err(|fault| format!("{text}: {base}: {fault}"))?;
        holds(unit.is_comparable(&again), "a unit is comparable with its base")?;
    }
    Ok(())
}

/// A date is a span that does not end before it starts, in whatever zone.
fn date(input: &[u8]) -> Result<(), String> {
    let Ok(text) = std::str::from_utf8(input) else { return Ok(()) };
    let zones = ["Z", "+14:00", "-14:00"].map(|zone| Zone::parse(zone).unwrap_or_default());
    let readings = [
        DateTime::parse_date(text),
        DateTime::parse(text),
        DateTime::parse_instant(text),
        DateTime::parse_search(text),
    ];
    for moment in readings.iter().flatten() {
        for zone in zones {
            let (lower, upper) = (moment.lower(zone), moment.upper(zone));
            holds(lower <= upper, "a span does not end before it starts")?;
            holds(!lower.to_string().is_empty(), "an instant prints")?;
            holds(!upper.to_http_date().is_empty(), "an instant prints as an HTTP date")?;
        }
        holds(moment.text() == text, "the text is kept")?;
    }
    holds(readings[0].is_none() || readings[1].is_some(), "a date is a dateTime")?;
    holds(readings[2].is_none() || readings[1].is_some(), "an instant is a dateTime")?;
    for date in [Instant::parse(text), Instant::from_http_date(text)].into_iter().flatten() {
        let again = Instant::parse(&date.to_string());
        holds(again == Some(date.floor_to_millis()), "an instant survives printing")?;
    }
    DateTime::is_time(text);
    Zone::parse(text);
    Ok(())
}

/// Ids, versions, references, entity tags and every primitive are read without a panic, and what
/// is read prints as it was.
fn id(input: &[u8]) -> Result<(), String> {
    let Ok(text) = std::str::from_utf8(input) else { return Ok(()) };
    if let Ok(id) = text.parse::<LogicalId>() {
        holds(id.as_str() == text && primitive::is_id(text), "an id prints as it was")?;
    }
    if let Ok(version) = text.parse::<VersionId>() {
        holds(version.to_string() == text, "a version prints as it was")?;
    }
    for base in ["", "http://example.org/fhir", "x"] {
        if let Reference::Local { resource_type, id, .. } = Reference::parse(text, base) {
            let named = format!("{resource_type}/{id}");
            holds(text.contains(&named), "a local reference names its target")?;
        }
    }
    if let Ok(tags) = EntityTag::parse_list(text) {
        holds(tags.len() <= text.len() + 1, "tags are bounded by the text")?;
    }
    for name in PRIMITIVES {
        let primitive = Primitive::from_name(name).ok_or("a primitive has its name")?;
        primitive::check(primitive, text).ok();
    }
    Ok(())
}

const PRIMITIVES: [&str; 19] = [
    "base64Binary",
    "boolean",
    "canonical",
    "code",
    "date",
    "dateTime",
    "decimal",
    "id",
    "instant",
    "integer",
    "markdown",
    "oid",
    "positiveInt",
    "string",
    "time",
    "unsignedInt",
    "uri",
    "url",
    "uuid",
];
