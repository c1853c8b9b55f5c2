//! `_include` and `_revinclude`.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#include> (rest 4.196 to 4.212)

use crate::fhir::ResourceType;
use crate::spec::search_parameter::SearchType;

use super::criterion::unfit;
use super::fault::{Reason, clip};
use super::parameter::Parameter;
use super::parse::Draft;
use super::{ContainedMode, Include};

impl Draft<'_> {
    /// Takes one; a comma in it is no separator (rest 4.200).
    pub(super) fn include(&mut self, name: &str, modifier: Option<&str>, value: &str) {
        // R4's draft called it so (rest 4.205).
        let is_iterated = matches!(modifier, Some("iterate" | "recurse"));
        if let Some(modifier) = modifier.filter(|_| !is_iterated) {
            return self.fault(name, unfit(modifier, ":iterate"));
        }
        if value.is_empty() {
            return self.ignore_empty(name);
        }
        if self.request.contained != ContainedMode::Outside {
            let text = "nothing comes along where contained resources are searched";
            return self.fault(name, Reason::NotSupported(text.into()));
        }
        let is_reverse = name.starts_with("_rev");
        let include = match self.parsed(value) {
            Ok((source, code, target)) => Include { is_reverse, is_iterated, source, code, target },
            Err(reason) => return self.fault(name, reason),
        };
        if let Some(source) = include.source
            && !is_reverse
            && !is_iterated
            && !self.scope.types.contains(&source)
        {
            let text = format!("{source} is not searched; :iterate includes from what is included");
            return self.ignore(name, text);
        }
        self.show(name, value);
        if !self.request.includes.contains(&include) {
            self.request.includes.push(include);
        }
        let (count, limit) = (self.request.includes.len(), self.context().limits.includes);
        if count > limit {
            self.fault(name, Reason::TooMany { what: "includes", count, limit });
        }
    }

    fn parsed(&self, value: &str) -> Result<Parsed, Reason> {
        let wrong = || Reason::value(value, 1, "of the form Type:reference[:Type], Type:* or *");
        let parts: Vec<&str> = value.split(':').collect();
        let (source, code, target) = match parts[..] {
            ["*"] | ["*", "*"] => return Ok((None, None, None)),
            [source, code] => (source, code, None),
            [source, code, target] => (source, code, Some(target)),
            _ => return Err(wrong()),
        };
        let named = |name: &str| {
            let unknown = |_| Reason::name(format!("{:?} is no type of resource", clip(name)));
            name.parse::<ResourceType>().map_err(unknown)
        };
        let source = named(source)?;
        let target = target.map(named).transpose()?;
        if code == "*" {
            return Ok((Some(source), None, target));
        }
        let parameter = Parameter::find(self.context().extractor, &[source], code);
        let parameter = parameter.ok().filter(|it| it.search_type == SearchType::Reference);
        let parameter = parameter.ok_or_else(|| {
            Reason::name(format!("{source} has no reference parameter {:?}", clip(code)))
        })?;
        if let Some(target) = target.filter(|target| !parameter.may_lead_to(*target)) {
            return Err(Reason::name(format!("{source}.{code} does not lead to a {target}")));
        }
        Ok((Some(source), Some(code.into()), target))
    }
}

/// The type with the reference, the parameter, the type at the other end.
type Parsed = (Option<ResourceType>, Option<Box<str>>, Option<ResourceType>);
