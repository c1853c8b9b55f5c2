//! XML Patch: the document as XML, changed as RFC 5261 says, and read back.
//!
//! Where an addition lands among its siblings is the patch's affair, but FHIR has one order:
//! elements are put in it before the result is read, so that an `add` needs no `pos`.
//!
//! Spec: <https://www.rfc-editor.org/rfc/rfc5261>, rest 2.71

use super::xpath::{Part, Selected, at, at_mut, select};
use super::{Fault, MAX_OPERATIONS, Step, invalid};
use crate::error::Error;
use crate::fhir::IssueCode;
use crate::fhir::codec::xml;
use crate::fhir::codec::xml::tree::{self, Content, Element, MAX_DEPTH, Vocabulary};
use crate::fhir::json::{Limits, Value};
use crate::fhir::schema::{Schema, TypeId, TypeKind};

const FHIR: &str = "http://hl7.org/fhir";
const XHTML: &str = "http://www.w3.org/1999/xhtml";

/// Applies the operations of `diff` in order.
pub(super) fn apply(
    diff: &str,
    target: &Value<'_>,
    schema: &Schema,
) -> Result<Value<'static>, Error> {
    // As every other patch that is none (rest 2.58).
    let malformed = |text: String| Error::invalid(IssueCode::Invalid, text);
    let diff = tree::read(diff).map_err(|fault| malformed(format!("the patch: {fault}")))?;
    if diff.name != "diff" {
        return Err(malformed("an XML Patch is a diff element".to_owned()));
    }
    if diff.elements().count() > MAX_OPERATIONS {
        return Err(malformed("the patch has too many operations".to_owned()));
    }
    let mut text = Vec::new();
    xml::write(target, schema, &mut text, false).map_err(Error::internal)?;
    let text = String::from_utf8(text).map_err(Error::internal)?;
    let mut root = tree::read(&text)
        .map_err(|fault| malformed(format!("the resource cannot be patched as XML: {fault}")))?;
    let unpatched = read_back(&root, schema)?;
    for (index, operation) in diff.elements().enumerate() {
        run(operation, &diff, &mut root).map_err(|fault| fault.at(index))?;
    }
    drop_emptied(&mut root);
    is_emptied(&mut root);
    if let Some(type_id) = schema.by_name(&root.name) {
        arrange(&mut root, type_id, schema);
    }
    let mut patched = read_back(&root, schema)?;
    restore(&mut patched, &unpatched, target);
    Ok(patched)
}

/// The resource that the tree is the XML of.
fn read_back(root: &Element, schema: &Schema) -> Result<Value<'static>, Error> {
    let text = tree::write(root);
    let value = xml::read(text.as_bytes(), schema, Limits::default());
    value.map(Value::into_owned).map_err(|fault| Error::Invalid(vec![fault.issue()]))
}

/// Puts back, wherever the patch changed nothing, what the way through XML wrote in another form:
/// comments and quotes of a narrative, characters that XML does not have.
fn restore(patched: &mut Value<'static>, unpatched: &Value<'static>, target: &Value<'_>) {
    if patched == unpatched {
        *patched = target.clone().into_owned();
        return;
    }
    match (patched, unpatched, target) {
        (Value::Object(patched), Value::Object(unpatched), Value::Object(target)) => {
            for (name, value) in patched.iter_mut() {
                if let (Some(unpatched), Some(target)) = (unpatched.get(name), target.get(name)) {
                    restore(value, unpatched, target);
                }
            }
        }
        (Value::Array(patched), Value::Array(unpatched), Value::Array(target))
            if patched.len() == unpatched.len() && unpatched.len() == target.len() =>
        {
            let before = unpatched.iter().zip(target);
            for (value, (unpatched, target)) in patched.iter_mut().zip(before) {
                restore(value, unpatched, target);
            }
        }
        _ => {}
    }
}

fn run(operation: &Element, diff: &Element, root: &mut Element) -> Step<()> {
    let known: &[&str] = match operation.name.as_str() {
        "add" => &["sel", "pos", "type"],
        "remove" => &["sel", "ws"],
        "replace" => &["sel"],
        other => return invalid(format!("{other:?} is no operation of XML Patch")),
    };
    let is_known = |name: &str| known.contains(&name) || is_declaration(name);
    if let Some((name, _)) = operation.attributes.iter().find(|(name, _)| !is_known(name)) {
        return invalid(format!("{} has no attribute {name:?}", operation.name));
    }
    let Some(selector) = operation.attribute("sel") else { return invalid("sel is missing") };
    let namespace = |prefix: &str| {
        let declared = format!("xmlns:{prefix}");
        let uri = operation.attribute(&declared).or_else(|| diff.attribute(&declared));
        match uri {
            Some(FHIR) => Some(Vocabulary::Fhir),
            Some(XHTML) => Some(Vocabulary::Xhtml),
            Some(_) => Some(Vocabulary::Other),
            // The prefix that FHIR's own examples use without declaring it.
            None => (prefix == "f").then_some(Vocabulary::Fhir),
        }
    };
    let selected = select(selector, root, &namespace)?;
    match operation.name.as_str() {
        "add" => add(operation, &selected, root),
        "remove" => remove(operation, &selected, root),
        _ => replace(operation, &selected, root),
    }
}

