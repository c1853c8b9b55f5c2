//! Whose a row is by what it names, where no compartment tells, and what is in the resources that it is
//! made of: asked of the body, for consents alone.
//!
//! `access::judge` says the same of a document, and reads texts alike; but what is named there is not at
//! hand, so that only patients count who are named themselves.
//! Those count who are not here too: there is no row of theirs to look up, but a Consent that names them.

use crate::access::consent::Expression;
use crate::access::restriction::Belonging;
use crate::fhir::{LogicalId, ResourceType};
use crate::store::search::compile::{Compiler, Row};
use crate::store::search::sql::{Bind, Cond};

/// What a row is made of, as `access::judge` has it.
const PARTS: &str = "'$.**.resource ? (exists (@.resourceType))'::jsonpath";

/// The id of a patient in a reference without a base.
const PATIENT: &str = "'^Patient/([A-Za-z0-9.-]{1,64})(?:/_history/[A-Za-z0-9.-]+)?(?:#[^?]*)?$'";

/// What asks for patients who are not here, as SQL.
struct Missing {
    /// Whether there are some.
    are_some: String,
    /// Whether it is one of them.
    is_one: String,
}

impl Compiler<'_, '_> {
    /// The condition that something which the row names is of one of the patients: the patient, a Device of
    /// the patient's, or what is in the patient's compartment or was.
    pub(super) fn names_one(
        &mut self,
        told_by: Belonging,
        patients: &[i64],
        row: &Row<'_>,
    ) -> Cond {
        let (name, target, own) = (self.alias(), self.alias(), self.alias());
        let (from, identified) = self.identified(&format!("{name}.t"));
        let theirs = self.binds.longs(patients.iter().copied());
        let of_device = self.is_device_of(&target, &theirs);
        let in_compartment = format!("({target}.pats && {theirs} OR {of_device})");
        // Who is linked with a patient is in that patient's compartment, and is another one all the same.
        let is_theirs = if told_by == Belonging::Targets {
            in_compartment
        } else {
            let code = self.binds.add(Bind::Short(ResourceType::PATIENT.code()));
            format!(
                "CASE WHEN {target}.rt = {code} AND {target}.op <> 'D' THEN EXISTS (\
                 SELECT FROM srow {own} WHERE {own}.rid = {target}.rid \
                 AND {own}.idh = ANY ({theirs}) OFFSET 0) ELSE {in_compartment} END"
            )
        };
        let is_missing = self.is_of_missing(&format!("{name}.t"), &theirs);
        self.resource_holds(row, |res| {
            let names = names(told_by, res);
            format!(
                "(EXISTS (SELECT FROM ({names}) {name}(t), {from} \
                 JOIN res {target} ON {target}.rid = i.rid \
                 WHERE {identified} AND {is_theirs} OFFSET 0) \
                 OR {} AND EXISTS (SELECT FROM ({names}) {name}(t) WHERE {} OFFSET 0))",
                is_missing.are_some, is_missing.is_one
            )
        })
    }

    /// The reference in the body is to one of these patients, of whom something is withheld, be they here or
    /// not.
    pub(super) fn refers_to_denier(
        &mut self,
        reference: &str,
        patients: &[i64],
        row: &Row<'_>,
    ) -> Cond {
        if patients.is_empty() {
            return Cond::False;
        }
        let text = self.alias();
        let theirs = self.binds.longs(patients.iter().copied());
        let is_missing = self.is_of_missing(&format!("{text}.t"), &theirs);
        let missing = self.resource_holds(row, |res| {
            let reference = reference.replacen("{}", res, 1);
            format!(
                "{} AND EXISTS (SELECT FROM (SELECT {reference}) {text}(t) WHERE {} OFFSET 0)",
                is_missing.are_some, is_missing.is_one
            )
        });
        Cond::any([self.refers_to(reference, patients, row), missing])
    }

    /// That a reference in SQL is to one of the patients who is not here: the Consents by which something of
    /// theirs is withheld say who that is. It is the same for each row, and so is looked up once.
    fn is_of_missing(&mut self, reference: &str, theirs: &str) -> Missing {
        let (member, consent, own) = (self.alias(), self.alias(), self.alias());
        let whose = self.relative(&format!("({consent}.body#>>'{{patient,reference}}')"));
        let named = self.relative(reference);
        let code = self.binds.add(Bind::Short(ResourceType::CONSENT.code()));
        let ids = format!(
            "ARRAY(SELECT substring({whose} FROM {PATIENT}) FROM comp {member} \
             JOIN res {consent} ON {consent}.rid = {member}.rid \
             WHERE {member}.pat = ANY ({theirs}) AND {member}.rt = {code} \
             AND NOT EXISTS (SELECT FROM srow {own} WHERE {own}.idh = {member}.pat))"
        );
        Missing {
            are_some: format!("cardinality({ids}) > 0"),
            is_one: format!("substring({named} FROM {PATIENT}) = ANY ({ids})"),
        }
    }

