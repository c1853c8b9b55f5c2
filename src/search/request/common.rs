//! Parameters that every type has and that are no rows of the index.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#all> (rest 4.164 to 4.176)

use crate::fhir::ResourceType;

use super::criterion::{Criteria, Refusal, collect, negated, unfit};
use super::fault::Reason;
use super::{Filter, FullTextField};

impl Criteria<'_> {
    /// What `code` asks for; `None` when it is a parameter with rows, or none.
    pub(super) fn common(
        &mut self,
        types: &[ResourceType],
        code: &str,
        modifier: Option<&str>,
        value: &str,
    ) -> Option<Result<Filter, Refusal>> {
        let no_modifier = |modifier: Option<&str>| match modifier {
            Some(modifier) => Err(Refusal::from(unfit(modifier, "none"))),
            None => Ok(()),
        };
        Some(match code {
            "_id" => self.id(modifier, value),
            "_lastUpdated" => self.last_updated(modifier, value),
            "_type" => self.of_types(modifier, value),
            "_text" => no_modifier(modifier).and_then(|()| words(FullTextField::Narrative, value)),
            "_content" => no_modifier(modifier).and_then(|()| words(FullTextField::Content, value)),
            "_list" => no_modifier(modifier).and_then(|()| self.list(types, value)),
            "_filter" => no_modifier(modifier).and_then(|()| self.expression(types, value)),
            "_query" => Err(Reason::NotSupported("there are no named queries".into()).into()),
            _ => return None,
        })
    }

    fn id(&mut self, modifier: Option<&str>, value: &str) -> Result<Filter, Refusal> {
        match modifier {
            Some("missing") => return self.always(value),
            None | Some("not") => {}
            Some(modifier) => return Err(unfit(modifier, ":missing, :not").into()),
        }
        let values = self.values(value)?;
        let ids = collect(values, |raw| raw.plain())?;
        let filter = Filter::Id(ids);
        Ok(if modifier.is_some() { negated(filter) } else { filter })
    }

    fn last_updated(&mut self, modifier: Option<&str>, value: &str) -> Result<Filter, Refusal> {
        match modifier {
            Some("missing") => return self.always(value),
            None => {}
            Some(modifier) => return Err(unfit(modifier, ":missing").into()),
        }
        let values = self.values(value)?;
        collect(values, |raw| self.date(raw)).map(Filter::LastUpdated)
    }

    /// `:missing` of what no resource lacks.
    fn always(&mut self, value: &str) -> Result<Filter, Refusal> {
        let is_missing = self.flag(value)?;
        Ok(if is_missing { Filter::Any(Vec::new()) } else { Filter::All(Vec::new()) })
    }

    fn of_types(&mut self, modifier: Option<&str>, value: &str) -> Result<Filter, Refusal> {
        if let Some(modifier) = modifier.filter(|modifier| *modifier != "not") {
            return Err(unfit(modifier, ":not").into());
        }
        let values = self.values(value)?;
        let named = collect(values, |raw| {
            raw.text.parse::<ResourceType>().map_err(|_| raw.wrong("a type of resource"))
        })?;
        let filter = Filter::Type(named);
        Ok(if modifier.is_some() { negated(filter) } else { filter })
    }
}

/// The query is in the language of the full text index, which has its own rules for commas.
fn words(field: FullTextField, value: &str) -> Result<Filter, Refusal> {
    if value.trim().is_empty() {
        return Err(Refusal::Empty);
    }
    Ok(Filter::FullText { field, query: value.into() })
}
