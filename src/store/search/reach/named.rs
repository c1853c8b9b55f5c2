//! Whose a row is by what it names, where no compartment tells, and what is in the resources that it is
//! made of: asked of the body, for consents alone.
//!
//! `access::judge` says the same of a document, and reads texts alike; but what is named there is not at
//! hand, so that only patients count who are named themselves.
//! Those count who are not here too: there is no row of theirs to look up, but they are known by their ids.

use crate::access::consent::Expression;
use crate::access::restriction::Belonging;
use crate::fhir::{LogicalId, ResourceType};
use crate::search::extract::Extractor;
use crate::store::search::compile::{Compiler, Row};
use crate::store::search::sql::{Bind, Cond};

/// What a row is made of, as `access::judge` has it.
const PARTS: &str = "'$.**.resource ? (exists (@.resourceType))'::jsonpath";

/// The id of a patient in a reference without a base.
const PATIENT: &str = "'^Patient/([A-Za-z0-9.-]{1,64})(?:/_history/[A-Za-z0-9.-]+)?(?:#[^?]*)?$'";

impl Compiler<'_, '_> {
    /// The condition that something which the row names is of one of the patients, by hashes and ids: the
    /// patient, a Device of the patient's, or what is in the patient's compartment or was. Where no compartment
    /// tells whose that is either, what it names in turn does.
    pub(super) fn names_one(
        &mut self,
        told_by: Belonging,
        (patients, ids): (&[i64], &[LogicalId]),
        row: &Row<'_>,
    ) -> Cond {
        let (led, name, along, via, target) =
            (self.alias(), self.alias(), self.alias(), self.alias(), self.alias());
        let text = format!("{led}.t");
        let (onward, is_onward) = self.identified(&text);
        let (to, is_to) = self.identified(&text);
        let theirs = self.binds.longs(patients.iter().copied());
        let ids = self.ids(ids);
        let is_named = self.is_patient_of(&text, &ids);
        let followed = self.followed(&via);
        let of_device = self.is_device_of(&target, &ids);
        let code = self.binds.add(Bind::Short(ResourceType::PATIENT.code()));
        // Who is linked with a patient is in that patient's compartment, and is another one all the same.
        let is_another = format!("{target}.rt = {code} AND {target}.op <> 'D'");
        let is_another = match told_by {
            Belonging::Targets => format!("({is_another} AND {led}.far > 1)"),
            _ => format!("({is_another})"),
        };
        let onward_names = names_along(&via);
        let most = Belonging::STEPS;
        self.resource_holds(row, |res| {
            let names = names(told_by, res);
            format!(
                "EXISTS (WITH RECURSIVE {led}(t, far) AS (\
                 SELECT {name}.t, 1 FROM ({names}) {name}(t) \
                 UNION SELECT {along}.t, {led}.far + 1 FROM {led}, {onward} \
                 JOIN res {via} ON {via}.rid = i.rid, LATERAL ({onward_names}) {along}(t) \
                 WHERE {led}.far < {most} AND {is_onward} AND {followed}) \
                 SELECT FROM {led} WHERE {is_named} OR EXISTS (SELECT FROM {to} \
                 JOIN res {target} ON {target}.rid = i.rid \
                 WHERE {is_to} AND (NOT {is_another} AND {target}.pats && {theirs} OR {of_device}) OFFSET 0))"
            )
        })
    }

    /// The reference in the body is to one of these patients, of whom something is withheld, be they here or
    /// not.
    pub(super) fn refers_to_denier(
        &mut self,
        reference: &str,
        ids: &[LogicalId],
        row: &Row<'_>,
    ) -> Cond {
        if ids.is_empty() {
            return Cond::False;
        }
        let ids = self.ids(ids);
        let is_one = self.is_patient_of(&format!("({reference})"), &ids);
        self.resource_holds(row, |res| is_one.replace("{}", res))
    }

    /// Ids of patients, bound.
    fn ids(&mut self, ids: &[LogicalId]) -> String {
        let texts = ids.iter().map(|id| id.as_str().to_owned()).collect();
        self.binds.add(Bind::Texts(texts))
    }

    /// That a reference in SQL is to one of the patients, be they here or not.
    fn is_patient_of(&mut self, reference: &str, ids: &str) -> String {
        let named = self.relative(reference);
        format!("substring({named} FROM {PATIENT}) = ANY ({ids})")
    }

    /// That a row of `res` is a Device of one of the patients: no compartment has it.
    fn is_device_of(&mut self, target: &str, ids: &str) -> String {
        let is_theirs =
            self.is_patient_of(&format!("({target}.body#>>'{{patient,reference}}')"), ids);
        let code = self.binds.add(Bind::Short(ResourceType::DEVICE.code()));
        format!("{target}.rt = {code} AND {is_theirs}")
    }

    /// That what a row of `res` names tells whose it is.
    fn followed(&mut self, via: &str) -> String {
        let codes = followed(&self.parameters.extractor);
        let is_followed = self.binds.is_type(&format!("{via}.rt"), &codes);
        format!("{is_followed} AND {via}.op <> 'D'")
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

/// The types of which what they name tells whose they are, where something else names them.
pub(in crate::store) fn followed(known: &Extractor) -> Vec<i16> {
    let is_followed = |of: &ResourceType| Belonging::of(*of, known).is_by_others();
    ResourceType::all().filter(is_followed).map(ResourceType::code).collect()
}

/// The texts of a row of `res`, of whichever type, that name what tells whose it is, as SQL.
fn names_along(via: &str) -> String {
    let [bundle, parameters, provenance] =
        [ResourceType::BUNDLE, ResourceType::PARAMETERS, ResourceType::PROVENANCE]
            .map(ResourceType::code);
    let of = |told_by: Belonging, condition: &str| {
        let body = format!("(SELECT CASE WHEN {condition} THEN {via}.body END AS body)");
        format!(
            "SELECT named.t FROM {body} part CROSS JOIN LATERAL ({}) named(t)",
            names(told_by, "part")
        )
    };
    let is_made_of_parts = format!("{via}.rt IN ({bundle}, {parameters})");
    let parts = of(Belonging::Parts, &is_made_of_parts);
    let targets = of(Belonging::Targets, &format!("{via}.rt = {provenance}"));
    let others = format!("{via}.rt NOT IN ({bundle}, {parameters}, {provenance})");
    let references = of(Belonging::References, &others);
    format!("{parts} UNION ALL {targets} UNION ALL {references}")
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
