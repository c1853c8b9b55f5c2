//! Which elements of a definition a pack keeps: the machine facts, in a fixed order.

use std::borrow::Cow;

use crate::fhir::json::{Object, Value};

/// The elements to keep of an object, and for each what to keep inside (`None` = all of it).
///
/// A name that ends in `[x]` stands for every typed form of it.
pub(super) struct Shape(&'static [(&'static str, Option<&'static Shape>)]);

/// The object with only what `shape` names, in the order of `shape`.
pub(super) fn keep<'a>(object: &Object<'a>, shape: &Shape) -> Object<'a> {
    let mut kept = Object::new();
    for &(name, inner) in shape.0 {
        if let Some(stem) = name.strip_suffix("[x]") {
            let typed = |key: &str| {
                let form = key.strip_prefix(stem).and_then(|form| form.chars().next());
                form.is_some_and(char::is_uppercase)
            };
            for (key, value) in object.iter().filter(|(key, _)| typed(key)) {
                kept.push_unchecked(Cow::Owned(key.to_owned()), value.clone());
            }
        } else if let Some(value) = object.get(name) {
            kept.push_unchecked(Cow::Borrowed(name), keep_value(value, inner));
        }
    }
    kept
}

fn keep_value<'a>(value: &Value<'a>, inner: Option<&Shape>) -> Value<'a> {
    match (value, inner) {
        (Value::Object(object), Some(shape)) => Value::Object(keep(object, shape)),
        (Value::Array(items), Some(_)) => {
            Value::Array(items.iter().map(|item| keep_value(item, inner)).collect())
        }
        _ => value.clone(),
    }
}

macro_rules! shapes {
    ($($shape:ident = [$($name:literal $(=> $inner:ident)?),* $(,)?];)*) => {
        $(pub(super) static $shape: Shape =
            Shape(&[$(($name, shapes!(@inner $($inner)?))),*]);)*
    };
    (@inner $inner:ident) => { Some(&$inner) };
    (@inner) => { None };
}

shapes! {
    CODE_SYSTEM = [
        "url", "identifier" => IDENTIFIER, "version", "name", "status", "caseSensitive", "valueSet",
        "hierarchyMeaning", "compositional", "versionNeeded", "content", "supplements", "count",
        "filter" => CODE_SYSTEM_FILTER, "property" => CODE_SYSTEM_PROPERTY, "concept" => CONCEPT,
    ];
    IDENTIFIER = ["system", "value"];
    CODE_SYSTEM_FILTER = ["code", "operator", "value"];
    CODE_SYSTEM_PROPERTY = ["code", "uri", "type"];
    CONCEPT = [
        "code", "display", "designation" => DESIGNATION, "property" => CONCEPT_PROPERTY,
        "concept" => CONCEPT,
    ];
    DESIGNATION = ["language", "use" => CODING, "value"];
    CONCEPT_PROPERTY = ["code", "value[x]"];
    CODING = ["system", "version", "code"];

    VALUE_SET = [
        "url", "identifier" => IDENTIFIER, "version", "name", "status", "immutable",
        "compose" => COMPOSE, "expansion" => EXPANSION,
    ];
    COMPOSE = ["lockedDate", "inactive", "include" => INCLUDE, "exclude" => INCLUDE];
    INCLUDE = [
        "system", "version", "concept" => INCLUDE_CONCEPT, "filter" => INCLUDE_FILTER, "valueSet",
    ];
    INCLUDE_CONCEPT = ["code", "display", "designation" => DESIGNATION];
    INCLUDE_FILTER = ["property", "op", "value"];
    EXPANSION = [
        "identifier", "timestamp", "total", "parameter" => EXPANSION_PARAMETER,
        "contains" => CONTAINS,
    ];
    EXPANSION_PARAMETER = ["name", "value[x]"];
    CONTAINS = [
        "system", "abstract", "inactive", "version", "code", "display",
        "designation" => DESIGNATION, "contains" => CONTAINS,
    ];

    CONCEPT_MAP = [
        "url", "identifier" => IDENTIFIER, "version", "name", "status", "source[x]", "target[x]",
        "group" => MAP_GROUP,
    ];
    MAP_GROUP = [
        "source", "sourceVersion", "target", "targetVersion", "element" => MAP_ELEMENT,
        "unmapped" => UNMAPPED,
    ];
    MAP_ELEMENT = ["code", "display", "target" => MAP_TARGET];
    MAP_TARGET = [
        "code", "display", "equivalence", "dependsOn" => OTHER_ELEMENT, "product" => OTHER_ELEMENT,
    ];
    OTHER_ELEMENT = ["property", "system", "value", "display"];
    UNMAPPED = ["mode", "code", "display", "url"];

    SEARCH_PARAMETER = [
        "url", "version", "name", "status", "experimental", "code", "base", "type", "expression",
        "xpathUsage", "target", "multipleOr", "multipleAnd", "comparator", "modifier", "chain",
        "component" => SEARCH_COMPONENT,
    ];
    SEARCH_COMPONENT = ["definition", "expression"];

    COMPARTMENT_DEFINITION = [
        "url", "version", "name", "status", "code", "search", "resource" => COMPARTMENT_RESOURCE,
    ];
    COMPARTMENT_RESOURCE = ["code", "param"];

    OPERATION_DEFINITION = [
        "url", "version", "name", "status", "kind", "affectsState", "code", "base", "resource",
        "system", "type", "instance", "inputProfile", "outputProfile",
        "parameter" => OPERATION_PARAMETER, "overload" => OPERATION_OVERLOAD,
    ];
    OPERATION_PARAMETER = [
        "name", "use", "min", "max", "type", "targetProfile", "searchType",
        "binding" => OPERATION_BINDING, "referencedFrom" => REFERENCED_FROM,
        "part" => OPERATION_PARAMETER,
    ];
    OPERATION_BINDING = ["strength", "valueSet"];
    REFERENCED_FROM = ["source", "sourceId"];
    OPERATION_OVERLOAD = ["parameterName"];

    STRUCTURE_DEFINITION = [
        "url", "version", "name", "status", "fhirVersion", "kind", "abstract", "context" => CONTEXT,
        "contextInvariant", "type", "baseDefinition", "derivation",
    ];
    CONTEXT = ["type", "expression"];
    ELEMENT = [
        "id", "path", "representation", "sliceName", "sliceIsConstraining",
        "slicing" => SLICING, "min", "max", "contentReference", "defaultValue[x]", "fixed[x]",
        "pattern[x]", "minValue[x]", "maxValue[x]", "maxLength", "mustSupport", "isModifier",
        "isSummary",
    ];
    SLICING = ["discriminator" => DISCRIMINATOR, "ordered", "rules"];
    DISCRIMINATOR = ["type", "path"];
    ELEMENT_TYPE = ["code", "profile", "targetProfile", "aggregation", "versioning"];
    BINDING = ["strength", "valueSet"];
    INVARIANT = ["key", "severity", "human", "expression"];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json;

    #[test]
    fn what_a_shape_does_not_name_is_left_out_at_every_depth() {
        let text = br#"{"description":"prose","url":"u","concept":[
            {"definition":"prose","code":"a","property":[{"valueCode":"x","code":"p","id":"1"}],
             "concept":[{"code":"b","definition":"prose"}]}]}"#;
        let value = json::parse(text).expect("json");
        let kept = Value::Object(keep(value.as_object().expect("object"), &CODE_SYSTEM));
        let expected = r#"{"url":"u","concept":[{"code":"a","property":[{"code":"p","valueCode":"x"}],"concept":[{"code":"b"}]}]}"#;
        assert_eq!(kept.to_text(), expected);
    }
}
