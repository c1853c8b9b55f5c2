//! What of a resource is wanted, out of its JSON, by the element table.
//!
//! What must be read for it becomes a [`Fetch`]; its place in the answer is kept.
//!
//! Spec: <https://hl7.org/fhir/R4/graphql.html#fields>, <https://hl7.org/fhir/R4/graphql.html#directives>

use std::collections::HashMap;

use crate::fhir::json::Value;
use crate::fhir::query::Query;
use crate::fhir::schema::{Schema, TypeId, TypeKind};
use crate::fhir::{Identity, Instant, ResourceType, VersionId};
use crate::fhirpath::{Environment, Expression, Item, Node as PathNode, System};

use super::fault::{Fault, Faults, Place, Step};
use super::opened::BYTES_A_LOOK;
use super::output::{Entry, Listing, Out};
use super::plan::{Node, Pick, Slice, What};

/// Looks that an expression which fails takes: what it takes until then is not known.
const FAILED: usize = 1_000;

/// What must be read.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Wanted {
    /// A resource, in this version or the current one.
    Read(Identity, Option<VersionId>),
    /// The matches of a search of a type, each time anew.
    Search(ResourceType, Vec<(String, String)>),
}

/// Something that must be read, and what is wanted of it.
#[derive(Debug)]
pub(super) struct Fetch<'w> {
    pub(super) slot: usize,
    pub(super) wanted: Wanted,
    pub(super) node: &'w Node<'w>,
    pub(super) children: Vec<&'w Node<'w>>,
    pub(super) manner: Manner,
    pub(super) path: Vec<Step>,
    /// Whether it may be missing.
    pub(super) is_optional: bool,
}

/// How a field is shown where something around it is flattened.
#[derive(Clone, Debug, Default)]
pub(super) struct Manner {
    /// Whether a list around it was flattened.
    pub(super) is_listed: bool,
    /// What its name ends in.
    pub(super) suffix: String,
}

/// A field and what is selected of it, fields of one name together.
pub(super) type Merged<'w> = (&'w Node<'w>, Vec<&'w Node<'w>>);

/// The resource around a value.
pub(super) struct Within<'v> {
    pub(super) environment: Environment<'v>,
    pub(super) container: &'v Value<'v>,
    /// What it is known as; `None` for what stands inside of another resource.
    pub(super) identity: Option<Identity>,
}

impl<'v> Within<'v> {
    pub(super) fn new(
        value: &'v Value<'v>,
        identity: Option<Identity>,
        (schema, now): (&'v Schema, Instant),
    ) -> Self {
        let environment = Environment::new(value, schema).with_now(now);
        Self { environment, container: value, identity }
    }

    /// The same for a resource that stands inside of this one: `#id` is sought in what contains it, or in itself
    /// where it has a place of its own, as in a Bundle.
    pub(super) fn inside(
        &self,
        value: &'v Value<'v>,
        is_contained: bool,
        (schema, now): (&'v Schema, Instant),
    ) -> Self {
        let container = if is_contained { self.container } else { value };
        let environment = Environment::new(value, schema).with_root(container).with_now(now);
        Self { environment, container, identity: None }
    }
}

/// A value of the document.
#[derive(Clone, Copy)]
pub(super) struct At<'v, 'a> {
    pub(super) value: &'v Value<'v>,
    pub(super) type_id: TypeId,
    pub(super) within: &'a Within<'v>,
}

/// Walks over resources.
pub(super) struct Walk<'w> {
    pub(super) schema: &'w Schema,
    /// References under it are local.
    pub(super) base: &'w str,
    pub(super) now: Instant,
    /// Steps that expressions may still take.
    pub(super) steps: u64,
    /// Fields and values that may still be looked at.
    pub(super) looks: usize,
    /// Bytes that the answer may still have.
    pub(super) room: usize,
    pub(super) is_full: bool,
    pub(super) faults: Faults,
    /// What must be read next.
    pub(super) fetches: Vec<Fetch<'w>>,
    pub(super) slots: usize,
    pub(super) path: Vec<Step>,
}

impl<'w> Walk<'w> {
    /// A fault where the walk is.
    pub(super) fn fault(&mut self, text: impl Into<String>, place: Place) {
        self.faults.add(Fault { path: self.path.clone(), ..Fault::at(text, place) });
    }

