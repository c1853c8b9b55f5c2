//! Random patients, what is theirs, and references across.

use std::fmt::Write as _;

pub(super) const PATIENTS: [&str; 3] = ["p0", "p1", "p2"];

/// What is confidential is labelled by.
pub(super) const LABEL: &str = "R";

/// What may be labelled.
const LABELLED: &[&str] = &["Device", "DiagnosticReport", "Encounter", "Observation", "Task"];

/// Numbers by chance, the same each time by the same seed.
pub(super) struct Chance(u64);

impl Chance {
    /// `of` tells those apart that have the same seed.
    pub(super) fn new(seed: u64, of: u64) -> Self {
        let mut chance = Self((seed ^ (of << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..16 {
            chance.below(2);
        }
        chance
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }

    pub(super) fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    pub(super) fn patient(&mut self) -> &'static str {
        self.of(&PATIENTS)
    }
}

/// A resource and its content.
#[derive(Clone)]
pub(super) struct Made {
    pub(super) path: String,
    pub(super) content: String,
}

impl Made {
    fn new(path: String, content: String) -> Self {
        Self { path, content }
    }
}

fn observation(at: usize, chance: &mut Chance) -> Made {
    let (subject, code) = (chance.patient(), chance.of(&["x", "y", "z"]));
    let mut more = String::new();
    if chance.below(4) == 0 {
        let other = chance.patient();
        let _ = write!(more, r#","performer":[{{"reference":"Patient/{other}"}}]"#);
    }
    if chance.below(3) == 0 {
        let _ = write!(more, r#","focus":[{{"reference":"Patient/{}"}}]"#, chance.patient());
    }
    if at > 0 && chance.below(2) == 0 {
        let member = chance.below(at);
        let _ = write!(more, r#","hasMember":[{{"reference":"Observation/o{member}"}}]"#);
    }
    let category = chance.of(&["laboratory", "vital-signs"]);
    let content = format!(
        r#""status":"final","category":[{{"coding":[{{"system":"urn:cat","code":"{category}"}}]}}],"code":{{"coding":[{{"system":"urn:c","code":"{code}"}}]}},"subject":{{"reference":"Patient/{subject}"}},"encounter":{{"reference":"Encounter/e{}"}},"valueQuantity":{{"value":{}}}{more}"#,
        chance.below(12),
        chance.below(10),
    );
    Made::new(format!("Observation/o{at}"), content)
}

/// Appointments of two, devices of one or none, and Provenances.
fn around(chance: &mut Chance) -> Vec<Made> {
    let mut all = Vec::new();
    for at in 0..8 {
        let both = [chance.patient(), chance.patient()];
        let actor =
            |id: &str| format!(r#"{{"actor":{{"reference":"Patient/{id}"}},"status":"accepted"}}"#);
        let content =
            format!(r#""status":"proposed","participant":[{},{}]"#, actor(both[0]), actor(both[1]));
        all.push(Made::new(format!("Appointment/a{at}"), content));
    }
    for at in 0..6 {
        let patient = (chance.below(2) == 0).then(|| chance.patient());
        let content = patient.map_or(r#""status":"active""#.to_owned(), |patient| {
            format!(r#""status":"active","patient":{{"reference":"Patient/{patient}"}}"#)
        });
        all.push(Made::new(format!("Device/v{at}"), content));
    }
    for at in 0..10 {
        let list: Vec<String> = (0..=chance.below(2))
            .map(|_| format!(r#"{{"reference":"Observation/o{}"}}"#, chance.below(40)))
            .collect();
        let content = format!(
            r#""target":[{}],"recorded":"2020-01-01T00:00:00Z","agent":[{{"who":{{"reference":"Practitioner/d"}}}}]"#,
            list.join(",")
        );
        all.push(Made::new(format!("Provenance/n{at}"), content));
    }
    all
}

/// Documents and other Bundles.
fn bundles(chance: &mut Chance) -> Vec<Made> {
    let mut all = Vec::new();
    for at in 0..10 {
        let (subject, other) = (chance.patient(), chance.patient());
        let is_document = chance.below(4) > 0;
        let mut entries = format!(
            r#"{{"fullUrl":"{}","resource":{{"resourceType":"Composition","status":"final","type":{{"text":"t"}},"subject":{{"reference":"Patient/{subject}"}},"date":"2020","author":[{{"reference":"Practitioner/d"}}],"title":"t"}}}}"#,
            urn(1)
        );
        // All that a Composition refers to is in the document.
        for (number, of, id) in [(4, "Patient", subject), (5, "Practitioner", "d")] {
            let _ = write!(
                entries,
                r#",{{"fullUrl":"{}","resource":{{"resourceType":"{of}","id":"{id}"}}}}"#,
                urn(number)
            );
        }
        if chance.below(2) == 0 {
            let _ = write!(
                entries,
                r#",{{"fullUrl":"{}","resource":{{"resourceType":"Observation","status":"final","code":{{"coding":[{{"system":"urn:c","code":"x"}}]}},"subject":{{"reference":"Patient/{other}"}}}}}}"#,
                urn(2)
            );
        }
        if chance.below(3) == 0 {
            let named = format!("Observation/o{}", chance.below(40));
            let _ = write!(
                entries,
                r#",{{"fullUrl":"{}","resource":{{"resourceType":"List","status":"current","mode":"working","entry":[{{"item":{{"reference":"{named}"}}}}]}}}}"#,
                urn(3)
            );
        }
        let kind = if is_document { "document" } else { "collection" };
        let content = format!(
            r#""type":"{kind}","identifier":{{"system":"urn:d","value":"{at}"}},"timestamp":"2020-01-01T00:00:00Z","entry":[{entries}]"#
        );
        all.push(Made::new(format!("Bundle/b{at}"), content));
    }
    all
}

/// Tasks and Groups.
fn beside(chance: &mut Chance) -> Vec<Made> {
    let mut all = Vec::new();
    for at in 0..10 {
        let focus = format!("Observation/o{}", chance.below(40));
        let whom = (chance.below(2) == 0).then(|| format!("Patient/{}", chance.patient()));
        let mut content =
            format!(r#""status":"requested","intent":"order","focus":{{"reference":"{focus}"}}"#);
        if let Some(whom) = &whom {
            let _ = write!(content, r#","for":{{"reference":"{whom}"}}"#);
        }
        all.push(Made::new(format!("Task/t{at}"), content));
    }
    for at in 0..6 {
        let both = [chance.patient(), chance.patient()];
        let member = |id: &str| format!(r#"{{"entity":{{"reference":"Patient/{id}"}}}}"#);
        let content = format!(
            r#""type":"person","actual":true,"name":"n","member":[{},{}]"#,
            member(both[0]),
            member(both[1])
        );
        all.push(Made::new(format!("Group/g{at}"), content));
    }
    all
}

fn urn(number: u32) -> String {
    format!("urn:uuid:11111111-1111-4111-8111-11111111111{number}")
}

pub(super) fn world(chance: &mut Chance) -> Vec<Made> {
    let mut all = vec![Made::new("Practitioner/d".into(), r#""active":true"#.into())];
    for (at, patient) in PATIENTS.iter().copied().enumerate() {
        let link = PATIENTS[(at + 1) % 3];
        let content = format!(
            r#""name":[{{"family":"Family{at}"}}],"gender":"female","generalPractitioner":[{{"reference":"Practitioner/d"}}],"link":[{{"other":{{"reference":"Patient/{link}"}},"type":"seealso"}}]"#
        );
        all.push(Made::new(format!("Patient/{patient}"), content));
    }
    for at in 0..12 {
        let patient = chance.patient();
        let parent = chance.below(12);
        let content = format!(
            r#""status":"finished","class":{{"code":"AMB"}},"subject":{{"reference":"Patient/{patient}"}},"partOf":{{"reference":"Encounter/e{parent}"}}"#
        );
        all.push(Made::new(format!("Encounter/e{at}"), content));
    }
    all.extend((0..40).map(|at| observation(at, chance)));
    for at in 0..10 {
        let patient = chance.patient();
        let results = [chance.below(40), chance.below(40)];
        let content = format!(
            r#""status":"final","code":{{"coding":[{{"code":"r"}}]}},"subject":{{"reference":"Patient/{patient}"}},"result":[{{"reference":"Observation/o{}"}},{{"reference":"Observation/o{}"}}]"#,
            results[0], results[1],
        );
        all.push(Made::new(format!("DiagnosticReport/r{at}"), content));
    }
    all.extend(around(chance));
    all.extend(bundles(chance));
    all.extend(beside(chance));
    for made in &mut all {
        let of = made.path.split('/').next().unwrap_or_default();
        if LABELLED.contains(&of) && chance.below(3) == 0 {
            let system = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";
            made.content = format!(
                r#""meta":{{"security":[{{"system":"{system}","code":"{LABEL}"}}]}},{}"#,
                made.content
            );
        }
    }
    all
}

/// The same with another value in each thing that may be asked for. References stay as they are: whose it is
/// does not change.
pub(super) fn changed(path: &str, content: &str) -> String {
    let (of, _) = path.split_once('/').expect("a path");
    let swapped: &[(&str, &str)] = match of {
        "Bundle" | "Provenance" => &[("2020-01-01T", "2021-01-01T")],
        "Group" => &[(r#""name":"n""#, r#""name":"m""#)],
        "Task" => &[(r#""status":"requested""#, r#""status":"accepted""#)],
        "Appointment" => &[(r#""status":"proposed""#, r#""status":"cancelled""#)],
        "Device" => &[(r#""status":"active""#, r#""status":"inactive""#)],
        "DiagnosticReport" => {
            &[(r#""status":"final""#, r#""status":"amended""#), (r#""code":"r""#, r#""code":"x""#)]
        }
        "Encounter" => &[(r#""status":"finished""#, r#""status":"cancelled""#), ("AMB", "IMP")],
        "Observation" => &[(r#""code":"x""#, r#""code":"y""#)],
        "Patient" => &[(r#":"female""#, r#":"male""#), (r#""family":"F"#, r#""family":"Other-f"#)],
        "Practitioner" => &[(r#""active":true"#, r#""active":false"#)],
        _ => &[],
    };
    let mut text = content.to_owned();
    for (one, other) in swapped {
        let (from, to) = if text.contains(one) { (one, other) } else { (other, one) };
        text = text.replace(from, to);
    }
    let value = r#""valueQuantity":{"value":"#;
    if let Some((before, rest)) = text.split_once(value) {
        let (number, rest) = rest.split_at(1);
        let number: u8 = number.parse().expect("a digit");
        text = format!("{before}{value}{}{rest}", 9 - number);
    }
    assert_ne!(text, content, "{path} is as it was");
    text
}
