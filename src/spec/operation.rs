//! Operation definitions: names, levels and parameters of the `$operations`.
//!
//! Layer: 1. Imports `fhir`.
//!
//! Spec: <https://hl7.org/fhir/R4/operationdefinition.html>

use crate::fhir::json::Value;

use super::package::{Pack, PackError, Section};

/// One operation.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Its canonical url.
    pub url: Box<str>,
    /// The name after `$`.
    pub code: Box<str>,
    /// Whether it is a named query, not an operation of its own.
    pub is_query: bool,
    /// Whether it changes something on the server; most definitions of R4 do not say.
    pub affects_state: Option<bool>,
    /// The types it is for (`Resource` is all).
    pub resources: Vec<Box<str>>,
    /// Whether it is called at the root.
    pub at_system: bool,
    /// Whether it is called on a type.
    pub at_type: bool,
    /// Whether it is called on a resource.
    pub at_instance: bool,
    /// What goes in and comes out.
    pub parameters: Vec<OperationParameter>,
}

/// One parameter of an operation.
#[derive(Clone, Debug)]
pub struct OperationParameter {
    /// Its name.
    pub name: Box<str>,
    /// Whether it comes out of the operation instead of going in.
    pub is_out: bool,
    /// Least number of times.
    pub min: u16,
    /// Most times; `None` is `*`.
    pub max: Option<u16>,
    /// Its type; absent for those with parts.
    pub type_name: Option<Box<str>>,
    /// How the value is written when the type is string but it is a search value.
    pub search_type: Option<Box<str>>,
    /// Its parts.
    pub parts: Vec<OperationParameter>,
}

/// The operations that the pack defines, in the order of their urls.
///
/// # Errors
/// [`PackError`] when the pack cannot be read.
pub fn load(pack: &Pack<'_>) -> Result<Vec<Operation>, PackError> {
    let mut found = Vec::new();
    for record in pack.records(Section::Operations)?.iter() {
        found.extend(operation(&record?));
    }
    Ok(found)
}

fn operation(record: &Value<'_>) -> Option<Operation> {
    let is = |name| record.get(name).and_then(Value::as_bool);
    let resources = record.items_at("resource").iter().filter_map(Value::as_str);
    Some(Operation {
        url: record.str_at("url")?.into(),
        code: record.str_at("code")?.into(),
        is_query: record.str_at("kind") == Some("query"),
        affects_state: is("affectsState"),
        resources: resources.map(Into::into).collect(),
        at_system: is("system") == Some(true),
        at_type: is("type") == Some(true),
        at_instance: is("instance") == Some(true),
        parameters: parameters(record, "parameter"),
    })
}

fn parameters(record: &Value<'_>, name: &str) -> Vec<OperationParameter> {
    record.items_at(name).iter().filter_map(parameter).collect()
}

fn parameter(record: &Value<'_>) -> Option<OperationParameter> {
    Some(OperationParameter {
        name: record.str_at("name")?.into(),
        is_out: record.str_at("use") == Some("out"),
        min: record.get("min")?.as_number()?.parse().ok()?,
        max: record.str_at("max")?.parse().ok(),
        type_name: record.str_at("type").map(Into::into),
        search_type: record.str_at("searchType").map(Into::into),
        parts: parameters(record, "part"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Spec;
    use crate::spec::package::Pack;

    #[test]
    fn operations_have_levels_and_parameters() {
        let spec = Spec::r4().expect("loads");
        let url = "http://hl7.org/fhir/OperationDefinition/ValueSet-expand";
        let expand =
            spec.operations.iter().find(|operation| &*operation.url == url).expect("expand");
        assert_eq!((&*expand.code, expand.affects_state), ("expand", None));
        assert_eq!((expand.at_system, expand.at_type, expand.at_instance), (false, true, true));
        let filter = |parameter: &&OperationParameter| &*parameter.name == "filter";
        let filter = expand.parameters.iter().find(filter).expect("filter");
        assert_eq!((filter.min, filter.max, filter.is_out), (0, Some(1), false));
        assert_eq!(filter.type_name.as_deref(), Some("string"));
    }

    #[test]
    fn none_of_the_package_is_lost() {
        let spec = Spec::r4().expect("loads");
        let pack = Pack::open(crate::spec::R4_PACK).expect("opens");
        assert_eq!(spec.operations.len(), pack.count(Section::Operations));
        let missing = |operation: &&Operation| operation.parameters.is_empty();
        let without: Vec<&str> =
            spec.operations.iter().filter(missing).map(|operation| &*operation.code).collect();
        assert_eq!(without, [] as [&str; 0]);
    }
}
