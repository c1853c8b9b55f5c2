//! `$validate-code` of code systems and value sets.
//!
//! Spec: <https://hl7.org/fhir/R4/codesystem-operation-validate-code.html>,
//! <https://hl7.org/fhir/R4/valueset-operation-validate-code.html>

use crate::fhir::json::Value;
use crate::fhir::outcome::Finding;
use crate::fhir::{Canonical, IssueCode, Severity};
use crate::spec::terminology::Contains;
use crate::terminology::Image;
use crate::terminology::about::{DEPRECATED, STANDARDS_STATUS};
use crate::terminology::builtin;
use crate::terminology::code_system::CodeSystem;
use crate::terminology::contains::Question;
use crate::terminology::scope::Scope;
use crate::terminology::value_set::{Listing, ValueSet, canonical};

use super::asked::{Asked, Coding, needed};
use super::display::{Languages, Names};
use super::expand::{Which, inline};
use super::refusal::{Refusal, error};
use super::verdict::{Place, Verdict};
use super::{Request, Subject, languages, scope};

/// Most codings of a concept that are looked at.
pub(super) const MAX_CODINGS: usize = 100;

/// What is to be checked, and by which rules.
struct Check<'s, 'i, 'r> {
    scope: &'s Scope<'i>,
    languages: Languages,
    /// The value set, by name and, where it is one that was found, itself.
    which: Option<&'s Which<'i>>,
    allows_abstract: bool,
    infers_system: bool,
    forgives_display: bool,
    asked: Asked<'r>,
}

/// Answers `ValueSet/$validate-code`.
pub(super) fn in_set(
    image: &Image,
    asked: Asked<'_>,
    request: &Request<'_>,
) -> Result<Value<'static>, Refusal> {
    let inline = inline(asked)?;
    let which = Which::find(image, asked, request, inline.as_ref())?;
    let needed = which.value_set.map_or(&[][..], |it| &it.supplements);
    let scope = scope(image, asked, request, needed)?;
    if let Some(value_set) = which.value_set {
        scope.refuse_circles(value_set)?;
    }
    let own = which.value_set.and_then(|it| it.display_language.as_deref());
    let check = Check::new(&scope, Some(&which), asked, languages(asked, request, own)?)?;
    check.answer(None)
}

/// Answers `CodeSystem/$validate-code`.
pub(super) fn in_system(
    image: &Image,
    asked: Asked<'_>,
    request: &Request<'_>,
) -> Result<Value<'static>, Refusal> {
    let scope = scope(image, asked, request, &[])?;
    let check = Check::new(&scope, None, asked, languages(asked, request, None)?)?;
    let sent = asked.resource("codeSystem")?.and_then(|it| it.str_at("url"));
    let url = match (request.subject, asked.text("url")?.or(sent)) {
        (Subject::Stored(id), _) => {
            Some(image.system_of(id).ok_or_else(|| Refusal::no_system(id))?.canonical())
        }
        (Subject::Defined(canonical), _) => Some(canonical.to_owned()),
        (Subject::Named, Some(url)) => Some(canonical(url, asked.text("version")?)),
        (Subject::Named, None) => None,
    };
    check.answer(url.as_deref())
}

impl<'s, 'i, 'r> Check<'s, 'i, 'r> {
    fn new(
        scope: &'s Scope<'i>,
        which: Option<&'s Which<'i>>,
        asked: Asked<'r>,
        languages: Languages,
    ) -> Result<Self, Refusal> {
        Ok(Self {
            scope,
            languages,
            which,
            allows_abstract: asked.flag("abstract")? != Some(false),
            infers_system: asked.flag("inferSystem")? == Some(true),
            forgives_display: asked.flag("lenient-display-validation")? == Some(true),
            asked,
        })
    }

