//! Definitions of the packs in the answers of searches: they follow what is stored.
//!
//! The store's pages come first, by its own cursors. On the last of them, and on pages of their own
//! after it, are the definitions that match, by type and id; the cursor of such a page tells how many
//! of them are before it, the total, and the cursor of the last page with something stored. It is
//! sealed as those of the store are.
//!
//! What is stored under the id of a definition stands for it, whether it matches or not. A search
//! across types finds the definitions of the types that its `_type` names: without one it is about
//! what is stored.
//!
//! Spec: rest 5.18

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::access::Permit;
use crate::access::interaction::Kind;
use crate::engine::Engine;
use crate::engine::definitions::versions;
use crate::error::Error;
use crate::fhir::{Identity, ResourceType};
use crate::search::definitions::{TOLD, holds};
use crate::search::request::{ContainedMode, SearchRequest, SearchTarget};
use crate::spec::catalog::{Catalog, Entry};
use crate::spec::structure::Library;
use crate::store::cursor::{self, Seal};
use crate::store::hash::Hasher;
use crate::store::search::{Count, Match, Paging, SearchPage};

/// How cursors of pages of definitions begin; those of the store have no dots.
const BEGINNING: &str = "definitions.";
/// The rest of the cursor of the first page of all.
const FIRST: &str = "first";

/// The definitions that match, and which of them the page has.
pub(super) struct Beside {
    library: Arc<Library>,
    base: String,
    /// Places among all definitions.
    matching: Vec<usize>,
    /// How many may match: what they are searched by is not at hand.
    untold: usize,
    is_sorted: bool,
    /// The most matches of a page.
    count: usize,
    /// The cursor of the page, where that is one with something stored.
    cursor: Option<String>,
    /// What was asked, for which cursors count.
    said: String,
    /// The rest of a cursor of definitions.
    link: Option<String>,
}

/// What a caller may see of them.
pub(super) struct Permitted {
    beside: Beside,
    /// Where the page begins, if there is nothing stored on it.
    at: Option<Position>,
    seal: Seal,
}

/// Where a page without anything stored begins.
struct Position {
    offset: usize,
    total: Option<Count>,
    /// The cursor of the last page with something stored, empty for the first page of all; `None` when
    /// nothing stored matches.
    back: Option<String>,
}

impl Engine {
    /// The definitions that a search finds beside what is stored; takes a cursor of theirs out of
    /// `paging`.
    pub(super) fn beside(
        &self,
        target: &SearchTarget,
        request: &SearchRequest,
        paging: &mut Paging,
    ) -> Result<Option<Beside>, Error> {
        if matches!(request.contained, ContainedMode::Inside { .. }) {
            return Ok(None);
        }
        let types = types(target, request);
        let Some(library) = types.iter().find_map(|of| self.readable(*of)) else { return Ok(None) };
        let base = self.settings.base.clone();
        let (catalog, _) = library.catalog().map_err(Error::internal)?;
        let (mut matching, mut untold) = (Vec::new(), 0);
        for of in types {
            for place in catalog.places_of(of) {
                let Some(entry) = catalog.entries().get(place) else { continue };
                match is_match(request, entry, &base) {
                    Some(true) => matching.push(place),
                    Some(false) => {}
                    None => untold += 1,
                }
            }
        }
        let is_sorted = !request.sort.is_empty();
        let count = usize::try_from(paging.count).map_err(Error::internal)?;
        // The store is to see no such cursor.
        let is_here = |cursor: &mut String| cursor.starts_with(BEGINNING);
        let link = paging.cursor.take_if(is_here).map(|it| it[BEGINNING.len()..].to_owned());
        let link = link.filter(|rest| rest != FIRST);
        let cursor = paging.cursor.clone();
        let said = format!("definitions {:?} {:?}", request.types, request.shown);
        Ok(Some(Beside { library, base, matching, untold, is_sorted, count, cursor, said, link }))
    }
}

/// The types whose definitions are searched, each once and in order.
fn types(target: &SearchTarget, request: &SearchRequest) -> BTreeSet<ResourceType> {
    let types = match target {
        SearchTarget::Compartment { .. } => BTreeSet::new(),
        SearchTarget::System => {
            let names_types = request.shown.iter().any(|(name, _)| &**name == "_type");
            request.types.iter().filter(|_| names_types).copied().collect()
        }
        SearchTarget::Type(of) => BTreeSet::from([*of]),
    };
    types.into_iter().filter(|of| Catalog::has_type(*of)).collect()
}

/// Whether a definition matches; `None` when that cannot be told.
fn is_match(request: &SearchRequest, entry: &Entry, base: &str) -> Option<bool> {
    let record = entry.record(base);
    let mut is_told = true;
    for filter in &request.filters {
        match holds(filter, &entry.identity, &record) {
            Some(true) => {}
            Some(false) => return Some(false),
            None => is_told = false,
        }
    }
    is_told.then_some(true)
}

