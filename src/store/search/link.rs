//! References as joins: chains, `_has`, hierarchies, compartments.
//!
//! The hash of a reference is its target's identity combined with the parameter's, so a join makes
//! it from `srow.idh`; and from the hashes of a row it makes the identities of all its targets.
//!
//! A chain asks each row for its targets ("row by row"), which suits conditions that hold for many;
//! or it finds all targets first ("as a set"), which suits those that hold for few. `_has` alike.

use crate::error::Error;
use crate::fhir::{LogicalId, ResourceType};
use crate::search::request::{Filter, ParameterKey};
use crate::store::hash::Hasher;
use crate::store::index::links;

use super::atom::Atom;
use super::compile::{Compiler, Row};
use super::source::{Handle, each_row, union};
use super::sql::Cond;
use super::token::any;

impl Compiler<'_, '_> {
    /// A reference of the row leads to a target for which its filter holds.
    pub(super) fn chain(
        &mut self,
        reference: &[ParameterKey],
        targets: &[(ResourceType, Filter)],
        row: &Row<'_>,
        is_wide: bool,
    ) -> Result<Cond, Error> {
        let mut any = Vec::new();
        for (of, filter) in targets {
            let parameters = self.references(reference, &row.types, *of);
            if parameters.is_empty() {
                continue;
            }
            // Where a hierarchy begins need not be here, so it is no row to be asked.
            let is_row = is_wide && !matches!(filter, Filter::Hierarchy { .. });
            any.push(if is_row {
                self.target_of_row(&parameters, *of, filter, row)?
            } else {
                self.target_in_set(&parameters, *of, filter, row)?
            });
        }
        Ok(Cond::any(any))
    }

    fn target_of_row(
        &mut self,
        parameters: &[i64],
        of: ResourceType,
        filter: &Filter,
        row: &Row<'_>,
    ) -> Result<Cond, Error> {
        let target = self.alias();
        let target_row = Row::resource(&target, vec![of]);
        let mut any = Vec::new();
        for is_inside in [false, true] {
            any.push(self.within(is_inside, |it| {
                let holds = it.target(filter, &target_row)?;
                let code = it.code(of);
                let is_type = it.binds.is_type(&format!("{target}.rt"), &[code]);
                Ok::<_, Error>(Cond::all([Cond::Sql(is_type), holds]))
            })?);
        }
        let holds = Cond::any(any);
        if holds == Cond::False {
            return Ok(Cond::False);
        }
        let (links, hash) = self.links(parameters, row);
        let Links { from, condition } = links;
        let holds = holds.and();
        Ok(Cond::exists(&format!(
            "{from} JOIN srow {target} ON {target}.idh = {hash} WHERE {condition}true{holds}"
        )))
    }

    fn target_in_set(
        &mut self,
        parameters: &[i64],
        of: ResourceType,
        filter: &Filter,
        row: &Row<'_>,
    ) -> Result<Cond, Error> {
        let Some(targets) = self.targets(of, filter)? else { return Ok(Cond::False) };
        let (links, hash) = self.links(parameters, row);
        let is_target = is_in_set(&hash, &targets);
        Ok(Cond::exists(&format!("{} WHERE {}{is_target}", links.from, links.condition)))
    }

    /// The identities of what a reference may lead to, of a type, for which `filter` holds: of
    /// resources and of contained ones. As a query.
    pub(super) fn targets(
        &mut self,
        of: ResourceType,
        filter: &Filter,
    ) -> Result<Option<String>, Error> {
        let all = self.targets_as(Handle::Identity, of, filter)?;
        Ok((!all.is_empty()).then(|| union(&all)))
    }