    /// The answer about whichever form of a code was sent; `url` is the code system that is asked.
    fn answer(&self, url: Option<&str>) -> Result<Value<'static>, Refusal> {
        let asked = self.asked;
        let concept = asked.concept("codeableConcept")?;
        match (asked.text("code")?, asked.coding("coding")?, concept) {
            (Some(code), None, None) => {
                let system = url.or(asked.text("system")?);
                let version = asked.text("systemVersion")?;
                let coding = Coding { system, version, code, display: asked.text("display")? };
                Ok(self.verdict(&coding, &Place::Code)?.to_parameters(None))
            }
            (None, Some(coding), None) => {
                if let Some(url) = url
                    && coding.system.is_some_and(|it| it != Canonical::parse(url).url)
                {
                    return Err(Refusal::malformed("the coding is of another system"));
                }
                let coding = Coding { system: coding.system.or(url), ..coding };
                Ok(self.verdict(&coding, &Place::Coding)?.to_parameters(None))
            }
            (None, None, Some(concept)) => self.of_concept(concept, url),
            _ => {
                let text = "one of code, coding and codeableConcept is needed";
                Err(Refusal::malformed_as(IssueCode::Required, text))
            }
        }
    }

    /// A concept is valid when one of its codings is.
    fn of_concept(
        &self,
        concept: &Value<'_>,
        url: Option<&str>,
    ) -> Result<Value<'static>, Refusal> {
        let codings = concept.items_at("coding");
        if codings.len() > MAX_CODINGS {
            let text = format!("a concept with more than {MAX_CODINGS} codings is not checked");
            return Err(Refusal::malformed(text));
        }
        let mut all: Option<Verdict<'i>> = None;
        for (at, coding) in codings.iter().enumerate() {
            let Some(coding) = Coding::read(coding) else { continue };
            if url.is_some_and(|url| coding.system != Some(Canonical::parse(url).url)) {
                continue;
            }
            let verdict = self.verdict(&coding, &Place::Concept(at))?;
            if verdict.is_valid {
                return Ok(verdict.to_parameters(Some(concept)));
            }
            match &mut all {
                Some(all) => all.findings.extend(verdict.findings),
                None => all = Some(verdict),
            }
        }
        let all = needed(all, "a coding of that system with a code")?;
        Ok(all.to_parameters(Some(concept)))
    }

    fn verdict(&self, coding: &Coding<'_>, place: &Place) -> Result<Verdict<'i>, Refusal> {
        match self.which {
            Some(which) => self.of_value_set(which, coding, place),
            None => self.of_system(coding, place),
        }
    }

    /// Whether the code system has the code.
    fn of_system(&self, coding: &Coding<'_>, place: &Place) -> Result<Verdict<'i>, Refusal> {
        let named = needed(coding.system, "the code system (`url`)")?;
        let (url, code) = (Canonical::parse(named).url, coding.code);
        let mut verdict = Verdict::new(code, Some(url));
        if self.is_supplement(url, &mut verdict, place) {
            return Ok(verdict);
        }
        let known = match coding.version {
            Some(version) => self.scope.system(&canonical(url, Some(version)))?,
            None => self.scope.system(named)?,
        };
        let Some(known) = known.filter(|it| it.tells_of(code)) else {
            match builtin::accepts(url, code) {
                Some(true) => {
                    verdict.is_valid = true;
                    verdict.display = Some(code.to_owned());
                }
                Some(false) => verdict.refuse(not_in_grammar(url, code, place)),
                // Asked about this system alone, there is nothing to say.
                None if matches!(place, Place::Code) => return Err(Refusal::no_system(url)),
                None => verdict.unknown_system(url, true, place),
            }
            return Ok(verdict);
        };
        verdict.is_valid = true;
        match known.concepts.find(code) {
            Some(at) => self.found(&mut verdict, (known, at), None, coding, place),
            None => verdict.unknown_code(known, place),
        }
        Ok(verdict)
    }

    /// Whether the value set has the code.
    fn of_value_set(
        &self,
        which: &Which<'i>,
        coding: &Coding<'_>,
        place: &Place,
    ) -> Result<Verdict<'i>, Refusal> {
        let system = match coding.system {
            Some(system) => system.to_owned(),
            None => match self.infer(which, coding, place)? {
                Ok(system) => system,
                Err(verdict) => return Ok(verdict),
            },
        };
        let (url, code) = (Canonical::parse(&system).url, coding.code);
        let mut verdict = Verdict::new(code, Some(url));
        if self.is_supplement(url, &mut verdict, place) {
            return Ok(verdict);
        }
        let known = self.scope.system(&canonical(url, coding.version))?;
        let known = known.filter(|it| it.tells_of(code));
        let mut question = Question::new(self.scope, Some(url), code);
        let answer = ask(which, &mut question)?;
        let concept = known.and_then(|it| Some((it, it.concepts.find(code)?)));
        verdict.is_valid = answer == Contains::Yes;
        match (&answer, known, concept) {
            (Contains::Yes, _, Some(concept)) => {
                self.found(&mut verdict, concept, question.listing, coding, place);
                listed(&mut verdict, which, question.listing, place);
            }
            (Contains::Yes, Some(known), None) => verdict.unknown_code(known, place),
            (Contains::Yes, None, _) => match (builtin::accepts(url, code), question.listing) {
                (Some(_), _) => verdict.display = Some(code.to_owned()),
                (None, Some(listing)) => {
                    verdict.display = listing.display.as_deref().map(str::to_owned);
                }
                (None, None) => verdict.unknown_system(url, true, place),
            },
            (Contains::Untold(system), ..) => verdict.unknown_system(system, true, place),
            (Contains::No, _, concept) => {
                verdict.refuse(not_in_set(which, coding, Some(url), place));
                match (known, concept) {
                    (_, Some(concept)) => {
                        if question.is_left_out {
                            verdict.refuse(not_active(code, place));
                        }
                        verdict.found(self.scope, concept, &self.languages, place);
                    }
                    (Some(known), None) => verdict.unknown_code(known, place),
                    (None, None) if builtin::accepts(url, code).is_some() => {}
                    (None, None) => verdict.unknown_system(url, false, place),
                }
            }
        }
        verdict.standing(&question.used);
        Ok(verdict)
    }

    /// The one system of which the value set has the code, or why there is none.
    fn infer(
        &self,
        which: &Which<'i>,
        coding: &Coding<'_>,
        place: &Place,
    ) -> Result<Result<String, Verdict<'i>>, Refusal> {
        if !self.infers_system {
            let text = "a code needs its system (or inferSystem=true)";
            return Err(Refusal::malformed_as(IssueCode::Required, text));
        }
        let mut matches = Vec::new();
        for system in self.systems(which) {
            let mut question = Question::new(self.scope, Some(&system), coding.code);
            if ask(which, &mut question)? == Contains::Yes {
                matches.push(system);
            }
        }
        if let [_] = &matches[..] {
            return Ok(Ok(matches.remove(0)));
        }
        let mut verdict = Verdict::new(coding.code, None);
        verdict.refuse(not_in_set(which, coding, None, place));
        let (id, more) = match &matches[..] {
            [] => ("Unable_to_resolve_system__value_set_has_no_matches", String::new()),
            all => (
                "Unable_to_resolve_system__value_set_has_multiple_matches",
                format!(": value set expansion has multiple matches: [{}]", all.join(", ")),
            ),
        };
        let text = format!(
            "The System URI could not be determined for the code '{}' in the ValueSet '{}'{more}",
            coding.code,
            shown(which)
        );
        let found = error(IssueCode::NotFound, "cannot-infer", id, text);
        verdict.refuse(found.at(place.of("code")));
        Ok(Err(verdict))
    }

    /// The systems that a value set and those that it imports name, in their order.
    fn systems(&self, which: &Which<'i>) -> Vec<String> {
        let (mut found, mut seen): (Vec<String>, Vec<*const ValueSet>) = Default::default();
        let mut rest: Vec<&ValueSet> = which.value_set.into_iter().collect();
        while let Some(value_set) = rest.pop() {
            if seen.contains(&std::ptr::from_ref(value_set)) || seen.len() > MAX_CODINGS {
                continue;
            }
            seen.push(std::ptr::from_ref(value_set));
            for part in value_set.include.iter().chain(&value_set.listed) {
                let url = part.system.as_deref().map(|it| Canonical::parse(it).url);
                let is_new =
                    |url: &&str| found.len() < MAX_CODINGS && !found.iter().any(|it| it == url);
                if let Some(url) = url.filter(is_new) {
                    found.push(url.to_owned());
                }
                let imports = part.value_sets.iter();
                rest.extend(imports.filter_map(|it| self.scope.image.value_set(it)));
            }
        }
        found
    }

    /// What holds of a concept that is there: its state, its display, whether it is one to use.
    fn found(
        &self,
        verdict: &mut Verdict<'i>,
        concept: (&'i CodeSystem, u32),
        listing: Option<&'i Listing>,
        coding: &Coding<'_>,
        place: &Place,
    ) {
        verdict.found(self.scope, concept, &self.languages, place);
        let (system, at) = concept;
        if !self.allows_abstract && system.is_abstract(at) {
            let text = format!("The code '{}' is abstract, and is not allowed here", coding.code);
            let found =
                error(IssueCode::BusinessRule, "code-rule", "ABSTRACT_CODE_NOT_ALLOWED", text);
            verdict.refuse(found.at(place.of("code")));
        }
        let Some(display) = coding.display else { return };
        let names = Names::of(self.scope, Some(concept), listing, &Languages::default());
        let same = |text: &str| is_same(text, display);
        let is_known = names.display.is_some_and(same)
            || listing.and_then(|it| it.display.as_deref()).is_some_and(same);
        let others: Vec<_> = names.designations.iter().filter(|it| same(it.value)).collect();
        if is_known || others.iter().any(|it| !it.is_withdrawn()) {
            return;
        }
        let expression = place.of("display");
        if others.is_empty() {
            let id = "Display_Name_for__should_be_one_of__instead_of";
            let text = self.wrong_display(display, concept, &names);
            let found = error(IssueCode::Invalid, "invalid-display", id, text);
            let found = found.at(expression);
            if self.forgives_display {
                verdict.note(Severity::Warning, found);
            } else {
                verdict.refuse(found);
            }
            return;
        }
        let text = format!(
            "'{display}' is no longer considered a correct display for code '{}' (status = \
             withdrawn). The correct display is one of \"{}\".",
            coding.code,
            names.display.unwrap_or_default()
        );
        let found = error(IssueCode::Invalid, "display-comment", "INACTIVE_DISPLAY_FOUND", text);
        verdict.note(Severity::Warning, found.at(expression));
    }

    fn wrong_display(
        &self,
        display: &str,
        (system, at): (&CodeSystem, u32),
        names: &Names<'_>,
    ) -> String {
        let quoted = |value: &str, language: Option<&str>| match language {
            Some(language) => format!("'{value}' ({language})"),
            None => format!("'{value}'"),
        };
        let own = names.display.map(|it| quoted(it, system.about.language.as_deref()));
        let others = names.designations.iter().filter(|it| !it.is_withdrawn());
        let others = others.map(|it| quoted(it.value, it.language));
        let all: Vec<String> = own.into_iter().chain(others).collect();
        let choices = match &all[..] {
            [] => "none".to_owned(),
            [one] => one.clone(),
            [rest @ .., last] => {
                format!("one of {} choices: {} or {last}", all.len(), rest.join(", "))
            }
        };
        format!(
            "Wrong Display Name '{display}' for {}#{}. Valid display is {choices} (for the \
             language(s) '{}')",
            system.url,
            system.concepts.code(at),
            self.languages.shown()
        )
    }

    /// Whether the system is a supplement, which has no codes of its own.
    fn is_supplement(&self, url: &str, verdict: &mut Verdict<'i>, place: &Place) -> bool {
        let Some(supplement) = self.scope.image.supplement(url) else { return false };
        let text = format!(
            "CodeSystem {} is a supplement, so can't be used as a value in Coding.system",
            supplement.canonical()
        );
        let found = error(IssueCode::Invalid, "invalid-data", "CODESYSTEM_CS_NO_SUPPLEMENT", text);
        verdict.refuse(found.at(place.of("system")));
        true
    }
}

