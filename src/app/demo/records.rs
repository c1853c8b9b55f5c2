//! What a record has beside visits: who cares, documents, what was implanted, and where it all came from.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::build::{
    Code, Doc, SNOMED, Val, coding, concept, day, days_after, list, moment, period, plain_concept,
    reference, unknown,
};
use super::chart::{Chart, Encounter};
use super::names::{FAMILY, FEMALE, MALE, TOWNS};
use super::patient::category;
use super::world::{address, phone};

/// A picture of one point, in place of what a machine would take.
const POINT: &str = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";

/// A text as an attachment.
pub(super) fn text(words: &str) -> Val {
    Doc::new()
        .with("contentType", "text/plain")
        .with("language", "en")
        .with("data", BASE64_STANDARD.encode(words))
        .into()
}

/// A picture that was taken at the visit.
pub(super) fn add_picture(chart: &mut Chart<'_>, encounter: &Encounter, of: Code) -> String {
    let content = Doc::new().with("contentType", "image/gif").with("data", POINT);
    let doc = chart
        .resource("Media")
        .with("status", "completed")
        .with("type", plain_concept("http://terminology.hl7.org/CodeSystem/media-type", "image"))
        .with("subject", chart.subject())
        .with("encounter", encounter.reference())
        .with("createdDateTime", moment(encounter.start))
        .with("operator", encounter.practitioner.reference())
        .with("content", content.with("title", of.2));
    chart.add(doc, of.2)
}

/// A text of its own, as an attachment that leads to it.
pub(super) fn text_apart(chart: &mut Chart<'_>, words: &str) -> Val {
    let data = BASE64_STANDARD.encode(words);
    let doc = chart.resource("Binary").with("contentType", "text/plain").with("data", data);
    let url = format!("Binary/{}", doc.get("id").and_then(Val::as_str).unwrap_or_default());
    chart.add(doc, words);
    Doc::new().with("contentType", "text/plain").with("url", url).into()
}

/// What was written down at a visit.
pub(super) fn add_document(
    chart: &mut Chart<'_>,
    encounter: &Encounter,
    kind: Code,
    attachment: Val,
) {
    let number = format!("N{:08}", chart.random.between(0, 99_999_999));
    let format = Code(
        "http://ihe.net/fhir/ValueSet/IHE.FormatCode.codesystem",
        "urn:ihe:iti:xds:2017:mimeTypeSufficient",
        "mimeType Sufficient",
    );
    let identifier = Doc::new().with("system", "urn:kiln:demo:note").with("value", number);
    let content = Doc::new().with("attachment", attachment).with("format", coding(format));
    let visit = Doc::new()
        .with("encounter", list(encounter.reference()))
        .with("period", period(encounter.start, encounter.end));
    let doc = chart
        .resource("DocumentReference")
        .with("identifier", list(identifier))
        .with("status", "current")
        .with("type", concept(kind))
        .with(
            "category",
            category(
                "http://hl7.org/fhir/us/core/CodeSystem/us-core-documentreference-category",
                "clinical-note",
            ),
        )
        .with("subject", chart.subject())
        .with("date", moment(encounter.end))
        .with("author", list(encounter.practitioner.reference()))
        .with("custodian", encounter.organization.reference())
        .with("content", list(content))
        .with("context", visit);
    chart.add(doc, kind.2);
}

/// Someone close to the patient; nobody knows when that person was born.
pub(super) fn add_related_person(chart: &mut Chart<'_>) -> String {
    let random = &mut chart.random;
    let is_female = random.chance(50);
    let given = *random.pick(if is_female { FEMALE } else { MALE });
    let family = *random.pick(FAMILY);
    let at = address(random.pick(TOWNS), random);
    let telecom = phone(random, "home");
    let adult = chart.age_at(chart.end()) >= 18;
    let (code, display) =
        if adult { ("FRND", "unrelated friend") } else { ("GRPRN", "grandparent") };
    let kind = Code("http://terminology.hl7.org/CodeSystem/v3-RoleCode", code, display);
    let name = Doc::new().with("family", family).with("given", list(given));
    let doc = chart
        .resource("RelatedPerson")
        .with("active", true)
        .with("patient", chart.subject())
        .with("relationship", list(concept(kind)))
        .with("name", list(name))
        .with("telecom", list(telecom))
        .with("gender", if is_female { "female" } else { "male" })
        .with("_birthDate", unknown())
        .with("address", list(at));
    chart.add(doc, &format!("{given} {family}, {display}"))
}

