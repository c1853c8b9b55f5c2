//! One patient's life: who it is, and the visits of the last years.

use jiff::civil::{Date, DateTime, Weekday};

use super::build::{
    Code, Doc, TODAY, Val, coding, concept, day, days_after, days_between, list, minutes_after,
    moment, period, plain_coding, plain_concept, quantity, reference,
};
use super::chart::{Chart, Encounter};
use super::names::{FAMILY, FEMALE, MALE, TOWNS};
use super::random::Random;
use super::tables::{CHECK_UP, EMERGENCY, FOLLOW_UP, SYMPTOM, VIDEO, Visit};
use super::world::{Practice, address, phone};
use super::{claims, clinical, observations};

/// Years of history that a patient has.
const YEARS: i64 = 5;

const RACES: &[Code] = &[
    Code(RACE_SYSTEM, "2106-3", "White"),
    Code(RACE_SYSTEM, "2106-3", "White"),
    Code(RACE_SYSTEM, "2106-3", "White"),
    Code(RACE_SYSTEM, "2054-5", "Black or African American"),
    Code(RACE_SYSTEM, "2028-9", "Asian"),
];
const RACE_SYSTEM: &str = "urn:oid:2.16.840.1.113883.6.238";
const PAYERS: &[&str] = &["Harbor Mutual", "Bay State Health Plan", "Granite Insurance"];

/// The entries of the patient `index`'s Bundle.
pub(super) fn entries(
    seed: u64,
    index: u64,
    practice: &Practice,
    with_narratives: bool,
) -> Vec<Val> {
    let mut random = Random::new(seed, index.wrapping_mul(2));
    let id = random.uuid();
    let is_female = random.chance(51);
    let given = *random.pick(if is_female { FEMALE } else { MALE });
    let names: &[&str] = if is_female { FEMALE } else { MALE };
    let mut middle = *random.pick(names);
    while middle == given {
        middle = *random.pick(names);
    }
    let family = *random.pick(FAMILY);
    let born = days_after(TODAY, -random.between(200, 33_500));
    let name = format!("{given} {family}");
    let mut chart = Chart::new(random, practice, &id, name, born, is_female);
    chart.with_narratives = with_narratives;
    let patient = patient_resource(&mut chart, id, given, middle, family);
    let summary = format!("{}, born {}", chart.patient.display, day(born));
    chart.add(patient, &summary);
    add_coverage(&mut chart);
    live(&mut chart);
    chart.into_entries()
}

fn patient_resource(
    chart: &mut Chart<'_>,
    id: String,
    given: &'static str,
    middle: &'static str,
    family: &'static str,
) -> Doc {
    let home = chart.practice.practitioner(chart.home);
    let organization = chart.practice.organization(chart.home);
    let (born, died, is_female) = (chart.born, chart.died, chart.is_female);
    let age = chart.age_at(chart.end());
    let adult = age >= 18;
    let random = &mut chart.random;
    let mut name = Doc::new()
        .with("use", "official")
        .with("family", family)
        .with("given", vec![Val::from(given), middle.into()]);
    if adult {
        name.set("prefix", list(if is_female { "Ms." } else { "Mr." }));
    }
    let mail = format!("{}.{}{}@example.org", lower(given), lower(family), random.between(1, 999));
    let mut telecom = vec![phone(random, "home")];
    if age >= 13 {
        telecom.push(phone(random, "mobile"));
        let mail = Doc::new().with("system", "email").with("value", mail).with("use", "home");
        telecom.push(mail.into());
    }
    let town = random.pick(TOWNS);
    let marital = adult.then(|| marital_status(random, age));
    let kept = family_contact(random, family, adult);
    Doc::new()
        .with("resourceType", "Patient")
        .with("extension", extensions(random, is_female))
        .with("identifier", identifiers(random, &id, adult))
        .with("id", id)
        .with("active", true)
        .with("name", list(name))
        .with("telecom", telecom)
        .with("gender", if is_female { "female" } else { "male" })
        .with("birthDate", day(born))
        .with_some("deceasedBoolean", died.is_none().then_some(false))
        .with_some("deceasedDateTime", died.map(day))
        .with("address", list(address(town, random).with("use", "home")))
        .with_some("maritalStatus", marital.map(concept))
        .with("multipleBirthBoolean", false)
        .with("contact", list(kept))
        .with("communication", list(language(random)))
        .with("generalPractitioner", list(home.reference()))
        .with("managingOrganization", organization.reference())
}

