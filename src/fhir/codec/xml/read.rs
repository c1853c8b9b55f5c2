//! FHIR XML to a document tree, element by element along the definitions.

use std::borrow::Cow;

use super::XmlError;
use super::attribute::{Attribute, first_illegal, is_space};
use super::narrative;
use super::source::{Fault, Namespace, Source, Step, Tag, Token};
use crate::fhir::json::{Limits, Object, Value};
use crate::fhir::schema::{Field, FieldType, Primitive, Schema, TypeDef, TypeId, TypeKind};

/// Reads one resource; see [`super::read`].
pub(super) fn document<'a>(
    bytes: &'a [u8],
    schema: &'a Schema,
    limits: Limits,
) -> Result<Value<'a>, XmlError> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(fault) => {
            let fault = Fault::new(fault.valid_up_to(), "invalid UTF-8");
            return Err(XmlError::located(bytes, fault, String::new()));
        }
    };
    let mut reader = Reader {
        source: Source::new(text),
        schema,
        depth: limits.depth,
        values: limits.values,
        path: Vec::new(),
    };
    reader.document().map_err(|fault| XmlError::located(bytes, fault, reader.expression()))
}

/// One step of the way from the root to the current element.
struct PathStep<'a> {
    name: &'a str,
    index: Option<usize>,
}

struct Reader<'a> {
    source: Source<'a>,
    schema: &'a Schema,
    /// How much deeper the tree may still grow.
    depth: usize,
    /// How many more values it may have.
    values: usize,
    path: Vec<PathStep<'a>>,
}

/// What one XML element says: its value, and what JSON keeps beside it under `_name`.
struct Element<'a> {
    value: Option<Value<'a>>,
    sibling: Option<Value<'a>>,
}

impl<'a> From<Value<'a>> for Element<'a> {
    fn from(value: Value<'a>) -> Self {
        Self { value: Some(value), sibling: None }
    }
}

/// The repetitions of one element, collected until another follows.
struct Run<'a> {
    key: &'a str,
    /// The place of the field, and of its type, in the definition.
    place: (usize, usize),
    is_array: bool,
    values: Vec<Value<'a>>,
    /// Empty, or as long as `values` up to the last one with a sibling.
    siblings: Vec<Value<'a>>,
    has_value: bool,
}

impl<'a> Run<'a> {
    fn push(&mut self, element: Element<'a>) {
        self.has_value |= element.value.is_some();
        if let Some(sibling) = element.sibling {
            self.siblings.resize(self.values.len(), Value::Null);
            self.siblings.push(sibling);
        }
        self.values.push(element.value.unwrap_or(Value::Null));
    }

