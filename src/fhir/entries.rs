//! The resources of a Bundle, by what refers to them.
//!
//! Spec: <https://hl7.org/fhir/R4/bundle.html#references>

use std::collections::HashMap;

use super::json::Value;

/// The resources of a Bundle, by what refers to them.
#[derive(Debug)]
pub struct Entries<'v> {
    by_url: HashMap<&'v str, &'v Value<'v>>,
    /// By type and id, for entries whose `fullUrl` names no server.
    by_name: HashMap<(&'v str, &'v str), &'v Value<'v>>,
    /// The `fullUrl` of a resource, by its address.
    urls: HashMap<usize, &'v str>,
}

impl<'v> Entries<'v> {
    /// The entries of a Bundle.
    pub fn new(bundle: &'v Value<'v>) -> Self {
        let (mut by_url, mut by_name, mut urls) = (HashMap::new(), HashMap::new(), HashMap::new());
        for entry in bundle.items_at("entry") {
            let Some(resource) = entry.get("resource") else { continue };
            if let Some(url) = entry.str_at("fullUrl") {
                by_url.entry(url).or_insert(resource);
                urls.insert(std::ptr::from_ref(resource).addr(), url);
            }
            if let (Some(name), Some(id)) = (resource.str_at("resourceType"), resource.str_at("id"))
            {
                by_name.entry((name, id)).or_insert(resource);
            }
        }
        Self { by_url, by_name, urls }
    }

    /// The `fullUrl` of a resource.
    pub fn full_url(&self, resource: &Value<'_>) -> Option<&'v str> {
        self.urls.get(&std::ptr::from_ref(resource).addr()).copied()
    }

    /// What a reference in the entry of `full_url` leads to.
    pub fn find(&self, text: &str, full_url: Option<&str>) -> Option<&'v Value<'v>> {
        let text = text.split('#').next().unwrap_or(text);
        let text = text.split("/_history/").next().unwrap_or(text);
        if let Some(found) = self.by_url.get(text) {
            return Some(found);
        }
        let (name, id) = text.split_once('/')?;
        if id.contains('/') {
            return None;
        }
        match full_url.and_then(server) {
            Some(base) => self.by_url.get(format!("{base}/{text}").as_str()),
            None => self.by_name.get(&(name, id)),
        }
        .copied()
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
            {"resource":{"resourceType":"Patient","id":"3"}}]}"#;
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
    }
}
