use super::*;

/// Values that are not of their parameter's form.
const VALUES: &[&str] = &[
    "Patient?birthdate=abc",
    "RiskAssessment?probability=gt",
    "RiskAssessment?probability=.5",
    "RiskAssessment?probability=1_000",
    "RiskAssessment?probability=1|s|u",
    "Observation?date=05",
    "Observation?date=1973-02-30",
    "Observation?date=1973-13",
    "Observation?date=2015-04-13t20:27:01Z",
    "Observation?date=2015-04-13T24:00",
    "Observation?date=2015-04-13T20",
    "Observation?date=2015-04-13T20:27:01.0123456789Z",
    "Observation?code=a|b|c|d",
    "Observation?code=a|b|c",
    "Observation?code=|",
    "Observation?value-quantity=5|a|b|c",
    "Observation?value-quantity=abc",
    "Patient?active=yes",
    "Patient?active=TRUE",
    "Patient?phone=phone|555",
    "Patient?name:missing=maybe",
    "Patient?name:missing=true,false",
    r"Patient?name=xx\xx",
    r"Patient?name=xx\",
    "Patient?name=%20",
    "Patient?identifier:of-type=a|b",
    "Patient?identifier:of-type=a||c",
    "Observation?code:below=a",
    "CodeSystem?code:below=a",
    "Task?intent:below=order",
    "Patient?language:below=en",
    "Observation?code-value-quantity=a",
    "Observation?code-value-quantity=a$5$6",
    "Observation?code-value-quantity=a$",
    "Observation?subject:Patient=Group/1",
    "Observation?subject=Patient?identifier=1",
    "Location?partof:below=Patient/1",
    "Encounter?location:below=Organization/1",
    "Encounter?location:below=Location/1/_history/2",
    "Observation?subject:below=Patient/1",
    "Location?near=1",
    "Location?near=91|0",
    "Location?near=0|-181",
    "Location?near=1|2|x",
    "Location?near=1|2|-3",
    "Location?near=1|2|3|kg",
];

/// Parameters about the answer, and links, that are none.
const QUERIES: &[&str] = &[
    "Patient?_list=a_b",
    "Condition?_list=$current-problems",
    "Condition?_list=$current-problems&subject:missing=true",
    "Medication?_list=$current-drug-allergies&patient=1",
    "Patient?_lastUpdated=x",
    "Patient?_count=-1",
    "Patient?_count=abc",
    "Patient?_count=1&_count=2",
    "Patient?_total=maybe",
    "Patient?_summary=most",
    "Patient?_contained=maybe",
    "Patient?_containedType=x",
    "Patient?_explain=maybe",
    "Observation?_include=Nope:subject",
    "Observation?_include=Observation:nope",
    "Observation?_include=Observation:code",
    "Observation?_include=Observation:subject:Nope",
    "Observation?_include=Observation:subject:Medication",
    "Observation?_include=Observation:subject:",
    "Observation?_include=Observation",
    "Observation?_revinclude=Observation:a:b:c",
    "Patient?_has=x",
    "Patient?_has:Observation=x",
    "Patient?_has:Observation:patient=x",
    "Patient?_has:Nope:patient:code=x",
    "Patient?_has:Observation:nope:code=x",
    "Patient?_has:Observation:code:code=x",
    "Patient?_has:Observation:patient:nope=x",
    "Patient?_has:Observation:encounter:code=x",
    "Patient?_has:Observation:patient:date=x",
    "Observation?patient.nope=x",
    "Observation?subject.nope=x",
    "Observation?code.name=x",
    "Observation?patient.birthdate=abc",
];

#[test]
fn a_value_of_another_form_is_refused_however_lenient() {
    for url in VALUES.iter().chain(QUERIES) {
        let found = faults(url, &context());
        assert_eq!(found.len(), 1, "{url}: {found:?}");
    }
}

