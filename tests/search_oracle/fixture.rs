//! Random resources: few values, so that queries find several of them.

use serde_json::{Map, Value, json};

use super::fixed::{BRANCHES, TREE, narrative};
use super::random::Random;

/// Where resources come from.
const SOURCES: &[&str] =
    &["http://feeds.example.org/a", "http://feeds.example.org/a/1", "urn:feed:b"];

/// How many resources of each type a world has.
pub(super) const TYPES: &[(&str, usize)] = &[
    ("Condition", 12),
    ("Encounter", 10),
    ("List", 3),
    ("Location", 6),
    ("Medication", 4),
    ("MedicationRequest", 10),
    ("Observation", 30),
    ("Organization", 5),
    ("Patient", 16),
    ("RiskAssessment", 8),
    ("ValueSet", 8),
];

const FAMILIES: &[&str] =
    &["Müller", "Muller", "Lee", "O'Dell", "Carr Quint", "ÅBERG", "Straße", "Leeds", "de la Roe"];
const GIVEN: &[&str] = &["Ann", "Anna", "Eve", "Evelyn", "Sev-Erine", "Jo", "Zoé"];
const CITIES: &[&str] = &["Seatown", "Sea", "New Seaton", "Øresund", "St. Ives", "Northwood"];
const WORDS: &[&str] = &["Yellow, cloudy", "yellow", "Clear", "Cloudy", "Not clear"];
const CODES: &[&str] = &["c1", "c2", "c3", "C1", "c10"];
const DISPLAYS: &[&str] = &["Sodium", "Sodium level", "Glucose", "glucose (fasting)"];
const UNITS: &[&str] = &["g", "mg", "kg", "drop"];

/// The systems of codes. The server knows none of them, so case does not count there.
pub(super) const SYSTEMS: &[&str] = &["http://example.org/s1", "http://example.org/s2"];

/// Profiles that resources claim.
const PROFILES: &[&str] = &["http://example.org/profiles/a", "http://example.org/profiles/ab"];

/// A date, dateTime or partial date.
fn when(random: &mut Random) -> String {
    let (year, month, day) =
        (random.between(2019, 2021), random.between(1, 12), random.between(1, 28));
    match random.below(10) {
        0 => format!("{year}"),
        1 => format!("{year}-{month:02}"),
        2..=4 => format!("{year}-{month:02}-{day:02}"),
        5 => format!("{year}-{month:02}-{day:02}T00:00:00Z"),
        6 => format!("{year}-{month:02}-{day:02}T00:00:00.000Z"),
        7 => format!("{year}-{month:02}-{day:02}T23:30:00-04:00"),
        8 => format!("{year}-{month:02}-{day:02}T10:15:30.250+02:00"),
        _ => format!("{year}-{month:02}-{day:02}T10:{:02}:00Z", random.below(60)),
    }
}

fn period(random: &mut Random) -> Value {
    let year = random.between(2019, 2020);
    let start = format!("{year}-{:02}-{:02}", random.between(1, 12), random.between(1, 28));
    let end = match random.below(3) {
        0 => format!("{}", year + 1),
        1 => format!("{}-{:02}-{:02}", year + 1, random.between(1, 12), random.between(1, 28)),
        _ => format!("{}-{:02}-01T12:00:00Z", year + 1, random.between(1, 12)),
    };
    match random.below(5) {
        0 => json!({ "start": start }),
        1 => json!({ "end": end }),
        _ => json!({ "start": start, "end": end }),
    }
}

fn coding(random: &mut Random) -> Value {
    let mut coding = json!({ "code": random.pick(CODES) });
    if random.chance(15) {
        coding = json!({ "system": TREE, "code": random.pick(BRANCHES).0 });
    } else if random.chance(80) {
        coding["system"] = json!(random.pick(SYSTEMS));
    }
    if random.chance(40) {
        coding["display"] = json!(random.pick(DISPLAYS));
    }
    coding
}

