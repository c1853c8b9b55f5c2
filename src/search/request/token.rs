//! Tokens: codes, identifiers, booleans.
//!
//! The index keeps a code in lower case unless its case counts ([`Code`]). What a value is looked
//! for as follows from the kinds of elements that the parameter looks at; where several fit, it is
//! looked for as each.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#token> (rest 4.81 to 4.106)

use std::borrow::Cow;

use crate::search::extract::{Kind, LANGUAGES, Shape};
use crate::search::values::string::fold;
use crate::search::values::token::{BOOLEAN_SYSTEM, Case, Code};

use super::compare::{AskedToken, Comparison};
use super::criterion::{Criteria, Raw, Refusal, negated, unfit};
use super::fault::Reason;
use super::parameter::Parameter;
use super::{Filter, FullTextField};

const FORMS: &str = "a token: code, system|code, |code or system|";
const MODIFIERS: &str =
    ":above, :below, :in, :missing, :not, :not-in, :of-type, :text, :text-advanced";

/// Languages and mime types: their codes have a hierarchy in their text (rest 4.100).
const BY_TEXT: [&str; 2] = ["urn:ietf:bcp:13", LANGUAGES];

/// Kinds whose values have no system.
const PLAIN: [Kind; 5] = [Kind::Canonical, Kind::ContactPoint, Kind::Id, Kind::Text, Kind::Uri];

impl Criteria<'_> {
    pub(super) fn token_by(
        &mut self,
        parameter: &Parameter<'_>,
        modifier: &str,
        value: &str,
    ) -> Result<Filter, Refusal> {
        let shape = parameter.shape();
        match modifier {
            "text" | "text-advanced" if !parameter.is_core => Err(Reason::NotSupported(
                format!(":{modifier} is not offered for parameters beside FHIR's own").into(),
            )
            .into()),
            "not" => {
                let any = self.any_of(parameter, value, |criteria, raw| {
                    criteria.plain(parameter.shapes(), raw)
                });
                any.map(negated)
            }
            "in" => self.any_of(parameter, value, |_, raw| Self::member(raw)),
            "not-in" => self.any_of(parameter, value, |_, raw| Self::member(raw)).map(negated),
            "text" => self.any_of(parameter, value, |_, raw| {
                let text = raw.plain()?;
                let text = fold(&text);
                if text.is_empty() {
                    return Err(raw.wrong("a text"));
                }
                Ok(vec![Comparison::Text(text.into())])
            }),
            "text-advanced" if value.is_empty() => Err(Refusal::Empty),
            "text-advanced" => {
                let field = FullTextField::Parameter(parameter.code.clone());
                Ok(Filter::FullText { field, query: value.into() })
            }
            "above" | "below" => self.any_of(parameter, value, |criteria, raw| {
                Ok(vec![criteria.hierarchy(parameter, modifier == "below", raw)?])
            }),
            "of-type" if shape.may_be(Kind::Identifier) => {
                self.any_of(parameter, value, |criteria, raw| Ok(vec![criteria.of_type(raw)?]))
            }
            _ => Err(unfit(modifier, MODIFIERS).into()),
        }
    }

    /// What a value is looked for as.
    pub(super) fn token(&self, shape: &Shape<'_>, raw: Raw<'_>) -> Result<Vec<AskedToken>, Reason> {
        let parts = raw.parts()?;
        let (system, code) = match &parts[..] {
            [code] => (None, code),
            [system, code] => (Some(&**system), code),
            _ => return Err(raw.wrong(FORMS)),
        };
        if code.is_empty() && system.is_none_or(str::is_empty) {
            return Err(raw.wrong(FORMS));
        }
        if shape.is_only(&[Kind::Boolean]) && !matches!(&**code, "true" | "false") {
            return Err(raw.wrong("true or false"));
        }
        if shape.is_only(&PLAIN) && system.is_some_and(|system| !system.is_empty()) {
            return Err(raw.wrong(r"without a system, which these values do not have; a | is \|"));
        }
        // Of texts the index has lower case; the ledger has its parties as they are written.
        let as_written = shape.is_only(&[Kind::Text]) && code.to_lowercase() != **code;
        let codes = |cases: Vec<Case>| -> Vec<Code<'static>> {
            let cases = as_written.then_some(Case::Sensitive).into_iter().chain(cases);
            cases.map(|case| owned(code, case)).collect()
        };
        let some = |codes: Vec<_>, form: fn(Vec<Code<'static>>) -> AskedToken| {
            if codes.is_empty() { Vec::new() } else { vec![form(codes)] }
        };
        Ok(match system {
            None => some(codes(self.cases(shape, of_any)), AskedToken::Code),
            Some("") => some(codes(self.cases(shape, of_none)), AskedToken::WithoutSystem),
            Some(system) if code.is_empty() => vec![AskedToken::System(system.into())],
            Some(system) => {
                let cases = self.cases(shape, |element, rule| of_system(element, system, rule));
                let of_this = |code| AskedToken::Coded { system: system.into(), code };
                codes(cases).into_iter().map(of_this).collect()
            }
        })
    }

    /// The cases that codes may have been brought into; sensitive first.
    fn cases(
        &self,
        shape: &Shape<'_>,
        of: impl Fn(Option<Element<'_>>, Rule<'_>) -> Vec<Case>,
    ) -> Vec<Case> {
        let rule = |system: Option<&str>| self.context.extractor.case(system);
        let found: Vec<Case> = match &shape.elements {
            None => of(None, &rule),
            Some(elements) => {
                elements.iter().flat_map(|element| of(Some(*element), &rule)).collect()
            }
        };
        [Case::Sensitive, Case::Insensitive].into_iter().filter(|it| found.contains(it)).collect()
    }

    /// A value set that a code is in.
    pub(super) fn member(raw: Raw<'_>) -> Result<Vec<Comparison>, Reason> {
        Ok(vec![Comparison::In { value_set: raw.plain()? }])
    }

    /// `:below` and `:above`.
    pub(super) fn hierarchy(
        &self,
        parameter: &Parameter<'_>,
        is_below: bool,
        raw: Raw<'_>,
    ) -> Result<Comparison, Reason> {
        let wrong = || raw.wrong("a code with its system: system|code");
        let parts = raw.parts()?;
        let (system, code) = match &parts[..] {
            [code] => (only_system(parameter), code),
            [system, code] if !system.is_empty() => (Some(&**system), code),
            _ => return Err(wrong()),
        };
        let system = system.filter(|_| !code.is_empty()).ok_or_else(wrong)?;
        if !BY_TEXT.contains(&system) {
            let code = code.clone();
            return Ok(Comparison::Subsumes { is_below, system: system.into(), code });
        }
        if !is_below {
            let text = "languages and mime types are found by :below only";
            return Err(Reason::NotSupported(text.into()));
        }
        let code = owned(code, self.context.extractor.case(Some(system)));
        Ok(Comparison::Token(AskedToken::Begins { system: system.into(), code }))
    }

    fn of_type(&self, raw: Raw<'_>) -> Result<Comparison, Reason> {
        let parts = raw.parts()?;
        let [system, code, value] = &parts[..] else {
            return Err(raw.wrong("of three parts: system|code|value"));
        };
        if system.is_empty() || code.is_empty() || value.is_empty() {
            return Err(raw.wrong("of three parts, none of them empty: system|code|value"));
        }
        let code = owned(code, self.context.extractor.case(Some(system)));
        let (system, value) = (system.clone(), value.clone());
        Ok(Comparison::Token(AskedToken::OfType { system, code, value }))
    }
}

