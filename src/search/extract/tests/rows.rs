use super::*;

const PATIENT: &str = r#"{"resourceType":"Patient","id":"P1","meta":{"lastUpdated":"2024-05-06T07:08:09.123Z",
        "source":"http://sys#req","profile":["http://p/a|1.0"],"tag":[{"system":"http://t","code":"X"}],
        "security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"R"}]},
        "identifier":[{"system":"urn:ssn","value":"Ab|1","type":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v2-0203","code":"MR"}],"text":"Record"}},{"value":"x"},{"system":"urn:none"}],
        "active":true,"name":[{"use":"official","text":"Dr. José  Muñoz","family":"Carreño Quiñones","given":["José","María"],"prefix":["Dr."]}],
        "telecom":[{"system":"phone","value":"555-1234"},{"system":"email","value":"Ann@Example.org"},{"system":"phone"}],
        "gender":"male","birthDate":"1980-05","deceasedDateTime":"2020-01-02",
        "address":[{"line":["1 Main St.","Apt 2"],"city":"Zürich","postalCode":"8001","country":"CH","use":"home"}],
        "generalPractitioner":[{"reference":"Practitioner/d1"},{"reference":"http://example.org/fhir/Organization/o1"}],
        "managingOrganization":{"reference":"Organization/o2/_history/3"},
        "link":[{"other":{"reference":"RelatedPerson/r"},"type":"seealso"}],
        "communication":[{"language":{"coding":[{"system":"urn:ietf:bcp:47","code":"de-CH"}]}}]}"#;

#[test]
fn a_resource_is_found_by_id_meta_and_identifiers() {
    check(
        PATIENT,
        &[
            ("_id", &["|P1"]),
            ("_lastUpdated", &["2024-05-06T07:08:09.123Z~2024-05-06T07:08:09.123Z"]),
            ("_source", &["http://sys#req None"]),
            ("_profile", &["http://p/a Some(\"1.0\")"]),
            ("_tag", &["http://t|x^"]),
            ("_security", &["http://terminology.hl7.org/CodeSystem/v3-Confidentiality|R"]),
            (
                "identifier",
                &[
                    "urn:ssn|Ab|1",
                    "of-type http://terminology.hl7.org/CodeSystem/v2-0203|mr^|Ab|1",
                    "text record",
                    "|x",
                ],
            ),
        ],
    );
}

#[test]
fn a_patient_is_found_by_elements() {
    check(
        PATIENT,
        &[
            ("active", &["http://terminology.hl7.org/CodeSystem/special-values|true"]),
            (
                "name",
                &[
                    "jose (José)",
                    "maria (María)",
                    "carreno quinones (Carreño Quiñones)",
                    "dr (Dr.)",
                    "dr jose munoz (Dr. José  Muñoz)",
                    "quinones (word)",
                    "munoz (word)",
                ],
            ),
            ("family", &["carreno quinones (Carreño Quiñones)", "quinones (word)"]),
            ("given", &["jose (José)", "maria (María)"]),
            (
                "phonetic",
                &[
                    "j200 (word)",
                    "m600 (word)",
                    "c650 (word)",
                    "q552 (word)",
                    "d600 (word)",
                    "m520 (word)",
                ],
            ),
            ("telecom", &["|555-1234^", "|ann@example.org^"]),
            ("phone", &["|555-1234^"]),
            ("email", &["|ann@example.org^"]),
            ("gender", &["http://hl7.org/fhir/administrative-gender|male"]),
            ("birthdate", &["1980-05-01~1980-06-01"]),
            ("death-date", &["2020-01-02~2020-01-03"]),
            ("deceased", &["http://terminology.hl7.org/CodeSystem/special-values|true"]),
            (
                "address",
                &[
                    "1 main st (1 Main St.)",
                    "apt 2 (Apt 2)",
                    "zurich (Zürich)",
                    "8001 (8001)",
                    "ch (CH)",
                ],
            ),
            ("address-use", &["http://hl7.org/fhir/address-use|home"]),
            ("address-city", &["zurich (Zürich)"]),
            ("general-practitioner", &["Practitioner/d1", "Organization/o1"]),
            ("organization", &["Organization/o2/3"]),
            ("link", &["RelatedPerson/r"]),
            ("language", &["urn:ietf:bcp:47|de-ch^"]),
        ],
    );
}

#[test]
fn absent_values_are_missing_and_deceased_is_always_there() {
    check(
        r#"{"resourceType":"Patient","_birthDate":{"extension":[{"url":"u","valueString":"x"}]},
        "name":[{"_family":{"extension":[{"url":"u","valueCode":"unknown"}]},"given":[null,"Al"],"_given":[{"id":"a"},null]}]}"#,
        &[
            ("birthdate", &[]),
            ("family", &[]),
            ("given", &["al (Al)"]),
            ("_id", &[]),
            ("deceased", &["http://terminology.hl7.org/CodeSystem/special-values|false"]),
        ],
    );
    for (deceased, expected) in
        [("\"deceasedBoolean\":false", "false"), ("\"deceasedBoolean\":true", "true")]
    {
        let row = format!("http://terminology.hl7.org/CodeSystem/special-values|{expected}");
        check(
            &format!(r#"{{"resourceType":"Patient",{deceased}}}"#),
            &[("deceased", &[&row]), ("death-date", &[])],
        );
    }
}

#[test]
fn an_observation_gives_quantities_and_pairs_by_element() {
    let mass = |value: &str, base: &str| format!("{value}|{UCUM}|mg (milligram) = {base} g");
    let (five, six) = (mass("5.00", "0.00500"), mass("6", "0.006"));
    let pair = |code: &str, quantity: &str| format!("http://loinc.org|{code}^ $ {quantity}");
    let json = format!(
        r#"{{"resourceType":"Observation","status":"final",
        "category":[{{"coding":[{{"system":"http://c","code":"vital-signs","display":"Vital Signs"}}]}}],
        "code":{{"coding":[{{"system":"http://loinc.org","code":"A-1"}},{{"code":"bare"}}],"text":"Root Code"}},
        "subject":{{"reference":"Patient/p1","display":"x"}},"effectivePeriod":{{"start":"2020-01-01"}},
        "issued":"2020-01-02T03:04:05+01:00","performer":[{{"identifier":{{"system":"urn:i","value":"7"}}}}],
        "valueQuantity":{{"value":5.00,"unit":"milligram","system":"{UCUM}","code":"mg"}},
        "component":[
          {{"code":{{"coding":[{{"system":"http://loinc.org","code":"B-2"}}]}},"valueQuantity":{{"value":6,"unit":"milligram","system":"{UCUM}","code":"mg","comparator":"<"}}}},
          {{"code":{{"coding":[{{"system":"http://loinc.org","code":"C-3"}}]}},"valueCodeableConcept":{{"coding":[{{"system":"http://v","code":"pos"}}]}}}}]}}"#
    );
    let below = six.replace("6|", &format!("..~5.{}|", "9".repeat(37)));
    let below = below.replace("0.006", &format!("..~0.005{}", "9".repeat(37)));
    check(
        &json,
        &[
            ("status", &["http://hl7.org/fhir/observation-status|final"]),
            ("category", &["http://c|vital-signs^", "text vital signs"]),
            ("code", &["http://loinc.org|a-1^", "|bare^", "text root code"]),
            ("subject", &["Patient/p1"]),
            ("patient", &["Patient/p1"]),
            ("performer", &["identifier urn:i|7"]),
            ("date", &["2020-01-01~.."]),
            ("value-quantity", &[&five]),
            ("component-value-quantity", &[&below]),
            ("combo-value-quantity", &[&five, &below]),
            ("code-value-quantity", &[&pair("a-1", &five), &format!("|bare^ $ {five}")]),
            ("component-code-value-quantity", &[&pair("b-2", &below)]),
            (
                "combo-code-value-quantity",
                &[&pair("a-1", &five), &format!("|bare^ $ {five}"), &pair("b-2", &below)],
            ),
            ("component-code-value-concept", &["http://loinc.org|c-3^ $ http://v|pos^"]),
            ("code-value-concept", &[]),
            ("value-string", &[]),
        ],
    );
}

