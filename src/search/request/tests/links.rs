use super::*;

#[test]
fn chains_lead_to_the_types_that_have_what_follows() {
    check(&[
        ("Observation?subject:Patient.name=peter", "subject>[Patient: name peter*]"),
        ("Observation?patient.name=peter", "patient>[Patient: name peter*]"),
        ("Observation?subject.name=peter", "subject>[Location: name peter*; Patient: name peter*]"),
        (
            "DiagnosticReport?result.subject:Patient.organization.address-city=X",
            "result>[Observation: subject>[Patient: organization>[Organization: address-city x*]]]",
        ),
        ("Observation?subject:Patient._id=a,b", "subject>[Patient: _id a,b]"),
        (
            "Observation?subject:Patient._lastUpdated=ge2020",
            "subject>[Patient: _lastUpdated ge 2020-01-01~2021-01-01]",
        ),
        ("Observation?subject:Patient._tag=s|t", "subject>[Patient: _tag s|t^]"),
        (
            "Observation?patient.birthdate=lt1980-05",
            "patient>[Patient: birthdate lt 1980-05-01~1980-06-01]",
        ),
        ("Observation?patient.birthdate:missing=true", "patient>[Patient: !birthdate present]"),
        ("Observation?patient.name:exact=A,B", "patient>[Patient: name A exactly, B exactly]"),
        ("Observation?patient.gender:not=male", "patient>[Patient: !gender male]"),
        (
            "Encounter?patient:Patient._has:Group:member:_id=102",
            "patient>[Patient: <Group.member[_id 102]]",
        ),
        (
            "Patient?general-practitioner.name=Joe&general-practitioner.address-state=MN",
            "general-practitioner>[Organization: name joe*; Practitioner: name joe*] & \
             general-practitioner>[Organization: address-state mn*; Practitioner: address-state mn*]",
        ),
        (
            "MedicationRequest?medication.ingredient-code=abc",
            "medication>[Medication: ingredient-code abc/abc^]",
        ),
        // Where one target reads the value otherwise, each has its own.
        ("Provenance?target:Patient.active=true", "target>[Patient: active true]"),
    ]);
}

/// What an event names by an identifier need not be stored: IHE ITI-81 and its profiles ask for it by a chain.
///
/// Covers: security A13.
#[test]
fn events_are_asked_for_by_identifiers_of_what_is_stored_and_of_what_they_name() {
    let patient = "(patient>[Patient: identifier urn:n|7] | patient identifier urn:n|7)";
    let turned = format!("<AuditEvent.entity[{patient}]");
    check(&[
        ("AuditEvent?patient.identifier=urn:n|7", patient),
        ("AuditEvent?patient:Patient.identifier=urn:n|7", "patient>[Patient: identifier urn:n|7]"),
        ("AuditEvent?patient.name=x", "patient>[Patient: name x*]"),
        ("Patient?_has:AuditEvent:entity:patient.identifier=urn:n|7", turned.as_str()),
        ("Observation?patient.identifier=urn:n|7", "patient>[Patient: identifier urn:n|7]"),
    ]);
    for link in ["agent", "entity", "source"] {
        let found = filters(&format!("AuditEvent?{link}.identifier=7"));
        assert!(found.starts_with(&format!("({link}>[")), "{found}");
        assert!(found.ends_with(&format!("] | {link} identifier 7)")), "{found}");
    }
}

#[test]
fn has_turns_a_chain_around() {
    check(&[
        (
            "Patient?_has:Observation:patient:code=1234-5",
            "<Observation.patient[code 1234-5/1234-5^]",
        ),
        (
            "Patient?_has:Observation:patient:code=a,b&_has:Group:member:_id=1",
            "<Observation.patient[code a/a^, b/b^] & <Group.member[_id 1]",
        ),
        (
            "Patient?_has:Observation:patient:_has:DiagnosticReport:result:status=final",
            "<Observation.patient[<DiagnosticReport.result[status final]]",
        ),
        (
            "Patient?_has:Observation:patient:performer:Practitioner.name=x",
            "<Observation.patient[performer>[Practitioner: name x*]]",
        ),
        ("Patient?_has:Observation:patient:code:not=a", "<Observation.patient[!code a/a^]"),
        (
            "?_type=Patient,Device&_has:Observation:subject:code=a",
            "<Observation.subject[code a/a^]",
        ),
    ]);
}

