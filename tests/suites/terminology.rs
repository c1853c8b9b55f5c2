//! Value sets over what HL7 publishes: the expansions of the terminology ecosystem's suite.
//!
//! Only which codes there are is compared: displays, order, paging and the parameters of an
//! expansion are another matter.

use std::collections::{BTreeSet, HashMap};

use kiln::fhir::json::{Value, parse};
use kiln::spec::R4_PACK;
use kiln::spec::terminology::Terminology;
use kiln::terminology::Image;

use crate::harness::shared::archive;

const SUITE: &str = "suites/tx.tar.gz";

/// What a server may bear, in the words of the case that asks for it.
const LIMIT: usize = 1_000;

/// Parameters that change which codes an expansion shows, not which are members.
const NARROWING: [&str; 3] = ["count", "filter", "offset"];

/// Cases that ask for what membership knows nothing of.
const OTHER: [(&str, &str); 4] = [
    ("extensions-echo-bad-supplement", "supplements are for displays"),
    ("fragment-expansion", "a whole fragmentary system is told as a system"),
    ("parameters-expand-supplement-bad", "supplements are for displays"),
    ("simple-expand-contained", "a contained code system is for $expand"),
];

fn document(files: &HashMap<String, Vec<u8>>, name: &str) -> Value<'static> {
    let bytes = files.get(&format!("tx/{name}")).unwrap_or_else(|| panic!("{name} is missing"));
    parse(bytes).unwrap_or_else(|fault| panic!("{name}: {fault}")).into_owned()
}

/// All codes of an expansion.
fn listed(expansion: &Value<'_>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for contained in expansion.items_at("contains") {
        found.extend(contained.str_at("code").map(str::to_owned));
        found.extend(listed(contained));
    }
    found
}

/// The value set that a request is about, and the resources it brings along; `None` where its
/// parameters ask for part of it.
fn asked(request: &Value<'_>) -> Option<(String, Vec<Value<'static>>)> {
    let (mut name, mut brought) = (None, Vec::new());
    for parameter in request.items_at("parameter") {
        let what = parameter.str_at("name").unwrap();
        let is_set = parameter.get("valueBoolean").and_then(Value::as_bool) == Some(true);
        if NARROWING.contains(&what) || what == "activeOnly" && is_set {
            return None;
        }
        if let Some(resource) = parameter.get("resource") {
            if what == "valueSet" {
                name = resource.str_at("url").map(str::to_owned);
            }
            brought.push(resource.clone().into_owned());
        }
        if what == "url" {
            name = parameter.str_at("valueUri").map(str::to_owned);
        }
    }
    Some((name?, brought))
}

#[test]
fn value_sets_have_the_codes_of_the_published_expansions() {
    let Some(files) = archive(SUITE) else { return };
    let files: HashMap<_, _> = files.into_iter().collect();
    let cases = document(&files, "test-cases.json");
    let image = Image::new(R4_PACK, "http://localhost/fhir").unwrap();
    let (mut codes, mut refused, mut wrong) = (0, 0, Vec::new());
    for suite in cases.items_at("suites") {
        let setup = suite.items_at("setup").iter().filter_map(Value::as_str);
        let setup: Vec<_> = setup.map(|name| document(&files, name)).collect();
        for case in suite.items_at("tests") {
            let name = case.str_at("name").unwrap();
            let is_other = OTHER.iter().any(|(other, _)| *other == name);
            if case.str_at("operation") != Some("expand") || is_other {
                continue;
            }
            let request = document(&files, case.str_at("request").unwrap());
            let Some((value_set, brought)) = asked(&request) else { continue };
            let image = image.with_resources(setup.iter().cloned().chain(brought));
            let expected = document(&files, case.str_at("response").unwrap());
            match (image.members(&value_set, LIMIT), expected.get("expansion")) {
                (Ok(members), Some(expansion)) => {
                    codes += 1;
                    let found = members.codes.iter().map(|member| member.code.to_string());
                    let found: BTreeSet<_> = found.collect();
                    if found != listed(expansion) || !members.systems.is_empty() {
                        wrong.push(format!("{name}: {members:?} is not {:?}", listed(expansion)));
                    }
                }
                (Err(_), None) => refused += 1,
                (found, _) => wrong.push(format!("{name}: {found:?}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(codes >= 60 && refused >= 3, "only {codes} expansions and {refused} refusals");
}
