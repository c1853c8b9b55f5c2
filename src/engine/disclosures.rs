//! `Patient/[id]/$disclosures`: who had access to a patient's data, when and what for, told to the patient.
//!
//! It is for the patient, and for whoever may read the record of all: others who may read the patient
//! are refused. What is told are events of the ledger, cut down to what a patient is told of others.
//!
//! Spec: 45 CFR 164.528, security A14

use crate::access::interaction::Kind;
use crate::access::{Caller, Permit, Unaudited};
use crate::audit::disclosure::{accesses, told};
use crate::audit::query::{Condition, Reader};
use crate::error::Error;
use crate::fhir::query::Query;
use crate::fhir::{Identity, IssueCode, LogicalId, ResourceType};
use crate::search::request::{SearchTarget, Strictness};
use crate::store::search::{Match, SearchPage};
use crate::store::{EventsPage, EventsRequest, WriteTx};

use super::Engine;
use super::events::version_of;
use super::history::CURSOR;
use super::search::Searched;

/// What the operation understands.
pub const DISCLOSURES_PARAMETERS: [&str; 4] = ["start", "end", "accounting", "_count"];

/// What was asked.
struct Asked {
    shown: Vec<(Box<str>, Box<str>)>,
    events: EventsRequest,
}

impl Engine {
    /// A page of the accesses to a patient's data by others, newest first.
    ///
    /// # Errors
    /// [`Error::NotFound`] and [`Error::Deleted`] of the patient; [`Error::Forbidden`] to whoever is
    /// neither the patient nor may read the record; [`Error::Invalid`] for a date that is none.
    pub async fn disclosures(
        &self,
        id: &LogicalId,
        query: &Query,
        caller: &Caller,
    ) -> Result<Searched, Error> {
        let interaction = Kind::Disclosures.of(ResourceType::PATIENT);
        let Asked { shown, events } = match self.disclosures_asked(id, query) {
            Ok(asked) => asked,
            Err(error) => return self.gate.denied(interaction, caller, error).await,
        };
        let tell = async |permit: &Permit<'_>| self.told(id, &events, permit).await;
        let page = self.gate.run(interaction, caller, tell).await?;
        Ok(answered(id, shown, page))
    }

    /// The same for an entry of a transaction, under its permit: what is on record by then.
    pub(super) async fn disclosures_within(
        &self,
        id: &LogicalId,
        query: &Query,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<Searched, Error> {
        let Asked { shown, events } = self.disclosures_asked(id, query)?;
        let page = self.told(id, &events, permit).await?;
        Ok(answered(id, shown, page.within(permit.interaction(), tx)))
    }

    async fn told(
        &self,
        id: &LogicalId,
        events: &EventsRequest,
        permit: &Permit<'_>,
    ) -> Result<Unaudited<SearchPage>, Error> {
        if !may_know(id, permit) {
            return self.store.current(id, permit).await.and(Err(Error::Forbidden));
        }
        let found = self.store.events_about(id, events, permit).await?;
        Ok(found.with(self.settings.base.clone()).map(page))
    }

    fn disclosures_asked(&self, id: &LogicalId, query: &Query) -> Result<Asked, Error> {
        let mut shown = Vec::new();
        let mut inner = Query::default();
        let mut is_accounting = false;
        for name in DISCLOSURES_PARAMETERS {
            let Some(value) = query.once(name)? else { continue };
            match name {
                "start" => inner = inner.and(Query::of("date", &format!("ge{value}"))),
                "end" => inner = inner.and(Query::of("date", &format!("le{value}"))),
                "_count" => inner = inner.and(Query::of(name, value)),
                _ => is_accounting = boolean(name, value)?,
            }
            shown.push((name.into(), value.into()));
        }
        let target = SearchTarget::Type(ResourceType::AUDIT_EVENT);
        let request = self.parse_search(&target, &inner, Strictness::Criteria)?;
        let hash = |id: &LogicalId| self.store.hasher().patient(id);
        let reader = Reader { base: &self.settings.base, hash: &hash };
        let dates = reader.read_all(&request.filters).map_err(|it| Error::internal(it.0))?;
        let limits = self.settings.page;
        let count = request.count.unwrap_or(limits.default).clamp(1, limits.max);
        let events = EventsRequest {
            condition: Condition::All(vec![accesses(id, hash(id), is_accounting), dates]),
            is_ascending: false,
            count: usize::try_from(count).map_err(Error::internal)?,
            is_counted: false,
            cursor: query.once(CURSOR)?.map(str::to_owned),
            along: Vec::new(),
            said: format!("disclosures {id} {shown:?}"),
        };
        Ok(Asked { shown, events })
    }
}

fn answered(id: &LogicalId, shown: Vec<(Box<str>, Box<str>)>, page: SearchPage) -> Searched {
    let (kind, path) = (Kind::Disclosures, format!("Patient/{id}/$disclosures"));
    Searched { kind, path, shown, page, issues: Vec::new(), words: None }
}

/// Whether who asks is the patient, or may read the record of everybody.
fn may_know(id: &LogicalId, permit: &Permit<'_>) -> bool {
    let patient = Identity { resource_type: ResourceType::PATIENT, id: id.clone() };
    let record = permit.derive(Kind::SearchType, ResourceType::AUDIT_EVENT);
    permit.is_about(&patient) || record.is_ok_and(|permit| !permit.is_restricted())
}

fn boolean(name: &str, value: &str) -> Result<bool, Error> {
    let invalid = |_| Error::invalid(IssueCode::Invalid, format!("{name}: true or false"));
    value.parse().map_err(invalid)
}

fn page((found, base): (EventsPage, String)) -> SearchPage {
    let event =
        |(entry, number): &(_, usize)| Match::beside(version_of(told(entry, *number, &base)));
    SearchPage {
        matches: found.events.iter().map(event).collect(),
        next: found.next,
        previous: found.previous,
        ..SearchPage::default()
    }
}
