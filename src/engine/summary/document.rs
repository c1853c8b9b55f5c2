//! The document: a Bundle of a Composition, the patient, what stands for the server, and what the sections refer to.
//!
//! What is stored keeps its address here; what is made for the document alone has a `urn:uuid`. The Composition
//! refers by whole addresses, for relative ones would have nothing to be relative to.
//!
//! Spec: <https://hl7.org/fhir/R4/documents.html>, <http://hl7.org/fhir/uv/ips/StructureDefinition/Bundle-uv-ips>

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::access::roles::Clearance;
use crate::engine::Engine;
use crate::error::Error;
use crate::fhir::json::{self, Object, Value};
use crate::fhir::schema::Schema;
use crate::fhir::{Identity, Instant, Version};
use crate::store::{Gathered, GatheredPart};

use super::line::{self, Names};
use super::narrative::narrative;
use super::references::{ABSENT, References, unknown};
use super::sections::{self, Absent, Section};

const LOINC: &str = "http://loinc.org";
const ABSENT_UNKNOWN: &str = "http://hl7.org/fhir/uv/ips/CodeSystem/absent-unknown-uv-ips";
const URI: &str = "urn:ietf:rfc:3986";
const TITLE: &str = "International Patient Summary";

/// A summary that was found, before it has a form.
#[derive(Debug)]
pub struct Document {
    found: Gathered,
    at: Instant,
    /// Of the Bundle, the Composition, what stands for the server, and what says that there is no information.
    ids: [Uuid; 6],
    /// The base that stored references are under.
    own: String,
}

/// What is made for the document beside the Composition.
struct Made {
    id: Uuid,
    resource: Object<'static>,
}

/// What the sections come to.
#[derive(Default)]
struct Sections {
    shown: Vec<Value<'static>>,
    made: Vec<Made>,
    /// Names of types that are not granted.
    withheld: BTreeSet<&'static str>,
}

impl Document {
    pub(super) fn new(found: Gathered, engine: &Engine) -> Self {
        let ids = [(); 6].map(|()| engine.ids.ordered());
        Self { found, at: engine.clock.now(), ids, own: engine.settings.base.clone() }
    }

    /// What it shows of what is stored: the patient, then what each section has, then what that refers to.
    pub fn versions(&self) -> impl Iterator<Item = &Version> {
        let parts = self.found.parts.iter().filter_map(|part| part.versions.as_ref());
        std::iter::once(&self.found.patient).chain(parts.flatten()).chain(&self.found.along)
    }

    /// The Bundle as compact JSON, for who sees the server at `base`; `label` is the highest of what it shows.
    ///
    /// # Errors
    /// [`Error::Internal`] when what is stored is no JSON.
    pub fn to_json(
        &self,
        base: &str,
        label: Option<Clearance>,
        schema: &Schema,
    ) -> Result<Vec<u8>, Error> {
        // What two sections have comes once.
        let mut shown = BTreeSet::new();
        let versions: Vec<&Version> =
            self.versions().filter(|version| shown.insert(version.identity.clone())).collect();
        let texts: Vec<Vec<u8>> = versions.iter().map(|version| version.to_json()).collect();
        let references = References { shown: &shown, own: &self.own, base, schema };
        let mut resources = Vec::with_capacity(versions.len());
        for (version, text) in versions.iter().zip(&texts) {
            let mut value = json::parse(text).map_err(Error::internal)?;
            references.settle(&mut value);
            resources.push((&version.identity, value));
        }
        let sections = self.sections(&resources, base);
        let confidentiality = label.unwrap_or(Clearance::N).max(Clearance::N);
        let composition = self.composition(&sections, &resources, base, confidentiality);
        let [bundle_id, composition_id, device_id, ..] = self.ids;
        let mut entries = vec![made(composition_id, composition)];
        let mut stored = resources.into_iter().map(|(identity, value)| {
            let url = format!("{base}/{identity}");
            Value::from(Object::new().with("fullUrl", url).with("resource", value))
        });
        entries.extend(stored.next());
        entries.push(made(device_id, device(device_id, base)));
        entries.extend(stored);
        entries.extend(sections.made.into_iter().map(|it| made(it.id, it.resource)));
        let identifier = Object::new().with("system", URI).with("value", urn(bundle_id));
        let bundle = Object::new()
            .with("resourceType", "Bundle")
            .with("id", bundle_id.to_string())
            .with_some("meta", label.map(labelled))
            .with("identifier", identifier)
            .with("type", "document")
            .with("timestamp", self.at.to_string())
            .with("entry", entries);
        let mut out = Vec::new();
        Value::from(bundle).write(&mut out);
        Ok(out)
    }

