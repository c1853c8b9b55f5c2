//! The steps of a run, each noting what is wrong.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt};
use serde_json::Value;

use super::absent::{ABSENCES, OBJECTIONS, objection, reason};
use super::presence::values;
use super::profile::{Codes, Profile, What};
use super::{MEAN, PARENTS, codes_of, value_sets};
use crate::harness::client::{Answer, Client};

/// Requests at a time.
const AT_A_TIME: usize = 8;
/// Resources of a profile that are read one by one.
const READ: usize = 20;
/// Resources of a profile that versions beside the first one validate.
const SAMPLE: usize = 20;
const CORE: &str = "http://hl7.org/fhir/us/core/StructureDefinition/";
const DATA_ABSENT: &str = "http://terminology.hl7.org/CodeSystem/data-absent-reason";
const DATA_ABSENT_EXTENSION: &str = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";

/// Types found by the patient's id.
const OF_PATIENT: &[&str] = &[
    "AllergyIntolerance",
    "CarePlan",
    "CareTeam",
    "Condition",
    "Coverage",
    "Device",
    "DiagnosticReport",
    "DocumentReference",
    "Encounter",
    "Goal",
    "Immunization",
    "MedicationDispense",
    "MedicationRequest",
    "Observation",
    "Procedure",
    "QuestionnaireResponse",
    "RelatedPerson",
    "ServiceRequest",
    "Specimen",
];

/// A run against one server.
pub(super) struct Run {
    pub(super) client: Client,
    /// What was found, by type and id.
    pub(super) found: BTreeMap<String, Value>,
    /// Whether what is at a path keeps to a profile.
    fits: BTreeMap<(String, String), bool>,
    /// Places in the lists of absences and of objections that were needed.
    absences: BTreeSet<usize>,
    objections: BTreeSet<usize>,
    faults: Vec<String>,
}

