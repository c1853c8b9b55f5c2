//! A plan is run level by level: what is wanted of what is there is worked out, and what must be read for it
//! is read at the same time, each resource once.
//!
//! Spec: <https://spec.graphql.org/October2021/#sec-Execution>

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::engine::Searched;
use crate::error::Error;
use crate::fhir::query::Query;
use crate::fhir::schema::Schema;
use crate::fhir::{self, Identity, ResourceType, Version, VersionId};

use super::fault::{Fault, Faults, Place, Step};
use super::opened::Opened;
use super::output::{Entry, Out, assemble};
use super::page::connection;
use super::plan::{Node, What};
use super::walk::{Fetch, Manner, Walk, Wanted, listing, pairs};
use super::{Answered, Limits, Source};

/// Reads that are asked for together: the store puts as many into one statement.
const TOGETHER: usize = 64;
/// Steps that all expressions of a document may take together.
const STEPS: u64 = 10_000_000;

/// A resource in a version, or in the current one.
type Key = (Identity, Option<VersionId>);

/// What a read came to.
type Known = Result<Arc<Version>, Arc<Error>>;

/// A plan that runs.
pub(super) struct Run<'w> {
    walk: Walk<'w>,
    source: &'w dyn Source,
    limits: Limits,
    page: u32,
    /// Resources that may still be read.
    left: usize,
    deadline: Instant,
    is_stopped: bool,
    /// What was read, as far as there is room.
    known: HashMap<Key, Known>,
    known_bytes: usize,
    fetched: Vec<Vec<Entry>>,
}

/// What a run needs of the engine.
pub(super) struct Around<'w> {
    pub(super) schema: &'w Schema,
    pub(super) base: &'w str,
    pub(super) now: fhir::Instant,
    pub(super) limits: Limits,
    /// Matches on a page where nobody says how many.
    pub(super) page: u32,
}

impl<'w> Run<'w> {
    pub(super) fn new(around: &Around<'w>, source: &'w dyn Source) -> Self {
        let Around { schema, base, now, limits, page } = *around;
        let walk = Walk {
            schema,
            base,
            now,
            steps: STEPS,
            looks: limits.looks,
            room: limits.answer_bytes,
            is_full: false,
            faults: Faults::default(),
            fetches: Vec::new(),
            slots: 0,
            path: Vec::new(),
        };
        Self {
            walk,
            source,
            limits,
            page,
            left: limits.resources,
            deadline: Instant::now() + Duration::from_secs(limits.seconds),
            is_stopped: false,
            known: HashMap::new(),
            known_bytes: 0,
            fetched: Vec::new(),
        }
    }

