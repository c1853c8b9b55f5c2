//! The last look at answers: what is read of a document without the rest decides as the whole does, over
//! all published examples and over what generated changes make of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln::access::Restriction;
use kiln::access::judge::{Purpose, Subject};
use kiln::access::restriction::{Belonging, Clause, Limits, Members, Withheld};
use kiln::fhir::datetime::Zone;
use kiln::fhir::json::{self, Object, Value};
use kiln::fhir::{Identity, Instant, LogicalId, Operation, ResourceType, Version, VersionId};
use kiln::search::extract::Extractor;
use kiln::search::request::compare::{AskedToken, AskedUnit, Comparison};
use kiln::search::request::prefix::Prefix;
use kiln::search::request::{Filter, ParameterKey, Test};
use kiln::search::values::date::DateRange;
use kiln::search::values::number::Asked;
use kiln::search::values::token::{Case, Code};
use kiln::spec::search_parameter::SearchType;

use super::extract::{EXAMPLES, LIMITS, both, resources};
use crate::harness::shared::{archive, long};

/// Changes of each document, beside itself.
const CHANGED: u64 = 6;
/// What references come to point to.
const TARGETS: [&str; 8] = [
    "Patient/a",
    "Patient/b",
    "http://localhost/fhir/Patient/a",
    "http://elsewhere/fhir/Patient/a",
    "Patient/a/_history/2",
    "Observation/a",
    "#a",
    "Patient?identifier=a",
];
/// Texts that look like what is looked for, and are none of it.
const DECOYS: [&str; 4] = [
    r#""}],"subject":{"reference":"Patient/b"},"x":[{"y":""#,
    "\\\"security\\\":[{\\\"code\\\":\\\"R\\\"}]\\",
    "\u{1}\"Ä\\",
    "}}]]",
];

/// A number of a patient.
fn hash(id: &LogicalId) -> i64 {
    id.as_str().bytes().fold(7, |sum, byte| sum.wrapping_mul(31).wrapping_add(i64::from(byte)))
}

/// `SplitMix64` (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }

    fn pick<'t, T>(&mut self, items: &'t [T]) -> &'t T {
        &items[self.below(items.len())]
    }
}

/// Turns some references elsewhere, and some texts to what only looks like something.
fn change(value: &mut Value<'_>, random: &mut Random) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| change(item, random)),
        Value::Object(object) => {
            if object.contains("reference") && random.below(3) > 0 {
                object.set("reference", *random.pick(&TARGETS));
            }
            let names: Vec<String> = object.iter().map(|(name, _)| name.to_owned()).collect();
            for name in names {
                if matches!(&*name, "reference" | "resourceType") {
                    continue;
                }
                let Some(inner) = object.get_mut(&name) else { continue };
                if matches!(inner, Value::String(_)) && random.below(8) == 0 {
                    *inner = Value::from(*random.pick(&DECOYS));
                }
                change(inner, random);
            }
        }
        _ => {}
    }
}

/// A label, or none, and what looks like one.
fn label(value: &mut Value<'_>, random: &mut Random) {
    let Value::Object(resource) = value else { return };
    let coding = |code| Value::from(Object::new().with("system", "urn:l").with("code", code));
    let labels = match random.below(4) {
        0 => vec![coding("R")],
        1 => vec![coding("N"), coding("R")],
        2 => vec![coding("N")],
        _ => return,
    };
    let tag = vec![coding("R")];
    resource.set("meta", Object::new().with("tag", tag).with("security", labels));
}

/// The document as it is stored, under an id of its own.
fn version(of: ResourceType, value: &Value<'_>) -> Version {
    let mut body = value.as_object().expect("an object").clone();
    // What the store knows by itself is not in what it keeps of `meta`.
    let meta = body.remove("meta").map(|mut meta| {
        if let Value::Object(meta) = &mut meta {
            meta.remove("versionId");
            meta.remove("lastUpdated");
        }
        meta.to_text().into()
    });
    let id = body.remove("id").and_then(|id| id.as_str()?.parse().ok());
    body.remove("resourceType");
    Version {
        identity: Identity {
            resource_type: of,
            id: id.unwrap_or_else(|| "a".parse().expect("an id")),
        },
        version: VersionId(1),
        last_updated: Instant::from_micros(0),
        operation: Operation::Created,
        is_relabeled: false,
        meta,
        body: Some(Value::Object(body).to_text().into()),
    }
}

fn token(of: ResourceType, name: &str, code: &'static str) -> Filter {
    let code = Code::new(code, Case::Sensitive);
    Filter::Test(Test {
        parameters: vec![ParameterKey { resource_type: of, code: name.into() }],
        search_type: SearchType::Token,
        any: vec![Comparison::Token(AskedToken::Code([code].into()))],
    })
}

/// Tests of a date and of a quantity, which not all types have.
fn measured(of: ResourceType) -> Vec<Filter> {
    let test = |name: &str, search_type, comparison| {
        Filter::Test(Test {
            parameters: vec![ParameterKey { resource_type: of, code: name.into() }],
            search_type,
            any: vec![comparison],
        })
    };
    let range = DateRange::of_date_time("2010", Zone::UTC).expect("a year");
    let asked = Asked::parse("5").expect("a number");
    let quantity = Comparison::Quantity { prefix: Prefix::Ge, asked, unit: AskedUnit::Any };
    let date = test("date", SearchType::Date, Comparison::Date { prefix: Prefix::Ge, range });
    let value = test("value-quantity", SearchType::Quantity, quantity);
    vec![Filter::Any(vec![date, value])]
}

