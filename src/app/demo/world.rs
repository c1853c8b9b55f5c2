//! The practice that a block of patients goes to: organizations, sites, clinicians, drugs.
//!
//! Everything has a fixed id made of the practice's number, so that patients can refer to it
//! without knowing more than that number.

use super::build::{
    Code, Doc, SNOMED, Val, coding, concept, labelled, list, narrative, plain_coding,
    plain_concept, put_entry, reference, resource,
};
use super::drugs::MEDICATIONS;
use super::names::{CLINICS, FAMILY, FEMALE, MALE, STREETS, TOWNS};
use super::profiles;
use super::random::Random;

/// Organizations, each with as many sites.
pub(super) const ORGANIZATIONS: usize = 4;
/// Clinicians, each with one role.
pub(super) const PRACTITIONERS: usize = 12;

/// Who pays; the first one for the old.
pub(super) const PAYERS: &[&str] =
    &["Medicare", "Harbor Mutual", "Bay State Health Plan", "Granite Insurance"];

const SPECIALTIES: &[Code] = &[
    Code(SNOMED, "419772000", "Family practice"),
    Code(SNOMED, "419192003", "Internal medicine"),
    Code(SNOMED, "394537008", "Pediatric specialty"),
    Code(SNOMED, "394579002", "Cardiology"),
    Code(SNOMED, "773568002", "Emergency medicine"),
];

/// A practice: what patients need to know of it.
pub(super) struct Practice {
    number: u64,
    towns: Vec<&'static (&'static str, &'static str)>,
    organizations: Vec<String>,
    practitioners: Vec<Person>,
}

struct Person {
    family: &'static str,
    given: &'static str,
    is_female: bool,
}

/// Someone or something that a patient's resources refer to.
#[derive(Clone)]
pub(super) struct Party {
    pub(super) target: String,
    pub(super) display: String,
}

impl Party {
    /// A Reference with the display.
    pub(super) fn reference(&self) -> Val {
        labelled(self.target.clone(), self.display.clone())
    }
}

impl Practice {
    /// The practice `number` of the data made from `seed`.
    pub(super) fn new(seed: u64, number: u64) -> Self {
        let mut random = Random::new(seed, number.wrapping_mul(2).wrapping_add(1));
        let towns: Vec<_> = (0..ORGANIZATIONS).map(|_| random.pick(TOWNS)).collect();
        let organizations =
            towns.iter().map(|(town, _)| format!("{town} {}", random.pick(CLINICS))).collect();
        let practitioners = (0..PRACTITIONERS).map(|_| person(&mut random)).collect();
        Self { number, towns, organizations, practitioners }
    }

    fn id(&self, kind: &str, at: usize) -> String {
        format!("demo-{kind}-{}-{}", self.number + 1, at + 1)
    }

    /// The organization `at`, counted round.
    pub(super) fn organization(&self, at: usize) -> Party {
        let at = at % ORGANIZATIONS;
        Party {
            target: format!("Organization/{}", self.id("organization", at)),
            display: self.organizations[at].clone(),
        }
    }

    /// The site of organization `at`.
    pub(super) fn location(&self, at: usize) -> Party {
        let at = at % ORGANIZATIONS;
        Party {
            target: format!("Location/{}", self.id("location", at)),
            display: format!("{}, main building", self.organizations[at]),
        }
    }

    /// The clinician `at`, counted round; works for organization `at`.
    pub(super) fn practitioner(&self, at: usize) -> Party {
        let at = at % PRACTITIONERS;
        let person = &self.practitioners[at];
        Party {
            target: format!("Practitioner/{}", self.id("practitioner", at)),
            display: format!("Dr. {} {}", person.given, person.family),
        }
    }

    /// The role of clinician `at`, counted round.
    pub(super) fn role(&self, at: usize) -> Party {
        let at = at % PRACTITIONERS;
        let display = format!("{}, doctor", self.practitioner(at).display);
        Party { target: format!("PractitionerRole/{}", self.id("role", at)), display }
    }

    /// The payer `at`, one of [`PAYERS`].
    pub(super) fn payer(&self, at: usize) -> Party {
        let target = format!("Organization/{}", self.id("payer", at));
        Party { target, display: PAYERS[at].to_owned() }
    }

