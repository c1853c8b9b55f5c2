//! `CodeSystem/$subsumes`: how two codes of one system stand in its hierarchy.
//!
//! Spec: <https://hl7.org/fhir/R4/codesystem-operation-subsumes.html>

use std::fmt;

use crate::fhir::json::Value;
use crate::fhir::{Canonical, IssueCode};
use crate::terminology::Image;
use crate::terminology::concepts::Concepts;
use crate::terminology::scope::is_of_version;
use crate::terminology::value_set::canonical;

use super::asked::{Asked, Coding, needed};
use super::refusal::{Refusal, error};
use super::{Request, Subject, parameter, parameters, scope};

/// Answers `$subsumes`.
pub(super) fn subsumes(
    image: &Image,
    asked: Asked<'_>,
    request: &Request<'_>,
) -> Result<Value<'static>, Refusal> {
    let (one, other) = (code(asked, "codeA", "codingA")?, code(asked, "codeB", "codingB")?);
    let scope = scope(image, asked, request, &[])?;
    let version = Version::read(asked, [&one, &other])?;
    let name = match request.subject {
        // The codes may be another one's: of a release, where what is stored has none.
        Subject::Stored(id) => {
            image.system_of(id).ok_or_else(|| Refusal::no_system(id))?.canonical()
        }
        Subject::Defined(canonical) => canonical.to_owned(),
        Subject::Named => {
            let url = asked.text("system")?.or(one.system).or(other.system);
            canonical(needed(url, "the system of the codes")?, version.map(|it| it.named))
        }
    };
    if let (Some(version), Some(named)) = (version, Canonical::parse(&name).version)
        && !is_of_version(named, version.named)
    {
        let text = format!("the code system is of version {named:?} and {version}");
        return Err(Refusal::malformed(text));
    }
    let system = scope.system(&name)?.filter(|it| it.has_codes());
    let system = system.ok_or_else(|| Refusal::no_system(Canonical::parse(&name).url))?;
    for coding in [&one, &other] {
        if coding.system.is_some_and(|url| *url != *system.url) {
            return Err(Refusal::malformed("the codes are of different systems"));
        }
    }
    let place = |code: &str| {
        let text = format!("Unknown code '{code}' in the CodeSystem '{}'", system.url);
        let missing = || error(IssueCode::NotFound, "invalid-code", "Unknown_Code_in", text);
        system.concepts.find(code).ok_or_else(|| Refusal::Missing(vec![missing()]))
    };
    let outcome = relation(&system.concepts, place(one.code)?, place(other.code)?);
    Ok(parameters(vec![parameter("outcome", "valueCode", outcome)]))
}

/// A version of the code system, and where it is named.
#[derive(Clone, Copy, Debug)]
struct Version<'r> {
    parameter: &'static str,
    named: &'r str,
}

impl fmt::Display for Version<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {:?}", self.parameter, self.named)
    }
}

impl<'r> Version<'r> {
    /// The version that the parameters name: the `version` of the code system and those of the codings
    /// are one, or one of the edition that another names.
    fn read(asked: Asked<'r>, codings: [&Coding<'r>; 2]) -> Result<Option<Self>, Refusal> {
        let named = [
            ("version", asked.text("version")?),
            ("codingA.version", codings[0].version),
            ("codingB.version", codings[1].version),
        ];
        let mut found: Option<Self> = None;
        for (parameter, named) in named {
            let Some(named) = named else { continue };
            let next = Self { parameter, named };
            found = match found {
                None => Some(next),
                Some(known) if is_of_version(named, known.named) => Some(next),
                Some(known) if is_of_version(known.named, named) => Some(known),
                Some(known) => {
                    let text =
                        format!("{known} and {next}: the codes are of one version of their system");
                    return Err(Refusal::malformed(text));
                }
            };
        }
        Ok(found)
    }
}

/// The code of concept-subsumption-outcome.
pub(super) fn relation(concepts: &Concepts, one: u32, other: u32) -> &'static str {
    if one == other {
        "equivalent"
    } else if concepts.subsumes(one, other) {
        "subsumes"
    } else if concepts.subsumes(other, one) {
        "subsumed-by"
    } else {
        "not-subsumed"
    }
}

fn code<'r>(asked: Asked<'r>, code: &'r str, coding: &'r str) -> Result<Coding<'r>, Refusal> {
    match (asked.text(code)?, asked.coding(coding)?) {
        (Some(code), None) => {
            Ok(Coding { system: asked.text("system")?, version: None, code, display: None })
        }
        (None, Some(coding)) => Ok(coding),
        _ => Err(Refusal::malformed(format!("either {code} or {coding} is needed"))),
    }
}
