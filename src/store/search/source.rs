//! The rows that a driver walks, and queries of all keys that a filter finds.

use std::cmp::Reverse;
use std::fmt::Write as _;

use crate::error::Error;
use crate::fhir::ResourceType;
use crate::search::request::{Filter, ParameterKey};
use crate::store::rows::Edge;

use super::atom::Atom;
use super::compile::{Compiler, Row};
use super::driver::{Candidate, Driver, conjuncts};
use super::sql::{Bind, Cond};

pub(in crate::store) mod bulk;
mod tokens;

/// Rows to walk, and how each looks.
pub(super) struct Source {
    /// What each walk belongs to (`unnest(..) u(h)`): one walk for each of its rows.
    pub(super) each: Option<String>,
    /// Table and alias.
    pub(super) table: String,
    /// What makes a row one of the walk.
    pub(super) condition: String,
    /// The row's columns.
    pub(super) row: Row<'static>,
    /// Whether a resource may come twice.
    pub(super) has_duplicates: bool,
    /// Whether it may do so within one walk.
    pub(super) has_more_rows: bool,
    /// Whether each walk is in the order of `s` (or of `order`).
    pub(super) is_walk: bool,
}

/// Rows as they are walked, and texts that ask for what those have.
pub(super) struct Rows<const N: usize> {
    /// Table and alias, and a condition.
    pub(super) from: String,
    /// Whether that is a query of its own, which the database does not join freely.
    is_fenced: bool,
    pub(super) texts: [String; N],
}

/// What a query tells of the resources it finds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Handle {
    /// `srow.idh`
    Identity,
    /// `srow.rid`
    Key,
}

impl Source {
    /// Walks in order, of which no two come upon one resource, nor one twice.
    pub(super) fn walk(
        each: Option<String>,
        table: String,
        condition: String,
        row: Row<'static>,
    ) -> Self {
        let (has_duplicates, has_more_rows) = (false, false);
        Self { each, table, condition, row, has_duplicates, has_more_rows, is_walk: true }
    }

    /// The same where a resource may come twice, or even twice within one walk.
    pub(super) fn with_duplicates(self, has_duplicates: bool, has_more_rows: bool) -> Self {
        Self { has_duplicates, has_more_rows, ..self }
    }

    /// Makes what the walks belong to a table of the statement (`name AS (..), `), where it is a query: then it is
    /// found once, however often they are walked.
    pub(super) fn found_once(&mut self) -> Option<String> {
        let (query, alias) = self.each.as_ref()?.strip_prefix('(')?.rsplit_once(") ")?;
        let table = format!("ws AS MATERIALIZED ({query}), ");
        self.each = Some(format!("ws {alias}"));
        Some(table)
    }

    /// The rows of the walk from a bound on (` AND ..`), in an order (` ORDER BY ..`), and `texts` over them.
    /// Where those ask more than once for hashes that may stand in another row, they are fetched once.
    pub(super) fn rows<const N: usize>(
        &self,
        bound: &str,
        order: &str,
        texts: [String; N],
    ) -> Rows<N> {
        let Self { table, condition, row, .. } = self;
        let from = format!("{table} WHERE {condition}{bound}");
        let alias = table.rsplit(' ').next().unwrap_or_default();
        let own = format!("{alias}.toks");
        let toks = row.toks.as_deref().filter(|toks| *toks != own);
        let times = |toks: &str| texts.iter().map(|text| text.matches(toks).count()).sum::<usize>();
        let Some(toks) = toks.filter(|toks| times(toks) > 1) else {
            return Rows { from, is_fenced: false, texts };
        };
        let columns = ["pat", "rt", "s", "rid", "hi"].map(|name| format!("{alias}.{name}"));
        let columns = columns.join(", ");
        Rows {
            from: format!(
                "(SELECT {columns}, {toks} AS toks FROM {from}{order} OFFSET 0) {alias} WHERE true"
            ),
            is_fenced: true,
            texts: texts.map(|text| text.replace(toks, &own)),
        }
    }
}

