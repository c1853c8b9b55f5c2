//! A Binary as a part of what it is attached to.
//!
//! A `securityContext` says whose a Binary is, and nothing else then counts: whoever may write a
//! document must not get at a Binary by naming it. Without one, a Binary is as visible as what names it
//! by an attachment's URL, by a reference that may stand in the place of an attachment, or as an entry of a
//! list, a document or a catalog: one must be visible, and none that has it attached may be invisible, so that
//! a document of one's own opens nothing that is attached to the record of somebody else. Lists and their like
//! gather what others have: one that is invisible takes nothing from who sees what has it attached.
//!
//! Spec: security E8

use crate::access::interaction::Kind;
use crate::access::restriction::Belonging;
use crate::error::Error;
use crate::fhir::reference::after_scheme;
use crate::fhir::{LogicalId, ResourceType};
use crate::store::TENANT;

use super::super::compile::{Compiler, Row};
use super::super::sql::Cond;

/// The types whose attachments count: those of the index of migration 207.
pub(in crate::store) const ATTACHING: [&str; 44] = [
    "ActivityDefinition",
    "BodyStructure",
    "CatalogEntry",
    "Claim",
    "ClaimResponse",
    "Communication",
    "CommunicationRequest",
    "Composition",
    "Consent",
    "Contract",
    "DeviceDefinition",
    "DiagnosticReport",
    "DocumentManifest",
    "DocumentReference",
    "EffectEvidenceSynthesis",
    "EventDefinition",
    "Evidence",
    "EvidenceVariable",
    "ExplanationOfBenefit",
    "HealthcareService",
    "Library",
    "List",
    "Measure",
    "Media",
    "MedicinalProductManufactured",
    "MedicinalProductPackaged",
    "Parameters",
    "Patient",
    "Person",
    "PlanDefinition",
    "Practitioner",
    "Questionnaire",
    "QuestionnaireResponse",
    "RelatedPerson",
    "RequestGroup",
    "ResearchDefinition",
    "ResearchElementDefinition",
    "ResearchStudy",
    "RiskEvidenceSynthesis",
    "SubstanceNucleicAcid",
    "SubstancePolymer",
    "SubstanceProtein",
    "SubstanceSpecification",
    "Task",
];

/// Those of them that gather what others have.
const GATHERING: [&str; 4] = ["CatalogEntry", "Composition", "DocumentManifest", "List"];

/// The condition that the row is a Binary without a `securityContext`, and that the caller may read
/// what it is attached to: one resource at least, and each that does more than gather.
pub(super) fn is_visible(
    compiler: &mut Compiler<'_, '_>,
    of: ResourceType,
    row: &Row<'_>,
) -> Result<Cond, Error> {
    if of != ResourceType::BINARY {
        return Ok(Cond::False);
    }
    let types = attaching();
    let (holder, found) = (compiler.alias(), compiler.alias());
    let visible = compiler.visible_by(Kind::Read, &Row::resource(&found, types))?;
    if visible == Cond::False {
        return Ok(Cond::False);
    }
    let visible = visible.and();
    let gathering: Vec<i16> = types_of(&GATHERING).into_iter().map(ResourceType::code).collect();
    let gathers = compiler.binds.is_type(&format!("{holder}.rt"), &gathering);
    let base = base(compiler);
    Ok(compiler.resource_holds(row, |res| {
        let holders = holders(&holder, &base, res);
        let is_seen = format!(
            "EXISTS (SELECT FROM srow {found} WHERE {found}.rid = {holder}.rid{visible} OFFSET 0)"
        );
        format!(
            "NOT {res}.body ? 'securityContext' AND EXISTS (SELECT FROM {holders} AND {is_seen} OFFSET 0) \
             AND NOT EXISTS (SELECT FROM {holders} AND NOT ({gathers}) AND NOT {is_seen} OFFSET 0)"
        )
    }))
}

/// The condition that the row is a Binary without a `securityContext` that is attached to something of one
/// of these patients, by hashes and ids, which the caller may not read.
pub(super) fn is_kept_back(
    compiler: &mut Compiler<'_, '_>,
    (patients, ids): (&[i64], &[LogicalId]),
    row: &Row<'_>,
) -> Result<Cond, Error> {
    let types = attaching();
    let (holder, found) = (compiler.alias(), compiler.alias());
    // Where no compartment tells whose the holder is, what it names does.
    let known = &compiler.parameters.extractor;
    let is_by_others = |of: &ResourceType| Belonging::of(*of, known).is_by_others();
    let by_others: Vec<i16> =
        types.iter().copied().filter(is_by_others).map(ResourceType::code).collect();
    let is_by_others = compiler.binds.is_type(&format!("{holder}.rt"), &by_others);
    let held = Row::resource(&holder, types.clone());
    // Parameters are made of parts; of the others these are all that they refer to.
    let named = compiler.names_one(Belonging::Parts, (patients, ids), &held).and();
    let visible = compiler.visible_by(Kind::Read, &Row::resource(&found, types))?.and();
    let (base, theirs) = (base(compiler), compiler.binds.longs(patients.iter().copied()));
    Ok(compiler.resource_holds(row, |res| {
        let holders = holders(&holder, &base, res);
        format!(
            "NOT {res}.body ? 'securityContext' AND EXISTS (SELECT FROM {holders} \
             AND ({holder}.pats && {theirs} OR {is_by_others}{named}) AND NOT EXISTS (\
             SELECT FROM srow {found} WHERE {found}.rid = {holder}.rid{visible} OFFSET 0) OFFSET 0)"
        )
    }))
}

fn attaching() -> Vec<ResourceType> {
    types_of(&ATTACHING)
}

fn types_of(names: &[&str]) -> Vec<ResourceType> {
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

/// The base of full URLs as the index has them, bound.
fn base(compiler: &mut Compiler<'_, '_>) -> String {
    let base = compiler.parameters.extractor.base();
    let base = format!("{}/", after_scheme(base).unwrap_or(base));
    compiler.binds.text(base)
}

/// Rows of `res`, called `holder`, that have the Binary `res` attached.
fn holders(holder: &str, base: &str, res: &str) -> String {
    // The codes stand in the text, and that something is attached too, so that the database sees that its index
    // has them all.
    let codes: Vec<String> = attaching().iter().map(|of| of.code().to_string()).collect();
    format!(
        "res {holder} WHERE {holder}.tid = {TENANT} AND {holder}.rt IN ({}) \
         AND kiln_attached({holder}.rt, {holder}.body) <> '{{}}'::text[] \
         AND kiln_attached({holder}.rt, {holder}.body) && \
         ARRAY['Binary/' || {res}.id, {base} || 'Binary/' || {res}.id]",
        codes.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_has_the_types_that_count() {
        let migration = include_str!("../../../../migrations/0207_attachments.sql");
        let code = |name: &&str| name.parse::<ResourceType>().expect("a type").code().to_string();
        let codes: Vec<String> = ATTACHING.iter().map(code).collect();
        assert!(migration.contains(&format!("WHERE rt IN ({})", codes.join(", "))), "{codes:?}");
    }
}
