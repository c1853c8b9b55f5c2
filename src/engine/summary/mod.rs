//! `Patient/[id]/$summary`: the International Patient Summary of a record, a document.
//!
//! | file | does |
//! |---|---|
//! | `document` | the Bundle, its Composition and what stands for the server |
//! | `line` | a resource in a line of words |
//! | `narrative` | words as XHTML |
//! | `references` | references of what is shown lead to what is shown |
//! | `sections` | which sections there are, and what belongs to each |
//!
//! What is shown of each type is what the caller may both search and read, as `$everything` has it: what patients
//! deny or labels hide leaves no trace. Types that are not granted at all are named, for the caller knows what is
//! granted. A record that has nothing of a kind says that there is no information, never that nothing is known to be.
//! Nothing is stored.
//!
//! Spec: <http://hl7.org/fhir/uv/ips/STU1.1/>, <http://hl7.org/fhir/uv/ips/OperationDefinition/summary>

mod document;
mod line;
mod narrative;
mod references;
mod sections;

use crate::access::interaction::Kind;
use crate::access::{Caller, Disclosed, Interaction, Permit};
use crate::error::Error;
use crate::fhir::query::Query;
use crate::fhir::{IssueCode, LogicalId, ResourceType};
use crate::search::request::{SearchTarget, Strictness};
use crate::store::{SummaryAlong, SummaryOf, SummaryPart, SummaryPlan, WriteTx};

use super::Engine;
use super::search::addressed;

pub use document::Document;

/// What the operation knows, whether it is offered or not. The second is how the definition of 1.1.0 spells the first.
pub(super) const PARAMETERS: &[&str] = &["identifier", "identifer", "profile", "graph"];
/// The one profile of what it answers with.
const PROFILE: &str = "http://hl7.org/fhir/uv/ips/StructureDefinition/Bundle-uv-ips";
/// Its version.
const VERSION: &str = "1.1.0";
/// Most resources that come along because others refer to them.
const MOST_ALONG: usize = 500;

impl Engine {
    /// The summary of a patient: of `id`, else of whom the query identifies.
    ///
    /// # Errors
    /// [`Error::NotFound`] and [`Error::Deleted`] of the patient; [`Error::MultipleMatches`] when several have the
    /// identifier; [`Error::Invalid`] for what is not offered, and strictly for parameters that nobody defines.
    pub async fn summary(
        &self,
        id: Option<&LogicalId>,
        query: &Query,
        is_strict: bool,
        caller: &Caller,
    ) -> Result<Document, Error> {
        let plan = match self.summary_asked(id, query, is_strict) {
            Ok(plan) => plan,
            Err(error) => return self.gate.denied(interaction(), caller, error).await,
        };
        let gather = async |permit: &Permit<'_>| Box::pin(self.store.summary(&plan, permit)).await;
        let found = self.gate.run(interaction(), caller, gather).await?;
        Ok(Document::new(found, self))
    }

