//! Who a patient is: race and sex, names and addresses, identifiers, contacts, insurance.

use jiff::civil::Date;

use super::build::{
    Code, Doc, SNOMED, TODAY, Val, coding, concept, day, days_after, list, plain_concept,
};
use super::chart::Chart;
use super::names::{FAMILY, FEMALE, MALE, TOWNS};
use super::patient::YEARS;
use super::random::Random;
use super::world::{PAYERS, address, phone};

const RACES: &[Code] = &[
    Code(RACE_SYSTEM, "2106-3", "White"),
    Code(RACE_SYSTEM, "2106-3", "White"),
    Code(RACE_SYSTEM, "2106-3", "White"),
    Code(RACE_SYSTEM, "2054-5", "Black or African American"),
    Code(RACE_SYSTEM, "2028-9", "Asian"),
];
const RACE_SYSTEM: &str = "urn:oid:2.16.840.1.113883.6.238";
/// Race, ethnicity, sex and gender; one in twenty belongs to a tribe.
pub(super) fn extensions(random: &mut Random, is_female: bool, turn: u64) -> Vec<Val> {
    let is_native = turn % 20 == 5;
    let native = Code(RACE_SYSTEM, "1002-5", "American Indian or Alaska Native");
    let race = if is_native { native } else { *random.pick(RACES) };
    let ethnicity = if random.chance(15) {
        Code(RACE_SYSTEM, "2135-2", "Hispanic or Latino")
    } else {
        Code(RACE_SYSTEM, "2186-5", "Not Hispanic or Latino")
    };
    let grouped = |url: &'static str, code: Code| -> Val {
        let category = Doc::new().with("url", "ombCategory").with("valueCoding", coding(code));
        let text = Doc::new().with("url", "text").with("valueString", code.2);
        let parts: Vec<Val> = vec![category.into(), text.into()];
        Doc::new().with("url", url).with("extension", parts).into()
    };
    let simple = |url: &'static str, name: &'static str, value: Val| -> Val {
        Doc::new().with("url", url).with(name, value).into()
    };
    let (sex, gender) = if is_female {
        ("248152002", Code(SNOMED, "446141000124107", "Identifies as female gender"))
    } else {
        ("248153007", Code(SNOMED, "446151000124109", "Identifies as male gender"))
    };
    let mut all = vec![
        grouped("http://hl7.org/fhir/us/core/StructureDefinition/us-core-race", race),
        grouped("http://hl7.org/fhir/us/core/StructureDefinition/us-core-ethnicity", ethnicity),
        Doc::new()
            .with("url", "http://hl7.org/fhir/us/core/StructureDefinition/us-core-birthsex")
            .with("valueCode", if is_female { "F" } else { "M" })
            .into(),
        simple(
            "http://hl7.org/fhir/us/core/StructureDefinition/us-core-sex",
            "valueCode",
            sex.into(),
        ),
        simple(
            "http://hl7.org/fhir/us/core/StructureDefinition/us-core-genderIdentity",
            "valueCodeableConcept",
            concept(gender),
        ),
    ];
    if is_native {
        let tribe = Code(
            "http://terminology.hl7.org/CodeSystem/v3-TribalEntityUS",
            "100",
            "Havasupai Tribe of the Havasupai Reservation, Arizona",
        );
        let parts = vec![
            simple("tribalAffiliation", "valueCodeableConcept", concept(tribe)),
            simple("isEnrolled", "valueBoolean", true.into()),
        ];
        let url = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-tribal-affiliation";
        all.push(Doc::new().with("url", url).with("extension", parts).into());
    }
    all
}

/// The name, for some with a suffix, and the name before a marriage.
pub(super) fn names(
    random: &mut Random,
    name: Doc,
    (turn, may_have_married): (u64, bool),
    since: Date,
) -> Vec<Val> {
    let before = *random.pick(FAMILY);
    let mut name = name;
    if turn % 10 == 7 {
        name.set("suffix", list("Jr."));
    }
    if !may_have_married || !turn.is_multiple_of(2) {
        return list(name);
    }
    let given = name.get("given").cloned().unwrap_or_else(|| Vec::<Val>::new().into());
    name.set("period", Doc::new().with("start", day(since)));
    let old = Doc::new()
        .with("use", "old")
        .with("family", before)
        .with("given", given)
        .with("period", Doc::new().with("end", day(since)));
    vec![name.into(), old.into()]
}

/// Where the patient lives, and for one in four where before.
pub(super) fn addresses(
    random: &mut Random,
    now: Doc,
    turn: u64,
    (born, since): (Date, Date),
) -> Vec<Val> {
    let since = days_after(since, 30).min(TODAY);
    let before = address(random.pick(TOWNS), random);
    if turn % 4 != 2 {
        return list(now.with("period", Doc::new().with("start", day(born))));
    }
    let now = now.with("period", Doc::new().with("start", day(since)));
    let old = Doc::new().with("start", day(born)).with("end", day(since));
    vec![now.into(), before.with("use", "old").with("period", old).into()]
}

