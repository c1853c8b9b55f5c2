//! UCUM: the essence file. Its grammar makes more codes than anybody lists, so this is a part.
//!
//! Spec: <https://hl7.org/fhir/R4/ucum.html>

use crate::fhir::codec::xml::tree::{self, Element};

use super::super::PropertyKind;
use super::draft::Draft;
use super::{Fault, Files, Options, Release, find, whole};

const URL: &str = "http://unitsofmeasure.org";
/// The file has 200 KB.
const MAX_BYTES: u64 = 16 << 20;

struct Unit {
    code: String,
    name: String,
    property: String,
}

pub(super) fn read(files: &dyn Files, options: &Options) -> Result<Release, Fault> {
    let is_essence = |name: &str| name.starts_with("ucum-essence");
    let name = find(files, is_essence).ok_or(Fault::Missing("ucum-essence.xml"))?;
    let bytes = whole(files, &name, MAX_BYTES)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Fault::of_file(&name, "is not UTF-8"))?;
    let root = tree::read(text).map_err(|error| Fault::Content {
        file: name.clone(),
        line: error.line as u64,
        column: error.column,
        reason: error.reason,
    })?;
    let version = options.version.clone();
    let version = version.or_else(|| root.attribute("version").map(str::to_owned));
    let version = version.ok_or(Fault::Version("UCUM"))?;
    let units = units(&root).ok_or_else(|| Fault::of_file(&name, "a unit has no Code"))?;
    if units.is_empty() {
        return Err(Fault::of_file(&name, "has no units"));
    }
    let mut draft = Draft::new(units.iter().map(|unit| unit.code.as_str().into()).collect());
    for unit in &units {
        let Some(at) = draft.find(&unit.code) else { continue };
        draft.display(at, &unit.name);
        draft.property(at, "property", PropertyKind::String, &unit.property);
    }
    Ok(Release {
        url: URL.into(),
        version: version.into(),
        name: "UCUM".into(),
        is_complete: false,
        concepts: draft.finish()?,
    })
}

/// The units, and metric ones with each prefix; a unit of the same spelling wins (`cd` is candela).
fn units(root: &Element) -> Option<Vec<Unit>> {
    let named = |name: &'static str| root.elements().filter(move |it| it.name == name);
    let mut powers = Vec::new();
    for prefix in named("prefix") {
        powers.push((prefix.attribute("Code")?, inner(prefix, "name")));
    }
    let (mut prefixed, mut plain) = (Vec::new(), Vec::new());
    for element in named("base-unit").chain(named("unit")) {
        let code = element.attribute("Code")?.to_owned();
        let (name, property) = (inner(element, "name"), inner(element, "property"));
        let is_metric = element.name == "base-unit" || element.attribute("isMetric") == Some("yes");
        for (prefix, prefix_name) in powers.iter().filter(|_| is_metric) {
            prefixed.push(Unit {
                code: format!("{prefix}{code}"),
                name: format!("{prefix_name}{name}"),
                property: property.clone(),
            });
        }
        plain.push(Unit { code, name, property });
    }
    let known: std::collections::HashSet<&str> = plain.iter().map(|it| it.code.as_str()).collect();
    prefixed.retain(|unit| !known.contains(unit.code.as_str()));
    plain.extend(prefixed);
    Some(plain)
}

fn inner(element: &Element, name: &str) -> String {
    let found = element.elements().find(|it| it.name == name);
    found.map(|it| it.text().trim().to_owned()).unwrap_or_default()
}
