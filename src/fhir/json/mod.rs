//! The document tree: FHIR JSON as it was written.
//!
//! [`Value`] borrows from the bytes it was parsed from and keeps what other JSON
//! libraries lose and FHIR forbids to lose: the digits of a number (`1.00` stays
//! `1.00`) and the order of properties. [`parse`] refuses what FHIR refuses:
//! duplicate property names, invalid UTF-8, lone surrogates, more than one document.
//!
//! Layer: 0. No I/O. Knows JSON, not FHIR's element definitions (see [`super::schema`]).
//!
//! Spec: <https://hl7.org/fhir/R4/json.html>

use std::borrow::Cow;

mod glance;
pub mod number;
mod parse;
mod position;
mod write;

pub use glance::glance;
pub use parse::{JsonError, Limits, parse, parse_with};
pub use position::{Position, positions};

/// One JSON value. Text and numbers borrow from the input wherever they can.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// `[ .. ]`
    Array(Vec<Value<'a>>),
    /// `true` or `false`
    Bool(bool),
    /// `null`
    Null,
    /// A number exactly as it was written.
    Number(Cow<'a, str>),
    /// `{ .. }`
    Object(Object<'a>),
    /// A string with its escapes resolved.
    String(Cow<'a, str>),
}

impl<'a> Value<'a> {
    /// The string's text; `None` for other kinds.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The boolean; `None` for other kinds.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The number's digits as written; `None` for other kinds.
    pub fn as_number(&self) -> Option<&str> {
        match self {
            Self::Number(digits) => Some(digits),
            _ => None,
        }
    }

    /// The object; `None` for other kinds.
    pub fn as_object(&self) -> Option<&Object<'a>> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The object, to be changed; `None` for other kinds.
    pub fn as_object_mut(&mut self) -> Option<&mut Object<'a>> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The items; `None` for other kinds.
    pub fn as_array(&self) -> Option<&[Value<'a>]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The items, to be changed; `None` for other kinds.
    pub fn as_array_mut(&mut self) -> Option<&mut Vec<Value<'a>>> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The property `name` of an object; `None` when absent or not an object.
    pub fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.as_object()?.get(name)
    }

    /// The string property `name` of an object.
    pub fn str_at(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    /// The items of the array property `name`; empty when absent.
    pub fn items_at(&self, name: &str) -> &[Value<'a>] {
        self.get(name).and_then(Value::as_array).unwrap_or(&[])
    }

    /// The word for this kind in messages to a user.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Array(_) => "array",
            Self::Bool(_) => "boolean",
            Self::Null => "null",
            Self::Number(_) => "number",
            Self::Object(_) => "object",
            Self::String(_) => "string",
        }
    }

    /// A copy that borrows from nothing.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Array(items) => Value::Array(items.into_iter().map(Value::into_owned).collect()),
            Self::Bool(value) => Value::Bool(value),
            Self::Null => Value::Null,
            Self::Number(digits) => Value::Number(Cow::Owned(digits.into_owned())),
            Self::Object(object) => Value::Object(object.into_owned()),
            Self::String(text) => Value::String(Cow::Owned(text.into_owned())),
        }
    }

    /// Compact JSON, appended to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        write::compact(self, out);
    }

    /// Indented JSON (two spaces), appended to `out`.
    pub fn write_pretty(&self, out: &mut Vec<u8>) {
        write::pretty(self, out);
    }

    /// Compact JSON text.
    pub fn to_text(&self) -> String {
        let mut out = Vec::new();
        self.write(&mut out);
        String::from_utf8(out).unwrap_or_default()
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::String(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::String(Cow::Owned(text))
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u64> for Value<'_> {
    fn from(value: u64) -> Self {
        Self::Number(Cow::Owned(value.to_string()))
    }
}

impl<'a> From<Object<'a>> for Value<'a> {
    fn from(object: Object<'a>) -> Self {
        Self::Object(object)
    }
}

impl<'a> From<Vec<Value<'a>>> for Value<'a> {
    fn from(items: Vec<Value<'a>>) -> Self {
        Self::Array(items)
    }
}

/// Objects up to this size are searched, larger ones sorted or hashed.
const SEARCHED: usize = 16;

/// A JSON object: its properties in the order they were written, names unique.
///
/// Look-ups are linear: FHIR objects are small and stay in cache.
#[derive(Clone, Debug, Default)]
pub struct Object<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

impl<'a> Object<'a> {
    /// An empty object.
    pub fn new() -> Self {
        Self(Vec::new())
    }

    /// The object with one more property: for building small documents.
    #[must_use]
    pub fn with(mut self, name: &'a str, value: impl Into<Value<'a>>) -> Self {
        self.set(name, value.into());
        self
    }

