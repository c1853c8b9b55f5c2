//! All resources of a server as it answers them, and the values of their parameters.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use kiln::fhir::ResourceType;
use kiln::fhir::json::Value;
use kiln::fhirpath::{Environment, Expression};
use kiln::spec::Spec;
use kiln::spec::search_parameter::{SearchParameter, SearchType};

use super::held::{Held, Link, held};

/// The definitions of FHIR R4.
pub(super) fn spec() -> &'static Spec {
    static SPEC: OnceLock<Arc<Spec>> = OnceLock::new();
    SPEC.get_or_init(|| Spec::r4().unwrap())
}

/// The parameter `code` of a type.
pub(super) fn parameter(of: ResourceType, code: &str) -> Option<&'static SearchParameter> {
    spec().search_parameters.find(of, code)
}

/// A resource, or one that another contains.
pub(super) struct Doc {
    pub(super) of: ResourceType,
    pub(super) id: String,
    pub(super) value: Value<'static>,
    /// The resource that contains it, by its place in the world.
    pub(super) container: Option<usize>,
}

/// What a composite finds: for each element the values of each part.
type Elements = Vec<Vec<Vec<Held>>>;

/// What was found before, by the place of the resource and the parameter.
type Cache<T> = RefCell<HashMap<(usize, String), Rc<T>>>;

/// All resources.
pub(super) struct World {
    pub(super) docs: Vec<Doc>,
    pub(super) base: String,
    values: Cache<Vec<Held>>,
    elements: Cache<Elements>,
    expressions: RefCell<HashMap<String, Rc<Expression>>>,
}

impl World {
    pub(super) fn new(resources: Vec<Value<'static>>, base: String) -> Self {
        let mut docs = Vec::new();
        for value in resources {
            let container = docs.len();
            let inside = value.items_at("contained").to_vec();
            docs.push(Doc::new(value, None));
            docs.extend(inside.into_iter().map(|value| Doc::new(value, Some(container))));
        }
        let (values, elements, expressions) = Default::default();
        Self { docs, base, values, elements, expressions }
    }

    /// The places of the resources of these types; contained ones are none.
    pub(super) fn of(&self, types: &[ResourceType]) -> Vec<usize> {
        let fits = |doc: &Doc| doc.container.is_none() && types.contains(&doc.of);
        (0..self.docs.len()).filter(|&at| fits(&self.docs[at])).collect()
    }

    /// The places of contained resources of these types.
    pub(super) fn inside(&self, types: &[ResourceType]) -> Vec<usize> {
        let fits = |doc: &Doc| doc.container.is_some() && types.contains(&doc.of);
        (0..self.docs.len()).filter(|&at| fits(&self.docs[at])).collect()
    }

    /// Type and id; for a contained resource the id is that of its container with its own.
    pub(super) fn name(&self, at: usize) -> (String, String) {
        let Doc { of, id, container, .. } = &self.docs[at];
        let id = container
            .map_or_else(|| id.clone(), |container| format!("{}#{id}", self.docs[container].id));
        (of.as_str().to_owned(), id)
    }

    fn expression(&self, text: &str) -> Rc<Expression> {
        let mut known = self.expressions.borrow_mut();
        let parse = || Rc::new(Expression::parse(text).unwrap());
        Rc::clone(known.entry(text.to_owned()).or_insert_with(parse))
    }