/// How far callers may reach: whose, and by which label, codes, measures and denials.
fn restrictions(of: ResourceType) -> Vec<Restriction> {
    type Kind = fn(Arc<[i64]>) -> Members;
    let kinds: [Kind; 9] = [
        |_| Members::Everyone,
        Members::Collections,
        Members::Context,
        Members::Documents,
        Members::InPart,
        Members::OwnOrNobodys,
        Members::Patients,
        Members::Targets,
        Members::Themselves,
    ];
    let id = |text: &str| hash(&text.parse().expect("an id"));
    let mine: Arc<[i64]> = [id("a"), id("example")].into();
    let labelled = || Arc::new(token(of, "_security", "R"));
    let everybodys = Withheld {
        patients: None,
        ids: Arc::default(),
        told_by: Belonging::Compartment,
        filter: labelled(),
        within: None,
    };
    let known = Filter::Not(Box::new(token(of, "code", "x")));
    let shared = Filter::All(vec![known.clone(), Filter::Unshared]);
    let theirs = Withheld {
        patients: Some(mine.clone()),
        ids: Arc::default(),
        told_by: Belonging::Compartment,
        filter: Arc::new(shared),
        within: None,
    };
    let mut all = Vec::new();
    for members in kinds {
        for (criteria, withheld) in [
            (vec![], vec![]),
            (vec![], vec![everybodys.clone()]),
            (vec![token(of, "status", "final")], vec![theirs.clone()]),
            (vec![known.clone()], vec![]),
            (measured(of), vec![]),
        ] {
            let clauses =
                vec![Clause { members: members(mine.clone()), criteria: criteria.into() }];
            all.push(Restriction::Limited(Arc::new(Limits { clauses, withheld })));
        }
    }
    all
}

/// Counts of what was judged, by verdict, and of what was not judged by a part.
#[derive(Debug, Default)]
struct Counts {
    shown: usize,
    withheld: usize,
    whole: usize,
}

fn judged(
    restriction: &Restriction,
    (identity, value): (&Identity, &Value<'_>),
    extractor: &Extractor,
) -> [bool; 2] {
    let of = identity.resource_type;
    let found = extractor.spec().patient_compartment(of, value, extractor.base());
    let patients: Vec<i64> = found.iter().map(hash).collect();
    let subject =
        Subject { identity, value, patients: &patients, about: &[], hash: &hash, extractor };
    [Purpose::Shown, Purpose::Written].map(|purpose| restriction.admits(&subject, purpose))
}

fn compare(of: ResourceType, value: &Value<'_>, extractor: &Extractor, counts: &mut Counts) {
    let version = version(of, value);
    let text = version.to_json();
    let whole = json::parse_with(&text, LIMITS).expect("JSON");
    for restriction in restrictions(of) {
        let expected = judged(&restriction, (&version.identity, &whole), extractor);
        let Some(seen) = restriction.glimpse(of, extractor).of(&version) else {
            counts.whole += 1;
            continue;
        };
        let found = judged(&restriction, (&version.identity, &seen), extractor);
        let shown = String::from_utf8_lossy(&text);
        assert_eq!(found, expected, "{restriction:?}\n{shown}\n{}", seen.to_text());
        if expected[0] {
            counts.shown += 1;
        } else {
            counts.withheld += 1;
        }
    }
}

/// Covers: security E25.
#[test]
fn a_part_of_a_document_decides_as_the_whole_does() {
    let Some(examples) = archive(EXAMPLES) else { return };
    let (extractor, _) = both();
    let step = if long() { 1 } else { 8 };
    let mut all = BTreeMap::<ResourceType, Counts>::new();
    for (at, (name, bytes)) in examples.iter().enumerate().step_by(step) {
        let value = json::parse_with(bytes, LIMITS).unwrap_or_else(|it| panic!("{name}: {it}"));
        resources(&value, &mut |of, resource| {
            let counts = all.entry(of).or_default();
            compare(of, resource, &extractor, counts);
            for seed in 0..CHANGED {
                let mut random = Random(seed << 32 | at as u64);
                let mut changed = resource.clone();
                change(&mut changed, &mut random);
                label(&mut changed, &mut random);
                compare(of, &changed, &extractor, counts);
            }
        });
    }
    for (of, counts) in &all {
        // A Bundle is looked at whole, and others nearly never.
        let judged = counts.shown + counts.withheld;
        let is_bundle = *of == ResourceType::BUNDLE;
        assert_eq!(judged == 0, is_bundle, "{of}: {counts:?}");
        assert!(is_bundle || judged > counts.whole, "{of}: {counts:?}");
    }
    let sum = |of: fn(&Counts) -> usize| all.values().map(of).sum::<usize>();
    let (shown, withheld) = (sum(|it| it.shown), sum(|it| it.withheld));
    assert!(shown > 10_000 && withheld > 10_000, "{shown} {withheld}");
}
