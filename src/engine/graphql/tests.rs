//! Documents and their answers, over a few resources that are held in memory.

mod cost;
mod inside;

use std::sync::Mutex;

use bytes::Bytes;
use futures_util::FutureExt as _;

use crate::fhir::json;
use crate::fhir::{Instant, Operation};
use crate::spec::Spec;
use crate::store::search::{Count, Match, SearchPage};

use super::*;

const PATIENT: &str = r##"{"active":true,"birthDate":"1974-12-25","_birthDate":{"extension":[{"url":"urn:t","valueTime":"14:35:45"}]},
    "name":[{"use":"official","family":"Chalmers","given":["Peter","James"],"_given":[null,{"id":"second"}]},
            {"use":"usual","given":["Jim"]},
            {"use":"maiden","family":"Windsor","given":["Peter"],"period":{"end":"2002"}}],
    "managingOrganization":{"reference":"Organization/o"},
    "generalPractitioner":[{"reference":"#gp"},{"reference":"Practitioner/gone"},{"display":"somebody"}],
    "contact":[{"name":{"family":"Marche"},"gender":"female"},{"name":{"family":"Berg"}}],
    "contained":[{"resourceType":"Practitioner","id":"gp","name":[{"family":"Careful"}]}]}"##;

const STORED: &[(&str, &str)] = &[
    ("Patient/p", PATIENT),
    ("Organization/o", r#"{"name":"Ward","partOf":{"reference":"Organization/o"}}"#),
    (
        "Observation/a",
        r#"{"status":"final","code":{"text":"a"},"valueQuantity":{"value":1.50,"unit":"kg"},"subject":{"reference":"Patient/p"}}"#,
    ),
    (
        "Observation/b",
        r#"{"status":"final","code":{"text":"b"},"valueString":"zebra","subject":{"reference":"Patient/p"}}"#,
    ),
];

/// A few resources, and what was asked for.
#[derive(Default)]
struct Held {
    /// What is there besides.
    more: Vec<(&'static str, String)>,
    asked: Mutex<Vec<String>>,
}

fn version(path: &str, body: &str) -> Version {
    let (of, id) = path.split_once('/').expect("a path");
    Version {
        identity: Identity { resource_type: of.parse().expect(of), id: id.parse().expect(id) },
        version: VersionId(1),
        last_updated: Instant::from_micros(0),
        operation: Operation::Created,
        is_relabeled: false,
        meta: None,
        body: Some(Bytes::copy_from_slice(body.as_bytes())),
    }
}

impl Held {
    fn note(&self, text: String) {
        self.asked.lock().expect("a list").push(text);
    }

    fn all(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let more = self.more.iter().map(|(path, body)| (*path, body.as_str()));
        STORED.iter().map(|(path, body)| (*path, *body)).chain(more)
    }
}

impl Source for Held {
    fn read<'a>(
        &'a self,
        identity: &'a Identity,
        _: Option<VersionId>,
    ) -> BoxFuture<'a, Result<Version, Error>> {
        self.note(identity.to_string());
        let found = self.all().find(|(path, _)| *path == identity.to_string());
        let found = found.map(|(path, body)| version(path, body));
        async move { found.ok_or_else(|| Error::NotFound(identity.to_string())) }.boxed()
    }

    fn root<'a>(&'a self, identity: &'a Identity) -> BoxFuture<'a, Result<Version, Error>> {
        self.read(identity, None)
    }

    fn search<'a>(
        &'a self,
        of: ResourceType,
        query: &'a Query,
    ) -> BoxFuture<'a, Result<Searched, Error>> {
        self.note(address(of, query));
        let start = format!("{of}/");
        let fits = |body: &str| {
            let mut values = query.iter().filter(|(name, _)| !name.starts_with('_'));
            values.all(|(_, value)| body.contains(value))
        };
        let found = self.all().filter(|(path, body)| path.starts_with(&start) && fits(body));
        let matches: Vec<Match> =
            found.map(|(path, body)| Match::beside(version(path, body))).collect();
        let count = Count { number: matches.len() as u64, is_exact: true };
        let next = Some("further".to_owned());
        let page = SearchPage { total: Some(count), matches, next, ..SearchPage::default() };
        let shown = query.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let (kind, path) = (Kind::SearchType, of.to_string());
        let searched = Searched { kind, path, shown, page, issues: Vec::new(), words: None };
        async move { Ok(searched) }.boxed()
    }
}