fn add(operation: &Element, selected: &Selected, root: &mut Element) -> Step<()> {
    let position = operation.attribute("pos");
    if let Some(kind) = operation.attribute("type") {
        if position.is_some() {
            return invalid("an attribute has no pos");
        }
        return add_attribute(kind, operation, selected, root);
    }
    let is_sibling = matches!(position, Some("before" | "after"));
    if selected.part != Part::Element && !(selected.part == Part::Text && is_sibling) {
        return invalid("nothing can be added to this node");
    }
    let (holder, place) = match (position, selected.way.split_last()) {
        (None, _) => (&selected.way[..], None),
        (Some("prepend"), _) => (&selected.way[..], Some(0)),
        (Some("before"), Some((&place, holder))) => (holder, Some(place)),
        (Some("after"), Some((&place, holder))) => (holder, Some(place + 1)),
        (Some("before" | "after"), None) => return invalid("there is one root element only"),
        (Some(other), _) => return invalid(format!("{other:?} is no pos")),
    };
    let Some(vocabulary) = at(root, holder).map(|element| element.vocabulary) else {
        return invalid("the selector leads nowhere");
    };
    let added = content(operation, vocabulary, holder.len() + 1)?;
    let holder = at_mut(root, holder)?;
    let place = place.unwrap_or(holder.children.len()).min(holder.children.len());
    holder.children.splice(place..place, added);
    join_texts(holder);
    Ok(())
}

fn add_attribute(
    kind: &str,
    operation: &Element,
    selected: &Selected,
    root: &mut Element,
) -> Step<()> {
    let Some(name) = kind.strip_prefix('@').filter(|name| is_plain_name(name)) else {
        return invalid(format!("add of the type {kind:?} is not offered"));
    };
    if selected.part != Part::Element {
        return invalid("only an element has attributes");
    }
    let value = text_alone(operation)?;
    let element = at_mut(root, &selected.way)?;
    if element.attribute(name).is_some() {
        return invalid(format!("the attribute {name} is there already"));
    }
    element.attributes.push((name.to_owned(), value));
    Ok(())
}

fn remove(operation: &Element, selected: &Selected, root: &mut Element) -> Step<()> {
    let white_space = operation.attribute("ws");
    if let (Part::Attribute(name), None) = (&selected.part, white_space) {
        let element = at_mut(root, &selected.way)?;
        element.attributes.retain(|(known, _)| known != name);
        mark_if_emptied(element);
        return Ok(());
    }
    if selected.part != Part::Element && white_space.is_some() {
        return invalid("only an element has white space around it");
    }
    let Some((&place, holder)) = selected.way.split_last() else {
        return invalid("the whole resource cannot be removed");
    };
    let holder = at_mut(root, holder)?;
    let first = match white_space {
        None => place,
        Some(sides) => remove_white_space(sides, place, holder)?,
    };
    holder.children.remove(first);
    join_texts(holder);
    mark_if_emptied(holder);
    Ok(())
}

/// Takes the white space beside the child at `place` away and gives the child's new place. Between
/// FHIR's elements there is none to take: it has no meaning there and is not kept.
fn remove_white_space(sides: &str, place: usize, holder: &mut Element) -> Step<usize> {
    let (before, after) = match sides {
        "before" => (true, false),
        "after" => (false, true),
        "both" => (true, true),
        other => return invalid(format!("{other:?} is no ws")),
    };
    if holder.vocabulary == Vocabulary::Fhir {
        return Ok(place);
    }
    let mut place = place;
    let mut take = |at: Option<usize>| {
        let at = at.filter(|at| match holder.children.get(*at) {
            Some(Content::Text(text)) => text.trim().is_empty(),
            _ => false,
        });
        match at {
            Some(at) => {
                holder.children.remove(at);
                Ok(())
            }
            None => invalid("there is no white space beside the element"),
        }
    };
    if after {
        take(place.checked_add(1))?;
    }
    if before {
        take(place.checked_sub(1))?;
        place -= 1;
    }
    Ok(place)
}

fn replace(operation: &Element, selected: &Selected, root: &mut Element) -> Step<()> {
    if let Part::Attribute(name) = &selected.part {
        let value = text_alone(operation)?;
        let element = at_mut(root, &selected.way)?;
        if let Some((_, slot)) = element.attributes.iter_mut().find(|(known, _)| known == name) {
            *slot = value;
        }
        return Ok(());
    }
    let Some((&place, holder)) = selected.way.split_last() else {
        return invalid("the whole resource cannot be replaced");
    };
    let added = if selected.part == Part::Text {
        let text = text_alone(operation)?;
        let text = (!text.is_empty()).then_some(Content::Text(text));
        text.into_iter().collect()
    } else {
        let Some(vocabulary) = at(root, holder).map(|element| element.vocabulary) else {
            return invalid("the selector leads nowhere");
        };
        let mut added = content(operation, vocabulary, selected.way.len())?;
        added.retain(|child| !matches!(child, Content::Text(text) if text.trim().is_empty()));
        if !matches!(added.as_slice(), [Content::Element(_)]) {
            return invalid("an element is replaced by one element");
        }
        added
    };
    let holder = at_mut(root, holder)?;
    holder.children.splice(place..=place, added);
    join_texts(holder);
    Ok(())
}

