//! Codes as they stand in a body, for what hashes do not tell: how they begin, and which element has them.

use crate::error::Error;
use crate::fhir::ResourceType;
use crate::search::extract::{Coded, CodedForm};
use crate::search::request::ParameterKey;
use crate::search::request::compare::AskedToken;
use crate::search::values::token::{Case, Code};
use crate::store::Stored;
use crate::store::hash::Hasher;
use crate::store::index::inside;

use super::super::atom::{Atom, HERE, Parameter};
use super::super::compile::Compiler;

/// How much of a code `srow.keys` has, in bytes.
const KEY: usize = 256;

/// Where a JSON path begins: the key of the row of `res`, and what it leads through of that row, `w`.
pub(in crate::store::search) struct Place {
    pub(in crate::store::search) home: String,
    pub(in crate::store::search) document: String,
}

/// SQL: the text and the system of the element `v`.
struct Parts {
    text: &'static str,
    system: System,
}

enum System {
    /// That of all these elements.
    Implied(Option<Box<str>>),
    /// Each has its own.
    Own,
}

impl Compiler<'_, '_> {
    /// The atom that a code of the parameters begins with `code` and ends there or goes on with a
    /// separator; none where nothing may.
    ///
    /// Codes are hashes in the index, so the smallest and the largest are asked, which `keys` has. Where
    /// a code between them may begin so, the elements of the body that the parameter looks at tell.
    pub(in crate::store::search) fn codes_begin(
        &mut self,
        (system, code): (&str, &Code<'static>),
        (keys, stored): (&[ParameterKey], &[(ResourceType, Stored)]),
    ) -> Result<Option<Atom>, Error> {
        let mut any = Vec::new();
        for (of, stored) in stored {
            let key = keys.iter().find(|key| key.resource_type == *of);
            let places = key.and_then(|key| self.parameters.extractor.coded(*of, &key.code));
            let Some(places) = places else {
                return Err(Error::NotSupported(format!(
                    ":below is not offered for {}: where its codes stand is not plain",
                    key.map(|key| &*key.code).unwrap_or_default(),
                )));
            };
            let mut may = Vec::new();
            for parameter in Parameter::of(vec![stored.clone()]).values() {
                may.push(self.may_begin(parameter, code));
            }
            let mut does = Vec::new();
            for coded in &places {
                does.extend(self.begins(coded, system, code));
            }
            if !may.is_empty() && !does.is_empty() {
                any.push(format!("(({}) AND ({}))", may.join(" OR "), does.join(" OR ")));
            }
        }
        let condition = format!("({})", any.join(" OR "));
        Ok((!any.is_empty()).then_some(Atom::Resource { condition }))
    }

    /// Whether a code that begins so may be among those of a parameter, by what the row sorts by.
    fn may_begin(&mut self, parameter: i64, code: &Code<'_>) -> String {
        let key = format!("{HERE}keys->{}", self.binds.text(Hasher::sort_name(parameter)));
        let asked = self.binds.text(&code.text[..code.text.floor_char_boundary(KEY)]);
        let end = |at: u8| {
            format!(
                "(CASE jsonb_typeof({key}) WHEN 'array' THEN {key}->>{at} \
                 ELSE {key} #>> '{{}}' END) COLLATE \"C\""
            )
        };
        let (smallest, largest) = (end(0), end(1));
        format!(
            "({largest} >= {asked} AND ({smallest} <= {asked} OR starts_with({smallest}, {asked})))"
        )
    }

    /// The condition that one of these elements is of the system and begins so.
    fn begins(&mut self, coded: &Coded, system: &str, code: &Code<'_>) -> Option<String> {
        let parts = parts(&coded.form);
        let of_system = match &parts.system {
            System::Implied(Some(implied)) if **implied == *system => String::new(),
            System::Implied(_) => return None,
            System::Own => format!(" AND v->>'system' = {}", self.binds.text(system)),
        };
        let value = cased(parts.text, code.case);
        let asked = self.binds.text(&*code.text);
        // A language goes on behind a hyphen, a mime type behind a semicolon.
        let goes_on = if code.text.contains('/') { "[;[:space:]]" } else { "[^[:alnum:]]" };
        let Place { home, document } = self.whole_of(&coded.path);
        let path = self.binds.text(&*coded.path);
        Some(format!(
            "EXISTS (SELECT FROM res w, jsonb_path_query({document}, ({path})::jsonpath) v \
             WHERE w.rid = {home}{of_system} AND ({value} = {asked} OR (starts_with({value}, {asked}) \
             AND substr({value}, length({asked}) + 1, 1) ~ '{goes_on}')))"
        ))
    }

    /// The condition that the element `v` is what a token asks for; `None` where none of them can be.
    pub(in crate::store::search) fn is_code(
        &mut self,
        coded: &Coded,
        asked: &AskedToken,
    ) -> Option<String> {
        let Parts { text, system } = parts(&coded.form);
        let (texts, wanted) = match asked {
            AskedToken::Code(texts) => (&texts[..], None),
            AskedToken::WithoutSystem(texts) => (&texts[..], Some(None)),
            AskedToken::Coded { system, code } => (std::slice::from_ref(code), Some(Some(system))),
            AskedToken::Begins { .. } | AskedToken::OfType { .. } | AskedToken::System(_) => {
                return None;
            }
        };
        let of_system = match (system, wanted) {
            (_, None) => String::new(),
            (System::Implied(implied), Some(wanted)) => {
                (implied.as_deref() == wanted.map(|wanted| &**wanted)).then(String::new)?
            }
            (System::Own, Some(None)) => " AND v->>'system' IS NULL".to_owned(),
            (System::Own, Some(Some(wanted))) => {
                format!(" AND v->>'system' = {}", self.binds.text(&**wanted))
            }
        };
        let is_one = |code: &Code<'_>| {
            format!("{} = {}", cased(text, code.case), self.binds.text(&*code.text))
        };
        let any: Vec<String> = texts.iter().map(is_one).collect();
        (!any.is_empty()).then(|| format!("({}){of_system}", any.join(" OR ")))
    }

    /// Where a path begins, for the row at hand.
    pub(in crate::store::search) fn whole_of(&self, path: &str) -> Place {
        let key = format!("{HERE}rid");
        if self.is_inside {
            return Place {
                home: inside::container(&key),
                document: inside::element("w.body", &key),
            };
        }
        // `meta` is a column of its own.
        let is_of_meta = path.starts_with("$.\"meta\"");
        let document = if is_of_meta { "jsonb_build_object('meta', w.meta)" } else { "w.body" };
        Place { home: key, document: document.to_owned() }
    }
}

fn parts(form: &CodedForm) -> Parts {
    let (text, system) = match form {
        CodedForm::Code(implied) => ("v #>> '{}'", System::Implied(implied.clone())),
        CodedForm::Coding => ("v->>'code'", System::Own),
        CodedForm::Identifier => ("v->>'value'", System::Own),
    };
    Parts { text, system }
}

/// A code as it is compared: the index has one whose case does not count in lower case.
fn cased(text: &str, case: Case) -> String {
    match case {
        Case::Insensitive => format!("lower({text})"),
        Case::Sensitive => format!("({text})"),
    }
}