#[test]
fn an_observation_with_a_date_has_the_pair_that_the_definition_misspells() {
    check(
        r#"{"resourceType":"Observation","code":{"coding":[{"code":"lmp"}]},"valueDateTime":"2020-02"}"#,
        &[
            ("value-date", &["2020-02-01~2020-03-01"]),
            ("code-value-date", &["|lmp^ $ 2020-02-01~2020-03-01"]),
        ],
    );
    check(
        r#"{"resourceType":"Observation","code":{"text":"x"},"valueCodeableConcept":{"text":"Blood Group"}}"#,
        &[
            ("value-string", &["blood group (Blood Group)"]),
            ("value-concept", &["text blood group"]),
        ],
    );
}

#[test]
fn references_are_told_apart() {
    check(
        r##"{"resourceType":"Provenance","contained":[{"resourceType":"Patient","id":"c"}],"target":[
        {"reference":"Patient/a"},{"reference":"#c"},{"reference":"urn:uuid:1"},{"reference":"http://other/Patient/b"},
        {"reference":"Patient?identifier=1"},{"reference":"odd"},{"type":"Patient","identifier":{"value":"n"}},
        {"type":"Patient","reference":"urn:oid:1.2"},{"reference":"Group/g/_history/2"},{"display":"nobody"}]}"##,
        &[
            (
                "target",
                &[
                    "Patient/a",
                    "#c",
                    "url urn:uuid:1",
                    "url http://other/Patient/b",
                    "url Patient?identifier=1",
                    "url odd",
                    "identifier |n",
                    "url urn:oid:1.2",
                    "Group/g/2",
                ],
            ),
            (
                "patient",
                &[
                    "Patient/a",
                    "#c",
                    "url http://other/Patient/b",
                    "url Patient?identifier=1",
                    "identifier |n",
                    "url urn:oid:1.2",
                ],
            ),
        ],
    );
    // The definition has no `where` here (rest 4.238).
    check(
        r#"{"resourceType":"DeviceUseStatement","subject":{"reference":"Group/g"}}"#,
        &[("patient", &[]), ("subject", &["Group/g"])],
    );
}

