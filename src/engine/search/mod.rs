//! search: a query is read, resolved, run under a permit, and comes back as a page.
//!
//! | file | does |
//! |---|---|
//! | `beside` | definitions of the packs that match too, beside what is stored |
//! | `resolve` | value sets, hierarchies and words become what the store can compare |
//! | `criteria` | the searches inside conditional interactions |
//! | `traverse` | what chains and their like go through must be granted too |
//!
//! Spec: <https://hl7.org/fhir/R4/search.html>, rest section 4

mod beside;
mod criteria;
mod resolve;
mod traverse;

use std::cell::Cell;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use percent_encoding::{AsciiSet, CONTROLS, PercentEncode, utf8_percent_encode};

use crate::access::interaction::Kind;
use crate::access::{Caller, Disclosed, Interaction, Permit, Unaudited};
use crate::config;
use crate::error::Error;
use crate::fhir::query::Query;
use crate::fhir::{Issue, IssueCode, ResourceType, Severity};
use crate::search::request::{
    AlongLimits, ContainedMode, Context, Filter, Limits, SearchRequest, Strictness, parse,
};
use crate::store::search::{Explanation, Paging, SearchPage};
use crate::store::{EventsRequest, WriteTx};

use super::Engine;
use super::chain;
use super::events::is_by_time;
use super::history::CURSOR;

/// Longest wait for the index of words.
const MOST_WAITING: Duration = Duration::from_secs(5);

pub use crate::search::request::SearchTarget;
pub use crate::store::search::Match;
use beside::Beside;
pub use criteria::OF_FORM;
pub(super) use criteria::{Criteria, refuse_of_results};
pub use resolve::Lookups;
use resolve::Resolver;

/// A page and what its links and its outcome say.
#[derive(Debug)]
pub struct Searched {
    /// As what kind of interaction the page was found.
    pub kind: Kind,
    /// What was searched, below the base: `Patient`, `Patient/1/Observation`, nothing for all.
    pub path: String,
    /// The parameters that were understood, decoded.
    pub shown: Vec<(Box<str>, Box<str>)>,
    /// The page.
    pub page: SearchPage,
    /// What was passed over or done differently.
    pub issues: Vec<Issue>,
    /// Whether the words of everything that was committed are found, where that was waited for.
    pub words: Option<bool>,
}

/// How a search is treated.
#[derive(Clone, Copy, Debug, Default)]
pub struct Handling {
    /// Whether what is not understood is refused rather than passed over.
    pub is_strict: bool,
    /// Whether the index of words is waited for (`Kiln-Fulltext: wait`), once the caller may search.
    pub waits_for_words: bool,
}

impl Engine {
    /// The resources of `target` that `query` asks for, a page of them.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a query that is none, and under strict handling for what would be
    /// passed over; [`Error::NotSupported`] for what is understood and not offered.
    pub async fn search(
        &self,
        target: &SearchTarget,
        query: &Query,
        is_strict: bool,
        caller: &Caller,
    ) -> Result<Searched, Error> {
        let handling = Handling { is_strict, waits_for_words: false };
        self.search_as(target, query, handling, caller).await
    }

    /// The same as it is to be treated.
    ///
    /// # Errors
    /// As [`Engine::search`].
    pub async fn search_as(
        &self,
        target: &SearchTarget,
        query: &Query,
        handling: Handling,
        caller: &Caller,
    ) -> Result<Searched, Error> {
        let asked = match self.lookups.refresh(query).await {
            Ok(()) => self.asked(target, query, handling.is_strict),
            Err(error) => Err(error),
        };
        let asked = asked.map(|mut asked| {
            asked.waits_for_words = handling.waits_for_words;
            asked
        });
        self.answered(interaction(target), asked, caller).await
    }

    /// The AuditEvents that `query` asks for, where `altid` means a party also in events of the ledger that must
    /// not name it so.
    ///
    /// # Errors
    /// As [`Engine::search`], strictly.
    pub async fn search_parties(&self, query: &Query, caller: &Caller) -> Result<Searched, Error> {
        let target = SearchTarget::Type(ResourceType::AUDIT_EVENT);
        let asked = self.asked(&target, query, true).map(|mut asked| {
            asked.events = asked.events.map(EventsRequest::of_parties);
            asked
        });
        self.answered(interaction(&target), asked, caller).await
    }

