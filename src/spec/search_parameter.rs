//! Search parameters: which there are for a type, and what each looks at.
//!
//! Layer: 1. Imports `fhir`, and `fhirpath` to check what users define. Expressions are texts here;
//! `search` compiles and runs them.
//!
//! Spec: <https://hl7.org/fhir/R4/searchparameter.html>

mod custom;
mod fits;

use std::collections::HashMap;

use crate::fhir::ResourceType;
use crate::fhir::json::Value;
use crate::fhir::schema::Schema;

use super::package::{Pack, PackError, Section};

pub use custom::{Custom, Progress, asks_to_be_in_force};

/// R4 gives each of this composite's two parts the definition of the other.
const SWAPPED: &str = "http://hl7.org/fhir/SearchParameter/DocumentReference-relationship";

/// How a parameter's values are written and compared.
///
/// <https://hl7.org/fhir/R4/search.html#ptypes>
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(missing_docs, reason = "the names are FHIR's own")]
pub enum SearchType {
    Composite,
    Date,
    Number,
    Quantity,
    Reference,
    Special,
    String,
    Token,
    Uri,
}

impl SearchType {
    /// Every type, in the order of their names.
    pub const ALL: [Self; 9] = [
        Self::Composite,
        Self::Date,
        Self::Number,
        Self::Quantity,
        Self::Reference,
        Self::Special,
        Self::String,
        Self::Token,
        Self::Uri,
    ];

    /// The code as FHIR writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Composite => "composite",
            Self::Date => "date",
            Self::Number => "number",
            Self::Quantity => "quantity",
            Self::Reference => "reference",
            Self::Special => "special",
            Self::String => "string",
            Self::Token => "token",
            Self::Uri => "uri",
        }
    }

    /// The type with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == code)
    }
}

/// One part of a composite parameter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Component {
    /// Canonical url of the parameter that says how the part is compared.
    pub definition: Box<str>,
    /// What the part looks at, from what the composite's own expression gives.
    pub expression: Box<str>,
}

/// A search parameter.
#[derive(Clone, Debug)]
pub struct SearchParameter {
    /// Its canonical url.
    pub url: Box<str>,
    /// Its name in a query.
    pub code: Box<str>,
    /// How its values compare.
    pub search_type: SearchType,
    /// What it looks at; absent for those that only words explain (`_text`, `_content`).
    pub expression: Option<Box<str>>,
    /// The types that have it; `Resource` and `DomainResource` stand for all below them.
    pub bases: Vec<Box<str>>,
    /// For references: the types that may be the target; empty = any.
    pub targets: Vec<ResourceType>,
    /// For composites: the parts.
    pub components: Vec<Component>,
    /// Whether it only shows what a parameter may look like (FHIR's examples and extensions).
    pub is_experimental: bool,
    /// What it has when it is not FHIR's own.
    pub custom: Option<Custom>,
}

/// All search parameters, by the resource types that have them.
#[derive(Clone, Debug)]
pub struct SearchParameters {
    all: Vec<SearchParameter>,
    /// By the place of the type in [`ResourceType::all`]: places in `all`, sorted by code.
    by_type: Vec<Vec<u16>>,
    /// Those of `Resource`, which a search over all types knows.
    common: Vec<u16>,
}

impl SearchParameters {
    /// The parameters that the pack defines.
    ///
    /// A parameter that is not complete (no code, no type, no base) is left out: no type has it.
    ///
    /// # Errors
    /// [`PackError`] when the pack cannot be read.
    pub fn load(pack: &Pack<'_>, schema: &Schema) -> Result<Self, PackError> {
        let mut all: Vec<SearchParameter> = Vec::new();
        for record in pack.records(Section::SearchParameters)?.iter() {
            all.extend(parameter(&record?));
        }
        Ok(Self::of_all(all, schema))
    }

    fn of_all(mut all: Vec<SearchParameter>, schema: &Schema) -> Self {
        // FHIR's own package has examples that reuse names: the real one comes first and wins.
        all.sort_by(|a, b| {
            (&a.code, a.is_experimental, &a.url).cmp(&(&b.code, b.is_experimental, &b.url))
        });
        let mut by_base: HashMap<&str, Vec<u16>> = HashMap::new();
        for (at, parameter) in all.iter().enumerate() {
            for base in &parameter.bases {
                by_base.entry(base).or_default().extend(u16::try_from(at));
            }
        }
        let by_type = ResourceType::all().map(|of| {
            let bases = ancestry(schema, of.as_str());
            one_a_code(&all, bases.filter_map(|base| by_base.get(base)).flatten().copied())
        });
        let by_type = by_type.collect();
        let common = one_a_code(&all, by_base.get("Resource").into_iter().flatten().copied());
        Self { all, by_type, common }
    }

    /// The parameter called `code` of `resource_type`, inherited ones included.
    pub fn find(&self, resource_type: ResourceType, code: &str) -> Option<&SearchParameter> {
        self.pick(self.places(resource_type), code)
    }

    /// The parameters of `resource_type` in the order of their codes, inherited ones included.
    pub fn of(&self, resource_type: ResourceType) -> impl Iterator<Item = &SearchParameter> {
        self.places(resource_type).iter().map(|&at| &self.all[usize::from(at)])
    }

    /// The parameter called `code` that every type has.
    pub fn find_common(&self, code: &str) -> Option<&SearchParameter> {
        self.pick(&self.common, code)
    }

    /// The parameter with this canonical url.
    pub fn by_url(&self, url: &str) -> Option<&SearchParameter> {
        self.all.iter().find(|parameter| &*parameter.url == url)
    }

    /// Every parameter, in the order of the codes.
    pub fn all(&self) -> &[SearchParameter] {
        &self.all
    }