#[test]
fn uris_canonicals_and_nested_resources_have_their_forms() {
    check(
        r#"{"resourceType":"PlanDefinition","url":"http://a/P","version":"1.0","library":["http://a/L|2#x"],
        "relatedArtifact":[{"type":"depends-on","resource":"http://a/D"},{"type":"successor","resource":"http://a/S|1"}],
        "useContext":[{"code":{"system":"http://u","code":"age"},"valueRange":{"low":{"value":1,"code":"g"},"high":{"value":2}}},
        {"code":{"code":"focus"},"valueCodeableConcept":{"coding":[{"code":"f"}]}}]}"#,
        &[
            ("url", &["http://a/P None"]),
            ("version", &["|1.0^"]),
            (
                "depends-on",
                &["canonical http://a/D None None", "canonical http://a/L Some(\"2\") Some(\"x\")"],
            ),
            ("successor", &["canonical http://a/S Some(\"1\") None"]),
            ("context-quantity", &["1~2||g"]),
            ("context", &["|f^"]),
            ("context-type-quantity", &["http://u|age^ $ 1~2||g"]),
            ("context-type-value", &["|focus^ $ |f^"]),
        ],
    );
    check(
        r#"{"resourceType":"Bundle","type":"message","entry":[{"fullUrl":"urn:uuid:1","resource":{"resourceType":"MessageHeader","id":"m"}},
        {"resource":{"resourceType":"Composition","id":"c"}}]}"#,
        &[
            ("message", &["MessageHeader/m", "url urn:uuid:1"]),
            ("composition", &[]),
            ("type", &["http://hl7.org/fhir/bundle-type|message"]),
        ],
    );
    check(
        r#"{"resourceType":"ConceptMap","sourceUri":"http://a/vs","targetCanonical":"http://b/vs|3"}"#,
        &[
            ("source-uri", &["canonical http://a/vs None None"]),
            ("target", &["canonical http://b/vs Some(\"3\") None"]),
        ],
    );
}

