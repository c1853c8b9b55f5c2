//! What public messages make by the maps of the program: valid resources, and no field without a
//! word about it.
//!
//! The messages are not part of the project; without them the test says so and skips (but fails in
//! CI).

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln::fhir::Severity;
use kiln::hl7v2::batch;
use kiln::hl7v2::charset::Charset;
use kiln::hl7v2::er7::{Message, Reading};
use kiln::hl7v2::map::coverage::{Judge, Standing, counted, rows};
use kiln::hl7v2::map::{Draft, Maps, bundle};
use kiln::spec::structure::Library;
use kiln::spec::{R4_PACK, Spec};
use kiln::terminology::Image;
use kiln::validate::form;
use kiln::validate::profile::{Claim, Options, Validator};

use crate::harness::shared::archive;

/// What a raw message makes; `None` without a map.
fn draft(maps: &Maps, raw: &[u8]) -> Option<Draft> {
    let raw = batch::split(raw).map_or(raw, |batch| batch.messages[0]);
    let latin = Charset::named("8859/1").unwrap();
    let utf8 = Charset::named("UNICODE UTF-8").unwrap();
    let read = Charset::read(raw, utf8).or_else(|_| Charset::read(raw, latin)).unwrap();
    let message = Message::parse(&read.text, read.charset, Reading::Lenient).unwrap();
    maps.draft(&message)
}

#[test]
fn all_public_messages_make_valid_resources() {
    let Some(files) = archive("suites/hl7v2-messages.tar.gz") else { return };
    assert_eq!(files.len(), 139);
    let spec = Arc::new(Spec::r4().unwrap());
    let maps = Maps::base(&spec.schema).unwrap();
    let codes = Image::new(R4_PACK, "http://localhost/fhir").unwrap();
    let validator = Validator::new(spec.clone(), Arc::new(Library::r4()), Arc::new(codes));
    let options =
        Options { claims: &|_| Claim::Ignore, least: Severity::Error, ..Options::default() };
    let mut wrong: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, raw) in &files {
        let Some(draft) = draft(&maps, raw) else {
            wrong.entry(name.clone()).or_default().push("no map".to_owned());
            continue;
        };
        for resource in &draft.resources {
            let value = bundle::resource(resource);
            let mut issues = form::check(&value, &spec.schema).issues().to_vec();
            issues.extend(validator.validate(&value, &[], &options));
            let issues = issues.iter().filter(|issue| issue.severity <= Severity::Error);
            let lines = issues.map(|it| format!("{} {}", it.expression, it.diagnostics));
            let lines: Vec<_> = lines.collect();
            if !lines.is_empty() {
                wrong.entry(name.clone()).or_default().extend(lines);
            }
        }
        let again = self::draft(&maps, raw).unwrap();
        assert_eq!(draft, again, "{name}: the same message makes the same");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn most_rows_of_the_guide_are_done_or_different_on_purpose() {
    let Some(files) = archive("suites/v2-to-fhir-ig-mappings.tar.gz") else { return };
    let spec = Spec::r4().unwrap();
    let maps = Maps::base(&spec.schema).unwrap();
    let judge = Judge::new(&maps, &spec.schema).unwrap();
    let mut all = Vec::new();
    for (path, bytes) in &files {
        let is_datatype = path.contains("/datatypes/");
        if is_datatype || path.contains("/segments/") {
            let name = path.rsplit("_ ").next().unwrap().split(" - ").next().unwrap();
            all.extend(rows(name, std::str::from_utf8(bytes).unwrap(), is_datatype));
        }
    }
    assert_eq!(all.len(), 1672);
    let judged = all.iter().map(|row| (row, judge.standing(row)));
    let missing = counted(judged).values().map(|[.., missing]| missing).sum::<usize>();
    let percent = (all.len() - missing) * 100 / all.len();
    assert!(percent >= 85, "{percent} %");
    let done = all.iter().filter(|row| judge.standing(row) == Standing::Done).count();
    assert!(done * 2 > all.len(), "{done} are done as they stand");
}
