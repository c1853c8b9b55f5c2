//! Gives the resources of a Bundle the references that hold once it is stored. Pure.
//!
//! Driven by the element table: References, `uri`, `url`, `oid` and `uuid` elements and links in
//! narratives follow; canonicals, codes, plain strings, extension urls and systems of codes do not.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#trules>, checklist rest 3.16 to 3.28

use std::collections::{BTreeSet, HashMap};

use crate::error::Error;
use crate::fhir::json::{Object, Value};
use crate::fhir::reference::Target;
use crate::fhir::schema::{Primitive, Schema, TypeDef, TypeId, TypeKind};
use crate::fhir::{Identity, IssueCode};

/// Where the fullUrls of a Bundle lead.
#[derive(Debug, Default)]
pub(super) struct Links {
    by_url: HashMap<String, Link>,
    /// What conditional references were found to mean.
    by_criteria: HashMap<String, Identity>,
}

#[derive(Debug)]
struct Link {
    identity: Identity,
    /// What takes the place of a version; `None`: the version stays.
    version: Option<String>,
}

impl Links {
    /// Makes `full_url` lead to `identity`; `version` is the one that the Bundle makes, if it does.
    pub(super) fn add(&mut self, full_url: &str, identity: Identity, version: Option<String>) {
        self.by_url.insert(full_url.to_owned(), Link { identity, version });
    }

    /// Makes the conditional reference `text` lead to `identity`.
    pub(super) fn answer(&mut self, text: &str, identity: Identity) {
        self.by_criteria.insert(text.to_owned(), identity);
    }

    /// Whether it is known where the conditional reference `text` leads.
    pub(super) fn is_answered(&self, text: &str) -> bool {
        self.by_criteria.contains_key(text)
    }

    /// What `text` becomes; `None` when no entry is meant.
    fn resolve(&self, text: &str, root: Option<&str>) -> Option<String> {
        let (path, fragment) = match text.find('#') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let (path, version) = match path.split_once("/_history/") {
            Some((path, version)) => (path, Some(version)),
            None => (path, None),
        };
        let link = self.by_url.get(path).or_else(|| {
            let absolute = format!("{}/{path}", root?);
            self.by_url.get(&absolute)
        })?;
        let version =
            version.map(|old| format!("/_history/{}", link.version.as_deref().unwrap_or(old)));
        Some(format!("{}{}{fragment}", link.identity, version.unwrap_or_default()))
    }
}

/// What becomes of a reference that no entry answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unresolved {
    /// A `urn:uuid:` or `urn:oid:` stays as it is: an entry of a batch stands alone.
    Keep,
    /// A `urn:uuid:` or `urn:oid:` is an error (rest 3.23).
    Refuse,
}

/// Rewrites `resource`, the content of the entry with `full_url`.
///
/// # Errors
/// [`Error::Invalid`] for a reference that cannot be resolved, with its FHIRPath.
pub(super) fn rewrite(
    resource: &mut Value<'_>,
    full_url: Option<&str>,
    links: &Links,
    unresolved: Unresolved,
    schema: &Schema,
) -> Result<(), Error> {
    let root = full_url.and_then(restful_root);
    let rewriter = Rewriter { links, root, unresolved, schema };
    rewriter.resource(resource).map_err(|fault| {
        let name = resource.str_at("resourceType").unwrap_or("Resource");
        Error::invalid_at(fault.code, fault.text, format!("{name}{}", fault.path))
    })
}

/// The conditional references in a resource, each once.
pub(super) fn conditional_references(value: &Value<'_>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = vec![value];
    while let Some(value) = rest.pop() {
        match value {
            Value::Array(items) => rest.extend(items),
            Value::Object(object) => {
                for (key, value) in object.iter() {
                    match value.as_str() {
                        Some(text) if key == "reference" && is_conditional(text) => {
                            found.insert(text.to_owned());
                        }
                        _ => rest.push(value),
                    }
                }
            }
            _ => {}
        }
    }
    found
}