    /// Queries of the same by place, with what is to be told of each.
    pub(super) fn targets_as(
        &mut self,
        told: Handle,
        of: ResourceType,
        filter: &Filter,
    ) -> Result<Vec<String>, Error> {
        if let Filter::Chain { reference, targets } = filter {
            // One walk for both: each in its own would double the text with every link of a chain.
            let source = self.link_rows((reference, targets), &[of], &[false, true])?;
            let rid = &source.row.rid;
            let own = self.within(false, |it| it.visible(&source.row))?;
            let inside = self.within(true, |it| it.visible(&source.row))?;
            let reached = match (own, inside) {
                (Cond::True, Cond::True) => Cond::True,
                (own, inside) => Cond::any([
                    Cond::all([Cond::sql(format!("{rid} > 0")), own]),
                    Cond::all([Cond::sql(format!("{rid} < 0")), inside]),
                ]),
            };
            return Ok(vec![self.every_as(told, &source, &reached)]);
        }
        if let (Handle::Identity, Filter::Hierarchy { reference, is_below, of: start }) =
            (told, filter)
        {
            // The resource that it is about is one of it, here or not.
            let set =
                self.within(false, |it| it.hierarchy_set(reference, *is_below, start, &[of]))?;
            return Ok(vec![format!("SELECT q.idh FROM ({set}) q")]);
        }
        let mut all = Vec::new();
        for is_inside in [false, true] {
            all.extend(self.within(is_inside, |it| it.found_as(told, &[of], filter))?);
        }
        Ok(all)
    }

    /// What holds for a target, the permit's reach included.
    fn target(&mut self, filter: &Filter, row: &Row<'_>) -> Result<Cond, Error> {
        let visible = self.visible(row)?;
        Ok(Cond::all([self.filter(filter, row)?, visible]))
    }

    /// The hashes that a row holds, as a FROM, and the identity that one of them leads to.
    fn links(&mut self, parameters: &[i64], row: &Row<'_>) -> (Links, String) {
        let hash = self.alias();
        // From a list of columns they come one by one; as a table, each array would be copied first.
        let each = |toks: &str| format!("(SELECT unnest({})) {hash}(h)", links(toks));
        let (mut from, condition) = if let Some(toks) = &row.toks {
            (each(toks), String::new())
        } else {
            let alias = self.alias();
            let each = each(&format!("{alias}.toks"));
            let from = format!("srow {alias} CROSS JOIN LATERAL {each}");
            (from, format!("{alias}.rid = {} AND ", row.rid))
        };
        let identity = if let [parameter] = parameters {
            format!("({hash}.h # {})", self.binds.long(*parameter))
        } else {
            let list = self.alias();
            let parameters = self.binds.longs(parameters.iter().copied());
            from = format!("{from} CROSS JOIN unnest({parameters}) {list}(p)");
            format!("({hash}.h # {list}.p)")
        };
        (Links { from, condition }, identity)
    }

    /// Resources of `source` refer to the row, and `filter` holds for one of them.
    pub(super) fn has(
        &mut self,
        source: ResourceType,
        reference: &ParameterKey,
        filter: &Filter,
        row: &Row<'_>,
        is_wide: bool,
    ) -> Result<Cond, Error> {
        let is_inside = self.is_inside;
        self.within(false, |it| {
            it.has_outside((source, reference, filter), row, is_inside, is_wide)
        })
    }

    /// The same; `is_inside`: the row is that of a contained resource.
    fn has_outside(
        &mut self,
        (source, reference, filter): (ResourceType, &ParameterKey, &Filter),
        row: &Row<'_>,
        is_inside: bool,
        is_wide: bool,
    ) -> Result<Cond, Error> {
        // What a parameter keeps of references depends on what they lead to.
        let mut any = Vec::new();
        let mut types = row.types.clone().into_owned();
        let keys = std::slice::from_ref(reference);
        while let Some(&first) = types.first() {
            let parameters = self.references(keys, &[source], first);
            let (same, others): (Vec<_>, Vec<_>) = types
                .into_iter()
                .partition(|of| self.references(keys, &[source], *of) == parameters);
            types = others;
            let part = Row { types: same.clone().into(), ..row.clone() };
            let of_type = self.within(is_inside, |it| it.is_type_of(&same, row));
            // What refers to a patient here lies in its compartment.
            let is_member = !is_inside
                && same == [ResourceType::PATIENT]
                && self.definitions.is_member(source, &reference.code);
            for parameter in parameters {
                let has = self.has_by((source, parameter, is_member), filter, &part, is_wide)?;
                any.push(Cond::all([of_type.clone(), has]));
            }
        }
        Ok(Cond::any(any))
    }

