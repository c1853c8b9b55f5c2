//! What a permit reaches, at every row of a search.
//!
//! A type that the caller may not search has no rows: neither for the matches nor for what a chain,
//! `_has` or an include goes through. So a search tells nothing that another search would not.

mod attached;
mod mentions;
mod named;
pub(super) mod shared;

pub(in crate::store) use attached::ATTACHING;
pub(in crate::store) use named::followed;

use std::collections::HashSet;

use crate::access::interaction::Kind;
use crate::access::restriction::{Belonging, Clause, Limits, Members, Withheld};
use crate::access::{Permit, Restriction};
use crate::error::Error;
use crate::fhir::ResourceType;
use crate::fhir::reference::after_scheme;
use crate::search::request::Filter;
use crate::store::connection::Reader;
use crate::store::index::{SHARED, inside};
use crate::store::{Store, TENANT, failure};

use super::compile::{Compiler, Row};
use super::run::parameters;
use super::sql::{Bind, Cond};

/// A key that no row has.
const NO_ROW: i64 = -1;

/// What of a type may be found under `permit`: as a match, on the way to one, or along with one.
/// `None`: none of them may be searched for.
pub(super) fn searchable(
    permit: &Permit<'_>,
    of: ResourceType,
) -> Result<Option<Restriction>, Error> {
    reach_by(permit.finds_by(), permit, of)
}

