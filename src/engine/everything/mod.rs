//! `$everything` of patients, of a Group's members and of an encounter.
//!
//! | file | does |
//! |---|---|
//! | `parameters` | simple parameters of an operation, out of a Parameters resource |
//!
//! What is asked must be there for the caller, as for a read; what is found of it is what the caller may both
//! search and read of each type (`access::need`), and what patients deny or labels hide is not among it. A page
//! is on record as one event for each patient whose data it shows. Links between patients are not followed.
//!
//! Spec: <https://hl7.org/fhir/R4/patient-operation-everything.html>,
//! <https://hl7.org/fhir/R4/encounter-operation-everything.html>, rest 6.16 to 6.23

mod parameters;

use crate::access::interaction::Kind;
use crate::access::{Caller, Disclosed, Interaction, Permit};
use crate::error::Error;
use crate::fhir::datetime::{DateTime, Zone};
use crate::fhir::query::{Query, date_text};
use crate::fhir::{Issue, IssueCode, ResourceType, Severity};
use crate::search::values::date::DateRange;
use crate::store::search::SearchPage;
use crate::store::{EverythingPlan, WriteTx};

use super::Engine;
use super::history::CURSOR;
use super::search::{Searched, addressed};

pub use crate::store::EverythingOf;
pub use parameters::simple_parameters;

/// What is understood of an encounter.
const OF_ENCOUNTER: &[&str] = &["_since", "_type", "_count", CURSOR];
/// The same of patients.
const OF_PATIENTS: &[&str] = &["start", "end", "_since", "_type", "_count", CURSOR];
/// Most names of no type that are told of.
const TOLD: usize = 20;

/// What was asked.
#[derive(Debug)]
struct Asked {
    plan: EverythingPlan,
    issues: Vec<Issue>,
}

impl Engine {
    /// A page of everything; `query` has the parameters, wherever they stood.
    ///
    /// # Errors
    /// [`Error::NotFound`] and [`Error::Deleted`] of what is asked; [`Error::Invalid`] for values that are
    /// none, for a page link of something else, and strictly for parameters that nobody defines.
    pub async fn everything(
        &self,
        of: &EverythingOf,
        query: &Query,
        is_strict: bool,
        caller: &Caller,
    ) -> Result<Searched, Error> {
        let interaction = interaction(of);
        let asked = match self.everything_asked(of, query, is_strict) {
            Ok(asked) => asked,
            Err(error) => return self.gate.denied(interaction, caller, error).await,
        };
        let find =
            async |permit: &Permit<'_>| Box::pin(self.store.everything(&asked.plan, permit)).await;
        let page = self.gate.run(interaction, caller, find).await?;
        Ok(asked.answer(page))
    }

    /// The same for an entry of a transaction, under its permit.
    pub(super) async fn everything_within(
        &self,
        of: &EverythingOf,
        (query, is_strict): (&Query, bool),
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<Searched, Error> {
        let asked = self.everything_asked(of, query, is_strict)?;
        let (page, told) = Box::pin(tx.everything(&asked.plan, permit)).await?;
        let asks = Some(("GET", address(of, query)));
        tx.entry(permit.interaction(), Disclosed { asked: asks, ..told });
        Ok(asked.answer(page))
    }

    fn everything_asked(
        &self,
        of: &EverythingOf,
        query: &Query,
        is_strict: bool,
    ) -> Result<Asked, Error> {
        let names = parameters_of(of);
        if is_strict {
            query.check_known(names)?;
        }
        if query.once("_summary")? == Some("count") {
            let text = "_summary=count: what belongs to a record is shown and not counted";
            return Err(Error::invalid(IssueCode::NotSupported, text));
        }
        let known = self.store.parameters()?;
        let zone = known.extractor.zone();
        let date = |name| match query.once(name)?.filter(|_| names.contains(&name)) {
            Some(text) => span(text, zone, false).map(Some).ok_or_else(|| {
                invalid(&format!("{name} is a date, such as 2020-05-04, not {text:?}"))
            }),
            None => Ok(None),
        };
        let since = |text: &str| {
            span(text, zone, is_strict)
                .ok_or_else(|| invalid(&format!("_since is an instant with a zone, not {text:?}")))
        };
        let mut issues = Vec::new();
        let types = types(query, &mut issues);
        let count = self.everything_count(query, &mut issues)?;
        let is_shown = |(name, value): &(&str, &str)| {
            names.contains(name) && *name != CURSOR && !value.is_empty()
        };
        // Links tell the size that was applied.
        let shown = |(name, value): (&str, &str)| -> (Box<str>, Box<str>) {
            let value = if name == "_count" { count.to_string() } else { value.to_owned() };
            (name.into(), value.into())
        };
        let plan = EverythingPlan {
            of: of.clone(),
            start: date("start")?,
            end: date("end")?,
            since: query.once("_since")?.map(since).transpose()?,
            types,
            count,
            cursor: query.once(CURSOR)?.map(str::to_owned),
            shown: query.iter().filter(is_shown).map(shown).collect(),
            now: self.clock.now(),
        };
        Ok(Asked { plan, issues })
    }

    /// How many resources a page has: as many as there may be, where nobody says.
    fn everything_count(&self, query: &Query, issues: &mut Vec<Issue>) -> Result<u32, Error> {
        let most = self.settings.page.max;
        let Some(text) = query.once("_count")? else { return Ok(most) };
        let count: Option<u32> = text.parse().ok().filter(|count| *count > 0);
        let count = count.ok_or_else(|| invalid("_count is a whole number from 1"))?;
        if count > most {
            let text = format!("_count: a page has at most {most} resources");
            issues.push(warning(IssueCode::Informational, text));
        }
        Ok(count.min(most))
    }
}

impl Asked {
    fn answer(self, page: SearchPage) -> Searched {
        let Self { plan, mut issues } = self;
        if page.is_included_cut {
            let text = "of so many resources not all are looked through for what they refer to: \
                        some of that may be missing, which an export has";
            issues.push(warning(IssueCode::Incomplete, text.to_owned()));
        }
        let (kind, path) = (Kind::Everything, path(&plan.of));
        Searched { kind, path, shown: plan.shown, page, issues, words: None }
    }
}

/// The operation as a step of the ledger and of the gate.
pub(super) fn interaction(of: &EverythingOf) -> Interaction {
    Kind::Everything.of(of.resource_type())
}

/// The parameters that mean something to it.
pub(super) fn parameters_of(of: &EverythingOf) -> &'static [&'static str] {
    match of {
        EverythingOf::Encounter(_) => OF_ENCOUNTER,
        EverythingOf::Group(_) | EverythingOf::Patient(_) | EverythingOf::Patients => OF_PATIENTS,
    }
}

