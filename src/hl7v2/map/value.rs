//! Values on their way into a resource.

use crate::fhir::json::Object;
use crate::fhir::schema::Primitive;
use crate::hl7v2::types::Json;

use super::element::Element;
use super::eval::{CODED, Item};

/// A value in the form that its place takes.
pub(super) fn value(item: Item<'_>, element: &Element) -> Option<(&'static str, Json)> {
    let has = |name: &str| element.types.iter().any(|own| own == name);
    match item {
        Item::Fhir(CODED, coding) if has("Coding") => Some(("Coding", coding)),
        Item::Fhir(CODED, coding) if has("CodeableConcept") => {
            Some(("CodeableConcept", Object::new().with("coding", vec![coding]).into()))
        }
        Item::Fhir(CODED, coding) => {
            let code = coding.str_at("code")?.to_owned();
            Some(("code", Json::from(code)))
        }
        Item::Fhir(kind, value) => Some((kind, value)),
        Item::V2(rep) => {
            let text = rep.joined(" ");
            if text.is_empty() {
                return None;
            }
            let kind = element.types.iter().find_map(|name| Primitive::from_name(name));
            let value = match kind {
                Some(Primitive::Boolean) => Json::from(text == "true"),
                Some(kind) if kind.is_number() => Json::Number(text.into()),
                Some(Primitive::Uri | Primitive::Url) => {
                    Json::from(text.split_whitespace().collect::<String>())
                }
                _ => Json::from(text),
            };
            Some(("string", value))
        }
        Item::Null | Item::Resource(..) => None,
    }
}