/// How far the permit's caller may go with an interaction with a type.
pub(super) fn reach_by(
    kind: Kind,
    permit: &Permit<'_>,
    of: ResourceType,
) -> Result<Option<Restriction>, Error> {
    match permit.derive(kind, of) {
        Ok(permit) => Ok(Some(permit.restriction().clone())),
        Err(Error::Forbidden) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Which of the live resources of the permit's type, by the store's keys, it reaches.
pub(in crate::store) async fn reached(
    store: &Store,
    reader: Reader<'_>,
    rids: &[i64],
    permit: &Permit<'_>,
) -> Result<HashSet<i64>, Error> {
    let Some(limits) = permit.limits() else { return Ok(rids.iter().copied().collect()) };
    reached_of(store, reader, (permit.resource_type()?, rids), limits, permit).await
}

/// The same of no row: what is not there takes the trips of what is there and out of reach, so that the time
/// does not tell one from the other. Asked for where both are answered alike, and nowhere else.
pub(in crate::store) async fn looked_in_vain(
    store: &Store,
    reader: Reader<'_>,
    permit: &Permit<'_>,
) -> Result<(), Error> {
    reached(store, reader, &[NO_ROW], permit).await.map(drop)
}

/// The same of any type, within limits of it.
pub(in crate::store) async fn reached_of(
    store: &Store,
    reader: Reader<'_>,
    (of, rids): (ResourceType, &[i64]),
    limits: &Limits,
    permit: &Permit<'_>,
) -> Result<HashSet<i64>, Error> {
    if rids.is_empty() {
        return Ok(HashSet::new());
    }
    let (known, turned) = (store.parameters()?, HashSet::new());
    let (definitions, hasher) = (store.definitions()?, store.hasher());
    let mut compiler = Compiler::new(&known, definitions, hasher, permit, &turned);
    let alias = compiler.alias();
    let row = Row::resource(&alias, vec![of]);
    let within = compiler.within_limits(limits, of, &row)?;
    let code = compiler.binds.add(Bind::Short(of.code()));
    let keys = compiler.binds.longs(rids.iter().copied());
    let text = format!(
        "SELECT {alias}.rid FROM srow {alias} WHERE {alias}.rid = ANY ({keys}) \
         AND {alias}.rt = {code}{}",
        within.and()
    );
    let statement = compiler.binds.finish(&text);
    let rows = reader.query_compiled(&statement.sql, &parameters(&statement)).await?;
    rows.iter().map(|row| row.try_get(0).map_err(failure::error)).collect()
}

impl Compiler<'_, '_> {
    /// How far the permit reaches into a type; `None`: it may not be searched.
    pub(super) fn reach(&self, of: ResourceType) -> Result<Option<Restriction>, Error> {
        searchable(self.permit, of)
    }

    /// The condition that the permit reaches the row.
    pub(super) fn visible(&mut self, row: &Row<'_>) -> Result<Cond, Error> {
        if self.is_inside {
            return self.within(false, |it| it.is_container_visible(row));
        }
        self.visible_by(self.permit.finds_by(), row)
    }

    /// The condition that the caller reaches the row by an interaction of a kind.
    fn visible_by(&mut self, kind: Kind, row: &Row<'_>) -> Result<Cond, Error> {
        let mut groups: Vec<(Restriction, Vec<ResourceType>)> = Vec::new();
        for &of in row.types.iter() {
            let Some(reach) = reach_by(kind, self.permit, of)? else { continue };
            match groups.iter_mut().find(|(known, _)| *known == reach) {
                Some((_, types)) => types.push(of),
                None => groups.push((reach, vec![of])),
            }
        }
        let mut any = Vec::new();
        for (reach, types) in groups {
            let of_type = self.is_type_of(&types, row);
            any.push(match reach.limits() {
                None => of_type,
                Some(limits) => {
                    let first = types.first().copied().unwrap_or(ResourceType::PATIENT);
                    let part = Row { types: types.into(), ..row.clone() };
                    let within = self.within_limits(limits, first, &part)?;
                    Cond::all([of_type, within])
                }
            });
        }
        Ok(Cond::any(any))
    }

    /// The condition that limits reach the row; `of` is the type that their filters are about.
    pub(super) fn within_limits(
        &mut self,
        limits: &Limits,
        of: ResourceType,
        row: &Row<'_>,
    ) -> Result<Cond, Error> {
        let mut any = Vec::new();
        for clause in &limits.clauses {
            any.push(self.fulfils(clause, of, row)?);
        }
        let mut all = vec![Cond::any(any)];
        for withheld in &limits.withheld {
            all.push(self.is_withheld(withheld, row)?.not());
        }
        let (deniers, ids) = limits.denied_by_attachment();
        if !deniers.is_empty() {
            all.push(attached::is_kept_back(self, (&deniers, &ids), row)?.not());
        }
        Ok(Cond::all(all))
    }

    fn fulfils(&mut self, clause: &Clause, of: ResourceType, row: &Row<'_>) -> Result<Cond, Error> {
        let mut all = vec![self.is_one_of(&clause.members, of, row)?];
        for filter in clause.criteria.iter() {
            all.push(self.filter(filter, row)?);
        }
        Ok(Cond::all(all))
    }

    fn is_withheld(&mut self, withheld: &Withheld, row: &Row<'_>) -> Result<Cond, Error> {
        let filter = self.filter(&withheld.filter, row)?;
        let ids = &*withheld.ids;
        let theirs = match withheld.patients.as_deref() {
            None => Cond::True,
            Some(patients) => match withheld.told_by {
                // What it is attached to is asked of all of them at once.
                Belonging::Attachment => {
                    self.refers_to_denier("{}.body#>>'{securityContext,reference}'", ids, row)
                }
                Belonging::Compartment => self.is_of_one(patients, row),
                Belonging::Patient => {
                    self.refers_to_denier("{}.body#>>'{patient,reference}'", ids, row)
                }
                told_by @ (Belonging::Parts | Belonging::References | Belonging::Targets) => {
                    self.names_one(told_by, (patients, ids), row)
                }
            },
        };
        let filter = match &withheld.within {
            Some(of) => Cond::any([filter, self.is_within(of, row)]),
            None => filter,
        };
        // What is known of the row comes first: whose it is must be looked up, a body must be read.
        let reads_body = withheld.filter.has(&|it| matches!(it, Filter::Mentions { .. }));
        Ok(if reads_body { Cond::all([theirs, filter]) } else { Cond::all([filter, theirs]) })
    }

    /// That the row is of one of the patients; what is walked may tell it.
    fn is_of_one(&mut self, patients: &[i64], row: &Row<'_>) -> Cond {
        let Some(walked) = row.walked.as_deref().filter(|walked| !walked.is_empty()) else {
            return self.is_member(patients, row);
        };
        let is_known = |patient: &i64| patients.binary_search(patient).is_ok();
        if walked.iter().all(is_known) {
            return Cond::True;
        }
        let theirs = self.is_member(patients, row);
        match &row.toks {
            // What is of somebody walked is of somebody else only where it is of several.
            Some(toks) if !walked.iter().any(is_known) => {
                let shared = self.binds.long(SHARED);
                Cond::all([Cond::Sql(format!("{shared} = ANY ({toks})")), theirs])
            }
            _ => theirs,
        }
    }

    fn is_one_of(
        &mut self,
        members: &Members,
        of: ResourceType,
        row: &Row<'_>,
    ) -> Result<Cond, Error> {
        Ok(match members {
            Members::Everyone => Cond::True,
            Members::Patients(patients) => self.is_of_these_alone(patients, row),
            Members::InPart(patients) => {
                let walked = row.walked.as_deref().filter(|walked| !walked.is_empty());
                if walked.is_some_and(|walked| walked.iter().all(|it| patients.contains(it))) {
                    return Ok(Cond::True);
                }
                self.is_member(patients, row)
            }
            Members::Themselves(patients) => self.is_identity(patients, row),
            Members::OwnOrNobodys(patients) => {
                let own = self.refers_to("{}.body#>>'{patient,reference}'", patients, row);
                let nobodys = self.resource_holds(row, |res| format!("NOT {res}.body ? 'patient'"));
                Cond::any([own, nobodys])
            }
            Members::Documents(patients) => {
                let subject = "{}.body#>>'{entry,0,resource,subject,reference}'";
                let own = self.refers_to(subject, patients, row);
                let document = self.resource_holds(row, |res| {
                    format!(
                        "{res}.body->>'type' = 'document' \
                         AND {res}.body#>>'{{entry,0,resource,resourceType}}' = 'Composition'"
                    )
                });
                Cond::all([document, own])
            }
            Members::Collections(patients) => {
                let own = self.is_of_these_alone(patients, row);
                Cond::all([own, self.holds_others(patients, row).not()])
            }
            Members::Context(_) => {
                let context = "jsonb_build_array({}.body->'securityContext')";
                let own = self.leads_to_visible(of, context, row)?;
                Cond::any([own, attached::is_visible(self, of, row)?])
            }
            Members::Targets(_) => self.leads_to_visible(of, "{}.body->'target'", row)?,
        })
    }

    /// A condition over the row of `res`.
    pub(super) fn resource_holds(
        &mut self,
        row: &Row<'_>,
        holds: impl FnOnce(&str) -> String,
    ) -> Cond {
        let (alias, rid) = (self.alias(), &row.rid);
        let holds = holds(&alias);
        Cond::exists(&format!("res {alias} WHERE {alias}.rid = {rid} AND {holds}"))
    }

    /// The condition that the row is in one compartment at most.
    pub(super) fn is_unshared(&mut self, row: &Row<'_>) -> Cond {
        if self.is_inside {
            return Cond::True;
        }
        self.resource_column(row, row.toks.as_deref(), "toks", |binds, toks| {
            format!("NOT ({} = ANY ({toks}))", binds.long(SHARED))
        })
    }

    /// The condition that the row, where it is visible, is not shown in part.
    fn is_whole(&mut self, row: &Row<'_>) -> Cond {
        let cut: Vec<ResourceType> = row
            .types
            .iter()
            .copied()
            .filter(|of| shared::shown_in_part(self.permit, *of).is_ok_and(|it| it.is_some()))
            .collect();
        let is_cut = self.is_type_of(&cut, row);
        Cond::any([is_cut.not(), self.is_unshared(row)])
    }

    /// The condition that the permit reaches the container of the contained resource.
    fn is_container_visible(&mut self, row: &Row<'_>) -> Result<Cond, Error> {
        let container = self.alias();
        let types: Vec<ResourceType> = ResourceType::all().collect();
        let within = Row::resource(&container, types);
        // What is contained is not shown where others have a part in the container.
        let whole = self.is_whole(&within);
        let visible = self.visible(&within)?;
        Ok(match Cond::all([visible, whole]) {
            Cond::Sql(reached) => {
                let rid = inside::container(&row.rid);
                Cond::exists(&format!(
                    "srow {container} WHERE {container}.rid = {rid} AND {reached}"
                ))
            }
            decided => decided,
        })
    }

    /// The condition that the row lies in the compartment of one of the patients.
    pub(super) fn is_member(&mut self, patients: &[i64], row: &Row<'_>) -> Cond {
        self.member(patients, row, |_, _| String::new())
    }

    /// The condition that the row lies in compartments of these patients and of nobody else's.
    fn is_of_these_alone(&mut self, patients: &[i64], row: &Row<'_>) -> Cond {
        if patients.is_empty() {
            return Cond::False;
        }
        if row.s.is_none() {
            let patients = self.binds.longs(patients.iter().copied());
            return self.resource_holds(row, |res| {
                format!("{res}.pats <> '{{}}' AND {res}.pats <@ {patients}")
            });
        }
        let is_walked =
            row.walked.as_ref().is_some_and(|walked| walked.iter().all(|it| patients.contains(it)));
        if let (true, Some(toks)) = (is_walked, &row.toks) {
            let (toks, rid) = (toks.clone(), row.rid.clone());
            return Cond::Sql(self.is_alone(patients, &toks, &rid));
        }
        self.member(patients, row, |it, member| {
            let row = Row::member(member, Vec::<ResourceType>::new());
            let toks = row.toks.unwrap_or_default();
            format!(" AND {}", it.is_alone(patients, &toks, &row.rid))
        })
    }

    /// That what is in the compartment of one of the patients is in nobody else's.
    fn is_alone(&mut self, patients: &[i64], toks: &str, rid: &str) -> String {
        let shared = self.binds.long(SHARED);
        if patients.len() == 1 {
            return format!("NOT ({shared} = ANY ({toks}))");
        }
        let (alias, patients) = (self.alias(), self.binds.longs(patients.iter().copied()));
        format!(
            "(NOT ({shared} = ANY ({toks})) OR EXISTS (SELECT FROM res {alias} \
             WHERE {alias}.rid = {rid} AND {alias}.pats <@ {patients} OFFSET 0))"
        )
    }

    fn member(
        &mut self,
        patients: &[i64],
        row: &Row<'_>,
        more: impl FnOnce(&mut Self, &str) -> String,
    ) -> Cond {
        if patients.is_empty() {
            return Cond::False;
        }
        let (alias, rid) = (self.alias(), &row.rid);
        // A row's place among those of a patient is known where its date is.
        let Some(s) = &row.s else {
            let patients = self.binds.longs(patients.iter().copied());
            return Cond::exists(&format!(
                "res {alias} WHERE {alias}.rid = {rid} AND {alias}.pats && {patients}"
            ));
        };
        let is_theirs = self.binds.is_one_of(&format!("{alias}.pat"), patients);
        let codes: Vec<i16> = row.types.iter().map(|of| of.code()).collect();
        let of_type = self.binds.is_type(&format!("{alias}.rt"), &codes);
        let more = more(self, &alias);
        Cond::exists(&format!(
            "comp {alias} WHERE {is_theirs} AND {of_type} AND {alias}.s = {s} AND {alias}.rid = {rid}{more}"
        ))
    }

    /// The reference in the body is to one of these patients.
    pub(super) fn refers_to(&mut self, reference: &str, patients: &[i64], row: &Row<'_>) -> Cond {
        if patients.is_empty() {
            return Cond::False;
        }
        let (text, target) = (self.alias(), self.alias());
        let (from, identified) = self.identified(&format!("{text}.t"));
        let is_theirs = self.binds.is_one_of(&format!("{target}.idh"), patients);
        self.resource_holds(row, |res| {
            let reference = reference.replacen("{}", res, 1);
            format!(
                "EXISTS (SELECT FROM (SELECT {reference}) {text}(t), {from} \
                 JOIN srow {target} ON {target}.rid = i.rid \
                 WHERE {identified} AND {is_theirs} OFFSET 0)"
            )
        })
    }

    /// A member of the collection is of somebody else than these patients, too or alone.
    fn holds_others(&mut self, patients: &[i64], row: &Row<'_>) -> Cond {
        let (entry, member) = (self.alias(), self.alias());
        let (from, identified) = self.identified(&format!("({entry}.v#>>'{{item,reference}}')"));
        let mine = self.binds.longs(patients.iter().copied());
        self.resource_holds(row, |res| {
            format!(
                "jsonb_typeof({res}.body->'entry') = 'array' AND EXISTS (\
                 SELECT FROM jsonb_array_elements({res}.body->'entry') {entry}(v), {from} \
                 JOIN res {member} ON {member}.rid = i.rid \
                 WHERE {identified} AND NOT {member}.pats <@ {mine} OFFSET 0)"
            )
        })
    }

    /// All references in a list of the body, of which there is one at least, lead to what the caller
    /// may read whole: what is a part of it may name the others. What is a part of others itself leads
    /// nowhere, so circles end.
    fn leads_to_visible(
        &mut self,
        of: ResourceType,
        list: &str,
        row: &Row<'_>,
    ) -> Result<Cond, Error> {
        const LED: [ResourceType; 3] =
            [ResourceType::BINARY, ResourceType::BUNDLE, ResourceType::PROVENANCE];
        if !LED.contains(&of) {
            return Ok(Cond::False);
        }
        let types: Vec<ResourceType> =
            ResourceType::all().filter(|target| !LED.contains(target)).collect();
        let (reference, target) = (self.alias(), self.alias());
        let (from, identified) = self.identified(&format!("({reference}.v->>'reference')"));
        let target_row = Row::resource(&target, types);
        let visible = self.visible_by(Kind::Read, &target_row)?;
        let visible = Cond::all([visible, self.is_whole(&target_row)]).and();
        Ok(self.resource_holds(row, |res| {
            let list = list.replace("{}", res);
            format!(
                "jsonb_typeof({list}) = 'array' AND {list} <> '[]' AND NOT EXISTS (\
                 SELECT FROM jsonb_array_elements({list}) {reference}(v) WHERE NOT EXISTS (\
                 SELECT FROM {from} JOIN srow {target} ON {target}.rid = i.rid \
                 WHERE {identified}{visible} OFFSET 0))"
            )
        }))
    }

    /// The resource that a reference in SQL names: what to look in, as `i`, and how it is found. What follows
    /// `#` is a place in it, as `Target` has it.
    fn identified(&mut self, reference: &str) -> (String, String) {
        let relative = self.relative(reference);
        let names = ResourceType::all().map(|of| of.as_str().to_owned()).collect();
        let names = self.binds.add(Bind::Texts(names));
        let (parts, alias) = (self.alias(), "i");
        let from = format!(
            "LATERAL (SELECT regexp_match({relative}, \
             '^([A-Za-z]+)/([A-Za-z0-9.-]{{1,64}})(/_history/[A-Za-z0-9.-]+)?(#[^?]*)?$')) {parts}(m), ident {alias}"
        );
        let identified = format!(
            "{alias}.tid = {TENANT} AND {alias}.rt = array_position({names}, {parts}.m[1])::smallint \
             AND {alias}.id = {parts}.m[2]"
        );
        (from, identified)
    }

    /// A reference in SQL without this server's base.
    fn relative(&mut self, reference: &str) -> String {
        let base = self.parameters.extractor.base().to_owned();
        let ours = format!("{}/", after_scheme(&base).unwrap_or(&base));
        let ours = self.binds.text(ours);
        // http and https are one base, as `Target` reads it.
        let rest = format!("substr({reference}, strpos({reference}, '://') + 3)");
        format!(
            "CASE WHEN {reference} LIKE '%://%' AND left({reference}, 1) <> '#' \
             AND starts_with({rest}, {ours}) \
             THEN substr({rest}, length({ours}) + 1) ELSE {reference} END"
        )
    }
}
