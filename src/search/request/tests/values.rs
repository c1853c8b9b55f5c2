use super::*;

#[test]
fn a_string_begins_so_unless_a_modifier_says_else() {
    check(&[
        ("Patient?given=eve", "given eve*"),
        ("Patient?name=M%C3%BCller", "name muller*"),
        ("Patient?name=Peter+James", "name peter james*"),
        ("Patient?name=gtfoo", "name gtfoo*"),
        ("Patient?name:contains=EV,x", "name *ev*, *x*"),
        ("Patient?name:exact=Sea", "name Sea exactly"),
        (r"Location?name:exact=A\,%20B", "name A, B exactly"),
        (r"Patient?family=Smith\,Jr", "family smithjr*"),
        ("Patient?name=Ann&name=Lee", "name ann* & name lee*"),
        ("Patient?name=a,,b,", "name a*, b*"),
        ("Patient?phonetic=Smith,Jon%20Doe", "(phonetic s530 | (phonetic j500 & phonetic d000))"),
        ("Patient?name:missing=true", "!name present"),
        ("Patient?name:missing=false", "name present"),
    ]);
}

#[test]
fn a_token_is_looked_for_as_the_index_may_hold_it() {
    check(&[
        ("Observation?code=AbC", "code AbC/abc^"),
        ("Observation?code=http://loinc.org|8480-6", "code http://loinc.org|8480-6^"),
        ("Observation?code=|AbC", "code |abc^"),
        ("Observation?code=http://loinc.org|", "code http://loinc.org|"),
        ("Observation?code=eq5", "code eq5/eq5^"),
        ("Observation?code=a,s|b", "code a/a^, s|b^"),
        (r"Patient?identifier=http://foo\,123|ABC", "identifier http://foo,123|ABC"),
        ("AuditEvent?altid=user:ada", "altid user:ada^"),
        ("AuditEvent?altid=user:Ada", "altid user:Ada/user:ada^"),
        (r"Patient?identifier=a\|b", "identifier a|b"),
        ("Patient?identifier=AbC", "identifier AbC"),
        ("Patient?identifier=|AbC", "identifier |AbC"),
        ("Patient?active=true", "active true"),
        (
            "Patient?active=http://terminology.hl7.org/CodeSystem/special-values|true",
            "active http://terminology.hl7.org/CodeSystem/special-values|true",
        ),
        ("Patient?active=s|true", "()"),
        ("Patient?gender=Male", "gender Male"),
        (
            "Patient?gender=http://hl7.org/fhir/administrative-gender|male",
            "gender http://hl7.org/fhir/administrative-gender|male",
        ),
        ("Patient?gender=http://other|male", "()"),
        ("Patient?gender=|male", "()"),
        ("Patient?telecom=555-1234", "telecom 555-1234^"),
        ("Patient?email=A@b.org", "email a@b.org^"),
        ("Patient?deceased=true", "deceased true/true^"),
        ("Patient?deceased=s|true", "deceased s|true, s|true^"),
    ]);
}

#[test]
fn modifiers_of_tokens() {
    check(&[
        ("Patient?gender:not=male,other", "!gender male, other"),
        ("Patient?email:missing=true", "!email present"),
        ("Observation?code:text=H%C3%A9mo", "code text hemo"),
        ("Observation?code:in=http://v%7C1", "code in http://v|1"),
        (
            "Observation?code:in=http://snomed.info/sct?fhir_vs%3Disa/126851005",
            "code in http://snomed.info/sct?fhir_vs=isa/126851005",
        ),
        ("Observation?code:not-in=ValueSet/1,ValueSet/2", "!code in ValueSet/1, in ValueSet/2"),
        ("Observation?code:below=s|B", "code below s|B"),
        ("Observation?code:above=s|B", "code above s|B"),
        ("DocumentReference?contenttype:below=text/xml", "contenttype urn:ietf:bcp:13|text/xml.."),
        ("DocumentReference?language:below=en", "language urn:ietf:bcp:47|en.."),
        ("Patient?language:below=urn:ietf:bcp:47|EN", "language urn:ietf:bcp:47|en.."),
        (
            "Patient?gender:below=male",
            "gender below http://hl7.org/fhir/administrative-gender|male",
        ),
        (
            "Patient?identifier:of-type=http://terminology.hl7.org/CodeSystem/v2-0203|MR|12 A",
            "identifier of type http://terminology.hl7.org/CodeSystem/v2-0203|mr^: 12 A",
        ),
        ("Observation?code:text-advanced=a+OR+b,c", "Parameter(\"code\") has a OR b,c"),
        ("Patient?_tag=s|t", "_tag s|t^"),
        ("Patient?_security:not=t", "!_security t/t^"),
    ]);
}

