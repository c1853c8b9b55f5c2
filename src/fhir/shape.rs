//! Parts of a resource: `_summary` and `_elements`.
//!
//! What must not be left out stays: id, meta, mandatory and modifier elements. What was cut says
//! so by the tag SUBSETTED, in the answer only.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#summary>, rest 1.71 to 1.81

use super::json::{Object, Value};
use super::schema::{Field, Schema, TypeDef, TypeKind};

/// System of the tag that marks a cut resource.
pub const OBSERVATION_VALUE: &str = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue";
/// Code of the tag that marks a cut resource.
pub const SUBSETTED: &str = "SUBSETTED";

/// Which part of a resource an answer shows.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Shape {
    /// No resource at all, only how many there are.
    Count,
    /// All but the narrative.
    Data,
    /// These root elements.
    Elements(Vec<Box<str>>),
    /// The elements that the definitions count as a summary.
    Summary,
    /// The narrative with what identifies it.
    Text,
    /// Everything.
    #[default]
    Whole,
}

impl Shape {
    /// Whether a resource goes out as it is.
    pub fn is_whole(&self) -> bool {
        *self == Self::Whole
    }

    /// Cuts `resource` to this shape and tags it. A type that `schema` does not know stays whole.
    pub fn cut(&self, resource: &mut Value<'_>, schema: &Schema) {
        if self.is_whole() {
            return;
        }
        let Some(root) = resource.as_object_mut() else { return };
        let name = root.get("resourceType").and_then(Value::as_str).map(str::to_owned);
        let Some(def) = name.and_then(|name| schema.type_named(&name)) else { return };
        root.retain(|key, _| match key.strip_prefix('_').unwrap_or(key) {
            "resourceType" | "id" | "meta" => true,
            key => def.key(key).is_none_or(|(field, _)| self.shows(field, def)),
        });
        if *self == Self::Summary {
            summarize(root, def, schema);
        }
        tag(root);
    }

    /// Whether a root element of `def` is shown.
    fn shows(&self, field: &Field, def: &TypeDef) -> bool {
        let is_called = |name: &str| {
            let bare = name.strip_prefix(&*def.name).and_then(|rest| rest.strip_prefix('.'));
            let bare = bare.unwrap_or(name);
            let bare = bare.strip_suffix("[x]").unwrap_or(bare);
            bare == &*field.name || field.types.iter().any(|choice| &*choice.key == bare)
        };
        match self {
            Self::Count => false,
            Self::Data => &*field.name != "text",
            Self::Elements(names) => {
                field.min > 0 || field.is_modifier || names.iter().any(|name| is_called(name))
            }
            Self::Summary => is_in_summary(field),
            Self::Text => field.min > 0 || &*field.name == "text",
            Self::Whole => true,
        }
    }
}

fn is_in_summary(field: &Field) -> bool {
    field.is_summary || field.is_modifier || field.min > 0
}

/// Cuts the anonymous groups of a summary too: their elements are marked one by one.
fn summarize(object: &mut Object<'_>, def: &TypeDef, schema: &Schema) {
    for (key, value) in object.iter_mut() {
        let Some((_, choice)) = def.key(key) else { continue };
        let group = schema.get(choice.type_id);
        if group.kind != TypeKind::Backbone {
            continue;
        }
        match value {
            Value::Array(items) => {
                for item in items {
                    summarize_group(item, group, schema);
                }
            }
            single => summarize_group(single, group, schema),
        }
    }
}

fn summarize_group(value: &mut Value<'_>, group: &TypeDef, schema: &Schema) {
    let Some(object) = value.as_object_mut() else { return };
    // A group none of whose elements is marked is shown as a whole: an empty object is no FHIR.
    let is_shown = |key: &str| {
        let bare = key.strip_prefix('_').unwrap_or(key);
        bare == "id" || group.key(bare).is_none_or(|(field, _)| is_in_summary(field))
    };
    if object.iter().any(|(key, _)| key != "id" && is_shown(key)) {
        object.retain(|key, _| is_shown(key));
    }
    summarize(object, group, schema);
}

/// Adds the tag SUBSETTED to `meta`, once.
fn tag(root: &mut Object<'_>) {
    if !root.contains("meta") {
        root.set("meta", Object::new());
    }
    let Some(meta) = root.get_mut("meta").and_then(Value::as_object_mut) else { return };
    if !meta.contains("tag") {
        meta.set("tag", Vec::new());
    }
    let Some(tags) = meta.get_mut("tag").and_then(Value::as_array_mut) else { return };
    if !tags.iter().any(is_subsetted) {
        tags.push(Object::new().with("system", OBSERVATION_VALUE).with("code", SUBSETTED).into());
    }
}

/// Whether a Coding is the tag of a cut resource.
pub fn is_subsetted(coding: &Value<'_>) -> bool {
    coding.str_at("code") == Some(SUBSETTED)
        && coding.str_at("system").is_none_or(|system| system == OBSERVATION_VALUE)
}

#[cfg(test)]
mod tests {
    use crate::fhir::json::parse;
    use crate::fhir::schema::{FieldType, TypeId};

