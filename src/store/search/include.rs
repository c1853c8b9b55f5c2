//! `_include` and `_revinclude`: what comes along with a page of matches.
//!
//! Where a match refers to is read from its body, and all targets of a round are looked up by one
//! statement; what refers to a match is found by the hash of the reference. Rounds after the first
//! follow what is iterated, from what the round before found. Each resource comes once, so circles
//! end; [`MOST_ROUNDS`] and [`MOST_ROWS`] bound the rest.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#include>, rest 4.196 to 4.212

use std::collections::{BTreeSet, HashMap, HashSet};

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::access::interaction::Kind;
use crate::access::{Disclosed, Permit};
use crate::error::Error;
use crate::fhir::json::{self, Value};
use crate::fhir::{Identity, ResourceType, Version, VersionId};
use crate::search::extract::{IndexValue, ReferenceValue};
use crate::search::request::Include;
use crate::spec::search_parameter::SearchType;
use crate::store::connection::Reader;
use crate::store::frame::Frame;
use crate::store::hash::Hasher;
use crate::store::index::Parameters;
use crate::store::resource::{Current, current, keys_of, reached};
use crate::store::{Store, TENANT, rows};

use super::atom::Parameter;
use super::frames::{Asking, permitted, within};
use super::reach::shared::may_tell;

/// How often iterated includes are followed.
const MOST_ROUNDS: usize = 10;
/// Most resources that come along with a page.
const MOST_ROWS: usize = 2_000;
/// Hashes that one statement looks for.
pub(super) const HASHES: usize = 5_000;

macro_rules! columns {
    () => {
        "r.vid, r.lu, r.op, r.meta, r.body, r.pats, r.rid, r.xid, r.rt, r.id"
    };
}

/// Live resources by their identity: $1 hashes, $2 reach, $3 limit.
const BY_IDENTITY: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM srow x JOIN res r ON r.rid = x.rid AND r.dk = x.dk \
     WHERE x.idh = ANY($1::bigint[]) AND ",
    reached!("r", "$2"),
    " AND r.op <> 'D' ORDER BY r.rid LIMIT $3"
);

