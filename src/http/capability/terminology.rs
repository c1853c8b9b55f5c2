//! TerminologyCapabilities: `GET [base]/metadata?mode=terminology`.
//!
//! Spec: <https://hl7.org/fhir/R4/terminologycapabilities.html>

use crate::engine::Operation;
use crate::fhir::json::{Object, Value};

use super::DATE;

/// The statement for clients that see the server at `base`, with url and version of code systems.
pub(super) fn value(base: &str, systems: &[(String, Option<String>)]) -> Value<'static> {
    let software = Object::new().with("name", "Kiln").with("version", env!("CARGO_PKG_VERSION"));
    let implementation =
        Object::new().with("description", "Kiln FHIR server").with("url", base.to_owned());
    let parameter = |name: &&'static str| Value::from(Object::new().with("name", *name));
    let parameters: Vec<_> = Operation::Expand.parameters().iter().map(parameter).collect();
    let expansion = Object::new()
        .with("hierarchical", true)
        .with("paging", true)
        .with("incomplete", false)
        .with("parameter", parameters)
        .with("textFilter", "words of displays, designations and codes by how they begin");
    Object::new()
        .with("resourceType", "TerminologyCapabilities")
        .with("url", format!("{base}/metadata?mode=terminology"))
        .with("version", env!("CARGO_PKG_VERSION"))
        .with("name", "KilnTerminologyCapabilities")
        .with("title", "Terminology of Kiln")
        .with("status", "active")
        .with("date", DATE)
        .with("kind", "instance")
        .with("software", software)
        .with("implementation", implementation)
        .with("lockedDate", false)
        .with("codeSystem", systems.iter().map(code_system).collect::<Vec<_>>())
        .with("expansion", expansion)
        .with("codeSearch", "all")
        .with("validateCode", Object::new().with("translations", true))
        .with("translation", Object::new().with("needsMap", false))
        .with("closure", Object::new().with("translation", false))
        .into()
}

fn code_system((url, version): &(String, Option<String>)) -> Value<'static> {
    let versions = version.as_ref().map(|it| vec![Object::new().with("code", it.clone()).into()]);
    Object::new().with("uri", url.clone()).with_some("version", versions).into()
}