    fn endpoint(&self, at: usize) -> String {
        format!("Endpoint/{}", self.id("endpoint", at % ORGANIZATIONS))
    }

    /// The Medication `at` of the drug table.
    pub(super) fn medication(&self, at: usize) -> Party {
        Party {
            target: format!("Medication/{}", self.id("medication", at)),
            display: MEDICATIONS[at].code.2.to_owned(),
        }
    }

    /// The entries of the practice's Bundle.
    pub(super) fn entries(&self, seed: u64, with_narratives: bool) -> Vec<Val> {
        let mut random = Random::new(seed ^ 0x7072_6163, self.number);
        let mut resources = Vec::new();
        for at in 0..ORGANIZATIONS {
            resources.push(self.organization_resource(at, &mut random));
            resources.push(self.location_resource(at, &mut random));
            resources.push(self.endpoint_resource(at));
        }
        for at in 0..PAYERS.len() {
            resources.push(self.payer_resource(at, &mut random));
        }
        for at in 0..PRACTITIONERS {
            resources.push(self.practitioner_resource(at, &mut random));
            resources.push(self.role_resource(at, &mut random));
        }
        for at in 0..MEDICATIONS.len() {
            resources.push(self.medication_resource(at));
        }
        let mut entries = Vec::with_capacity(resources.len());
        for (mut doc, summary) in resources {
            if with_narratives {
                doc.set("text", narrative(&summary));
            }
            profiles::claim(&mut doc);
            entries.push(put_entry(format!("urn:uuid:{}", random.uuid()), doc));
        }
        entries
    }

    fn organization_resource(&self, at: usize, random: &mut Random) -> (Doc, String) {
        let name = self.organizations[at].clone();
        let kind = Code(
            "http://terminology.hl7.org/CodeSystem/organization-type",
            "prov",
            "Healthcare Provider",
        );
        let doc = resource("Organization", self.id("organization", at))
            .with("identifier", list(npi(random)))
            .with("active", true)
            .with("type", list(concept(kind)))
            .with("name", name.clone())
            .with("telecom", list(phone(random, "work")))
            .with("address", list(address(self.towns[at], random)));
        (doc, name)
    }

    fn payer_resource(&self, at: usize, random: &mut Random) -> (Doc, String) {
        let name = PAYERS[at];
        let kind = Code("http://terminology.hl7.org/CodeSystem/organization-type", "pay", "Payer");
        let doc = resource("Organization", self.id("payer", at))
            .with("identifier", list(npi(random)))
            .with("active", true)
            .with("type", list(concept(kind)))
            .with("name", name)
            .with("telecom", list(phone(random, "work")))
            .with("address", list(address(random.pick(TOWNS), random)));
        (doc, name.to_owned())
    }

    /// Where an organization takes messages.
    fn endpoint_resource(&self, at: usize) -> (Doc, String) {
        let name = format!("Messages of {}", self.organizations[at]);
        let kind = plain_coding(
            "http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
            "direct-project",
        );
        let what =
            plain_concept("http://terminology.hl7.org/CodeSystem/endpoint-payload-type", "any");
        let mail = format!("mailto:inbox-{}@practice-{}.example.org", at + 1, self.number + 1);
        let doc = resource("Endpoint", self.id("endpoint", at))
            .with("status", "active")
            .with("connectionType", kind)
            .with("name", name.clone())
            .with("managingOrganization", self.organization(at).reference())
            .with("payloadType", list(what))
            .with("address", mail);
        (doc, name)
    }

    fn location_resource(&self, at: usize, random: &mut Random) -> (Doc, String) {
        let name = self.location(at).display;
        let kind =
            Code("http://terminology.hl7.org/CodeSystem/v3-RoleCode", "OF", "Outpatient facility");
        let number = Doc::new()
            .with("system", "urn:kiln:demo:site")
            .with("value", format!("{}-{}", self.number + 1, at + 1));
        let doc = resource("Location", self.id("location", at))
            .with("identifier", list(number))
            .with("status", "active")
            .with("name", name.clone())
            .with("mode", "instance")
            .with("type", list(concept(kind)))
            .with("telecom", list(phone(random, "work")))
            .with("address", address(self.towns[at], random))
            .with("managingOrganization", self.organization(at).reference());
        (doc, name)
    }

