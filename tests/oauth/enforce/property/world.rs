//! Random patients, what is theirs, references across, and whose it is by the documents alone.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::super::masked::GONE;

pub(super) const PATIENTS: [&str; 3] = ["p0", "p1", "p2"];

/// Numbers by chance, the same each time.
pub(super) struct Chance(pub(super) u64);

impl Chance {
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

/// A resource, and what says whose it is.
#[derive(Clone)]
pub(super) struct Made {
    pub(super) path: String,
    pub(super) content: String,
    pub(super) patients: BTreeSet<&'static str>,
    targets: Vec<String>,
    /// What else tells whose it is, to whom somebody denies something.
    names: Vec<String>,
    /// Of what types the resources in it are.
    holds: Vec<&'static str>,
    /// Of whom a document is.
    subject: Option<&'static str>,
    /// Whether it is nobody's by a token of a patient.
    is_nobodys: bool,
    is_shared: bool,
    is_device: bool,
    /// Whether who has a part in it sees that part.
    is_in_part: bool,
}

impl Made {
    fn new(path: String, content: String, patients: &[&'static str]) -> Self {
        let patients = patients.iter().copied().collect();
        Self {
            path,
            content,
            patients,
            targets: Vec::new(),
            names: Vec::new(),
            holds: Vec::new(),
            subject: None,
            is_nobodys: false,
            is_shared: false,
            is_device: false,
            is_in_part: false,
        }
    }

    pub(super) fn is_of(&self, patient: &str, all: &[Self]) -> bool {
        if self.path == format!("Patient/{patient}") || self.is_shared {
            return true;
        }
        if self.path.starts_with("Patient/") || self.is_nobodys {
            return false;
        }
        if self.path.starts_with("Bundle/") {
            return self.subject == Some(patient);
        }
        if !self.targets.is_empty() {
            return self.targets.iter().all(|target| {
                all.iter().any(|other| other.path == *target && other.is_of(patient, all))
            });
        }
        if self.is_in_part {
            return self.patients.contains(patient);
        }
        let is_own = self.patients.iter().all(|other| *other == patient);
        is_own && (self.is_device || !self.patients.is_empty())
    }
}

impl Made {
    /// Whether it is about something that this patient has a part in.
    pub(super) fn is_about(&self, patient: &str, all: &[Self]) -> bool {
        let is_theirs = |target: &String| {
            all.iter().any(|other| other.path == *target && other.patients.contains(patient))
        };
        self.targets.iter().chain(&self.names).any(is_theirs)
    }

    /// Whether a resource of a type is in it, or it is one.
    pub(super) fn has_some(&self, of: &str) -> bool {
        self.holds.contains(&of) || self.path.split('/').next() == Some(of)
    }

