//! fhirbolt's opinion on which XML a JSON document has, and which JSON an XML document.
//!
//! Its generic element model is asked, in strict mode. Known to be wrong (since 2023, the last
//! release): it trims white space and drops comments inside narratives, and writes line ends into
//! attributes as they are, where XML makes a space of them.

use fhirbolt::FhirReleases;
use fhirbolt::element::Element;

type Document = Element<{ FhirReleases::R4 }>;

/// The XML of a JSON document.
///
/// # Errors
/// Says what fhirbolt says.
pub fn to_xml(json: &[u8]) -> Result<String, String> {
    let document: Document =
        fhirbolt::json::from_slice(json, None).map_err(|fault| fault.to_string())?;
    fhirbolt::xml::to_string(&document, None).map_err(|fault| fault.to_string())
}

/// The JSON of an XML document.
///
/// # Errors
/// Says what fhirbolt says.
pub fn to_json(xml: &[u8]) -> Result<String, String> {
    let document: Document =
        fhirbolt::xml::from_slice(xml, None).map_err(|fault| fault.to_string())?;
    fhirbolt::json::to_string(&document, None).map_err(|fault| fault.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use kiln::fhir::codec::xml;
    use kiln::fhir::json::{Limits, Value, parse};
    use kiln::fhir::schema::Schema;
    use kiln::spec::Spec;

    use crate::published;

    /// Examples on which the two differ, each with the reason.
    const DIFFERENT: &[(&str, &str)] = &[
        ("observation-decimal.json", "fhirbolt writes the exponent of a number in lower case"),
        ("package-min-ver.json", "not a resource"),
        (
            "plandefinition-example-kdn5-simplified.json",
            "fhirbolt drops comments inside a narrative",
        ),
    ];

    /// Applies `change` to every string, with the name of the property that holds it.
    fn each_string(value: &mut Value<'_>, name: &str, change: fn(&str, &str) -> Option<String>) {
        match value {
            Value::Array(items) => {
                for item in items {
                    each_string(item, name, change);
                }
            }
            Value::Object(object) => {
                for (name, value) in object.iter_mut() {
                    each_string(value, name, change);
                }
            }
            Value::String(text) => {
                if let Some(changed) = change(name, text) {
                    *value = Value::from(changed);
                }
            }
            _ => {}
        }
    }

    /// Takes out of every narrative the white space that fhirbolt does not keep.
    fn squash(value: &mut Value<'_>) {
        each_string(value, "", |name, text| {
            (name == "div").then(|| text.split_whitespace().collect())
        });
    }

    /// Makes a space of what fhirbolt writes into attributes as it is, and what every XML reader
    /// therefore takes for a space: tabs and line ends.
    fn flatten(value: &mut Value<'_>) {
        each_string(value, "", |name, text| {
            let flat = || text.replace("\r\n", " ").replace(['\r', '\n', '\t'], " ");
            (name != "div").then(flat)
        });
    }

    /// The first place where two documents differ, with what stands there.
    fn difference(left: &Value<'_>, right: &Value<'_>, path: &str) -> Option<String> {
        match (left, right) {
            _ if left == right => None,
            (Value::Object(a), Value::Object(b)) => {
                let names: BTreeSet<&str> =
                    a.iter().chain(b.iter()).map(|(name, _)| name).collect();
                names.into_iter().find_map(|name| {
                    let path = format!("{path}.{name}");
                    match (a.get(name), b.get(name)) {
                        (Some(a), Some(b)) => difference(a, b, &path),
                        (a, _) => {
                            Some(format!("{path} is {}", if a.is_some() { "gone" } else { "new" }))
                        }
                    }
                })
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                (0..a.len()).find_map(|at| difference(&a[at], &b[at], &format!("{path}[{at}]")))
            }
            _ => Some(format!("{path}: {} is now {}", left.to_text(), right.to_text())),
        }
    }

    fn squashed(bytes: &[u8]) -> Result<Value<'static>, String> {
        let mut value = parse(bytes).map_err(|fault| fault.to_string())?.into_owned();
        squash(&mut value);
        Ok(value)
    }

    fn compare(json: &[u8], schema: &Schema) -> Result<(), String> {
        let ours = squashed(json)?;
        let their_xml = super::to_xml(json).map_err(|fault| format!("fhirbolt, JSON: {fault}"))?;
        let from_theirs = xml::read(their_xml.as_bytes(), schema, Limits::default());
        let mut from_theirs =
            from_theirs.map_err(|fault| format!("its XML: {fault} ({})", fault.path))?;
        squash(&mut from_theirs);
        let mut flat = ours.clone();
        flatten(&mut flat);
        if let Some(difference) = difference(&flat, &from_theirs, "") {
            return Err(format!("its XML: {difference}"));
        }
        let parsed = parse(json).map_err(|fault| fault.to_string())?;
        let mut our_xml = Vec::new();
        xml::write(&parsed, schema, &mut our_xml, false).map_err(|fault| fault.to_string())?;
        let their_json = super::to_json(&our_xml).map_err(|fault| format!("our XML: {fault}"))?;
        match difference(&ours, &squashed(their_json.as_bytes())?, "") {
            None => Ok(()),
            Some(difference) => Err(format!("our XML: {difference}")),
        }
    }

    #[test]
    fn fhirbolt_and_kiln_mean_the_same_xml() {
        let Some(files) = published::examples() else { return };
        let spec = Spec::r4().expect("the embedded pack");
        let known: BTreeSet<&str> = DIFFERENT.iter().map(|(name, _)| *name).collect();
        let (mut failed, mut equal) = (BTreeMap::new(), 0);
        for (at, (name, bytes)) in files.iter().enumerate() {
            if !published::is_long() && at % 7 != 0 && !known.contains(name.as_str()) {
                continue;
            }
            match compare(bytes, &spec.schema) {
                Ok(()) => equal += 1,
                Err(reason) => drop(failed.insert(name.as_str(), reason)),
            }
        }
        assert!(equal > 350, "only {equal} of the sample agree");
        let new: Vec<_> = failed.iter().filter(|(name, _)| !known.contains(**name)).collect();
        assert!(new.is_empty(), "not on the list: {new:#?}");
        let passing: Vec<_> = known.iter().filter(|name| !failed.contains_key(**name)).collect();
        assert!(passing.is_empty(), "listed, but they agree: {passing:?}");
    }
}
