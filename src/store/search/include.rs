//! `_include` and `_revinclude`: what comes along with a page of matches.
//!
//! Where a match refers to is read from its body, and the targets of a round are looked up by one
//! statement for as many as may come; what refers to a match is found by the hash of the reference.
//! Rounds after the first follow what is iterated, from what the round before found. Each resource comes
//! once, and once in each other version that a reference names, so circles end; the request's
//! [`AlongLimits`] and [`MOST_PASSED`] bound the rest, and what a bound leaves out is told.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#include>, rest 4.196 to 4.212

use std::collections::{BTreeSet, HashMap};

use crate::access::interaction::Kind;
use crate::access::{Disclosed, Permit};
use crate::error::Error;
use crate::fhir::json::{self, Value};
use crate::fhir::{Identity, ResourceType, Version, VersionId};
use crate::search::extract::{IndexValue, ReferenceValue};
use crate::search::request::{AlongLimits, Include, SearchRequest};
use crate::spec::search_parameter::SearchType;
use crate::store::Store;
use crate::store::connection::Reader;
use crate::store::frame::Frame;
use crate::store::hash::Hasher;
use crate::store::index::Parameters;
use crate::store::resource::Current;

use super::atom::Parameter;
use super::frames::{Asking, Ran, permitted};
use super::reach::shared::may_tell;

mod known;
mod statement;

pub(in crate::store) use statement::STATEMENTS;

use known::Known;
use statement::{Referring, by_identity, old_versions};

/// Rows that one statement reads of what a canonical may mean.
const ROWS: usize = 2_000;
/// Hashes that one statement looks for.
pub(super) const HASHES: usize = 5_000;
/// Fewest targets that one statement looks up, however few may come: all may be out of reach.
const FEWEST: usize = 500;

/// Most rows that are looked at and do not come along: what the caller may not see, old versions of what
/// canonicals name.
const MOST_PASSED: usize = 50_000;

/// What comes along.
#[derive(Debug, Default)]
pub(in crate::store) struct Included {
    pub(in crate::store) versions: Vec<Version>,
    /// Whether there is more than may come.
    pub(in crate::store) is_cut: bool,
    /// What it tells of whom.
    pub(in crate::store) disclosed: Disclosed,
}

