//! Whose data an export of patients has.

use super::{Exporter, put};
use crate::harness::server::TestServer;

/// What is stored; ids begin with whose it is.
const STORED: &[(&str, &str)] = &[
    ("Organization/top", r#""name":"Top""#),
    ("Organization/ward", r#""name":"Ward","partOf":{"reference":"Organization/top"}"#),
    ("Organization/nobodys", r#""name":"Nobody's""#),
    ("Location/room", r#""name":"Room","managingOrganization":{"reference":"Organization/ward"}"#),
    ("Practitioner/doc", r#""name":[{"family":"Doc"}]"#),
    ("Practitioner/idle", r#""name":[{"family":"Idle"}]"#),
    ("Medication/pill", r#""status":"active""#),
    ("Patient/a", r#""generalPractitioner":[{"reference":"Practitioner/doc"}]"#),
    ("Patient/b", ""),
    ("Patient/c", ""),
    ("Patient/d", ""),
    ("Patient/e", ""),
    (
        "Encounter/a-visit",
        r#""status":"finished","class":{"code":"AMB"},"subject":{"reference":"Patient/a"},"location":[{"location":{"reference":"Location/room"}}]"#,
    ),
    (
        "Observation/a-1",
        r#""status":"final","code":{"text":"c"},"subject":{"reference":"Patient/a"}"#,
    ),
    (
        "Observation/c-about-a",
        r#""status":"final","code":{"text":"c"},"subject":{"reference":"Patient/c"},"focus":[{"reference":"Patient/a"}]"#,
    ),
    (
        "MedicationRequest/b-pill",
        r#""status":"active","intent":"order","subject":{"reference":"Patient/b"},"medicationReference":{"reference":"Medication/pill"}"#,
    ),
    (
        "Appointment/a-and-b",
        r#""status":"proposed","participant":[{"actor":{"reference":"Patient/a"},"status":"accepted"},{"actor":{"reference":"Patient/b"},"status":"accepted"}]"#,
    ),
    ("Device/a-pump", r#""patient":{"reference":"Patient/a"}"#),
    ("Device/c-pump", r#""patient":{"reference":"Patient/c"}"#),
    ("Device/spare", ""),
    (
        "Provenance/a-1",
        r#""target":[{"reference":"Observation/a-1"}],"recorded":"2020-01-01T00:00:00Z","agent":[{"who":{"reference":"Practitioner/doc"}}]"#,
    ),
    (
        "Provenance/c-1",
        r#""target":[{"reference":"Observation/c-about-a"}],"recorded":"2020-01-01T00:00:00Z","agent":[{"who":{"reference":"Practitioner/idle"}}]"#,
    ),
    (
        "DocumentReference/a-letter",
        r#""status":"current","subject":{"reference":"Patient/a"},"content":[{"attachment":{"contentType":"text/plain","url":"Binary/letter"}}]"#,
    ),
    ("Binary/letter", r#""contentType":"text/plain","data":"QQ==""#),
    (
        "Group/g",
        r#""type":"person","actual":true,"member":[{"entity":{"reference":"Patient/a"}},{"entity":{"reference":"Patient/b"},"period":{"start":"2020-01-01"}},{"entity":{"reference":"Patient/c"},"inactive":true},{"entity":{"reference":"Patient/d"},"period":{"end":"2020-01-01"}},{"entity":{"reference":"Patient/e"},"period":{"start":"2999-01-01"}}]"#,
    ),
];

/// What belongs to `a` and `b`.
const OF_MEMBERS: &[&str] = &[
    "Appointment/a-and-b",
    "Device/a-pump",
    "DocumentReference/a-letter",
    "Encounter/a-visit",
    "Location/room",
    "Medication/pill",
    "MedicationRequest/b-pill",
    "Observation/a-1",
    "Organization/top",
    "Organization/ward",
    "Patient/a",
    "Patient/b",
    "Practitioner/doc",
    "Provenance/a-1",
];

async fn filled() -> TestServer {
    let server = TestServer::start().await;
    for (path, content) in STORED {
        put(&server.client, path, content).await;
    }
    server
}

/// A resource of several members comes once; what has a patient in its focus is not that patient's.
///
/// Covers: rest 6.66.
/// Covers: security E7.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_a_group_has_its_active_members_and_nobody_else() {
    let server = filled().await;
    let exporter = Exporter::new(&server.client);
    let group = exporter.export("/Group/g/$export").await;
    assert_eq!(group.names(), OF_MEMBERS);
    let letter = group.line("DocumentReference", "a-letter");
    let address = format!("{}/Binary/letter", server.client.base());
    assert!(letter.contains(&address), "{letter}");
    // Of some of them.
    let some = exporter.export("/Group/g/$export?patient=Patient/b&patient=Patient/c").await;
    assert_eq!(
        some.names(),
        ["Appointment/a-and-b", "Medication/pill", "MedicationRequest/b-pill", "Patient/b"]
    );
    assert!(some.error.len() == 1 && some.error[0].contains("Patient/c"), "{:?}", some.error);
    // Of some types, and what they refer to where that is asked for.
    let few = exporter.export("/Group/g/$export?_type=Patient,Practitioner,Group").await;
    assert_eq!(few.names(), ["Group/g", "Patient/a", "Patient/b", "Practitioner/doc"]);
    server.stop().await;
}

/// Covers: rest 6.66.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_patients_has_all_compartments_and_one_of_the_system_everything() {
    let server = filled().await;
    let exporter = Exporter::new(&server.client);
    let mut expected: Vec<&str> = STORED.iter().map(|(path, _)| *path).collect();
    expected.sort_unstable();
    let system = exporter.export("/$export").await;
    assert_eq!(system.names(), expected);
    let patients = exporter.export("/Patient/$export").await;
    let not_theirs = ["Binary/letter", "Device/spare", "Group/g", "Organization/nobodys"];
    expected.retain(|path| !not_theirs.contains(path));
    assert_eq!(patients.names(), expected);
    let related = "/$export?_type=Observation&includeAssociatedData=RelevantProvenanceResources";
    let related = exporter.export(related).await;
    assert_eq!(
        related.names(),
        ["Observation/a-1", "Observation/c-about-a", "Provenance/a-1", "Provenance/c-1"]
    );
    // Of what is not exported, what tells of it is none of it.
    let related =
        "/Patient/$export?_type=Patient&includeAssociatedData=RelevantProvenanceResources";
    let related = exporter.export(related).await;
    assert!(
        related.names().iter().all(|name| name.starts_with("Patient/")),
        "{:?}",
        related.names()
    );
    server.stop().await;
}

/// Each type of US Core, of two patients: what is needed of it, with whose it is in the place of `@`.
const US_CORE: &[(&str, &str)] = &[
    (
        "AllergyIntolerance",
        r#""patient":@,"code":{"text":"x"},"clinicalStatus":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical","code":"active"}]}"#,
    ),
    ("CarePlan", r#""status":"active","intent":"plan","subject":@"#),
    ("CareTeam", r#""status":"active","subject":@"#),
    ("Condition", r#""subject":@,"code":{"text":"x"}"#),
    ("Coverage", r#""status":"active","beneficiary":@,"payor":[{"reference":"Organization/o"}]"#),
    ("Device", r#""patient":@"#),
    ("DiagnosticReport", r#""status":"final","code":{"text":"x"},"subject":@"#),
    (
        "DocumentReference",
        r#""status":"current","subject":@,"content":[{"attachment":{"contentType":"text/plain","data":"QQ=="}}]"#,
    ),
    (
        "Encounter",
        r#""status":"finished","class":{"code":"AMB"},"subject":@,"location":[{"location":{"reference":"Location/l"}}],"participant":[{"individual":{"reference":"PractitionerRole/r"}}]"#,
    ),
    ("Goal", r#""lifecycleStatus":"active","description":{"text":"x"},"subject":@"#),
    (
        "Immunization",
        r#""status":"completed","vaccineCode":{"text":"x"},"patient":@,"occurrenceDateTime":"2020""#,
    ),
    (
        "MedicationDispense",
        r#""status":"completed","medicationReference":{"reference":"Medication/m"},"subject":@"#,
    ),
    (
        "MedicationRequest",
        r#""status":"active","intent":"order","medicationCodeableConcept":{"text":"x"},"subject":@"#,
    ),
    ("Observation", r#""status":"final","code":{"text":"x"},"subject":@"#),
    ("Procedure", r#""status":"completed","subject":@"#),
    (
        "Provenance",
        r#""target":[@],"recorded":"2020-01-01T00:00:00Z","agent":[{"who":{"reference":"Practitioner/d"}}]"#,
    ),
    ("QuestionnaireResponse", r#""status":"completed","subject":@"#),
    ("RelatedPerson", r#""patient":@"#),
    ("ServiceRequest", r#""status":"active","intent":"order","subject":@"#),
    ("Specimen", r#""subject":@"#),
];

/// Every type of US Core is in the files of a Group of two, its Patients are its members exactly, and each
/// line is a resource that this server finds valid.
///
/// Covers: rest 9.34.
/// Covers: security I0.2.13, I0.3.1.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_two_has_every_type_of_us_core() {
    let server = TestServer::start().await;
    let client = &server.client;
    for (path, content) in [
        ("Organization/o", r#""name":"O""#),
        ("Location/l", r#""name":"L""#),
        ("Practitioner/d", r#""name":[{"family":"D"}]"#),
        ("PractitionerRole/r", r#""practitioner":{"reference":"Practitioner/d"}"#),
        ("Medication/m", r#""status":"active""#),
    ] {
        put(client, path, content).await;
    }
    let mut expected = vec![
        "Location/l".to_owned(),
        "Medication/m".to_owned(),
        "Organization/o".to_owned(),
        "Practitioner/d".to_owned(),
        "PractitionerRole/r".to_owned(),
    ];
    for who in ["p1", "p2", "p3"] {
        put(client, &format!("Patient/{who}"), r#""gender":"other""#).await;
        let patient = format!(r#"{{"reference":"Patient/{who}"}}"#);
        for (of, content) in US_CORE {
            let path = format!("{of}/{who}");
            put(client, &path, &content.replace('@', &patient)).await;
        }
    }
    for who in ["p1", "p2"] {
        expected.push(format!("Patient/{who}"));
        expected.extend(US_CORE.iter().map(|(of, _)| format!("{of}/{who}")));
    }
    expected.sort_unstable();
    let members = r#""type":"person","actual":true,"member":[{"entity":{"reference":"Patient/p1"}},{"entity":{"reference":"Patient/p2"}}]"#;
    put(client, "Group/two", members).await;
    let export = Exporter::new(client).export("/Group/two/$export").await;
    assert_eq!(export.names(), expected);
    assert_eq!(export.output.len(), US_CORE.len() + 6);
    for (of, lines) in &export.output {
        for line in lines {
            let judged = client.post(&format!("/{of}/$validate"), line.clone()).await.expect(200);
            assert!(!judged.text().contains(r#""error""#), "{line}: {judged:?}");
        }
    }
    server.stop().await;
}
