//! `$closure`: how new concepts stand to those that a client has already.
//!
//! What a client has is kept by the caller; here only relations are computed.
//!
//! Spec: <https://hl7.org/fhir/R4/conceptmap-operation-closure.html>

use crate::fhir::json::{Object, Value};
use crate::terminology::Image;

use super::asked::{Asked, Coding};
use super::refusal::Refusal;

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
        let mut concepts = Vec::new();
        for value in asked.all("concept").filter_map(super::asked::value) {
            let coding = Coding::read(value);
            let coding = coding.and_then(|it| Some((it.system?, it.code)));
            let refused = || Refusal::malformed("a concept has a system and a code");
            let (system, code) = coding.ok_or_else(refused)?;
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

/// How `new` concepts stand to one another and to `old` ones: each pair once, by systems.
///
/// # Errors
/// [`Refusal`] for a code system that is not known.
pub fn closure(image: &Image, old: &[Closed], new: &[Closed]) -> Result<Vec<Relation>, Refusal> {
    let mut found = Vec::new();
    let mut systems: Vec<&str> = new.iter().map(|it| it.system.as_str()).collect();
    systems.sort_unstable();
    systems.dedup();
    for url in systems {
        let system = image.system(url).filter(|it| it.has_codes());
        let system = system.ok_or_else(|| Refusal::no_system(url))?;
        let places = |all: &[Closed]| -> Vec<u32> {
            let of = all.iter().filter(|it| it.system == url);
            let mut places: Vec<u32> = of.filter_map(|it| system.concepts.find(&it.code)).collect();
            places.sort_unstable();
            places.dedup();
            places
        };
        let (old, new) = (places(old), places(new));
        let all: std::collections::BTreeSet<u32> = old.iter().chain(&new).copied().collect();
        let is_new = |at: &u32| new.binary_search(at).is_ok();
        let mut add = |below: u32, above: u32| {
            let code = |at| system.concepts.code(at).to_owned();
            found.push(Relation { system: url.to_owned(), below: code(below), above: code(above) });
        };
        // Upwards, where there are few.
        for below in &all {
            let above = system.concepts.closure(*below, false);
            for above in above.iter().filter(|it| it != below && all.contains(it)) {
                if is_new(below) || is_new(&above) {
                    add(*below, above);
                }
            }
        }
    }
    Ok(found)
}