    /// The object with one more property where there is a value, else unchanged.
    #[must_use]
    pub fn with_some(self, name: &'a str, value: Option<impl Into<Value<'a>>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The value of `name`, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value<'a>> {
        self.0.iter_mut().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Whether the property exists.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Sets `name`, in its place when it exists, else at the end.
    pub fn set(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Value<'a>>) {
        let name = name.into();
        let value = value.into();
        match self.0.iter_mut().find(|(key, _)| *key == name) {
            Some(slot) => slot.1 = value,
            None => self.0.push((name, value)),
        }
    }

    /// Puts `name` first, moving it there when it exists already.
    pub fn set_first(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Value<'a>>) {
        let name = name.into();
        self.0.retain(|(key, _)| *key != name);
        self.0.insert(0, (name, value.into()));
    }

    /// Takes `name` out; the order of the others is kept.
    pub fn remove(&mut self, name: &str) -> Option<Value<'a>> {
        let at = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.remove(at).1)
    }

    /// Adds a property without looking whether the name is there already.
    pub(crate) fn push_unchecked(&mut self, name: Cow<'a, str>, value: Value<'a>) {
        self.0.push((name, value));
    }

    /// The properties in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value<'a>)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), value))
    }

    /// The properties in order, values to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Value<'a>)> {
        self.0.iter_mut().map(|(key, value)| (&**key, value))
    }

    /// Keeps the properties for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &Value<'a>) -> bool) {
        self.0.retain(|(key, value)| keep(key, value));
    }

    /// The number of properties.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no property.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether both have the same names, in whatever order, and `holds` is true of the two values
    /// under each.
    pub fn pairs(
        &self,
        other: &Object<'_>,
        mut holds: impl FnMut(&Value<'a>, &Value<'_>) -> bool,
    ) -> bool {
        if self.len() != other.len() {
            return false;
        }
        if self.len() <= SEARCHED {
            return self
                .iter()
                .all(|(key, value)| other.get(key).is_some_and(|it| holds(value, it)));
        }
        // Looking each name up would be slow in a large object.
        let (mut own, mut others): (Vec<_>, Vec<_>) =
            (self.iter().collect(), other.iter().collect());
        own.sort_unstable_by_key(|(name, _)| *name);
        others.sort_unstable_by_key(|(name, _)| *name);
        own.into_iter().zip(others).all(|(one, other)| one.0 == other.0 && holds(one.1, other.1))
    }

    /// A copy that borrows from nothing.
    pub fn into_owned(self) -> Object<'static> {
        let own = |(key, value): (Cow<'a, str>, Value<'a>)| {
            (Cow::Owned(key.into_owned()), value.into_owned())
        };
        Object(self.0.into_iter().map(own).collect())
    }
}

impl PartialEq for Object<'_> {
    /// Equal when the same names have equal values, in whatever order.
    fn eq(&self, other: &Self) -> bool {
        self.pairs(other, |one, other| one == other)
    }
}

impl<'a> IntoIterator for Object<'a> {
    type IntoIter = std::vec::IntoIter<(Cow<'a, str>, Value<'a>)>;
    type Item = (Cow<'a, str>, Value<'a>);

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> FromIterator<(Cow<'a, str>, Value<'a>)> for Object<'a> {
    fn from_iter<I: IntoIterator<Item = (Cow<'a, str>, Value<'a>)>>(properties: I) -> Self {
        let mut object = Self::new();
        for (name, value) in properties {
            object.set(name, value);
        }
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_equal_in_whatever_order_small_or_large() {
        for count in [3, SEARCHED + 1] {
            let names: Vec<String> = (0..count).map(|at| at.to_string()).collect();
            let object = |names: &[&String], last: &str| -> Value<'_> {
                let pair = |name: &&String| (Cow::Owned((*name).clone()), Value::from(true));
                let object: Object<'_> = names.iter().map(pair).collect();
                object.into_owned().with("last", last.to_owned()).into()
            };
            let forth: Vec<&String> = names.iter().collect();
            let back: Vec<&String> = names.iter().rev().collect();
            assert_eq!(object(&forth, "x"), object(&back, "x"));
            assert_ne!(object(&forth, "x"), object(&back, "y"));
            assert_ne!(object(&forth, "x"), object(&back[1..], "x"));
            let others: Vec<String> = (1..=count).map(|at| at.to_string()).collect();
            assert_ne!(object(&forth, "x"), object(&others.iter().collect::<Vec<_>>(), "x"));
        }
    }

    #[test]
    fn large_objects_compare_in_the_time_that_sorting_takes() {
        let object = |numbers: &mut dyn Iterator<Item = usize>| {
            let mut object = Object::new();
            for number in numbers {
                object.push_unchecked(format!("{number:06}").into(), Value::Null);
            }
            object
        };
        let (forth, back) = (object(&mut (0..100_000)), object(&mut (0..100_000).rev()));
        let began = std::time::Instant::now();
        assert!(forth == back);
        // Looking up each name would be a minute.
        assert!(began.elapsed().as_secs() < 15, "{:?}", began.elapsed());
    }
}