/// It with its parameters, wherever they stood, as the ledger has it of an entry of a Bundle.
pub(super) fn address(of: &EverythingOf, query: &Query) -> String {
    addressed(&path(of), query)
}

/// Its address below the base.
fn path(of: &EverythingOf) -> String {
    let resource_type = of.resource_type();
    match of.id() {
        Some(id) => format!("{resource_type}/{id}/$everything"),
        None => format!("{resource_type}/$everything"),
    }
}

/// The types that are asked for, of those that there are; `None`: all.
fn types(query: &Query, issues: &mut Vec<Issue>) -> Option<Vec<ResourceType>> {
    let values = query.iter().filter(|(name, value)| *name == "_type" && !value.is_empty());
    let mut types: Option<Vec<ResourceType>> = None;
    for name in values.flat_map(|(_, value)| value.split(',')).map(str::trim) {
        let types = types.get_or_insert_default();
        match name.parse::<ResourceType>() {
            Ok(of) if types.contains(&of) => {}
            Ok(of) => types.push(of),
            Err(_) if issues.len() >= TOLD => {}
            Err(_) => {
                let name: String = name.chars().take(80).collect();
                let text = format!("_type: {name:?} is no type of R4");
                issues.push(warning(IssueCode::NotSupported, text));
            }
        }
    }
    types
}

/// The span that a text names; strictly, it is an instant.
fn span(text: &str, zone: Zone, is_strict: bool) -> Option<DateRange> {
    let text = date_text(text);
    let moment =
        if is_strict { DateTime::parse_instant(&text) } else { DateTime::parse_search(&text) }?;
    Some(DateRange { low: Some(moment.lower(zone)), high: Some(moment.upper(zone)) })
}

fn invalid(text: &str) -> Error {
    Error::invalid(IssueCode::Value, text)
}

fn warning(code: IssueCode, text: String) -> Issue {
    Issue { severity: Severity::Warning, ..Issue::error(code, text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_types_are_told_of_and_leave_nothing_when_there_are_no_others() {
        let of = |name: &str| name.parse::<ResourceType>().expect(name);
        for (query, expected, told) in [
            ("", None, 0),
            ("_type=", None, 0),
            ("_type=Observation,Condition", Some(vec!["Observation", "Condition"]), 0),
            ("_type=Observation&_type=Condition", Some(vec!["Observation", "Condition"]), 0),
            ("_type=Observation,Nope", Some(vec!["Observation"]), 1),
            ("_type=Nope,odd", Some(vec![]), 2),
            ("_type=Observation,Observation", Some(vec!["Observation"]), 0),
            (&*format!("_type={}", "a,".repeat(1_000)), Some(vec![]), TOLD),
        ] {
            let mut issues = Vec::new();
            let found = types(&Query::parse(query).expect(query), &mut issues);
            let expected = expected.map(|names| names.into_iter().map(of).collect::<Vec<_>>());
            assert_eq!((found, issues.len()), (expected, told), "{query}");
        }
    }

    #[test]
    fn a_span_is_a_date_or_strictly_an_instant() {
        for (text, lenient, strict) in [
            ("2020", true, false),
            ("2020-05-04", true, false),
            ("2020-05-04T10:00:00Z", true, true),
            ("2020-05-04T10:00:00 02:00", true, true),
            ("ge2020", false, false),
            ("odd", false, false),
        ] {
            assert_eq!(span(text, Zone::UTC, false).is_some(), lenient, "{text}");
            assert_eq!(span(text, Zone::UTC, true).is_some(), strict, "{text}");
        }
    }

    #[test]
    fn of_an_encounter_no_dates_are_asked() {
        let id = "a".parse().expect("an id");
        let names = parameters_of(&EverythingOf::Encounter(id));
        assert!(!names.contains(&"start") && !names.contains(&"end"), "{names:?}");
        assert!(parameters_of(&EverythingOf::Patients).ends_with(names));
    }
}
