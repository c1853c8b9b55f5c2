//! Who and what records refer to without being in a compartment.
//!
//! Whether something is referred to is told by what refers to it alone, so all of that is looked at for each
//! page, in pieces and up to a bound; what was found stands in the order of types and ids, in which a page
//! begins behind the last one of the page before. What supports others (practitioners, organizations, places,
//! medications) is followed on, as an export does.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Error;
use crate::fhir::{Identity, ResourceType, Version};
use crate::search::request::{Filter, SearchRequest};
use crate::store::export::{SUPPORTING, references};
use crate::store::search::Paging;

use super::place::{Place, Stage};
use super::{Members, Part, Walk, request};

/// Resources that are read at a time.
pub(super) const PIECE: u32 = 250;
/// Most resources that are looked at for what they refer to.
const MOST: usize = 50_000;

/// What is referred to.
pub(super) struct Sought {
    /// The types that are looked for.
    types: BTreeSet<ResourceType>,
    /// What was referred to, met or not.
    known: BTreeSet<Identity>,
    /// What of that is still to be met.
    pending: BTreeSet<Identity>,
    /// How many more times some of it may be taken.
    rounds: usize,
    /// How many resources were looked at.
    seen: usize,
    /// Whether there are more.
    is_cut: bool,
}

impl Sought {
    pub(super) fn new(types: BTreeSet<ResourceType>) -> Self {
        let (known, pending) = (BTreeSet::new(), BTreeSet::new());
        Self { types, known, pending, rounds: usize::MAX, seen: 0, is_cut: false }
    }

    /// The same, taken no more often than this.
    pub(super) fn at_most(self, rounds: usize) -> Self {
        Self { rounds, ..self }
    }

    /// Notes what is there already: it is not looked for.
    pub(super) fn has(&mut self, identity: Identity) {
        self.known.insert(identity);
    }

    /// Notes what a body refers to, as far as it is followed.
    pub(super) fn add(
        &mut self,
        body: &[u8],
        base: &str,
        is_followed: impl Fn(ResourceType) -> bool,
    ) {
        self.seen += 1;
        for (resource_type, id) in references(body, base) {
            if !self.types.contains(&resource_type) || !is_followed(resource_type) {
                continue;
            }
            let identity = Identity { resource_type, id };
            if self.known.insert(identity.clone()) {
                self.pending.insert(identity);
            }
        }
    }

    /// Some of one type that are still to be met; `None` where all are, or where that was asked often enough.
    pub(super) fn take(&mut self) -> Option<(ResourceType, Vec<Identity>)> {
        let of = self.pending.first()?.resource_type;
        self.rounds = self.rounds.checked_sub(1)?;
        let mut taken = Vec::new();
        while taken.len() < PIECE as usize
            && self.pending.first().is_some_and(|next| next.resource_type == of)
        {
            taken.extend(self.pending.pop_first());
        }
        Some((of, taken))
    }
}

/// The first of what is shown, with the patients of each.
struct Shown {
    first: BTreeMap<Identity, (Version, Vec<i64>)>,
    most: usize,
}

impl Shown {
    fn add(&mut self, version: Version, patients: Vec<i64>) {
        self.first.insert(version.identity.clone(), (version, patients));
        if self.first.len() > self.most {
            self.first.pop_last();
        }
    }
}

impl Walk<'_, '_> {
    /// Up to `count` of what is referred to, behind `from`.
    pub(super) async fn beyond(
        &mut self,
        from: Option<&str>,
        members: &Members,
        count: u32,
    ) -> Result<Part, Error> {
        let from = from.map(identity).transpose()?;
        let count = count as usize;
        let types = self.types_beyond()?;
        if !types.iter().any(|of| self.is_wanted(*of)) {
            return Ok(Part::default());
        }
        let mut sought = Sought::new(types);
        if let Some(source) = self.centre(members, false) {
            self.look_through(&source, &mut sought).await?;
        }
        let mut at = Some(Place::of(Stage::Compartments));
        while let Some(place) = at.filter(|it| it.stage == Stage::Compartments && !sought.is_cut) {
            if let Some(source) = self.compartments(self.within(members, &place), false)? {
                self.look_through(&source, &mut sought).await?;
            }
            at = place.onward(None, members);
        }
        let mut shown = Shown { first: BTreeMap::new(), most: count.saturating_add(1) };
        while let Some((of, some)) = sought.take() {
            self.meet((of, &some), from.as_ref(), &mut sought, &mut shown).await?;
        }
        let mut part = Part { is_cut: sought.is_cut, ..Part::default() };
        let mut last = None;
        let has_more = shown.first.len() > count;
        for (identity, (version, patients)) in shown.first.into_iter().take(count) {
            part.included.push(version);
            part.disclosed.patients.extend(patients);
            last = Some(identity);
        }
        part.next = last.filter(|_| has_more).map(|last| last.to_string());
        Ok(part)
    }

