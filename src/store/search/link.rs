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

use super::atom::Atom;
use super::compile::{Compiler, Row};
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
            any.push(if is_wide {
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
        let Some(holds) = self.target(filter, &target_row)? else { return Ok(Cond::False) };
        let (links, hash) = self.links(parameters, row);
        let code = self.binds.is_type(&format!("{target}.rt"), &[of.code()]);
        Ok(Cond::exists(&format!(
            "{} JOIN srow {target} ON {target}.idh = {hash} WHERE {}{code}{holds}",
            links.from, links.condition
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
        // Within IS TRUE the set is made once and hashed; bare, it would become a join of each row.
        Ok(Cond::exists(&format!(
            "{} WHERE {}({hash} IN ({targets})) IS TRUE",
            links.from, links.condition
        )))
    }

    /// The identities of the resources of a type for which `filter` holds, as a query.
    pub(super) fn targets(
        &mut self,
        of: ResourceType,
        filter: &Filter,
    ) -> Result<Option<String>, Error> {
        let Some(found) = self.found(of, filter)? else { return Ok(None) };
        let alias = self.alias();
        Ok(Some(format!(
            "SELECT {alias}.idh FROM ({found}) k JOIN srow {alias} ON {alias}.rid = k.rid"
        )))
    }

    /// What holds for a target (` AND ..`); `None` when nothing can.
    fn target(&mut self, filter: &Filter, row: &Row<'_>) -> Result<Option<String>, Error> {
        let visible = self.visible(row)?;
        let holds = Cond::all([self.filter(filter, row)?, visible]);
        Ok((holds != Cond::False).then(|| holds.and()))
    }

    /// The hashes that a row holds, as a FROM, and the identity that one of them leads to.
    fn links(&mut self, parameters: &[i64], row: &Row<'_>) -> (Links, String) {
        let hash = self.alias();
        let (mut from, condition) = if let Some(toks) = &row.toks {
            (format!("unnest({toks}) {hash}(h)"), String::new())
        } else {
            let alias = self.alias();
            (
                format!("srow {alias} CROSS JOIN LATERAL unnest({alias}.toks) {hash}(h)"),
                format!("{alias}.rid = {} AND ", row.rid),
            )
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
            let of_type = self.is_type_of(&same, row);
            for parameter in parameters {
                let has = self.has_by((source, parameter, reference), filter, &part, is_wide)?;
                any.push(Cond::all([of_type.clone(), has]));
            }
        }
        Ok(Cond::any(any))
    }

    fn has_by(
        &mut self,
        (source, parameter, reference): (ResourceType, i64, &ParameterKey),
        filter: &Filter,
        row: &Row<'_>,
        is_wide: bool,
    ) -> Result<Cond, Error> {
        let is_member = *row.types == [ResourceType::PATIENT]
            && self.definitions.is_member(source, &reference.code);
        if !is_wide {
            let Some(targets) = self.referred(source, parameter, filter, is_member)? else {
                return Ok(Cond::False);
            };
            return Ok(self.resource_column(row, row.idh.as_deref(), "idh", |_, idh| {
                format!("({idh} IN ({targets})) IS TRUE")
            }));
        }
        if is_member && let Some(idh) = &row.idh {
            // What refers to a patient lies in the compartment, whose rows have all hashes at hand.
            let member = self.alias();
            let member_row = Row::member(&member, vec![source]);
            let Some(holds) = self.target(filter, &member_row)? else { return Ok(Cond::False) };
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
        let Some(holds) = self.target(filter, &refers_row)? else { return Ok(Cond::False) };
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
    /// parameter, and others: as a query. What a row of theirs holds beside, combined with the
    /// parameter, is the identity of nothing.
    pub(super) fn referred(
        &mut self,
        source: ResourceType,
        parameter: i64,
        filter: &Filter,
        is_member: bool,
    ) -> Result<Option<String>, Error> {
        let Some(found) = self.found(source, filter)? else { return Ok(None) };
        let (alias, hash) = (self.alias(), self.alias());
        let parameter = self.binds.long(parameter);
        if is_member {
            // The patients of a resource stand beside it, so most of its hashes need no look.
            return Ok(Some(format!(
                "SELECT {hash}.p FROM ({found}) k JOIN srow {alias} ON {alias}.rid = k.rid \
                 JOIN res r ON r.rid = k.rid CROSS JOIN LATERAL unnest(r.pats) {hash}(p) \
                 WHERE ({hash}.p # {parameter}) = ANY ({alias}.toks)"
            )));
        }
        Ok(Some(format!(
            "SELECT {hash}.h # {parameter} FROM ({found}) k JOIN srow {alias} ON {alias}.rid = k.rid \
             CROSS JOIN LATERAL unnest({alias}.toks) {hash}(h)"
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
            format!(
                "FROM up CROSS JOIN unnest({list}) p(p) JOIN tok k ON k.h = up.idh # p.p \
                 JOIN srow {next} ON {next}.rid = k.rid WHERE true{visible}"
            )
        } else {
            // What a resource refers to is told by nobody who may not see it.
            let seen = self.visible(&Row::resource(&from, starts))?.and();
            format!(
                "FROM up JOIN srow {from} ON {from}.idh = up.idh CROSS JOIN LATERAL unnest({from}.toks) x(h) \
                 CROSS JOIN unnest({list}) p(p) JOIN srow {next} ON {next}.idh = x.h # p.p \
                 WHERE true{seen}{visible}"
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
