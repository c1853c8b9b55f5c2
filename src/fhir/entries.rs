//! The resources of a Bundle, by what refers to them.
//!
//! Spec: <https://hl7.org/fhir/R4/bundle.html#references>

use std::collections::HashMap;

use super::json::Value;

/// The resources of a Bundle, by what refers to them.
#[derive(Debug)]
pub struct Entries<'v> {
    by_url: HashMap<&'v str, &'v Value<'v>>,
    /// The resources of urls that several entries have, as versions of one resource do.
    several: HashMap<&'v str, Vec<&'v Value<'v>>>,
    /// By type and id, for entries whose `fullUrl` names no server.
    by_name: HashMap<(&'v str, &'v str), &'v Value<'v>>,
    /// The `fullUrl` of a resource, by its address.
    urls: HashMap<usize, &'v str>,
}

impl<'v> Entries<'v> {
    /// The entries of a Bundle.
    pub fn new(bundle: &'v Value<'v>) -> Self {
        let (mut by_url, mut by_name, mut urls) = (HashMap::new(), HashMap::new(), HashMap::new());
        let mut several: HashMap<&str, Vec<&Value<'_>>> = HashMap::new();
        for entry in bundle.items_at("entry") {
            let Some(resource) = entry.get("resource") else { continue };
            if let Some(url) = entry.str_at("fullUrl") {
                let first: &Value<'_> = by_url.entry(url).or_insert(resource);
                if !std::ptr::eq(first, resource) {
                    several.entry(url).or_insert_with(|| vec![first]).push(resource);
                }
                urls.insert(std::ptr::from_ref(resource).addr(), url);
            }
            if let (Some(name), Some(id)) = (resource.str_at("resourceType"), resource.str_at("id"))
            {
                by_name.entry((name, id)).or_insert(resource);
            }
        }
        Self { by_url, several, by_name, urls }
    }

    /// The `fullUrl` of a resource.
    pub fn full_url(&self, resource: &Value<'_>) -> Option<&'v str> {
        self.urls.get(&std::ptr::from_ref(resource).addr()).copied()
    }

    /// What a reference in the entry of `full_url` leads to: of several versions the one it names, or
    /// else the first.
    pub fn find(&self, text: &str, full_url: Option<&str>) -> Option<&'v Value<'v>> {
        let text = text.split('#').next().unwrap_or(text);
        let (text, version) = match text.split_once("/_history/") {
            Some((text, version)) => (text, Some(version)),
            None => (text, None),
        };
        if self.by_url.contains_key(text) {
            return self.of_url(text, version);
        }
        let (name, id) = text.split_once('/')?;
        if id.contains('/') {
            return None;
        }
        match full_url.and_then(server) {
            Some(base) => self.of_url(&format!("{base}/{text}"), version),
            None => self.by_name.get(&(name, id)).copied(),
        }
    }

    /// Whether a reference in the entry of `full_url` leads to several entries.
    pub fn is_ambiguous(&self, text: &str, full_url: Option<&str>) -> bool {
        let text = text.split('#').next().unwrap_or(text);
        if self.several.is_empty() || text.contains("/_history/") {
            return false;
        }
        let near = || format!("{}/{text}", full_url.and_then(server).unwrap_or_default());
        self.several.contains_key(text) || self.several.contains_key(near().as_str())
    }

    /// The resource of a url; one of another version than is named is another one.
    fn of_url(&self, url: &str, version: Option<&str>) -> Option<&'v Value<'v>> {
        let first = *self.by_url.get(url)?;
        let Some(version) = version else { return Some(first) };
        let of = |resource: &&'v Value<'v>| {
            let meta = resource.get("meta");
            meta.and_then(|meta| meta.str_at("versionId")).is_none_or(|own| own == version)
        };
        match self.several.get(url) {
            Some(several) => several.iter().copied().find(of),
            None => Some(first).filter(of),
        }
    }
}

/// The base of the server that a resource's url is on.
fn server(url: &str) -> Option<&str> {
    let (rest, _) = url.rsplit_once('/')?;
    let (base, _) = rest.rsplit_once('/')?;
    base.contains("://").then_some(base)
}

#[cfg(test)]
mod tests {
    use super::super::json::parse;
    use super::*;

    #[test]
    fn references_lead_to_entries_by_url_or_relative_to_their_own() {
        let bundle = br#"{"resourceType":"Bundle","entry":[
            {"fullUrl":"http://a.org/fhir/Patient/1","resource":{"resourceType":"Patient","id":"1"}},
            {"fullUrl":"urn:uuid:2","resource":{"resourceType":"Patient","id":"2"}},
            {"resource":{"resourceType":"Patient","id":"3"}},
            {"fullUrl":"http://a.org/fhir/Group/4","resource":{"resourceType":"Group","id":"4","meta":{"versionId":"1"}}},
            {"fullUrl":"http://a.org/fhir/Group/4","resource":{"resourceType":"Group","id":"4","meta":{"versionId":"2"}}}]}"#;
        let bundle = parse(bundle).expect("json");
        let entries = Entries::new(&bundle);
        let near = Some("http://a.org/fhir/Observation/9");
        for (text, from, expected) in [
            ("http://a.org/fhir/Patient/1", None, Some("1")),
            ("http://a.org/fhir/Patient/1/_history/2", None, Some("1")),
            ("Patient/1", near, Some("1")),
            ("Patient/1", Some("http://b.org/fhir/Observation/9"), None),
            ("Patient/1", Some("urn:uuid:9"), Some("1")),
            ("urn:uuid:2", near, Some("2")),
            ("Patient/2", near, None),
            ("Patient/3", near, None),
            ("Patient/3", None, Some("3")),
            ("Patient/4", near, None),
            ("x", near, None),
        ] {
            let found = entries.find(text, from).and_then(|it| it.str_at("id"));
            assert_eq!(found, expected, "{text} from {from:?}");
        }
        for (text, version, is_ambiguous) in [
            ("Group/4", Some("1"), true),
            ("http://a.org/fhir/Group/4", Some("1"), true),
            ("Group/4/_history/2", Some("2"), false),
            ("Group/4/_history/3", None, false),
            ("Patient/1", None, false),
        ] {
            let found = entries.find(text, near).and_then(|it| it.get("meta")?.str_at("versionId"));
            assert_eq!(found, version, "{text}");
            assert_eq!(entries.is_ambiguous(text, near), is_ambiguous, "{text}");
        }
    }
}
