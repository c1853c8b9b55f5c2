//! `_list`: the entries of a List, or of the lists that are a patient's current ones.
//!
//! | value | the Lists |
//! |---|---|
//! | `42` | that one |
//! | `$current-problems`, `$current-medications`, `$current-allergies` | with the code `problems`, .. of FHIR's use codes and the status `current`, of the patient that the search names |
//! | `$current-drug-allergies` | as `$current-allergies`; of their entries those of the category `medication` |
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#list>, <https://hl7.org/fhir/R4/lifecycle.html#current>
//! (rest 4.164, 4.166)

use crate::fhir::query::Query;
use crate::fhir::{LogicalId, ResourceType};

use super::Filter;
use super::context::SearchTarget;
use super::criterion::{Criteria, Raw, Refusal, collect};
use super::fault::{Reason, clip};

/// What a List is for: the system of its codes.
const USES: &str = "http://terminology.hl7.org/CodeSystem/list-example-use-codes";

/// The parameter by which a search names its patient, as a List has it too, and its value.
pub(super) type Subject = (Box<str>, Box<str>);

/// Whom a search is about, as far as it says so by one parameter or by its path.
pub(super) fn subject(target: &SearchTarget, query: &Query) -> Option<Subject> {
    if let SearchTarget::Compartment { code: ResourceType::PATIENT, id, .. } = target {
        return Some(("patient".into(), id.as_str().into()));
    }
    let is_named = |(name, value): &(&str, &str)| {
        let (code, rest) = name.split_at(name.find([':', '.']).unwrap_or(name.len()));
        let is_told = matches!(rest, "" | ":Patient" | ":identifier")
            || rest.starts_with('.')
            || rest.starts_with(":Patient.");
        matches!(code, "patient" | "subject") && is_told && !value.is_empty()
    };
    query.iter().find(is_named).map(|(name, value)| (name.into(), value.into()))
}

impl Criteria<'_> {
    /// The entries of one of the lists that the values name.
    pub(super) fn list(&mut self, types: &[ResourceType], value: &str) -> Result<Filter, Refusal> {
        let mut filters = Vec::new();
        for raw in self.values(value)? {
            filters.push(match raw.text.strip_prefix("$current-") {
                Some(name) => self.current_list(types, name, raw)?,
                None => collect(vec![raw], named)?.swap_remove(0),
            });
        }
        Ok(Filter::any(filters))
    }

    fn current_list(
        &mut self,
        types: &[ResourceType],
        name: &str,
        raw: Raw<'_>,
    ) -> Result<Filter, Refusal> {
        let (code, is_of_drugs) = match name {
            "allergies" | "medications" | "problems" => (name, false),
            "drug-allergies" => ("allergies", true),
            _ => {
                let text = format!("the list {} is not kept here", clip(raw.text));
                return Err(Reason::NotSupported(text.into()).into());
            }
        };
        let Some((whose, who)) = self.subject.clone() else {
            return Err(raw.wrong("asked with a patient, whose list it is").into());
        };
        let lists = [ResourceType::LIST];
        let entries = Filter::List(Box::new(Filter::All(vec![
            self.read(&lists, "status", "current")?,
            self.read(&lists, "code", &format!("{USES}|{code}"))?,
            self.read(&lists, &whose, &who)?,
        ])));
        if is_of_drugs {
            let category = self.read(types, "category", "medication");
            let category = category.map_err(|refusal| Refusal::Faulty(refusal.into_reasons()))?;
            return Ok(Filter::All(vec![entries, category]));
        }
        Ok(entries)
    }
}

/// The List with an id.
fn named(raw: Raw<'_>) -> Result<Filter, Reason> {
    if raw.text.starts_with('$') {
        let text = format!("the list {} is not kept here", clip(raw.text));
        return Err(Reason::NotSupported(text.into()));
    }
    let text = raw.plain()?;
    let id = text.strip_prefix("List/").unwrap_or(&text);
    let is_id = id.parse::<LogicalId>().is_ok();
    let list = Filter::Id(vec![id.into()]);
    is_id.then(|| Filter::List(Box::new(list))).ok_or_else(|| raw.wrong("the id of a List"))
}
