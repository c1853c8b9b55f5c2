//! Three patients: what belongs to the summary of the first, what does not, and what is of the second.

use crate::harness::server::TestServer;

const OF_A: &str = r#""subject":{"reference":"Patient/a"}"#;

/// Path and content; `@` stands for the subject `a`.
const STORED: &[(&str, &str)] = &[
    ("Organization/clinic", r#""name":"Clinic""#),
    ("Practitioner/doc", r#""name":[{"family":"Doc"}]"#),
    ("Practitioner/idle", r#""name":[{"family":"Idle"}]"#),
    ("Medication/pill", r#""code":{"text":"Pill <5 mg>"}"#),
    (
        "Patient/a",
        r#""identifier":[{"system":"urn:n","value":"a|1"}],"name":[{"family":"Ada","given":["Ann"]}],"birthDate":"1970-01-01","gender":"female","generalPractitioner":[{"reference":"Practitioner/doc"}],"managingOrganization":{"reference":"Organization/clinic"}"#,
    ),
    (
        "Patient/b",
        r#""identifier":[{"system":"urn:n","value":"twin"}],"name":[{"family":"Bob"}],"birthDate":"1971-01-01""#,
    ),
    (
        "Patient/c",
        r#""identifier":[{"system":"urn:n","value":"twin"}],"name":[{"family":"Cy"}],"birthDate":"1972-01-01""#,
    ),
    (
        "Device/stent",
        r#""deviceName":[{"name":"Stent","type":"user-friendly-name"}],"patient":{"reference":"Patient/a"}"#,
    ),
    ("Encounter/a-visit", r#""status":"finished","class":{"code":"AMB"},@"#),
    (
        "AllergyIntolerance/a-nuts",
        r#""clinicalStatus":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical","code":"active"}]},"code":{"text":"Nuts"},"patient":{"reference":"Patient/a"}"#,
    ),
    (
        "AllergyIntolerance/a-error",
        r#""verificationStatus":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/allergyintolerance-verification","code":"entered-in-error"}]},"code":{"text":"Dust"},"patient":{"reference":"Patient/a"}"#,
    ),
    (
        "Condition/a-asthma",
        r#""clinicalStatus":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/condition-clinical","code":"active"}]},"code":{"text":"Asthma"},"encounter":{"reference":"Encounter/a-visit"},@"#,
    ),
    (
        "Condition/a-broken",
        r#""clinicalStatus":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/condition-clinical","code":"resolved"}]},"code":{"text":"Broken arm"},@"#,
    ),
    (
        "Condition/a-refuted",
        r#""clinicalStatus":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/condition-clinical","code":"active"}]},"verificationStatus":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/condition-ver-status","code":"refuted"}]},"code":{"text":"Gout"},@"#,
    ),
    (
        "MedicationStatement/a-pill",
        r#""status":"active","medicationReference":{"reference":"Medication/pill"},"effectiveDateTime":"2022-01-01",@"#,
    ),
    (
        "MedicationRequest/a-old",
        r#""status":"completed","intent":"order","medicationCodeableConcept":{"text":"Old"},@"#,
    ),
    (
        "MedicationRequest/a-not",
        r#""status":"active","intent":"order","doNotPerform":true,"medicationCodeableConcept":{"text":"Never"},@"#,
    ),
    (
        "MedicationRequest/a-idea",
        r#""status":"active","intent":"proposal","medicationCodeableConcept":{"text":"Perhaps"},@"#,
    ),
    (
        "Immunization/a-flu",
        r#""status":"completed","vaccineCode":{"text":"Flu"},"occurrenceDateTime":"2021-10-01","patient":{"reference":"Patient/a"}"#,
    ),
    (
        "Immunization/a-refused",
        r#""status":"not-done","vaccineCode":{"text":"Flu"},"occurrenceDateTime":"2020-10-01","patient":{"reference":"Patient/a"}"#,
    ),
    (
        "Procedure/a-op",
        r#""status":"completed","code":{"text":"Operation"},"performedDateTime":"2019-05-05","performer":[{"actor":{"reference":"Practitioner/doc"}}],@"#,
    ),
    (
        "DeviceUseStatement/a-stent",
        r#""status":"active","device":{"reference":"Device/stent"},"timingDateTime":"2019-05-05",@"#,
    ),
    (
        "Observation/a-k-new",
        r#""status":"final","category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"laboratory"}]}],"code":{"coding":[{"system":"http://loinc.org","code":"2823-3"}]},"effectiveDateTime":"2022-01-01","valueQuantity":{"value":4.10,"unit":"mmol/L"},@"#,
    ),
    (
        "Observation/a-k-old",
        r#""status":"final","category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"laboratory"}]}],"code":{"coding":[{"system":"http://loinc.org","code":"2823-3"}]},"effectiveDateTime":"2020-01-01","valueQuantity":{"value":3.9,"unit":"mmol/L"},@"#,
    ),
    (
        "Observation/a-part",
        r#""status":"final","code":{"text":"Part"},"effectiveDateTime":"2022-01-01",@"#,
    ),
    (
        "Observation/a-cancelled",
        r#""status":"cancelled","code":{"text":"Cancelled"},"effectiveDateTime":"2022-01-01",@"#,
    ),
    (
        "DiagnosticReport/a-panel",
        r#""status":"final","category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v2-0074","code":"LAB"}]}],"code":{"text":"Panel"},"effectiveDateTime":"2022-01-01","result":[{"reference":"Observation/a-k-new"},{"reference":"Observation/a-part"},{"reference":"Observation/a-cancelled"},{"reference":"Observation/b-k"}],@"#,
    ),
    (
        "Observation/a-pulse",
        r#""status":"final","category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs"}]}],"code":{"coding":[{"system":"http://loinc.org","code":"8867-4"}]},"effectiveDateTime":"2022-01-01","valueQuantity":{"value":70,"unit":"/min","system":"http://unitsofmeasure.org","code":"/min"},@"#,
    ),
    (
        "Observation/a-smoke",
        r#""status":"final","category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"social-history"}]}],"code":{"coding":[{"system":"http://loinc.org","code":"72166-2"}]},"effectiveDateTime":"2022-01-01","valueCodeableConcept":{"text":"Never smoker"},@"#,
    ),
    (
        "Observation/a-pregnant",
        r#""status":"final","category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"social-history"}]}],"code":{"coding":[{"system":"http://loinc.org","code":"82810-3"}]},"effectiveDateTime":"2022-01-01","valueCodeableConcept":{"text":"Not pregnant"},@"#,
    ),
    ("CarePlan/a-plan", r#""status":"active","intent":"plan","title":"Breathe",@"#),
    (
        "Consent/a-will",
        r#""status":"active","scope":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/consentscope","code":"adr"}]},"category":[{"text":"will"}],"policyRule":{"text":"ours"},"patient":{"reference":"Patient/a"}"#,
    ),
    (
        "Observation/b-k",
        r#""status":"final","category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"laboratory"}]}],"code":{"coding":[{"system":"http://loinc.org","code":"2823-3"}]},"effectiveDateTime":"2023-01-01","subject":{"reference":"Patient/b"},"performer":[{"reference":"Patient/a"}]"#,
    ),
];

/// What the sections of `a` have, by their codes.
pub(super) const SECTIONS: &[(&str, &[&str])] = &[
    ("48765-2", &["AllergyIntolerance/a-nuts"]),
    ("11450-4", &["Condition/a-asthma"]),
    ("10160-0", &["MedicationStatement/a-pill"]),
    ("11369-6", &["Immunization/a-flu"]),
    ("47519-4", &["Procedure/a-op"]),
    ("46264-8", &["DeviceUseStatement/a-stent"]),
    ("30954-2", &["DiagnosticReport/a-panel", "Observation/a-k-new"]),
    ("8716-3", &["Observation/a-pulse"]),
    ("11348-0", &["Condition/a-broken"]),
    ("29762-2", &["Observation/a-smoke"]),
    ("10162-6", &["Observation/a-pregnant"]),
    ("18776-5", &["CarePlan/a-plan"]),
    ("42348-3", &["Consent/a-will"]),
];

/// What comes along with them, in the order of types and ids.
pub(super) const ALONG: &[&str] = &[
    "Device/stent",
    "Medication/pill",
    "Observation/a-part",
    "Organization/clinic",
    "Practitioner/doc",
];

/// A server with all of it.
pub(super) async fn filled() -> TestServer {
    let server = TestServer::start().await;
    for (path, content) in STORED {
        let (of, id) = path.split_once('/').unwrap();
        let content = content.replace('@', OF_A);
        let body = format!(r#"{{"resourceType":"{of}","id":"{id}",{content}}}"#);
        server.client.put(&format!("/{path}"), body).await.expect(201);
    }
    server
}