    async fn answered(
        &self,
        interaction: Interaction,
        asked: Result<Asked, Error>,
        caller: &Caller,
    ) -> Result<Searched, Error> {
        let mut asked = match asked {
            Ok(asked) => asked,
            Err(error) => return self.gate.denied(interaction, caller, error).await,
        };
        let run = async |permit: &Permit<'_>, draft| {
            self.look_up(&mut asked, permit).await?;
            for filter in &mut asked.request.filters {
                if chain::asks_events(filter) {
                    *filter = Box::pin(self.by_events(filter, permit)).await?;
                }
            }
            let beside = match asked.beside.take() {
                Some(beside) => {
                    let (beside, named) = beside.permitted(permit, self.store.hasher())?;
                    Some(beside.step_back(&self.store.live_among(named, permit).await?)?)
                }
                None => None,
            };
            let events = asked.events.take();
            let Asked { request, paging, .. } = &asked;
            self.store.refuse_ambiguous(&request.ambiguous, permit).await?;
            if let Some(events) = events {
                return Ok(self.search_events(request, paging, events, permit).await?.map(Ok));
            }
            let store =
                |draft| self.store.search(request, paging, &self.definitions, permit, draft);
            let Some(beside) = beside else {
                return Ok(store(Some(draft)).await?.map(Ok));
            };
            let stored = if beside.is_after_stored() {
                Unaudited::nothing().map(|()| SearchPage::default())
            } else {
                store(None).await?
            };
            Ok(stored.with(beside).map(|(page, beside)| beside.add(page)))
        };
        let page = self.gate.show(interaction, caller, run).await??;
        Ok(asked.answer(page))
    }

    /// A page of AuditEvents: what is stored and events of the ledger, in one order where they are sorted
    /// by time, else those in the room that is left.
    async fn search_events(
        &self,
        request: &SearchRequest,
        paging: &Paging,
        events: EventsRequest,
        permit: &Permit<'_>,
    ) -> Result<Unaudited<SearchPage>, Error> {
        let events = self.chained(request, events, permit).await?;
        if is_by_time(request) && paging.count > 0 {
            return self.in_order((request, paging), &events, permit).await;
        }
        let is_after_stored = events.cursor.is_some();
        let stored = if is_after_stored {
            Unaudited::nothing().map(|()| SearchPage::default())
        } else {
            self.store.search(request, paging, &self.definitions, permit, None).await?
        };
        self.with_events(stored, events, permit).await
    }

    /// Waits until the words of everything that is committed now are found; whether they are.
    /// `None`: there is no index of words.
    pub async fn words_caught_up(&self) -> Option<bool> {
        Some(self.lookups.full_text.as_ref()?.caught_up(MOST_WAITING).await)
    }

    /// The same as this unit's own writes left the database, for an entry of a transaction.
    pub(super) async fn search_entry(
        &self,
        target: &SearchTarget,
        query: &Query,
        is_strict: bool,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<(Searched, Disclosed), Error> {
        self.lookups.refresh(query).await?;
        let mut asked = self.asked(target, query, is_strict)?;
        self.look_up(&mut asked, permit).await?;
        if asked.events.is_some() || asked.request.filters.iter().any(chain::asks_events) {
            let text =
                "in a transaction events of the ledger are left out: ask for them in a batch";
            let issue = Issue::error(IssueCode::Incomplete, text.to_owned());
            asked.issues.push(Issue { severity: Severity::Warning, ..issue });
        }
        let beside = match asked.beside.take() {
            Some(beside) => {
                let (beside, named) = beside.permitted(permit, self.store.hasher())?;
                Some(beside.step_back(&tx.live_among(named, permit).await?)?)
            }
            None => None,
        };
        let Asked { request, paging, .. } = &asked;
        tx.refuse_ambiguous(&request.ambiguous, permit).await?;
        let (mut page, disclosed) = tx.search(request, paging, &self.definitions, permit).await?;
        if let Some(beside) = beside {
            page = beside.add(page)?;
        }
        Ok((asked.answer(page), disclosed))
    }

    /// Reads a query.
    fn asked(&self, target: &SearchTarget, query: &Query, is_strict: bool) -> Result<Asked, Error> {
        if let SearchTarget::Compartment { code, .. } = target
            && self.spec.compartment(*code).is_none()
        {
            return Err(Error::NotFound(format!("a compartment of {code}")));
        }
        let mut request = self.parse_search(target, query, Strictness::of_search(is_strict))?;
        let mut issues: Vec<Issue> = Vec::new();
        without_includes_of_texts(&mut request, query, is_strict, &mut issues)?;
        let told = request.notices.iter().map(|notice| notice.issue(Severity::Warning));
        issues.splice(0..0, told);
        let page = self.settings.page;
        let count = request.count.unwrap_or(page.default).min(page.max);
        if request.count.is_some_and(|asked| asked > count) {
            let text = format!("_count: a page has at most {} matches", page.max);
            let issue = Issue::error(IssueCode::Informational, text);
            issues.push(Issue { severity: Severity::Warning, ..issue });
            // Links tell the size that was applied (rest 4.186).
            for (_, value) in request.shown.iter_mut().filter(|(name, _)| &**name == "_count") {
                *value = count.to_string().into();
            }
        }
        let mut paging = Paging {
            count: if request.counts_only { 0 } else { count },
            cursor: query.once(CURSOR)?.map(str::to_owned),
            is_placed: false,
        };
        let beside = self.beside(target, &request, &mut paging)?;
        if let Some(text) = beside.as_ref().and_then(Beside::notice) {
            let issue = Issue::error(IssueCode::Incomplete, text);
            issues.push(Issue { severity: Severity::Warning, ..issue });
        }
        self.refuse_undated_events(target, query)?;
        let events = self.events_asked(target, &request, &mut paging, &mut issues)?;
        let path = path(target);
        let (waits_for_words, words, looked_up) = (false, None, None);
        Ok(Asked {
            path,
            request,
            paging,
            issues,
            looked_up,
            beside,
            events,
            waits_for_words,
            words,
        })
    }

    /// Looks up what the store cannot compare, once it is decided that the caller may ask.
    async fn look_up(&self, asked: &mut Asked, permit: &Permit<'_>) -> Result<(), Error> {
        // A plan tells how much there is, visible or not.
        if asked.request.explain && permit.derive_system(Kind::Explain)?.is_restricted() {
            return Err(Error::Forbidden);
        }
        traverse::check(&asked.request.filters, permit)?;
        if asked.waits_for_words {
            asked.words = self.words_caught_up().await;
        }
        let began = Instant::now();
        let count = self.resolver(Some(permit)).resolve(&mut asked.request)?;
        if asked.request.explain && count > 0 {
            let took = began.elapsed();
            asked.looked_up = Some(format!("{count} look-ups of words and codes, took {took:?}"));
        }
        Ok(())
    }

    /// What a search that narrows an export comes down to. Strictly: what is passed over would widen it.
    ///
    /// # Errors
    /// Those of a search; [`Error::NotSupported`] for what says nothing of which resources match, and for
    /// what must be read first.
    pub(super) async fn export_filter(
        &self,
        of: ResourceType,
        text: &str,
        permit: &Permit<'_>,
    ) -> Result<Filter, Error> {
        let query = Query::parse(text)?;
        self.lookups.refresh(&query).await?;
        let target = SearchTarget::Type(of);
        let mut request = self.parse_search(&target, &query, Strictness::Criteria)?;
        let is_more = !request.sort.is_empty()
            || !request.includes.is_empty()
            || !request.ambiguous.is_empty()
            || request.count.is_some()
            || request.counts_only
            || request.contained != ContainedMode::Outside;
        let is_read_first = |filter: &Filter| matches!(filter, Filter::List(_));
        if is_more
            || request.filters.iter().any(|it| it.has(&is_read_first) || chain::asks_events(it))
        {
            let text = format!("_typeFilter: {text:?} has what no export is narrowed by");
            return Err(Error::NotSupported(text));
        }
        traverse::check(&request.filters, permit)?;
        self.resolver(Some(permit)).resolve(&mut request)?;
        Ok(Filter::All(request.filters))
    }

    fn resolver<'a, 'gate>(&'a self, permit: Option<&'a Permit<'gate>>) -> Resolver<'a, 'gate> {
        Resolver { lookups: &self.lookups, extractor: &self.extractor, permit, asked: Cell::new(0) }
    }

    pub(super) fn parse_search(
        &self,
        target: &SearchTarget,
        query: &Query,
        strictness: Strictness,
    ) -> Result<SearchRequest, Error> {
        let parameters = self.store.parameters()?;
        let context = Context {
            extractor: &parameters.extractor,
            now: self.clock.now(),
            strictness,
            dates_overlap: self.settings.dates_overlap,
            limits: self.settings.searches,
        };
        Ok(parse(target, query, &context)?)
    }
}