    /// The types that may be referred to and are in no compartment of this kind.
    fn types_beyond(&self) -> Result<BTreeSet<ResourceType>, Error> {
        let within = self.compartment_types()?;
        let is_beyond = |of: &ResourceType| {
            *of != self.plan.of.centre()
                && *of != ResourceType::AUDIT_EVENT
                && !within.contains(of)
                && self.is_granted(*of)
        };
        Ok(ResourceType::all().filter(is_beyond).collect())
    }

    /// Notes what all resources of a search refer to.
    async fn look_through(
        &mut self,
        source: &SearchRequest,
        sought: &mut Sought,
    ) -> Result<(), Error> {
        let known = self.store.parameters()?;
        let mut paging = Paging { count: PIECE, ..Paging::default() };
        loop {
            if sought.seen >= MOST {
                sought.is_cut = true;
                return Ok(());
            }
            let (page, _) = self.find(source, &paging).await?;
            for body in page.matches.iter().filter_map(|found| found.version.body.as_deref()) {
                sought.add(body, known.extractor.base(), |_| true);
            }
            paging.cursor = page.next;
            if paging.cursor.is_none() {
                return Ok(());
            }
        }
    }

    /// Finds what was referred to, notes what it refers to in turn, and keeps what is to be shown.
    async fn meet(
        &mut self,
        (of, some): (ResourceType, &[Identity]),
        from: Option<&Identity>,
        sought: &mut Sought,
        shown: &mut Shown,
    ) -> Result<(), Error> {
        let ids = some.iter().map(|identity| identity.id.as_str().into()).collect();
        let request = request(vec![of], vec![Filter::Id(ids)]);
        let paging = Paging { count: PIECE, cursor: None, is_placed: true };
        let (page, _) = self.find(&request, &paging).await?;
        let known = self.store.parameters()?;
        let since = self.plan.since.and_then(|since| since.low);
        for (found, place) in page.matches.into_iter().zip(page.places) {
            let version = found.version;
            if let Some(body) = version.body.as_deref().filter(|_| is_supporting(of)) {
                sought.add(body, known.extractor.base(), is_supporting);
            }
            let is_behind = from.is_none_or(|from| version.identity > *from);
            let is_new = since.is_none_or(|since| version.last_updated >= since);
            if is_behind && is_new && self.is_wanted(of) {
                shown.add(version, place.patients);
            }
        }
        Ok(())
    }
}

/// Whether a type is of those that support what is done.
fn is_supporting(of: ResourceType) -> bool {
    SUPPORTING.contains(&of.as_str())
}

fn identity(text: &str) -> Result<Identity, Error> {
    let unknown = || Error::internal("a place that was sealed names no resource");
    let (of, id) = text.split_once('/').ok_or_else(unknown)?;
    let resource_type = of.parse().map_err(|_| unknown())?;
    Ok(Identity { resource_type, id: id.parse().map_err(|_| unknown())? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sought_is_met_once_and_type_by_type() {
        let of = |name: &str| name.parse::<ResourceType>().expect("a type");
        let types = BTreeSet::from([of("Location"), of("Practitioner"), of("Device")]);
        let mut sought = Sought::new(types);
        let body = br#"{"a": {"reference": "Practitioner/b"}, "c": {"reference": "Practitioner/a"},
            "d": {"reference":"Location/a"}, "e": {"reference": "Patient/a"}}"#;
        for _ in 0..2 {
            sought.add(body, "http://k/fhir", |_| true);
        }
        sought.add(br#"{"reference": "Device/a"}"#, "http://k/fhir", is_supporting);
        let mut met = Vec::new();
        while let Some((of, some)) = sought.take() {
            let some: Vec<String> = some.iter().map(ToString::to_string).collect();
            met.push(format!("{of}: {}", some.join(" ")));
        }
        met.sort_unstable();
        let expected = ["Location: Location/a", "Practitioner: Practitioner/a Practitioner/b"];
        assert_eq!(met, expected);
        assert_eq!(sought.seen, 3);
    }

    #[test]
    fn what_is_nowhere_is_sought_so_often() {
        let practitioner = "Practitioner".parse::<ResourceType>().expect("a type");
        let one = |at: usize| format!(r#"{{"reference":"Practitioner/gone-{at}"}}"#);
        let body = (0..1_000).map(one).collect::<Vec<_>>().join(",");
        for (most, expected) in [(3, 3), (4, 4), (5, 4)] {
            let mut sought = Sought::new(BTreeSet::from([practitioner])).at_most(most);
            sought.add(body.as_bytes(), "http://k/fhir", |_| true);
            let rounds = std::iter::from_fn(|| sought.take()).count();
            assert_eq!(rounds, expected, "{most}");
        }
    }
}
