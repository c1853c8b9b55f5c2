//! Pages of what is stored and of events of the ledger in one order, that of time.
//!
//! Each of both comes in that order by itself, and a page has what comes first of the two. Its links hold
//! how far each of them has come: a place between two matches, so that it leads forth and back.

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::access::{Disclosed, Permit, Unaudited};
use crate::audit::balp::{Entry, recorded};
use crate::audit::query::Condition;
use crate::error::Error;
use crate::fhir::{Identity, Instant, Version};
use crate::search::request::{SearchRequest, Total};

use super::super::Store;
use super::super::cursor::{Position, Seal};
use super::super::search::{Count, Definitions, Match, Paging, Place, SearchPage, seal};
use super::walk::{Beside, Walk};
use super::{EventsPage, EventsRequest, name, reach, unknown_link};

/// A match of one of both.
#[derive(Debug)]
pub enum InOrder {
    /// An event of the ledger: its row and its number in it.
    Event(Box<Entry>, usize),
    /// A resource that is stored, and where it stands.
    Stored(Box<(Place, Match)>),
}

/// A place between matches: how far both have come.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Between {
    /// What is stored, as far as these values of the order and this key; `None`: nothing of it.
    stored: Option<(Vec<Option<String>>, i64)>,
    /// The events, up to the one with this number in this row; `None`: none of them.
    event: Option<(Uuid, usize)>,
}

impl Between {
    /// The place that a page link says.
    fn of(position: &Position) -> Option<Self> {
        let (event, values) = position.keys.split_first()?;
        let event = match event {
            Some(text) => {
                let (row, number) = text.split_once(' ')?;
                Some((row.parse().ok()?, number.parse().ok()?))
            }
            None => None,
        };
        let stored = (!values.is_empty()).then(|| (values.to_vec(), position.rid));
        Some(Self { stored, event })
    }

    /// What a page link says.
    fn position(&self, is_back: bool, total: Option<Count>) -> Position {
        let event = self.event.map(|(row, number)| format!("{row} {number}"));
        let (values, rid) = self.stored.clone().unwrap_or_default();
        let keys = std::iter::once(event).chain(values).collect();
        Position { keys, rid, is_back, total }
    }

    /// The place behind matches that follow this one.
    fn behind(&self, matches: &[InOrder]) -> Self {
        let mut place = self.clone();
        for found in matches {
            match found {
                InOrder::Event(entry, number) => place.event = Some((entry.id, number + 1)),
                InOrder::Stored(stored) => {
                    let Position { keys, rid, .. } = &stored.0.position;
                    place.stored = Some((keys.clone(), *rid));
                }
            }
        }
        place
    }

    /// The place before matches that lead up to this one. Keys grow by `step` along the order.
    fn before(&self, matches: &[InOrder], step: i64) -> Self {
        let mut place = self.clone();
        for found in matches.iter().rev() {
            match found {
                InOrder::Event(entry, number) => place.event = Some((entry.id, *number)),
                InOrder::Stored(stored) => {
                    let Position { keys, rid, .. } = &stored.0.position;
                    place.stored = Some((keys.clone(), rid.wrapping_sub(step)));
                }
            }
        }
        place
    }
}

/// One page: beside which place, on which side of it, and how many matches.
struct Beginning {
    from: Between,
    is_back: bool,
    count: u32,
    /// What the key of what is stored grows by along the order, where its value is the same.
    step: i64,
}