fn concept(random: &mut Random) -> Value {
    let mut codings = vec![coding(random)];
    if random.chance(25) {
        codings.push(coding(random));
    }
    match random.below(8) {
        0 => json!({ "text": random.pick(DISPLAYS) }),
        1 => json!({ "text": random.pick(DISPLAYS), "coding": codings }),
        _ => json!({ "coding": codings }),
    }
}

fn identifier(random: &mut Random) -> Value {
    let mut made = json!({ "value": format!("{}{}", random.pick(&["id", "ID", "x|y", "a,b"]), random.below(4)) });
    if random.chance(70) {
        made["system"] = json!(random.pick(SYSTEMS));
    }
    if random.chance(30) {
        made["type"] =
            json!({ "coding": [{ "system": SYSTEMS[0], "code": random.pick(&["MR", "SS"]) }] });
    }
    made
}

fn quantity(random: &mut Random) -> Value {
    let number = [1.0, 2.0, 2.05, 5.0, 5.4, 5.45, 100.0, 5000.0, 0.005, -1.5][random.below(10)];
    let unit = *random.pick(UNITS);
    let mut made = json!({ "value": number });
    match random.below(8) {
        0 => {}
        1 => made["unit"] = json!(unit),
        2 => {
            made["system"] = json!(SYSTEMS[0]);
            made["code"] = json!(unit);
        }
        _ if unit == "drop" => made["unit"] = json!(unit),
        _ => {
            made["system"] = json!("http://unitsofmeasure.org");
            made["code"] = json!(unit);
            made["unit"] = json!(random.pick(&["unit", unit]));
        }
    }
    if random.chance(12) {
        // Ends that no question meets exactly: which side they are on is not said.
        made["value"] = json!(between(random.between(1, 9)));
        made["comparator"] = json!(random.pick(&["<", ">", "<=", ">="]));
    }
    made
}

/// An end of a range: no question has a number there.
fn between(whole: i64) -> f64 {
    format!("{whole}.37").parse().unwrap()
}

fn address(random: &mut Random) -> Value {
    json!({ "city": random.pick(CITIES), "line": [format!("{} Main-St.", random.below(3))] })
}

/// Two letters of the type, which no other type has, and a number.
pub(super) fn id(of: &str, number: usize) -> String {
    let capitals: String = of.chars().filter(char::is_ascii_uppercase).collect();
    let letters = if capitals.len() > 1 { &capitals } else { &of[..2] };
    format!("{}{number}", letters.to_lowercase())
}

fn reference(random: &mut Random, of: &str, base: &str) -> Value {
    let count = TYPES.iter().find(|(name, _)| *name == of).map_or(1, |(_, count)| *count);
    // One more than there are: some lead nowhere.
    let target = format!("{of}/{}", id(of, random.below(count + 1)));
    match random.below(14) {
        0 => json!({ "reference": format!("{base}/{target}") }),
        1 => json!({ "reference": format!("http://elsewhere.example.org/fhir/{target}") }),
        2 => json!({ "identifier": identifier(random) }),
        3 => json!({ "reference": format!("{target}/_history/1") }),
        4 => json!({ "display": "words" }),
        _ => json!({ "reference": target }),
    }
}

fn local(random: &mut Random, of: &str) -> Value {
    let count = TYPES.iter().find(|(name, _)| *name == of).map_or(1, |(_, count)| *count);
    json!({ "reference": format!("{of}/{}", id(of, random.below(count))) })
}

fn observed(random: &mut Random, into: &mut Map<String, Value>) {
    match random.below(8) {
        0..=3 => into.insert("valueQuantity".into(), quantity(random)),
        4 => into.insert("valueCodeableConcept".into(), concept(random)),
        5 => into.insert("valueString".into(), json!(random.pick(WORDS))),
        6 => into.insert("valueDateTime".into(), json!(when(random))),
        _ => None,
    };
}

