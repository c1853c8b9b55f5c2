//! Search parameters beside FHIR's own: read from resources, checked, and added to the others.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::fhir::json::Value;
use crate::fhir::schema::{Schema, TypeId};
use crate::fhir::{Issue, IssueCode, ResourceType};
use crate::fhirpath::Expression;

use super::{SearchParameter, SearchParameters, SearchType, parameter};

/// Longest name in a query.
const MAX_CODE: usize = 64;

/// Longest expression, in bytes: several times FHIR's own longest.
const MAX_EXPRESSION: usize = 32 * 1024;

/// Most components of a composite: each multiplies the rows.
const MAX_COMPONENTS: usize = 8;

/// What a parameter that is not FHIR's own has beside its definition.
#[derive(Clone, Debug)]
pub struct Custom {
    /// The logical id of the resource that defines it.
    pub id: Box<str>,
    /// Tells it from what had its name before.
    pub generation: i32,
    /// How far the index is; `None`: it has all.
    pub progress: Option<Arc<Progress>>,
}

/// How far the index of a parameter is.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// Notes how many resources are done, of how many.
    pub fn set(&self, done: u64, total: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    /// How many resources are done, of how many; of 0 while they are not counted.
    pub fn get(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }
}

impl SearchParameter {
    /// Whether it is FHIR's own.
    pub fn is_core(&self) -> bool {
        self.custom.is_none()
    }

    /// Whether it is FHIR's own and no example.
    fn is_fhirs(&self) -> bool {
        self.is_core() && !self.is_experimental
    }

    /// The definition in a SearchParameter resource; `None` when it is not complete.
    pub fn read(resource: &Value<'_>, custom: Custom) -> Option<Self> {
        let read = parameter(resource)?;
        Some(Self { custom: Some(custom), is_experimental: false, ..read })
    }
}

impl SearchParameters {
    /// These parameters and more, each of which replaces what has its url.
    #[must_use]
    pub fn with(&self, more: Vec<SearchParameter>, schema: &Schema) -> Self {
        let urls: HashSet<&str> = more.iter().map(|one| &*one.url).collect();
        let stays = |one: &&SearchParameter| !urls.contains(&*one.url);
        let mut all: Vec<SearchParameter> = self.all.iter().filter(stays).cloned().collect();
        all.extend(more);
        Self::of_all(all, schema)
    }

    /// What keeps a SearchParameter resource with this id from being in force beside these
    /// parameters; nothing for one that does not ask to be.
    pub fn faults(&self, resource: &Value<'_>, id: &str, schema: &Schema) -> Vec<Issue> {
        if !asks_to_be_in_force(resource) || self.repeats(resource) {
            return Vec::new();
        }
        let mut check = Check { known: self, resource, id, schema, faults: Vec::new() };
        if !self.is_derived(resource) {
            check.names();
            check.bases();
        }
        check.expressions();
        check.faults
    }

    /// Whether a resource adds nothing to FHIR's own parameters: they answer for it.
    pub fn is_own(&self, resource: &Value<'_>) -> bool {
        self.repeats(resource) || self.is_derived(resource)
    }

    /// Whether a resource is one of FHIR's own, word for word.
    fn repeats(&self, resource: &Value<'_>) -> bool {
        let url = resource.str_at("url").unwrap_or_default();
        let Some(own) = self.by_url(url).filter(|own| own.is_fhirs()) else { return false };
        parameter(resource).is_some_and(|read| {
            read.code == own.code
                && read.search_type == own.search_type
                && read.expression == own.expression
                && read.bases == own.bases
        })
    }

    /// Whether a resource describes, under a url of its own, what FHIR's own parameters of that code do on
    /// all of its bases: because it says that it is derived from them, or because it looks at the same.
    /// Guides do so to say what servers must support. What is derived must mean the same, so that a
    /// search by the code is right with FHIR's own definition.
    ///
    /// <https://hl7.org/fhir/R4/searchparameter-definitions.html#SearchParameter.derivedFrom>
    fn is_derived(&self, resource: &Value<'_>) -> bool {
        let Some(read) = parameter(resource) else { return false };
        if self.by_url(&read.url).is_some_and(SearchParameter::is_fhirs) {
            return false;
        }
        let derived_from = resource.str_at("derivedFrom");
        let derived_from = derived_from.and_then(|canonical| canonical.split('|').next());
        let is_described = |base: &str| {
            let of = base.parse::<ResourceType>().ok();
            let own = of.and_then(|of| self.find(of, &read.code)).filter(|own| own.is_fhirs());
            own.is_some_and(|own| {
                own.search_type == read.search_type
                    && (derived_from == Some(&*own.url) || looks_at_the_same(own, &read, base))
            })
        };
        !read.bases.is_empty() && read.bases.iter().all(|base| is_described(base))
    }
}