/// Live resources by what they refer to: $1 hashes, each with the version in $2 where the reference
/// may name one, $3 reach, $4 limit.
const BY_REFERENCE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM (SELECT DISTINCT f.rid FROM unnest($1::bigint[], $2::int[]) u(h, v) CROSS JOIN LATERAL \
     (SELECT t.rid FROM tok t WHERE t.h = u.h AND (t.sysh = 0 OR t.sysh = u.v) \
      AND ($3::bigint[] IS NULL \
        OR EXISTS (SELECT FROM res v WHERE v.rid = t.rid AND ",
    reached!("v", "$3"),
    " OFFSET 0)) ORDER BY t.s DESC, t.rid DESC LIMIT $4) f) k \
     JOIN res r ON r.rid = k.rid WHERE r.op <> 'D' ORDER BY r.rid LIMIT $4"
);

/// Versions that are not current any more: $1 tenant, $2 to $4 what and which, $5 reach.
const OLD_VERSIONS: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM unnest($2::smallint[], $3::text[], $4::int[]) w(rt, id, vid) ",
    keys_of!("w", "id"),
    " JOIN hist r ON r.rid = i.rid AND r.dk = i.dk AND r.vid = w.vid \
     WHERE r.op <> 'D' AND ",
    reached!("r", "$5")
);

/// Every statement of this file, for the test that prepares them.
pub(in crate::store) const STATEMENTS: &[&str] = &[BY_IDENTITY, BY_REFERENCE, OLD_VERSIONS];

/// What comes along.
#[derive(Debug, Default)]
pub(in crate::store) struct Included {
    pub(in crate::store) versions: Vec<Version>,
    /// Whether there is more than may come.
    pub(in crate::store) is_cut: bool,
    /// What it tells of whom.
    pub(in crate::store) disclosed: Disclosed,
}

/// Finds what comes along with `matches`, as far as `permit` reaches.
pub(in crate::store) async fn included(
    includes: &[Include],
    matches: &[&Version],
    reader: Reader<'_>,
    store: &Store,
    permit: &Permit<'_>,
) -> Result<Included, Error> {
    if includes.is_empty() || matches.is_empty() {
        return Ok(Included::default());
    }
    let parameters = store.parameters()?;
    let hasher = store.hasher();
    let run = Run { store, parameters: &parameters, hasher, reader, permit };
    let known = matches.iter().map(|version| version.identity.clone()).collect();
    let mut found = Found { known, included: Included::default() };
    let mut wanted = Wanted::default();
    for version in matches {
        wanted.add(version, includes, &run)?;
    }
    for _ in 0..MOST_ROUNDS {
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
    let Found { known, mut included } = found;
    let mut more = Found { known, included: Included::default() };
    run.fetch(wanted, &mut more).await?;
    included.is_cut = !more.included.versions.is_empty();
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
    /// The matches and what came along: no resource twice.
    known: HashSet<Identity>,
    included: Included,
}

impl Found {
    /// How many more may come, and one that tells that there are too many.
    fn limit(&self) -> i64 {
        i64::try_from(MOST_ROWS - self.included.versions.len().min(MOST_ROWS) + 1)
            .unwrap_or(i64::MAX)
    }

    /// Adds a resource as the caller of `run` is shown it.
    fn add(&mut self, found: Current, run: &Run<'_, '_>) -> Result<(), Error> {
        if self.included.versions.len() >= MOST_ROWS {
            self.included.is_cut |= !self.known.contains(&found.version.identity);
            return Ok(());
        }
        if !self.known.insert(found.version.identity.clone()) {
            return Ok(());
        }
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
    permit: &'a Permit<'gate>,
}

impl<'gate> Run<'_, 'gate> {
    fn at(&self) -> Asking<'_, 'gate> {
        let kind = Kind::SearchType;
        Asking { store: self.store, reader: self.reader, permit: self.permit, kind }
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
        let is_new = |(identity, _): &(Identity, _)| !found.known.contains(identity);
        let mut targets: Vec<_> = targets.into_iter().filter(is_new).collect();
        // A reference to no version is to the current one, whatever others name.
        targets.sort_unstable();
        targets.dedup_by(|other, one| other.0 == one.0);
        let by_type = targets.into_iter().map(|target| (target.0.resource_type, target));
        for (frame, targets) in permitted(self.permit, Kind::SearchType, by_type)? {
            let reach = frame.bind();
            let mut old: Vec<(Identity, VersionId)> = Vec::new();
            for targets in targets.chunks(HASHES) {
                let versions: HashMap<&Identity, Option<VersionId>> =
                    targets.iter().map(|(identity, version)| (identity, *version)).collect();
                let hashes: Vec<i64> = versions
                    .keys()
                    .map(|identity| self.hasher.identity(identity.resource_type, &identity.id))
                    .collect();
                let limit = found.limit();
                let rows = self.reader.query(BY_IDENTITY, &[&hashes, &reach, &limit]).await?;
                let resources = rows.iter().map(read).collect::<Result<_, _>>()?;
                let resources =
                    within(&frame, resources, (key_of, is_sure(&frame)), self.at()).await?;
                let mut current_versions: HashMap<Identity, Current> = resources
                    .into_iter()
                    .map(|resource| (resource.version.identity.clone(), resource))
                    .collect();
                for (identity, version) in targets {
                    match (current_versions.remove(identity), version) {
                        (Some(resource), None) => found.add(resource, self)?,
                        (Some(resource), Some(version)) if resource.version.version == *version => {
                            found.add(resource, self)?;
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
        if wanted.is_empty() {
            return Ok(());
        }
        let types: Vec<i16> =
            wanted.iter().map(|(identity, _)| identity.resource_type.code()).collect();
        let ids: Vec<&str> = wanted.iter().map(|(identity, _)| identity.id.as_str()).collect();
        let versions: Vec<i32> = wanted.iter().map(|(_, version)| version.0).collect();
        let rows =
            self.reader.query(OLD_VERSIONS, &[&TENANT, &types, &ids, &versions, &reach]).await?;
        for row in &rows {
            found.add(read(row)?, self)?;
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
            for resource in self.by_hash(&hashes, &frame, found.limit()).await? {
                let text = resource.version.to_json();
                let value = json::parse(&text).map_err(Error::internal)?;
                let of = resource.version.identity.resource_type;
                let url: Box<str> = value.str_at("url").unwrap_or_default().into();
                for version in [None, value.str_at("version").map(Into::into)] {
                    let name = (of, url.clone(), version);
                    let is_newer = |known: &Current| {
                        known.version.last_updated < resource.version.last_updated
                    };
                    if wanted.contains(&name) && newest.get(&name).is_none_or(is_newer) {
                        newest.insert(name, resource.clone());
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
                // What is known already may fill the rows: it does not take the place of others.
                let limit = found.limit() + i64::try_from(found.known.len()).unwrap_or(0);
                for resource in self.by_hash(hashes, &frame, limit).await? {
                    found.add(resource, self)?;
                }
            }
        }
        Ok(())
    }

    async fn by_hash(
        &self,
        hashes: &[(i64, i32)],
        frame: &Frame,
        limit: i64,
    ) -> Result<Vec<Current>, Error> {
        let (hashes, versions): (Vec<i64>, Vec<i32>) = hashes.iter().copied().unzip();
        if hashes.is_empty() {
            return Ok(Vec::new());
        }
        let parameters: [&(dyn ToSql + Sync); 4] = [&hashes, &versions, &frame.bind(), &limit];
        let rows = self.reader.query(BY_REFERENCE, &parameters).await?;
        let found = rows.iter().map(read).collect::<Result<_, _>>()?;
        within(frame, found, (key_of, is_sure(frame)), self.at()).await
    }
}

fn key_of(found: &Current) -> (ResourceType, i64) {
    (found.version.identity.resource_type, found.rid)
}

fn is_sure(frame: &Frame) -> impl Fn(&Current) -> bool + '_ {
    |found| frame.is_sure(&found.version, &found.patients)
}

fn read(row: &Row) -> Result<Current, Error> {
    current(row, rows::identity(row, 8)?)
}