    fn practitioner_resource(&self, at: usize, random: &mut Random) -> (Doc, String) {
        let person = &self.practitioners[at];
        let name = Doc::new()
            .with("use", "official")
            .with("family", person.family)
            .with("given", list(person.given))
            .with("prefix", list("Dr."));
        let degree =
            Code("http://terminology.hl7.org/CodeSystem/v2-0360", "MD", "Doctor of Medicine");
        let mail = format!(
            "{}.{}@practice-{}.example.org",
            person.given.to_lowercase(),
            person.family.to_lowercase().replace('\'', ""),
            self.number + 1
        );
        let telecom = vec![
            phone(random, "work"),
            Doc::new().with("system", "email").with("value", mail).with("use", "work").into(),
        ];
        let doc = resource("Practitioner", self.id("practitioner", at))
            .with("identifier", list(npi(random)))
            .with("active", true)
            .with("name", list(name))
            .with("telecom", telecom)
            .with("address", list(address(self.towns[at % ORGANIZATIONS], random)))
            .with("gender", if person.is_female { "female" } else { "male" })
            .with("qualification", list(Doc::new().with("code", concept(degree))));
        (doc, self.practitioner(at).display)
    }

    fn role_resource(&self, at: usize, random: &mut Random) -> (Doc, String) {
        let role =
            Code("http://terminology.hl7.org/CodeSystem/practitioner-role", "doctor", "Doctor");
        let specialty = SPECIALTIES[at % SPECIALTIES.len()];
        let doc = resource("PractitionerRole", self.id("role", at))
            .with("active", true)
            .with("practitioner", self.practitioner(at).reference())
            .with("organization", self.organization(at).reference())
            .with("code", list(concept(role)))
            .with("specialty", list(concept(specialty)))
            .with("location", list(self.location(at).reference()))
            .with("telecom", list(phone(random, "work")))
            .with("endpoint", list(reference(self.endpoint(at))));
        (doc, format!("{}, {}", self.practitioner(at).display, specialty.2))
    }

    fn medication_resource(&self, at: usize) -> (Doc, String) {
        let drug = &MEDICATIONS[at];
        let doc = resource("Medication", self.id("medication", at))
            .with("code", concept(drug.code))
            .with("status", "active")
            .with("manufacturer", reference(self.organization(0).target))
            .with("form", Doc::new().with("coding", list(coding(drug.form))));
        (doc, drug.code.2.to_owned())
    }
}

fn person(random: &mut Random) -> Person {
    let is_female = random.chance(50);
    let given = *random.pick(if is_female { FEMALE } else { MALE });
    let family: &&str = random.pick(FAMILY);
    Person { family, given, is_female }
}

/// A national provider identifier that nobody has: real ones start with 1 or 2. The last digit is
/// Luhn's check over the others behind 80840.
fn npi(random: &mut Random) -> Doc {
    let number = format!("99{:07}", random.between(0, 9_999_999));
    let digits = number.bytes().rev().map(|digit| u32::from(digit - b'0'));
    let doubled = digits.enumerate().map(|(at, digit)| match at % 2 {
        0 => digit * 2 / 10 + digit * 2 % 10,
        _ => digit,
    });
    // 24 is what 80840 adds.
    let check = (10 - (24 + doubled.sum::<u32>()) % 10) % 10;
    Doc::new()
        .with("system", "http://hl7.org/fhir/sid/us-npi")
        .with("value", format!("{number}{check}"))
}

/// A telephone number of the range kept free for fiction.
pub(super) fn phone(random: &mut Random, used: &'static str) -> Val {
    let number = format!("555-{:03}-{:04}", random.between(200, 999), random.between(0, 9_999));
    Doc::new().with("system", "phone").with("value", number).with("use", used).into()
}

/// A street address in `town`.
pub(super) fn address((town, zip): &(&'static str, &'static str), random: &mut Random) -> Doc {
    let line = format!("{} {}", random.between(1, 999), random.pick(STREETS));
    Doc::new()
        .with("line", list(line))
        .with("city", *town)
        .with("state", "MA")
        .with("postalCode", *zip)
        .with("country", "US")
}
