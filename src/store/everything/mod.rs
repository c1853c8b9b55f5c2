//! `$everything`: the records of patients, or what belongs to an encounter, page by page; and what `$summary`
//! picks of the record of one.
//!
//! Of everything, three walks follow each other: the patients, or the encounter; what lies in their compartments; who and
//! what these refer to without being in a compartment. Each is a search under the permit, so what the caller
//! does not reach is in none of them, and a page begins where the one before ended, whatever was written
//! meanwhile. The types of the three are not the same, so nothing comes twice.
//!
//! Stored AuditEvents are left out: what was done with a record is no part of it.
//!
//! | file | does |
//! |---|---|
//! | `beyond` | who and what is referred to |
//! | `place` | where a page begins |
//! | `summary` | what a summary of a record is made of |
//!
//! Spec: <https://hl7.org/fhir/R4/patient-operation-everything.html>, rest 6.16 to 6.23

mod beyond;
mod place;
mod summary;

use std::collections::BTreeSet;

use crate::access::interaction::Kind;
use crate::access::{Disclosed, Permit, Unaudited};
use crate::error::Error;
use crate::fhir::json;
use crate::fhir::{Instant, LogicalId, ResourceType, Version};
use crate::search::request::compare::Comparison;
use crate::search::request::prefix::Prefix;
use crate::search::request::{
    AlongLimits, ContainedMode, Filter, ParameterKey, SearchRequest, Test, Total,
};
use crate::search::values::date::DateRange;
use crate::spec::search_parameter::SearchType;

use super::cursor::Seal;
use super::search::{Match, Paging, SearchPage};
use super::{Store, WriteTx, export};

use place::{Place, Stage, together};

pub use summary::{Gathered, GatheredPart, SummaryAlong, SummaryOf, SummaryPart, SummaryPlan};

/// Most parts that a page is made of. Then it ends, full or not: members of a Group of whom little is asked are
/// many parts.
const MOST_PARTS: usize = 500;

/// What is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EverythingOf {
    /// What belongs to an encounter.
    Encounter(LogicalId),
    /// The records of the members of a Group.
    Group(LogicalId),
    /// The record of a patient.
    Patient(LogicalId),
    /// The records of all patients.
    Patients,
}

impl EverythingOf {
    /// The type that is asked.
    pub fn resource_type(&self) -> ResourceType {
        match self {
            Self::Encounter(_) => ResourceType::ENCOUNTER,
            Self::Group(_) => ResourceType::GROUP,
            Self::Patient(_) | Self::Patients => ResourceType::PATIENT,
        }
    }

    /// The resource that is asked, where it is one.
    pub fn id(&self) -> Option<&LogicalId> {
        match self {
            Self::Encounter(id) | Self::Group(id) | Self::Patient(id) => Some(id),
            Self::Patients => None,
        }
    }

    /// The type whose compartments are walked.
    fn centre(&self) -> ResourceType {
        match self {
            Self::Encounter(_) => ResourceType::ENCOUNTER,
            Self::Group(_) | Self::Patient(_) | Self::Patients => ResourceType::PATIENT,
        }
    }
}

/// What is wanted, and which page of it.
#[derive(Clone, Debug)]
pub struct EverythingPlan {
    /// Of what.
    pub of: EverythingOf,
    /// Only what happened then or later, by the clinical date; what has none stays.
    pub start: Option<DateRange>,
    /// The same: then or before.
    pub end: Option<DateRange>,
    /// Only what changed then or later.
    pub since: Option<DateRange>,
    /// Only these types; `None`: all that are granted.
    pub types: Option<Vec<ResourceType>>,
    /// Most resources of the page.
    pub count: u32,
    /// Where the page starts: what the page before said.
    pub cursor: Option<String>,
    /// What links are bound to.
    pub shown: Vec<(Box<str>, Box<str>)>,
    /// When a member of the Group must be one.
    pub now: Instant,
}

impl Store {
    /// A page of everything, as far as the permit, one for `$everything`, reaches.
    ///
    /// # Errors
    /// Those of [`Store::current`] of what is asked, and of [`Store::search`].
    pub async fn everything(
        &self,
        plan: &EverythingPlan,
        permit: &Permit<'_>,
    ) -> Result<Unaudited<SearchPage>, Error> {
        let (page, disclosed) =
            Walk { source: Source::Apart, store: self.clone(), plan, permit }.page().await?;
        Ok(Unaudited::new(page, disclosed))
    }
}

impl WriteTx {
    /// The same as this unit's own writes left it, for an entry of a transaction.
    ///
    /// # Errors
    /// As [`Store::everything`].
    pub async fn everything(
        &mut self,
        plan: &EverythingPlan,
        permit: &Permit<'_>,
    ) -> Result<(SearchPage, Disclosed), Error> {
        let store = self.store().clone();
        Walk { source: Source::Within(self), store, plan, permit }.page().await
    }
}