    fn finish(mut self, object: &mut Object<'a>) {
        let has_sibling = !self.siblings.is_empty();
        if has_sibling {
            self.siblings.resize(self.values.len(), Value::Null);
        }
        let pack = |mut values: Vec<Value<'a>>| match values.pop() {
            Some(value) if !self.is_array => value,
            Some(value) => {
                values.push(value);
                Value::Array(values)
            }
            None => Value::Null,
        };
        if self.has_value {
            object.push_unchecked(Cow::Borrowed(self.key), pack(self.values));
        }
        if has_sibling {
            object.push_unchecked(Cow::Owned(format!("_{}", self.key)), pack(self.siblings));
        }
    }
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Step<Value<'a>> {
        if let Some(at) = first_illegal(self.source.text) {
            return Err(Fault::new(at, "a character that XML does not allow"));
        }
        let root = match self.child()? {
            Ok(tag) => tag,
            Err(at) => return Err(Fault::new(at, "the document has no element")),
        };
        let value = self.resource(&root, true)?;
        self.path.clear();
        match self.child()? {
            Err(_) => Ok(value),
            Ok(tag) => Err(Fault::new(tag.at, "an element after the end of the document")),
        }
    }

    /// The next element inside the current one, or where that ends.
    fn child(&mut self) -> Step<Result<Tag<'a>, usize>> {
        loop {
            match self.source.token()? {
                Token::Close { at } => return Ok(Err(at)),
                Token::Comment => {}
                Token::End => return Ok(Err(self.source.position())),
                Token::Open(tag) => return Ok(Ok(tag)),
                Token::Text { at, text } => {
                    let blank = text.len() - text.trim_start_matches(is_space).len();
                    if blank < text.len() {
                        return Err(stray_text(at + blank));
                    }
                }
                Token::CData { at } | Token::Reference { at, .. } => return Err(stray_text(at)),
            }
        }
    }

    /// The FHIRPath of the current element.
    fn expression(&self) -> String {
        let mut out = String::new();
        for PathStep { name, index } in &self.path {
            if !out.is_empty() {
                out.push('.');
            }
            out.extend(name.chars().take(80));
            if let Some(index) = index {
                out.push('[');
                out.push_str(&index.to_string());
                out.push(']');
            }
        }
        out
    }

    fn count(&mut self, at: usize) -> Step<()> {
        self.values =
            self.values.checked_sub(1).ok_or_else(|| Fault::new(at, "too many values"))?;
        Ok(())
    }

    /// Runs `work` `cost` levels deeper, as the tree in JSON will be.
    fn nested<T>(
        &mut self,
        at: usize,
        cost: usize,
        work: impl FnOnce(&mut Self) -> Step<T>,
    ) -> Step<T> {
        let too_deep = || Fault::new(at, "nested too deep");
        self.depth = self.depth.checked_sub(cost).ok_or_else(too_deep)?;
        let done = work(self)?;
        self.depth += cost;
        Ok(done)
    }

    /// The resource whose start tag is `tag`.
    fn resource(&mut self, tag: &Tag<'a>, is_root: bool) -> Step<Value<'a>> {
        if is_root {
            self.path.push(PathStep { name: tag.name, index: None });
        }
        in_namespace(tag, Namespace::Fhir)?;
        let def = self.schema.type_named(tag.name).filter(|def| def.kind == TypeKind::Resource);
        let Some(def) = def.filter(|def| !def.is_abstract) else {
            return Err(Fault::new(tag.at, format!("<{}> is not a resource type", tag.name)));
        };
        for attribute in &self.source.attributes {
            let is_hint = is_root
                && attribute.name.split_once(':').is_some_and(|(prefix, name)| {
                    ["schemaLocation", "noNamespaceSchemaLocation"].contains(&name)
                        && self.source.resolve(prefix) == Some(Namespace::SchemaInstance)
                });
            if attribute.declared_prefix().is_none() && !is_hint {
                return Err(unknown_attribute(attribute));
            }
        }
        let mut object = Object::new();
        object.push_unchecked(Cow::Borrowed("resourceType"), Value::from(&*def.name));
        self.nested(tag.at, 1, |reader| reader.elements(tag, def, &mut object))?;
        Ok(Value::Object(object))
    }

    /// The element that holds a whole resource: `contained`, `Bundle.entry.resource`.
    fn wrapped(&mut self, tag: &Tag<'a>) -> Step<Value<'a>> {
        let attributes = &self.source.attributes;
        if let Some(odd) = attributes.iter().find(|a| a.declared_prefix().is_none()) {
            return Err(unknown_attribute(odd));
        }
        let one = |at| Fault::new(at, format!("<{}> must hold one resource", tag.name));
        if tag.is_empty {
            return Err(one(tag.at));
        }
        let inner = self.child()?.map_err(one)?;
        let value = self.resource(&inner, false)?;
        match self.child()? {
            Ok(second) => Err(one(second.at)),
            Err(_) => Ok(value),
        }
    }

    /// All elements inside `tag`, in the order of the definition.
    fn elements(&mut self, tag: &Tag<'a>, def: &'a TypeDef, object: &mut Object<'a>) -> Step<()> {
        if tag.is_empty {
            return Ok(());
        }
        let mut run: Option<Run<'a>> = None;
        while let Ok(child) = self.child()? {
            self.count(child.at)?;
            let last = run.as_ref().map(|run| run.place);
            let (place, field, choice) = match self.place(def, &child, last) {
                Ok(found) => found,
                Err(fault) => {
                    self.path.push(PathStep { name: child.name, index: None });
                    return Err(fault);
                }
            };
            if let Some(done) = run.take_if(|_| last != Some(place)) {
                done.finish(object);
            }
            let is_array = field.is_array();
            let run = run.get_or_insert_with(|| Run {
                key: &choice.key,
                place,
                is_array,
                values: Vec::new(),
                siblings: Vec::new(),
                has_value: false,
            });
            let index = is_array.then_some(run.values.len());
            self.path.push(PathStep { name: &field.name, index });
            if !is_array && !run.values.is_empty() {
                let reason = format!("element <{}> may stand only once", child.name);
                return Err(Fault::new(child.at, reason));
            }
            let element =
                self.nested(child.at, usize::from(is_array), |it| it.element(&child, choice))?;
            self.path.pop();
            run.push(element);
        }
        if let Some(done) = run {
            done.finish(object);
        }
        Ok(())
    }

    /// Where `tag` stands in the definition; it must not stand before `last`.
    fn place(
        &self,
        def: &'a TypeDef,
        tag: &Tag<'a>,
        last: Option<(usize, usize)>,
    ) -> Step<((usize, usize), &'a Field, &'a FieldType)> {
        let found = def.position(tag.name).and_then(|place| {
            let field = def.fields.get(place.0)?;
            Some((place, field, field.types.get(place.1)?))
        });
        let found = found.filter(|(_, field, _)| !field.is_xml_attribute);
        let fault = match (found, last) {
            (None, _) => "is not known here",
            (Some((place, ..)), Some(last)) if place.0 < last.0 => "is out of order",
            (Some((place, field, _)), Some(last))
                if place.0 == last.0 && place.1 != last.1 && !field.is_array() =>
            {
                "is a second choice"
            }
            (Some((place, field, choice)), _) => {
                let is_xhtml = self.schema.get(choice.type_id).kind == TypeKind::Xhtml;
                in_namespace(tag, if is_xhtml { Namespace::Xhtml } else { Namespace::Fhir })?;
                return Ok((place, field, choice));
            }
        };
        Err(Fault::new(tag.at, format!("element <{}> {fault}", tag.name)))
    }

    fn element(&mut self, tag: &Tag<'a>, choice: &'a FieldType) -> Step<Element<'a>> {
        match self.schema.get(choice.type_id).kind {
            TypeKind::Backbone | TypeKind::Complex => Ok(self.complex(tag, choice.type_id)?.into()),
            TypeKind::Primitive(primitive) => self.primitive(tag, primitive),
            TypeKind::Resource => Ok(self.wrapped(tag)?.into()),
            TypeKind::Xhtml => {
                let div = narrative::read(&mut self.source, tag)?;
                Ok(Value::String(div).into())
            }
        }
    }

    fn complex(&mut self, tag: &Tag<'a>, type_id: TypeId) -> Step<Value<'a>> {
        let def = self.schema.get(type_id);
        let mut object = Object::new();
        for attribute in &self.source.attributes {
            if attribute.declared_prefix().is_some() {
                continue;
            }
            let Some((field, choice)) = def.key(attribute.name) else {
                return Err(unknown_attribute(attribute));
            };
            if !field.is_xml_attribute {
                return Err(unknown_attribute(attribute));
            }
            object.push_unchecked(Cow::Borrowed(&choice.key), Value::String(text(attribute)?));
        }
        self.nested(tag.at, 1, |reader| reader.elements(tag, def, &mut object))?;
        if object.is_empty() {
            return Err(Fault::new(tag.at, format!("element <{}> is empty", tag.name)));
        }
        Ok(Value::Object(object))
    }

    fn primitive(&mut self, tag: &Tag<'a>, primitive: Primitive) -> Step<Element<'a>> {
        let mut value = None;
        let mut sibling = Object::new();
        for attribute in &self.source.attributes {
            match attribute.name {
                "id" => {
                    let id = Value::String(text(attribute)?);
                    sibling.push_unchecked(Cow::Borrowed("id"), id);
                }
                "value" => value = Some(scalar(attribute, primitive)?),
                _ if attribute.declared_prefix().is_some() => {}
                _ => return Err(unknown_attribute(attribute)),
            }
        }
        if !tag.is_empty {
            // Every primitive has the elements of Element beside its value: `extension`.
            let element = self.schema.type_named("Element");
            let def = element.ok_or_else(|| Fault::new(tag.at, "Element is not defined"))?;
            self.nested(tag.at, 1, |reader| reader.elements(tag, def, &mut sibling))?;
        }
        if value.is_none() && sibling.is_empty() {
            let reason = format!("element <{}> has neither a value nor an extension", tag.name);
            return Err(Fault::new(tag.at, reason));
        }
        let sibling = (!sibling.is_empty()).then_some(Value::Object(sibling));
        Ok(Element { value, sibling })
    }
}

fn stray_text(at: usize) -> Fault {
    Fault::new(at, "text is only allowed in a narrative")
}

fn in_namespace(tag: &Tag<'_>, expected: Namespace) -> Step<()> {
    if tag.namespace == expected {
        return Ok(());
    }
    let uri = if expected == Namespace::Xhtml { Namespace::XHTML } else { Namespace::FHIR };
    Err(Fault::new(tag.at, format!("element <{}> must be in the namespace {uri}", tag.name)))
}

fn unknown_attribute(attribute: &Attribute<'_>) -> Fault {
    let name: String = attribute.name.chars().take(80).collect();
    Fault::new(attribute.at, format!("attribute {name:?} is not known here"))
}

/// The value of an attribute, which must not be empty.
fn text<'a>(attribute: &Attribute<'a>) -> Step<Cow<'a, str>> {
    let value = attribute.value()?;
    if value.is_empty() {
        let reason = format!("attribute {:?} is empty", attribute.name);
        return Err(Fault::new(attribute.at, reason));
    }
    Ok(value)
}

