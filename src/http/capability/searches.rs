//! What the CapabilityStatement says of search: parameters and includes of each type.
//!
//! Spec: <https://hl7.org/fhir/R4/capabilitystatement.html>, rest 5.6, 5.7

use std::collections::HashMap;

use crate::fhir::ResourceType;
use crate::fhir::json::{Object, Value};
use crate::search::extract::Extractor;
use crate::spec::search_parameter::SearchType;

use super::is_endpoint;

/// Parameters that look for words.
const WORDS: [&str; 2] = ["_content", "_text"];
/// Parameters that the definitions only describe.
const OF_STORE: [&str; 3] = ["_filter", "_has", "_list"];

/// What can be searched, for each type.
#[derive(Default)]
pub(in crate::http) struct Searches {
    types: HashMap<ResourceType, OfType>,
    system: Vec<Value<'static>>,
}

#[derive(Default)]
struct OfType {
    parameters: Vec<Value<'static>>,
    includes: Vec<String>,
    reverse: Vec<String>,
}

impl Searches {
    /// The parameters that `extractor` indexes, without those whose index is being built, those of
    /// the store itself, and those of words where there is a full text index.
    pub(in crate::http) fn new(extractor: &Extractor, has_words: bool) -> Self {
        let known = extractor.search_parameters();
        let of_type = |of| extractor.parameters(of).iter().filter(|it| it.progress().is_none());
        let mut found = Self::default();
        let sources = || ResourceType::all().filter(|of| is_endpoint(*of));
        for of in sources() {
            let mut declared: Vec<_> = of_type(of)
                .map(|it| declared(&it.code, Some(&it.url), it.search_type.as_str()))
                .collect();
            let words = WORDS.iter().filter(|_| has_words);
            declared.extend(words.filter_map(|code| {
                let definition = known.find(of, code)?;
                Some(self::declared(code, Some(&definition.url), definition.search_type.as_str()))
            }));
            declared.extend(OF_STORE.iter().map(|code| self::declared(code, None, "special")));
            found.types.entry(of).or_default().parameters = declared;
            let references =
                of_type(of).filter(|parameter| parameter.search_type == SearchType::Reference);
            for parameter in references {
                let name = format!("{of}:{}", parameter.code);
                let definition = known.find(of, &parameter.code);
                let targets = definition.map_or(&[][..], |definition| &definition.targets);
                for target in sources().filter(|it| targets.is_empty() || targets.contains(it)) {
                    found.types.entry(target).or_default().reverse.push(name.clone());
                }
                found.types.entry(of).or_default().includes.push(name);
            }
        }
        let is_common = |value: &&Value<'_>| {
            let name = value.str_at("name").unwrap_or_default();
            OF_STORE.contains(&name) || known.find_common(name).is_some()
        };
        let any = found.types.get(&ResourceType::PATIENT);
        let common = any.iter().flat_map(|of| &of.parameters).filter(is_common);
        found.system = common.cloned().collect();
        found.system.push(declared("_type", None, "special"));
        found
    }

    /// Adds what is searched of `of` to its part of the statement.
    pub(super) fn declare(&self, of: ResourceType, resource: Object<'static>) -> Object<'static> {
        let Some(found) = self.types.get(&of) else { return resource };
        let texts = |names: &[String]| -> Option<Vec<Value<'static>>> {
            let all = std::iter::once("*").chain(names.iter().map(String::as_str));
            (!names.is_empty()).then(|| all.map(|name| Value::from(name.to_owned())).collect())
        };
        let parameters = (!found.parameters.is_empty()).then(|| found.parameters.clone());
        resource
            .with_some("searchInclude", texts(&found.includes))
            .with_some("searchRevInclude", texts(&found.reverse))
            .with_some("searchParam", parameters)
    }

    /// The parameters that every type has.
    pub(super) fn of_system(&self) -> Option<Vec<Value<'static>>> {
        (!self.system.is_empty()).then(|| self.system.clone())
    }
}

fn declared(code: &str, url: Option<&str>, search_type: &'static str) -> Value<'static> {
    Object::new()
        .with("name", code.to_owned())
        .with_some("definition", url.map(str::to_owned))
        .with("type", search_type)
        .into()
}