    /// Answers a query of the system, or of one resource.
    ///
    /// # Errors
    /// What says nothing of a single resource: the database or the ledger is away, and the like.
    pub(super) async fn run(
        mut self,
        nodes: &'w [Node<'w>],
        root: Option<&Version>,
    ) -> Result<Answered, Error> {
        let nodes: Vec<&'w Node<'w>> = nodes.iter().collect();
        let mut entries = Vec::new();
        match root {
            None => self.query(&nodes, &mut entries),
            Some(version) => self.resource(version, &nodes, &mut entries)?,
        }
        loop {
            let level = std::mem::take(&mut self.walk.fetches);
            if level.is_empty() {
                break;
            }
            self.fetched.resize_with(self.walk.slots, Vec::new);
            self.level(level).await?;
        }
        let data = assemble(entries, &mut self.fetched, &mut self.walk.faults);
        Ok(Answered { data: Some(data), faults: self.walk.faults.into_all() })
    }

    /// The fields of a query of the system.
    fn query(&mut self, nodes: &[&'w Node<'w>], out: &mut Vec<Entry>) {
        let manner = Manner::default();
        for (node, children) in self.walk.merged(nodes, None) {
            self.walk.path = vec![Step::Key(node.key.to_owned())];
            let wanted = match &node.what {
                What::Many { of, query, .. } => Wanted::Search(*of, pairs(query).collect()),
                What::Read(identity) => Wanted::Read(identity.clone(), None),
                What::TypeName => {
                    self.walk.leaf("Query".into(), node, &manner, out);
                    continue;
                }
                _ => continue,
            };
            self.walk.fetch(wanted, (node, children), &manner, false, out);
        }
    }

    /// The fields of the resource that is asked.
    fn resource(
        &mut self,
        version: &Version,
        nodes: &[&'w Node<'w>],
        out: &mut Vec<Entry>,
    ) -> Result<(), Error> {
        self.walk.path.clear();
        let text = version.to_json();
        let place = nodes.first().map(|node| node.place).unwrap_or_default();
        let opened = Opened::new(&text, version, &mut self.walk, place)?;
        let within = opened.within(self.walk.schema, self.walk.now);
        self.walk.object(opened.at(&within), nodes, &Manner::default(), out);
        Ok(())
    }

    /// Reads what one level needs.
    async fn level(&mut self, level: Vec<Fetch<'w>>) -> Result<(), Error> {
        let mut reads: Vec<(Key, Vec<Fetch<'w>>)> = Vec::new();
        let mut places: HashMap<Key, usize> = HashMap::new();
        let mut searches = Vec::new();
        for fetch in level {
            match &fetch.wanted {
                Wanted::Read(identity, version) => {
                    let key = (identity.clone(), *version);
                    let at = *places.entry(key.clone()).or_insert(reads.len());
                    match reads.get_mut(at) {
                        Some((_, fetches)) => fetches.push(fetch),
                        None => reads.push((key, vec![fetch])),
                    }
                }
                Wanted::Search(of, pairs) => {
                    let query = pairs.iter().fold(Query::default(), |all, (name, value)| {
                        all.and(Query::of(name, value))
                    });
                    searches.push((*of, query, fetch));
                }
            }
        }
        let mut rest = reads.into_iter().peekable();
        while rest.peek().is_some() {
            let together: Vec<_> = rest.by_ref().take(TOGETHER).collect();
            self.read(together).await?;
        }
        for (of, query, fetch) in searches {
            self.search(of, &query, &fetch).await?;
        }
        Ok(())
    }

    /// Whether the time is over, which is told once.
    fn is_late(&mut self, place: Place) -> bool {
        let is_late = Instant::now() >= self.deadline;
        if is_late && !self.is_stopped {
            self.is_stopped = true;
            let most = self.limits.seconds;
            let text =
                format!("it took longer than the {most} s of the setting graphql.max_seconds");
            self.walk.faults.add(Fault::at(text, place));
        }
        is_late
    }

    /// How many of `count` resources may be read now.
    fn afford(&mut self, count: usize, place: Place) -> usize {
        if self.is_late(place) || self.is_stopped || self.walk.is_full {
            return 0;
        }
        let count = if count > self.left {
            self.is_stopped = true;
            let most = self.limits.resources;
            let text = format!(
                "more resources than the {most} of the setting graphql.max_resources: ask for less"
            );
            self.walk.faults.add(Fault::at(text, place));
            self.left
        } else {
            count
        };
        self.left -= count;
        count
    }

    async fn read(&mut self, together: Vec<(Key, Vec<Fetch<'w>>)>) -> Result<(), Error> {
        let place = together.first().and_then(|(_, all)| all.first()).map(|it| it.node.place);
        let place = place.unwrap_or_default();
        let unknown: Vec<Key> = together
            .iter()
            .filter(|(key, _)| !self.known.contains_key(key))
            .map(|(key, _)| key.clone())
            .collect();
        let afforded = self.afford(unknown.len(), place);
        let source = self.source;
        let reads: Vec<_> = unknown
            .iter()
            .take(afforded)
            .map(|(identity, version)| source.read(identity, *version))
            .collect();
        let mut found: HashMap<&Key, Known> = HashMap::new();
        for (key, read) in unknown.iter().zip(join_all(reads).await) {
            found.insert(key, told(read)?.map(Arc::new));
        }
        for (key, fetches) in &together {
            let known = found.get(key).or_else(|| self.known.get(key)).cloned();
            match known.filter(|_| !self.is_late(place)) {
                Some(Ok(version)) => self.shown(&version, fetches)?,
                Some(Err(error)) => {
                    for fetch in fetches {
                        let entries = self.failed(fetch, &error);
                        self.keep(fetch.slot, entries);
                    }
                }
                None => fetches.iter().for_each(|fetch| self.keep(fetch.slot, null(fetch))),
            }
        }
        for (key, known) in found {
            let bytes = known.as_ref().map_or(0, |it| it.body.as_deref().map_or(0, <[u8]>::len));
            if self.known_bytes + bytes <= self.limits.answer_bytes {
                self.known_bytes += bytes;
                self.known.insert(key.clone(), known);
            }
        }
        Ok(())
    }

    async fn search(
        &mut self,
        of: ResourceType,
        query: &Query,
        fetch: &Fetch<'w>,
    ) -> Result<(), Error> {
        if self.afford(1, fetch.node.place) == 0 {
            self.keep(fetch.slot, null(fetch));
            return Ok(());
        }
        let entries = match told(self.source.search(of, query).await)? {
            Ok(found) => {
                self.left = self.left.saturating_sub(found.page.matches.len().saturating_sub(1));
                self.found(&found, of, fetch)?
            }
            Err(error) => self.failed(fetch, &error),
        };
        self.keep(fetch.slot, entries);
        Ok(())
    }

    fn keep(&mut self, slot: usize, entries: Vec<Entry>) {
        if let Some(place) = self.fetched.get_mut(slot) {
            *place = entries;
        }
    }

    /// A resource that was read: it is opened once, wherever it is wanted.
    fn shown(&mut self, version: &Version, fetches: &[Fetch<'w>]) -> Result<(), Error> {
        if self.walk.is_full {
            return Ok(());
        }
        let text = version.to_json();
        let place = fetches.first().map(|fetch| fetch.node.place).unwrap_or_default();
        let opened = Opened::new(&text, version, &mut self.walk, place)?;
        let within = opened.within(self.walk.schema, self.walk.now);
        for fetch in fetches {
            let mut entries = Vec::new();
            self.walk.path.clone_from(&fetch.path);
            let (at, wanted) = (opened.at(&within), (fetch.node, &*fetch.children));
            self.walk.value(at, wanted, (false, 0), &fetch.manner, &mut entries);
            self.keep(fetch.slot, entries);
        }
        Ok(())
    }

    /// What a search found.
    fn found(
        &mut self,
        found: &Searched,
        of: ResourceType,
        fetch: &Fetch<'w>,
    ) -> Result<Vec<Entry>, Error> {
        self.walk.path.clone_from(&fetch.path);
        let (node, children) = (fetch.node, &*fetch.children);
        if let What::Many { is_page: true, .. } = node.what {
            let page = (found, of, self.page);
            let inner = connection(&mut self.walk, page, children)?;
            let listing = listing(node, false, &fetch.manner);
            let key = format!("{}{}", node.key, fetch.manner.suffix);
            let out = Out::Object(inner);
            return Ok(vec![Entry::Value { key, listing, out, place: node.place }]);
        }
        let mut entries = Vec::new();
        for (index, found) in found.page.matches.iter().enumerate() {
            self.walk.path.truncate(fetch.path.len());
            self.walk.path.push(Step::Index(index));
            let text = found.version.to_json();
            let opened = Opened::new(&text, &found.version, &mut self.walk, node.place)?;
            let within = opened.within(self.walk.schema, self.walk.now);
            let (at, manner) = (opened.at(&within), &fetch.manner);
            self.walk.value(at, (node, children), (true, index), manner, &mut entries);
            if node.form.is_first || self.walk.is_full {
                break;
            }
        }
        if found.page.matches.is_empty() && node.form.is_plain() {
            entries.push(Entry::Empty(format!("{}{}", node.key, fetch.manner.suffix)));
        }
        Ok(entries)
    }

    /// What could not be read.
    fn failed(&mut self, fetch: &Fetch<'w>, error: &Arc<Error>) -> Vec<Entry> {
        if fetch.is_optional {
            return Vec::new();
        }
        self.walk.faults.add(Fault {
            path: fetch.path.clone(),
            cause: Some(Arc::clone(error)),
            ..Fault::at(error.to_string(), fetch.node.place)
        });
        null(fetch)
    }
}

/// What a failure says of one resource, or else of the whole request.
fn told<T>(result: Result<T, Error>) -> Result<Result<T, Arc<Error>>, Error> {
    match result {
        Ok(found) => Ok(Ok(found)),
        Err(
            error @ (Error::Busy(_)
            | Error::Conflict(_)
            | Error::Internal(_)
            | Error::Throttled(_)
            | Error::TimedOut(_)
            | Error::TokenExpired
            | Error::TokenUnknown
            | Error::Unauthenticated
            | Error::Unavailable(_)
            | Error::Unconfirmed(_)),
        ) => Err(error),
        Err(error) => Ok(Err(Arc::new(error))),
    }
}

/// What stands for something that is not told.
fn null(fetch: &Fetch<'_>) -> Vec<Entry> {
    if fetch.node.form.is_flat {
        return Vec::new();
    }
    vec![Entry::Null(format!("{}{}", fetch.node.key, fetch.manner.suffix))]
}
