//! What is found about one code, and how an answer tells it.

use crate::fhir::json::{Object, Value};
use crate::fhir::outcome::{Finding, outcome_of_codes};
use crate::fhir::{IssueCode, Severity};
use crate::terminology::code_system::{CodeSystem, Content};
use crate::terminology::concepts::Property;
use crate::terminology::scope::{Scope, Used};

use super::display::{Languages, Names};
use super::refusal::error;
use super::{parameter, parameters};

/// Where a code stands in the request.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// A parameter of its own.
    Code,
    /// A parameter `coding`.
    Coding,
    /// A coding of a parameter `codeableConcept`.
    Concept(usize),
}

/// What is found about one code.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict<'i> {
    /// Whether it is valid so far.
    pub(super) is_valid: bool,
    pub(super) code: String,
    pub(super) system: Option<String>,
    pub(super) version: Option<&'i str>,
    pub(super) display: Option<String>,
    pub(super) is_inactive: bool,
    pub(super) status: Option<&'i str>,
    /// The code as its system spells it, where that differs.
    pub(super) normalized: Option<&'i str>,
    pub(super) findings: Vec<Finding>,
    /// The system that is not known, and whether that is why the code is not valid.
    pub(super) unknown_system: Option<(String, bool)>,
}

impl Place {
    fn prefix(&self) -> String {
        match self {
            Self::Code => String::new(),
            Self::Coding => "Coding.".to_owned(),
            Self::Concept(at) => format!("CodeableConcept.coding[{at}]."),
        }
    }

    /// The expression of the code, the system or the display.
    pub(super) fn of(&self, part: &str) -> String {
        format!("{}{part}", self.prefix())
    }

    /// The expression of the whole.
    pub(super) fn whole(&self) -> String {
        match self {
            Self::Code => "code".to_owned(),
            _ => self.prefix().trim_end_matches('.').to_owned(),
        }
    }
}

impl<'i> Verdict<'i> {
    /// About a code of which nothing is found yet.
    pub(super) fn new(code: &str, system: Option<&str>) -> Self {
        let system = system.map(str::to_owned);
        Self { code: code.to_owned(), system, ..Self::default() }
    }

    /// Something that makes the code invalid.
    pub(super) fn refuse(&mut self, finding: Finding) {
        self.is_valid = false;
        self.findings.push(finding);
    }

    pub(super) fn note(&mut self, severity: Severity, finding: Finding) {
        self.findings.push(Finding { severity, ..finding });
    }