impl From<&config::Search> for Limits {
    /// What an operator allows.
    fn from(own: &config::Search) -> Self {
        let number = |most: NonZeroU32| most.get() as usize;
        let along =
            AlongLimits { resources: number(own.max_included), rounds: number(own.max_iterations) };
        Self {
            chain_depth: number(own.max_chain),
            along,
            parameters: number(own.max_parameters),
            values: number(own.max_values),
            ..Self::default()
        }
    }
}

/// A search that only the database is missing to.
struct Asked {
    path: String,
    request: SearchRequest,
    paging: Paging,
    issues: Vec<Issue>,
    /// What was looked up before the database was asked, where that is to be told.
    looked_up: Option<String>,
    beside: Option<Beside>,
    events: Option<EventsRequest>,
    waits_for_words: bool,
    /// See [`Searched::words`].
    words: Option<bool>,
}

impl Asked {
    fn answer(self, page: SearchPage) -> Searched {
        let Self { path, request, mut issues, looked_up, words, .. } = self;
        let told = |code, text: String| Issue {
            severity: Severity::Information,
            ..Issue::error(code, text)
        };
        if page.is_included_cut {
            let text = "more resources would come along than a page may have".to_owned();
            issues.push(Issue { severity: Severity::Warning, ..told(IssueCode::Incomplete, text) });
        }
        if let Some(explanation) = &page.explanation {
            let all = explain(explanation).chain(looked_up);
            issues.extend(all.map(|text| told(IssueCode::Informational, text)));
        }
        let kind = Kind::SearchType;
        Searched { kind, path, shown: request.shown, page, issues, words }
    }
}