    /// That a row of `res` is a Device of one of the patients: no compartment has it.
    fn is_device_of(&mut self, target: &str, theirs: &str) -> String {
        let own = self.alias();
        let (from, identified) =
            self.identified(&format!("({target}.body#>>'{{patient,reference}}')"));
        let code = self.binds.add(Bind::Short(ResourceType::DEVICE.code()));
        let is_missing =
            self.is_of_missing(&format!("({target}.body#>>'{{patient,reference}}')"), theirs);
        format!(
            "{target}.rt = {code} AND (EXISTS (SELECT FROM {from} \
             JOIN srow {own} ON {own}.rid = i.rid \
             WHERE {identified} AND {own}.idh = ANY ({theirs}) OFFSET 0) OR {})",
            is_missing.is_one
        )
    }

    /// The condition that a denial may hold for one of the resources that the row is made of.
    pub(super) fn is_within(&mut self, of: &Expression, row: &Row<'_>) -> Cond {
        let part = self.alias();
        let holds = self.holds_for(of, &format!("{part}.v"), true);
        if holds == Cond::False {
            return Cond::False;
        }
        let holds = holds.and();
        self.resource_holds(row, |res| {
            format!(
                "EXISTS (SELECT FROM jsonb_path_query({res}.body, {PARTS}) {part}(v) \
                 WHERE jsonb_typeof({part}.v) = 'object'{holds} OFFSET 0)"
            )
        })
    }

    /// The condition that it holds for a part, `part` in SQL, where `otherwise` is what counts for what a
    /// part does not tell. Never NULL: it may stand behind a NOT.
    fn holds_for(&mut self, of: &Expression, part: &str, otherwise: bool) -> Cond {
        let untold = || if otherwise { Cond::True } else { Cond::False };
        match of {
            Expression::All(all) => Cond::all(
                all.iter().map(|it| self.holds_for(it, part, otherwise)).collect::<Vec<_>>(),
            ),
            Expression::Any(any) => Cond::any(
                any.iter().map(|it| self.holds_for(it, part, otherwise)).collect::<Vec<_>>(),
            ),
            Expression::Code { system, code } if otherwise => {
                let within =
                    format!("jsonb_path_query({part}, '$.** ? (exists (@.code))'::jsonpath)");
                self.has_coding(&within, system.as_deref(), code)
            }
            Expression::Label { system, code } => {
                let labels = format!("jsonb_path_query({part}, '$.meta.security[*]'::jsonpath)");
                self.has_coding(&labels, system.as_deref(), code)
            }
            Expression::Not(inner) => self.holds_for(inner, part, !otherwise).not(),
            Expression::RefersTo { target: (of, id), is_author: false } if otherwise => {
                let name = self.binds.text(format!("{of}/{id}"));
                Cond::sql(format!("strpos({part}::text, {name}) > 0"))
            }
            Expression::Related(of, id) if !otherwise => self.is_part(part, *of, id),
            Expression::Resource(of, id) => self.is_part(part, *of, id),
            Expression::Types(types) if types.is_empty() => Cond::False,
            Expression::Types(types) => {
                let names = types.iter().map(|of| of.as_str().to_owned()).collect();
                let names = self.binds.add(Bind::Texts(names));
                Cond::sql(format!("coalesce({part}->>'resourceType', '') = ANY ({names})"))
            }
            Expression::Code { .. }
            | Expression::Dated(_)
            | Expression::RefersTo { .. }
            | Expression::Related(..)
            | Expression::Unknown => untold(),
        }
    }

    fn is_part(&mut self, part: &str, of: ResourceType, id: &LogicalId) -> Cond {
        let (of, id) = (self.binds.text(of.as_str()), self.binds.text(id.as_str()));
        Cond::sql(format!(
            "(coalesce({part}->>'resourceType', '') = {of} AND coalesce({part}->>'id', '') = {id})"
        ))
    }

    /// The condition that one of these values is the code, however its case is written.
    fn has_coding(&mut self, values: &str, system: Option<&str>, code: &str) -> Cond {
        let found = self.alias();
        let code = self.binds.text(code);
        let system = system.map(|system| {
            let system = self.binds.text(system);
            format!(" AND {found}.v->>'system' = {system}")
        });
        let system = system.unwrap_or_default();
        Cond::sql(format!(
            "EXISTS (SELECT FROM {values} {found}(v) \
             WHERE lower(({found}.v->>'code') COLLATE \"C\") = lower({code} COLLATE \"C\"){system} OFFSET 0)"
        ))
    }
}

/// The texts of a row of `res` that name what tells whose it is, as SQL.
fn names(told_by: Belonging, res: &str) -> String {
    let at = |path: &str| {
        format!(
            "SELECT named.v#>>'{{}}' FROM jsonb_path_query({res}.body, '{path}'::jsonpath) named(v)"
        )
    };
    match told_by {
        Belonging::Targets => at("$.target[*].reference"),
        Belonging::Parts => {
            let paths =
                ["$.**.reference", "$.**.fullUrl", "$.**.request.url", "$.**.response.location"];
            let patients = format!(
                "SELECT 'Patient/' || (named.v->>'id') FROM jsonb_path_query({res}.body, \
                 '$.**.resource ? (@.resourceType == \"Patient\")'::jsonpath) named(v)"
            );
            let texts = paths.into_iter().map(at).chain([patients]);
            texts.collect::<Vec<_>>().join(" UNION ALL ")
        }
        Belonging::Attachment
        | Belonging::Compartment
        | Belonging::Patient
        | Belonging::References => at("$.**.reference"),
    }
}
