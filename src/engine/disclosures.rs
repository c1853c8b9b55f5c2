//! `Patient/[id]/$disclosures`: who had access to a patient's data, when and what for, told to the patient.
//!
//! It is for the patient, and for whoever may read the record of all: others who may read the patient
//! are refused. What is told are events of the ledger, cut down to what a patient is told of others.
//!
//! Spec: 45 CFR 164.528, security A14

use crate::access::interaction::Kind;
use crate::access::{Caller, Permit};
use crate::audit::disclosure::{accesses, told};
use crate::audit::query::{Condition, Reader};
use crate::error::Error;
use crate::fhir::query::Query;
use crate::fhir::{IssueCode, LogicalId, ResourceType};
use crate::search::request::SearchTarget;
use crate::store::search::{Match, SearchPage};
use crate::store::{EventsPage, EventsRequest};

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
        let tell = async |permit: &Permit<'_>| {
            if !may_know(id, caller, permit) {
                return self.store.current(id, permit).await.and(Err(Error::Forbidden));
            }
            let found = self.store.events_about(id, &events, permit).await?;
            Ok(found.with(self.settings.base.clone()).map(page))
        };
        let page = self.gate.run(interaction, caller, tell).await?;
        Ok(Searched { path: format!("Patient/{id}/$disclosures"), shown, page, issues: Vec::new() })
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
        let request = self.parse_search(&target, &inner, true)?;
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

/// Whether who asks is the patient, or may read the record of everybody.
fn may_know(id: &LogicalId, caller: &Caller, permit: &Permit<'_>) -> bool {
    let user = caller.principal.grant().and_then(|grant| grant.user.as_ref()?.fhir_user.as_ref());
    let is_patient = user.is_some_and(|(of, own)| *of == ResourceType::PATIENT && own == id);
    let record = permit.derive(Kind::SearchType, ResourceType::AUDIT_EVENT);
    is_patient || record.is_ok_and(|permit| !permit.is_restricted())
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
        ..SearchPage::default()
    }
}