/// Finds what comes along with `matches`, as far as `permit` reaches; `ran` notes the statements of it.
pub(in crate::store) async fn included(
    request: &SearchRequest,
    matches: &[&Version],
    (reader, ran): (Reader<'_>, Option<&Ran>),
    store: &Store,
    permit: &Permit<'_>,
) -> Result<Included, Error> {
    let SearchRequest { includes, along, .. } = request;
    let AlongLimits { resources: most, rounds } = *along;
    if includes.is_empty() || matches.is_empty() {
        return Ok(Included::default());
    }
    let parameters = store.parameters()?;
    let hasher = store.hasher();
    let run = Run { store, parameters: &parameters, hasher, reader, ran, permit };
    let mut found = Found::beside(Known::of(matches), most);
    let mut wanted = Wanted::default();
    for version in matches {
        wanted.add(version, includes, &run)?;
    }
    for _ in 0..rounds {
        let start = found.included.versions.len();
        run.fetch(wanted, &mut found).await?;
        let news = &found.included.versions[start..];
        if news.is_empty() || found.included.is_cut {
            return Ok(found.included);
        }
        let iterated: Vec<Include> =
            includes.iter().filter(|include| include.is_iterated).cloned().collect();
        wanted = Wanted::default();
        for version in news.iter().filter(|_| !iterated.is_empty()) {
            wanted.add(version, &iterated, &run)?;
        }
    }
    // Only looking tells whether there is more.
    let Found { known, mut included, .. } = found;
    let mut more = Found::beside(known, most);
    run.fetch(wanted, &mut more).await?;
    included.is_cut = more.included.is_cut || !more.included.versions.is_empty();
    Ok(included)
}

/// A type that may have a canonical, its url, and the version where one is named.
type Name = (ResourceType, Box<str>, Option<Box<str>>);

/// What a round looks for.
#[derive(Default)]
struct Wanted {
    /// Targets, with the version that a reference names.
    targets: Vec<(Identity, Option<VersionId>)>,
    canonicals: BTreeSet<Name>,
    /// What refers to the resources at hand: type, hash, version of the canonical or 0.
    referring: BTreeSet<(ResourceType, i64, i32)>,
}

impl Wanted {
    /// Adds what `includes` bring along with `version`.
    fn add(
        &mut self,
        version: &Version,
        includes: &[Include],
        run: &Run<'_, '_>,
    ) -> Result<(), Error> {
        let own = version.identity.resource_type;
        let is_forward = |include: &&Include| {
            !include.is_reverse && include.source.is_none_or(|source| source == own)
        };
        let is_backward = |include: &&Include| {
            include.is_reverse && include.target.is_none_or(|target| target == own)
        };
        let text = version.to_json();
        let forward: Vec<&Include> = includes.iter().filter(is_forward).collect();
        let backward: Vec<&Include> = includes.iter().filter(is_backward).collect();
        let value = json::parse(&text).map_err(Error::internal)?;
        if !forward.is_empty() {
            self.add_targets(own, &value, &forward, run);
        }
        for include in backward {
            self.add_referring(&version.identity, &value, include, run)?;
        }
        Ok(())
    }

    fn add_targets(
        &mut self,
        own: ResourceType,
        value: &Value<'_>,
        includes: &[&Include],
        run: &Run<'_, '_>,
    ) {
        let extractor = &run.parameters.extractor;
        let extraction = extractor.extract(own, value);
        for (parameter, at) in extractor.parameters(own).iter().zip(0_u16..) {
            let is_asked = |include: &&&Include| {
                include.code.as_ref().is_none_or(|code| *code == parameter.code)
            };
            for include in includes.iter().filter(is_asked) {
                for row in extraction.of(at) {
                    if let IndexValue::Reference(reference) = &row.value {
                        self.add_target(reference, own, &parameter.code, include, run);
                    }
                }
            }
        }
    }

    fn add_target(
        &mut self,
        reference: &ReferenceValue<'_>,
        own: ResourceType,
        code: &str,
        include: &Include,
        run: &Run<'_, '_>,
    ) {
        match reference {
            ReferenceValue::Local { resource_type, id, version } => {
                if include.target.is_none_or(|target| target == *resource_type) {
                    let identity = Identity { resource_type: *resource_type, id: id.clone() };
                    self.targets.push((identity, *version));
                }
            }
            ReferenceValue::Canonical(canonical) => {
                for target in run.targets(own, code) {
                    if include.target.is_none_or(|wanted| wanted == target) {
                        let version = canonical.version.map(Into::into);
                        self.canonicals.insert((target, canonical.url.into(), version));
                    }
                }
            }
            ReferenceValue::Contained(_)
            | ReferenceValue::Identifier { .. }
            | ReferenceValue::Url(_) => {}
        }
    }

    fn add_referring(
        &mut self,
        to: &Identity,
        value: &Value<'_>,
        include: &Include,
        run: &Run<'_, '_>,
    ) -> Result<(), Error> {
        let identity = run.hasher.identity(to.resource_type, &to.id);
        let url = value.str_at("url");
        let version = run.hasher.system(value.str_at("version"));
        let sources = ResourceType::all()
            .filter(|source| include.source.is_none_or(|wanted| wanted == *source));
        for source in sources {
            if !may_tell((source, to), run.permit, run.hasher)? {
                continue;
            }
            for code in run.references(source, include.code.as_deref(), to.resource_type) {
                let Some(stored) = run.parameters.stored(source, code) else { continue };
                let parameter = Parameter::of(vec![stored]);
                for of in parameter.to(to.resource_type) {
                    self.referring.insert((source, Hasher::reference(of, identity), 0));
                }
                let url = url.iter().flat_map(|url| {
                    parameter.elsewhere().into_iter().map(|of| run.hasher.url(of, url))
                });
                self.referring.extend(url.map(|h| (source, h, version)));
            }
        }
        Ok(())
    }
}

/// What was found so far.
struct Found {
    known: Known,
    included: Included,
    /// How many may come along.
    most: usize,
    /// How many rows were looked at and did not come along.
    passed: usize,
}

impl Found {
    fn beside(known: Known, most: usize) -> Self {
        Self { known, included: Included::default(), most, passed: 0 }
    }

    /// How many more may come, and one that tells that there are too many.
    fn limit(&self) -> usize {
        self.most.saturating_sub(self.included.versions.len()) + 1
    }

    /// Takes note of rows that do not come along: where they are too many, nobody knows what is behind them.
    fn pass(&mut self, rows: usize) {
        self.passed += rows;
        self.included.is_cut |= self.passed > MOST_PASSED;
    }

    /// Adds a resource as it is now, as the caller of `run` is shown it.
    fn add(&mut self, found: Current, run: &Run<'_, '_>) -> Result<(), Error> {
        self.add_version(found, true, run)
    }

    fn add_version(
        &mut self,
        found: Current,
        is_current: bool,
        run: &Run<'_, '_>,
    ) -> Result<(), Error> {
        if !self.known.lacks(&found.version, is_current) {
            return Ok(());
        }
        if self.included.versions.len() >= self.most {
            self.included.is_cut = true;
            return Ok(());
        }
        self.known.note(&found.version, is_current);
        let found = (found.version, found.patients);
        let (version, patients) = run.store.cut_by(found, Kind::SearchType, run.permit)?;
        self.included.disclosed.patients.extend(patients);
        self.included.versions.push(version);
        Ok(())
    }
}

/// One search's includes on one connection.
struct Run<'a, 'gate> {
    store: &'a Store,
    parameters: &'a Parameters,
    hasher: &'a Hasher,
    reader: Reader<'a>,
    ran: Option<&'a Ran>,
    permit: &'a Permit<'gate>,
}

impl<'gate> Run<'_, 'gate> {
    fn at(&self) -> Asking<'_, 'gate> {
        let (store, reader, permit, ran) = (self.store, self.reader, self.permit, self.ran);
        Asking { store, reader, permit, kind: Kind::SearchType, ran }
    }

    /// The types that a reference parameter may lead to.
    fn targets(&self, of: ResourceType, code: &str) -> Vec<ResourceType> {
        let parameters = self.parameters.extractor.search_parameters();
        match parameters.find(of, code) {
            None => Vec::new(),
            Some(found) if found.targets.is_empty() => ResourceType::all().collect(),
            Some(found) => found.targets.clone(),
        }
    }

    /// The reference parameters of `of`, called `code` where one is asked for, that may lead to `to`.
    fn references(
        &self,
        of: ResourceType,
        code: Option<&str>,
        to: ResourceType,
    ) -> impl Iterator<Item = &str> {
        let all = self.parameters.extractor.search_parameters().of(of);
        all.filter(move |parameter| {
            let custom = parameter.custom.as_ref();
            parameter.search_type == SearchType::Reference
                && custom.is_none_or(|custom| custom.progress.is_none())
                && code.is_none_or(|code| code == &*parameter.code)
                && (parameter.targets.is_empty() || parameter.targets.contains(&to))
        })
        .map(|parameter| &*parameter.code)
    }

    async fn fetch(&self, wanted: Wanted, found: &mut Found) -> Result<(), Error> {
        let Wanted { targets, canonicals, referring } = wanted;
        self.fetch_targets(targets, found).await?;
        self.fetch_canonicals(canonicals, found).await?;
        self.fetch_referring(referring, found).await
    }

    async fn fetch_targets(
        &self,
        targets: Vec<(Identity, Option<VersionId>)>,
        found: &mut Found,
    ) -> Result<(), Error> {
        let is_new = |(of, version): &(Identity, Option<VersionId>)| !found.known.has(of, *version);
        let mut targets: Vec<_> = targets.into_iter().filter(is_new).collect();
        // A reference to no version comes first: it is to the current one, whatever others name.
        targets.sort_unstable();
        targets.dedup();
        let by_type = targets.into_iter().map(|target| (target.0.resource_type, target));
        for (frame, targets) in permitted(self.permit, Kind::SearchType, by_type)? {
            let mut old: Vec<(Identity, VersionId)> = Vec::new();
            // Each finds one at most, so what is out of reach takes no other's place.
            for targets in targets.chunks(found.most.saturating_add(1).clamp(FEWEST, HASHES)) {
                if found.included.is_cut {
                    return Ok(());
                }
                let mut hashes: Vec<i64> = targets
                    .iter()
                    .map(|(of, _)| self.hasher.identity(of.resource_type, &of.id))
                    .collect();
                // Versions of one stand side by side.
                hashes.dedup();
                let resources = by_identity(&hashes, &frame, self.at()).await?;
                let current_versions: HashMap<Identity, Current> = resources
                    .into_iter()
                    .map(|resource| (resource.version.identity.clone(), resource))
                    .collect();
                for (identity, version) in targets {
                    match (current_versions.get(identity), version) {
                        (Some(resource), None) => found.add(resource.clone(), self)?,
                        (Some(resource), Some(version)) if resource.version.version == *version => {
                            found.add_version(resource.clone(), false, self)?;
                        }
                        // Old versions are shown to who may see the current one.
                        (current, Some(version))
                            if current.is_some() || frame == Frame::Everything =>
                        {
                            old.push((identity.clone(), *version));
                        }
                        (None, _) | (Some(_), Some(_)) => {}
                    }
                }
            }
            self.fetch_old(&old, frame.narrow(), found).await?;
        }
        Ok(())
    }

    /// Versions that references name and that are not current (rest 4.208).
    async fn fetch_old(
        &self,
        wanted: &[(Identity, VersionId)],
        reach: Option<&[i64]>,
        found: &mut Found,
    ) -> Result<(), Error> {
        for wanted in wanted.chunks(found.most.saturating_add(1).clamp(FEWEST, HASHES)) {
            if found.included.is_cut {
                return Ok(());
            }
            for version in old_versions(wanted, reach, self.at()).await? {
                found.add_version(version, false, self)?;
            }
        }
        Ok(())
    }

    /// The resources that canonicals name: of several versions, where none is named, the newest.
    async fn fetch_canonicals(
        &self,
        wanted: BTreeSet<Name>,
        found: &mut Found,
    ) -> Result<(), Error> {
        let by_hash = wanted.iter().filter_map(|(of, url, _)| {
            let parameter = self.hasher.parameter(*of, "url");
            let is_there = self.parameters.extractor.place(*of, "url").is_some();
            is_there.then(|| (*of, (self.hasher.url(parameter, url), 0)))
        });
        let mut newest: HashMap<Name, Current> = HashMap::new();
        for (frame, hashes) in permitted(self.permit, Kind::SearchType, by_hash)? {
            for hashes in hashes.chunks(HASHES) {
                let mut walk = Referring::to(hashes, &frame);
                while !found.included.is_cut {
                    // Each may be the newest of its name, however many there are.
                    let Some(next) = walk.next(ROWS, self.at()).await? else { break };
                    found.pass(next.passed + next.within.len());
                    for resource in &next.within {
                        keep_newest(&mut newest, resource, &wanted)?;
                    }
                }
            }
        }
        let mut all: Vec<Current> = newest.into_values().collect();
        all.sort_unstable_by(|one, other| one.version.identity.cmp(&other.version.identity));
        for resource in all {
            found.add(resource, self)?;
        }
        Ok(())
    }

    async fn fetch_referring(
        &self,
        wanted: BTreeSet<(ResourceType, i64, i32)>,
        found: &mut Found,
    ) -> Result<(), Error> {
        let by_type = wanted.into_iter().map(|(of, hash, version)| (of, (hash, version)));
        for (frame, hashes) in permitted(self.permit, Kind::SearchType, by_type)? {
            for hashes in hashes.chunks(HASHES) {
                let mut walk = Referring::to(hashes, &frame);
                while !found.included.is_cut {
                    // What is known already may fill the rows: it does not take the place of others.
                    let limit = found.limit() + found.known.len();
                    let Some(next) = walk.next(limit, self.at()).await? else { break };
                    for resource in next.within {
                        found.add(resource, self)?;
                    }
                    found.pass(next.passed);
                }
            }
        }
        Ok(())
    }
}

/// Keeps a resource under the names that it is the newest of.
fn keep_newest(
    newest: &mut HashMap<Name, Current>,
    resource: &Current,
    wanted: &BTreeSet<Name>,
) -> Result<(), Error> {
    let text = resource.version.to_json();
    let value = json::parse(&text).map_err(Error::internal)?;
    let of = resource.version.identity.resource_type;
    let url: Box<str> = value.str_at("url").unwrap_or_default().into();
    for version in [None, value.str_at("version").map(Into::into)] {
        let name = (of, url.clone(), version);
        let is_newer = |known: &Current| known.version.last_updated < resource.version.last_updated;
        if wanted.contains(&name) && newest.get(&name).is_none_or(is_newer) {
            newest.insert(name, resource.clone());
        }
    }
    Ok(())
}