impl Compiler<'_, '_> {
    /// The rows that a candidate walks.
    pub(super) fn source(
        &mut self,
        candidate: &Candidate,
        conjuncts: &[&Filter],
        types: &[ResourceType],
    ) -> Result<Source, Error> {
        let filter = candidate.of.and_then(|of| conjuncts.get(of).copied());
        let codes: Vec<i16> = types.iter().map(|of| self.code(*of)).collect();
        let mut source = match (&candidate.driver, filter) {
            (Driver::Compartment(patients), _) => self.compartment_rows(patients, types),
            (Driver::Resources, _) => self.resource_rows(&codes, types),
            (Driver::Systems(signs), _) => self.system_rows(signs, types),
            (Driver::Tokens(keys), _) => self.token_rows(keys, types),
            (Driver::OtherTokens { parameters, without, with }, _) => {
                self.other_token_rows((parameters, without, with), types)
            }
            (Driver::Links, Some(Filter::Chain { reference, targets })) => {
                let places = [self.is_inside];
                self.link_rows((reference, targets), types, &places)?
            }
            (driver, Some(filter)) => {
                let found = self.keys_of(driver, filter, types)?;
                self.found_rows(&found, &codes, types)
            }
            (_, None) => return Err(Error::internal("a driver is of no filter")),
        };
        let is_of_many = candidate.is_ordered()
            && !matches!(candidate.driver, Driver::Compartment(_) | Driver::Systems(_));
        let bounds = self.bounds(conjuncts, &source, is_of_many);
        source.condition.push_str(&bounds);
        Ok(source)
    }

    fn compartment_rows(&mut self, patients: &[i64], types: &[ResourceType]) -> Source {
        let alias = self.alias();
        let mut row = Row::member(&alias, types.to_vec());
        row.walked = Some(patients.to_vec());
        let codes: Vec<i16> = types.iter().map(|of| of.code()).collect();
        let table = format!("comp {alias}");
        if let ([patient], [code]) = (patients, &*codes) {
            let patient = self.binds.long(*patient);
            let code = self.binds.add(Bind::Short(*code));
            let condition = format!("{alias}.pat = {patient} AND {alias}.rt = {code}");
            return Source::walk(None, table, condition, row);
        }
        let (list, kinds) = (self.alias(), self.alias());
        let whose = self.binds.longs(patients.iter().copied());
        let codes = self.binds.add(Bind::Shorts(codes));
        let each = format!("unnest({whose}) {list}(p) CROSS JOIN unnest({codes}) {kinds}(c)");
        let condition = format!("{alias}.pat = {list}.p AND {alias}.rt = {kinds}.c");
        let source = Source::walk(Some(each), table, condition, row);
        source.with_duplicates(patients.len() > 1, false)
    }

    fn resource_rows(&mut self, codes: &[i16], types: &[ResourceType]) -> Source {
        let alias = self.alias();
        let row = Row::resource(&alias, types.to_vec());
        let table = format!("srow {alias}");
        let (each, condition) = if let [code] = codes {
            (None, format!("{alias}.rt = {}", self.binds.add(Bind::Short(*code))))
        } else {
            let list = self.alias();
            let codes = self.binds.add(Bind::Shorts(codes.to_vec()));
            (Some(format!("unnest({codes}) {list}(c)")), format!("{alias}.rt = {list}.c"))
        };
        Source::walk(each, table, condition, row)
    }

    /// What refers to the targets of a chain; `places`: resources (`false`), contained ones (`true`).
    pub(super) fn link_rows(
        &mut self,
        (reference, targets): (&[ParameterKey], &[(ResourceType, Filter)]),
        types: &[ResourceType],
        places: &[bool],
    ) -> Result<Source, Error> {
        let (alias, list) = (self.alias(), self.alias());
        let mut found = Vec::new();
        for (of, filter) in targets {
            let mut parameters = Vec::new();
            for &is_inside in places {
                let there = |it: &mut Self| it.references(reference, types, *of);
                parameters.append(&mut self.within(is_inside, there));
            }
            let Some(identities) = self.targets(*of, filter)? else { continue };
            let parameters = self.binds.longs(parameters);
            found.push(format!(
                "SELECT k.idh # p.p AS h FROM ({identities}) k(idh) \
                 CROSS JOIN unnest({parameters}) p(p)"
            ));
        }
        let each = format!("(SELECT DISTINCT q.h FROM ({}) q(h)) {list}", union(&found));
        let condition = format!("{alias}.h = {list}.h");
        let row = Row::key(&alias, true, types.to_vec());
        let source = Source::walk(Some(each), format!("tok {alias}"), condition, row);
        Ok(source.with_duplicates(true, false))
    }

