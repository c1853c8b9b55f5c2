//! From filters to conditions over a row.
//!
//! Every condition looks its row up by key (see [`Cond::exists`]): which rows are walked is decided
//! in `driver`, never by the database.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::access::Permit;
use crate::error::Error;
use crate::fhir::ResourceType;
use crate::search::request::{Filter, ParameterKey, Test};
use crate::store::hash::Hasher;
use crate::store::index::inside;
use crate::store::{Parameters, Stored};

use super::atom::{Atom, Parameter};
use super::definitions::Definitions;
use super::driver::Driver;
use super::link::is_in_set;
use super::sql::{Bind, Binds, Cond};

/// Deepest nesting of filters. The request is bounded more tightly; this keeps the stack.
const MAX_DEPTH: usize = 64;

/// Up to how many keys are compared one by one.
const FEW_KEYS: usize = 16;

/// A row that conditions speak of: where its columns are, as far as the statement has them.
#[derive(Clone, Debug)]
pub(super) struct Row<'t> {
    pub(super) rid: String,
    pub(super) s: Option<String>,
    pub(super) hi: Option<String>,
    /// Hashes of its tokens.
    pub(super) toks: Option<String>,
    /// The same with tokens of which systems there are.
    pub(super) signs: Option<String>,
    /// Which parameters have a value.
    pub(super) present: Option<String>,
    pub(super) idh: Option<String>,
    pub(super) rt: Option<String>,
    pub(super) lu: Option<String>,
    /// The types it can be of.
    pub(super) types: Cow<'t, [ResourceType]>,
    /// The patients in whose compartments the statement looks.
    pub(super) walked: Option<Vec<i64>>,
}

impl<'t> Row<'t> {
    /// A row of which only the key is there, and `s` where it is known.
    pub(super) fn key(alias: &str, has_s: bool, types: impl Into<Cow<'t, [ResourceType]>>) -> Self {
        Self {
            rid: format!("{alias}.rid"),
            s: has_s.then(|| format!("{alias}.s")),
            hi: None,
            toks: None,
            signs: None,
            present: None,
            idh: None,
            rt: None,
            lu: None,
            types: types.into(),
            walked: None,
        }
    }

    /// A row of `srow`.
    pub(super) fn resource(alias: &str, types: impl Into<Cow<'t, [ResourceType]>>) -> Self {
        Self {
            hi: Some(format!("{alias}.hi")),
            toks: Some(format!("{alias}.toks")),
            signs: Some(format!("{alias}.toks")),
            present: Some(format!("{alias}.present")),
            idh: Some(format!("{alias}.idh")),
            rt: Some(format!("{alias}.rt")),
            ..Self::key(alias, true, types)
        }
    }

    /// A row of `comp`. It has no hashes where they are too many; then `srow` has them.
    pub(super) fn member(alias: &str, types: impl Into<Cow<'t, [ResourceType]>>) -> Self {
        let all = format!("(SELECT w.toks FROM srow w WHERE w.rid = {alias}.rid)");
        Self {
            hi: Some(format!("{alias}.hi")),
            toks: Some(format!("coalesce(nullif({alias}.toks, '{{}}'), {all})")),
            rt: Some(format!("{alias}.rt")),
            ..Self::key(alias, true, types)
        }
    }
}

impl Row<'_> {
    /// The column that walks of such rows are ordered by.
    pub(super) fn ordered_by(&self) -> String {
        let own = self.lu.clone().or_else(|| self.s.clone());
        own.unwrap_or_else(|| self.rid.replace(".rid", ".id"))
    }
}

/// Compiles the filters of one statement.
pub(super) struct Compiler<'a, 'gate> {
    pub(super) parameters: &'a Parameters,
    pub(super) definitions: &'a Definitions,
    pub(super) hasher: &'a Hasher,
    pub(super) permit: &'a Permit<'gate>,
    pub(super) binds: Binds,
    /// Filters that are asked the other way than such filters are where nothing is counted, by their
    /// address: chains and `_has` that hold for many, row by row; values that few have, in a set.
    pub(super) turned: &'a HashSet<usize>,
    /// Parameters that `token_code` does not tell all of; `None` where it was not asked.
    pub(super) given_up: Option<&'a HashSet<i64>>,
    /// Whether the rows at hand are those of contained resources.
    pub(super) is_inside: bool,
    /// Whether it is told where each match stands, else of those alone that links lead from.
    pub(super) is_placed: bool,
    aliases: usize,
    depth: usize,
}

impl<'a, 'gate> Compiler<'a, 'gate> {
    pub(super) fn new(
        parameters: &'a Parameters,
        definitions: &'a Definitions,
        hasher: &'a Hasher,
        permit: &'a Permit<'gate>,
        turned: &'a HashSet<usize>,
    ) -> Self {
        let binds = Binds::default();
        let is_inside = false;
        Self {
            parameters,
            definitions,
            hasher,
            permit,
            binds,
            turned,
            given_up: None,
            is_inside,
            is_placed: false,
            aliases: 0,
            depth: 0,
        }
    }