/// Whether the value set has the code.
fn ask<'i>(which: &Which<'i>, question: &mut Question<'_, 'i>) -> Result<Contains, Refusal> {
    let answer = match which.value_set {
        Some(value_set) => question.value_set(&which.name, value_set),
        None => question.named(&which.name),
    };
    Ok(answer?)
}

/// What the value set says against the code, though it has it.
fn listed(verdict: &mut Verdict<'_>, which: &Which<'_>, listing: Option<&Listing>, place: &Place) {
    let more = listing.and_then(|it| it.more.as_ref());
    let is_against = |it: &Value<'_>| match it.str_at("url") {
        Some(DEPRECATED) => super::asked::value(it)
            .is_some_and(|value| value.as_bool() == Some(true) || value.as_str() == Some("true")),
        Some(STANDARDS_STATUS) => it.str_at("valueCode") == Some("deprecated"),
        _ => false,
    };
    if !more.is_some_and(|it| it.extensions.iter().any(is_against)) {
        return;
    }
    let text = format!(
        "The presence of the concept '{}' in the system '{}' in the value set {} is marked with \
         a status of deprecated and its use should be reviewed",
        verdict.code,
        verdict.system.as_deref().unwrap_or_default(),
        shown(which)
    );
    let id = "CONCEPT_DEPRECATED_IN_VALUESET";
    let found = error(IssueCode::BusinessRule, "code-comment", id, text);
    verdict.note(Severity::Warning, found.at(place.of("code")));
}