type Element<'e> = (Kind, Option<&'e str>);
type Rule<'r> = &'r dyn Fn(Option<&str>) -> Case;

const BOTH: [Case; 2] = [Case::Sensitive, Case::Insensitive];

fn owned(code: &str, case: Case) -> Code<'static> {
    let code = Code::new(code, case);
    Code { text: Cow::Owned(code.text.into_owned()), case: code.case }
}

/// The cases of codes of whatever system; no element: nobody knows.
fn of_any(element: Option<Element<'_>>, rule: Rule<'_>) -> Vec<Case> {
    let Some((kind, system)) = element else { return BOTH.to_vec() };
    match kind {
        Kind::Boolean | Kind::Canonical | Kind::Id | Kind::Identifier | Kind::Uri => {
            vec![Case::Sensitive]
        }
        Kind::Code => vec![rule(system)],
        Kind::CodeableConcept | Kind::Coding => BOTH.to_vec(),
        Kind::ContactPoint | Kind::Text => vec![Case::Insensitive],
        _ => Vec::new(),
    }
}

/// The cases of codes without a system.
fn of_none(element: Option<Element<'_>>, rule: Rule<'_>) -> Vec<Case> {
    match element {
        Some((Kind::Boolean, _) | (Kind::Code, Some(_))) => Vec::new(),
        Some((Kind::CodeableConcept | Kind::Coding, _)) => vec![rule(None)],
        other => of_any(other, rule),
    }
}

/// The cases of codes of one system.
fn of_system(element: Option<Element<'_>>, system: &str, rule: Rule<'_>) -> Vec<Case> {
    let Some((kind, implied)) = element else {
        return vec![Case::Sensitive, rule(Some(system))];
    };
    match kind {
        Kind::Boolean if system == BOOLEAN_SYSTEM => vec![Case::Sensitive],
        Kind::Code if implied == Some(system) => vec![rule(implied)],
        Kind::CodeableConcept | Kind::Coding => vec![rule(Some(system))],
        Kind::Identifier => vec![Case::Sensitive],
        _ => Vec::new(),
    }
}

/// The system of all codes that a parameter looks at, where their definitions imply one. Languages
/// have theirs by their name alone: their binding is no required one.
fn only_system<'p>(parameter: &Parameter<'p>) -> Option<&'p str> {
    let elements = parameter.shape().elements.as_ref()?;
    let language = (&*parameter.code == "language").then_some(LANGUAGES);
    let mut systems =
        elements.iter().map(|(kind, system)| system.or(language).filter(|_| *kind == Kind::Code));
    let first = systems.next()??;
    systems.all(|other| other == Some(first)).then_some(first)
}
