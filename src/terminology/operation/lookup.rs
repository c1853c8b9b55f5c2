//! `CodeSystem/$lookup`: all that is known of one code.
//!
//! Spec: <https://hl7.org/fhir/R4/codesystem-operation-lookup.html>

use crate::fhir::IssueCode;
use crate::fhir::json::{Object, Value};
use crate::terminology::Image;
use crate::terminology::builtin;
use crate::terminology::code_system::CodeSystem;
use crate::terminology::concepts::{Property, PropertyKind};
use crate::terminology::scope::Scope;
use crate::terminology::value_set::canonical;

use super::asked::{Asked, Coding, needed};
use super::display::{Names, preferred};
use super::refusal::{Refusal, error};
use super::{Request, languages, parameter, parameters, parts, scope};

/// Properties that are answers of their own.
const NAMED: [&str; 6] = ["url", "name", "version", "display", "definition", "designation"];

/// Answers `$lookup`.
pub(super) fn lookup(
    image: &Image,
    asked: Asked<'_>,
    request: &Request<'_>,
) -> Result<Value<'static>, Refusal> {
    let coding = coding(asked)?;
    let url = needed(coding.system, "the system of the code")?;
    let scope = scope(image, asked, request, &[])?;
    let system = scope.system(&canonical(url, coding.version))?;
    let Some(system) = system.filter(|it| it.tells_of(coding.code)) else {
        return match builtin::accepts(url, coding.code) {
            Some(true) => Ok(of_grammar(url, coding.code)),
            Some(false) => Err(unknown_code(url, None, coding.code)),
            None => Err(Refusal::no_system(url)),
        };
    };
    let Some(at) = system.concepts.find(coding.code) else {
        return Err(unknown_code(url, system.version.as_deref(), coding.code));
    };
    let names = Names::of(&scope, Some((system, at)), None, &languages(asked, request, None)?);
    let wanted: Vec<&str> = asked.texts("property").collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|it| *it == "*" || *it == name);
    let code = system.concepts.code(at).to_owned();
    let name = system.about.name.as_deref().unwrap_or(&system.url).to_owned();
    let version = system.version.as_deref().map(str::to_owned);
    // There is always one: of what nobody named it is the code.
    let display = names.display.unwrap_or(&code).to_owned();
    let mut found = vec![
        parameter("name", "valueString", name),
        parameter("system", "valueUri", url.to_owned()),
        parameter("code", "valueCode", code),
    ];
    found.extend(version.map(|it| parameter("version", "valueString", it)));
    found.push(parameter("display", "valueString", display));
    if let Some(definition) = system.concepts.definition(at).filter(|_| wants("definition")) {
        found.push(parameter("definition", "valueString", definition.to_owned()));
    }
    found.push(parameter("abstract", "valueBoolean", system.is_abstract(at)));
    if wants("designation") {
        found.extend(designations(&names, system, at));
    }
    properties(&scope, system, at, &wants, &mut found);
    let canonicals = scope.supplements_of(&system.url).map(CodeSystem::canonical);
    found.extend(canonicals.map(|it| parameter("used-supplement", "valueCanonical", it)));
    Ok(parameters(found))
}

fn coding(asked: Asked<'_>) -> Result<Coding<'_>, Refusal> {
    match (asked.coding("coding")?, asked.text("code")?) {
        (Some(coding), None) => Ok(coding),
        (None, Some(code)) => Ok(Coding {
            system: asked.text("system")?,
            version: asked.text("version")?,
            code,
            display: None,
        }),
        _ => Err(Refusal::malformed("a code with its system, or else a coding is needed")),
    }
}

/// A code that is what its grammar makes it.
fn of_grammar(url: &str, code: &str) -> Value<'static> {
    parameters(vec![
        parameter("name", "valueString", builtin::name(url).unwrap_or(url).to_owned()),
        parameter("system", "valueUri", url.to_owned()),
        parameter("code", "valueCode", code.to_owned()),
        parameter("display", "valueString", code.to_owned()),
        parameter("abstract", "valueBoolean", false),
    ])
}