    fn has_by(
        &mut self,
        (source, parameter, is_member): (ResourceType, i64, bool),
        filter: &Filter,
        row: &Row<'_>,
        is_wide: bool,
    ) -> Result<Cond, Error> {
        if !is_wide {
            // All are looked up in what is made once, so what leads nowhere costs little.
            let Some(targets) = self.referred(source, parameter, filter)? else {
                return Ok(Cond::False);
            };
            return Ok(self.resource_column(row, row.idh.as_deref(), "idh", |_, idh| {
                is_in_set(idh, &targets)
            }));
        }
        if is_member && let Some(idh) = &row.idh {
            // The rows of a compartment have all hashes at hand.
            let member = self.alias();
            let member_row = Row::member(&member, vec![source]);
            let holds = self.target(filter, &member_row)?;
            if holds == Cond::False {
                return Ok(Cond::False);
            }
            let holds = holds.and();
            let code = self.binds.is_type(&format!("{member}.rt"), &[source.code()]);
            let (parameter, toks) = (self.binds.long(parameter), member_row.toks);
            return Ok(Cond::exists(&format!(
                "comp {member} WHERE {member}.pat = {idh} AND {code} \
                 AND ({idh} # {parameter}) = ANY ({}){holds}",
                toks.unwrap_or_default()
            )));
        }
        let refers = self.alias();
        let refers_row = Row::key(&refers, true, vec![source]);
        let holds = self.target(filter, &refers_row)?;
        if holds == Cond::False {
            return Ok(Cond::False);
        }
        let holds = holds.and();
        let parameter = self.binds.long(parameter);
        if let Some(idh) = &row.idh {
            let found = format!("tok {refers} WHERE {refers}.h = {idh} # {parameter}{holds}");
            return Ok(Cond::exists(&found));
        }
        let (alias, rid) = (self.alias(), &row.rid);
        Ok(Cond::exists(&format!(
            "srow {alias} JOIN tok {refers} ON {refers}.h = {alias}.idh # {parameter} \
             WHERE {alias}.rid = {rid}{holds}"
        )))
    }

    /// The identities that resources of `source`, for which `filter` holds, refer to by the
    /// parameter, and others: as a query. What they refer to by another one, combined with the
    /// parameter, is the identity of nothing.
    pub(super) fn referred(
        &mut self,
        source: ResourceType,
        parameter: i64,
        filter: &Filter,
    ) -> Result<Option<String>, Error> {
        let Some(found) = self.found(&[source], filter)? else { return Ok(None) };
        let (alias, hash) = (self.alias(), self.alias());
        let parameter = self.binds.long(parameter);
        let links = links(&format!("{alias}.toks"));
        let row = each_row(&alias, "rid = k.rid");
        Ok(Some(format!(
            "SELECT {hash}.h # {parameter} FROM ({found}) k {row} \
             CROSS JOIN LATERAL unnest({links}) {hash}(h)"
        )))
    }

    /// The same of resources that lie in the compartments of the patients that they refer to so: those
    /// patients and nothing else.
    pub(super) fn referred_patients(
        &mut self,
        source: ResourceType,
        parameter: i64,
        filter: &Filter,
    ) -> Result<Option<String>, Error> {
        let Some(found) = self.found(&[source], filter)? else { return Ok(None) };
        let (alias, hash) = (self.alias(), self.alias());
        let parameter = self.binds.long(parameter);
        let row = each_row(&alias, "rid = k.rid");
        Ok(Some(format!(
            "SELECT {hash}.p FROM ({found}) k {row} CROSS JOIN LATERAL \
             (SELECT pats FROM res WHERE rid = k.rid OFFSET 0) r CROSS JOIN LATERAL unnest(r.pats) {hash}(p) \
             WHERE ({hash}.p # {parameter}) = ANY ({alias}.toks)"
        )))
    }

    /// The row is above or below a resource, or is it.
    pub(super) fn hierarchy(
        &mut self,
        reference: &[ParameterKey],
        is_below: bool,
        of: &(ResourceType, LogicalId),
        row: &Row<'_>,
    ) -> Result<Cond, Error> {
        let set = self.hierarchy_set(reference, is_below, of, &row.types)?;
        Ok(self.resource_column(row, row.idh.as_deref(), "idh", |_, idh| {
            format!("({idh} IN ({set})) IS TRUE")
        }))
    }