    fn composition(
        &self,
        told: &Sections,
        resources: &[(&Identity, Value<'_>)],
        base: &str,
        confidentiality: Clearance,
    ) -> Object<'static> {
        let [_, id, device_id, ..] = self.ids;
        let patient = resources.first().and_then(|(_, patient)| line::person(patient));
        let whose = patient.unwrap_or_else(|| "a patient without a name".to_owned());
        let mut paragraphs = vec![
            format!("{TITLE} of {whose}."),
            format!("Made at {base} on {}, of what may be shown to who asked.", self.at),
        ];
        paragraphs.extend(left_out(told.withheld.iter().copied()));
        Object::new()
            .with("resourceType", "Composition")
            .with("id", id.to_string())
            .with("text", narrative(&paragraphs, &[]))
            .with("status", "final")
            .with("type", concept(LOINC, "60591-5", "Patient summary Document"))
            .with("subject", reference(self.address_of_patient(base)))
            .with("date", self.at.to_string())
            .with("author", vec![reference(urn(device_id))])
            .with("title", TITLE)
            .with("confidentiality", confidentiality.as_str())
            .with("section", told.shown.clone())
    }

    fn sections(&self, resources: &[(&Identity, Value<'_>)], base: &str) -> Sections {
        let mut told = Sections::default();
        let names = names(resources);
        let known: BTreeMap<&Identity, &Value<'_>> =
            resources.iter().map(|(identity, value)| (*identity, value)).collect();
        let line_of = |version: &Version| {
            known.get(&version.identity).map(|it| line::line(it, &names)).unwrap_or_default()
        };
        let mut parts = self.found.parts.iter();
        for section in sections::all() {
            let parts: Vec<&GatheredPart> = parts.by_ref().take(section.parts.len()).collect();
            let versions = || parts.iter().filter_map(|part| part.versions.as_ref()).flatten();
            let withheld = || {
                let withheld = parts.iter().filter(|part| part.versions.is_none());
                withheld.map(|part| part.of.as_str())
            };
            told.withheld.extend(withheld());
            let mut entries: Vec<Value<'static>> =
                versions().map(|it| reference(format!("{base}/{}", it.identity))).collect();
            let lines: Vec<String> = versions().map(&line_of).collect();
            let mut paragraphs: Vec<String> = left_out(withheld()).into_iter().collect();
            if parts.iter().any(|part| part.has_more) {
                paragraphs.push("The record has more of it than stands here.".to_owned());
            }
            let is_withheld = parts.iter().all(|part| part.versions.is_none());
            if entries.is_empty() {
                let Some(absent) = section.absent else { continue };
                let (_, display) = absent.code();
                paragraphs.insert(0, format!("{display}."));
                let made = self.absent(absent, base);
                entries.push(reference(urn(made.id)));
                told.made.push(made);
            }
            let extension = is_withheld.then(masked);
            told.shown.push(shown(section, extension, narrative(&paragraphs, &lines), entries));
        }
        told
    }

    /// What says in a section that there is no information: not that there is nothing to be known.
    fn absent(&self, absent: Absent, base: &str) -> Made {
        let (code, display) = absent.code();
        let code = concept(ABSENT_UNKNOWN, code, display);
        let patient = reference(self.address_of_patient(base));
        let active = |system: &'static str| {
            let coding = Object::new().with("system", system).with("code", "active");
            Object::new().with("coding", vec![Value::from(coding)])
        };
        let [.., allergies, medications, problems] = self.ids;
        let (of, id) = match absent {
            Absent::Allergies => ("AllergyIntolerance", allergies),
            Absent::Medications => ("MedicationStatement", medications),
            Absent::Problems => ("Condition", problems),
        };
        let resource = Object::new().with("resourceType", of).with("id", id.to_string());
        let resource = match absent {
            Absent::Allergies => resource
                .with("clinicalStatus", active(ALLERGY_CLINICAL))
                .with("code", code)
                .with("patient", patient),
            Absent::Medications => resource
                .with("status", "unknown")
                .with("medicationCodeableConcept", code)
                .with("subject", patient)
                .with("effectivePeriod", unknown()),
            Absent::Problems => resource
                .with("clinicalStatus", active(CONDITION_CLINICAL))
                .with("code", code)
                .with("subject", patient),
        };
        Made { id, resource }
    }

    fn address_of_patient(&self, base: &str) -> String {
        format!("{base}/{}", self.found.patient.identity)
    }
}

const ALLERGY_CLINICAL: &str = "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical";
const CONDITION_CLINICAL: &str = "http://terminology.hl7.org/CodeSystem/condition-clinical";

/// A section of the Composition.
fn shown(
    section: &Section,
    extension: Option<Value<'static>>,
    text: Value<'static>,
    entries: Vec<Value<'static>>,
) -> Value<'static> {
    let (code, display) = section.code;
    Object::new()
        .with_some("extension", extension.map(|it| vec![it]))
        .with("title", section.title)
        .with("code", concept(LOINC, code, display))
        .with("text", text)
        .with("entry", entries)
        .into()
}

/// What a reader is told of types that are not granted.
fn left_out<'n>(names: impl Iterator<Item = &'n str>) -> Option<String> {
    let names: Vec<&str> = names.collect();
    (!names.is_empty())
        .then(|| format!("Left out, because who asked has no access to it: {}.", names.join(", ")))
}