fn unknown_code(url: &str, version: Option<&str>, code: &str) -> Refusal {
    let version = version.map(|it| format!(" version '{it}'")).unwrap_or_default();
    let text = format!("Unknown code '{code}' in the CodeSystem '{url}'{version}");
    Refusal::Missing(vec![error(IssueCode::NotFound, "invalid-code", "Unknown_Code_in", text)])
}

fn designations(names: &Names<'_>, system: &CodeSystem, at: u32) -> Vec<Value<'static>> {
    let language = system.about.language.as_deref();
    let own = system.concepts.display(at).filter(|_| language.is_some());
    let is_listed = names.designations.iter().any(|it| Some(it.value) == own);
    let own = preferred(own.filter(|_| !is_listed), language);
    let all = own.iter().chain(&names.designations);
    all.map(|it| {
        let language = it.language.map(str::to_owned);
        let supplement = it.supplement.map(CodeSystem::canonical);
        let mut found: Vec<Value<'static>> = Vec::new();
        found.extend(language.map(|it| parameter("language", "valueCode", it)));
        found.extend(it.coded_use().map(|it| parameter("use", "valueCoding", it)));
        found.extend(supplement.map(|it| parameter("source", "valueCanonical", it)));
        found.push(parameter("value", "valueString", it.value.to_owned()));
        parts("designation", found)
    })
    .collect()
}

/// The properties that are wanted, and the hierarchy as properties.
fn properties(
    scope: &Scope<'_>,
    system: &CodeSystem,
    at: u32,
    wants: &impl Fn(&str) -> bool,
    found: &mut Vec<Value<'static>>,
) {
    let concepts = &system.concepts;
    let inactive = concepts.is_inactive(at);
    let flag = Property {
        name: "inactive",
        kind: PropertyKind::Boolean,
        value: if inactive { "true" } else { "false" },
    };
    found.push(property(flag, None));
    for (name, places) in [("parent", concepts.parents(at)), ("child", concepts.children(at))] {
        for at in places.iter().filter(|_| wants(name)) {
            let value = concepts.code(*at);
            let link = Property { name, kind: PropertyKind::Code, value };
            found.push(property(link, concepts.display(*at)));
        }
    }
    let is_told = |it: &Property<'_>| {
        let is_link = matches!(it.name, "parent" | "child" | "inactive");
        !is_link && !it.name.starts_with("http://") && !NAMED.contains(&it.name) && wants(it.name)
    };
    // What a code of the system is called.
    let described = |it: Property<'_>| {
        let link = (it.kind == PropertyKind::Code).then(|| concepts.find(it.value)).flatten();
        property(it, link.and_then(|at| concepts.display(at)))
    };
    found.extend(concepts.properties(at).filter(is_told).map(described));
    let code = concepts.code(at);
    for supplement in scope.supplements_of(&system.url) {
        let Some(at) = supplement.concepts.find(code) else { continue };
        let more = supplement.concepts.properties(at).filter(is_told);
        found.extend(more.map(described));
    }
}

fn property(property: Property<'_>, description: Option<&str>) -> Value<'static> {
    let description = description.map(str::to_owned);
    let (kind, value) = typed(property);
    let mut found = vec![parameter("code", "valueCode", property.name.to_owned())];
    found.push(Object::new().with("name", "value").with(kind, value).into());
    found.extend(description.map(|it| parameter("description", "valueString", it)));
    parts("property", found)
}

/// The value of a property, in its type.
pub(super) fn typed(property: Property<'_>) -> (&'static str, Value<'static>) {
    let text = property.value.to_owned();
    match property.kind {
        PropertyKind::Boolean => ("valueBoolean", Value::Bool(property.value == "true")),
        PropertyKind::Code => ("valueCode", text.into()),
        PropertyKind::Coding => {
            let [code, system, version, display] = property.coding();
            let mut coding = Object::new();
            let parts = [("system", system), ("version", version), ("code", code)];
            for (name, part) in parts.into_iter().chain([("display", display)]) {
                if !part.is_empty() {
                    coding.set(name, part.to_owned());
                }
            }
            ("valueCoding", coding.into())
        }
        PropertyKind::DateTime => ("valueDateTime", text.into()),
        PropertyKind::Decimal => ("valueDecimal", Value::Number(text.into())),
        PropertyKind::Integer => ("valueInteger", Value::Number(text.into())),
        PropertyKind::String => ("valueString", text.into()),
    }
}