fn marital_status(random: &mut Random, age: i64) -> Code {
    let (code, display) = match random.between(1, 100) {
        _ if age < 22 => ("S", "Never Married"),
        1..=30 if age >= 75 => ("W", "Widowed"),
        1..=55 => ("M", "Married"),
        56..=70 if age >= 30 => ("D", "Divorced"),
        _ => ("S", "Never Married"),
    };
    Code("http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", code, display)
}

fn lower(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_lowercase()
}

fn extensions(random: &mut Random, is_female: bool) -> Vec<Val> {
    let race = *random.pick(RACES);
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
    vec![
        grouped("http://hl7.org/fhir/us/core/StructureDefinition/us-core-race", race),
        grouped("http://hl7.org/fhir/us/core/StructureDefinition/us-core-ethnicity", ethnicity),
        Doc::new()
            .with("url", "http://hl7.org/fhir/us/core/StructureDefinition/us-core-birthsex")
            .with("valueCode", if is_female { "F" } else { "M" })
            .into(),
    ]
}

/// A record number, and for adults a licence and a social security number of the unused 9xx range.
fn identifiers(random: &mut Random, id: &str, adult: bool) -> Vec<Val> {
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

fn family_contact(random: &mut Random, family: &'static str, adult: bool) -> Doc {
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

fn language(random: &mut Random) -> Doc {
    let code = if random.chance(85) { ("en", "English") } else { ("es", "Spanish") };
    Doc::new()
        .with("language", concept(Code("urn:ietf:bcp:47", code.0, code.1)))
        .with("preferred", true)
}

fn add_coverage(chart: &mut Chart<'_>) {
    let start = days_after(TODAY, -YEARS * 366).max(chart.born);
    let is_old = chart.age_at(start) >= 65;
    chart.payer = if is_old { "Medicare" } else { *chart.random.pick(PAYERS) };
    let number = format!("D{:09}", chart.random.between(0, 999_999_999));
    let (code, display) =
        if chart.age_at(chart.end()) < 18 { ("child", "Child") } else { ("self", "Self") };
    let end = chart.died.map(day);
    let kind =
        Code("http://terminology.hl7.org/CodeSystem/v3-ActCode", "EHCPOL", "extended healthcare");
    let holder =
        Code("http://terminology.hl7.org/CodeSystem/subscriber-relationship", code, display);
    let doc = chart
        .resource("Coverage")
        .with("status", "active")
        .with("type", concept(kind))
        .with("subscriberId", number)
        .with("beneficiary", chart.subject())
        .with("relationship", concept(holder))
        .with("period", Doc::new().with("start", day(start)).with_some("end", end))
        .with("payor", list(Doc::new().with("display", chart.payer)));
    let summary = format!("{} covers {}", chart.payer, chart.patient.display);
    chart.coverage = chart.add(doc, &summary);
}

/// A check-up each year and some visits between, oldest first; at least one. Infants have check-ups
/// alone, more of them.
fn live(chart: &mut Chart<'_>) {
    let first = days_after(TODAY, -YEARS * 365).max(chart.born);
    let mut problems = clinical::Problems::new(chart);
    let mut on = days_after(first, chart.random.between(5, 120)).min(chart.end());
    let mut visits = 0;
    while days_between(on, chart.end()) > 0 || visits == 0 {
        let is_infant = chart.age_at(on) < 2;
        let is_check_up = is_infant || visits % 3 == 0;
        let visit = if is_check_up { &CHECK_UP } else { pick_visit(chart, &problems) };
        let encounter = add_encounter(chart, visit, on);
        if !encounter.is_remote {
            observations::add_vitals(chart, &encounter, is_check_up);
        }
        let added = match visit {
            _ if is_check_up => problems.check_up(chart, &encounter),
            _ if visit.code.1 == FOLLOW_UP.code.1 => problems.follow_up(chart, &encounter),
            _ => clinical::fall_ill(chart, &encounter),
        };
        if !encounter.is_remote && (is_check_up || chart.random.chance(25)) {
            observations::add_report(chart, &encounter);
        }
        if chart.random.chance(40) {
            clinical::add_procedure(chart, &encounter);
        }
        if is_check_up {
            problems.immunize(chart, &encounter);
        }
        claims::add(chart, &encounter, added.as_ref());
        visits += 1;
        let (soonest, latest) = if is_infant { (55, 110) } else { (60, 320) };
        on = days_after(on, chart.random.between(soonest, latest));
    }
    if chart.died.is_some() {
        problems.end(chart);
    }
}

fn pick_visit(chart: &mut Chart<'_>, problems: &clinical::Problems) -> &'static Visit {
    match chart.random.between(1, 100) {
        1..=28 if problems.has_known() => &FOLLOW_UP,
        1..=70 => &SYMPTOM,
        71..=90 => &VIDEO,
        _ => &EMERGENCY,
    }
}

/// The last day on which a practice is open, `on` or before it.
fn open_day(on: Date) -> Date {
    match on.weekday() {
        Weekday::Saturday => days_after(on, -1),
        Weekday::Sunday => days_after(on, -2),
        _ => on,
    }
}

fn add_encounter(chart: &mut Chart<'_>, visit: &Visit, on: Date) -> Encounter {
    let is_emergency = visit.class.0 == EMERGENCY.class.0;
    let on = if is_emergency { on } else { open_day(on) };
    let hour = chart.random.between(8, 16) as i8;
    let minute = chart.random.between(0, 11) as i8 * 5;
    let start: DateTime = on.at(hour, minute, 0, 0);
    let length = chart.random.around(visit.minutes.0, visit.minutes.1);
    let end = minutes_after(start, length);
    let who =
        if chart.random.chance(70) { chart.home } else { chart.random.between(0, 11) as usize };
    let practitioner = chart.practice.practitioner(who);
    let organization = chart.practice.organization(who);
    let location = chart.practice.location(who);
    let is_remote = visit.is_remote();
    let at = (!is_remote).then(|| list(Doc::new().with("location", location.reference())));
    let cents = chart.random.around(visit.cents.0, visit.cents.1);
    let role = Code(
        "http://terminology.hl7.org/CodeSystem/v3-ParticipationType",
        "PPRF",
        "primary performer",
    );
    let participant = Doc::new()
        .with("type", list(concept(role)))
        .with("period", period(start, end))
        .with("individual", practitioner.reference());
    let doc = chart
        .resource("Encounter")
        .with("status", "finished")
        .with(
            "class",
            coding(Code(
                "http://terminology.hl7.org/CodeSystem/v3-ActCode",
                visit.class.0,
                visit.class.1,
            )),
        )
        .with("type", list(concept(visit.code)))
        .with("subject", chart.subject())
        .with("participant", list(participant))
        .with("period", period(start, end))
        .with("length", quantity(length, 0, "min"))
        .with_some("location", at)
        .with("serviceProvider", organization.reference());
    let summary = format!("{} on {}", visit.code.2, moment(start));
    let target = chart.add(doc, &summary);
    let code = visit.code;
    Encounter {
        target,
        start,
        end,
        code,
        practitioner,
        organization,
        location,
        cents,
        is_emergency,
        is_remote,
    }
}

/// The clinical or verification status of a problem or an allergy.
pub(super) fn status(system: &'static str, code: &'static str) -> Val {
    plain_concept(system, code)
}

/// A category of one coding.
pub(super) fn category(system: &'static str, code: &'static str) -> Vec<Val> {
    list(Doc::new().with("coding", list(plain_coding(system, code))))
}

/// A reference to `target` in a list.
pub(super) fn references(target: &str) -> Vec<Val> {
    list(reference(target.to_owned()))
}
