//! References: by path, id, url, canonical or identifier.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#reference> (rest 4.107 to 4.126)

use crate::fhir::reference::Target;
use crate::fhir::{Canonical, LogicalId, ResourceType};
use crate::search::extract::{Kind, Shape};
use crate::spec::search_parameter::SearchType;

use super::compare::{AskedReference, Comparison};
use super::criterion::{Criteria, Raw, Refusal, collect, unfit};
use super::fault::Reason;
use super::parameter::Parameter;
use super::uri::{is, version_below};
use super::{Filter, ParameterKey};

/// The parameters by which resources of a type are parts of others of that type.
const PART_OF: [&str; 2] = ["part-of", "partof"];

/// An id without a type is looked for in so many types at most.
const MAX_TARGETS: usize = 9;

impl Criteria<'_> {
    pub(super) fn reference_by(
        &mut self,
        parameter: &Parameter<'_>,
        modifier: &str,
        value: &str,
    ) -> Result<Filter, Refusal> {
        let shape = parameter.shape();
        match (modifier, modifier.parse::<ResourceType>()) {
            ("identifier", _) if may_refer(shape) => {
                self.any_of(parameter, value, |criteria, raw| {
                    let asked = criteria.token(&identifiers(), raw)?.into_iter();
                    let form = |asked| Comparison::Reference(AskedReference::Identifier(asked));
                    Ok(asked.map(form).collect())
                })
            }
            ("above" | "below", _) if own_type(parameter).is_some() => {
                self.ladder(parameter, modifier == "below", value)
            }
            ("above" | "below", _) if !self.ladders(parameter).is_empty() => {
                self.leads_along(parameter, modifier == "below", value)
            }
            ("below", _) if may_be_canonical(shape) => self.any_of(parameter, value, |_, raw| {
                let text = raw.plain()?;
                let found = version_below(&text).unwrap_or_else(|| is(Canonical::parse(&text)));
                Ok(vec![Comparison::Reference(AskedReference::Canonical(found))])
            }),
            (_, Ok(only)) if may_refer(shape) && parameter.may_lead_to(only) => {
                self.any_of(parameter, value, |criteria, raw| {
                    criteria.reference(shape, Some(only), raw)
                })
            }
            _ => Err(unfit(modifier, self.allowed(parameter)).into()),
        }
    }

    /// What a value is looked for as; `only` is the type that a modifier names.
    pub(super) fn reference(
        &mut self,
        shape: &Shape<'_>,
        only: Option<ResourceType>,
        raw: Raw<'_>,
    ) -> Result<Vec<Comparison>, Reason> {
        let text = raw.plain()?;
        let mut found = Vec::new();
        let canonical = || AskedReference::Canonical(is(Canonical::parse(&text)));
        match Target::parse(&text, self.context.extractor.base()) {
            Target::Conditional { .. } => {
                return Err(raw.wrong("a reference: Type/id, an id or a url"));
            }
            Target::Local { resource_type, .. }
                if only.is_some_and(|only| only != resource_type) =>
            {
                return Err(raw.wrong("of the type that the modifier names"));
            }
            Target::Local { resource_type, id, version, .. } if may_refer(shape) => {
                found.push(AskedReference::Local { resource_type, id, version });
            }
            Target::Malformed if may_refer(shape) && text.parse::<LogicalId>().is_ok() => {
                found = self.bare(shape, only, raw)?;
            }
            Target::Absolute(_) | Target::Malformed | Target::Urn(_) if may_refer(shape) => {
                found.push(AskedReference::Url(text.clone()));
            }
            // Nobody outside its container can name what is contained (rest 4.118). The others are
            // looked for as canonicals alone.
            Target::Absolute(_)
            | Target::Contained(_)
            | Target::Local { .. }
            | Target::Malformed
            | Target::Urn(_) => {}
        }
        if may_be_canonical(shape) && !text.starts_with('#') {
            found.push(canonical());
        }
        Ok(found.into_iter().map(Comparison::Reference).collect())
    }

    /// An id without a type (rest 4.107, 4.110).
    fn bare(
        &mut self,
        shape: &Shape<'_>,
        only: Option<ResourceType>,
        raw: Raw<'_>,
    ) -> Result<Vec<AskedReference>, Reason> {
        let expected = "with a type: Type/id; the reference may lead to many";
        let id: LogicalId = raw.plain()?.parse().map_err(|_| raw.wrong(expected))?;
        let targets = only.map_or_else(|| shape.targets.clone(), |only| vec![only]);
        if targets.is_empty() || targets.len() > MAX_TARGETS {
            return Err(raw.wrong(expected));
        }
        let local = |&resource_type: &ResourceType| AskedReference::Local {
            resource_type,
            id: id.clone(),
            version: None,
        };
        let found = targets.iter().map(local).collect();
        if targets.len() > 1 {
            self.ambiguous.push((id, targets));
        }
        Ok(found)
    }

    /// `:above` and `:below` along references from a type to itself (rest 4.123).
    fn ladder(
        &mut self,
        parameter: &Parameter<'_>,
        is_below: bool,
        value: &str,
    ) -> Result<Filter, Refusal> {
        let Some(own) = own_type(parameter) else {
            return Err(unfit("below", self.allowed(parameter)).into());
        };
        let values = self.values(value)?;
        let base = self.context.extractor.base();
        let filters = collect(values, |raw| {
            let of = step(&[own], base, raw)?;
            Ok(Filter::Hierarchy { reference: parameter.keys.clone(), is_below, of })
        })?;
        Ok(Filter::any(filters))
    }

    /// `:above` and `:below` of what is referred to, where that stands in a hierarchy of its own: the
    /// reference leads to the resource, or to one above or below it.
    fn leads_along(
        &mut self,
        parameter: &Parameter<'_>,
        is_below: bool,
        value: &str,
    ) -> Result<Filter, Refusal> {
        let ladders = self.ladders(parameter);
        let types: Vec<ResourceType> = ladders.iter().map(|key| key.resource_type).collect();
        let values = self.values(value)?;
        let base = self.context.extractor.base();
        self.deeper()?;
        self.depth -= 1;
        let filters = collect(values, |raw| {
            let of = step(&types, base, raw)?;
            let own = ladders.iter().filter(|key| key.resource_type == of.0);
            let (reference, target) = (own.cloned().collect(), of.0);
            let filter = Filter::Hierarchy { reference, is_below, of };
            Ok(Filter::Chain { reference: parameter.keys.clone(), targets: vec![(target, filter)] })
        })?;
        Ok(Filter::any(filters))
    }

    /// The hierarchies in which targets of the reference stand: of each type the reference to what it is
    /// a part of.
    fn ladders(&self, parameter: &Parameter<'_>) -> Vec<ParameterKey> {
        let shape = parameter.shape();
        if !may_refer(shape) || shape.targets.len() > MAX_TARGETS {
            return Vec::new();
        }
        let of_type = |&of: &ResourceType| {
            let codes = PART_OF.iter();
            let found = codes.map(|code| Parameter::find(self.context.extractor, &[of], code));
            let mut found = found.flatten().filter(|found| found.is_core);
            let key = |found: Parameter<'_>| found.keys.into_iter().next();
            found.find(|found| own_type(found) == Some(of)).and_then(key)
        };
        shape.targets.iter().filter_map(of_type).collect()
    }

    /// The modifiers of a reference.
    fn allowed(&self, parameter: &Parameter<'_>) -> String {
        let shape = parameter.shape();
        let mut out = String::from(":missing");
        if own_type(parameter).is_some() || !self.ladders(parameter).is_empty() {
            out += ", :above, :below";
        } else if may_be_canonical(shape) {
            out += ", :below";
        }
        if may_refer(shape) {
            out += ", :identifier";
            if shape.targets.is_empty() || shape.targets.len() > MAX_TARGETS {
                out += ", :Type";
            } else {
                for target in &shape.targets {
                    out += ", :";
                    out += target.as_str();
                }
            }
        }
        out
    }

    /// The ambiguous ids that were met, each once.
    pub(super) fn take_ambiguous(&mut self) -> Vec<(LogicalId, Vec<ResourceType>)> {
        let mut found = std::mem::take(&mut self.ambiguous);
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// What `:identifier` looks at.
fn identifiers() -> Shape<'static> {
    Shape {
        search_type: SearchType::Token,
        targets: Vec::new(),
        is_phonetic: false,
        elements: Some(vec![(Kind::Identifier, None)]),
    }
}