/// That of a section nothing is told to who asks.
fn masked() -> Value<'static> {
    Object::new().with("url", ABSENT).with("valueCode", "masked").into()
}

/// What others may refer to by a name.
fn names(resources: &[(&Identity, Value<'_>)]) -> Names {
    let named = resources
        .iter()
        .filter(|(identity, _)| matches!(identity.resource_type.as_str(), "Device" | "Medication"));
    named.filter_map(|(identity, it)| Some((identity.to_string(), line::name(it)?))).collect()
}

/// What stands for this server.
fn device(id: Uuid, base: &str) -> Object<'static> {
    let name = Object::new().with("name", "Kiln").with("type", "user-friendly-name");
    let version = Object::new().with("value", env!("CARGO_PKG_VERSION"));
    Object::new()
        .with("resourceType", "Device")
        .with("id", id.to_string())
        .with("deviceName", vec![Value::from(name)])
        .with("type", Object::new().with("text", "FHIR server"))
        .with("version", vec![Value::from(version)])
        .with("url", base.to_owned())
}

/// The entry of what was made for the document.
fn made(id: Uuid, resource: Object<'static>) -> Value<'static> {
    Object::new().with("fullUrl", urn(id)).with("resource", resource).into()
}

fn urn(id: Uuid) -> String {
    format!("urn:uuid:{id}")
}

fn reference(target: String) -> Value<'static> {
    Object::new().with("reference", target).into()
}

fn concept(system: &'static str, code: &'static str, display: &'static str) -> Value<'static> {
    let coding = Object::new().with("system", system).with("code", code).with("display", display);
    Object::new().with("coding", vec![Value::from(coding)]).into()
}

/// `Bundle.meta` with a label.
fn labelled(label: Clearance) -> Value<'static> {
    let coding = Object::new().with("system", Clearance::SYSTEM).with("code", label.as_str());
    Object::new().with("security", vec![Value::from(coding)]).into()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::fhir::{Operation, ResourceType, VersionId};
    use crate::spec::Spec;

    use super::*;

    fn version(path: &str, body: &'static str) -> Version {
        let (of, id) = path.split_once('/').expect(path);
        Version {
            identity: Identity {
                resource_type: of.parse().expect(path),
                id: id.parse().expect(path),
            },
            version: VersionId(1),
            last_updated: Instant::from_micros(0),
            operation: Operation::Created,
            is_relabeled: false,
            meta: None,
            body: Some(Bytes::from_static(body.as_bytes())),
        }
    }

    /// A document with these in the parts of their types, and without those that are not granted.
    fn document(shown: &[(&str, &'static str)], withheld: &[&str]) -> Document {
        let mut parts = Vec::new();
        let mut left: Vec<Version> = shown.iter().map(|(path, body)| version(path, body)).collect();
        for part in sections::all().iter().flat_map(|section| section.parts) {
            let of: ResourceType = part.of.parse().expect(part.of);
            let own: Vec<Version> =
                left.extract_if(.., |it| it.identity.resource_type == of).collect();
            let versions = (!withheld.contains(&part.of)).then_some(own);
            parts.push(GatheredPart { of, versions, has_more: false });
        }
        let patient = version("Patient/p", r#"{"name":[{"family":"<B>"}]}"#);
        let found = Gathered { patient, parts, along: left };
        let ids = [1, 2, 3, 4, 5, 6].map(Uuid::from_u128);
        Document { found, at: Instant::from_micros(0), ids, own: "http://own/fhir".to_owned() }
    }

    fn written(document: &Document) -> Value<'static> {
        let spec = Spec::r4().expect("definitions");
        let text = document.to_json("http://k/fhir", None, &spec.schema).expect("a document");
        json::parse(&text).expect("JSON").into_owned()
    }

    fn section<'v>(document: &'v Value<'static>, code: &str) -> Option<&'v Value<'static>> {
        let composition = document.items_at("entry").first()?.get("resource")?;
        composition.items_at("section").iter().find(|section| {
            let coding = section.get("code").and_then(|it| it.items_at("coding").first());
            coding.and_then(|it| it.str_at("code")) == Some(code)
        })
    }

    fn entries<'v>(section: &'v Value<'static>) -> Vec<&'v str> {
        section.items_at("entry").iter().filter_map(|it| it.str_at("reference")).collect()
    }

    #[test]
    fn a_record_with_nothing_has_no_information() {
        let made = written(&document(&[], &[]));
        let urls: Vec<_> =
            made.items_at("entry").iter().filter_map(|it| it.str_at("fullUrl")).collect();
        let urn = |number: u128| urn(Uuid::from_u128(number));
        assert_eq!(
            urls,
            [&*urn(2), "http://k/fhir/Patient/p", &*urn(3), &*urn(4), &*urn(6), &*urn(5)]
        );
        let text = made.to_text();
        for code in ["no-allergy-info", "no-medication-info", "no-problem-info"] {
            assert!(text.contains(code), "{code}: {text}");
        }
        assert!(!text.contains("no-known"), "{text}");
        let composition = made.items_at("entry")[0].get("resource").expect("a Composition");
        let told = composition.get("text").expect("a narrative").to_text();
        assert!(told.contains("Summary of &lt;B&gt;."), "{told}");
        for (code, is_there) in
            [("48765-2", true), ("11450-4", true), ("10160-0", true), ("11369-6", false)]
        {
            assert_eq!(section(&made, code).is_some(), is_there, "{code}");
        }
    }

    #[test]
    fn a_section_has_its_entries_and_says_what_is_not_granted() {
        let shown = [
            ("Condition/c", r#"{"code":{"text":"a & b"},"encounter":{"reference":"Encounter/e"}}"#),
            ("MedicationRequest/m", r#"{"medicationReference":{"reference":"Medication/x"}}"#),
            ("Medication/x", r#"{"code":{"text":"Pill"}}"#),
        ];
        let made = written(&document(&shown, &["AllergyIntolerance", "MedicationStatement"]));
        let problems = section(&made, "11450-4").expect("a section");
        assert_eq!(entries(problems), ["http://k/fhir/Condition/c"]);
        assert!(problems.to_text().contains("<li>a &amp; b</li>"), "{problems:?}");
        let medications = section(&made, "10160-0").expect("a section");
        assert_eq!(entries(medications), ["http://k/fhir/MedicationRequest/m"]);
        let text = medications.to_text();
        assert!(text.contains("<li>Pill</li>") && text.contains("MedicationStatement"), "{text}");
        assert!(medications.get("extension").is_none(), "{text}");
        let allergies = section(&made, "48765-2").expect("a section");
        assert_eq!(entries(allergies), [urn(Uuid::from_u128(4))]);
        assert!(allergies.to_text().contains("\"masked\""), "{allergies:?}");
        let text = made.to_text();
        let withheld = "no access to it: AllergyIntolerance, MedicationStatement.";
        assert!(text.contains(withheld), "{text}");
        assert!(!text.contains("Encounter/e") && text.contains("http://k/fhir/Medication/x"));
    }
}