/// One resource of the type.
pub(super) fn resource(random: &mut Random, of: &str, number: usize, base: &str) -> Value {
    let mut made = Map::new();
    match of {
        "Condition" => condition(random, &mut made, base),
        "Encounter" => encounter(random, &mut made, base),
        "List" => list(random, &mut made),
        "Location" => location(random, &mut made, base),
        "Medication" => medication(random, &mut made),
        "MedicationRequest" => prescription(random, &mut made, base),
        "Observation" => observation(random, &mut made, base),
        "Organization" => organization(random, &mut made, base),
        "Patient" => patient(random, &mut made, base),
        "RiskAssessment" => risk(random, &mut made, base),
        _ => value_set(random, &mut made),
    }
    made.insert("resourceType".into(), json!(of));
    made.insert("id".into(), json!(id(of, number)));
    let mut meta = Map::new();
    if random.chance(40) {
        meta.insert("tag".into(), json!([coding(random)]));
    }
    if random.chance(20) {
        meta.insert("source".into(), json!(random.pick(SOURCES)));
    }
    if random.chance(25) {
        meta.insert("profile".into(), json!([random.pick(PROFILES)]));
    }
    if random.chance(25) {
        meta.insert("security".into(), json!([coding(random)]));
    }
    if random.chance(30) {
        made.insert("text".into(), narrative(random));
    }
    if !meta.is_empty() {
        made.insert("meta".into(), Value::Object(meta));
    }
    Value::Object(made)
}

fn patient(random: &mut Random, into: &mut Map<String, Value>, base: &str) {
    let mut set = |name: &str, value: Value| into.insert(name.to_owned(), value);
    let mut names = Vec::new();
    for _ in 0..random.below(3) {
        let given: Vec<_> = (0..=random.below(2)).map(|_| random.pick(GIVEN)).collect();
        names.push(json!({ "family": random.pick(FAMILIES), "given": given }));
    }
    if !names.is_empty() {
        set("name", json!(names));
    }
    if random.chance(80) {
        set("gender", json!(random.pick(&["male", "female", "other"])));
    }
    if random.chance(80) {
        set("birthDate", json!(when(random).get(..10).unwrap_or("2020")));
    }
    match random.below(5) {
        0 => set("deceasedBoolean", json!(random.chance(50))),
        1 => set("deceasedDateTime", json!(when(random))),
        _ => None,
    };
    if random.chance(60) {
        set("active", json!(random.chance(50)));
    }
    if random.chance(60) {
        set("identifier", json!([identifier(random)]));
    }
    if random.chance(50) {
        let (system, value) =
            *random.pick(&[("phone", "555-1"), ("email", "a@b.org"), ("phone", "A@B.org")]);
        set("telecom", json!([{ "system": system, "value": value }]));
    }
    if random.chance(60) {
        set("address", json!([address(random)]));
    }
    if random.chance(60) {
        set("managingOrganization", reference(random, "Organization", base));
    }
    if random.chance(50) {
        let many: Vec<_> = (0..=random.below(2)).map(|_| local(random, "Organization")).collect();
        set("generalPractitioner", json!(many));
    }
}

fn organization(random: &mut Random, into: &mut Map<String, Value>, base: &str) {
    into.insert("name".into(), json!(format!("{} clinic", random.pick(CITIES))));
    if random.chance(50) {
        into.insert("alias".into(), json!([random.pick(FAMILIES)]));
    }
    if random.chance(70) {
        into.insert("address".into(), json!([address(random)]));
    }
    if random.chance(60) {
        into.insert("type".into(), json!([concept(random)]));
    }
    if random.chance(50) {
        into.insert("partOf".into(), reference(random, "Organization", base));
    }
    into.insert("active".into(), json!(random.chance(50)));
}

