//! Chains: what holds for resources that this one refers to, or that refer to it.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#chaining>, <https://hl7.org/fhir/R4/search.html#has>
//! (rest 4.151 to 4.163)

use crate::fhir::ResourceType;
use crate::spec::search_parameter::SearchType;

use super::Filter;
use super::criterion::{Criteria, Refusal, unfit};
use super::fault::{Reason, clip};
use super::parameter::Parameter;
use super::reference::may_refer;

impl<'c> Criteria<'c> {
    /// `link.rest`: a reference leads to a resource for which `rest` holds.
    ///
    /// A link without a type leads to every target that has what follows (rest 4.152).
    pub(super) fn chain(
        &mut self,
        types: &[ResourceType],
        link: &str,
        rest: &str,
        value: &str,
    ) -> Result<Filter, Refusal> {
        let (parameter, targets) = self.link(types, link)?;
        let reference = parameter.keys;
        let mut found = Vec::new();
        let mut first = None;
        self.deeper()?;
        for target in targets {
            // An id that is ambiguous only for a target that is given up is not.
            let known = self.ambiguous.len();
            match self.read(&[target], rest, value) {
                Ok(filter) => found.push((target, filter)),
                Err(refusal) => {
                    self.ambiguous.truncate(known);
                    first = more_telling(first, refusal);
                }
            }
            if self.is_spent() {
                break;
            }
        }
        self.depth -= 1;
        self.spend(0)?;
        match (found.is_empty(), first) {
            (false, _) => Ok(Filter::Chain { reference, targets: found }),
            (true, Some(Refusal::Empty)) => Err(Refusal::Empty),
            (true, first) => {
                Err(Refusal::Faulty(first.map_or_else(Vec::new, Refusal::into_reasons)))
            }
        }
    }

    /// The reference `code[:Type]` and the types that it may lead to.
    pub(super) fn link(
        &self,
        types: &[ResourceType],
        link: &str,
    ) -> Result<(Parameter<'c>, Vec<ResourceType>), Refusal> {
        let (code, only) = link.split_once(':').map_or((link, None), |(a, b)| (a, Some(b)));
        let parameter = Parameter::find(self.context.extractor, types, code)?;
        if parameter.search_type != SearchType::Reference {
            let text = format!("{code} is a {}, no reference", parameter.search_type.as_str());
            return Err(Reason::name(text).into());
        }
        if !may_refer(parameter.shape()) {
            let text = format!("{code} has canonicals, which are not followed");
            return Err(Reason::NotSupported(text.into()).into());
        }
        let targets = match only {
            None => parameter.targets(),
            Some(name) => match name.parse::<ResourceType>() {
                Ok(only) if parameter.may_lead_to(only) => vec![only],
                _ => return Err(unfit(name, "a type that the reference may lead to").into()),
            },
        };
        Ok((parameter, targets))
    }

    /// `_has:Type:reference:rest`: a resource refers to this one, and `rest` holds for it.
    pub(super) fn has(
        &mut self,
        types: &[ResourceType],
        key: &str,
        value: &str,
    ) -> Result<Filter, Refusal> {
        let wrong = || Reason::name("is not of the form _has:Type:reference:parameter");
        let mut parts = key.splitn(4, ':').skip(1);
        let (Some(name), Some(code), Some(rest)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong().into());
        };
        if code.is_empty() || rest.is_empty() {
            return Err(wrong().into());
        }
        let source: ResourceType = name
            .parse()
            .map_err(|_| Reason::name(format!("{:?} is no type of resource", clip(name))))?;
        let link = self.link(&[source], code);
        let (parameter, targets) =
            link.map_err(|refusal| Refusal::Faulty(refusal.into_reasons()))?;
        if !targets.iter().any(|target| types.contains(target)) {
            let text = format!("{source}.{code} does not lead to what is searched");
            return Err(Reason::name(text).into());
        }
        let Some(reference) = parameter.keys.into_iter().next() else {
            return Err(wrong().into());
        };
        self.deeper()?;
        let filter = self.read(&[source], rest, value);
        self.depth -= 1;
        match filter {
            Ok(filter) => Ok(Filter::Has { source, reference, filter: Box::new(filter) }),
            Err(Refusal::Empty) => Err(Refusal::Empty),
            Err(refusal) => Err(Refusal::Faulty(refusal.into_reasons())),
        }
    }

    /// One link further. Whoever goes there comes back by `depth -= 1`.
    pub(super) fn deeper(&mut self) -> Result<(), Reason> {
        let (count, limit) = (self.depth + 1, self.context.limits.chain_depth);
        if count > limit {
            return Err(Reason::TooMany { what: "links", count, limit });
        }
        self.depth = count;
        Ok(())
    }
}

/// Of what is wrong for several targets, what is worth saying: a value or modifier rather than
/// that a target has no such parameter.
fn more_telling(first: Option<Refusal>, other: Refusal) -> Option<Refusal> {
    let is_vague = |refusal: &Refusal| matches!(refusal, Refusal::Partial(_) | Refusal::Unknown(_));
    match first {
        None => Some(other),
        Some(first) if is_vague(&first) && !is_vague(&other) => Some(other),
        first => first,
    }
}