fn is_conditional(text: &str) -> bool {
    matches!(Target::parse(text, ""), Target::Conditional { .. })
}

/// The base of a RESTful fullUrl: `http://x/fhir` of `http://x/fhir/Patient/1`.
fn restful_root(full_url: &str) -> Option<&str> {
    if !full_url.starts_with("http://") && !full_url.starts_with("https://") {
        return None;
    }
    let (rest, _id) = full_url.rsplit_once('/')?;
    let (root, name) = rest.rsplit_once('/')?;
    name.parse::<crate::fhir::ResourceType>().ok().map(|_| root)
}

struct Rewriter<'r> {
    links: &'r Links,
    root: Option<&'r str>,
    unresolved: Unresolved,
    schema: &'r Schema,
}

/// A reference that cannot be resolved; the path grows while the walk unwinds.
struct Fault {
    code: IssueCode,
    text: String,
    path: String,
}

impl Fault {
    fn below(mut self, step: &str) -> Self {
        self.path.insert_str(0, step);
        self
    }
}

impl Rewriter<'_> {
    fn resource(&self, value: &mut Value<'_>) -> Result<(), Fault> {
        let type_id = value.str_at("resourceType").and_then(|name| self.schema.by_name(name));
        let (Some(type_id), Some(object)) = (type_id, value.as_object_mut()) else { return Ok(()) };
        self.object(object, self.schema.get(type_id))
    }

    fn object(&self, object: &mut Object<'_>, def: &TypeDef) -> Result<(), Fault> {
        let is_reference = &*def.name == "Reference";
        // Names of things, not places of them, though their type is `uri`.
        let name = match &*def.name {
            "Coding" => "system",
            "Extension" => "url",
            _ => "",
        };
        for (key, value) in object.iter_mut() {
            if key == "reference" && is_reference {
                self.reference(value).map_err(|fault| fault.below(".reference"))?;
            } else if let Some(primitive) = key.strip_prefix('_') {
                self.each(value, self.element_type(), primitive)?;
            } else if key != name
                && let Some((field, choice)) = def.key(key)
            {
                self.each(value, Some(choice.type_id), &field.name)?;
            }
        }
        Ok(())
    }

    /// What stands beside a primitive: its id and extensions.
    fn element_type(&self) -> Option<TypeId> {
        self.schema.by_name("Element")
    }

    fn each(
        &self,
        value: &mut Value<'_>,
        type_id: Option<TypeId>,
        name: &str,
    ) -> Result<(), Fault> {
        let Some(type_id) = type_id else { return Ok(()) };
        if let Value::Array(items) = value {
            for (at, item) in items.iter_mut().enumerate() {
                self.value(item, type_id)
                    .map_err(|fault| fault.below(&format!(".{name}[{at}]")))?;
            }
            return Ok(());
        }
        self.value(value, type_id).map_err(|fault| fault.below(&format!(".{name}")))
    }

    fn value(&self, value: &mut Value<'_>, type_id: TypeId) -> Result<(), Fault> {
        let def = self.schema.get(type_id);
        match (def.kind, &mut *value) {
            (TypeKind::Resource, _) => self.resource(value),
            (TypeKind::Backbone | TypeKind::Complex, Value::Object(object)) => {
                self.object(object, def)
            }
            (
                TypeKind::Primitive(
                    Primitive::Uri | Primitive::Url | Primitive::Oid | Primitive::Uuid,
                ),
                Value::String(text),
            ) => {
                if let Some(new) = self.links.resolve(text, None) {
                    *value = Value::from(new);
                }
                Ok(())
            }
            (TypeKind::Xhtml, Value::String(div)) => {
                if let Some(new) = self.narrative(div) {
                    *value = Value::from(new);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn reference(&self, value: &mut Value<'_>) -> Result<(), Fault> {
        let Some(text) = value.as_str() else { return Ok(()) };
        if text.starts_with('#') {
            return Ok(());
        }
        if let Some(new) = self.links.resolve(text, self.root) {
            *value = Value::from(new);
            return Ok(());
        }
        let fault = |code, text| Err(Fault { code, text, path: String::new() });
        match Target::parse(text, "") {
            Target::Conditional { .. } => {
                let Some(identity) = self.links.by_criteria.get(text) else {
                    let text = format!("the conditional reference {text:?} is for a transaction");
                    return fault(IssueCode::Invalid, text);
                };
                *value = Value::from(identity.to_string());
                Ok(())
            }
            Target::Urn(urn) if self.unresolved == Unresolved::Refuse && is_local_urn(urn) => {
                fault(IssueCode::NotFound, format!("no entry of the Bundle has the fullUrl {urn}"))
            }
            _ => Ok(()),
        }
    }

    /// The narrative with its links followed; `None` when none leads to an entry.
    fn narrative(&self, div: &str) -> Option<String> {
        let mut out = String::new();
        let mut rest = div;
        while let Some(at) = next_link(rest) {
            let (before, after) = rest.split_at(at);
            let quote = after.chars().next()?;
            let Some(end) = after[1..].find(quote) else { break };
            let url = &after[1..=end];
            out.push_str(before);
            out.push(quote);
            out.push_str(&self.links.resolve(url, None).unwrap_or_else(|| url.to_owned()));
            rest = &after[1 + end..];
        }
        out.push_str(rest);
        (out != div).then_some(out)
    }
}

/// Where the value of the next `href` or `src` attribute begins, at its quote.
fn next_link(text: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let found = text[from..].find("href").map(|at| (at, 4)).into_iter();
        let found = found.chain(text[from..].find("src").map(|at| (at, 3)));
        let (at, len) = found.min()?;
        let after = &text[from + at + len..];
        let value = after.trim_start().strip_prefix('=').map(str::trim_start);
        if let Some(value) = value.filter(|value| value.starts_with(['"', '\''])) {
            return Some(text.len() - value.len());
        }
        from += at + len;
    }
}

/// urn:uuid and urn:oid mean resources of the Bundle; other urns may mean anything.
fn is_local_urn(urn: &str) -> bool {
    urn.starts_with("urn:uuid:") || urn.starts_with("urn:oid:")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json::parse;
    use crate::spec::Spec;

    fn links() -> Links {
        let identity = |text: &str| {
            let (name, id) = text.split_once('/').expect("Type/id");
            Identity { resource_type: name.parse().expect("type"), id: id.parse().expect("id") }
        };
        let mut links = Links::default();
        let first = || Some("1".to_owned());
        links.add("urn:uuid:p", identity("Patient/1"), first());
        links.add("urn:uuid:b", identity("Binary/2"), first());
        links.add("http://old.org/fhir/Patient/9", identity("Patient/3"), first());
        links
    }

    fn rewritten(text: &str, full_url: Option<&str>) -> Result<String, String> {
        let spec = Spec::r4().expect("definitions");
        let mut value = parse(text.as_bytes()).expect("JSON");
        rewrite(&mut value, full_url, &links(), Unresolved::Refuse, &spec.schema)
            .map(|()| value.to_text())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn references_urls_and_narrative_links_follow_and_nothing_else_does() {
        for (before, after) in [
            (r#""subject":{"reference":"urn:uuid:p"}"#, r#""subject":{"reference":"Patient/1"}"#),
            (
                r#""subject":{"reference":"urn:uuid:p#x"}"#,
                r#""subject":{"reference":"Patient/1#x"}"#,
            ),
            (
                r#""subject":{"reference":"http://old.org/fhir/Patient/9/_history/7"}"#,
                r#""subject":{"reference":"Patient/3/_history/1"}"#,
            ),
            (
                r#""content":[{"attachment":{"url":"urn:uuid:b"}}]"#,
                r#""content":[{"attachment":{"url":"Binary/2"}}]"#,
            ),
            (
                r#""extension":[{"url":"urn:uuid:p","valueUri":"urn:uuid:p"}]"#,
                r#""extension":[{"url":"urn:uuid:p","valueUri":"Patient/1"}]"#,
            ),
            (
                r#""_status":{"extension":[{"url":"x","valueUrl":"urn:uuid:p"}]}"#,
                r#""_status":{"extension":[{"url":"x","valueUrl":"Patient/1"}]}"#,
            ),
            (
                r#""text":{"div":"<a href=\"urn:uuid:p\">x</a><img src='urn:uuid:b'/>"}"#,
                r#""text":{"div":"<a href=\"Patient/1\">x</a><img src='Binary/2'/>"}"#,
            ),
            (
                r##""contained":[{"resourceType":"Basic","subject":{"reference":"urn:uuid:p"},"author":{"reference":"#"}}]"##,
                r##""contained":[{"resourceType":"Basic","subject":{"reference":"Patient/1"},"author":{"reference":"#"}}]"##,
            ),
            (r#""description":"urn:uuid:p""#, r#""description":"urn:uuid:p""#),
            (
                r#""type":{"coding":[{"system":"urn:uuid:p","code":"c"}]}"#,
                r#""type":{"coding":[{"system":"urn:uuid:p","code":"c"}]}"#,
            ),
            (
                r#""extension":[{"url":"x","valueOid":"urn:uuid:p"},{"url":"x","valueUuid":"urn:uuid:b"}]"#,
                r#""extension":[{"url":"x","valueOid":"Patient/1"},{"url":"x","valueUuid":"Binary/2"}]"#,
            ),
            (
                r#""subject":{"reference":"http://x/Patient/9"}"#,
                r#""subject":{"reference":"http://x/Patient/9"}"#,
            ),
            (r#""subject":{"reference":"Patient/9"}"#, r#""subject":{"reference":"Patient/9"}"#),
        ] {
            let document = |part: &str| format!(r#"{{"resourceType":"DocumentReference",{part}}}"#);
            assert_eq!(rewritten(&document(before), None), Ok(document(after)), "{before}");
        }
    }

    #[test]
    fn a_relative_reference_follows_from_an_entry_with_the_same_root() {
        let text = r#"{"resourceType":"Basic","subject":{"reference":"Patient/9"}}"#;
        let full_url = Some("http://old.org/fhir/Basic/1");
        let after = r#"{"resourceType":"Basic","subject":{"reference":"Patient/3"}}"#;
        assert_eq!(rewritten(text, full_url), Ok(after.to_owned()));
    }

    #[test]
    fn conditional_references_are_found_and_follow_once_they_are_answered() {
        let text = concat!(
            r#"{"resourceType":"Basic","subject":{"reference":"Patient?identifier=a|b"},"#,
            r#""author":{"reference":"Practitioner/1"}}"#
        );
        let asked = "Patient?identifier=a|b";
        let mut value = parse(text.as_bytes()).expect("JSON");
        let found: Vec<String> = conditional_references(&value).into_iter().collect();
        assert_eq!(found, [asked]);
        assert!(rewritten(text, None).expect_err("unanswered").contains("transaction"));
        let spec = Spec::r4().expect("definitions");
        let mut links = links();
        let id = "7".parse().expect("id");
        links.answer(asked, Identity { resource_type: crate::fhir::ResourceType::PATIENT, id });
        assert!(links.is_answered(asked));
        rewrite(&mut value, None, &links, Unresolved::Refuse, &spec.schema).expect("answered");
        assert_eq!(value.to_text(), text.replace(asked, "Patient/7"));
    }

    #[test]
    fn what_cannot_be_resolved_is_named_with_its_place() {
        let text = r#"{"resourceType":"List","entry":[{"item":{"reference":"urn:uuid:z"}}]}"#;
        let fault = rewritten(text, None).expect_err("unresolved");
        assert!(fault.contains("urn:uuid:z"), "{fault}");
        assert!(fault.contains("List.entry[0].item.reference"), "{fault}");
    }
}