/// The value of a primitive as the kind that JSON gives it.
fn scalar<'a>(attribute: &Attribute<'a>, primitive: Primitive) -> Step<Value<'a>> {
    let text = text(attribute)?;
    let refuse = |what| Err(Fault::new(attribute.at, format!("the value is not {what}")));
    if primitive == Primitive::Boolean {
        return match &*text {
            "false" => Ok(Value::Bool(false)),
            "true" => Ok(Value::Bool(true)),
            _ => refuse("true or false"),
        };
    }
    if !primitive.is_number() {
        return Ok(Value::String(text));
    }
    // R4 allows a sign before these whole numbers, which JSON has no way to write.
    let may_have_sign = matches!(primitive, Primitive::Integer | Primitive::PositiveInt);
    let is_signed = may_have_sign && text.starts_with('+');
    let digits = match text {
        text if !is_signed => text,
        Cow::Borrowed(text) => Cow::Borrowed(&text[1..]),
        Cow::Owned(mut text) => Cow::Owned(text.split_off(1)),
    };
    if is_number(&digits) { Ok(Value::Number(digits)) } else { refuse("a number") }
}

/// Whether JSON would take the text for a number.
fn is_number(text: &str) -> bool {
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (rest, exponent) = match text.split_once(['e', 'E']) {
        Some((rest, exponent)) => (rest, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = match rest.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (rest, None),
    };
    all_digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(all_digits)
        && exponent.is_none_or(|text| all_digits(text.strip_prefix(['+', '-']).unwrap_or(text)))
}