    fn found_rows(&mut self, found: &str, codes: &[i16], types: &[ResourceType]) -> Source {
        let (alias, list) = (self.alias(), self.alias());
        let is_type = self.binds.is_type(&format!("{alias}.rt"), codes);
        // What is elsewhere needs no look at its row to be passed over.
        let place = if self.is_inside { "k.rid < 0" } else { "k.rid > 0" };
        Source {
            each: Some(format!(
                "(SELECT DISTINCT k.rid FROM ({found}) k(rid) WHERE {place}) {list}"
            )),
            table: format!("srow {alias}"),
            condition: format!("{alias}.rid = {list}.rid AND {is_type}"),
            row: Row::resource(&alias, types.to_vec()),
            has_duplicates: false,
            has_more_rows: false,
            is_walk: false,
        }
    }

    /// A walk of resources by when they changed.
    pub(super) fn updated_rows(&mut self, types: &[ResourceType]) -> Source {
        let alias = self.alias();
        let tenant = self.binds.add(Bind::Int(crate::store::TENANT));
        let mut row = Row::key(&alias, false, types.to_vec());
        row.lu = Some(format!("{alias}.lu"));
        row.rt = Some(format!("{alias}.rt"));
        let mut condition = format!("{alias}.tid = {tenant} AND {alias}.op <> 'D'");
        let mut each = None;
        if types.len() == 1 {
            let code = self.binds.add(Bind::Short(types[0].code()));
            condition = format!("{condition} AND {alias}.rt = {code}");
        } else if types.len() < ResourceType::all().count() {
            let list = self.alias();
            let codes = self.binds.add(Bind::Shorts(types.iter().map(|of| of.code()).collect()));
            each = Some(format!("unnest({codes}) {list}(c)"));
            condition = format!("{condition} AND {alias}.rt = {list}.c");
        }
        let table = format!("res {alias}");
        Source::walk(each, table, condition, row)
    }

    /// A walk of the resources of one type by id.
    pub(super) fn id_rows(&mut self, of: ResourceType) -> Source {
        let alias = self.alias();
        let tenant = self.binds.add(Bind::Int(crate::store::TENANT));
        let code = self.binds.add(Bind::Short(of.code()));
        let row = Row::key(&alias, false, vec![of]);
        // Names outlive their resources.
        let condition = format!(
            "{alias}.tid = {tenant} AND {alias}.rt = {code} \
             AND EXISTS (SELECT FROM srow l WHERE l.rid = {alias}.rid OFFSET 0)"
        );
        let table = format!("ident {alias}");
        Source::walk(None, table, condition, row)
    }

    /// A query of the keys of resources for which the filter of a driver holds.
    pub(super) fn keys_of(
        &mut self,
        driver: &Driver,
        filter: &Filter,
        types: &[ResourceType],
    ) -> Result<String, Error> {
        Ok(match filter {
            Filter::Any(filters) => {
                let mut all = Vec::new();
                for filter in filters {
                    all.extend(self.found(types, filter)?);
                }
                union(&all)
            }
            Filter::Id(ids) => {
                let identities = self.identities(ids, types);
                format!(
                    "SELECT w.rid FROM srow w WHERE {}",
                    self.binds.is_one_of("w.idh", &identities)
                )
            }
            Filter::Keys(keys) => {
                format!("SELECT unnest({})", self.binds.longs(keys.rids.clone()))
            }
            Filter::LastUpdated(any) => {
                let codes: Vec<i16> = types.iter().map(|of| of.code()).collect();
                let is_type = self.binds.is_type("w.rt", &codes);
                let tenant = self.binds.add(Bind::Int(crate::store::TENANT));
                let updated = self.updated(any, "w.lu").and();
                format!("SELECT w.rid FROM res w WHERE w.tid = {tenant} AND {is_type}{updated}")
            }
            Filter::Has { source, reference, filter } => {
                self.keys_of_referred(*source, reference, filter, types)?
            }
            Filter::Hierarchy { reference, is_below, of } => {
                let set = self.hierarchy_set(reference, *is_below, of, types)?;
                format!("SELECT w.rid FROM ({set}) q {}", each_row("w", "idh = q.idh"))
            }
            Filter::Compartment { code, id } => {
                let identity = self.hasher.identity(*code, id);
                let atoms = self.compartment_atoms(*code, identity, types);
                let mut all = self.rows_of(&atoms);
                if types.contains(code) {
                    let own = self.binds.long(identity);
                    all.push(format!("SELECT w.rid FROM srow w WHERE w.idh = {own}"));
                }
                union(&all)
            }
            Filter::Test(test) => {
                let atoms = self.atoms(test, types)?;
                union(&self.rows_of(&atoms))
            }
            _ => return Err(Error::internal(format!("{driver:?} has no keys of its own"))),
        })
    }