/// A search as a step of the ledger and of the gate.
pub(super) fn interaction(target: &SearchTarget) -> Interaction {
    match target {
        SearchTarget::Compartment { resource_type: Some(of), .. } | SearchTarget::Type(of) => {
            Kind::SearchType.of(*of)
        }
        SearchTarget::Compartment { resource_type: None, .. } | SearchTarget::System => {
            Kind::SearchSystem.of_system()
        }
    }
}

/// A name or a value as a query has it.
fn escaped(text: &str) -> PercentEncode<'_> {
    const ENDS: &AsciiSet =
        &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'&').add(b'+').add(b'=');
    utf8_percent_encode(text, ENDS)
}

/// A search as its address below the base.
pub(super) fn address(target: &SearchTarget, query: &Query) -> String {
    addressed(&path(target), query)
}

/// A path and a query as an address.
pub(super) fn addressed(path: &str, query: &Query) -> String {
    let parameters: Vec<String> =
        query.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
    format!("{path}?{}", parameters.join("&"))
}

fn path(target: &SearchTarget) -> String {
    match target {
        SearchTarget::Compartment { code, id, resource_type } => {
            let member = resource_type.map_or("*", |of| of.as_str());
            format!("{code}/{id}/{member}")
        }
        SearchTarget::System => String::new(),
        SearchTarget::Type(of) => of.to_string(),
    }
}

/// Texts go out without what they would have to be read with (rest 1.75).
fn without_includes_of_texts(
    request: &mut SearchRequest,
    query: &Query,
    is_strict: bool,
    issues: &mut Vec<Issue>,
) -> Result<(), Error> {
    if query.once("_summary")? != Some("text") || request.includes.is_empty() {
        return Ok(());
    }
    let text = "_summary=text goes without _include and _revinclude";
    if is_strict {
        return Err(Error::invalid(IssueCode::Invalid, text));
    }
    request.includes.clear();
    let is_include =
        |name: &str| matches!(name.split(':').next(), Some("_include" | "_revinclude"));
    request.shown.retain(|(name, _)| !is_include(name));
    let issue = Issue::error(IssueCode::NotSupported, text);
    issues.push(Issue { severity: Severity::Warning, ..issue });
    Ok(())
}

/// What was done, a text for each step and statement.
fn explain(explanation: &Explanation) -> impl Iterator<Item = String> {
    let statements = explanation.statements.iter().map(|done| {
        let rows = format!("{} rows expected, took {:?}", done.expected_rows, done.took);
        format!("{}\n{rows}\n{}", done.sql, done.plan.join("\n"))
    });
    explanation.steps.iter().cloned().chain(statements)
}