    /// Takes room of the answer; whether there was some.
    pub(super) fn takes(&mut self, bytes: usize, place: Place) -> bool {
        let has_room = self.room >= bytes;
        self.room = self.room.saturating_sub(bytes);
        if !has_room && !self.is_full {
            self.is_full = true;
            let text = "the answer is larger than the setting graphql.max_answer_bytes allows";
            self.fault(text, place);
        }
        has_room && !self.is_full
    }

    /// Takes of what may be looked at, told or not; whether there was enough of it.
    pub(super) fn looks_at(&mut self, count: usize, place: Place) -> bool {
        let is_allowed = self.looks >= count;
        self.looks = self.looks.saturating_sub(count);
        if !is_allowed && !self.is_full {
            self.is_full = true;
            self.fault("the document looks at more values than one may: ask for less", place);
        }
        !self.is_full
    }

    /// Fields of one name together, those that are of a value of this type.
    pub(super) fn merged(&mut self, nodes: &[&'w Node<'w>], of: Option<TypeId>) -> Vec<Merged<'w>> {
        let mut all: Vec<Merged<'w>> = Vec::new();
        let mut places: HashMap<&'w str, usize> = HashMap::new();
        for node in nodes.iter().copied() {
            let is_of = |on: &TypeId| of.is_some_and(|of| self.schema.is_a(of, *on));
            if !node.on.iter().all(is_of) {
                continue;
            }
            let known = places.get(node.key).and_then(|at| all.get_mut(*at));
            let Some((first, children)) = known else {
                places.insert(node.key, all.len());
                all.push((node, node.children.iter().collect()));
                continue;
            };
            self.looks_at(node.said.len() / BYTES_A_LOOK, node.place);
            if first.said == node.said {
                children.extend(&node.children);
            } else {
                self.fault(format!("{} stands for two things here", node.key), node.place);
            }
        }
        all
    }

