//! A resource in a line of words: what it is, its value, how it stands, since when.
//!
//! Only what the resource says is told; nothing is worked out.

use std::collections::BTreeMap;

use crate::fhir::json::Value;

/// Names of what is referred to, by `Type/id`.
pub(super) type Names = BTreeMap<String, String>;

/// Elements that say what a resource is, those that say more before those that say less.
const WHAT: [&str; 8] = [
    "title",
    "code",
    "vaccineCode",
    "medicationCodeableConcept",
    "medicationReference",
    "device",
    "category",
    "scope",
];
/// Elements that say how it stands.
const HOW: [&str; 4] = ["clinicalStatus", "verificationStatus", "criticality", "status"];
/// Elements that say when it was or began.
const WHEN: [&str; 14] = [
    "effectiveDateTime",
    "effectiveInstant",
    "effectivePeriod",
    "onsetDateTime",
    "onsetPeriod",
    "performedDateTime",
    "performedPeriod",
    "occurrenceDateTime",
    "occurrenceString",
    "timingDateTime",
    "timingPeriod",
    "authoredOn",
    "period",
    "dateTime",
];

/// The line.
pub(super) fn line(resource: &Value<'_>, names: &Names) -> String {
    let mut text = what(resource, names).unwrap_or_else(|| "Without a name".to_owned());
    if let Some(value) = value(resource) {
        text.extend([": ", &*value]);
    }
    for component in resource.items_at("component") {
        let name = component.get("code").and_then(concept);
        if let (Some(name), Some(value)) = (name, value(component)) {
            text.extend(["; ", &*name, ": ", &*value]);
        }
    }
    let dosage = ["dosage", "dosageInstruction"].into_iter().flat_map(|it| resource.items_at(it));
    for dosage in dosage.filter_map(|it| it.str_at("text")) {
        text.extend(["; ", dosage]);
    }
    let states: Vec<String> = HOW.iter().filter_map(|it| state(resource.get(it)?)).collect();
    if !states.is_empty() {
        text.extend([" (", &*states.join(", "), ")"]);
    }
    if let Some(when) = WHEN.iter().find_map(|it| moment(resource.get(it)?)) {
        text.extend([", ", when]);
    }
    text
}

/// What a resource is called that others refer to: a Device, a Medication.
pub(super) fn name(resource: &Value<'_>) -> Option<String> {
    let given = resource.items_at("deviceName").iter().find_map(|it| it.str_at("name"));
    let told = || resource.get("code").or_else(|| resource.get("type")).and_then(concept);
    given.map(str::to_owned).or_else(told)
}

/// A person's first name that says something.
pub(super) fn person(patient: &Value<'_>) -> Option<String> {
    patient.items_at("name").iter().find_map(|name| {
        if let Some(text) = name.str_at("text") {
            return Some(text.to_owned());
        }
        let given = name.items_at("given").iter().filter_map(Value::as_str);
        let parts: Vec<&str> = given.chain(name.str_at("family")).collect();
        (!parts.is_empty()).then(|| parts.join(" "))
    })
}

fn what(resource: &Value<'_>, names: &Names) -> Option<String> {
    WHAT.iter().find_map(|element| match resource.get(element)? {
        Value::String(text) => Some(text.clone().into_owned()),
        Value::Array(all) => all.iter().find_map(concept),
        value if value.get("reference").is_some() || value.get("display").is_some() => {
            referred(value, resource, names)
        }
        value => concept(value),
    })
}

/// What a reference leads to, as it says itself or as that is called.
fn referred(reference: &Value<'_>, resource: &Value<'_>, names: &Names) -> Option<String> {
    if let Some(display) = reference.str_at("display") {
        return Some(display.to_owned());
    }
    let target = reference.str_at("reference")?;
    let Some(inner) = target.strip_prefix('#') else { return names.get(target).cloned() };
    let contained = resource.items_at("contained").iter();
    contained.filter(|it| it.str_at("id") == Some(inner)).find_map(name)
}

/// The words of a CodeableConcept, else its code.
fn concept(value: &Value<'_>) -> Option<String> {
    let codings = || value.items_at("coding").iter();
    let display = || codings().find_map(|it| it.str_at("display"));
    let code = || codings().find_map(|it| it.str_at("code"));
    value.str_at("text").or_else(display).or_else(code).map(str::to_owned)
}

/// The value of an observation or of a part of one; why there is none.
fn value(of: &Value<'_>) -> Option<String> {
    let (name, value) = of.as_object()?.iter().find(|(name, _)| name.starts_with("value"))?;
    match name {
        "valueCodeableConcept" => concept(value),
        "valuePeriod" => moment(value).map(str::to_owned),
        "valueQuantity" => quantity(value),
        "valueRange" => {
            let end = |name| value.get(name).and_then(quantity).unwrap_or_default();
            Some(format!("{} to {}", end("low"), end("high")))
        }
        "valueRatio" => {
            let part = |name| value.get(name).and_then(quantity).unwrap_or_default();
            Some(format!("{} / {}", part("numerator"), part("denominator")))
        }
        _ => plain(value),
    }
}