#[test]
fn a_modifier_that_does_not_fit_is_refused_and_the_others_are_named() {
    for (url, expected) in [
        ("Patient?name:foo=x", ":contains, :exact, :missing"),
        ("Patient?name:text=x", ":contains, :exact, :missing"),
        ("Patient?phonetic:exact=x", ":missing"),
        ("Patient?birthdate:exact=2000", ":missing"),
        ("RiskAssessment?probability:not=1", ":missing"),
        ("Observation?value-quantity:above=1", ":missing"),
        ("Observation?code-value-quantity:missing=true", "none"),
        ("Location?near:contains=1", ":missing"),
        ("Patient?_id:in=1", ":missing, :not"),
        ("Patient?_lastUpdated:not=2000", ":missing"),
        ("Patient?_text:exact=a", "none"),
        ("Patient?_count:missing=true", "none"),
        ("Patient?_sort:desc=name", "none"),
        ("Patient?_format:x=json", "none"),
        ("Patient?_type:in=Patient", ":not"),
        ("Patient?_include:x=Patient:link", ":iterate"),
        ("ValueSet?url:contains=x", ":above, :below, :missing"),
        ("Patient?identifier:otype=a|b|c", TOKEN),
        ("Observation?code:of-type=a|b|c", TOKEN),
        ("Observation?code:exact=a", TOKEN),
        (
            "Observation?subject:Medication=1",
            ":missing, :above, :below, :identifier, :Device, :Group, :Location, :Patient",
        ),
        ("Observation?device:below=1", ":missing, :identifier, :Device, :DeviceMetric"),
        ("Patient?organization:not=1", ":missing, :above, :below, :identifier, :Organization"),
        ("QuestionnaireResponse?questionnaire:identifier=a", ":missing, :below"),
        ("Encounter?part-of:not=1", ":missing, :above, :below, :identifier, :Encounter"),
        ("Provenance?target:nope=1", ":missing, :identifier, :Type"),
        ("Observation?subject:Medication.code=1", "a type that the reference may lead to"),
    ] {
        let Err(InvalidSearch(found)) = read(url, &context()) else { panic!("{url} is read") };
        let [Fault { reason: Reason::Modifier { allowed, .. }, .. }] = &found[..] else {
            panic!("{url}: {found:?}");
        };
        assert_eq!(allowed, expected, "{url}");
    }
}

const TOKEN: &str = ":above, :below, :in, :missing, :not, :not-in, :of-type, :text, :text-advanced";

#[test]
fn what_is_not_offered_is_refused() {
    for url in [
        "Patient?_query=x",
        "Patient?_list=$current-wishes&patient=1",
        "Patient?_list=$recent",
        "DocumentReference?contenttype:above=text/xml",
        "PlanDefinition?depends-on.name=x",
    ] {
        let Err(InvalidSearch(found)) = read(url, &context()) else { panic!("{url} is read") };
        let is_named = matches!(found[..], [Fault { reason: Reason::NotSupported(_), .. }]);
        assert!(is_named, "{url}: {found:?}");
        assert_eq!(found[0].reason.code(), crate::fhir::IssueCode::NotSupported, "{url}");
    }
}

#[test]
fn what_contained_resources_have_not_is_refused_by_name() {
    for (rest, name, reason) in [
        ("_id=1", "_id", "have no id of their own"),
        ("_id:not=1", "_id:not", "have no id of their own"),
        ("_lastUpdated=2020", "_lastUpdated", "have no time of change of their own"),
        ("_text=a", "_text", "have no words of their own"),
        ("code:text=a", "code:text", "have no words of their own"),
        ("_list=1", "_list", "have no list of their own"),
        ("_filter=code eq a or _id eq 1", "_filter", "have no id of their own"),
        ("_sort=_score", "_sort", "_score is no order of contained resources"),
        ("_include=*", "_include", "nothing comes along"),
        ("_revinclude=*", "_revinclude", "nothing comes along"),
    ] {
        for contained in ["true&_containedType=contained", "both", "true"] {
            let url = format!("Medication?{}&_contained={contained}", rest.replace(' ', "%20"));
            let found = faults(&url, &context());
            assert_eq!(found.len(), 1, "{url}: {found:?}");
            let is_told = found[0].starts_with(&format!("{name}: ")) && found[0].contains(reason);
            assert!(is_told, "{url}: {found:?}");
        }
    }
    let found = faults("Patient/1/Observation?_contained=true", &context());
    assert!(found[0].starts_with("_contained: ") && found[0].contains("compartment"), "{found:?}");
    for (contained, is_fine) in [
        ("true&_containedType=contained", true),
        ("both&_containedType=contained", false),
        ("true", false),
    ] {
        let url = format!("Medication?_sort=code&_contained={contained}");
        assert_eq!(read(&url, &context()).is_ok(), is_fine, "{url}");
    }
    let fine = "Medication?code:not=a&status:missing=true&manufacturer.name=x\
                &_has:MedicationRequest:medication:_id=1&_contained=both&_sort=-_lastUpdated,_id";
    assert!(read(fine, &context()).is_ok(), "{fine}");
}

#[test]
fn everything_that_is_wrong_is_told() {
    let url = "Patient?birthdate=x,2000,y&name:foo=a&gender=male&_count=z&_has:A:b:c=1";
    assert_eq!(
        faults(url, &context()),
        [
            "birthdate: value 1, \"x\", is not a date: yyyy, yyyy-mm, yyyy-mm-dd or \
             yyyy-mm-ddThh:mm[:ss[.sss]][zone]",
            "birthdate: value 3, \"y\", is not a date: yyyy, yyyy-mm, yyyy-mm-dd or \
             yyyy-mm-ddThh:mm[:ss[.sss]][zone]",
            "name:foo: the modifier \"foo\" does not apply here; allowed: :contains, :exact, \
             :missing",
            "_count: value 1, \"z\", is not a number of entries, 0 or more",
            "_has:A:b:c: \"A\" is no type of resource",
        ],
    );
}