#[test]
fn numbers_have_the_range_of_their_digits() {
    check(&[
        ("RiskAssessment?probability=100", "probability eq 100 [99.5, 100.5)"),
        ("RiskAssessment?probability=100.00", "probability eq 100.00 [99.995, 100.005)"),
        ("RiskAssessment?probability=1e2", "probability eq 100 [95, 105)"),
        ("RiskAssessment?probability=gt0.8", "probability gt 0.8 [0.75, 0.85)"),
        (
            "RiskAssessment?probability=ap5,ne-0.5",
            "probability ap 5 [4.5, 5.5], ne -0.5 [-0.55, -0.45)",
        ),
        ("RiskAssessment?probability=ap-100", "probability ap -100 [-110.0, -90.0]"),
        ("RiskAssessment?probability=%2B5", "probability eq 5 [4.5, 5.5)"),
        (
            "RiskAssessment?probability=sa5&probability=eb6",
            "probability sa 5 [4.5, 5.5) & probability eb 6 [5.5, 6.5)",
        ),
    ]);
}

#[test]
fn quantities_are_in_base_units_where_theirs_convert() {
    check(&[
        ("Observation?value-quantity=5.4", "value-quantity eq 5.4 [5.35, 5.45) of any unit"),
        ("Observation?value-quantity=5.4||mg", "value-quantity eq 5.4 [5.35, 5.45) named mg"),
        ("Observation?value-quantity=5.4|s", "value-quantity eq 5.4 [5.35, 5.45) of s"),
        ("Observation?value-quantity=5.4|s|u", "value-quantity eq 5.4 [5.35, 5.45) s|u"),
        (
            "Observation?value-quantity=gt5|http://unitsofmeasure.org|kg",
            "value-quantity gt 5 [4.5, 5.5) = 5000 g [4500, 5500)",
        ),
        // A tenth of the number, not of the Kelvins.
        (
            "Observation?value-quantity=ap37|http://unitsofmeasure.org|Cel",
            "value-quantity ap 37 [33.3, 40.7] = 310.15 K [306.45, 313.85]",
        ),
        (
            "Observation?value-quantity=3|http://unitsofmeasure.org|mg/mmol",
            "value-quantity eq 3 [2.5, 3.5) = 0.00000000000000000000000498161720152154 g \
             [0.000000000000000000000004151347667934617, 0.000000000000000000000005811886735108463)",
        ),
        (
            "Observation?value-quantity=6|http://unitsofmeasure.org|ng/kg/min",
            "value-quantity eq 6 [5.5, 6.5) = 0.0000000000001 s-1 \
             [0.00000000000009166666666666667, 0.0000000000001083333333333333)",
        ),
        (
            "Observation?value-quantity=5|http://unitsofmeasure.org|nonsense",
            "value-quantity eq 5 [4.5, 5.5) http://unitsofmeasure.org|nonsense",
        ),
        (
            "Observation?value-quantity=2e-3",
            "value-quantity eq 0.002 [0.00195, 0.00205) of any unit",
        ),
        (
            "ChargeItem?price-override=5|urn:iso:std:iso:4217|USD",
            "price-override eq 5 [4.5, 5.5) urn:iso:std:iso:4217|USD",
        ),
    ]);
}

