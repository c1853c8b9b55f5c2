//! The validator: on any document by base definitions and profiles, and by any definition.

use std::sync::{Arc, LazyLock};

use kiln::fhir::Severity;
use kiln::fhir::json::parse;
use kiln::spec::structure::Library;
use kiln::spec::{R4_PACK, Spec};
use kiln::terminology::Image;
use kiln::validate::form;
use kiln::validate::profile::{Options, Validator};

use crate::target::holds;

/// Profiles of R4 with slices, discriminators and profiles on data types.
const PROFILES: [&str; 3] = [
    "http://hl7.org/fhir/StructureDefinition/bp",
    "http://hl7.org/fhir/StructureDefinition/cdshooksguidanceresponse",
    "http://hl7.org/fhir/StructureDefinition/lipidprofile",
];

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    let terminology = match Image::new(R4_PACK, "") {
        Ok(terminology) => terminology,
        Err(fault) => unreachable!("the embedded pack opens: {fault}"),
    };
    let spec = match Spec::r4() {
        Ok(spec) => spec,
        Err(fault) => unreachable!("the embedded pack loads: {fault}"),
    };
    Validator::new(spec, Arc::new(Library::r4()), Arc::new(terminology))
});

/// Every document gets a bounded number of issues, each with a place; to want less gives less.
pub(crate) fn document(input: &[u8]) -> Result<(), String> {
    let Ok(value) = parse(input) else { return Ok(()) };
    let all = VALIDATOR.validate(&value, &PROFILES, &Options::default());
    holds(all.len() <= 2 * form::MAX_ISSUES, "the number of issues is bounded")?;
    holds(all.iter().all(|issue| !issue.expression.is_empty()), "each issue has a place")?;
    let options = Options { least: Severity::Error, ..Options::default() };
    let errors = VALIDATOR.validate(&value, &PROFILES, &options);
    holds(errors.iter().all(|issue| issue.severity <= Severity::Error), "errors alone")?;
    let has_error = all.iter().any(|issue| issue.severity <= Severity::Error);
    holds(has_error != errors.is_empty(), "warnings hide no error")
}

/// Every definition is judged itself, can be used or is refused, and documents are judged by it.
pub(crate) fn definition(input: &[u8]) -> Result<(), String> {
    let Ok(value) = parse(input) else { return Ok(()) };
    let Some(url) = value.str_at("url").map(str::to_owned) else { return Ok(()) };
    let told = VALIDATOR.validate(&value, &[], &Options::default());
    holds(told.iter().all(|issue| !issue.expression.is_empty()), "each issue has a place")?;
    let library = VALIDATOR.library().with_resources([value]);
    let (spec, terminology) = (VALIDATOR.spec(), VALIDATOR.terminology());
    let validator = Validator::new(Arc::clone(spec), Arc::new(library), Arc::clone(terminology));
    for document in [PATIENT, OBSERVATION] {
        let document = parse(document).map_err(|fault| fault.to_string())?;
        let issues = validator.validate(&document, &[&url], &Options::default());
        holds(issues.len() <= 2 * form::MAX_ISSUES, "the number of issues is bounded")?;
    }
    Ok(())
}

const PATIENT: &[u8] = include_bytes!("../corpus/json/patient.json");
const OBSERVATION: &[u8] = include_bytes!("../corpus/json/observation.json");