    fn keys_of_referred(
        &mut self,
        source: ResourceType,
        reference: &ParameterKey,
        filter: &Filter,
        types: &[ResourceType],
    ) -> Result<String, Error> {
        let mut all = Vec::new();
        for &of in types {
            let keys = std::slice::from_ref(reference);
            let of_source = |it: &mut Self| it.references(keys, &[source], of);
            for parameter in self.within(false, of_source) {
                let found = self.within(false, |it| it.referred(source, parameter, filter))?;
                let code = self.code(of);
                let code = self.binds.add(Bind::Short(code));
                let row = each_row("w", &format!("idh = q.idh AND rt = {code}"));
                all.extend(found.map(|identities| {
                    format!(
                        "SELECT w.rid FROM (SELECT DISTINCT q.idh FROM ({identities}) q(idh)) q {row}"
                    )
                }));
            }
        }
        Ok(union(&all))
    }

    /// Queries of the keys of the rows that make atoms hold.
    fn rows_of(&mut self, atoms: &[Atom]) -> Vec<String> {
        let mut all = Vec::new();
        let keys = atoms.iter().filter_map(|atom| match atom {
            Atom::Token { h, system, .. } => Some((*h, *system)),
            _ => None,
        });
        let keys: Vec<_> = keys.collect();
        if !keys.is_empty() {
            let pairs = self.pairs(&keys);
            all.push(format!(
                "SELECT w.rid FROM {pairs} u(h, y) JOIN tok w ON w.h = u.h \
                 AND (u.y IS NULL OR w.sysh = u.y)"
            ));
        }
        all.extend(atoms.iter().filter_map(Atom::system).map(|sign| self.rows_of_system(sign)));
        for atom in atoms.iter().flat_map(Atom::parts) {
            if let Some((from, condition)) = self.looked_up(&atom) {
                let (table, alias) = (from.table, from.alias);
                all.push(format!("SELECT {alias}.rid FROM {table} {alias} WHERE true{condition}"));
            }
        }
        all
    }

    /// What the tests of the primary date say of `s` (` AND ..`), for the walk to begin and end at.
    /// `is_of_many`: it walks more than one patient's.
    fn bounds(&mut self, conjuncts: &[&Filter], source: &Source, is_of_many: bool) -> String {
        let Source { table, condition, row, .. } = source;
        let Some(s) = &row.s else { return String::new() };
        let is_walked = format!(
            "EXISTS (SELECT FROM {table} WHERE {condition} AND {s} = l.s AND {} = l.rid OFFSET 0)",
            row.rid
        );
        let mut reaching = String::new();
        let (mut from, mut to): (Option<Edge>, Option<Reverse<Edge>>) = (None, None);
        for filter in conjuncts {
            if let Filter::Test(test) = filter {
                let (low, high) = self.primary_bounds(test, row);
                from = from.max(low);
                to = to.max(high.map(Reverse));
                if is_of_many && let Some(from) = self.reaching(test, row, &is_walked) {
                    let _ = write!(reaching, " AND {s} >= {from}");
                }
            }
        }
        let from = from.map(|from| format!(" AND {s} >= {}", self.binds.time(from)));
        let to = to.map(|Reverse(to)| format!(" AND {s} <= {}", self.binds.time(to)));
        from.unwrap_or_default() + &to.unwrap_or_default() + &reaching
    }