    /// What of it this patient sees.
    pub(super) fn part_of(&self, patient: &str) -> Self {
        let mut part = self.clone();
        for other in PATIENTS.iter().filter(|other| self.is_in_part && **other != patient) {
            let reference = format!(r#"{{"reference":"Patient/{other}"}}"#);
            part.content = part.content.replace(&reference, GONE);
        }
        part
    }
}

fn observation(at: usize, chance: &mut Chance) -> Made {
    let (subject, code) = (chance.patient(), chance.of(&["x", "y", "z"]));
    let mut patients = vec![subject];
    let mut more = String::new();
    if chance.below(4) == 0 {
        let other = chance.patient();
        patients.push(other);
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
    Made::new(format!("Observation/o{at}"), content, &patients)
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
        all.push(Made {
            is_in_part: true,
            ..Made::new(format!("Appointment/a{at}"), content, &both)
        });
    }
    for at in 0..6 {
        let patient = (chance.below(2) == 0).then(|| chance.patient());
        let content = patient.map_or(r#""status":"active""#.to_owned(), |patient| {
            format!(r#""status":"active","patient":{{"reference":"Patient/{patient}"}}"#)
        });
        let patients: Vec<_> = patient.into_iter().collect();
        all.push(Made {
            is_device: true,
            ..Made::new(format!("Device/v{at}"), content, &patients)
        });
    }
    for at in 0..10 {
        let targets: Vec<String> =
            (0..=chance.below(2)).map(|_| format!("Observation/o{}", chance.below(40))).collect();
        let list: Vec<String> =
            targets.iter().map(|target| format!(r#"{{"reference":"{target}"}}"#)).collect();
        let content = format!(
            r#""target":[{}],"recorded":"2020-01-01T00:00:00Z","agent":[{{"who":{{"reference":"Practitioner/d"}}}}]"#,
            list.join(",")
        );
        all.push(Made { targets, ..Made::new(format!("Provenance/n{at}"), content, &[]) });
    }
    all
}

/// Documents and other Bundles.
fn bundles(chance: &mut Chance) -> Vec<Made> {
    let mut all = Vec::new();
    for at in 0..10 {
        let (subject, other) = (chance.patient(), chance.patient());
        let is_document = chance.below(4) > 0;
        let mut made = Made::new(format!("Bundle/b{at}"), String::new(), &[]);
        made.holds = vec!["Composition"];
        made.names = vec![format!("Patient/{subject}")];
        made.subject = is_document.then_some(subject);
        let mut entries = format!(
            r#"{{"fullUrl":"{}","resource":{{"resourceType":"Composition","status":"final","type":{{"text":"t"}},"subject":{{"reference":"Patient/{subject}"}},"date":"2020","author":[{{"reference":"Practitioner/d"}}],"title":"t"}}}}"#,
            urn(1)
        );
        // All that a Composition refers to is in the document.
        for (number, of, id) in [(4, "Patient", subject), (5, "Practitioner", "d")] {
            made.holds.push(of);
            let _ = write!(
                entries,
                r#",{{"fullUrl":"{}","resource":{{"resourceType":"{of}","id":"{id}"}}}}"#,
                urn(number)
            );
        }
        if chance.below(2) == 0 {
            made.holds.push("Observation");
            made.names.push(format!("Patient/{other}"));
            let _ = write!(
                entries,
                r#",{{"fullUrl":"{}","resource":{{"resourceType":"Observation","status":"final","code":{{"coding":[{{"system":"urn:c","code":"x"}}]}},"subject":{{"reference":"Patient/{other}"}}}}}}"#,
                urn(2)
            );
        }
        if chance.below(3) == 0 {
            let named = format!("Observation/o{}", chance.below(40));
            made.holds.push("List");
            let _ = write!(
                entries,
                r#",{{"fullUrl":"{}","resource":{{"resourceType":"List","status":"current","mode":"working","entry":[{{"item":{{"reference":"{named}"}}}}]}}}}"#,
                urn(3)
            );
            made.names.push(named);
        }
        let kind = if is_document { "document" } else { "collection" };
        made.content = format!(
            r#""type":"{kind}","identifier":{{"system":"urn:d","value":"{at}"}},"timestamp":"2020-01-01T00:00:00Z","entry":[{entries}]"#
        );
        all.push(made);
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
        let names = whom.into_iter().chain([focus]).collect();
        let made = Made::new(format!("Task/t{at}"), content, &[]);
        all.push(Made { names, is_nobodys: true, ..made });
    }
    for at in 0..6 {
        let both = [chance.patient(), chance.patient()];
        let member = |id: &str| format!(r#"{{"entity":{{"reference":"Patient/{id}"}}}}"#);
        let content = format!(
            r#""type":"person","actual":true,"name":"n","member":[{},{}]"#,
            member(both[0]),
            member(both[1])
        );
        let names = both.iter().map(|id| format!("Patient/{id}")).collect();
        let made = Made::new(format!("Group/g{at}"), content, &both);
        all.push(Made { names, is_nobodys: true, ..made });
    }
    all
}

fn urn(number: u32) -> String {
    format!("urn:uuid:11111111-1111-4111-8111-11111111111{number}")
}

pub(super) fn world(chance: &mut Chance) -> Vec<Made> {
    let mut all = vec![Made {
        is_shared: true,
        ..Made::new("Practitioner/d".into(), r#""active":true"#.into(), &[])
    }];
    for (at, patient) in PATIENTS.iter().copied().enumerate() {
        let link = PATIENTS[(at + 1) % 3];
        let content = format!(
            r#""name":[{{"family":"Family{at}"}}],"gender":"female","generalPractitioner":[{{"reference":"Practitioner/d"}}],"link":[{{"other":{{"reference":"Patient/{link}"}},"type":"seealso"}}]"#
        );
        all.push(Made::new(format!("Patient/{patient}"), content, &[patient]));
    }
    for at in 0..12 {
        let patient = chance.patient();
        let parent = chance.below(12);
        let content = format!(
            r#""status":"finished","class":{{"code":"AMB"}},"subject":{{"reference":"Patient/{patient}"}},"partOf":{{"reference":"Encounter/e{parent}"}}"#
        );
        all.push(Made::new(format!("Encounter/e{at}"), content, &[patient]));
    }
    all.extend((0..40).map(|at| observation(at, chance)));
    for at in 0..10 {
        let patient = chance.patient();
        let results = [chance.below(40), chance.below(40)];
        let content = format!(
            r#""status":"final","code":{{"coding":[{{"code":"r"}}]}},"subject":{{"reference":"Patient/{patient}"}},"result":[{{"reference":"Observation/o{}"}},{{"reference":"Observation/o{}"}}]"#,
            results[0], results[1],
        );
        all.push(Made::new(format!("DiagnosticReport/r{at}"), content, &[patient]));
    }
    all.extend(around(chance));
    all.extend(bundles(chance));
    all.extend(beside(chance));
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
