//! What a concept map says its mappings are.
//!
//! Spec: <https://hl7.org/fhir/R4/conceptmap.html>

use std::collections::HashMap;

use crate::fhir::json::Value;

use super::value_set::canonical;

/// One concept map.
#[derive(Debug)]
pub(super) struct ConceptMap {
    pub(super) url: Option<Box<str>>,
    pub(super) version: Option<Box<str>>,
    /// The value sets between which it maps, without versions.
    pub(super) source: Option<Box<str>>,
    pub(super) target: Option<Box<str>>,
    pub(super) groups: Vec<Group>,
}

/// Mappings from one code system to another.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) source: Option<Box<str>>,
    pub(super) target: Option<Box<str>>,
    elements: HashMap<Box<str>, Vec<Target>>,
    /// Codes whose targets have this code, and which of their targets.
    by_target: HashMap<Box<str>, Vec<(Box<str>, usize)>>,
    pub(super) unmapped: Option<Unmapped>,
}

/// What one code is mapped to.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) code: Option<Box<str>>,
    pub(super) display: Option<Box<str>>,
    pub(super) equivalence: Box<str>,
    /// All of them must hold.
    pub(super) depends_on: Vec<Other>,
    pub(super) products: Vec<Other>,
}

/// Another element on which a mapping depends, or which it gives.
#[derive(Debug)]
pub(super) struct Other {
    pub(super) property: Box<str>,
    pub(super) system: Option<Box<str>>,
    pub(super) value: Box<str>,
    pub(super) display: Option<Box<str>>,
}

/// What holds for codes that are not mapped.
#[derive(Debug)]
pub(super) struct Unmapped {
    pub(super) mode: Box<str>,
    pub(super) code: Option<Box<str>>,
    pub(super) display: Option<Box<str>>,
    pub(super) url: Option<Box<str>>,
}

impl ConceptMap {
    /// The concept map of a resource.
    pub(super) fn read(resource: &Value<'_>) -> Self {
        let either = |uri, canonical| -> Option<Box<str>> {
            let text: &str = resource.str_at(uri).or_else(|| resource.str_at(canonical))?;
            Some(text.split('|').next().unwrap_or(text).into())
        };
        Self {
            url: resource.str_at("url").map(Into::into),
            version: resource.str_at("version").map(Into::into),
            source: either("sourceUri", "sourceCanonical"),
            target: either("targetUri", "targetCanonical"),
            groups: resource.items_at("group").iter().map(Group::read).collect(),
        }
    }

    /// `url|version`, as far as it has them.
    pub(super) fn canonical(&self) -> String {
        canonical(self.url.as_deref().unwrap_or_default(), self.version.as_deref())
    }
}

impl Group {
    fn read(value: &Value<'_>) -> Self {
        let mut elements: HashMap<Box<str>, Vec<Target>> = HashMap::new();
        for element in value.items_at("element") {
            let Some(code) = element.str_at("code") else { continue };
            let targets = element.items_at("target").iter().map(Target::read);
            elements.entry(code.into()).or_default().extend(targets);
        }
        let mut by_target: HashMap<Box<str>, Vec<(Box<str>, usize)>> = HashMap::new();
        for (source, targets) in &elements {
            for (at, target) in targets.iter().enumerate() {
                if let Some(code) = &target.code {
                    by_target.entry(code.clone()).or_default().push((source.clone(), at));
                }
            }
        }
        for sources in by_target.values_mut() {
            sources.sort_unstable();
        }
        Self {
            source: value.str_at("source").map(Into::into),
            target: value.str_at("target").map(Into::into),
            elements,
            by_target,
            unmapped: value.get("unmapped").map(Unmapped::read),
        }
    }

    /// What a code of the source is mapped to; `None` where it is not mentioned.
    pub(super) fn targets(&self, code: &str) -> Option<&[Target]> {
        self.elements.get(code).map(Vec::as_slice)
    }

    /// The codes that are mapped to a code of the target, each with how.
    pub(super) fn sources(&self, code: &str) -> impl Iterator<Item = (&str, &Target)> {
        let sources = self.by_target.get(code).map_or(&[][..], Vec::as_slice);
        sources.iter().map(|(source, at)| (&**source, &self.elements[source][*at]))
    }
}

impl Target {
    fn read(value: &Value<'_>) -> Self {
        let others = |name| value.items_at(name).iter().map(Other::read).collect();
        Self {
            code: value.str_at("code").map(Into::into),
            display: value.str_at("display").map(Into::into),
            equivalence: value.str_at("equivalence").unwrap_or("relatedto").into(),
            depends_on: others("dependsOn"),
            products: others("product"),
        }
    }
}

impl Other {
    fn read(value: &Value<'_>) -> Self {
        Self {
            property: value.str_at("property").unwrap_or_default().into(),
            system: value.str_at("system").map(Into::into),
            value: value.str_at("value").unwrap_or_default().into(),
            display: value.str_at("display").map(Into::into),
        }
    }
}

impl Unmapped {
    fn read(value: &Value<'_>) -> Self {
        let text = |name| value.str_at(name).map(Into::into);
        Self {
            mode: value.str_at("mode").unwrap_or_default().into(),
            code: text("code"),
            display: text("display"),
            url: text("url"),
        }
    }
}