    /// The concept: its spelling, display, state and version.
    pub(super) fn found(
        &mut self,
        scope: &Scope<'i>,
        (system, at): (&'i CodeSystem, u32),
        languages: &Languages,
        place: &Place,
    ) {
        let names = Names::of(scope, Some((system, at)), None, languages);
        self.display = names.display.map(str::to_owned);
        self.version = system.version.as_deref();
        let code = system.concepts.code(at);
        if code != self.code {
            self.normalized = Some(code);
            let text = format!(
                "The code '{}' differs from the correct code '{code}' by case. Although the code \
                 system '{}' is case insensitive, implementers are strongly encouraged to use the \
                 correct case anyway",
                self.code,
                system.canonical()
            );
            let found = error(IssueCode::BusinessRule, "code-rule", "CODE_CASE_DIFFERENCE", text);
            let expression = place.of("code");
            self.note(Severity::Information, found.at(expression));
        }
        self.state(system, at, place);
    }

    /// Whether the concept is still to be used.
    fn state(&mut self, system: &'i CodeSystem, at: u32, place: &Place) {
        let value = |wanted: &str| {
            let is_it = |it: &Property<'_>| it.name == wanted;
            system.concepts.properties(at).find(is_it).map(|it| it.value)
        };
        let status = value(system.about.code_of("status"))
            .or_else(|| value(crate::terminology::about::STANDARDS_STATUS));
        self.status = status.filter(|it| !matches!(*it, "active" | "inactive"));
        self.is_inactive = system.concepts.is_inactive(at);
        let code = &self.code;
        if self.is_inactive {
            let status = match self.status {
                Some(status) => format!("{status} and inactive"),
                None => "inactive".to_owned(),
            };
            let text = format!(
                "The concept '{code}' has a status of {status} and its use should be reviewed"
            );
            let found =
                error(IssueCode::BusinessRule, "code-comment", "INACTIVE_CONCEPT_FOUND", text);
            self.note(Severity::Warning, found.at(place.whole()));
        } else if self.status == Some("deprecated") {
            let text = format!("The concept '{code}' is deprecated and its use should be reviewed");
            let found =
                error(IssueCode::BusinessRule, "code-comment", "DEPRECATED_CONCEPT_FOUND", text);
            self.note(Severity::Warning, found.at(place.of("code")));
        }
    }

    /// A system of which nothing is known; `is_why`: that alone makes the code invalid.
    pub(super) fn unknown_system(&mut self, url: &str, is_why: bool, place: &Place) {
        let url_shown = if is_why { format!("'{url}'") } else { url.to_owned() };
        let text = format!(
            "A definition for CodeSystem {url_shown} could not be found, so the code cannot be \
             validated"
        );
        let found = error(IssueCode::NotFound, "not-found", "UNKNOWN_CODESYSTEM", text);
        self.refuse(found.at(place.of("system")));
        self.unknown_system = Some((url.to_owned(), is_why));
    }

    /// A code that its system does not list; of one that is not all here, or that has a grammar, it may
    /// be a code nevertheless.
    pub(super) fn unknown_code(&mut self, system: &'i CodeSystem, place: &Place) {
        self.version = system.version.as_deref();
        let (code, url) = (&self.code, &system.url);
        let version = self.version.map(|it| format!(" version '{it}'")).unwrap_or_default();
        let expression = place.of("code");
        let known = format!("'{code}' in the CodeSystem '{url}'{version}");
        if system.content != Content::Complete {
            let text = format!(
                "Unknown Code {known} - note that the code system is labeled as a fragment, so the \
                 code may be valid in some other fragment"
            );
            let id = "UNKNOWN_CODE_IN_FRAGMENT";
            let found = error(IssueCode::CodeInvalid, "invalid-code", id, text);
            self.note(Severity::Warning, found.at(expression));
            return;
        }
        let id = if version.is_empty() { "Unknown_Code_in" } else { "Unknown_Code_in_Version" };
        if system.may_compose(code) {
            let text = format!(
                "Unknown code {known} - note that the code system has a grammar, so the code may be \
                 an expression, which is not checked here"
            );
            let found = error(IssueCode::CodeInvalid, "invalid-code", id, text);
            self.note(Severity::Warning, found.at(expression));
        } else {
            let text = format!("Unknown code {known}");
            let found = error(IssueCode::CodeInvalid, "invalid-code", id, text);
            self.refuse(found.at(expression));
        }
    }

    /// Definitions that are not to be relied on.
    pub(super) fn standing(&mut self, used: &Used<'_>) {
        let systems =
            used.systems.iter().map(|it| (it.about.standing, "CodeSystem", it.canonical()));
        let sets = used.value_sets.iter().map(|(it, _)| (it.standing, "ValueSet", it.canonical()));
        for (standing, what, canonical) in systems.chain(sets) {
            let Some(word) = standing.word() else { continue };
            let id = match word {
                "deprecated" => "MSG_DEPRECATED",
                "draft" => "MSG_DRAFT",
                "experimental" => "MSG_EXPERIMENTAL",
                _ => "MSG_WITHDRAWN",
            };
            let text = format!("Reference to {word} {what} {canonical}");
            let found = error(IssueCode::BusinessRule, "status-check", id, text);
            self.note(Severity::Information, found);
        }
    }

    /// The answer; `concept` is the CodeableConcept that was asked about.
    pub(super) fn to_parameters(&self, concept: Option<&Value<'_>>) -> Value<'static> {
        let mut found = vec![parameter("result", "valueBoolean", self.is_valid)];
        let mut add = |name: &str, kind: &'static str, value: Option<&str>| {
            found.extend(value.map(|it| parameter(name, kind, it.to_owned())));
        };
        add("code", "valueCode", Some(&self.code));
        add("system", "valueUri", self.system.as_deref());
        add("version", "valueString", self.version);
        add("display", "valueString", self.display.as_deref());
        add("normalized-code", "valueCode", self.normalized);
        add("status", "valueCode", self.status);
        add("message", "valueString", self.message().as_deref());
        if let Some((url, is_why)) = &self.unknown_system {
            let name = if *is_why { "x-caused-by-unknown-system" } else { "x-unknown-system" };
            add(name, "valueCanonical", Some(url));
        }
        if self.is_inactive {
            found.push(parameter("inactive", "valueBoolean", true));
        }
        let concept = concept.map(|it| it.clone().into_owned());
        found.extend(concept.map(|it| parameter("codeableConcept", "valueCodeableConcept", it)));
        if !self.findings.is_empty() {
            let outcome = outcome_of_codes(&self.findings);
            found.push(Object::new().with("name", "issues").with("resource", outcome).into());
        }
        parameters(found)
    }

    /// The errors in words; of a valid code, that it is not to be used any longer.
    fn message(&self) -> Option<String> {
        let is_told = |it: &&Finding| {
            if self.is_valid {
                matches!(it.id, "INACTIVE_CONCEPT_FOUND" | "DEPRECATED_CONCEPT_FOUND")
            } else {
                it.severity == Severity::Error
            }
        };
        let mut texts: Vec<&str> =
            self.findings.iter().filter(is_told).map(|it| it.text.as_str()).collect();
        texts.sort_unstable();
        (!texts.is_empty()).then(|| texts.join("; "))
    }
}
