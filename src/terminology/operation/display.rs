//! What a concept is called: displays and designations by language, with those of supplements.
//!
//! Spec: <https://hl7.org/fhir/R4/codesystem.html#4.8.4>

use crate::fhir::json::{Object, Value};
use crate::terminology::about::{OF_DESIGNATIONS, extensions};
use crate::terminology::code_system::CodeSystem;
use crate::terminology::scope::Scope;
use crate::terminology::value_set::Listing;

/// The use of what is the display in another language.
const PREFERRED: [&str; 3] = [
    "http://terminology.hl7.org/CodeSystem/hl7TermMaintInfra",
    "preferredForLanguage",
    "Preferred For Language",
];

/// Most languages that a display is looked for in.
pub(super) const MAX_LANGUAGES: usize = 16;

/// The languages that displays are wanted in.
#[derive(Clone, Debug, Default)]
pub(super) struct Languages {
    /// As it was written.
    pub(super) text: Option<String>,
    wanted: Vec<String>,
    /// Whether nothing else will do.
    is_hard: bool,
}

/// One of the names of a concept.
#[derive(Clone, Debug)]
pub(super) struct Named<'i> {
    pub(super) language: Option<&'i str>,
    pub(super) value: &'i str,
    /// System, code and display of the use.
    pub(super) of_use: Option<[&'i str; 3]>,
    extensions: Vec<Value<'static>>,
    /// The supplement that it is from.
    pub(super) supplement: Option<&'i CodeSystem>,
}

/// What a concept is called.
#[derive(Clone, Debug, Default)]
pub(super) struct Names<'i> {
    pub(super) display: Option<&'i str>,
    pub(super) designations: Vec<Named<'i>>,
}

impl Languages {
    /// Reads a list as `Accept-Language` has it.
    pub(super) fn read(text: Option<&str>) -> Self {
        let Some(text) = text.filter(|it| !it.trim().is_empty()) else { return Self::default() };
        let mut found = Self { text: Some(text.to_owned()), ..Self::default() };
        let mut weighed: Vec<(f32, String)> = Vec::new();
        for part in text.split(',') {
            let mut pieces = part.split(';');
            let tag = pieces.next().unwrap_or_default().trim();
            let weight = pieces.find_map(|it| it.trim().strip_prefix("q=")?.trim().parse().ok());
            let weight: f32 = weight.unwrap_or(1.0);
            match tag {
                "*" => found.is_hard |= weight <= 0.0,
                "" => {}
                _ if weight > 0.0 => weighed.push((weight, tag.to_ascii_lowercase())),
                _ => {}
            }
        }
        weighed.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        found.wanted = weighed.into_iter().map(|(_, tag)| tag).take(MAX_LANGUAGES).collect();
        found
    }

    /// For messages: `--` where none is wanted.
    pub(super) fn shown(&self) -> &str {
        self.text.as_deref().unwrap_or("--")
    }
}

/// Whether a language is a wanted one, or a form of it.
fn is_form_of(language: &str, wanted: &str) -> bool {
    let same = language.get(..wanted.len()).is_some_and(|it| it.eq_ignore_ascii_case(wanted));
    same && matches!(language.as_bytes().get(wanted.len()), None | Some(b'-'))
}

impl<'i> Names<'i> {
    /// Of a concept, and of what a value set says of it.
    pub(super) fn of(
        scope: &Scope<'i>,
        concept: Option<(&'i CodeSystem, u32)>,
        listing: Option<&'i Listing>,
        languages: &Languages,
    ) -> Self {
        let mut designations = Vec::new();
        let (mut display, mut language) = (None, None);
        if let Some((system, at)) = concept {
            display = system.concepts.display(at);
            language = system.about.language.as_deref();
            collect(system, at, None, &mut designations);
            let code = system.concepts.code(at);
            for supplement in scope.supplements_of(&system.url) {
                let Some(at) = supplement.concepts.find(code) else { continue };
                if let Some(value) = supplement.concepts.display(at) {
                    let language = supplement.about.language.as_deref();
                    let (of_use, extensions, supplement) = (None, Vec::new(), Some(supplement));
                    designations.push(Named { language, value, of_use, extensions, supplement });
                }
                collect(supplement, at, Some(supplement), &mut designations);
            }
        }
        if let Some(listing) = listing {
            display = listing.display.as_deref().or(display);
            let more = listing.more.iter().flat_map(|it| &it.designations);
            designations.extend(more.filter_map(listed));
        }
        Self::choose(display, language, designations, languages)
    }

    /// Takes the name in the first of the wanted languages that there is one in.
    fn choose(
        display: Option<&'i str>,
        language: Option<&'i str>,
        mut designations: Vec<Named<'i>>,
        languages: &Languages,
    ) -> Self {
        for wanted in &languages.wanted {
            if display.is_some() && language.is_some_and(|it| is_form_of(it, wanted)) {
                return Self { display, designations };
            }
            let is_it = |it: &Named<'_>| it.language.is_some_and(|it| is_form_of(it, wanted));
            if let Some(at) = designations.iter().position(is_it) {
                let chosen = designations.remove(at).value;
                designations.extend(preferred(display, language));
                return Self { display: Some(chosen), designations };
            }
        }
        if languages.is_hard && !languages.wanted.is_empty() {
            designations.extend(preferred(display, language));
            return Self { display: None, designations };
        }
        Self { display, designations }
    }
}

/// A display that is none, as a designation.
pub(super) fn preferred<'i>(
    display: Option<&'i str>,
    language: Option<&'i str>,
) -> Option<Named<'i>> {
    let (of_use, extensions, supplement) = (Some(PREFERRED), Vec::new(), None);
    Some(Named { language, value: display?, of_use, extensions, supplement })
}