    use super::*;

    /// Types by place: 0 string, 1 Patient, 2 Patient.link, 3 Patient.contact.
    fn schema() -> Schema {
        let field = |name: &str, keys: &[(&str, u16)], flags: &str| Field {
            name: name.into(),
            types: keys
                .iter()
                .map(|(key, type_id)| FieldType {
                    type_id: TypeId(*type_id),
                    key: (*key).into(),
                    targets: vec![],
                })
                .collect(),
            is_choice: keys.len() > 1,
            min: u16::from(flags.contains('1')),
            max: Some(1),
            is_summary: flags.contains('s'),
            is_modifier: flags.contains('m'),
            is_xml_attribute: false,
        };
        let string = TypeKind::Primitive(crate::fhir::schema::Primitive::String);
        let def = |name: &str, kind, fields| TypeDef::new(name.into(), kind, false, None, fields);
        let patient = vec![
            field("id", &[("id", 0)], "s"),
            field("meta", &[("meta", 0)], "s"),
            field("text", &[("text", 0)], ""),
            field("active", &[("active", 0)], "sm"),
            field("birthDate", &[("birthDate", 0)], "s"),
            field("deceased", &[("deceasedBoolean", 0), ("deceasedDateTime", 0)], ""),
            field("photo", &[("photo", 0)], ""),
            field("gender", &[("gender", 0)], "1"),
            field("extension", &[("extension", 0)], ""),
            field("link", &[("link", 2)], "s"),
            field("contact", &[("contact", 3)], "s"),
        ];
        let link = vec![field("other", &[("other", 0)], "s"), field("note", &[("note", 0)], "")];
        let contact = vec![field("name", &[("name", 0)], "")];
        Schema::new(vec![
            def("string", string, vec![]),
            def("Patient", TypeKind::Resource, patient),
            def("Patient.link", TypeKind::Backbone, link),
            def("Patient.contact", TypeKind::Backbone, contact),
        ])
    }

    const WHOLE: &str = concat!(
        r#"{"resourceType":"Patient","id":"p","meta":{"versionId":"1"},"text":"t","active":true,"#,
        r#""birthDate":"2000","_birthDate":{"id":"b"},"deceasedBoolean":true,"photo":"x","#,
        r#""gender":"male","extension":[1],"link":[{"other":"o","note":"n"}],"#,
        r#""contact":{"name":"c"}}"#
    );

    #[test]
    fn each_shape_shows_its_elements_and_what_must_not_be_left_out() {
        let elements = |names: &[&str]| {
            Shape::Elements(names.iter().map(|name| (*name).into()).collect::<Vec<Box<str>>>())
        };
        for (shape, rest) in [
            (
                Shape::Summary,
                concat!(
                    r#""active":true,"birthDate":"2000","_birthDate":{"id":"b"},"gender":"male","#,
                    r#""link":[{"other":"o"}],"contact":{"name":"c"}}"#
                ),
            ),
            (Shape::Text, r#""text":"t","gender":"male"}"#),
            (
                Shape::Data,
                concat!(
                    r#""active":true,"birthDate":"2000","_birthDate":{"id":"b"},"#,
                    r#""deceasedBoolean":true,"photo":"x","gender":"male","extension":[1],"#,
                    r#""link":[{"other":"o","note":"n"}],"contact":{"name":"c"}}"#
                ),
            ),
            (elements(&["photo"]), r#""active":true,"photo":"x","gender":"male"}"#),
            (elements(&["Patient.photo"]), r#""active":true,"photo":"x","gender":"male"}"#),
            (elements(&["nonsense"]), r#""active":true,"gender":"male"}"#),
            (
                elements(&["deceased[x]", "birthDate"]),
                concat!(
                    r#""active":true,"birthDate":"2000","_birthDate":{"id":"b"},"#,
                    r#""deceasedBoolean":true,"gender":"male"}"#
                ),
            ),
            (elements(&["deceased"]), r#""active":true,"deceasedBoolean":true,"gender":"male"}"#),
            (elements(&["extension"]), r#""active":true,"gender":"male","extension":[1]}"#),
        ] {
            let mut value = parse(WHOLE.as_bytes()).expect("JSON");
            shape.cut(&mut value, &schema());
            let head = concat!(
                r#"{"resourceType":"Patient","id":"p","meta":{"versionId":"1","tag":[{"system":"#,
                r#""http://terminology.hl7.org/CodeSystem/v3-ObservationValue","#,
                r#""code":"SUBSETTED"}]},"#
            );
            assert_eq!(value.to_text(), format!("{head}{rest}"), "{shape:?}");
        }
    }

    #[test]
    fn the_whole_has_no_tag_and_a_tag_is_not_set_twice() {
        let mut value = parse(WHOLE.as_bytes()).expect("JSON");
        Shape::Whole.cut(&mut value, &schema());
        assert_eq!(value.to_text(), WHOLE);
        Shape::Text.cut(&mut value, &schema());
        let once = value.to_text();
        Shape::Text.cut(&mut value, &schema());
        assert_eq!(value.to_text(), once);
    }
}
