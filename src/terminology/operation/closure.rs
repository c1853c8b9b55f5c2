//! `$closure`: how new concepts stand to those that a client has already.
//!
//! What a client has is kept by the caller; here only relations are computed.
//!
//! Spec: <https://hl7.org/fhir/R4/conceptmap-operation-closure.html>

use std::collections::{BTreeSet, HashSet};

use crate::fhir::IssueCode;
use crate::fhir::json::{Object, Value};
use crate::terminology::Image;
use crate::terminology::code_system::CodeSystem;

use super::asked::{Asked, Coding};
use super::refusal::{Refusal, error};

/// Most bytes of a name, and of a code with its system: they are keys of the database.
const MAX_BYTES: usize = 1_000;
/// Most relations of an answer.
const MAX_RELATIONS: usize = 100_000;
/// Most concepts that are passed on the way up, however often each.
const MAX_LOOKS: usize = 5_000_000;

/// A concept of a closure table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Closed {
    /// The code system.
    pub system: String,
    /// The code.
    pub code: String,
}

/// What a client asks of a closure table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Closing {
    /// The table's name.
    pub name: String,
    /// What is to be added; none begins the table anew.
    pub concepts: Vec<Closed>,
    /// The version that the client has: it wants all that came since.
    pub since: Option<i64>,
}

/// That one concept is below another of the same system.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Relation {
    /// The code system.
    pub system: String,
    /// The narrower code.
    pub below: String,
    /// The wider code.
    pub above: String,
}

impl Closing {
    /// Reads a Parameters resource.
    ///
    /// # Errors
    /// [`Refusal`] for one without a name, or with a concept that lacks its system or code.
    pub fn read(parameters: &Value<'_>) -> Result<Self, Refusal> {
        let asked = Asked::read(parameters)?;
        let name = super::asked::needed(asked.text("name")?, "the name of the closure table")?;
        let too_long =
            |what: &str| Refusal::malformed(format!("{what} has at most {MAX_BYTES} bytes"));
        if name.len() > MAX_BYTES {
            return Err(too_long("the name"));
        }
        let mut concepts = Vec::new();
        for value in asked.all("concept").filter_map(super::asked::value) {
            let coding = Coding::read(value);
            let coding = coding.and_then(|it| Some((it.system?, it.code)));
            let refused = || Refusal::malformed("a concept has a system and a code");
            let (system, code) = coding.ok_or_else(refused)?;
            if system.len() + code.len() > MAX_BYTES {
                return Err(too_long("a code with its system"));
            }
            concepts.push(Closed { system: system.to_owned(), code: code.to_owned() });
        }
        let refused = || Refusal::malformed("the version is a number that an answer told");
        let since = asked.text("version")?.map(str::parse).transpose().map_err(|_| refused())?;
        Ok(Self { name: name.to_owned(), concepts, since })
    }

    /// The answer: a ConceptMap with these relations.
    pub fn to_concept_map(
        &self,
        version: i64,
        relations: &[Relation],
        now: &str,
    ) -> Value<'static> {
        let mut groups: Vec<(&str, Vec<Value<'static>>)> = Vec::new();
        for relation in relations {
            let target =
                Object::new().with("code", relation.above.clone()).with("equivalence", "subsumes");
            let element = Object::new()
                .with("code", relation.below.clone())
                .with("target", vec![Value::from(target)]);
            match groups.last_mut().filter(|(system, _)| *system == relation.system) {
                Some((_, elements)) => elements.push(element.into()),
                None => groups.push((&relation.system, vec![element.into()])),
            }
        }
        let groups: Vec<Value<'static>> = groups
            .into_iter()
            .map(|(system, elements)| {
                Object::new()
                    .with("source", system.to_owned())
                    .with("target", system.to_owned())
                    .with("element", elements)
                    .into()
            })
            .collect();
        Object::new()
            .with("resourceType", "ConceptMap")
            .with("version", version.to_string())
            .with("name", "closure")
            .with("title", self.name.clone())
            .with("status", "active")
            .with("experimental", true)
            .with("date", now.to_owned())
            .with_some("group", (!groups.is_empty()).then_some(groups))
            .into()
    }
}

/// Whether the code systems of these concepts are known.
///
/// # Errors
/// [`Refusal`] for one that is not.
pub fn closable(image: &Image, concepts: &[Closed]) -> Result<(), Refusal> {
    systems(image, concepts).map(drop)
}

/// How `new` concepts stand to one another and to `old` ones: each pair once, by systems.
///
/// # Errors
/// [`Refusal`] for a code system that is not known, and where there is too much to tell.
pub fn closure(image: &Image, old: &[Closed], new: &[Closed]) -> Result<Vec<Relation>, Refusal> {
    let (mut found, mut looks) = (Vec::new(), 0);
    for (url, system) in systems(image, new)? {
        let places = |all: &[Closed]| -> Vec<u32> {
            let of = all.iter().filter(|it| it.system == url);
            let mut places: Vec<u32> = of.filter_map(|it| system.concepts.find(&it.code)).collect();
            places.sort_unstable();
            places.dedup();
            places
        };
        let (old, new) = (places(old), places(new));
        let all: BTreeSet<u32> = old.iter().chain(&new).copied().collect();
        let is_new = |at: &u32| new.binary_search(at).is_ok();
        let code = |at: u32| system.concepts.code(at).to_owned();
        // Upwards, where there are few.
        for below in &all {
            let (mut seen, mut rest) = (HashSet::from([*below]), vec![*below]);
            while let Some(at) = rest.pop() {
                rest.extend(system.concepts.parents(at).iter().filter(|at| seen.insert(**at)));
                if at != *below && all.contains(&at) && (is_new(below) || is_new(&at)) {
                    let (below, above) = (code(*below), code(at));
                    found.push(Relation { system: url.to_owned(), below, above });
                }
            }
            looks += seen.len();
            if found.len() > MAX_RELATIONS || looks > MAX_LOOKS {
                let text = format!(
                    "more than {MAX_RELATIONS} relations, or too long a way to them: add fewer concepts"
                );
                let id = "VALUESET_TOO_COSTLY";
                return Err(Refusal::Unprocessable(vec![error(
                    IssueCode::TooCostly,
                    "",
                    id,
                    text,
                )]));
            }
        }
    }
    Ok(found)
}

/// The code systems of these concepts, each once.
fn systems<'i, 'c>(
    image: &'i Image,
    concepts: &'c [Closed],
) -> Result<Vec<(&'c str, &'i CodeSystem)>, Refusal> {
    let urls: BTreeSet<&str> = concepts.iter().map(|it| it.system.as_str()).collect();
    let known = |url| {
        let system = image.system(url).filter(|it| it.has_codes());
        Ok((url, system.ok_or_else(|| Refusal::no_system(url))?))
    };
    urls.into_iter().map(known).collect()
}