/// Whether the expressions of two parameters say the same of the type `base`.
fn looks_at_the_same(one: &SearchParameter, other: &SearchParameter, base: &str) -> bool {
    let terms = |of: &SearchParameter| -> BTreeSet<String> {
        // What begins with another type says nothing of this one; whatever else there is counts.
        let is_of_base = |term: &&str| {
            let first =
                term.trim_start_matches('(').split_once('.').map_or(*term, |(first, _)| first);
            first == base || first.parse::<ResourceType>().is_err()
        };
        let all = of.expression.as_deref().unwrap_or_default().split('|').map(str::trim);
        all.filter(is_of_base).map(str::to_owned).collect()
    };
    // What a composite is made of stands elsewhere.
    let (one_looks, other_looks) = (terms(one), terms(other));
    one.components.is_empty()
        && other.components.is_empty()
        && !one_looks.is_empty()
        && one_looks == other_looks
}

/// Whether a SearchParameter resource is one that is to be used.
pub fn asks_to_be_in_force(resource: &Value<'_>) -> bool {
    resource.str_at("status") == Some("active")
}

struct Check<'c> {
    known: &'c SearchParameters,
    resource: &'c Value<'c>,
    id: &'c str,
    schema: &'c Schema,
    faults: Vec<Issue>,
}