    /// The fields of a value.
    pub(super) fn object<'v>(
        &mut self,
        at: At<'v, '_>,
        nodes: &[&'w Node<'w>],
        manner: &Manner,
        out: &mut Vec<Entry>,
    ) where
        'w: 'v,
    {
        let looks = |node: &&Node<'_>| 1 + node.children.len() + node.key.len() / BYTES_A_LOOK;
        let looks: usize = nodes.iter().map(looks).sum();
        let place = nodes.first().map(|node| node.place).unwrap_or_default();
        if !self.looks_at(looks, place) {
            return;
        }
        for merged in self.merged(nodes, Some(at.type_id)) {
            if self.is_full {
                return;
            }
            self.path.push(Step::Key(merged.0.key.to_owned()));
            self.field(at, merged, manner, out);
            self.path.pop();
        }
    }

    fn field<'v>(
        &mut self,
        at: At<'v, '_>,
        (node, children): Merged<'w>,
        manner: &Manner,
        out: &mut Vec<Entry>,
    ) where
        'w: 'v,
    {
        match &node.what {
            What::Element { pick, is_companion } => {
                self.element(at, (node, &children), (pick, *is_companion), manner, out);
            }
            What::Many { of, query, by, .. } => {
                let Some(identity) = &at.within.identity else {
                    let text = "nothing refers to a resource that another contains";
                    return self.failed(text, node, manner, out);
                };
                let back = by.as_ref().map(|by| (by.clone(), identity.to_string()));
                let wanted = Wanted::Search(*of, back.into_iter().chain(pairs(query)).collect());
                self.fetch(wanted, (node, children), manner, false, out);
            }
            What::ResourceType => {
                let name = self.schema.get(at.type_id).name.to_string();
                self.leaf(name.into(), node, manner, out);
            }
            What::Target { of, is_optional } => {
                self.target(at, (node, children), (of, *is_optional), manner, out);
            }
            What::TypeName => {
                let name = type_name(&self.schema.get(at.type_id).name);
                self.leaf(name.into(), node, manner, out);
            }
            _ => {}
        }
    }

    /// A value that is told as it is.
    pub(super) fn leaf(
        &mut self,
        value: Value<'static>,
        node: &Node<'_>,
        manner: &Manner,
        out: &mut Vec<Entry>,
    ) {
        let listing = listing(node, false, manner);
        let key = format!("{}{}", node.key, manner.suffix);
        if self.takes(key.len() + size(&value), node.place) {
            out.push(Entry::Value { key, listing, out: Out::Leaf(value), place: node.place });
        }
    }

    fn element<'v>(
        &mut self,
        at: At<'v, '_>,
        (node, children): (&'w Node<'w>, &[&'w Node<'w>]),
        (pick, is_companion): (&'w Pick, bool),
        manner: &Manner,
        out: &mut Vec<Entry>,
    ) where
        'w: 'v,
    {
        let schema = self.schema;
        let property = if is_companion { node.name.trim_start_matches('_') } else { node.name };
        let Some((field, of)) = schema.get(at.type_id).key(property) else { return };
        let element = schema.by_name("Element").filter(|_| is_companion);
        let type_id = element.unwrap_or(of.type_id);
        let values: &'v [Value<'v>] = match at.value.get(node.name) {
            None => return,
            Some(Value::Array(all)) => all,
            Some(one) => std::slice::from_ref(one),
        };
        let is_list = field.is_array();
        let picked = self.picked((values, type_id), pick, at.within, node.place);
        for (index, (value, type_id)) in picked.into_iter().enumerate() {
            if is_list {
                self.path.push(Step::Index(index));
            }
            let is_resource = schema.get(type_id).kind == TypeKind::Resource;
            let inside = is_resource
                .then(|| at.within.inside(value, node.name == "contained", (schema, self.now)));
            let at = At { value, type_id, within: inside.as_ref().unwrap_or(at.within) };
            self.value(at, (node, children), (is_list, index), manner, out);
            if is_list {
                self.path.pop();
            }
            if node.form.is_first || self.is_full {
                return;
            }
        }
    }

    /// The values that arguments leave, with their types.
    fn picked<'v>(
        &mut self,
        (values, type_id): (&'v [Value<'v>], TypeId),
        pick: &'w Pick,
        within: &Within<'v>,
        place: Place,
    ) -> Vec<(&'v Value<'v>, TypeId)>
    where
        'w: 'v,
    {
        let mut kept = Vec::new();
        if !self.looks_at(values.len() * (1 + pick.equals.len()), place) {
            return kept;
        }
        let most = pick.count.unwrap_or(usize::MAX);
        for value in values.iter().filter(|value| **value != Value::Null).skip(pick.offset) {
            let listed: usize =
                pick.equals.iter().map(|(name, _)| value.items_at(name).len()).sum();
            if kept.len() >= most || !self.looks_at(listed, place) {
                break;
            }
            let type_id = PathNode::new(value, type_id, self.schema).type_id;
            let at = At { value, type_id, within };
            let is_equal = |(name, text): &(String, String)| has_text(value.get(name), text);
            let is_kept = pick.equals.iter().all(is_equal)
                && pick.fhirpath.as_ref().is_none_or(|it| self.holds(it, at, place));
            if is_kept {
                kept.push((value, type_id));
            }
        }
        kept
    }

    /// One value of a field.
    pub(super) fn value<'v>(
        &mut self,
        at: At<'v, '_>,
        (node, children): (&'w Node<'w>, &[&'w Node<'w>]),
        (is_list, index): (bool, usize),
        manner: &Manner,
        out: &mut Vec<Entry>,
    ) where
        'w: 'v,
    {
        let is_value =
            matches!(self.schema.get(at.type_id).kind, TypeKind::Primitive(_) | TypeKind::Xhtml);
        if is_value == (node.is_open || !children.is_empty()) {
            let text = if is_value { "is a value here" } else { "has fields of its own here" };
            return self.fault(format!("{} {text}", node.name), node.place);
        }
        let sliced = match &node.form.slice {
            None => String::new(),
            Some(Slice::Index) => format!(".{index}"),
            Some(Slice::Path(path)) => match self.text(path, at, node.place) {
                Some(text) => format!(".{text}"),
                None => return,
            },
        };
        let suffix = format!("{}{sliced}", manner.suffix);
        if node.form.is_flat {
            if !self.takes(suffix.len(), node.place) {
                return;
            }
            let is_listed = manner.is_listed || (is_list && !node.form.is_first);
            return self.object(at, children, &Manner { is_listed, suffix }, out);
        }
        let key = format!("{}{suffix}", node.key);
        let value = is_value.then_some(at.value);
        if !self.takes(key.len() + value.map_or(2, size), node.place) {
            return;
        }
        let listing = listing(node, is_list, manner);
        let inner = if let Some(value) = value {
            Out::Leaf(value.clone().into_owned())
        } else {
            let mut entries = Vec::new();
            self.object(at, children, &Manner::default(), &mut entries);
            Out::Object(entries)
        };
        out.push(Entry::Value { key, listing, out: inner, place: node.place });
    }

    fn evaluated<'v>(
        &mut self,
        expression: &'w Expression,
        at: At<'v, '_>,
        place: Place,
    ) -> Option<Vec<Item<'v>>>
    where
        'w: 'v,
    {
        let focus = Item::Node(PathNode::new(at.value, at.type_id, self.schema));
        let environment = &at.within.environment;
        match expression.evaluate_within(focus, environment, &mut self.steps) {
            Ok(items) => Some(items),
            Err(error) => {
                self.fault(format!("FHIRPath: {}", error.reason), place);
                self.looks_at(FAILED, place);
                None
            }
        }
    }

    /// Whether an expression holds, as FHIRPath makes a boolean of what it finds.
    fn holds<'v>(&mut self, expression: &'w Expression, at: At<'v, '_>, place: Place) -> bool
    where
        'w: 'v,
    {
        let Some(items) = self.evaluated(expression, at, place) else { return false };
        match items.as_slice() {
            [] => false,
            [one] => !matches!(one.system(self.schema), Some(System::Boolean(false))),
            _ => true,
        }
    }

    /// What an expression finds, as a text.
    fn text<'v>(
        &mut self,
        expression: &'w Expression,
        at: At<'v, '_>,
        place: Place,
    ) -> Option<String>
    where
        'w: 'v,
    {
        let items = self.evaluated(expression, at, place)?;
        let texts = items.iter().filter_map(|item| item.system(self.schema));
        Some(texts.map(|it| it.to_text()).collect::<Vec<_>>().join(","))
    }
}