    /// The keys of all resources of some types for which `filter` holds, as far as the permit reaches:
    /// as a query; `None` when there is none.
    pub(super) fn found(
        &mut self,
        types: &[ResourceType],
        filter: &Filter,
    ) -> Result<Option<String>, Error> {
        self.found_as(Handle::Key, types, filter)
    }

    /// The same, with what is to be told of each resource.
    pub(super) fn found_as(
        &mut self,
        told: Handle,
        types: &[ResourceType],
        filter: &Filter,
    ) -> Result<Option<String>, Error> {
        let conjuncts = conjuncts(std::slice::from_ref(filter));
        let best = self.candidates(&conjuncts, types)?.swap_remove(0);
        let source = self.source(&best, &conjuncts, types)?;
        let rest = self.rest(&best, &conjuncts, &source.row)?;
        Ok((rest != Cond::False).then(|| self.every_as(told, &source, &rest)))
    }

    /// A query of the key or the identity of all rows of a source for which `rest` holds.
    pub(super) fn every_as(&mut self, told: Handle, source: &Source, rest: &Cond) -> String {
        match (told, &source.row.idh) {
            (Handle::Key, _) => every(source, &source.row.rid, rest),
            (Handle::Identity, Some(idh)) => every(source, idh, rest),
            (Handle::Identity, None) => {
                let (alias, found) = (self.alias(), every(source, &source.row.rid, rest));
                let row = each_row(&alias, "rid = k.rid");
                format!("SELECT {alias}.idh FROM ({found}) k {row}")
            }
        }
    }

    /// What is still asked of each row that a candidate walks.
    pub(super) fn rest(
        &mut self,
        candidate: &Candidate,
        conjuncts: &[&Filter],
        row: &Row<'_>,
    ) -> Result<Cond, Error> {
        let (mut all, mut last) = (Vec::new(), None);
        for (at, filter) in conjuncts.iter().enumerate() {
            // Membership narrows, it never answers, unless membership is what is asked.
            let is_answered = match (&candidate.driver, filter) {
                (Driver::Compartment(_), filter) => filter.is_of_compartment(),
                // To have something else is not to lack it.
                (_, Filter::Not(_)) => false,
                _ => true,
            };
            if candidate.of != Some(at) {
                all.push(self.filter(filter, row)?);
            } else if !is_answered {
                // It holds for most of what is walked for it: the others are asked first.
                last = Some(*filter);
            }
        }
        if let Some(filter) = last {
            all.push(self.filter(filter, row)?);
        }
        all.push(self.visible(row)?);
        Ok(Cond::all(all))
    }
}

/// A query of `columns` of all rows of a source for which `rest` holds.
pub(super) fn every(source: &Source, columns: &str, rest: &Cond) -> String {
    let Source { each, table, .. } = source;
    let Rows { from, is_fenced, texts: [columns, rest] } =
        source.rows("", "", [columns.to_owned(), rest.and()]);
    match each {
        None => format!("SELECT {columns} FROM {from}{rest}"),
        // Walked for each: joined freely, the database may read the whole table.
        Some(each) => {
            let alias = table.rsplit(' ').next().unwrap_or_default();
            let from = if is_fenced {
                from
            } else {
                format!("(SELECT {alias}.* FROM {from} OFFSET 0) {alias} WHERE true")
            };
            format!("SELECT {columns} FROM {each} CROSS JOIN LATERAL {from}{rest}")
        }
    }
}

/// The rows of `srow` for each row before, as `alias`. A join would be planned as a walk over all of `srow` as
/// soon as many rows are expected before, and how many there are nobody knows.
pub(super) fn each_row(alias: &str, condition: &str) -> String {
    format!("CROSS JOIN LATERAL (SELECT * FROM srow WHERE {condition} OFFSET 0) {alias}")
}

/// The rows of all queries.
pub(super) fn union(queries: &[String]) -> String {
    if queries.is_empty() { nothing() } else { queries.join(" UNION ALL ") }
}

/// A query without rows.
pub(super) fn nothing() -> String {
    "SELECT 0::bigint WHERE false".to_owned()
}