/// A record number, and for adults a licence and a social security number of the unused 9xx range.
pub(super) fn identifiers(random: &mut Random, id: &str, adult: bool) -> Vec<Val> {
    let identifier = |kind: (&'static str, &'static str), system: &'static str, value: String| {
        let kind = Code("http://terminology.hl7.org/CodeSystem/v2-0203", kind.0, kind.1);
        Val::from(
            Doc::new().with("type", concept(kind)).with("system", system).with("value", value),
        )
    };
    let number = format!("MRN-{}", id.get(..8).unwrap_or(id));
    let mut all =
        vec![identifier(("MR", "Medical record number"), "urn:kiln:demo:record-number", number)];
    if adult {
        let social =
            format!("999-{:02}-{:04}", random.between(10, 99), random.between(1_000, 9_999));
        all.push(identifier(
            ("SS", "Social Security number"),
            "http://hl7.org/fhir/sid/us-ssn",
            social,
        ));
        let licence = format!("S{:08}", random.between(99_000_000, 99_999_999));
        all.push(identifier(
            ("DL", "Driver's license number"),
            "urn:oid:2.16.840.1.113883.4.3.25",
            licence,
        ));
    }
    all
}

/// Who is to be called.
pub(super) fn family_contact(random: &mut Random, family: &'static str, adult: bool) -> Doc {
    let is_female = random.chance(50);
    let given = *random.pick(if is_female { FEMALE } else { MALE });
    let role = "http://terminology.hl7.org/CodeSystem/v3-RoleCode";
    let kind = match (adult, is_female) {
        (true, _) => Code("http://terminology.hl7.org/CodeSystem/v2-0131", "N", "Next-of-Kin"),
        (false, true) => Code(role, "MTH", "mother"),
        (false, false) => Code(role, "FTH", "father"),
    };
    Doc::new()
        .with("relationship", list(concept(kind)))
        .with("name", Doc::new().with("family", family).with("given", list(given)))
        .with("telecom", list(phone(random, "home")))
}

/// What the patient speaks.
pub(super) fn language(random: &mut Random) -> Doc {
    let code = if random.chance(85) { ("en", "English") } else { ("es", "Spanish") };
    Doc::new()
        .with("language", concept(Code("urn:ietf:bcp:47", code.0, code.1)))
        .with("preferred", true)
}

/// Who pays.
pub(super) fn add_coverage(chart: &mut Chart<'_>) {
    let start = days_after(TODAY, -YEARS * 366).max(chart.born);
    let is_old = chart.age_at(start) >= 65;
    let payer = if is_old { 0 } else { chart.random.between(1, PAYERS.len() as i64 - 1) as usize };
    chart.payer = PAYERS[payer];
    let number = format!("D{:09}", chart.random.between(0, 999_999_999));
    let (code, display) =
        if chart.age_at(chart.end()) < 18 { ("child", "Child") } else { ("self", "Self") };
    let end = chart.died.map(day);
    let kind =
        Code("http://terminology.hl7.org/CodeSystem/v3-ActCode", "EHCPOL", "extended healthcare");
    let holder =
        Code("http://terminology.hl7.org/CodeSystem/subscriber-relationship", code, display);
    let member = Doc::new()
        .with(
            "type",
            concept(Code("http://terminology.hl7.org/CodeSystem/v2-0203", "MB", "Member Number")),
        )
        .with("system", "urn:kiln:demo:member-number")
        .with("value", number.clone());
    let doc = chart
        .resource("Coverage")
        .with("identifier", list(member))
        .with("status", "active")
        .with("type", concept(kind))
        .with("subscriberId", number)
        .with("beneficiary", chart.subject())
        .with("relationship", concept(holder))
        .with("period", Doc::new().with("start", day(start)).with_some("end", end))
        .with("payor", list(chart.practice.payer(payer).reference()))
        .with("class", classes(chart.payer));
    let summary = format!("{} covers {}", chart.payer, chart.patient.display);
    chart.coverage = chart.add(doc, &summary);
}

fn classes(payer: &'static str) -> Vec<Val> {
    let class = |kind: &'static str, value: &'static str, name: String| -> Val {
        let system = "http://terminology.hl7.org/CodeSystem/coverage-class";
        Doc::new()
            .with("type", plain_concept(system, kind))
            .with("value", value)
            .with("name", name)
            .into()
    };
    vec![
        class("group", "G-100", format!("{payer}, employees")),
        class("plan", "P-20", format!("{payer}, standard plan")),
    ]
}

/// Married or not, as people of `age` are.
pub(super) fn marital_status(random: &mut Random, age: i64) -> Code {
    let (code, display) = match random.between(1, 100) {
        _ if age < 22 => ("S", "Never Married"),
        1..=30 if age >= 75 => ("W", "Widowed"),
        1..=55 => ("M", "Married"),
        56..=70 if age >= 30 => ("D", "Divorced"),
        _ => ("S", "Never Married"),
    };
    Code("http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", code, display)
}