    /// A compiler of the same that keeps nothing.
    pub(super) fn scratch(&self) -> Self {
        let mut scratch =
            Self::new(self.parameters, self.definitions, self.hasher, self.permit, self.turned);
        (scratch.is_inside, scratch.given_up) = (self.is_inside, self.given_up);
        scratch
    }

    /// Does `work` where the rows at hand are those of contained resources, or of resources.
    pub(super) fn within<T>(&mut self, is_inside: bool, work: impl FnOnce(&mut Self) -> T) -> T {
        let outer = std::mem::replace(&mut self.is_inside, is_inside);
        let done = work(self);
        self.is_inside = outer;
        done
    }

    /// What `srow.rt` has of a type.
    pub(super) fn code(&self, of: ResourceType) -> i16 {
        if self.is_inside { inside::code(of) } else { of.code() }
    }

    /// The hash of a parameter of resources as the rows at hand have it.
    pub(super) fn at_hand(&self, parameter: i64) -> i64 {
        if self.is_inside { self.hasher.inside(parameter) } else { parameter }
    }

    /// A name that no other row of the statement has.
    pub(super) fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("t{}", self.aliases)
    }

    /// The condition that `filter` holds for `row`.
    pub(super) fn filter(&mut self, filter: &Filter, row: &Row<'_>) -> Result<Cond, Error> {
        if self.depth >= MAX_DEPTH {
            return Err(Error::TooCostly("the filters are nested too deeply".to_owned()));
        }
        self.depth += 1;
        let condition = self.shallow(filter, row);
        self.depth -= 1;
        condition
    }

    fn shallow(&mut self, filter: &Filter, row: &Row<'_>) -> Result<Cond, Error> {
        if self.is_inside && is_of_whole(filter) {
            return Ok(Cond::False);
        }
        match filter {
            Filter::All(filters) => self.all(filters, row),
            Filter::Any(filters) => {
                let conditions = filters.iter().map(|filter| self.filter(filter, row));
                Ok(Cond::any(conditions.collect::<Result<Vec<_>, _>>()?))
            }
            Filter::Chain { reference, targets } => {
                let is_wide = self.turned.contains(&address(filter));
                self.chain(reference, targets, row, is_wide)
            }
            Filter::Compartment { code, id } => Ok(self.compartment(*code, id, row)),
            Filter::FullText { .. } => {
                Err(Error::internal("a full text filter was not answered before"))
            }
            Filter::Has { source, reference, filter: inner } => {
                let is_wide = self.turned.contains(&address(filter));
                self.has(*source, reference, inner, row, is_wide)
            }
            Filter::Hierarchy { reference, is_below, of } => {
                self.hierarchy(reference, *is_below, of, row)
            }
            Filter::Id(ids) => Ok(self.is_identity(&self.identities(ids, &row.types), row)),
            Filter::Keys(keys) if keys.rids.is_empty() => Ok(Cond::False),
            Filter::Keys(keys) if keys.rids.len() <= FEW_KEYS => {
                Ok(Cond::Sql(self.binds.is_one_of(&row.rid, &keys.rids)))
            }
            Filter::Keys(keys) => Ok(Cond::Sql(self.binds.is_among(&row.rid, &keys.rids))),
            Filter::LastUpdated(any) => Ok(self.last_updated(any, row)),
            Filter::List(_) => Err(Error::internal("a list was not read before")),
            Filter::Mentions { target, under, is_certain } => {
                Ok(self.mentions(target, (under, *is_certain), row))
            }
            Filter::Not(filter) => Ok(self.filter(filter, row)?.not()),
            Filter::OfPatients(whose) => Ok(self.is_of_patients(whose.as_deref(), row)),
            Filter::Test(_) if self.turned.contains(&address(filter)) => {
                let found = self.keys_of(&Driver::Values, filter, &row.types)?;
                Ok(Cond::Sql(is_in_set(&row.rid, &found)))
            }
            Filter::Test(test) => self.test(test, row),
            Filter::Type(types) => Ok(self.is_type_of(types, row)),
            Filter::Unshared => Ok(self.is_unshared(row)),
        }
    }

    /// The condition that all filters hold.
    pub(super) fn all(&mut self, filters: &[Filter], row: &Row<'_>) -> Result<Cond, Error> {
        let conditions = filters.iter().map(|filter| self.filter(filter, row));
        Ok(Cond::all(conditions.collect::<Result<Vec<_>, _>>()?))
    }

    fn test(&mut self, test: &Test, row: &Row<'_>) -> Result<Cond, Error> {
        let span = self.span(test, row);
        let atoms = self.atoms(test, &row.types)?;
        let rest = self.atoms_hold(&atoms, row);
        Ok(Cond::any([span, rest]))
    }

    /// The condition that one of the atoms holds.
    pub(super) fn atoms_hold(&mut self, atoms: &[Atom], row: &Row<'_>) -> Cond {
        let mut conditions = self.tokens(atoms, row);
        for atom in atoms {
            if let Some((from, condition)) = self.looked_up(atom) {
                let (alias, condition) = (from.alias, condition);
                let table = from.table;
                let rid = &row.rid;
                // By the row first: by its value, all that have the value would be walked for each row.
                conditions.push(Cond::exists(&format!(
                    "(SELECT * FROM {table} WHERE rid = {rid} OFFSET 0) {alias} WHERE true{condition}"
                )));
            }
        }
        Cond::any(conditions)
    }

    /// Where the values of a parameter are, for each of `types` that has it.
    pub(super) fn stored(
        &self,
        keys: &[ParameterKey],
        types: &[ResourceType],
    ) -> Vec<(ResourceType, Stored)> {
        let of_types = keys.iter().filter(|key| types.contains(&key.resource_type));
        let stored = of_types.filter_map(|key| {
            let of = key.resource_type;
            let found = self.parameters.stored(of, &key.code)?;
            let parts = found.parts.iter().map(|(part, to)| (self.at_hand(*part), *to)).collect();
            Some((of, Stored { own: self.at_hand(found.own), parts, ..found }))
        });
        stored.collect()
    }

    /// The parameters under which references of `types` to resources of the type `to` are.
    pub(super) fn references(
        &self,
        keys: &[ParameterKey],
        types: &[ResourceType],
        to: ResourceType,
    ) -> Vec<i64> {
        let stored = self.stored(keys, types).into_iter().map(|(_, stored)| stored).collect();
        Parameter::of(stored).to(to)
    }

    /// The condition that the row is of one of the types.
    pub(super) fn is_type_of(&mut self, types: &[ResourceType], row: &Row<'_>) -> Cond {
        let wanted: Vec<i16> =
            row.types.iter().filter(|of| types.contains(of)).map(|of| self.code(*of)).collect();
        if wanted.is_empty() {
            return Cond::False;
        }
        if wanted.len() == row.types.len() {
            return Cond::True;
        }
        self.resource_column(row, row.rt.as_deref(), "rt", |binds, rt| binds.is_type(rt, &wanted))
    }

    /// The condition that the identity of `row` is one of these hashes.
    pub(super) fn is_identity(&mut self, identities: &[i64], row: &Row<'_>) -> Cond {
        if identities.is_empty() {
            return Cond::False;
        }
        self.resource_column(row, row.idh.as_deref(), "idh", |binds, idh| {
            binds.is_one_of(idh, identities)
        })
    }

    /// The identities that `ids` name among resources of `types`.
    pub(super) fn identities(&self, ids: &[Box<str>], types: &[ResourceType]) -> Vec<i64> {
        let ids: Vec<_> = ids.iter().filter_map(|id| id.parse().ok()).collect();
        let mut identities = Vec::with_capacity(ids.len() * types.len());
        for &of in types {
            identities.extend(ids.iter().map(|id| self.hasher.identity(of, id)));
        }
        identities.sort_unstable();
        identities.dedup();
        identities
    }

    /// A condition over a column of `srow`, which the statement may have at hand.
    pub(super) fn resource_column(
        &mut self,
        row: &Row<'_>,
        at_hand: Option<&str>,
        column: &str,
        condition: impl FnOnce(&mut Binds, &str) -> String,
    ) -> Cond {
        if let Some(at_hand) = at_hand {
            return Cond::Sql(condition(&mut self.binds, at_hand));
        }
        let alias = self.alias();
        let condition = condition(&mut self.binds, &format!("{alias}.{column}"));
        let rid = &row.rid;
        Cond::exists(&format!("srow {alias} WHERE {alias}.rid = {rid} AND {condition}"))
    }

    /// One of the parameters of these types has a value, where `present` and `rt` are columns of a row of
    /// one of `types`.
    pub(super) fn is_present(
        binds: &mut Binds,
        (present, rt): (&str, &str),
        asked: &[(i16, i64)],
        types: &[ResourceType],
    ) -> String {
        if let ([(_, bits)], 1) = (asked, types.len()) {
            return format!("{present} & {} <> 0", binds.long(*bits));
        }
        let (codes, bits) = asked.iter().copied().unzip();
        let codes = binds.add(Bind::Shorts(codes));
        let bits = binds.add(Bind::Longs(bits));
        format!(
            "EXISTS (SELECT FROM unnest({codes}, {bits}) b(c, p) WHERE b.c = {rt} AND b.p & {present} <> 0)"
        )
    }

    /// `column` has one of `values`, as an array operation.
    pub(super) fn overlaps(binds: &mut Binds, column: &str, values: &[i64]) -> String {
        // One value is asked for by what needs no second array to be walked.
        if let [value] = values {
            return format!("{} = ANY ({column})", binds.add(Bind::Long(*value)));
        }
        format!("{column} && {}", binds.longs(values.iter().copied()))
    }
}

/// Whether it asks for what only a resource of its own has: contained ones have no id that others know,
/// no time of change, no compartment and no words of their own.
pub(super) fn is_of_whole(filter: &Filter) -> bool {
    matches!(
        filter,
        Filter::Compartment { .. }
            | Filter::Hierarchy { .. }
            | Filter::Id(_)
            | Filter::Keys(_)
            | Filter::LastUpdated(_)
            | Filter::OfPatients(_)
    )
}

/// What tells one filter of a request from another that looks alike.
pub(super) fn address(filter: &Filter) -> usize {
    std::ptr::from_ref(filter).addr()
}