fn json(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

pub(super) fn items<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn path_of(resource: &Value) -> String {
    let text = |name: &str| resource[name].as_str().unwrap_or_default();
    format!("{}/{}", text("resourceType"), text("id"))
}

impl Run {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            found: BTreeMap::new(),
            fits: BTreeMap::new(),
            absences: BTreeSet::new(),
            objections: BTreeSet::new(),
            faults: Vec::new(),
        }
    }

    /// What was wrong, and reasons for absences that nobody needs.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut all = self.faults.clone();
        let lists = [(ABSENCES, &self.absences), (OBJECTIONS, &self.objections)];
        for (list, needed) in lists {
            for (at, (of, what, _)) in list.iter().enumerate() {
                if !needed.contains(&at) {
                    all.push(format!("{of}: {what:?} needs no reason"));
                }
            }
        }
        all
    }

    pub(super) fn check(&mut self, holds: bool, fault: impl FnOnce() -> String) {
        if !holds {
            self.faults.push(fault());
        }
    }

    /// Without a token: the version, and each profile under its type.
    pub(super) async fn metadata(&mut self, definitions: &[Value]) {
        let answer = self.client.get("/metadata").await.expect(200);
        let capability = json(&answer);
        assert_eq!(capability["fhirVersion"], "4.0.1");
        let resources = items(&capability["rest"][0], "resource");
        for definition in definitions {
            let (of, url) = (&definition["type"], &definition["url"]);
            let resource = resources.iter().find(|it| it["type"] == *of);
            let has = resource.is_some_and(|it| items(it, "supportedProfile").contains(url));
            self.check(has, || format!("/metadata: {url} is not supported"));
        }
    }

    /// Finds all by the patients' ids, with Provenance, and what that refers to.
    pub(super) async fn collect(&mut self) {
        let patients = self.search("/Patient?_count=100").await;
        let ids: Vec<String> =
            patients.iter().map(|(it, _)| it["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(ids.len() as u64, super::PATIENTS);
        for id in &ids {
            let mut urls = vec![format!("/Patient?_id={id}&_revinclude=Provenance:target")];
            urls.extend(
                OF_PATIENT.iter().map(|of| {
                    format!("/{of}?patient={id}&_count=200&_revinclude=Provenance:target")
                }),
            );
            for url in urls {
                let page = self.search(&url).await;
                self.keep(&url, page);
            }
        }
        loop {
            let missing = self.referred();
            if missing.is_empty() {
                break;
            }
            for path in missing {
                let answer = self.client.get(&format!("/{path}")).await.expect(200);
                self.found.insert(path, json(&answer));
            }
        }
    }

    /// The entries of all pages: resource and search mode.
    async fn search(&self, url: &str) -> Vec<(Value, String)> {
        let mut entries = Vec::new();
        let mut next = Some(url.to_owned());
        while let Some(url) = next {
            let page = json(&self.client.get(&url).await.expect(200));
            for entry in items(&page, "entry") {
                let mode = entry["search"]["mode"].as_str().unwrap_or_default().to_owned();
                entries.push((entry["resource"].clone(), mode));
            }
            let links = items(&page, "link");
            let link = links.iter().find(|it| it["relation"] == "next");
            next = link.and_then(|it| it["url"].as_str()).map(str::to_owned);
        }
        entries
    }

    /// Notes what was found; each match has a Provenance that points at it.
    fn keep(&mut self, url: &str, entries: Vec<(Value, String)>) {
        let of = url.trim_start_matches('/').split('?').next().unwrap();
        let mut targets = BTreeSet::new();
        for (resource, _) in entries.iter().filter(|(_, mode)| mode == "include") {
            self.check(resource["resourceType"] == "Provenance", || {
                format!("{url}: not Provenance")
            });
            for target in items(resource, "target") {
                targets.insert(target["reference"].as_str().unwrap().to_owned());
            }
        }
        for (resource, mode) in entries {
            let path = path_of(&resource);
            if mode == "match" {
                self.check(resource["resourceType"] == of, || format!("{url}: found {path}"));
                self.check(targets.contains(&path), || format!("{path} has no Provenance"));
            }
            self.found.insert(path, resource);
        }
    }

    /// People, places and drugs that are referred to and not read yet.
    fn referred(&self) -> BTreeSet<String> {
        fn collect(value: &Value, found: &mut BTreeSet<String>) {
            match value {
                Value::Array(items) => items.iter().for_each(|it| collect(it, found)),
                Value::Object(object) => {
                    let reference = object.get("reference").and_then(Value::as_str);
                    found.extend(reference.map(str::to_owned));
                    object.values().for_each(|it| collect(it, found));
                }
                _ => {}
            }
        }
        let mut found = BTreeSet::new();
        self.found.values().for_each(|resource| collect(resource, &mut found));
        let kinds =
            ["Location/", "Medication/", "Organization/", "Practitioner/", "PractitionerRole/"];
        found.retain(|path| {
            !self.found.contains_key(path) && kinds.iter().any(|kind| path.starts_with(kind))
        });
        found
    }

    /// The codes of the value sets that tell slices apart.
    pub(super) async fn expand(&self, definitions: &[Value]) -> Codes {
        let mut codes = Codes::new();
        for url in value_sets(definitions) {
            let answer = self.client.get(&format!("/ValueSet/$expand?url={url}")).await;
            if answer.status == 200 {
                codes.insert(url, codes_of(&json(&answer)));
            }
        }
        codes
    }

    /// One profile: there are resources, they can be read and are valid, and have what must be supported.
    pub(super) async fn profile(&mut self, version: &str, profile: &Profile) {
        let members = self.members(profile);
        let name = format!("{}|{version}", profile.name);
        self.check(!members.is_empty(), || format!("{name}: there is no resource"));
        let is_first = version == super::VERSIONS[0];
        if is_first {
            for resource in members.iter().take(READ) {
                self.read(resource).await;
            }
        }
        let count = if is_first { members.len() } else { SAMPLE };
        self.validate(&members[..count.min(members.len())], version, profile).await;
        for want in &profile.wants {
            let mut has = false;
            for resource in &members {
                let found = values(want, resource);
                has |= !found.is_empty() && !matches!(want.what, What::Target(_));
                if is_first && !want.targets.is_empty() {
                    has |= self.resolve(&name, want, &found, version).await;
                }
            }
            // References are followed once, by the first version.
            if has || !is_first && matches!(want.what, What::Target(_)) || members.is_empty() {
                continue;
            }
            match reason(&name, &want.id) {
                Some(at) => drop(self.absences.insert(at)),
                None => self.faults.push(format!("{name}: {} is absent", want.id)),
            }
        }
    }

    fn members(&self, profile: &Profile) -> Vec<Value> {
        let parent = PARENTS.iter().find(|(name, _)| *name == profile.name);
        let claims = |it: &Value, canonical: &str| {
            items(&it["meta"], "profile").iter().any(|claimed| *claimed == canonical)
        };
        let is_member = |it: &&Value| match parent {
            _ if it["resourceType"] != profile.of.as_str() => false,
            Some((_, None)) => true,
            Some((_, Some(category))) => {
                let has_code =
                    |of: &Value| items(of, "coding").iter().any(|it| it["code"] == *category);
                items(it, "category").iter().any(has_code) && !claims(it, MEAN)
            }
            None => claims(it, &profile.canonical),
        };
        self.found.values().filter(is_member).cloned().collect()
    }

    /// Read and vread answer what search has found.
    async fn read(&mut self, resource: &Value) {
        let path = path_of(resource);
        let version = resource["meta"]["versionId"].as_str().unwrap();
        for url in [format!("/{path}"), format!("/{path}/_history/{version}")] {
            let answer = self.client.get(&url).await;
            let is_same = answer.status == 200 && json(&answer) == *resource;
            self.check(is_same, || format!("{url}: {answer:?}"));
        }
    }

    async fn validate(&mut self, resources: &[Value], version: &str, profile: &Profile) {
        let canonical = format!("{}|{version}", profile.canonical);
        let (client, canonical) = (&self.client, &canonical);
        let found: Vec<(String, Vec<String>)> = stream::iter(resources)
            .map(async |resource| (path_of(resource), errors(client, resource, canonical).await))
            .buffer_unordered(AT_A_TIME)
            .collect()
            .await;
        for (path, errors) in found {
            for error in errors {
                match objection(&format!("{}|{version}", profile.name), &error) {
                    Some(at) => drop(self.objections.insert(at)),
                    None => self.faults.push(format!("{path} by {canonical}: {error}")),
                }
            }
        }
    }

    /// Whether one of the references leads to what the want asks for; each must lead to one of its
    /// targets.
    async fn resolve(
        &mut self,
        name: &str,
        want: &super::profile::Want,
        found: &[&Value],
        version: &str,
    ) -> bool {
        let mut has = false;
        for value in found {
            let Some(path) = value["reference"].as_str() else { continue };
            let mut fits = false;
            for target in &want.targets {
                let is_target = self.keeps(path, target, version).await;
                fits |= is_target;
                has |= match &want.what {
                    What::Target(wanted) => wanted == target && is_target,
                    _ => is_target,
                };
            }
            self.check(fits, || format!("{name}: {}: {path} is none of its targets", want.id));
        }
        has
    }

    /// Whether what is read at `path` keeps to the profile.
    async fn keeps(&mut self, path: &str, canonical: &str, version: &str) -> bool {
        let key = (path.to_owned(), canonical.to_owned());
        if let Some(known) = self.fits.get(&key) {
            return *known;
        }
        // A Binary would come as what it holds.
        let call = self.client.call("GET", &format!("/{path}"));
        let answer = call.header("Accept", "application/fhir+json").send().await.expect(200);
        let resource = json(&answer);
        let of = resource["resourceType"].as_str().unwrap();
        let fits = if canonical.starts_with(CORE) {
            let is_of = is_about(canonical, of);
            is_of
                && errors(&self.client, &resource, &format!("{canonical}|{version}"))
                    .await
                    .is_empty()
        } else {
            let name = canonical.rsplit('/').next().unwrap();
            name == "Resource" || name == of
        };
        self.fits.insert(key, fits);
        fits
    }

    /// Data whose absence nobody can explain is somewhere: as a code, and as an extension.
    pub(super) fn unknown(&mut self) {
        fn any(value: &Value, is: &dyn Fn(&Value) -> bool) -> bool {
            is(value)
                || match value {
                    Value::Array(items) => items.iter().any(|it| any(it, is)),
                    Value::Object(object) => object.values().any(|it| any(it, is)),
                    _ => false,
                }
        }
        let code = |it: &Value| it["system"] == DATA_ABSENT && it["code"] == "unknown";
        let extension =
            |it: &Value| it["url"] == DATA_ABSENT_EXTENSION && it["valueCode"] == "unknown";
        for (what, is) in [("code", &code as &dyn Fn(&Value) -> bool), ("extension", &extension)] {
            let has = self.found.values().any(|it| any(it, is));
            self.check(has, || format!("data-absent-reason unknown: no {what}"));
        }
    }

    /// The observations that are asked for by code have values, blood pressure both of its parts.
    pub(super) fn vital_signs(&mut self) {
        let has_code = |it: &Value, code: &str| {
            items(&it["code"], "coding").iter().any(|coding| coding["code"] == code)
        };
        for code in ["72166-2", "59576-9", "77606-2", "8289-1", "9843-4", "59408-5"] {
            let has = self.found.values().any(|it| {
                has_code(it, code)
                    && (it["valueQuantity"]["value"].is_number()
                        || it["valueCodeableConcept"].is_object())
            });
            self.check(has, || format!("no value of {code}"));
        }
        for (code, parts) in [("85354-9", ["8480-6", "8462-4"]), ("59408-5", ["3151-8", "3150-0"])]
        {
            let has_all = |it: &Value| {
                let components = items(it, "component");
                parts.iter().all(|part| {
                    components
                        .iter()
                        .any(|it| has_code(it, part) && it["valueQuantity"]["value"].is_number())
                })
            };
            let has = self.found.values().any(|it| has_code(it, code) && has_all(it));
            self.check(has, || format!("{code} without {parts:?}"));
        }
    }
}

/// What `$validate` calls an error.
async fn errors(client: &Client, resource: &Value, canonical: &str) -> Vec<String> {
    let of = resource["resourceType"].as_str().unwrap();
    let url = format!("/{of}/$validate?profile={}", canonical.replace('|', "%7C"));
    let answer = client.post(&url, resource.to_string()).await.expect(200);
    let outcome = json(&answer);
    let is_error = |it: &&Value| it["severity"] == "error" || it["severity"] == "fatal";
    items(&outcome, "issue").iter().filter(is_error).map(Value::to_string).collect()
}

/// Whether a profile of US Core can be about this type, by its name.
fn is_about(canonical: &str, of: &str) -> bool {
    let name = canonical.rsplit('/').next().unwrap().trim_start_matches("us-core-");
    let of = of.to_lowercase();
    name == of || name.starts_with(&format!("{of}-"))
}