fn observation(random: &mut Random, into: &mut Map<String, Value>, base: &str) {
    into.insert("status".into(), json!(random.pick(&["final", "amended", "preliminary"])));
    into.insert("code".into(), concept(random));
    if random.chance(60) {
        into.insert("category".into(), json!([concept(random)]));
    }
    match random.below(10) {
        0..=5 => into.insert("effectiveDateTime".into(), json!(when(random))),
        6..=7 => into.insert("effectivePeriod".into(), period(random)),
        8 => {
            let point = *random.pick(&["2020-02-01T00:00:00Z", "2020-03-15T12:00:00.5+02:00"]);
            into.insert("effectiveInstant".into(), json!(point))
        }
        9 if random.chance(50) => {
            let timing = json!({ "event": [when(random), when(random)] });
            into.insert("effectiveTiming".into(), timing)
        }
        _ => None,
    };
    observed(random, into);
    if random.chance(40) {
        let parts: Vec<_> = (0..=random.below(4))
            .map(|_| {
                let mut part = Map::new();
                part.insert("code".into(), concept(random));
                observed(random, &mut part);
                Value::Object(part)
            })
            .collect();
        into.insert("component".into(), json!(parts));
    }
    if random.chance(85) {
        into.insert("subject".into(), reference(random, "Patient", base));
    }
    if random.chance(50) {
        into.insert("encounter".into(), reference(random, "Encounter", base));
    }
    if random.chance(40) {
        let of = *random.pick(&["Organization", "Patient"]);
        into.insert("performer".into(), json!([reference(random, of, base)]));
    }
    if random.chance(20) {
        into.insert("hasMember".into(), json!([local(random, "Observation")]));
    }
}

fn condition(random: &mut Random, into: &mut Map<String, Value>, base: &str) {
    into.insert("subject".into(), reference(random, "Patient", base));
    if random.chance(80) {
        into.insert("code".into(), concept(random));
    }
    match random.below(6) {
        0..=1 => into.insert("onsetDateTime".into(), json!(when(random))),
        2 => into.insert("onsetPeriod".into(), period(random)),
        3 => {
            let age = json!({ "value": random.between(1, 90), "system": "http://unitsofmeasure.org", "code": "a" });
            into.insert("onsetAge".into(), age)
        }
        4 => {
            let end = |value: f64| json!({ "value": value, "system": "http://unitsofmeasure.org", "code": "a" });
            let low = random.between(1, 50);
            into.insert(
                "onsetRange".into(),
                json!({ "low": end(between(low)), "high": end(between(low + 10)) }),
            )
        }
        _ => None,
    };
    if random.chance(40) {
        into.insert("recordedDate".into(), json!(when(random)));
    }
    if random.chance(40) {
        into.insert("encounter".into(), reference(random, "Encounter", base));
    }
}

fn encounter(random: &mut Random, into: &mut Map<String, Value>, base: &str) {
    into.insert("status".into(), json!(random.pick(&["finished", "planned", "cancelled"])));
    into.insert("class".into(), coding(random));
    if random.chance(80) {
        into.insert("period".into(), period(random));
    }
    if random.chance(80) {
        into.insert("subject".into(), reference(random, "Patient", base));
    }
    if random.chance(40) {
        into.insert("partOf".into(), local(random, "Encounter"));
    }
    if random.chance(50) {
        let (value, code) =
            *random.pick(&[(1, "h"), (60, "min"), (90, "min"), (2, "h"), (30, "min")]);
        into.insert("length".into(), json!({ "value": value, "unit": code, "system": "http://unitsofmeasure.org", "code": code }));
    }
    if random.chance(50) {
        into.insert("type".into(), json!([concept(random), concept(random)]));
    }
    if random.chance(50) {
        into.insert("serviceProvider".into(), reference(random, "Organization", base));
    }
}

fn location(random: &mut Random, into: &mut Map<String, Value>, base: &str) {
    into.insert("name".into(), json!(random.pick(CITIES)));
    if random.chance(70) {
        let latitude = f64::from(random.between(-80, 80) as i32);
        let longitude = f64::from(random.between(-179, 179) as i32);
        into.insert("position".into(), json!({ "latitude": latitude, "longitude": longitude }));
    }
    if random.chance(60) {
        into.insert("partOf".into(), local(random, "Location"));
    }
    if random.chance(60) {
        into.insert("managingOrganization".into(), reference(random, "Organization", base));
    }
}