    /// The identities of a resource and of all above or below it, as a query.
    pub(super) fn hierarchy_set(
        &mut self,
        reference: &[ParameterKey],
        is_below: bool,
        (of, id): &(ResourceType, LogicalId),
        types: &[ResourceType],
    ) -> Result<String, Error> {
        let parameters = self.references(reference, types, *of);
        let start = self.binds.long(self.hasher.identity(*of, id));
        let next = self.alias();
        let next_row = Row::resource(&next, types.to_vec());
        let visible = self.visible(&next_row)?.and();
        let from = self.alias();
        let mut starts = types.to_vec();
        starts.extend((!types.contains(of)).then_some(*of));
        let list = self.binds.longs(parameters);
        // UNION forgets what was there already, so circles end.
        let step = if is_below {
            let row = each_row(&next, "rid = k.rid");
            format!(
                "FROM up CROSS JOIN unnest({list}) p(p) CROSS JOIN LATERAL \
                 (SELECT rid FROM tok WHERE h = up.idh # p.p OFFSET 0) k {row} WHERE true{visible}"
            )
        } else {
            // What a resource refers to is told by nobody who may not see it.
            let seen = self.visible(&Row::resource(&from, starts))?.and();
            let links = links(&format!("{from}.toks"));
            let (row, referred) =
                (each_row(&from, "idh = up.idh"), each_row(&next, "idh = x.h # p.p"));
            format!(
                "FROM up {row} CROSS JOIN LATERAL unnest({links}) x(h) \
                 CROSS JOIN unnest({list}) p(p) {referred} WHERE true{seen}{visible}"
            )
        };
        Ok(format!(
            "WITH RECURSIVE up(idh) AS (SELECT {start} UNION SELECT {next}.idh {step}) \
             SELECT idh FROM up"
        ))
    }

    /// The row is in a compartment.
    pub(super) fn compartment(
        &mut self,
        code: ResourceType,
        id: &LogicalId,
        row: &Row<'_>,
    ) -> Cond {
        let identity = self.hasher.identity(code, id);
        if code == ResourceType::PATIENT {
            return self.is_member(&[identity], row);
        }
        let atoms = self.compartment_atoms(code, identity, &row.types);
        let mut conditions = self.tokens(&atoms, row);
        if row.types.contains(&code) {
            conditions.push(self.is_identity(&[identity], row));
        }
        Cond::any(conditions)
    }

    /// The row is in the compartment of one of these patients; without them, of anybody.
    pub(super) fn is_of_patients(&mut self, whose: Option<&[LogicalId]>, row: &Row<'_>) -> Cond {
        let Some(whose) = whose else {
            return self.resource_holds(row, |res| format!("{res}.pats <> '{{}}'"));
        };
        let whose: Vec<i64> = whose.iter().map(|id| self.hasher.patient(id)).collect();
        self.is_member(&whose, row)
    }

    /// The references that put resources of `types` into a compartment.
    pub(super) fn compartment_atoms(
        &self,
        code: ResourceType,
        identity: i64,
        types: &[ResourceType],
    ) -> Vec<Atom> {
        let Some(compartment) = self.definitions.spec().compartment(code) else {
            return Vec::new();
        };
        let mut atoms = Vec::new();
        for &of in types {
            for name in compartment.parameters(of) {
                let key = ParameterKey { resource_type: of, code: name.clone() };
                let hashes = self.references(&[key], &[of], code).into_iter();
                atoms.extend(hashes.map(|it| any(Hasher::reference(it, identity))));
            }
        }
        atoms
    }
}

/// Where the hashes of a row stand.
struct Links {
    from: String,
    /// `.. AND `, or nothing.
    condition: String,
}

/// The condition that a value is one of those of a query. Within IS TRUE the set is made once and
/// hashed; bare, it would become a join of each row. As an array it is hashed by what it has: by
/// what the database expects of a query, room for a million takes longer than all else.
pub(super) fn is_in_set(value: &str, query: &str) -> String {
    format!("({value} IN (SELECT unnest(ARRAY({query})))) IS TRUE")
}