impl Check<'_> {
    fn fault(&mut self, code: IssueCode, text: impl Into<String>, element: &str) {
        let place = format!("SearchParameter.{element}");
        self.faults.push(Issue::error_at(code, text, place));
    }

    fn is_other(&self, parameter: &SearchParameter) -> bool {
        parameter.custom.as_ref().is_none_or(|custom| *custom.id != *self.id)
    }

    fn names(&mut self) {
        let code = self.resource.str_at("code").unwrap_or_default();
        let is_plain = |it: char| it.is_ascii_alphanumeric() || it == '-' || it == '_';
        let is_name = code.starts_with(|it: char| it.is_ascii_alphabetic())
            && code.len() <= MAX_CODE
            && code.chars().all(is_plain);
        if !is_name {
            let text = format!(
                "a code in force is a letter, then letters, digits, - and _: {code:?} is not"
            );
            self.fault(IssueCode::Value, text, "code");
        }
        let of_type = self.resource.str_at("type").unwrap_or_default();
        if SearchType::from_code(of_type).is_none_or(|known| known == SearchType::Special) {
            let text = format!("a parameter of type {of_type:?} cannot be searched by");
            self.fault(IssueCode::Value, text, "type");
        }
        let url = self.resource.str_at("url").unwrap_or_default();
        let other = self.known.by_url(url).filter(|other| !other.is_experimental);
        if other.is_some_and(|other| self.is_other(other)) {
            let text = format!("another search parameter has the url {url}");
            self.fault(IssueCode::Duplicate, text, "url");
        }
    }

    fn bases(&mut self) {
        let bases = self.resource.items_at("base");
        if bases.is_empty() {
            self.fault(IssueCode::Required, "a parameter has at least one base", "base");
        }
        for (at, base) in bases.iter().enumerate() {
            let base = base.as_str().unwrap_or_default();
            let place = format!("base[{at}]");
            let types: Vec<ResourceType> = self.below(base).collect();
            if types.is_empty() {
                let text = format!("{base:?} is no type of resource");
                self.fault(IssueCode::Value, text, &place);
            }
            self.collision(&types, &place);
        }
        for (at, target) in self.resource.items_at("target").iter().enumerate() {
            let target = target.as_str().unwrap_or_default();
            if target.parse::<ResourceType>().is_err() {
                let text = format!("{target:?} is no type of resource");
                self.fault(IssueCode::Value, text, &format!("target[{at}]"));
            }
        }
    }

    /// The code must not be that of another parameter of one of the types.
    fn collision(&mut self, types: &[ResourceType], place: &str) {
        let code = self.resource.str_at("code").unwrap_or_default();
        let url = self.resource.str_at("url").unwrap_or_default();
        let other = types.iter().find_map(|of| {
            let found = self.known.find(*of, code).filter(|found| !found.is_experimental)?;
            (&*found.url != url && self.is_other(found)).then_some((of, &found.url))
        });
        if let Some((of, other)) = other {
            let text = format!("{of} has a parameter {code:?} already: {other}");
            self.fault(IssueCode::BusinessRule, text, place);
        }
    }

    fn expressions(&mut self) {
        let search_type = self.resource.str_at("type").and_then(SearchType::from_code);
        let search_type = search_type.filter(|known| *known != SearchType::Special);
        let foci = self.foci();
        let mut parts_of = Vec::new();
        match self.resource.str_at("expression") {
            Some(text) => {
                if let Some(parsed) = self.expression(text, "expression") {
                    for focus in &foci {
                        parts_of.push(self.meaning(&parsed, search_type, focus, "expression"));
                    }
                }
            }
            None => self.fault(
                IssueCode::Required,
                "a parameter in force needs an expression: only that says what is indexed",
                "expression",
            ),
        }
        // Where one base may give anything, so may the parts.
        let parts_of = parts_of.into_iter().try_fold(Vec::new(), |mut all, of| {
            all.extend(of?);
            Some(all)
        });
        self.components(&parts_of.unwrap_or_default());
    }

    /// The types of resources that each base stands for.
    fn foci(&self) -> Vec<Vec<TypeId>> {
        let bases = self.resource.items_at("base").iter().filter_map(Value::as_str);
        let id = |of: ResourceType| self.schema.by_name(of.as_str());
        bases.map(|base| self.below(base).filter_map(id).collect()).collect()
    }

    /// The types of resources that a base stands for.
    fn below(&self, base: &str) -> impl Iterator<Item = ResourceType> {
        let is_below =
            move |of: &ResourceType| super::ancestry(self.schema, of.as_str()).any(|it| it == base);
        ResourceType::all().filter(is_below)
    }

    /// The parts of a composite, which are looked at from elements of these types; of none: of any.
    fn components(&mut self, from: &[TypeId]) {
        let is_composite = self.resource.str_at("type") == Some("composite");
        let components = self.resource.items_at("component");
        if is_composite && components.len() < 2 {
            let text = "a composite needs at least two components";
            self.fault(IssueCode::Required, text, "component");
        }
        if components.len() > MAX_COMPONENTS {
            let text = format!("a composite has at most {MAX_COMPONENTS} components");
            self.fault(IssueCode::TooCostly, text, "component");
            return;
        }
        for (at, component) in components.iter().enumerate() {
            let place = format!("component[{at}]");
            let definition = component.str_at("definition").unwrap_or_default();
            // How a name sounds is no part: each word of what is asked for is compared by itself.
            let known = self.known.by_url(definition);
            let known = known.filter(|known| !(known.is_core() && &*known.code == "phonetic"));
            let known = known.map(|known| known.search_type);
            let fits = |of: SearchType| !matches!(of, SearchType::Composite | SearchType::Special);
            if known.is_none_or(|known| !fits(known)) {
                let text = format!("there is no parameter {definition:?} that could be a part");
                self.fault(IssueCode::BusinessRule, text, &format!("{place}.definition"));
            }
            let (text, place) =
                (component.str_at("expression").unwrap_or_default(), format!("{place}.expression"));
            if let Some(parsed) = self.expression(text, &place) {
                self.meaning(&parsed, known, from, &place);
            }
        }
    }

    fn expression(&mut self, text: &str, place: &str) -> Option<Expression> {
        if text.len() > MAX_EXPRESSION {
            let text = format!("an expression has at most {MAX_EXPRESSION} bytes");
            self.fault(IssueCode::TooLong, text, place);
            return None;
        }
        let parsed = match Expression::parse(text) {
            Ok(parsed) => parsed,
            Err(error) => {
                self.fault(IssueCode::Invalid, error.to_string(), place);
                return None;
            }
        };
        let unsupported = parsed.unsupported();
        for function in &unsupported {
            let text = format!("the function {function}() is not supported");
            self.fault(IssueCode::NotSupported, text, place);
        }
        unsupported.is_empty().then_some(parsed)
    }

    /// The types of what an expression finds on those of `focus`, of which one has to find something
    /// that compares; `None` where that may be anything.
    fn meaning(
        &mut self,
        expression: &Expression,
        search_type: Option<SearchType>,
        focus: &[TypeId],
        place: &str,
    ) -> Option<Vec<TypeId>> {
        let schema = self.schema;
        let (mut all, mut reason) = (Vec::new(), None);
        for of in focus {
            let found = match expression.finds(*of, schema) {
                Ok(found) => found.filter(|types| !types.is_empty())?,
                Err(fault) => {
                    reason.get_or_insert((IssueCode::Invalid, fault.to_string()));
                    continue;
                }
            };
            let compares = |type_id: &TypeId| {
                search_type.is_none_or(|search_type| search_type.compares(*type_id, schema))
            };
            if found.iter().any(compares) {
                all.extend(found);
            } else if let Some(search_type) = search_type {
                let names: Vec<&str> = found.iter().map(|id| &*schema.get(*id).name).collect();
                let (names, search_type) = (names.join(", "), search_type.as_str());
                let text = format!("a parameter of type {search_type} cannot compare {names}");
                reason.get_or_insert((IssueCode::BusinessRule, text));
            }
        }
        if all.is_empty()
            && let Some((code, text)) = reason
        {
            self.fault(code, format!("nothing is found: {text}"), place);
        }
        Some(all)
    }
}

#[cfg(test)]
mod tests;