impl Beside {
    /// Those that the caller may search for, and what they are called.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a cursor that was not made for this search; [`Error::Internal`] when a
    /// pack is damaged.
    pub(super) fn permitted(
        mut self,
        permit: &Permit<'_>,
        hasher: &Hasher,
    ) -> Result<(Permitted, Vec<Identity>), Error> {
        let seal = Seal::new(&self.said, permit, hasher);
        let unknown = || cursor::unknown("search");
        let at = self.link.as_deref().map(|text| Position::open(text, &seal).ok_or_else(unknown));
        let at = at.transpose()?;
        let (catalog, _) = self.library.catalog().map_err(Error::internal)?;
        let entries = catalog.entries();
        let mut known: Option<(ResourceType, bool)> = None;
        let mut is_permitted = |of: ResourceType| match known {
            Some((known, is_permitted)) if known == of => is_permitted,
            _ => {
                let permit = permit.derive(Kind::SearchType, of);
                let is_permitted = permit.is_ok_and(|permit| permit.reaches_definitions());
                known = Some((of, is_permitted));
                is_permitted
            }
        };
        let of = |place: usize| entries.get(place).map(|entry| &entry.identity);
        self.matching.retain(|place| of(*place).is_some_and(|it| is_permitted(it.resource_type)));
        let named = self.matching.iter().filter_map(|place| of(*place)).cloned().collect();
        Ok((Permitted { beside: self, at, seal }, named))
    }

    /// What is not as it was asked for.
    pub(super) fn notice(&self) -> Option<String> {
        let untold = (self.untold > 0).then(|| {
            format!(
                "of the definitions that are part of the server, {} are left out: they are found by \
                 {TOLD} alone",
                self.untold
            )
        });
        let unsorted = (self.is_sorted && !self.matching.is_empty()).then(|| {
            "_sort: definitions that are part of the server follow what is stored, ordered by type \
             and id"
                .to_owned()
        });
        let texts: Vec<String> = untold.into_iter().chain(unsorted).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }
}

impl Permitted {
    /// Whether the page comes after all that is stored.
    pub(super) fn is_after_stored(&self) -> bool {
        self.at.is_some()
    }

    /// Leaves out those under whose id something is stored.
    ///
    /// # Errors
    /// [`Error::Internal`] when a pack is damaged.
    pub(super) fn step_back(mut self, stored: &BTreeSet<Identity>) -> Result<Self, Error> {
        if !stored.is_empty() {
            let (catalog, _) = self.beside.library.catalog().map_err(Error::internal)?;
            let entries = catalog.entries();
            let is_stored =
                |place: usize| entries.get(place).is_some_and(|it| stored.contains(&it.identity));
            self.beside.matching.retain(|place| !is_stored(*place));
        }
        Ok(self)
    }

    /// `page`, with the definitions that belong on it.
    ///
    /// # Errors
    /// [`Error::Internal`] when a pack is damaged.
    pub(super) fn add(self, mut page: SearchPage) -> Result<SearchPage, Error> {
        let Self { beside, at, seal } = self;
        let Beside { count, matching, .. } = &beside;
        let all = matching.len();
        let more = |total: Count| Count { number: total.number + all as u64, ..total };
        page.total = match &at {
            Some(at) => at.total,
            None => page.total.map(more),
        };
        if *count == 0 || page.next.is_some() {
            return Ok(page);
        }
        let start = at.as_ref().map_or(0, |at| at.offset).min(all);
        let has_stored = !page.matches.is_empty();
        let room = count.saturating_sub(page.matches.len());
        let end = start.saturating_add(room).min(all);
        let (catalog, _) = beside.library.catalog().map_err(Error::internal)?;
        let entries = catalog.entries();
        let shown = matching.get(start..end).unwrap_or_default();
        let shown: Vec<&Entry> = shown.iter().filter_map(|&place| entries.get(place)).collect();
        for version in versions(&beside.library, &shown, &beside.base)? {
            page.matches.push(Match::beside(version));
        }
        let back = match &at {
            Some(at) => at.back.clone(),
            None if has_stored || beside.cursor.is_some() => {
                Some(beside.cursor.clone().unwrap_or_default())
            }
            None => None,
        };
        let total = page.total;
        let page_at = |offset| Position { offset, total, back: back.clone() }.close(&seal);
        if end < all {
            page.next = Some(page_at(end));
        }
        if at.is_some() {
            page.previous = Some(match (start.checked_sub(*count), &back) {
                (Some(before), back) if before > 0 || back.is_some() => page_at(before),
                (_, Some(link)) if !link.is_empty() => link.clone(),
                _ => format!("{BEGINNING}{FIRST}"),
            });
        }
        Ok(page)
    }
}

impl Position {
    fn close(self, seal: &Seal) -> String {
        let Self { offset, total, back } = self;
        let rid = i64::try_from(offset).unwrap_or(i64::MAX);
        let place = cursor::Position { keys: vec![back], rid, is_back: false, total };
        format!("{BEGINNING}{}", seal.close(&place))
    }

    fn open(text: &str, seal: &Seal) -> Option<Self> {
        let cursor::Position { keys, rid, total, .. } = seal.open(text)?;
        let back = keys.into_iter().next()?;
        Some(Self { offset: usize::try_from(rid).ok()?, total, back })
    }
}
