//! The invariants that are left to form validation: it says what their expressions say.

use super::{SPEC, value};
use crate::fhirpath::{Environment, Expression, Item, Node, System};
use crate::spec::structure::Library;
use crate::validate::form;

/// The path of an element, a key, the element that has the invariant; documents that break it at
/// the first such element, and some that do not.
type Case = (&'static str, &'static str, &'static str, Documents, Documents);

type Documents = &'static [&'static str];

const CASES: &[Case] = &[
    (
        "Patient",
        "dom-2",
        "Patient",
        &[
            r##"{"resourceType":"Patient","contained":[{"resourceType":"Patient","id":"a","contained":[{"resourceType":"Patient","id":"b"}],"link":[{"other":{"reference":"#"},"type":"refer"}]}]}"##,
        ],
        &[r#"{"resourceType":"Patient"}"#],
    ),
    (
        "Patient",
        "dom-3",
        "Patient",
        &[
            r#"{"resourceType":"Patient","contained":[{"resourceType":"Organization","id":"a","name":"n"}]}"#,
        ],
        &[
            r##"{"resourceType":"Patient","contained":[{"resourceType":"Organization","id":"a","name":"n"}],"managingOrganization":{"reference":"#a"}}"##,
            r##"{"resourceType":"Patient","contained":[{"resourceType":"Patient","id":"a","link":[{"other":{"reference":"#"},"type":"refer"}]}]}"##,
        ],
    ),
    (
        "Patient",
        "dom-4",
        "Patient",
        &[
            r##"{"resourceType":"Patient","contained":[{"resourceType":"Organization","id":"a","name":"n","meta":{"versionId":"1"}}],"managingOrganization":{"reference":"#a"}}"##,
        ],
        &[
            r##"{"resourceType":"Patient","contained":[{"resourceType":"Organization","id":"a","name":"n","meta":{"tag":[{"code":"x"}]}}],"managingOrganization":{"reference":"#a"}}"##,
        ],
    ),
    (
        "Patient",
        "dom-5",
        "Patient",
        &[
            r##"{"resourceType":"Patient","contained":[{"resourceType":"Organization","id":"a","name":"n","meta":{"security":[{"code":"x"}]}}],"managingOrganization":{"reference":"#a"}}"##,
        ],
        &[r#"{"resourceType":"Patient","meta":{"security":[{"code":"x"}]}}"#],
    ),
    (
        "Patient.managingOrganization",
        "ref-1",
        "Reference",
        &[r##"{"resourceType":"Patient","managingOrganization":{"reference":"#a"}}"##],
        &[
            r##"{"resourceType":"Patient","contained":[{"resourceType":"Organization","id":"a","name":"n"}],"managingOrganization":{"reference":"#a"}}"##,
            r#"{"resourceType":"Patient","managingOrganization":{"reference":"Organization/a"}}"#,
        ],
    ),
    (
        "Patient.extension",
        "ext-1",
        "Extension",
        &[
            r#"{"resourceType":"Patient","extension":[{"url":"urn:x"}]}"#,
            r#"{"resourceType":"Patient","extension":[{"url":"urn:x","valueCode":"a","extension":[{"url":"b","valueCode":"c"}]}]}"#,
        ],
        &[
            r#"{"resourceType":"Patient","extension":[{"url":"urn:x","valueCode":"a"}]}"#,
            r#"{"resourceType":"Patient","extension":[{"url":"urn:x","extension":[{"url":"b","valueCode":"c"}]}]}"#,
        ],
    ),
    (
        "Patient.name",
        "ele-1",
        "HumanName",
        &[r#"{"resourceType":"Patient","name":[{"id":"a"}]}"#],
        &[r#"{"resourceType":"Patient","name":[{"id":"a","text":"b"}]}"#],
    ),
    (
        "Parameters.parameter",
        "inv-1",
        "Parameters.parameter",
        &[
            r#"{"resourceType":"Parameters","parameter":[{"name":"a"}]}"#,
            r#"{"resourceType":"Parameters","parameter":[{"name":"a","valueCode":"b","part":[{"name":"c","valueCode":"d"}]}]}"#,
            r#"{"resourceType":"Parameters","parameter":[{"name":"a","valueCode":"b","resource":{"resourceType":"Patient"}}]}"#,
        ],
        &[r#"{"resourceType":"Parameters","parameter":[{"name":"a","valueCode":"b"}]}"#],
    ),
    (
        "Bundle",
        "bdl-1",
        "Bundle",
        &[r#"{"resourceType":"Bundle","type":"collection","total":1}"#],
        &[r#"{"resourceType":"Bundle","type":"searchset","total":1}"#],
    ),
    (
        "Bundle",
        "bdl-2",
        "Bundle",
        &[
            r#"{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Patient"},"search":{"mode":"match"}}]}"#,
        ],
        &[
            r#"{"resourceType":"Bundle","type":"searchset","entry":[{"resource":{"resourceType":"Patient"},"search":{"mode":"match"}}]}"#,
        ],
    ),
    (
        "Bundle",
        "bdl-3",
        "Bundle",
        &[
            r#"{"resourceType":"Bundle","type":"batch","entry":[{"resource":{"resourceType":"Patient"}}]}"#,
        ],
        &[
            r#"{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Patient"}}]}"#,
        ],
    ),
    (
        "Bundle",
        "bdl-4",
        "Bundle",
        &[
            r#"{"resourceType":"Bundle","type":"batch-response","entry":[{"resource":{"resourceType":"Patient"}}]}"#,
        ],
        &[
            r#"{"resourceType":"Bundle","type":"batch-response","entry":[{"response":{"status":"200"}}]}"#,
        ],
    ),
    (
        "Bundle.entry",
        "bdl-5",
        "Bundle.entry",
        &[r#"{"resourceType":"Bundle","type":"collection","entry":[{"fullUrl":"urn:x"}]}"#],
        &[
            r#"{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Patient"}}]}"#,
        ],
    ),
    (
        "Bundle",
        "bdl-7",
        "Bundle",
        &[
            r#"{"resourceType":"Bundle","type":"collection","entry":[{"fullUrl":"urn:x","resource":{"resourceType":"Patient"}},{"fullUrl":"urn:x","resource":{"resourceType":"Patient"}}]}"#,
        ],
        &[
            r#"{"resourceType":"Bundle","type":"collection","entry":[{"fullUrl":"urn:x","resource":{"resourceType":"Patient"}},{"fullUrl":"urn:y","resource":{"resourceType":"Patient"}}]}"#,
        ],
    ),
    (
        "Bundle.entry",
        "bdl-8",
        "Bundle.entry",
        &[
            r#"{"resourceType":"Bundle","type":"collection","entry":[{"fullUrl":"http://a.org/Patient/1/_history/1","resource":{"resourceType":"Patient","id":"1"}}]}"#,
        ],
        &[
            r#"{"resourceType":"Bundle","type":"collection","entry":[{"fullUrl":"http://a.org/Patient/1","resource":{"resourceType":"Patient","id":"1"}}]}"#,
        ],
    ),
    (
        "Bundle",
        "bdl-9",
        "Bundle",
        &[
            r#"{"resourceType":"Bundle","type":"document","timestamp":"2020-01-01T00:00:00Z","entry":[{"resource":{"resourceType":"Composition","status":"final","type":{"text":"t"},"date":"2020","title":"t","author":[{"display":"a"}]}}]}"#,
        ],
        &[DOCUMENT],
    ),
    (
        "Bundle",
        "bdl-10",
        "Bundle",
        &[
            r#"{"resourceType":"Bundle","type":"document","identifier":{"system":"urn:x","value":"1"},"entry":[{"resource":{"resourceType":"Composition","status":"final","type":{"text":"t"},"date":"2020","title":"t","author":[{"display":"a"}]}}]}"#,
        ],
        &[DOCUMENT],
    ),
    (
        "Bundle",
        "bdl-11",
        "Bundle",
        &[
            r#"{"resourceType":"Bundle","type":"document","timestamp":"2020-01-01T00:00:00Z","identifier":{"system":"urn:x","value":"1"},"entry":[{"resource":{"resourceType":"Patient"}}]}"#,
        ],
        &[DOCUMENT],
    ),
    (
        "Bundle",
        "bdl-12",
        "Bundle",
        &[
            r#"{"resourceType":"Bundle","type":"message","entry":[{"resource":{"resourceType":"Patient"}}]}"#,
        ],
        &[
            r#"{"resourceType":"Bundle","type":"message","entry":[{"resource":{"resourceType":"MessageHeader","eventUri":"urn:x","source":{"endpoint":"urn:x"}}}]}"#,
        ],
    ),
];

const DOCUMENT: &str = r#"{"resourceType":"Bundle","type":"document","timestamp":"2020-01-01T00:00:00Z","identifier":{"system":"urn:x","value":"1"},"entry":[{"resource":{"resourceType":"Composition","status":"final","type":{"text":"t"},"date":"2020","title":"t","author":[{"display":"a"}]}}]}"#;

/// The published expression of an invariant of a type.
fn expression(of: &str, key: &str) -> Expression {
    let type_name = of.split('.').next().unwrap_or(of);
    let structure = Library::r4().structure_of_type(type_name).expect(of);
    let on = structure.elements.iter().find(|element| &*element.path == of).expect(of);
    let found = on.invariants.iter().find(|invariant| &*invariant.key == key).expect(key);
    // On several items R4 means by as() what is called ofType() since.
    let text = found.expression.as_deref().expect(key).replace(".as(", ".ofType(");
    Expression::parse(&text.replace("(as(", "(ofType(")).expect(key)
}

/// What the evaluator says of an invariant on the first element at `path`.
fn holds(path: &str, expression: &Expression, document: &str) -> bool {
    let value = value(document);
    let schema = &SPEC.schema;
    let environment = Environment::new(&value, schema);
    let select = Expression::parse(path).expect(path);
    let focus = select.evaluate(&environment).expect(path).into_iter().next().expect(path);
    let found = expression.evaluate_on(focus, &environment).expect("evaluates");
    matches!(found.as_slice(), [item] if matches!(item.system(schema), Some(System::Boolean(true))))
}

#[test]
fn form_says_what_the_expressions_of_its_invariants_say() {
    for (path, key, of, broken, sound) in CASES {
        let expression = expression(of, key);
        for (documents, expected) in [(broken, false), (sound, true)] {
            for document in *documents {
                assert_eq!(holds(path, &expression, document), expected, "{key} {document}");
                let verdict = form::check(&value(document), &SPEC.schema);
                let named = format!("({key})");
                let is_named = |issue: &crate::fhir::Issue| issue.diagnostics.contains(&named);
                let says = verdict.issues().iter().any(is_named);
                assert_eq!(says, !expected, "{key} {document} {verdict:?}");
            }
        }
    }
}

#[test]
fn a_node_is_an_item_of_its_document() {
    // The evaluator is asked of elements by the walk, as it is here of what a path selects.
    let document = value(r#"{"resourceType":"Patient","name":[{"id":"a"}]}"#);
    let schema = &SPEC.schema;
    let environment = Environment::new(&document, schema);
    let name = &document.items_at("name")[0];
    let human_name = schema.by_name("HumanName").expect("a type");
    let node = Item::Node(Node { value: name, sibling: None, type_id: human_name });
    let expression = expression("HumanName", "ele-1");
    let found = expression.evaluate_on(node, &environment).expect("evaluates");
    assert!(matches!(found[0].system(schema), Some(System::Boolean(false))));
}