#[test]
fn strict_handling_refuses_what_lenient_passes_over() {
    let strict = Context { strictness: Strictness::Strict, ..context() };
    let criteria = Context { strictness: Strictness::Criteria, ..context() };
    for url in [
        "Patient?bonkers=foobar",
        "Patient?Birthdate=2000",
        "Patient?bonkers.name=x",
        "Patient?_sort=foo",
        "?_type=Nope",
        "?name=x",
        "Observation?_include=Patient:organization",
    ] {
        assert!(!request(url).notices.is_empty(), "{url}");
        let Err(InvalidSearch(found)) = read(url, &strict) else { panic!("{url} is read") };
        let is_named = matches!(found[..], [Fault { reason: Reason::NotSupported(_), .. }]);
        assert!(is_named, "{url}: {found:?}");
        assert!(read(url, &criteria).is_err(), "{url}");
    }
    // What has no value asks for nothing, but criteria without it are others.
    for url in [
        "Patient?name=",
        "Patient?_sort=",
        "?_type=",
        "Patient?_include=",
        "Patient?organization.name=",
        "Patient?name=,",
    ] {
        assert!(!request(url).notices.is_empty(), "{url}");
        let found = read(url, &strict).unwrap_or_else(|found| panic!("{url}: {found:?}"));
        assert!(found.filters.is_empty(), "{url}");
        assert!(read(url, &criteria).is_err(), "{url}");
    }
    let fine = "Patient?name=x&_sort=-name&_count=5&_format=json&_elements=id";
    assert!(read(fine, &strict).is_ok(), "{fine}");
}

#[test]
fn too_much_is_too_costly() {
    let (chain_depth, filter_nodes, includes, parameters, values) = (2, 60, 2, 3, 5);
    let usual = Limits::default();
    let limits = Limits { chain_depth, filter_nodes, includes, parameters, values, ..usual };
    let small = Context { limits, ..context() };
    for (url, what) in [
        ("Patient?a=1&b=2&c=3&d=4", "parameters"),
        ("Patient?name=a,b,c,d,e,f", "values"),
        ("Patient?_id=a,b,c,d,e,f", "values"),
        ("?_type=a,b,c,d,e,Patient", "values"),
        ("Observation?patient.organization.partof.name=x", "links"),
        ("Patient?_has:Observation:patient:_has:Provenance:target:patient.name=x", "links"),
        ("Provenance?target._tag=x", "comparisons"),
        ("Patient?_revinclude=*&_include=*&_include=Patient:link", "includes"),
    ] {
        let Err(InvalidSearch(found)) = read(url, &small) else { panic!("{url} is read") };
        let is_it = |fault: &Fault| matches!(fault.reason, Reason::TooMany { what: found, .. } if found == what);
        assert!(found.iter().any(is_it), "{url}: {found:?}");
    }
    assert!(read("Patient?name=a,b,c,d,e&organization.partof.name=x", &small).is_ok());
    let wide = Limits { chain_depth: 8, values: 1_000, ..usual };
    let wide = Context { limits: wide, ..context() };
    // Values that are each a condition of their own count as such.
    let values = ["x"; 900].join(",");
    let asked = |names: [&str; 3]| {
        let all = names.map(|name| format!("{name}={values}"));
        format!("Patient?{}", all.join("&"))
    };
    assert!(faults(&asked(["name", "family", "given"]), &wide)[0].contains("comparisons"));
    assert!(read(&asked(["_id", "gender", "identifier"]), &wide).is_ok());
    let many = format!("Patient?_sort={}", ["name"; 17].join(","));
    assert_eq!(faults(&many, &context()), ["_sort: 17 keys, more than the 16 that are allowed"]);
    let wrong = format!("Patient?birthdate={}", ["x"; 1_000].join(","));
    assert_eq!(faults(&wrong, &wide).len(), 100);
    // Every link without a type leads to every type: what is read stays bounded.
    let endless = format!("Provenance?{}_tag=x", "target.".repeat(8));
    assert!(faults(&endless, &wide)[0].contains("comparisons"));
}

#[test]
fn a_uri_whose_beginnings_are_looked_for_has_a_largest_length() {
    let of_length =
        |length: usize| format!("ValueSet?url:above=http://a/{}", "x".repeat(length - 9));
    assert_eq!(filters(&of_length(2_000)).len(), "url above ".len() + 2_000);
    let expected = "url:above: 2001 characters of a uri whose beginnings are looked for, more than the 2000 \
                    that are allowed";
    assert_eq!(faults(&of_length(2_001), &context()), [expected]);
}