    fn places(&self, resource_type: ResourceType) -> &[u16] {
        let at = usize::try_from(resource_type.code() - 1).unwrap_or(usize::MAX);
        self.by_type.get(at).map_or(&[], Vec::as_slice)
    }

    fn pick(&self, places: &[u16], code: &str) -> Option<&SearchParameter> {
        let of = |at: &u16| &self.all[usize::from(*at)];
        let found = places.binary_search_by(|at| (*of(at).code).cmp(code)).ok()?;
        places.get(found).map(of)
    }
}

/// The type and what it specialises, nearest first.
fn ancestry<'s>(schema: &'s Schema, name: &'s str) -> impl Iterator<Item = &'s str> {
    std::iter::successors(Some(name), |name| {
        let base = schema.type_named(name)?.base?;
        Some(&*schema.get(base).name)
    })
}

/// The places sorted, only the first for each code.
fn one_a_code(all: &[SearchParameter], places: impl Iterator<Item = u16>) -> Vec<u16> {
    let mut places: Vec<u16> = places.collect();
    places.sort_unstable();
    places.dedup_by(|b, a| all[usize::from(*b)].code == all[usize::from(*a)].code);
    places.shrink_to_fit();
    places
}

fn parameter(record: &Value<'_>) -> Option<SearchParameter> {
    let texts = |name| record.items_at(name).iter().filter_map(Value::as_str);
    let bases: Vec<Box<str>> = texts("base").map(Into::into).collect();
    let component = |part: &Value<'_>| {
        Some(Component {
            definition: part.str_at("definition")?.into(),
            expression: part.str_at("expression")?.into(),
        })
    };
    (!bases.is_empty()).then_some(())?;
    let url = record.str_at("url")?;
    let mut components: Vec<Component> =
        record.items_at("component").iter().filter_map(component).collect();
    if url == SWAPPED
        && let [first, second] = &mut components[..]
    {
        std::mem::swap(&mut first.definition, &mut second.definition);
    }
    Some(SearchParameter {
        url: url.into(),
        code: record.str_at("code")?.into(),
        search_type: SearchType::from_code(record.str_at("type")?)?,
        expression: record.str_at("expression").map(Into::into),
        bases,
        targets: texts("target").filter_map(|name| name.parse().ok()).collect(),
        components,
        is_experimental: record.get("experimental").and_then(Value::as_bool) == Some(true),
        custom: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Spec;

    fn named(name: &str) -> ResourceType {
        name.parse().expect("a resource type")
    }

    #[test]
    fn a_type_has_its_own_and_its_inherited_parameters() {
        let spec = Spec::r4().expect("loads");
        let parameters = &spec.search_parameters;
        for (of, code, expected) in [
            (
                "Patient",
                "birthdate",
                Some("http://hl7.org/fhir/SearchParameter/individual-birthdate"),
            ),
            ("Patient", "_id", Some("http://hl7.org/fhir/SearchParameter/Resource-id")),
            ("Patient", "_text", Some("http://hl7.org/fhir/SearchParameter/DomainResource-text")),
            ("Bundle", "_id", Some("http://hl7.org/fhir/SearchParameter/Resource-id")),
            // Bundle is no DomainResource.
            ("Bundle", "_text", None),
            ("Condition", "subject", Some("http://hl7.org/fhir/SearchParameter/Condition-subject")),
            ("Patient", "nothing", None),
            ("Patient", "", None),
        ] {
            let found = parameters.find(named(of), code).map(|parameter| &*parameter.url);
            assert_eq!(found, expected, "{of} {code}");
        }
        assert!(parameters.find_common("_lastUpdated").is_some());
        assert!(parameters.find_common("birthdate").is_none());
    }

    #[test]
    fn a_parameter_says_what_it_looks_at() {
        let spec = Spec::r4().expect("loads");
        let parameters = &spec.search_parameters;
        let subject = parameters.find(named("Observation"), "subject").expect("subject");
        assert_eq!(subject.search_type, SearchType::Reference);
        assert_eq!(subject.expression.as_deref(), Some("Observation.subject"));
        let targets: Vec<&str> = subject.targets.iter().map(|target| target.as_str()).collect();
        assert_eq!(targets, ["Group", "Device", "Patient", "Location"]);
        let composite =
            parameters.find(named("Observation"), "code-value-quantity").expect("composite");
        assert_eq!(composite.components.len(), 2);
        for part in &composite.components {
            assert!(parameters.by_url(&part.definition).is_some(), "{}", part.definition);
        }
    }

    #[test]
    fn the_parts_of_a_relationship_compare_as_what_they_look_at() {
        let spec = Spec::r4().expect("loads");
        let parameters = &spec.search_parameters;
        let relationship = parameters.by_url(SWAPPED).expect("relationship");
        let types = relationship.components.iter().map(|part| {
            let definition = parameters.by_url(&part.definition).expect("defined");
            (&*part.expression, definition.search_type)
        });
        let expected = [("code", SearchType::Token), ("target", SearchType::Reference)];
        assert_eq!(types.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn every_code_is_there_once_for_a_type() {
        let spec = Spec::r4().expect("loads");
        let parameters = &spec.search_parameters;
        assert_eq!(parameters.all().len(), 1390, "10 of 1400 have no base");
        let experimental = parameters.all().iter().filter(|parameter| parameter.is_experimental);
        assert_eq!(experimental.count(), 14);
        for of in ResourceType::all() {
            let codes: Vec<&str> = parameters.of(of).map(|parameter| &*parameter.code).collect();
            assert!(codes.is_sorted_by(|a, b| a < b), "{of}: {codes:?}");
            for code in codes {
                assert!(parameters.find(of, code).is_some(), "{of} {code}");
            }
        }
    }
}