const LIMITS: Limits = Limits {
    document_bytes: 4_000,
    depth: 8,
    fields: 60,
    resources: 20,
    answer_bytes: 1_500,
    looks: 10_000,
    seconds: 10,
};

/// The answer as text, the messages of its errors behind it, and what was asked for.
async fn ask(of: Option<&str>, document: &str, variables: Option<&str>) -> (String, Vec<String>) {
    ask_of(Held::default(), of, document, variables).await
}

async fn ask_of(
    held: Held,
    of: Option<&str>,
    document: &str,
    variables: Option<&str>,
) -> (String, Vec<String>) {
    let spec = Spec::r4().expect("definitions");
    let variables = variables.map(|text| json::parse(text.as_bytes()).expect(text).into_owned());
    let asked = Asked { document: document.to_owned(), operation: None, variables };
    let root = match of.and_then(|path| path.split_once('/')) {
        Some((of, _)) => Scope::Types(vec![spec.schema.by_name(of).expect(of)]),
        None => Scope::Query,
    };
    let told = |faults: &[Fault]| {
        faults.iter().flat_map(|fault| [" ! ", &*fault.message]).collect::<String>()
    };
    let nodes = match planned(&asked, &root, (&spec.schema, LIMITS)) {
        Ok(nodes) => nodes,
        Err(faults) => return (told(&faults), Vec::new()),
    };
    let version = of.map(|path| version(path, PATIENT));
    let base = "http://h.example/fhir";
    let (schema, now) = (&spec.schema, Instant::from_micros(0));
    let around = Around { schema, base, now, limits: LIMITS, page: 50 };
    let answered = Run::new(&around, &held).run(&nodes, version.as_ref()).await.expect(document);
    let text = answered.data.map_or_else(String::new, |data| data.to_text());
    let asked = held.asked.into_inner().expect("a list");
    (format!("{text}{}", told(&answered.faults)), asked)
}

/// Asks of a patient, or else of the system, and compares the answers.
async fn all(of: Option<&str>, cases: &[(&str, &str)]) {
    for (document, expected) in cases {
        let (found, _) = ask(of, document, None).await;
        assert_eq!(found, *expected, "{document}");
    }
}