fn plain(value: &Value<'_>) -> Option<String> {
    let text = value.as_str().or_else(|| value.as_number()).map(str::to_owned);
    text.or_else(|| value.as_bool().map(|it| it.to_string()))
}

fn quantity(value: &Value<'_>) -> Option<String> {
    let number = value.get("value")?.as_number()?;
    let comparator = value.str_at("comparator").unwrap_or_default();
    let unit = value.str_at("unit").or_else(|| value.str_at("code"));
    Some(match unit {
        Some(unit) => format!("{comparator}{number} {unit}"),
        None => format!("{comparator}{number}"),
    })
}

/// A status, a code or a concept of one.
fn state(value: &Value<'_>) -> Option<String> {
    let code = || value.items_at("coding").iter().find_map(|it| it.str_at("code"));
    value.as_str().or_else(code).map(str::to_owned)
}

/// When something was, or began.
fn moment<'v>(value: &'v Value<'_>) -> Option<&'v str> {
    value.as_str().or_else(|| value.str_at("start")).or_else(|| value.str_at("end"))
}

#[cfg(test)]
mod tests {
    use crate::fhir::json::parse;

    use super::*;

    #[test]
    fn a_line_says_what_it_is_its_value_how_it_stands_and_when() {
        let names = Names::from([("Medication/m".to_owned(), "Pill".to_owned())]);
        for (text, expected) in [
            (
                r#"{"code":{"coding":[{"code":"k","display":"Potassium"}]},"valueQuantity":{"value":4.10,"unit":"mmol/L"},"status":"final","effectiveDateTime":"2020-05-04"}"#,
                "Potassium: 4.10 mmol/L (final), 2020-05-04",
            ),
            (
                r#"{"code":{"text":"Pressure"},"component":[{"code":{"text":"upper"},"valueQuantity":{"comparator":">","value":120,"code":"mm[Hg]"}},{"code":{"text":"lower"},"dataAbsentReason":{"text":"x"}}]}"#,
                "Pressure; upper: >120 mm[Hg]",
            ),
            (
                r#"{"code":{"text":"Penicillin"},"criticality":"high","clinicalStatus":{"coding":[{"code":"active"}]},"verificationStatus":{"coding":[{"code":"confirmed"}]}}"#,
                "Penicillin (active, confirmed, high)",
            ),
            (
                r#"{"medicationReference":{"reference":"Medication/m"},"status":"active","dosage":[{"text":"one a day"}],"effectivePeriod":{"start":"2020"}}"#,
                "Pill; one a day (active), 2020",
            ),
            (
                r##"{"contained":[{"resourceType":"Medication","id":"c","code":{"text":"Drops"}}],"medicationReference":{"reference":"#c"},"authoredOn":"2021"}"##,
                "Drops, 2021",
            ),
            (r#"{"medicationReference":{"reference":"Medication/x","display":"Syrup"}}"#, "Syrup"),
            (r#"{"category":[{"coding":[{"code":"a"}]}],"title":"Plan"}"#, "Plan"),
            (r#"{"category":[{"coding":[{"code":"a"}]}]}"#, "a"),
            (r#"{"code":{"coding":[{"code":"k"}]},"valueBoolean":false}"#, "k: false"),
            (
                r#"{"code":{"text":"r"},"valueRange":{"low":{"value":1},"high":{"value":2}}}"#,
                "r: 1 to 2",
            ),
            ("{}", "Without a name"),
        ] {
            let value = parse(text.as_bytes()).expect(text);
            assert_eq!(line(&value, &names), expected, "{text}");
        }
    }

    #[test]
    fn people_and_things_have_names() {
        for (text, expected) in [
            (r#"{"name":[{"use":"old"},{"family":"B","given":["A","C"]}]}"#, Some("A C B")),
            (r#"{"name":[{"text":"Ada B","family":"B"}]}"#, Some("Ada B")),
            ("{}", None),
        ] {
            let value = parse(text.as_bytes()).expect(text);
            assert_eq!(person(&value).as_deref(), expected, "{text}");
        }
        for (text, expected) in [
            (r#"{"deviceName":[{"name":"Pump"}],"type":{"text":"t"}}"#, Some("Pump")),
            (r#"{"type":{"text":"t"}}"#, Some("t")),
            (r#"{"code":{"text":"c"}}"#, Some("c")),
            ("{}", None),
        ] {
            let value = parse(text.as_bytes()).expect(text);
            assert_eq!(name(&value).as_deref(), expected, "{text}");
        }
    }
}