#[test]
fn common_parameters_have_filters_of_their_own() {
    check(&[
        ("Patient?_id=a,b,Patient/1", "_id a,b,Patient/1"),
        ("Patient?_id:not=a", "!_id a"),
        ("Patient?_id:missing=true", "()"),
        ("Patient?_lastUpdated=gt2010-10-01", "_lastUpdated gt 2010-10-01~2010-10-02"),
        ("Patient?_lastUpdated:missing=false", "()"),
        ("Patient?_list=42", "_list [_id 42]"),
        ("Patient?_list=List/42,43", "(_list [_id 42] | _list [_id 43])"),
        ("Patient?_text=bone+AND+(liver,x)", "Narrative has bone AND (liver,x)"),
        ("Patient?_content=a%5Cb", r"Content has a\b"),
        ("Observation?patient._type=Patient", "patient>[Patient: _type Patient]"),
    ]);
    let current = "status current & \
                   code http://terminology.hl7.org/CodeSystem/list-example-use-codes|";
    for (url, code, who) in [
        ("Condition?_list=$current-problems&patient=1", "problems", "patient Patient/1"),
        ("Patient/1/Condition?_list=$current-problems", "problems", "patient Patient/1"),
        (
            "MedicationRequest?subject=Patient/1&_list=$current-medications",
            "medications",
            "subject Patient/1",
        ),
        (
            "AllergyIntolerance?patient.name=x&_list=$current-allergies",
            "allergies",
            "patient>[Patient: name x*]",
        ),
    ] {
        let found = filters(url);
        assert!(found.contains(&format!("_list [({current}{code} & {who})]")), "{url}: {found}");
    }
    let found = filters("AllergyIntolerance?patient=1&_list=$current-drug-allergies");
    assert!(
        found.contains(
            "code http://terminology.hl7.org/CodeSystem/list-example-use-codes|allergies"
        ),
        "{found}"
    );
    assert!(found.ends_with("& category medication)"), "{found}");
    assert_eq!(request("Patient?_id:missing=true").filters, [Filter::Any(vec![])]);
    assert_eq!(request("Patient?_id:missing=false").filters, [Filter::All(vec![])]);
}

/// The types that are searched: some of them, or how many.
fn types(url: &str) -> String {
    let types = request(url).types;
    assert!(types.is_sorted_by_key(|it| it.as_str()) && !types.is_empty(), "{url}");
    let names: Vec<_> = types.iter().map(|it| it.as_str()).collect();
    if names.len() < 5 { names.join(",") } else { names.len().to_string() }
}

#[test]
fn types_are_those_of_the_path_that_the_parameter_names() {
    for (url, expected) in [
        ("Patient", "Patient"),
        ("", "146"),
        ("?_type=Observation,Condition", "Condition,Observation"),
        ("?_type=Observation,Observation,Nope", "Observation"),
        ("?_type=Observation,Condition&_type=Condition,Patient", "Condition"),
        ("?_type:not=Observation", "145"),
        ("Patient?_type=Patient,Device", "Patient"),
        ("Patient/1/Observation", "Observation"),
        ("Patient/1/*?_type=Condition,Observation,Organization", "Condition,Observation"),
        ("Patient/1/*", "66"),
        ("Encounter/1/*", "25"),
    ] {
        assert_eq!(types(url), expected, "{url}");
    }
    check(&[
        ("Patient", ""),
        ("?_type=Observation", ""),
        ("?_type=Observation,Nope", ""),
        ("?_type=Nope", "()"),
        ("Patient?_type=Observation", "()"),
        ("Patient/1/Observation?code=a", "in Patient/1 & code a/a^"),
        ("Patient/1/*?_tag=a", "in Patient/1 & _tag@66 a/a^"),
    ]);
    let nothing = request("?_type=Nope");
    assert_eq!(nothing.filters, [Filter::Any(vec![])]);
    assert_eq!(nothing.notices.len(), 1);
}

#[test]
fn several_types_share_the_parameters_that_all_of_them_have() {
    check(&[
        ("?_type=Observation,Condition&code=a", "code@Condition+Observation a/a^"),
        (
            "?_type=Observation,Condition&subject=Patient/1",
            "subject@Condition+Observation Patient/1",
        ),
        ("?_tag=s|a", "_tag@146 s|a^"),
        ("?_id=1", "_id 1"),
        (
            "?_type=Observation,Condition&patient.name=x",
            "patient@Condition+Observation>[Patient: name x*]",
        ),
        ("?name=x", ""),
        ("?name.x=x", ""),
    ]);
    assert_eq!(request("?name=x").notices.len(), 1);
    assert_eq!(
        faults("?_type=Observation,Patient&birthdate=2000", &context()),
        ["birthdate: Observation has no such parameter"],
    );
    assert_eq!(
        faults("?_type=NamingSystem,Group&value=a", &context()),
        ["value: is a token for Group and a string for NamingSystem: search them one by one"],
    );
}

#[test]
fn of_several_targets_the_most_telling_is_heard() {
    // DeviceRequests are requested by nobody with a birthdate, MedicationRequests by Patients.
    let found = faults("Observation?based-on.requester.birthdate=soon", &context());
    let wrong = "based-on.requester.birthdate: value 1, \"soon\", is not a date";
    assert!(found.len() == 1 && found[0].starts_with(wrong), "{found:?}");
    let filter = "Observation?_filter=based-on.requester.birthdate eq soon";
    let found = faults(&filter.replace(' ', "%20"), &context());
    assert!(
        found.len() == 1 && found[0].contains("value 1, \"eqsoon\", is not a date"),
        "{found:?}"
    );
}