const ELEMENTS: &[(&str, &str)] = &[
    (
        "{ resourceType __typename id active birthDate }",
        r#"{"resourceType":"Patient","__typename":"Patient","id":"p","active":true,"birthDate":"1974-12-25"}"#,
    ),
    ("{ gender deceasedBoolean }", "{}"),
    (
        "{ name { family given } }",
        r#"{"name":[{"family":"Chalmers","given":["Peter","James"]},{"given":["Jim"]},{"family":"Windsor","given":["Peter"]}]}"#,
    ),
    (
        "{ born: _birthDate { extension { url valueTime } } }",
        r#"{"born":{"extension":[{"url":"urn:t","valueTime":"14:35:45"}]}}"#,
    ),
    ("{ name { _given { id } } }", r#"{"name":[{"_given":[{"id":"second"}]},{},{}]}"#),
    (
        "{ contact(gender: female) { __typename name { __typename } } }",
        r#"{"contact":[{"__typename":"PatientContact","name":{"__typename":"HumanName"}}]}"#,
    ),
    (
        "{ contact { ... on PatientContact { gender } ... on BackboneElement { name { family } } } }",
        r#"{"contact":[{"gender":"female","name":{"family":"Marche"}},{"name":{"family":"Berg"}}]}"#,
    ),
    ("{ meta { versionId } }", r#"{"meta":{"versionId":"1"}}"#),
];

#[tokio::test]
async fn elements_are_selected_by_their_names() {
    all(Some("Patient/p"), ELEMENTS).await;
}

const PICKED: &[(&str, &str)] = &[
    ("{ name(use: official) { family } }", r#"{"name":[{"family":"Chalmers"}]}"#),
    ("{ name(use: \"old\") { family } }", "{}"),
    ("{ name(given: \"Peter\", use: maiden) { use } }", r#"{"name":[{"use":"maiden"}]}"#),
    (
        "{ name(fhirpath: \"period.exists().not()\", _offset: 0) { use } }",
        r#"{"name":[{"use":"official"},{"use":"usual"}]}"#,
    ),
    ("{ name(_offset: 1, _count: 1) { use } }", r#"{"name":[{"use":"usual"}]}"#),
    ("{ name(fhirpath: \"given.count() > 1\") { use } }", r#"{"name":[{"use":"official"}]}"#),
    (
        "{ name(fhirpath: \"%resource.active\", _count: 1) { use } }",
        r#"{"name":[{"use":"official"}]}"#,
    ),
    ("{ name(nope: 1) { use } }", " ! name cannot be picked by nope"),
    ("{ name(_count: few) { use } }", " ! _count is a whole number"),
    ("{ contact(name: x) { gender } }", " ! contact cannot be picked by name"),
];

#[tokio::test]
async fn arguments_pick_values() {
    all(Some("Patient/p"), PICKED).await;
    let (found, _) = ask(Some("Patient/p"), "{ name(fhirpath: \"(\") { use } }", None).await;
    assert!(found.starts_with(" ! FHIRPath: "), "{found}");
    let (found, _) = ask(Some("Patient/p"), "{ name(fhirpath: \"nope()\") { use } }", None).await;
    assert!(found.contains(" ! FHIRPath: "), "{found}");
}

const SHAPED: &[(&str, &str)] = &[
    ("{ name @first { use } }", r#"{"name":{"use":"official"}}"#),
    ("{ name @flatten { family } }", r#"{"family":["Chalmers","Windsor"]}"#),
    (
        "{ name @flatten @first { family given } }",
        r#"{"family":"Chalmers","given":["Peter","James"]}"#,
    ),
    ("{ name @flatten { given @first } }", r#"{"given":["Peter","Jim","Peter"]}"#),
    (
        "{ managingOrganization @flatten { reference } active }",
        r#"{"reference":"Organization/o","active":true}"#,
    ),
    ("{ contact @flatten { name @flatten { family } } }", r#"{"family":["Marche","Berg"]}"#),
    ("{ contact @flatten { gender @singleton } }", r#"{"gender":"female"}"#),
    (
        "{ contact @flatten { name @flatten { family @singleton } } }",
        "{\"family\":\"Marche\"} ! family is a @singleton of several",
    ),
    (
        "{ name @slice(path: \"use\") { family } }",
        r#"{"name.official":[{"family":"Chalmers"}],"name.usual":[{}],"name.maiden":[{"family":"Windsor"}]}"#,
    ),
    (
        "{ name @flatten @slice(fhirpath: \"use\") { family @singleton given @first @singleton } }",
        r#"{"family.official":"Chalmers","given.official":"Peter","given.usual":"Jim","family.maiden":"Windsor","given.maiden":"Peter"}"#,
    ),
    (
        "{ contact @slice(path: \"$index\") @singleton { gender } }",
        r#"{"contact.0":{"gender":"female"},"contact.1":{}}"#,
    ),
    ("{ active @skip(if: true) birthDate @include(if: false) id }", r#"{"id":"p"}"#),
    ("{ name { given @skip(if: true) } }", r#"{"name":[{},{},{}]}"#),
    ("{ name @first @slice(path: \"use\") { use } }", " ! @first and @slice exclude each other"),
    ("{ active @flatten }", " ! @flatten is for what has fields of its own"),
    ("{ __typename @first }", " ! __typename takes no such directive"),
    ("{ active @upper }", " ! @upper is not known here"),
    ("{ active @skip }", " ! @skip takes one argument, if, true or false"),
    ("{ active @include(if: \"true\") }", " ! @include takes one argument, if, true or false"),
    ("{ active @first @first }", " ! @first stands twice"),
];

#[tokio::test]
async fn directives_shape_what_is_told() {
    all(Some("Patient/p"), SHAPED).await;
}

const REFERENCES: &[(&str, &str)] = &[
    (
        "{ managingOrganization { resource { ... on Organization { name } id } } }",
        r#"{"managingOrganization":{"resource":{"name":"Ward","id":"o"}}}"#,
    ),
    (
        "{ managingOrganization { resource(type: Organization) { partOf { resource { id } } } } }",
        r#"{"managingOrganization":{"resource":{"partOf":{"resource":{"id":"o"}}}}}"#,
    ),
    (
        "{ managingOrganization { resource(type: Patient) { id } } }",
        r#"{"managingOrganization":{}}"#,
    ),
    (
        "{ generalPractitioner(_count: 1) { resource { resourceType ... on Practitioner { name { family } } } } }",
        r#"{"generalPractitioner":[{"resource":{"resourceType":"Practitioner","name":[{"family":"Careful"}]}}]}"#,
    ),
    (
        "{ generalPractitioner(_offset: 1) { resource { id } } }",
        "{\"generalPractitioner\":[{\"resource\":null},{\"resource\":null}]} ! this reference leads to no resource of this server ! Practitioner/gone is not known",
    ),
    (
        "{ generalPractitioner(_offset: 1) { resource(optional: true) { id } } }",
        r#"{"generalPractitioner":[{},{}]}"#,
    ),
    (
        "{ managingOrganization @flatten { resource @flatten { ... on Organization { ward: name } } } }",
        r#"{"ward":"Ward"}"#,
    ),
    (
        "{ contained { ... on Practitioner { name { family } } } }",
        r#"{"contained":[{"name":[{"family":"Careful"}]}]}"#,
    ),
];

#[tokio::test]
async fn references_lead_on() {
    all(Some("Patient/p"), REFERENCES).await;
    let twice = "{ a: managingOrganization { resource { id } } b: managingOrganization { resource { id } } }";
    let (_, asked) = ask(Some("Patient/p"), twice, None).await;
    assert_eq!(asked, ["Organization/o"], "each resource is read once");
}

type Searches = &'static [&'static str];

const SEARCHES: &[(Option<&str>, &str, &str, Searches)] = &[
    (
        None,
        "{ ObservationList(code: \"zebra\", _count: 5) { id valueString } }",
        r#"{"ObservationList":[{"id":"b","valueString":"zebra"}]}"#,
        &["Observation?code=zebra&_count=5"],
    ),
    (
        None,
        "{ all: ObservationList(value_quantity: \"gt1\", date: [\"ge2020\", \"lt2021\"]) { id } }",
        r#"{"all":[]}"#,
        &["Observation?value-quantity=gt1&date=ge2020&date=lt2021"],
    ),
    (
        None,
        "{ ObservationConnection(_count: 2, _cursor: \"c\") { count pagesize next previous first edges { mode resource { id valueQuantity { value } } } } }",
        r#"{"ObservationConnection":{"count":2,"pagesize":2,"next":"further","edges":[{"mode":"match","resource":{"id":"a","valueQuantity":{"value":1.50}}},{"mode":"match","resource":{"id":"b"}}]}}"#,
        &["Observation?_count=2&_cursor=c"],
    ),
    (
        None,
        "{ Patient(id: \"p\") { id ObservationList(_reference: subject, status: final) @first { id } } }",
        r#"{"Patient":{"id":"p","ObservationList":{"id":"a"}}}"#,
        &["Patient/p", "Observation?subject=Patient/p&status=final"],
    ),
    (
        Some("Patient/p"),
        "{ ObservationConnection(_reference: subject) { count __typename edges { __typename } } }",
        r#"{"ObservationConnection":{"count":2,"__typename":"ObservationConnection","edges":[{"__typename":"ObservationEdge"},{"__typename":"ObservationEdge"}]}}"#,
        &["Observation?subject=Patient/p"],
    ),
    (
        None,
        "{ Patient(id: \"none\") { id } __typename }",
        "{\"Patient\":null,\"__typename\":\"Query\"} ! Patient/none is not known",
        &["Patient/none"],
    ),
];

#[tokio::test]
async fn searches_are_lists_and_connections() {
    for (of, document, expected, searches) in SEARCHES {
        let (found, asked) = ask(*of, document, None).await;
        assert_eq!(found, *expected, "{document}");
        let asked: Vec<String> = asked.iter().map(|it| it.replace("%2F", "/")).collect();
        assert_eq!(asked, *searches, "{document}");
    }
}

const FRAGMENTS: &[(&str, &str)] = &[
    (
        "{ Patient(id: \"p\") { ...f } } fragment f on Patient { id ...g } fragment g on Resource { resourceType }",
        r#"{"Patient":{"id":"p","resourceType":"Patient"}}"#,
    ),
    (
        "{ Patient(id: \"p\") { name(use: usual) { given } name(use: usual) { use @first } id ... { id } } }",
        r#"{"Patient":{"name":[{"given":["Jim"],"use":"usual"}],"id":"p"}}"#,
    ),
    (
        "{ Patient(id: \"p\") { name(use: usual) { given } ... on Patient { name(use: usual) { use } } } }",
        r#"{"Patient":{"name":[{"given":["Jim"],"use":"usual"}]}}"#,
    ),
    (
        "{ Patient(id: \"p\") { a: id ... on Patient { a: active } } }",
        "{\"Patient\":{\"a\":\"p\"}} ! a stands for two things here",
    ),
    ("{ Patient(id: \"p\") { a: id a: active } }", " ! a stands for two things here"),
    (
        "{ Patient(id: \"p\") { ...f } } fragment f on Patient { ...g } fragment g on Patient { id ...f }",
        " ! the fragment f has itself in it",
    ),
    ("{ Patient(id: \"p\") { ...h } }", " ! there is no fragment h"),
    (
        "{ Patient(id: \"p\") { ... on Practitioner { id } } }",
        " ! what this is selected of is never a Practitioner",
    ),
    ("{ Patient(id: \"p\") { ... on Nobody { id } } }", " ! Nobody is no type of R4"),
    ("{ Patient(id: $id) { id } }", " ! id: the variable $id is not defined"),
];

#[tokio::test]
async fn fragments_and_variables_are_put_in() {
    all(None, FRAGMENTS).await;
    let document = "query($id: ID!, $with: Boolean = false) { Patient(id: $id) { id birthDate @include(if: $with) } }";
    for (variables, expected) in [
        (Some(r#"{"id":"p"}"#), r#"{"Patient":{"id":"p"}}"#),
        (Some(r#"{"id":"p","with":true}"#), r#"{"Patient":{"id":"p","birthDate":"1974-12-25"}}"#),
        (Some(r#"{"id":"p","with":1}"#), " ! the variable $with: it is no Boolean"),
        (None, " ! the variable $id: it has no value"),
    ] {
        let (found, _) = ask(None, document, variables).await;
        assert_eq!(found, expected, "{variables:?}");
    }
}

const REFUSED: &[(&str, &str)] = &[
    ("{ Patient(id: \"p\") { nope } }", "Patient has no field nope"),
    ("{ Patient(id: \"p\") { name } }", "name needs a selection of its fields"),
    ("{ Patient(id: \"p\") { active { id } } }", "active is a value: nothing is selected of it"),
    ("{ Patient(id: \"p\") { _name { id } } }", "Patient has no field _name"),
    ("{ Patient { id } }", "Patient takes one argument, id"),
    ("{ Patient(name: \"p\") { id } }", "Patient takes one argument, id"),
    ("{ Nobody(id: \"p\") { id } }", "a query has no field Nobody"),
    ("{ PatientList(_include: \"*\") { id } }", "_include means nothing here"),
    ("{ PatientList(_id: []) { id } }", "_id: a list of nothing finds nothing"),
    ("{ PatientList(_id: \"\") { id } }", "_id: an empty text finds nothing"),
    ("{ PatientList(_id: [\"\"]) { id } }", "_id: an empty text finds nothing"),
    (
        "query($of: [String] = []) { PatientList(name: \"x\", _id: $of) { id } }",
        "_id: a list of nothing finds nothing",
    ),
    ("{ PatientList(_reference: name) { id } }", "_reference is for searches inside of a resource"),
    (
        "{ Patient(id: \"p\") { ObservationList { id } } }",
        "ObservationList inside of a resource takes _reference",
    ),
    (
        "{ PatientList { managingOrganization { resource { nope } } } }",
        "what this may be has no field nope",
    ),
    (
        "{ PatientList { managingOrganization { resource(of: x) { id } } } }",
        "resource takes optional and type",
    ),
    ("{ PatientConnection { total } }", "PatientConnection has no field total"),
    (
        "{ __schema { types { name } } }",
        "introspection is not offered: the fields are the elements of R4",
    ),
    ("mutation { PatientCreate { id } }", "mutation is not offered: documents are for reading"),
    (
        "query A { __typename } query B { __typename }",
        "operationName says which of several is asked for",
    ),
    ("query Q @x { __typename }", "directives are those of fields and spreads"),
    ("query($a: Int, $a: Int) { __typename }", "this variable is defined twice"),
];

#[tokio::test]
async fn what_means_nothing_is_told_before_anything_is_read() {
    for (document, expected) in REFUSED {
        let (found, asked) = ask(None, document, None).await;
        assert_eq!(found, format!(" ! {expected}"), "{document}");
        assert!(asked.is_empty(), "{document}: {asked:?}");
    }
}

#[tokio::test]
async fn what_a_document_may_cost_is_bounded() {
    let patient = |inner: &str| format!("{{ Patient(id: \"p\") {{ {inner} }} }}");
    let deep = format!("{}id{}", "partOf { resource { ".repeat(4), " } }".repeat(4));
    let many = (0..60).map(|at| format!("a{at}: id ")).collect::<Vec<_>>().concat();
    // Each fragment stands ten times in the one before: of a field or of nothing.
    let laughs = |last: &str| {
        let spread = |at: usize| format!("...f{at} ").repeat(10);
        let fragment = |at: usize| format!(" fragment f{at} on Patient {{ {} }}", spread(at + 1));
        let all: String = (0..5).map(fragment).collect();
        format!("{}{all}{last}", patient("...f0"))
    };
    let reads = (0..25)
        .map(|at| format!("a{at}: Patient(id: \"x{at}\") {{ id }} "))
        .collect::<Vec<_>>()
        .concat();
    let wide = (0..25).map(|at| format!("a{at}: name {{ given }} ")).collect::<Vec<_>>().concat();
    for (document, setting) in [
        (format!("{{ OrganizationList {{ {deep} }} }}"), "graphql.max_depth"),
        (patient(&many), "graphql.max_fields"),
        (laughs(" fragment f5 on Patient { id }"), "graphql.max_fields"),
        (laughs(""), "graphql.max_fields"),
        (" ".repeat(5_000), "graphql.max_document_bytes"),
        (format!("{{ {reads} }}"), "graphql.max_resources"),
        (patient(&wide), "graphql.max_answer_bytes"),
    ] {
        let (found, asked) = ask(None, &document, None).await;
        assert!(found.contains(setting), "{setting}: {found}");
        assert!(asked.len() <= LIMITS.resources, "{asked:?}");
        assert!(found.len() < 5 * LIMITS.answer_bytes, "{setting}: {}", found.len());
    }
}
