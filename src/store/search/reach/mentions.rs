//! What a resource refers to, and who wrote it, wherever it says so: asked of the body, for consents alone.
//!
//! `access::judge` says the same of a document, and reads texts alike.

use crate::fhir::reference::after_scheme;
use crate::fhir::{LogicalId, ResourceType};
use crate::search::request::untold;

use super::super::compile::{Compiler, Row};
use super::super::sql::Cond;

/// Where a resource says itself who wrote it, below an element that tells: the reference, or one in what tells
/// of the part that somebody had.
const OWN: [&str; 3] = ["reference", "actor.reference", "who.reference"];

impl Compiler<'_, '_> {
    /// The condition that the body mentions `target`: as
    /// [`Filter::Mentions`](crate::search::request::Filter::Mentions) has it.
    pub(in crate::store::search) fn mentions(
        &mut self,
        (of, id): &(ResourceType, LogicalId),
        (under, is_certain): (&[&'static str], bool),
        row: &Row<'_>,
    ) -> Cond {
        let base = self.parameters.extractor.base().to_owned();
        let ours = format!("{}/", after_scheme(&base).unwrap_or(&base));
        let ours = self.binds.text(ours);
        // A version and a fragment may follow; with a query it is a search. The pattern is the same for whoever is
        // meant: PostgreSQL keeps few of them compiled.
        let behind =
            if is_certain { "^(/_history/[A-Za-z0-9.-]{1,64})?(#[^?]*)?$" } else { "^([/|#?]|$)" };
        let may_be_author = !is_certain && !under.is_empty();
        let whom = self.binds.text(format!("{of}/{id}"));
        let paths = paths(under, is_certain);
        let (path, found) = (self.alias(), self.alias());
        let text = if may_be_author {
            format!("({found}.v->>'reference')")
        } else {
            format!("({found}.v#>>'{{}}')")
        };
        let rest = format!("substr({text}, strpos({text}, '://') + 3)");
        // What begins with # is about what is contained, whatever follows.
        let told = format!(
            "CASE WHEN {text} LIKE '%://%' AND left({text}, 1) <> '#' AND starts_with({rest}, {ours}) \
             THEN substr({rest}, length({ours}) + 1) ELSE {text} END"
        );
        let untold = if may_be_author {
            format!(" OR {told} ~ '^({})'", untold(*of).join("|"))
        } else {
            String::new()
        };
        let holds = format!(
            "(starts_with({told}, {whom}) AND substr({told}, length({whom}) + 1) ~ '{behind}'{untold})"
        );
        let holds = if may_be_author {
            format!(
                "jsonb_typeof({found}.v) = 'object' AND CASE jsonb_typeof({found}.v->'reference') \
                 WHEN 'string' THEN {holds} ELSE NOT {found}.v ? 'reference' END"
            )
        } else {
            format!("jsonb_typeof({found}.v) = 'string' AND {holds}")
        };
        self.resource_holds(row, |res| {
            format!(
                "EXISTS (SELECT FROM (VALUES {paths}) {path}(p), \
                 jsonb_path_query({res}.body, {path}.p) {found}(v) WHERE {holds} OFFSET 0)"
            )
        })
    }
}

/// Where what may be meant is looked for: texts, or, where somebody may be the author, what is as a Reference
/// is, with an identifier alone too.
fn paths(under: &[&'static str], is_certain: bool) -> String {
    let paths: Vec<String> = match (under, is_certain) {
        ([], true) => vec!["$.**.reference".to_owned()],
        ([], false) => vec!["strict $.** ? (@.type() == \"string\")".to_owned()],
        (names, true) => names
            .iter()
            .flat_map(|name| OWN.iter().map(move |own| format!("$.{name}.{own}")))
            .collect(),
        (names, false) => {
            let path = |name: &&str| {
                format!("$.**.{name}.** ? (exists (@.reference) || exists (@.identifier))")
            };
            names.iter().map(path).collect()
        }
    };
    let quoted: Vec<String> = paths.iter().map(|path| format!("('{path}'::jsonpath)")).collect();
    quoted.join(", ")
}