#[test]
fn a_date_is_the_span_of_its_text() {
    check(&[
        ("Patient?birthdate=1980", "birthdate eq 1980-01-01~1981-01-01"),
        ("Patient?birthdate=ge1980-05", "birthdate ge 1980-05-01~1980-06-01"),
        (
            "Observation?date=2010,sa2012-02-29",
            "date eq 2010-01-01~2011-01-01, sa 2012-02-29~2012-03-01",
        ),
        (
            "Observation?date=le2015-04-13T20:27:01-04:00",
            "date le 2015-04-14T00:27:01.000Z~2015-04-14T00:27:02.000Z",
        ),
        (
            "Observation?date=2015-04-13T20:27+02:00",
            "date eq 2015-04-13T18:27:00.000Z~2015-04-13T18:28:00.000Z",
        ),
        (
            "Observation?date=2015-04-13T20%3A27:01.5Z",
            "date eq 2015-04-13T20:27:01.500Z~2015-04-13T20:27:01.500Z",
        ),
        // 3,654 days before now: each end moves by 365.4 of them.
        (
            "Observation?date=ap2009-12-30T00:00:00.0Z",
            "date ap 2008-12-29T14:24:00.000Z~2010-12-30T09:36:00.000Z",
        ),
    ]);
    let zoned = |zone: &str| {
        let spec = Arc::clone(R4.spec());
        let settings = Settings {
            base: "http://example.org".into(),
            units: Box::new(Ucum),
            zone: Zone::parse(zone).expect("a zone"),
        };
        Extractor::new(spec, Arc::default(), settings).expect("a zone changes no expression")
    };
    let east = zoned("+02:00");
    let found = read("Observation?date=2015-04-13", &Context { extractor: &east, ..context() });
    let found = found.expect("a date").filters;
    assert_eq!(show(&found[0]), "date eq 2015-04-12T22:00:00.000Z~2015-04-13T22:00:00.000Z");
}

#[test]
fn a_reference_is_told_by_path_url_or_id() {
    check(&[
        ("Observation?subject=Patient/23", "subject Patient/23"),
        ("Observation?subject=http://example.org/fhir/Patient/23", "subject Patient/23"),
        ("Observation?subject=https://example.org/fhir/Patient/23", "subject Patient/23"),
        ("Observation?subject=Patient/23/_history/3", "subject Patient/23@3"),
        ("Observation?subject:Patient=23", "subject Patient/23"),
        ("Observation?subject:Patient=Patient/23", "subject Patient/23"),
        ("Observation?patient=23", "patient Patient/23"),
        ("Observation?subject=23", "subject Device/23, Group/23, Location/23, Patient/23"),
        ("Observation?subject=http://other/Patient/1", "subject url http://other/Patient/1"),
        ("Observation?subject=urn:uuid:1", "subject url urn:uuid:1"),
        ("Patient?organization=organization/123", "organization url organization/123"),
        ("Observation?subject=%23p1", "()"),
        ("Observation?subject:identifier=s|V", "subject identifier s|V"),
        ("Observation?subject:missing=true", "!subject present"),
        ("Bundle?composition=1", "composition Composition/1"),
        ("Provenance?target=Organization/1234", "target Organization/1234"),
        ("Location?partof:below=1", "partof below Location/1"),
        ("Encounter?location:below=1", "location>[Location: partof below Location/1]"),
        ("Observation?subject:above=Location/1", "subject>[Location: partof above Location/1]"),
        (
            "Patient?organization:below=1,Organization/2",
            "(organization>[Organization: partof below Organization/1] | \
             organization>[Organization: partof below Organization/2])",
        ),
        (
            "Encounter?part-of:above=Encounter/1,2",
            "(part-of above Encounter/1 | part-of above Encounter/2)",
        ),
    ]);
}

#[test]
fn ids_without_a_type_are_told_apart_by_whoever_knows_the_data() {
    let found = request("Observation?subject=23&subject=23&patient=5&subject.organization=7");
    let [(id, types)] = &found.ambiguous[..] else { panic!("{:?}", found.ambiguous) };
    let types: Vec<_> = types.iter().map(|it| it.as_str()).collect();
    assert_eq!((id.as_str(), types), ("23", vec!["Device", "Group", "Location", "Patient"]));
    assert_eq!(request("Observation?subject:Patient=23").ambiguous, []);
    assert_eq!(
        faults("Provenance?target=23", &context()),
        ["target: value 1, \"23\", is not with a type: Type/id; the reference may lead to many"],
    );
}