/// The text of an operation whose content is a text and nothing else.
fn text_alone(operation: &Element) -> Step<String> {
    if operation.elements().next().is_some() {
        return invalid("the content is a text, without elements");
    }
    Ok(operation.text())
}

/// Texts that meet are one text.
fn join_texts(element: &mut Element) {
    let mut joined: Vec<Content> = Vec::with_capacity(element.children.len());
    for child in element.children.drain(..) {
        match (joined.last_mut(), child) {
            (Some(Content::Text(before)), Content::Text(text)) => before.push_str(&text),
            (_, child) => joined.push(child),
        }
    }
    element.children = joined;
}

/// The name of an attribute that no document can have: it marks an element that a removal left
/// empty. FHIR knows no empty elements, so such a one goes when the patch is done, unless a later
/// operation fills it. One that the patch itself adds empty stays and is refused with the result.
const EMPTIED: &str = "";

fn mark_if_emptied(element: &mut Element) {
    let is_bare = element.attributes.iter().all(|(name, _)| is_declaration(name));
    if is_bare && element.children.is_empty() {
        element.attributes.push((EMPTIED.to_owned(), String::new()));
    }
}

/// Takes out what removals left empty, and what that leaves empty; the marks go too.
fn drop_emptied(element: &mut Element) {
    let had_children = !element.children.is_empty();
    element.children.retain_mut(|child| match child {
        Content::Element(child) => {
            drop_emptied(child);
            !is_emptied(child)
        }
        Content::Text(_) => true,
    });
    let is_marked = element.attribute(EMPTIED).is_some();
    element.attributes.retain(|(name, _)| name != EMPTIED);
    if is_marked || had_children {
        mark_if_emptied(element);
    }
}

/// Whether a mark is left: of a resource and of the narrative never, they may be bare.
fn is_emptied(element: &mut Element) -> bool {
    let is_marked = element.attribute(EMPTIED).is_some();
    element.attributes.retain(|(name, _)| name != EMPTIED);
    is_marked
        && element.vocabulary == Vocabulary::Fhir
        && !element.name.starts_with(|first: char| first.is_ascii_uppercase())
}

/// What `operation` puts into an element of `vocabulary`, `depth` levels down.
///
/// Elements without a namespace take that of the place they come to.
fn content(operation: &Element, vocabulary: Vocabulary, depth: usize) -> Step<Vec<Content>> {
    let mut added = operation.children.clone();
    for child in &mut added {
        let Content::Element(child) = child else { continue };
        if child.depth() + depth > MAX_DEPTH {
            return Err(Fault::TooLarge);
        }
        adopt(child, vocabulary);
    }
    Ok(added)
}

fn adopt(element: &mut Element, vocabulary: Vocabulary) {
    if element.vocabulary == Vocabulary::Other
        && element.attributes.iter().all(|(name, _)| name != "xmlns")
    {
        element.vocabulary = vocabulary;
    }
    let vocabulary = element.vocabulary;
    for child in &mut element.children {
        if let Content::Element(child) = child {
            adopt(child, vocabulary);
        }
    }
}

/// Whether an attribute only declares a namespace.
fn is_declaration(name: &str) -> bool {
    name == "xmlns" || name.starts_with("xmlns:")
}

/// A name that may become an attribute of FHIR's XML.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with("xmlns")
        && name.bytes().all(|byte| byte.is_ascii_alphabetic())
}

/// Puts FHIR's elements in the order of their definitions; those of one name keep theirs.
fn arrange(element: &mut Element, type_id: TypeId, schema: &Schema) {
    let def = match schema.get(type_id).kind {
        TypeKind::Primitive(_) => schema.type_named("Element"),
        TypeKind::Xhtml => None,
        _ => Some(schema.get(type_id)),
    };
    let Some(def) = def else { return };
    element.children.sort_by_key(|child| match child {
        Content::Element(child) => def.position(&child.name).map_or(usize::MAX, |(at, _)| at),
        Content::Text(_) => usize::MAX,
    });
    for child in &mut element.children {
        let Content::Element(child) = child else { continue };
        let Some((_, variant)) = def.key(&child.name) else { continue };
        if schema.get(variant.type_id).kind == TypeKind::Resource {
            for resource in &mut child.children {
                if let Content::Element(resource) = resource
                    && let Some(type_id) = schema.by_name(&resource.name)
                {
                    arrange(resource, type_id, schema);
                }
            }
        } else {
            arrange(child, variant.type_id, schema);
        }
    }
}
