//! What FHIR adds: `extension()`, `hasValue()`, `resolve()`.
//!
//! Spec: <https://hl7.org/fhir/R4/fhirpath.html#functions>

use super::{Call, Function, function, one, optional};
use crate::fhir::json::Value;
use crate::fhir::reference::{named_type, stated_type};
use crate::fhir::schema::TypeKind;
use crate::fhirpath::eval::Outcome;
use crate::fhirpath::item::{Item, Node, Target};
use crate::fhirpath::navigate;

pub(super) static TABLE: &[Function] = &[
    function("checkModifiers", 0, usize::MAX, check_modifiers),
    function("extension", 1, 1, extension),
    function("getValue", 0, 0, get_value),
    function("hasExtension", 1, 1, |call| {
        let found = extension(call)?;
        Ok(one(!found.is_empty()))
    }),
    function("hasValue", 0, 0, |call| Ok(one(has_value(call)))),
    function("resolve", 0, 0, resolve),
];

type Items<'v> = Outcome<Vec<Item<'v>>>;

fn extension<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let Some(url) = call.text_argument(0)? else { return Ok(Vec::new()) };
    let mut out = Vec::new();
    for item in call.take_input() {
        if let Item::Node(node) = item {
            navigate::named(call.schema(), &node, "extension", &mut out);
        }
    }
    call.evaluator.spend(out.len(), call.start)?;
    out.retain(|item| item.node().and_then(|node| node.value.str_at("url")) == Some(&*url));
    Ok(out)
}

/// The input, when it has no modifier extensions but those of the addresses.
fn check_modifiers<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let mut known = Vec::new();
    for at in 0..call.arguments.len() {
        known.extend(call.text_argument(at)?);
    }
    let input = call.take_input();
    for item in &input {
        let Item::Node(node) = item else { continue };
        let mut modifiers = Vec::new();
        navigate::named(call.schema(), node, "modifierExtension", &mut modifiers);
        call.evaluator.spend(modifiers.len() * (1 + known.len()), call.start)?;
        for modifier in modifiers {
            let url = modifier.node().and_then(|node| node.value.str_at("url"));
            let Some(url) = url else { return call.fail("a modifier extension has no url") };
            if !known.iter().any(|known| &**known == url) {
                return call.fail(format!("the modifier extension {url} is not known"));
            }
        }
    }
    Ok(input)
}

/// The value of the one primitive, of FHIRPath's own types.
fn get_value<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    if !has_value(call) {
        return Ok(Vec::new());
    }
    Ok(optional(call.value_input()?))
}

fn has_value(call: &Call<'_, '_, '_>) -> bool {
    let [item] = call.input.as_slice() else { return false };
    item.node().is_none_or(|node| {
        let is_primitive = matches!(call.schema().get(node.type_id).kind, TypeKind::Primitive(_));
        is_primitive && *node.value != Value::Null
    })
}

fn resolve<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let mut out = Vec::new();
    for item in call.take_input() {
        let Item::Node(node) = item else { continue };
        if let Some(text) = node.value.as_str().or_else(|| node.value.str_at("reference")) {
            out.push(target(call, &node, text)?);
        }
    }
    Ok(out)
}

/// The resource itself when the document has it, else what the reference tells of it.
fn target<'v>(
    call: &mut Call<'_, '_, 'v>,
    node: &Node<'v>,
    reference: &'v str,
) -> Outcome<Item<'v>> {
    let schema = call.schema();
    let environment = call.evaluator.environment;
    let root = environment.root();
    if let Some(id) = reference.strip_prefix('#') {
        if id.is_empty() {
            return Ok(environment.root_resource());
        }
        let contained = root.items_at("contained");
        call.evaluator.spend(contained.len(), call.start)?;
        if let Some(found) = contained.iter().find(|value| value.str_at("id") == Some(id)) {
            return Ok(environment.item(found));
        }
    }
    if root.str_at("resourceType") == Some("Bundle") {
        let entries = root.items_at("entry");
        call.evaluator.spend(entries.len(), call.start)?;
        let entry = entries.iter().find(|entry| entry.str_at("fullUrl") == Some(reference));
        if let Some(resource) = entry.and_then(|entry| entry.get("resource")) {
            return Ok(environment.item(resource));
        }
    }
    let around = environment.entries;
    if let Some(resource) = around.and_then(|(entries, from)| entries.find(reference, from)) {
        return Ok(environment.item(resource));
    }
    let stated = || schema.by_name(stated_type(node.value.str_at("type")?));
    let named = named_type(reference).and_then(|of| schema.by_name(of.as_str()));
    Ok(Item::Target(Target { reference, type_id: named.or_else(stated) }))
}