    fn root(&self, at: usize) -> &Value<'static> {
        &self.docs[self.docs[at].container.unwrap_or(at)].value
    }

    /// The values of a parameter that is no composite.
    pub(super) fn values(&self, at: usize, code: &str) -> Rc<Vec<Held>> {
        let key = (at, code.to_owned());
        if let Some(known) = self.values.borrow().get(&key) {
            return Rc::clone(known);
        }
        let doc = &self.docs[at];
        let parameter = parameter(doc.of, code).unwrap_or_else(|| panic!("{} {code}", doc.of));
        let expression = self.expression(parameter.expression.as_deref().unwrap());
        let schema = &spec().schema;
        let environment = Environment::new(&doc.value, schema).with_root(self.root(at));
        let items = expression.evaluate(&environment).unwrap();
        let found = items
            .iter()
            .flat_map(|item| held(item, parameter.search_type, code, schema, &self.base));
        let found = Rc::new(found.filter(|value| is_target(parameter, value)).collect::<Vec<_>>());
        self.values.borrow_mut().insert(key, Rc::clone(&found));
        found
    }

    /// What a composite finds.
    pub(super) fn elements(&self, at: usize, code: &str) -> Rc<Elements> {
        let key = (at, code.to_owned());
        if let Some(known) = self.elements.borrow().get(&key) {
            return Rc::clone(known);
        }
        let doc = &self.docs[at];
        let parameter = parameter(doc.of, code).unwrap();
        let schema = &spec().schema;
        let environment = Environment::new(&doc.value, schema).with_root(self.root(at));
        let whole = self.expression(parameter.expression.as_deref().unwrap());
        let parts: Vec<_> = parts(doc.of, code)
            .into_iter()
            .zip(&parameter.components)
            .map(|(kind, part)| (kind, self.expression(&part.expression)))
            .collect();
        let mut found = Vec::new();
        for focus in whole.evaluate(&environment).unwrap() {
            let columns = parts.iter().map(|(kind, expression)| {
                let items = expression.evaluate_on(focus.clone(), &environment).unwrap();
                items.iter().flat_map(|item| held(item, *kind, "", schema, &self.base)).collect()
            });
            found.push(columns.collect());
        }
        let found = Rc::new(found);
        self.elements.borrow_mut().insert(key, Rc::clone(&found));
        found
    }

    /// Where a link of `from` leads: the places of its targets.
    pub(super) fn target(&self, from: usize, link: &Link) -> Option<usize> {
        let container = self.docs[from].container.unwrap_or(from);
        let fits = |doc: &Doc| match link {
            Link::Local { of, id, .. } => {
                doc.container.is_none() && doc.of.as_str() == of && doc.id == *id
            }
            Link::Contained(id) => doc.container == Some(container) && doc.id == *id,
            _ => false,
        };
        self.docs.iter().position(fits)
    }

    /// The resource and all that it leads to, as texts.
    pub(super) fn closure(&self, at: usize) -> BTreeSet<String> {
        let mut seen = BTreeSet::from([at]);
        let mut open = vec![at];
        while let Some(at) = open.pop() {
            let text = self.docs[at].value.to_text();
            for (other, doc) in self.docs.iter().enumerate() {
                let name = format!("{}/{}\"", doc.of.as_str(), doc.id);
                if doc.container.is_none() && text.contains(&name) && seen.insert(other) {
                    open.push(other);
                }
            }
        }
        seen.into_iter().map(|at| self.docs[at].value.to_text()).collect()
    }
}

impl Doc {
    fn new(value: Value<'static>, container: Option<usize>) -> Self {
        let of = value.str_at("resourceType").unwrap().parse().unwrap();
        Self { of, id: value.str_at("id").unwrap().to_owned(), value, container }
    }
}

/// The types of a composite's parts.
pub(super) fn parts(of: ResourceType, code: &str) -> Vec<SearchType> {
    let components = &parameter(of, code).unwrap().components;
    let kind = |url: &str| spec().search_parameters.by_url(url).unwrap().search_type;
    components.iter().map(|part| kind(&part.definition)).collect()
}

/// The parameters that a composite's parts are of.
pub(super) fn part_codes(of: ResourceType, code: &str) -> Vec<&'static str> {
    let components = &parameter(of, code).unwrap().components;
    let code = |url: &str| &*spec().search_parameters.by_url(url).unwrap().code;
    components.iter().map(|part| code(&part.definition)).collect()
}

/// A reference of a parameter leads to its types only, as far as its text tells.
fn is_target(parameter: &SearchParameter, value: &Held) -> bool {
    match value {
        Held::Link(Link::Local { of, .. }) => {
            parameter.targets.is_empty()
                || parameter.targets.iter().any(|target| target.as_str() == of)
        }
        _ => true,
    }
}