/// Those who look after the patient.
pub(super) fn add_care_team(chart: &mut Chart<'_>, encounter: &Encounter, related: &str) {
    let doctor = chart.practice.practitioner(chart.home);
    let role = chart.practice.role(chart.home);
    let physician = Code(SNOMED, "446050000", "Primary care physician");
    let caregiver = Code(SNOMED, "133932002", "Caregiver");
    let patient = Code(SNOMED, "116154003", "Patient");
    let member = |code: Code, member: Val| -> Val {
        Doc::new().with("role", list(concept(code))).with("member", member).into()
    };
    // Half of the teams know of a role beside the person.
    let role = (!chart.turn.is_multiple_of(2)).then(|| member(physician, role.reference()));
    let mut participants = vec![
        member(physician, doctor.reference()),
        member(caregiver, reference(related.to_owned())),
        member(patient, chart.subject()),
    ];
    participants.extend(role);
    let name = format!("Care team of {}", chart.patient.display);
    let doc = chart
        .resource("CareTeam")
        .with("status", "active")
        .with("name", name.clone())
        .with("subject", chart.subject())
        .with("period", Doc::new().with("start", moment(encounter.start)))
        .with("participant", participants)
        .with("managingOrganization", list(encounter.organization.reference()));
    chart.add(doc, &name);
}

/// What some of the old have in them.
pub(super) fn add_device(chart: &mut Chart<'_>) {
    let age = chart.age_at(chart.end());
    if age < 45 || !chart.turn.is_multiple_of(3) {
        return;
    }
    let kind = if chart.random.chance(50) {
        Code(SNOMED, "14106009", "Cardiac pacemaker")
    } else {
        Code(SNOMED, "304120007", "Total replacement of hip")
    };
    let made = days_after(chart.end(), -chart.random.between(700, 2_500));
    let number = chart.random.between(0, 999_999);
    let (lot, serial) = (format!("K{number:06}"), format!("KD{:08}", number * 7));
    // Company prefixes that begin with 0999999 are not given away here.
    let identifier = "09999990000010";
    let (start, end) = (day(made), day(days_after(made, 3_650)));
    let short = |date: &str| date.get(2..).unwrap_or_default().replace('-', "");
    let printed =
        format!("(01){identifier}(11){}(17){}(10){lot}(21){serial}", short(&start), short(&end));
    let carrier = Doc::new()
        .with("deviceIdentifier", identifier)
        .with("issuer", "http://hl7.org/fhir/NamingSystem/gs1-di")
        .with("jurisdiction", "http://hl7.org/fhir/NamingSystem/fda-udi")
        .with("carrierAIDC", BASE64_STANDARD.encode(&printed))
        .with("carrierHRF", printed);
    let doc = chart
        .resource("Device")
        .with("udiCarrier", list(carrier))
        .with("status", "active")
        .with("distinctIdentifier", format!("KILN-{number:06}"))
        .with("manufactureDate", start)
        .with("expirationDate", end)
        .with("lotNumber", lot)
        .with("serialNumber", serial)
        .with("type", concept(kind))
        .with("patient", chart.subject());
    chart.add(doc, kind.2);
}

/// Who wrote the record and who sent it.
pub(super) fn add_provenance(chart: &mut Chart<'_>, encounter: &Encounter) {
    let targets = chart.targets();
    let author = Doc::new()
        .with(
            "type",
            concept(Code(
                "http://terminology.hl7.org/CodeSystem/provenance-participant-type",
                "author",
                "Author",
            )),
        )
        .with("who", encounter.practitioner.reference())
        .with("onBehalfOf", encounter.organization.reference());
    let sender = Doc::new()
        .with(
            "type",
            concept(Code(
                "http://hl7.org/fhir/us/core/CodeSystem/us-core-provenance-participant-type",
                "transmitter",
                "Transmitter",
            )),
        )
        .with("who", encounter.organization.reference());
    let doc = chart
        .resource("Provenance")
        .with("target", targets)
        .with("recorded", moment(encounter.end))
        .with("agent", vec![author.into(), Val::from(sender)]);
    chart.add(doc, "Where the record came from");
}