#[test]
fn uris_are_literal_and_canonicals_have_versions() {
    check(&[
        ("ValueSet?url=http://Acme.org/v", "url http://Acme.org/v"),
        ("ValueSet?url=urn:oid:1.2.3", "url urn:oid:1.2.3"),
        ("ValueSet?url=http://v|1.0", "(url http://v & version 1.0^)"),
        ("ValueSet?url=http://v|1.0,http://w", "((url http://v & version 1.0^) | url http://w)"),
        ("ValueSet?url:below=http://acme.org/", "url below http://acme.org/"),
        ("ValueSet?url:above=http://x/a/b", "url above http://x/a/b"),
        ("ValueSet?url:below=urn", "()"),
        ("ValueSet?url:below=urn:oid:1", "()"),
        ("ValueSet?url:missing=true", "!url present"),
        ("Patient?_profile=http://p|1.0", "_profile http://p version 1.0"),
        (
            "Patient?_profile=StructureDefinition/x",
            "_profile StructureDefinition/x, http://example.org/fhir/StructureDefinition/x",
        ),
        ("Patient?_profile:below=http://p|1", "_profile http://p version 1.."),
        ("Patient?_profile:below=http://p", "_profile below http://p"),
        ("Patient?_source=http://sys", "_source http://sys, below http://sys#"),
        ("Patient?_source=http://sys%23id", "_source http://sys#id"),
        ("Patient?_source=urn:oid:1.2", "_source urn:oid:1.2, below urn:oid:1.2#"),
        ("Patient?_source:below=http://sys", "_source below http://sys"),
        (
            "QuestionnaireResponse?questionnaire=http://q|1.0%23f",
            "questionnaire canonical http://q version 1.0 fragment f",
        ),
        ("QuestionnaireResponse?questionnaire=http://q", "questionnaire canonical http://q"),
        (
            "QuestionnaireResponse?questionnaire:below=http://q|1",
            "questionnaire canonical http://q version 1..",
        ),
        (
            "QuestionnaireResponse?questionnaire=Questionnaire/1",
            "questionnaire canonical Questionnaire/1",
        ),
    ]);
}

#[test]
fn composites_have_all_their_parts() {
    check(&[
        (
            "Observation?code-value-quantity=http://loinc.org|2823-3$gt5.4|http://unitsofmeasure.org|g",
            "code-value-quantity http://loinc.org|2823-3^ $ gt 5.4 [5.35, 5.45) = 5.4 g [5.35, 5.45)",
        ),
        (
            "Observation?component-code-value-concept=a$b,c$s|d",
            "component-code-value-concept a/a^ $ b/b^, c/c^ $ s|d^",
        ),
        ("Observation?code-value-date=x$ge2012", "code-value-date x/x^ $ ge 2012-01-01~2013-01-01"),
        (r"Observation?code-value-string=a\$b$c\$d", "code-value-string a$b/a$b^ $ c$d*"),
        (
            "DocumentReference?relationship=replaces$DocumentReference/1",
            "relationship replaces $ DocumentReference/1",
        ),
        (
            "MolecularSequence?chromosome-variant-coordinate=1$lt345$gt123",
            "chromosome-variant-coordinate 1/1^ $ lt 345 [344.5, 345.5) $ gt 123 [122.5, 123.5)",
        ),
        (
            "MolecularSequence?chromosome-window-coordinate=1$lt345$gt123,2$lt3$gt1",
            "chromosome-window-coordinate 1/1^ $ lt 345 [344.5, 345.5) $ gt 123 [122.5, 123.5), \
             2/2^ $ lt 3 [2.5, 3.5) $ gt 1 [0.5, 1.5)",
        ),
    ]);
}

#[test]
fn near_is_a_distance_from_a_place() {
    check(&[
        ("Location?near=42.2|-83.6", "near 42.2,-83.6 within 50000 m"),
        ("Location?near=42.2|-83.6|11", "near 42.2,-83.6 within 11000 m"),
        (
            "Location?near=42.2|-83.6|11.2|km,1|2|3|m",
            "near 42.2,-83.6 within 11200 m, 1,2 within 3 m",
        ),
        ("Location?near=-90|180|1|[mi_us]", "near -90,180 within 1609.3472186944373 m"),
        ("Location?near:missing=false", "near present"),
    ]);
}