/// Whether the values of a field are a list.
pub(super) fn listing(node: &Node<'_>, is_list: bool, manner: &Manner) -> Listing {
    if node.form.is_single {
        Listing::Single
    } else if manner.is_listed || (is_list && !node.form.is_first) {
        Listing::Many
    } else {
        Listing::Unset
    }
}

/// The parameters of a query.
pub(super) fn pairs(query: &Query) -> impl Iterator<Item = (String, String)> {
    query.iter().map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// Whether an element is this text, or one of its values is.
fn has_text(value: Option<&Value<'_>>, text: &str) -> bool {
    match value {
        None | Some(Value::Null | Value::Object(_)) => false,
        Some(Value::Array(all)) => all.iter().any(|it| has_text(Some(it), text)),
        Some(Value::Bool(value)) => text == if *value { "true" } else { "false" },
        Some(Value::Number(found) | Value::String(found)) => found == text,
    }
}

/// About as many bytes as a value of an element has.
fn size(value: &Value<'_>) -> usize {
    match value {
        Value::Number(text) | Value::String(text) => text.len() + 8,
        _ => 8,
    }
}

/// What a type is called in GraphQL: of `Patient.contact`, `PatientContact`.
pub(super) fn type_name(name: &str) -> String {
    let part = |part: &str| {
        let mut chars = part.chars();
        let first = chars.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(chars).collect::<String>()
    };
    if name.contains('.') { name.split('.').map(part).collect() } else { name.to_owned() }
}