fn medication(random: &mut Random, into: &mut Map<String, Value>) {
    into.insert("code".into(), concept(random));
    into.insert("status".into(), json!(random.pick(&["active", "inactive"])));
    if random.chance(60) {
        into.insert("ingredient".into(), json!([{ "itemCodeableConcept": concept(random) }]));
    }
    if random.chance(60) {
        into.insert(
            "batch".into(),
            json!({ "lotNumber": random.pick(&["lot 1", "LOT 1", "lot 12"]) }),
        );
    }
}

fn prescription(random: &mut Random, into: &mut Map<String, Value>, base: &str) {
    into.insert("status".into(), json!(random.pick(&["active", "stopped", "draft"])));
    into.insert("intent".into(), json!(random.pick(&["order", "plan"])));
    into.insert("subject".into(), reference(random, "Patient", base));
    if random.chance(60) {
        into.insert("authoredOn".into(), json!(when(random)));
    }
    match random.below(3) {
        0 => into.insert("medicationCodeableConcept".into(), concept(random)),
        1 => into.insert("medicationReference".into(), local(random, "Medication")),
        _ => {
            let mut inside = Map::new();
            medication(random, &mut inside);
            inside.insert("resourceType".into(), json!("Medication"));
            inside.insert("id".into(), json!("m"));
            let mut contained = vec![json!(inside)];
            if random.chance(50) {
                // No parameter refers to it: chains must not find it, nor mix it with the other.
                let mut other = Map::new();
                medication(random, &mut other);
                other.insert("resourceType".into(), json!("Medication"));
                other.insert("id".into(), json!("n"));
                contained.insert(random.below(2), json!(other));
                let refers = json!({ "url": "http://example.org/other", "valueReference": { "reference": "#n" } });
                into.insert("extension".into(), json!([refers]));
            }
            into.insert("contained".into(), json!(contained));
            into.insert("medicationReference".into(), json!({ "reference": "#m" }))
        }
    };
}

fn risk(random: &mut Random, into: &mut Map<String, Value>, base: &str) {
    into.insert("status".into(), json!("final"));
    into.insert("subject".into(), reference(random, "Patient", base));
    let predictions: Vec<_> = (0..random.below(3))
        .map(|_| match random.below(4) {
            0 => {
                let low = random.between(1, 40);
                json!({ "probabilityRange": { "low": { "value": between(low) }, "high": { "value": between(low + 20) } } })
            }
            _ => json!({ "probabilityDecimal": random.pick(&[0.5, 1.0, 5.0, 5.05, 10.0, 99.5, 100.0]) }),
        })
        .collect();
    if !predictions.is_empty() {
        into.insert("prediction".into(), json!(predictions));
    }
}

fn list(random: &mut Random, into: &mut Map<String, Value>) {
    into.insert("status".into(), json!("current"));
    into.insert("mode".into(), json!("changes"));
    let entries: Vec<_> = (0..=random.below(8))
        .map(|_| {
            let of = TYPES[random.below(TYPES.len())].0;
            let mut entry = json!({ "item": local(random, of) });
            if random.chance(20) {
                entry["deleted"] = json!(true);
            }
            entry
        })
        .collect();
    into.insert("entry".into(), json!(entries));
}

fn value_set(random: &mut Random, into: &mut Map<String, Value>) {
    into.insert("status".into(), json!(random.pick(&["draft", "active"])));
    let urls = [
        "http://example.org/a",
        "http://example.org/a/b",
        "http://example.org/a/b/c",
        "urn:oid:1.2.3",
        "urn:oid:1.2",
        "http://Example.org/a",
    ];
    if random.chance(85) {
        into.insert("url".into(), json!(random.pick(&urls)));
    }
    if random.chance(60) {
        into.insert("version".into(), json!(random.pick(&["1.0", "1.1", "2.0"])));
    }
    into.insert("name".into(), json!(random.pick(&["SetOne", "Settwo", "Other"])));
    let codes: Vec<_> =
        (0..=random.below(3)).map(|_| json!({ "code": random.pick(CODES) })).collect();
    let system = random.pick(SYSTEMS);
    into.insert("compose".into(), json!({ "include": [{ "system": system, "concept": codes }] }));
}
