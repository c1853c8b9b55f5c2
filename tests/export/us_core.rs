//! An export of people of whom there is all that US Core is about, held against US Core by code that asks
//! no server.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kiln::app::demo::Generator;
use kiln::fhir::Severity;
use kiln::fhir::json::{Value, parse};
use kiln::spec::structure::Library;
use kiln::spec::{GUIDE_PACKS, R4_PACK, Spec};
use kiln::terminology::Image;
use kiln::validate::form::{self, Verdict};
use kiln::validate::profile::{Options, Validator};

use super::{Exporter, put};
use crate::harness::server::TestServer;

/// People who are stored; those of the group are all but every third.
const PATIENTS: u64 = 9;

const CORE: &str = "http://hl7.org/fhir/us/core/StructureDefinition/";

/// The types that US Core has profiles of; of each there is something in the group.
const OF_US_CORE: &[&str] = &[
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
    "Location",
    "Medication",
    "MedicationDispense",
    "MedicationRequest",
    "Observation",
    "Organization",
    "Patient",
    "Practitioner",
    "PractitionerRole",
    "Procedure",
    "Provenance",
    "QuestionnaireResponse",
    "RelatedPerson",
    "ServiceRequest",
    "Specimen",
];

/// What judges lines.
struct Judge {
    spec: Arc<Spec>,
    validator: Validator,
}

impl Judge {
    fn new() -> Self {
        let spec = Spec::r4().unwrap();
        let library = Library::with_packs(GUIDE_PACKS.map(Cow::Borrowed)).unwrap();
        let codes = Image::new(R4_PACK, "http://localhost/fhir").unwrap();
        let codes = codes.with_guides(&GUIDE_PACKS).unwrap();
        let validator = Validator::new(spec.clone(), Arc::new(library), Arc::new(codes));
        Self { spec, validator }
    }

    /// What is wrong with a resource by R4 and by the profiles that it claims, which are all known.
    fn faults(&self, value: &Value<'_>) -> Vec<String> {
        let verdict = form::check(value, &self.spec.schema);
        let mut found: Vec<String> = verdict.issues().iter().map(ToString::to_string).collect();
        if matches!(verdict, Verdict::Malformed(_)) {
            return found;
        }
        let options = Options { unknown_claim: Severity::Error, ..Options::default() };
        let issues = self.validator.validate(value, &[], &options);
        let bad = issues.iter().filter(|issue| issue.severity <= Severity::Error);
        found.extend(bad.map(ToString::to_string));
        found
    }
}

/// Whether a resource claims a profile of US Core.
fn claims(value: &Value<'_>) -> bool {
    let profiles = value.get("meta").map_or(&[][..], |meta| meta.items_at("profile"));
    profiles.iter().any(|it| it.as_str().is_some_and(|url| url.starts_with(CORE)))
}

/// The Patients in the files of a Group are its members exactly, and each line of each type is valid by the
/// profile of US Core that it claims.
///
/// Covers: security I0.2.13.
#[tokio::test(flavor = "multi_thread")]
async fn each_file_of_a_group_is_valid_by_us_core() {
    let server = TestServer::start().await;
    let (mut members, mut others) = (BTreeSet::new(), BTreeSet::new());
    for bundle in Generator::new(1).bundles(PATIENTS) {
        server.client.post("/", bundle.to_json()).await.expect(200);
        for entry in bundle.value.items_at("entry") {
            let resource = entry.get("resource").unwrap();
            if resource.str_at("resourceType") == Some("Patient") {
                let is_other = (members.len() + others.len()) % 3 == 2;
                let of = if is_other { &mut others } else { &mut members };
                of.insert(format!("Patient/{}", resource.str_at("id").unwrap()));
            }
        }
    }
    assert_eq!((members.len(), others.len()), (6, 3));
    let list: Vec<String> =
        members.iter().map(|path| format!(r#"{{"entity":{{"reference":"{path}"}}}}"#)).collect();
    let group = format!(r#""type":"person","actual":true,"member":[{}]"#, list.join(","));
    put(&server.client, "Group/own", &group).await;
    let export = Exporter::new(&server.client).export("/Group/own/$export").await;
    assert!(export.error.is_empty(), "{:?}", export.error);
    let judge = Judge::new();
    let mut patients = BTreeSet::new();
    let mut counts = BTreeMap::<&str, usize>::new();
    for (of, lines) in &export.output {
        for line in lines {
            let value = parse(line.as_bytes()).unwrap();
            assert_eq!(judge.faults(&value), [""; 0], "{line}");
            if of == "Patient" {
                patients.insert(format!("Patient/{}", value.str_at("id").unwrap()));
            }
            if OF_US_CORE.contains(&of.as_str()) {
                assert!(claims(&value), "{line}");
                *counts.entry(of).or_default() += 1;
            }
        }
    }
    assert_eq!(patients, members);
    let lacking: Vec<_> = OF_US_CORE.iter().filter(|of| !counts.contains_key(**of)).collect();
    assert!(lacking.is_empty(), "{lacking:?}: {counts:?}");
    // The judge sees what breaks a profile, and nothing but a profile.
    let mut broken = parse(export.output["Patient"][0].as_bytes()).unwrap();
    broken.as_object_mut().unwrap().remove("gender");
    assert!(!judge.faults(&broken).is_empty());
    broken.as_object_mut().unwrap().remove("meta");
    assert_eq!(judge.faults(&broken), [""; 0]);
    server.stop().await;
}