/// A part of a page: of one walk.
#[derive(Debug, Default)]
struct Part {
    matches: Vec<Match>,
    included: Vec<Version>,
    disclosed: Disclosed,
    /// Where the walk goes on.
    next: Option<String>,
    /// Whether there is more to refer to things than was looked at.
    is_cut: bool,
}

impl Part {
    fn count(&self) -> usize {
        self.matches.len() + self.included.len()
    }
}

/// Whose records: those of everybody, or of some, in the order of their ids.
type Members = Option<Vec<LogicalId>>;

/// Where searches run.
enum Source<'w> {
    Apart,
    Within(&'w mut WriteTx),
}

/// One page at work.
struct Walk<'w, 'gate> {
    source: Source<'w>,
    store: Store,
    plan: &'w EverythingPlan,
    permit: &'w Permit<'gate>,
}

impl Walk<'_, '_> {
    async fn page(mut self) -> Result<(SearchPage, Disclosed), Error> {
        let plan = self.plan;
        let said = format!("everything {:?} {:?}", plan.of, plan.shown);
        let seal = Seal::new(&said, self.permit, self.store.hasher());
        let at = plan.cursor.as_deref().map(|text| Place::open(text, &seal)).transpose()?;
        let mut at = at.unwrap_or(Place::START);
        let mut disclosed = self.asked().await?;
        let members = self.members().await?;
        let mut page = SearchPage::default();
        if members.as_ref().is_some_and(Vec::is_empty) {
            return Ok((page, disclosed));
        }
        let mut room = plan.count;
        for number in 1.. {
            // Where the page is full, one tells whether there is more.
            let part = self.part(&at, &members, room.max(1)).await?;
            page.is_included_cut |= part.is_cut;
            if room == 0 && part.count() > 0 {
                page.next = Some(at.close(&seal));
                break;
            }
            room = room.saturating_sub(u32::try_from(part.count()).map_err(Error::internal)?);
            page.matches.extend(part.matches);
            page.included.extend(part.included);
            disclosed.patients.extend(part.disclosed.patients);
            let Some(onward) = at.onward(part.next, &members) else { break };
            at = onward;
            if number == MOST_PARTS || (room == 0 && at.from.is_some()) {
                page.next = Some(at.close(&seal));
                break;
            }
        }
        disclosed.patients.sort_unstable();
        disclosed.patients.dedup();
        Ok((page, disclosed))
    }

    /// What is asked, which is there. Of a Group's members it tells no more than what is shown of them.
    async fn asked(&mut self) -> Result<Disclosed, Error> {
        let Some(id) = self.plan.of.id() else { return Ok(Disclosed::default()) };
        let (_, told) = match &mut self.source {
            Source::Apart => self.store.shown(id, self.permit).await?,
            Source::Within(tx) => tx.read(id, self.permit).await?,
        };
        let is_group = matches!(self.plan.of, EverythingOf::Group(_));
        let patients = if is_group { Vec::new() } else { told.patients };
        Ok(Disclosed { subject: told.subject, patients, ..Disclosed::default() })
    }

    /// Up to `count` resources of a walk.
    async fn part(&mut self, at: &Place, members: &Members, count: u32) -> Result<Part, Error> {
        let request = match at.stage {
            Stage::Centre => self.centre(members, true),
            Stage::Compartments => self.compartments(self.within(members, at), true)?,
            Stage::Beyond => return self.beyond(at.from.as_deref(), members, count).await,
        };
        let Some(request) = request else { return Ok(Part::default()) };
        let paging = Paging { count, cursor: at.from.clone(), is_placed: false };
        let (page, disclosed) = self.find(&request, &paging).await?;
        let SearchPage { matches, next, .. } = page;
        Ok(Part { matches, disclosed, next, ..Part::default() })
    }

    async fn find(
        &mut self,
        request: &SearchRequest,
        paging: &Paging,
    ) -> Result<(SearchPage, Disclosed), Error> {
        let definitions = self.store.definitions()?;
        match &mut self.source {
            Source::Apart => {
                self.store.search_page(request, paging, definitions, self.permit).await
            }
            Source::Within(tx) => tx.search(request, paging, definitions, self.permit).await,
        }
    }

    /// Whose records are asked for.
    async fn members(&mut self) -> Result<Members, Error> {
        let id = match &self.plan.of {
            EverythingOf::Patients => return Ok(None),
            EverythingOf::Encounter(id) | EverythingOf::Patient(id) => {
                return Ok(Some(vec![id.clone()]));
            }
            EverythingOf::Group(id) => id,
        };
        let of_group = vec![Filter::Id(vec![id.as_str().into()])];
        let request = request(vec![ResourceType::GROUP], of_group);
        let (page, _) = self.find(&request, &Paging { count: 1, ..Paging::default() }).await?;
        let mut members = BTreeSet::new();
        let known = self.store.parameters()?;
        for found in &page.matches {
            let text = found.version.to_json();
            let group = json::parse(&text).map_err(Error::internal)?;
            members.extend(export::members(&group, self.plan.now, known.extractor.base()));
        }
        Ok(Some(members.into_iter().collect()))
    }

