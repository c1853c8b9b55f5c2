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
        let led =
            self.follow(types, link, |criteria, target| criteria.read(&[target], rest, value))?;
        if types != [ResourceType::AUDIT_EVENT] || rest != "identifier" || link.contains(':') {
            return Ok(led);
        }
        // Few whom an event names are stored. Profiles of ITI-81 ask so for the identifier that it names them by
        // (`AuditEvent.entity.what.identifier`).
        let parameter = Parameter::find(self.context.extractor, types, link)?;
        let named = self.reference_by(&parameter, "identifier", value)?;
        Ok(Filter::Any(vec![led, named]))
    }

    /// A reference leads to a resource for which holds what `read` gives for its type. Types that
    /// it refuses are given up, unless it refuses all.
    pub(super) fn follow(
        &mut self,
        types: &[ResourceType],
        link: &str,
        mut read: impl FnMut(&mut Self, ResourceType) -> Result<Filter, Refusal>,
    ) -> Result<Filter, Refusal> {
        let (parameter, targets) = self.link(types, link)?;
        let reference = parameter.keys;
        let mut found = Vec::new();
        let mut first: Option<Refusal> = None;
        self.deeper()?;
        for target in targets {
            // An id that is ambiguous only for a target that is given up is not.
            let known = self.ambiguous.len();
            match read(self, target) {
                Ok(filter) => found.push((target, filter)),
                Err(refusal) => {
                    self.ambiguous.truncate(known);
                    first = Some(match first {
                        Some(first) => first.or_more_telling(refusal),
                        None => refusal,
                    });
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
            (true, None) => Ok(Filter::Any(Vec::new())),
            (true, Some(Refusal::Empty)) => Err(Refusal::Empty),
            (true, Some(refusal)) => Err(Refusal::Faulty(refusal.into_reasons())),
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
        self.referred(types, key, |criteria, source, rest| criteria.read(&[source], rest, value))
    }

    /// `:Type:reference:rest`: a resource refers to this one, and for it holds what `read` gives for its type
    /// and `rest`.
    pub(super) fn referred(
        &mut self,
        types: &[ResourceType],
        key: &str,
        read: impl FnOnce(&mut Self, ResourceType, &str) -> Result<Filter, Refusal>,
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
        let filter = read(self, source, rest);
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

impl Refusal {
    /// Of what is wrong for two targets, what is worth saying: a value or a modifier rather than
    /// that a target has no such parameter.
    fn or_more_telling(self, other: Self) -> Self {
        if self.is_vague() && !other.is_vague() { other } else { self }
    }

    /// Whether all that is wrong is that something has no such parameter.
    fn is_vague(&self) -> bool {
        let is_name = |reason: &Reason| match reason {
            Reason::Filter { problem, .. } => matches!(**problem, Reason::Name(_)),
            reason => matches!(reason, Reason::Name(_)),
        };
        match self {
            Self::Empty => false,
            Self::Faulty(reasons) => reasons.iter().all(is_name),
            Self::Partial(_) | Self::Unknown(_) => true,
        }
    }
}