/// The value set as messages name it.
fn shown(which: &Which<'_>) -> String {
    match which.value_set.filter(|it| it.url.is_some()) {
        Some(value_set) => value_set.canonical(),
        None => which.name.clone(),
    }
}

/// Displays are the same whatever their case and white space.
fn is_same(one: &str, other: &str) -> bool {
    let words = |text: &str| text.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>();
    one == other || words(one) == words(other)
}

fn not_in_set(
    which: &Which<'_>,
    coding: &Coding<'_>,
    system: Option<&str>,
    place: &Place,
) -> Finding {
    let display = coding.display.map(|it| format!(" ('{it}')")).unwrap_or_default();
    let text = format!(
        "The provided code '{}#{}{display}' was not found in the value set '{}'",
        system.unwrap_or_default(),
        coding.code,
        shown(which)
    );
    let id = "None_of_the_provided_codes_are_in_the_value_set_one";
    let found = error(IssueCode::CodeInvalid, "not-in-vs", id, text);
    found.at(place.of("code"))
}

fn not_active(code: &str, place: &Place) -> Finding {
    let text = format!("The concept '{code}' is valid but is not active");
    let found = error(IssueCode::BusinessRule, "code-rule", "STATUS_CODE_WARNING_CODE", text);
    found.at(place.of("code"))
}

fn not_in_grammar(url: &str, code: &str, place: &Place) -> Finding {
    let text = format!("Unknown code '{code}' in the CodeSystem '{url}'");
    let found = error(IssueCode::CodeInvalid, "invalid-code", "Unknown_Code_in", text);
    found.at(place.of("code"))
}