    /// The patients, or the encounter; `is_narrow`: as far as they are wanted. `None`: none.
    fn centre(&self, members: &Members, is_narrow: bool) -> Option<SearchRequest> {
        let of = self.plan.of.centre();
        if !self.is_granted(of) || (is_narrow && !self.is_wanted(of)) {
            return None;
        }
        let mut filters = Vec::new();
        if let Some(members) = members {
            filters.push(Filter::Id(members.iter().map(|id| id.as_str().into()).collect()));
        }
        filters.extend(self.changed().filter(|_| is_narrow));
        Some(request(vec![of], filters))
    }

    /// What makes a resource one of the compartments that are walked at a place: with several members of a Group
    /// it comes once, by the first of them.
    fn within(&self, members: &Members, at: &Place) -> Vec<Filter> {
        let of = |some: &[LogicalId]| Filter::OfPatients(Some(some.to_vec()));
        let (before, some) = match (&self.plan.of, members) {
            (EverythingOf::Encounter(id), _) => {
                return vec![Filter::Compartment { code: ResourceType::ENCOUNTER, id: id.clone() }];
            }
            (_, None) => return vec![Filter::OfPatients(None)],
            (_, Some(members)) => together(members, at.after.as_ref()),
        };
        if before.is_empty() {
            return vec![of(some)];
        }
        let is_new = Filter::Any(vec![Filter::Unshared, Filter::Not(Box::new(of(before)))]);
        vec![of(some), is_new]
    }

    /// What lies in compartments in the time that is asked for; `is_narrow`: as far as it is wanted.
    fn compartments(
        &self,
        within: Vec<Filter>,
        is_narrow: bool,
    ) -> Result<Option<SearchRequest>, Error> {
        let mut types = self.compartment_types()?;
        types.retain(|of| self.is_granted(*of) && (!is_narrow || self.is_wanted(*of)));
        if types.is_empty() {
            return Ok(None);
        }
        let mut filters = within;
        filters.extend(self.changed().filter(|_| is_narrow));
        filters.extend(self.happened(&types)?);
        Ok(Some(request(types, filters)))
    }

    /// The types of the compartments, beside that of their centre; in the order of their names.
    fn compartment_types(&self) -> Result<Vec<ResourceType>, Error> {
        let centre = self.plan.of.centre();
        let known = self.store.parameters()?;
        let missing = || Error::internal("a compartment is not defined");
        let compartment = known.extractor.spec().compartment(centre).ok_or_else(missing)?;
        let is_in = |of: &ResourceType| {
            *of != centre
                && *of != ResourceType::AUDIT_EVENT
                && !compartment.parameters(*of).is_empty()
        };
        let mut types: Vec<ResourceType> = compartment.resource_types().filter(is_in).collect();
        types.sort_unstable_by_key(|of| of.as_str());
        Ok(types)
    }

    /// Whether the caller may search and read a type.
    fn is_granted(&self, of: ResourceType) -> bool {
        self.permit.derive(Kind::Everything, of).is_ok()
    }

    /// Whether a type is asked for.
    fn is_wanted(&self, of: ResourceType) -> bool {
        self.plan.types.as_ref().is_none_or(|types| types.contains(&of))
    }

    fn changed(&self) -> Option<Filter> {
        self.plan.since.map(|since| Filter::LastUpdated(vec![(Prefix::Ge, since)]))
    }

    /// That something did not end before the time that is asked for, nor began after it: what has no date
    /// did neither.
    fn happened(&self, types: &[ResourceType]) -> Result<Vec<Filter>, Error> {
        let known = self.store.parameters()?;
        let extractor = &known.extractor;
        let key = |of: &ResourceType| {
            let at = usize::from(extractor.primary(*of)?);
            let code = extractor.parameters(*of).get(at)?.code.clone();
            Some(ParameterKey { resource_type: *of, code })
        };
        let parameters: Vec<ParameterKey> = types.iter().filter_map(key).collect();
        // What ended before, and what begins after.
        let bounds = [(Prefix::Eb, self.plan.start), (Prefix::Sa, self.plan.end)];
        let bound = |(prefix, range): (Prefix, Option<DateRange>)| {
            let parameters = parameters.clone();
            let any = vec![Comparison::Date { prefix, range: range? }];
            let test = Test { parameters, search_type: SearchType::Date, any };
            Some(Filter::Not(Box::new(Filter::Test(test))))
        };
        if parameters.is_empty() {
            return Ok(Vec::new());
        }
        Ok(bounds.into_iter().filter_map(bound).collect())
    }
}

/// A search for resources of `types`, in the order that costs least.
fn request(types: Vec<ResourceType>, filters: Vec<Filter>) -> SearchRequest {
    SearchRequest {
        types,
        filters,
        sort: Vec::new(),
        count: None,
        total: Total::None,
        counts_only: false,
        includes: Vec::new(),
        along: AlongLimits::default(),
        contained: ContainedMode::Outside,
        explain: false,
        ambiguous: Vec::new(),
        shown: Vec::new(),
        notices: Vec::new(),
    }
}
