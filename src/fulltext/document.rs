//! What the index is told of a resource.

use std::borrow::Cow;

use crate::fhir::ResourceType;
use crate::fhir::json::Value;
use crate::search::extract::{Extractor, IndexValue, full_text};

/// A change of one resource, by the store's key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// The key.
    pub key: i64,
    /// Its texts now; `None` when it is gone.
    pub document: Option<Document>,
}

/// The texts of one resource.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Document {
    /// Its type.
    pub resource_type: ResourceType,
    /// What the narrative shows.
    pub narrative: Option<String>,
    /// All its strings, and what narratives within it show.
    pub content: Vec<String>,
    /// Displays and texts, each with the code of its parameter.
    pub texts: Vec<(String, String)>,
}

impl Document {
    /// The texts of a resource, whose `id` and `meta` are in `value`.
    pub fn of(extractor: &Extractor, resource_type: ResourceType, value: &Value<'_>) -> Self {
        let found = full_text(value);
        let parameters = extractor.parameters(resource_type);
        let extraction = extractor.extract(resource_type, value);
        let texts = extraction.rows.iter().filter_map(|row| match &row.value {
            IndexValue::Text(text) => {
                let parameter = parameters.get(usize::from(row.parameter))?;
                Some((parameter.code.to_string(), text.clone().into_owned()))
            }
            _ => None,
        });
        Self {
            resource_type,
            texts: texts.collect(),
            content: found.content.into_iter().map(Cow::into_owned).collect(),
            narrative: found.narrative,
        }
    }
}