fn collect<'i>(
    system: &'i CodeSystem,
    at: u32,
    supplement: Option<&'i CodeSystem>,
    into: &mut Vec<Named<'i>>,
) {
    let some = |text: &'i str| Some(text).filter(|it| !it.is_empty());
    let all = &system.about.of_designations;
    let own = &all[all.partition_point(|(of, ..)| *of < at)..];
    let own = own.iter().take_while(|(of, ..)| *of == at);
    for (which, it) in (0..).zip(system.concepts.designations(at)) {
        let extensions = own.clone().filter(|(_, of, _)| *of == which);
        into.push(Named {
            language: some(it.language),
            value: it.value,
            of_use: some(it.use_code).map(|code| [it.use_system, code, ""]),
            extensions: extensions.map(|(.., extension)| extension.clone()).collect(),
            supplement,
        });
    }
}

fn listed<'i>(value: &'i Value<'static>) -> Option<Named<'i>> {
    let of = value.get("use");
    let part = |name| of.and_then(|it| it.str_at(name)).unwrap_or_default();
    Some(Named {
        language: value.str_at("language"),
        value: value.str_at("value")?,
        of_use: of.map(|_| [part("system"), part("code"), part("display")]),
        extensions: extensions(value, &OF_DESIGNATIONS),
        supplement: None,
    })
}

impl Named<'_> {
    /// Whether a standards status says that it is no longer to be used.
    pub(super) fn is_withdrawn(&self) -> bool {
        let mut status = self.extensions.iter().filter_map(|it| it.str_at("valueCode"));
        status.any(|it| matches!(it, "withdrawn" | "deprecated"))
    }

    /// The use as a Coding.
    pub(super) fn coded_use(&self) -> Option<Object<'static>> {
        let [system, code, display] = self.of_use?;
        let some = |text: &str| Some(text.to_owned()).filter(|it| !it.is_empty());
        let coding = Object::new().with_some("system", some(system));
        Some(coding.with("code", code.to_owned()).with_some("display", some(display)))
    }

    /// Whether `token`, a language or a use as `system|code`, names it.
    pub(super) fn is_of(&self, token: &str) -> bool {
        let is_language = |tag: &str| self.language.is_some_and(|it| it.eq_ignore_ascii_case(tag));
        match token.split_once('|') {
            Some(("urn:ietf:bcp:47", tag)) => is_language(tag),
            Some((system, code)) => {
                self.of_use.is_some_and(|[of, is, _]| of == system && is == code)
            }
            None => is_language(token),
        }
    }

    /// As an element of an expansion.
    pub(super) fn to_value(&self) -> Value<'static> {
        let extensions = (!self.extensions.is_empty()).then(|| self.extensions.clone());
        Object::new()
            .with_some("extension", extensions)
            .with_some("language", self.language.map(str::to_owned))
            .with_some("use", self.coded_use())
            .with("value", self.value.to_owned())
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_taken_in_the_order_of_their_weights() {
        for (text, wanted, is_hard) in [
            (None, "", false),
            (Some(""), "", false),
            (Some("de"), "de", false),
            (Some("en;q=0.5, de-CH, *"), "de-ch en", false),
            (Some("de,*; q=0"), "de", true),
            (Some("de;q=0, en"), "en", false),
        ] {
            let found = Languages::read(text);
            assert_eq!((found.wanted.join(" ").as_str(), found.is_hard), (wanted, is_hard));
        }
        for (language, wanted, expected) in [
            ("de", "de", true),
            ("de-CH", "de", true),
            ("de", "de-ch", false),
            ("den", "de", false),
        ] {
            assert_eq!(is_form_of(language, wanted), expected, "{language} {wanted}");
        }
    }
}
