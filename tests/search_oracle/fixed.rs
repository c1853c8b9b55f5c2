//! What is the same in all worlds: a code system, value sets and words to ask for, and questions about them.

use serde_json::{Value, json};

use super::fixture::SYSTEMS;
use super::query::Clause;
use super::random::Random;

/// A code system that the server knows: each code with the one above it. Case makes no difference to digits.
pub(super) const TREE: &str = "http://example.org/tree";
pub(super) const BRANCHES: &[(&str, Option<&str>)] =
    &[("1", None), ("11", Some("1")), ("111", Some("11")), ("12", Some("1")), ("2", None)];

/// Words of narratives, and of nothing else.
const SHOWN: &[&str] = &["amber", "birch", "cedar"];
/// Words of strings and displays.
const WRITTEN: &[&str] = &["clinic", "cloudy", "fasting", "glucose", "level", "sodium", "yellow"];

/// How many value sets there are to ask for, of fixed ids and urls.
pub(super) const SETS: usize = 3;

/// What is there beside the random resources: the value sets that `:in` asks for.
pub(super) fn sets() -> Vec<Value> {
    let concepts =
        |codes: &[&str]| -> Vec<_> { codes.iter().map(|code| json!({ "code": code })).collect() };
    let includes = [
        json!([{ "system": SYSTEMS[0], "concept": concepts(&["c1", "c10"]) }]),
        json!([
            { "system": SYSTEMS[1], "concept": concepts(&["C1", "c2"]) },
            { "system": TREE, "concept": concepts(&["12", "2"]) },
        ]),
        json!([{ "system": TREE }]),
    ];
    let made = |(number, include): (usize, Value)| {
        json!({
            "resourceType": "ValueSet",
            "id": format!("set{number}"),
            "url": format!("http://example.org/sets/{number}"),
            "name": "SetToAskFor",
            "status": "active",
            "compose": { "include": include },
        })
    };
    includes.into_iter().enumerate().map(made).collect()
}

/// The code system of [`TREE`], which is searched by and not searched.
pub(super) fn tree() -> Value {
    fn below(parent: Option<&str>) -> Vec<Value> {
        let children = BRANCHES.iter().filter(|(_, above)| *above == parent);
        children
            .map(|(code, _)| {
                let mut concept = json!({ "code": code });
                let below = below(Some(code));
                if !below.is_empty() {
                    concept["concept"] = json!(below);
                }
                concept
            })
            .collect()
    }
    json!({
        "resourceType": "CodeSystem",
        "id": "tree",
        "url": TREE,
        "status": "active",
        "content": "complete",
        "hierarchyMeaning": "is-a",
        "concept": below(None),
    })
}

/// Two words, beside each other and apart.
pub(super) fn narrative(random: &mut Random) -> Value {
    let (first, second) = (random.pick(SHOWN), random.pick(SHOWN));
    let open = r#"<div xmlns="http://www.w3.org/1999/xhtml">"#;
    json!({ "status": "generated", "div": format!("{open}<p>{first}</p>{second}</div>") })
}

/// Words of the narrative, or of all that is written.
pub(super) fn words(random: &mut Random) -> Clause {
    let (code, known) = *random.pick(&[("_text", SHOWN), ("_content", WRITTEN)]);
    let any: Vec<&'static str> = (0..=random.below(2)).map(|_| *random.pick(known)).collect();
    let without = (any.len() == 1 && random.chance(30)).then(|| *random.pick(known));
    let without = without.filter(|word| !any.contains(word));
    Clause::Words { code, any, without }
}

/// A value set by its url or as a resource.
pub(super) fn set(random: &mut Random) -> String {
    let number = random.below(SETS);
    match random.below(2) {
        0 => format!("ValueSet/set{number}"),
        _ => format!("http://example.org/sets/{number}"),
    }
}