    /// The same for an entry of a transaction, under its permit.
    pub(super) async fn summary_within(
        &self,
        id: Option<&LogicalId>,
        (query, is_strict): (&Query, bool),
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<Document, Error> {
        let plan = self.summary_asked(id, query, is_strict)?;
        let (found, told) = Box::pin(tx.summary(&plan, permit)).await?;
        tx.entry(
            permit.interaction(),
            Disclosed { asked: Some(("GET", address(id, query))), ..told },
        );
        Ok(Document::new(found, self))
    }

    fn summary_asked(
        &self,
        id: Option<&LogicalId>,
        query: &Query,
        is_strict: bool,
    ) -> Result<SummaryPlan, Error> {
        if is_strict {
            query.check_known(PARAMETERS)?;
        }
        refuse(query)?;
        let of = match (id, identifier(query)?) {
            (Some(id), None) => SummaryOf::Patient(id.clone()),
            (None, Some(identifier)) => {
                let target = SearchTarget::Type(ResourceType::PATIENT);
                let asked = Query::of("identifier", identifier);
                let request = self.parse_search(&target, &asked, Strictness::Criteria)?;
                SummaryOf::Identified(request.filters)
            }
            (Some(_), Some(_)) => {
                let text = "identifier: whose summary it is stands in the URL already";
                return Err(Error::invalid(IssueCode::Invalid, text));
            }
            (None, None) => {
                let text = "identifier: whose summary it is; or ask Patient/[id]/$summary";
                return Err(Error::invalid(IssueCode::Required, text));
            }
        };
        let parts = sections::all().iter().flat_map(|section| section.parts);
        let parts = parts.map(|part| self.summary_part(part)).collect::<Result<_, _>>()?;
        let along = sections::ALONG.iter();
        let along = along.map(|it| self.summary_along(it)).collect::<Result<_, _>>()?;
        Ok(SummaryPlan { of, parts, along, most_along: MOST_ALONG })
    }

    fn summary_part(&self, part: &sections::Part) -> Result<SummaryPart, Error> {
        let of = resource_type(part.of)?;
        let query = Query::parse(part.query)?;
        let request = self.parse_search(&SearchTarget::Type(of), &query, Strictness::Criteria)?;
        Ok(SummaryPart {
            of,
            filters: request.filters,
            sort: request.sort,
            count: part.count,
            most: part.most,
            is_latest: part.is_latest,
            keeps: part.keeps,
        })
    }

    fn summary_along(&self, along: &sections::Along) -> Result<SummaryAlong, Error> {
        let of = resource_type(along.of)?;
        let query = Query::parse(along.query)?;
        let request = self.parse_search(&SearchTarget::Type(of), &query, Strictness::Criteria)?;
        Ok(SummaryAlong { of, filters: request.filters, is_of_patient: along.is_of_patient })
    }
}

/// The operation as a step of the ledger and of the gate.
pub(super) fn interaction() -> Interaction {
    Kind::Summary.of(ResourceType::PATIENT)
}

/// It with its parameters, wherever they stood, as the ledger has it of an entry of a Bundle.
pub(super) fn address(id: Option<&LogicalId>, query: &Query) -> String {
    match id {
        Some(id) => addressed(&format!("Patient/{id}/$summary"), query),
        None => addressed("Patient/$summary", query),
    }
}

fn resource_type(name: &str) -> Result<ResourceType, Error> {
    name.parse().map_err(|_| Error::internal("a section names no type of R4"))
}

/// What identifies the patient, as a search would say it.
fn identifier(query: &Query) -> Result<Option<&str>, Error> {
    let [right, wrong] = [query.once("identifier")?, query.once("identifer")?];
    if right.is_some() && wrong.is_some() {
        return Err(Error::invalid(IssueCode::Invalid, "identifier: once, by one spelling"));
    }
    Ok(right.or(wrong))
}

/// Refuses by its name what is not offered.
fn refuse(query: &Query) -> Result<(), Error> {
    let refused = |text: String| Err(Error::invalid(IssueCode::NotSupported, text));
    let is_asked = |name: &str| query.iter().any(|it| it.0 == name && !it.1.is_empty());
    if is_asked("graph") {
        let text = "graph: a summary has what the International Patient Summary says";
        return refused(text.to_owned());
    }
    let is_cut = query.once("_summary")?.is_some_and(|it| it != "false");
    for (name, is_asked) in [("_summary", is_cut), ("_elements", is_asked("_elements"))] {
        if is_asked {
            return refused(format!("{name}: a document is shown as a whole"));
        }
    }
    let Some(profile) = query.once("profile")? else { return Ok(()) };
    let (url, version) = profile.split_once('|').unwrap_or((profile, VERSION));
    if url != PROFILE || version != VERSION {
        return refused(format!("profile: {PROFILE}|{VERSION} is what there is, not {profile:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_offered_is_refused_by_its_name() {
        for (text, named) in [
            ("", None),
            ("profile=", None),
            ("profile=http://hl7.org/fhir/uv/ips/StructureDefinition/Bundle-uv-ips", None),
            ("profile=http://hl7.org/fhir/uv/ips/StructureDefinition/Bundle-uv-ips|1.1.0", None),
            (
                "profile=http://hl7.org/fhir/uv/ips/StructureDefinition/Bundle-uv-ips|2.0.0",
                Some("profile"),
            ),
            ("profile=http://x.example/other", Some("profile")),
            ("graph=http://x.example/graph", Some("graph")),
            ("graph=", None),
            ("_summary=false", None),
            ("_summary=true", Some("_summary")),
            ("_elements=id", Some("_elements")),
            ("other=1", None),
        ] {
            let found = refuse(&Query::parse(text).expect(text));
            let told = found.err().map(|error| error.to_string());
            let name = told.as_deref().and_then(|told| told.split(':').next());
            assert_eq!(name, named, "{text}");
        }
    }

    #[test]
    fn a_patient_is_identified_once() {
        for (text, expected) in [
            ("", Ok(None)),
            ("identifier=a|b", Ok(Some("a|b"))),
            ("identifer=a|b", Ok(Some("a|b"))),
            ("identifer=a|b&identifier=a|b", Err(())),
            ("identifier=a&identifier=b", Err(())),
        ] {
            let query = Query::parse(text).expect(text);
            assert_eq!(identifier(&query).map_err(drop), expected, "{text}");
        }
    }
}