impl Store {
    /// A page of what is stored and of events of the ledger, as far as `permit` reaches, in the order of
    /// the one key that `request` is sorted by, which is a time. `SearchPage` has no matches: they follow.
    ///
    /// # Errors
    /// As [`Store::search`] and [`Store::events`].
    pub async fn search_in_order(
        &self,
        (request, paging): (&SearchRequest, &Paging),
        events: &EventsRequest,
        definitions: &Definitions,
        permit: &Permit<'_>,
    ) -> Result<Unaudited<(SearchPage, Vec<InOrder>)>, Error> {
        let links = Seal::new(&format!("in order {}", events.said), permit, self.hasher());
        let open = |text: &String| {
            let position = links.open(text)?;
            Some((Between::of(&position)?, position.is_back, position.total))
        };
        let at = events.cursor.as_ref().or(paging.cursor.as_ref()).map(open);
        let at = at.map(|at| at.ok_or_else(unknown_link)).transpose()?;
        let is_first = at.is_none();
        let (from, is_back, known) = at.unwrap_or_default();
        let is_descending = request.sort.last().is_some_and(|key| key.is_descending);
        let step = if is_descending { -1 } else { 1 };
        let begin = Beginning { from, is_back, count: paging.count, step };
        let is_counted = events.is_counted && is_first;
        let asked = SearchRequest {
            includes: Vec::new(),
            total: if is_counted { request.total } else { Total::None },
            ..request.clone()
        };
        let place = begin.paging(&seal(request, permit, self.hasher()));
        let mut page = match &place {
            Some(place) => self.search_page(&asked, place, definitions, permit).await?.0,
            None => SearchPage::default(),
        };
        let of_ledger = self.events_beside(&begin, events, is_counted, permit).await?;
        page.total = match of_ledger.total {
            Some(number) => Some(Count {
                number: number + page.total.map_or(0, |total| total.number),
                is_exact: page.total.is_none_or(|total| total.is_exact),
            }),
            None => known,
        };
        let is_more = if is_back { page.previous.take() } else { page.next.take() }.is_some();
        let stored = page.places.drain(..).zip(page.matches.drain(..)).collect();
        let mut found = merged(stored, of_ledger.events, !is_descending);
        let is_cut = begin.cut(&mut found);
        let is_more = is_more || is_cut;
        let link =
            |place: &Between, is_back| Some(links.close(&place.position(is_back, page.total)));
        let Beginning { from, .. } = &begin;
        (page.next, page.previous) = if is_back {
            let before = from.before(&found, step);
            (link(from, false), link(&before, true).filter(|_| is_more))
        } else {
            let behind = from.behind(&found);
            (link(&behind, false).filter(|_| is_more), link(from, true).filter(|_| !is_first))
        };
        let patients = self.come_along(&mut page, &mut found, (request, events), permit).await?;
        Ok(Unaudited::new((page, found), Disclosed { patients, ..Disclosed::default() }))
    }

    /// The events beside a place, one more than a page has; and how many there are, where that is wanted.
    async fn events_beside(
        &self,
        begin: &Beginning,
        events: &EventsRequest,
        is_counted: bool,
        permit: &Permit<'_>,
    ) -> Result<EventsPage, Error> {
        let is_back = begin.is_back;
        let condition = &Condition::All(vec![reach(self, permit), events.condition.clone()]);
        let mut page = EventsPage::default();
        let beside = begin.from.event;
        let beside = beside.map(|(row, number)| Beside { row, number, is_back, is_first: false });
        if !is_back || beside.is_some() {
            let is_ascending = events.is_ascending != is_back;
            let walk = Walk { condition, is_ascending, is_back, is_alone: false };
            let wanted = (begin.count as usize).saturating_add(1);
            page.events = walk.run((self, permit), beside, Some(wanted)).await?.0;
        }
        if is_back {
            page.events.reverse();
        }
        if is_counted {
            let (is_ascending, is_back, is_alone) = (false, false, false);
            let walk = Walk { condition, is_ascending, is_back, is_alone };
            page.total = Some(walk.run((self, permit), None, None).await?.1);
        }
        Ok(page)
    }

    /// Names the patients of what was `found`, and loads what comes along with it. Gives whom all of that
    /// tells of.
    async fn come_along(
        &self,
        page: &mut SearchPage,
        found: &mut [InOrder],
        (request, events): (&SearchRequest, &EventsRequest),
        permit: &Permit<'_>,
    ) -> Result<Vec<i64>, Error> {
        let mut entries: Vec<&mut Entry> = Vec::new();
        let (mut patients, mut known) = (Vec::new(), BTreeSet::<Identity>::new());
        for one in found.iter_mut() {
            match one {
                InOrder::Event(entry, number) => {
                    patients.extend(entry.patients.get(*number).map(|patient| patient.hash));
                    entries.push(entry);
                }
                InOrder::Stored(stored) => {
                    patients.extend(&stored.0.patients);
                    known.insert(stored.1.version.identity.clone());
                }
            }
        }
        if entries.iter().any(|entry| !entry.patients.is_empty()) {
            let connection = self.0.searchers.connection(permit).await?;
            name(self, &connection, &mut entries).await?;
        }
        if !known.is_empty() && !request.includes.is_empty() {
            let stored = found.iter().filter_map(|one| match one {
                InOrder::Event(..) => None,
                InOrder::Stored(stored) => Some(&stored.1.version),
            });
            let stored: Vec<&Version> = stored.collect();
            let with = self.included(request, &stored, permit).await?;
            (page.included, page.is_included_cut) = (with.versions, with.is_cut);
            patients.extend(with.disclosed.patients);
        }
        if !events.along.is_empty() {
            let event = |one: &InOrder| match one {
                InOrder::Event(entry, number) => Some(((**entry).clone(), *number)),
                InOrder::Stored(_) => None,
            };
            let mut with = EventsPage {
                events: found.iter().filter_map(event).collect(),
                ..EventsPage::default()
            };
            patients.extend(self.follow(&mut with, &events.along, permit).await?);
            // Another version of the same may be there, which a reference names.
            let is_new = |version: &Version| {
                let is_it =
                    |it: &Version| it.version == version.version && it.identity == version.identity;
                !known.contains(&version.identity) && !page.included.iter().any(is_it)
            };
            let more: Vec<Version> = with.included.into_iter().filter(is_new).collect();
            page.included.extend(more);
            page.is_included_cut |= with.is_included_cut;
        }
        patients.sort_unstable();
        patients.dedup();
        Ok(patients)
    }
}

