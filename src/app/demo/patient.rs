//! One patient's life: who it is, and the visits of the last years.

use jiff::civil::{Date, DateTime, Weekday};

use super::build::{
    Code, Doc, LOINC, TODAY, Val, coding, concept, day, days_after, days_between, list,
    minutes_after, moment, period, plain_coding, plain_concept, quantity, reference,
};
use super::chart::{Chart, Encounter};
use super::names::{FAMILY, FEMALE, MALE, TOWNS};
use super::random::Random;
use super::tables::{CHECK_UP, EMERGENCY, FOLLOW_UP, SYMPTOM, VIDEO, Visit};
use super::world::{Practice, address, phone};
use super::{claims, clinical, demographics, observations, orders, records, social, vitals};

/// Years of history that a patient has.
pub(super) const YEARS: i64 = 5;

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
    // However few patients there are, some are small children, older ones and young women.
    let days = match index % 10 {
        3 => random.between(450, 950),
        8 => random.between(1_200, 6_000),
        6 if is_female => random.between(7_500, 15_000),
        _ => random.between(200, 33_500),
    };
    let born = days_after(TODAY, -days);
    let name = format!("{given} {family}");
    let mut chart = Chart::new(random, practice, &id, name, born, is_female);
    chart.with_narratives = with_narratives;
    chart.set_turn(index);
    let patient = patient_resource(&mut chart, id, given, middle, family);
    let summary = format!("{}, born {}", chart.patient.display, day(born));
    chart.add(patient, &summary);
    demographics::add_coverage(&mut chart);
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
    let turn = chart.turn;
    // Names and addresses changed before the record begins.
    let since = days_after(chart.end(), -YEARS * 365).max(born);
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
    let lives_at = address(town, random).with("use", "home");
    let marital = adult.then(|| demographics::marital_status(random, age));
    let kept = demographics::family_contact(random, family, adult);
    let names = demographics::names(random, name, (turn, is_female && age >= 30), since);
    let addresses = demographics::addresses(random, lives_at, turn, (born, since));
    Doc::new()
        .with("resourceType", "Patient")
        .with("extension", demographics::extensions(random, is_female, turn))
        .with("identifier", demographics::identifiers(random, &id, adult))
        .with("id", id)
        .with("active", true)
        .with("name", names)
        .with("telecom", telecom)
        .with("gender", if is_female { "female" } else { "male" })
        .with("birthDate", day(born))
        .with_some("deceasedBoolean", died.is_none().then_some(false))
        .with_some("deceasedDateTime", died.map(day))
        .with("address", addresses)
        .with_some("maritalStatus", marital.map(concept))
        .with("multipleBirthBoolean", false)
        .with("contact", list(kept))
        .with("communication", list(demographics::language(random)))
        .with("generalPractitioner", list(home.reference()))
        .with("managingOrganization", organization.reference())
}

fn lower(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_lowercase()
}

/// A check-up each year and some visits between, oldest first; at least one. Infants have check-ups
/// alone, more of them.
fn live(chart: &mut Chart<'_>) {
    let first = days_after(TODAY, -YEARS * 365).max(chart.born);
    let mut problems = clinical::Problems::new(chart);
    let mut on = days_after(first, chart.random.between(5, 120)).min(chart.end());
    let mut visits = 0;
    let mut last = None;
    while days_between(on, chart.end()) > 0 || visits == 0 {
        let is_infant = chart.age_at(on) < 2;
        let is_check_up = is_infant || visits % 3 == 0;
        let visit = if is_check_up { &CHECK_UP } else { pick_visit(chart, &problems) };
        let encounter = add_encounter(chart, visit, on);
        chart.first_visit.get_or_insert(encounter.start);
        see(chart, &mut problems, visit, &encounter, is_check_up);
        visits += 1;
        let (soonest, latest) = if is_infant { (55, 110) } else { (60, 320) };
        on = days_after(on, chart.random.between(soonest, latest));
        last = Some(encounter);
    }
    if chart.died.is_some() {
        problems.end(chart);
    }
    if let Some(last) = last {
        round_off(chart, &last);
    }
}

/// What happens at a visit.
fn see(
    chart: &mut Chart<'_>,
    problems: &mut clinical::Problems,
    visit: &Visit,
    encounter: &Encounter,
    is_check_up: bool,
) {
    if !encounter.is_remote {
        vitals::add_vitals(chart, encounter, is_check_up);
    }
    let added = match visit {
        _ if is_check_up => problems.check_up(chart, encounter),
        _ if visit.code.1 == FOLLOW_UP.code.1 => problems.follow_up(chart, encounter),
        _ => clinical::fall_ill(chart, encounter),
    };
    match &added {
        Some(found) => {
            chart.set(&encounter.target, "reasonReference", references(&found.target));
        }
        None => chart.set(&encounter.target, "reasonCode", list(concept(visit.reason))),
    }
    if is_check_up && chart.random.chance(25) {
        observations::add_appearance(chart, encounter);
    }
    if !encounter.is_remote && (is_check_up || chart.random.chance(25)) {
        observations::add_report(chart, encounter);
    }
    if is_check_up && chart.age_at(encounter.start.date()) >= 5 && chart.random.chance(25) {
        observations::add_urinalysis(chart, encounter);
    }
    if chart.random.chance(40) {
        orders::add_procedure(chart, encounter, added.as_ref());
    }
    if encounter.is_emergency {
        let kind = Code(LOINC, "18842-5", "Discharge summary");
        let text = records::text("Seen in the emergency room, got better, went home.");
        records::add_document(chart, encounter, kind, text);
    }
    if is_check_up {
        problems.immunize(chart, encounter);
    }
    claims::add(chart, encounter, added.as_ref());
}

/// What a record has once, as of its last visit.
fn round_off(chart: &mut Chart<'_>, last: &Encounter) {
    vitals::add_average(chart, last);
    social::add_history(chart, last);
    social::add_concern(chart, last);
    let related = records::add_related_person(chart);
    records::add_care_team(chart, last, &related);
    records::add_device(chart);
    let kind = Code(LOINC, "11506-3", "Progress note");
    records::add_document(chart, last, kind, records::text("Seen, nothing else to report."));
    records::add_provenance(chart, last);
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

/// The number of a visit, and how someone left whom a hospital had.
fn admission(random: &mut Random, is_emergency: bool) -> (Doc, Option<Doc>) {
    let number = format!("V{:010}", random.between(0, 9_999_999_999));
    let identifier = Doc::new().with("system", "urn:kiln:demo:visit-number").with("value", number);
    let home = Code(
        "http://www.nubc.org/patient-discharge",
        "01",
        "Discharged to home or self care (routine discharge)",
    );
    let left = is_emergency.then(|| Doc::new().with("dischargeDisposition", concept(home)));
    (identifier, left)
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
    let (identifier, left) = admission(&mut chart.random, is_emergency);
    let doc = chart
        .resource("Encounter")
        .with("identifier", list(identifier))
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
        .with_some("hospitalization", left)
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