#[test]
fn special_numbers_and_quantities_are_exact() {
    check(
        r#"{"resourceType":"Location","position":{"latitude":-83.6945691,"longitude":42.25475478}}"#,
        &[("near", &["-83.6945691,42.25475478"])],
    );
    check(
        r#"{"resourceType":"RiskAssessment","prediction":[{"probabilityDecimal":0.10},{"probabilityRange":{"low":{"value":0.2}}}]}"#,
        &[("probability", &["0.10", "0.2~.."])],
    );
    check(
        r#"{"resourceType":"Invoice","totalGross":{"value":48.20,"currency":"EUR"}}"#,
        &[("totalgross", &["48.20|urn:iso:std:iso:4217|EUR"])],
    );
    check(
        r#"{"resourceType":"Encounter","length":{"value":56,"unit":"min","system":"http://unitsofmeasure.org","code":"min"}}"#,
        &[("length", &["56|http://unitsofmeasure.org|min (min)"])],
    );
    check(
        r#"{"resourceType":"MolecularSequence","type":"dna","referenceSeq":{"chromosome":{"coding":[{"code":"2"}]},"referenceSeqId":{"coding":[{"code":"NC_1"}]},"windowStart":5,"windowEnd":9},
        "variant":[{"start":3,"end":4},{"start":7,"end":8}]}"#,
        &[
            ("variant-start", &["3", "7"]),
            ("chromosome-window-coordinate", &["|2^ $ 5 $ 9"]),
            ("chromosome-variant-coordinate", &["|2^ $ 3 $ 4", "|2^ $ 7 $ 8"]),
            ("referenceseqid-variant-coordinate", &["|nc_1^ $ 3 $ 4", "|nc_1^ $ 7 $ 8"]),
        ],
    );
}

#[test]
fn choices_and_conditions_give_what_is_compared() {
    check(
        r#"{"resourceType":"Condition","onsetAge":{"value":52,"unit":"years","system":"http://unitsofmeasure.org","code":"a"},"abatementString":"around April","recordedDate":"2012"}"#,
        &[
            ("onset-age", &["52|http://unitsofmeasure.org|a (years)"]),
            ("onset-date", &[]),
            ("abatement-string", &["around april (around April)"]),
            ("recorded-date", &["2012-01-01~2013-01-01"]),
        ],
    );
    check(
        r#"{"resourceType":"Group","characteristic":[{"code":{"coding":[{"code":"a"}]},"valueBoolean":true},{"code":{"coding":[{"code":"b"}]},"valueCodeableConcept":{"coding":[{"code":"v"}]}}]}"#,
        &[
            ("value", &["http://terminology.hl7.org/CodeSystem/special-values|true", "|v^"]),
            (
                "characteristic-value",
                &["|a^ $ http://terminology.hl7.org/CodeSystem/special-values|true", "|b^ $ |v^"],
            ),
        ],
    );
    check(
        r#"{"resourceType":"Procedure","performedString":"in spring","subject":{"reference":"Patient/p"}}"#,
        &[("date", &[]), ("patient", &["Patient/p"])],
    );
    check(
        r#"{"resourceType":"Composition","relatesTo":[{"code":"replaces","targetReference":{"reference":"Composition/a"}},{"code":"appends","targetIdentifier":{"system":"urn:s","value":"v"}}]}"#,
        &[("related-ref", &["Composition/a"]), ("related-id", &["urn:s|v"])],
    );
    check(
        r#"{"resourceType":"DocumentReference","relatesTo":[{"code":"replaces","target":{"reference":"DocumentReference/a"}},{"code":"appends","target":{"reference":"DocumentReference/b"}}]}"#,
        &[(
            "relationship",
            &[
                "http://hl7.org/fhir/document-relationship-type|replaces $ DocumentReference/a",
                "http://hl7.org/fhir/document-relationship-type|appends $ DocumentReference/b",
            ],
        )],
    );
    check(
        r#"{"resourceType":"ValueSet","compose":{"include":[{"system":"http://s","concept":[{"code":"A"}]}]},"expansion":{"contains":[{"code":"B"}]}}"#,
        &[("code", &["|b^", "|a^"]), ("reference", &["http://s None"])],
    );
    check(
        r#"{"resourceType":"InsurancePlan","name":"Gold","alias":["Au"]}"#,
        &[("name", &["gold (Gold)", "au (Au)"])],
    );
}