impl Beginning {
    /// The page of what is stored; `None` where there is nothing on this side.
    fn paging(&self, seal: &Seal) -> Option<Paging> {
        let Self { from, is_back, count, step } = self;
        let cursor = from.stored.as_ref().map(|(keys, rid)| {
            // Forth from it comes what lies behind that key, and back from it the key itself first.
            let rid = if *is_back { rid.wrapping_add(*step) } else { *rid };
            seal.close(&Position { keys: keys.clone(), rid, is_back: *is_back, total: None })
        });
        let is_any = !*is_back || cursor.is_some();
        is_any.then_some(Paging { count: *count, cursor, is_placed: true })
    }

    /// Leaves on the page what is nearest to the place; whether there was more.
    fn cut(&self, found: &mut Vec<InOrder>) -> bool {
        let beyond = found.len().saturating_sub(self.count as usize);
        if self.is_back {
            found.drain(..beyond);
        } else {
            found.truncate(self.count as usize);
        }
        beyond > 0
    }
}

/// Both in one order; of the same moment what is stored comes first, and what has no time comes last.
fn merged(
    stored: Vec<(Place, Match)>,
    events: Vec<(Entry, usize)>,
    is_ascending: bool,
) -> Vec<InOrder> {
    let mut all = Vec::with_capacity(stored.len() + events.len());
    let (mut stored, mut events) = (stored.into_iter().peekable(), events.into_iter().peekable());
    loop {
        let is_stored = match (stored.peek(), events.peek()) {
            (None, None) => return all,
            (Some((place, _)), Some((entry, _))) => {
                let event = recorded(entry.id);
                time(&place.position)
                    .is_some_and(|at| if is_ascending { at <= event } else { at >= event })
            }
            (stored, _) => stored.is_some(),
        };
        if is_stored {
            all.extend(stored.next().map(|found| InOrder::Stored(Box::new(found))));
        } else {
            let event = events.next();
            all.extend(event.map(|(entry, number)| InOrder::Event(Box::new(entry), number)));
        }
    }
}

/// The time of what is stored, as the database writes it; `None` where it has none.
fn time(position: &Position) -> Option<Instant> {
    let text = position.keys.first()?.as_deref()?.strip_suffix("+00")?;
    Instant::parse(&format!("{}Z", text.replacen(' ', "T", 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written() {
        let row = Uuid::from_u128(7);
        for stored in [None, Some((vec![Some("2024-05-11 10:00:00+00".to_owned())], -3))] {
            for event in [None, Some((row, 2))] {
                let place = Between { stored: stored.clone(), event };
                let position = place.position(true, None);
                assert_eq!(Between::of(&position), Some(place), "{position:?}");
            }
        }
    }

    #[test]
    fn times_are_read_as_the_database_writes_them() {
        for (text, expected) in [
            ("2024-05-11 10:00:00+00", Some("2024-05-11T10:00:00Z")),
            ("2024-05-11 10:00:00.12+00", Some("2024-05-11T10:00:00.12Z")),
            ("2024-05-11 10:00:00.123456+00", Some("2024-05-11T10:00:00.123456Z")),
            ("-infinity", None),
        ] {
            let keys = vec![Some(text.to_owned())];
            let position = Position { keys, rid: 1, is_back: false, total: None };
            assert_eq!(time(&position), expected.and_then(Instant::parse), "{text}");
            assert_eq!(time(&position).is_some(), expected.is_some(), "{text}");
        }
    }
}