/// Whether there may be references to resources by their place.
pub(super) fn may_refer(shape: &Shape<'_>) -> bool {
    shape.may_be(Kind::Reference) || shape.may_be(Kind::Resource)
}

fn may_be_canonical(shape: &Shape<'_>) -> bool {
    shape.may_be(Kind::Canonical) || shape.may_be(Kind::Uri)
}

/// The type whose resources refer to others of the same type by the parameter.
fn own_type(parameter: &Parameter<'_>) -> Option<ResourceType> {
    let shape = parameter.shape();
    let [key] = &parameter.keys[..] else { return None };
    let own = key.resource_type;
    let leads = shape.targets.contains(&own) && shape.targets.len() <= MAX_TARGETS;
    (leads && may_refer(shape)).then_some(own)
}

/// A resource of one of the types, as a value of `:above` or `:below` names it.
fn step(
    types: &[ResourceType],
    base: &str,
    raw: Raw<'_>,
) -> Result<(ResourceType, LogicalId), Reason> {
    let text = raw.plain()?;
    let found = match (Target::parse(&text, base), types) {
        (Target::Local { resource_type, id, version: None, fragment: None }, types)
            if types.contains(&resource_type) =>
        {
            Some((resource_type, id))
        }
        (Target::Malformed, [only]) => text.parse().ok().map(|id| (*only, id)),
        _ => None,
    };
    let expected = || match types {
        [only] => format!("a {only}: {only}/id or an id"),
        types => {
            let names: Vec<&str> = types.iter().map(|of| of.as_str()).collect();
            format!("Type/id of one of {}", names.join(", "))
        }
    };
    found.ok_or_else(|| raw.wrong(expected()))
}
