//! What a field means where it stands, and what its arguments do.
//!
//! Spec: <https://hl7.org/fhir/R4/graphql.html#searching>, <https://hl7.org/fhir/R4/graphql.html#list>

use crate::fhir::query::Query;
use crate::fhir::schema::{TypeId, TypeKind};
use crate::fhir::{Identity, LogicalId, ResourceType};

use super::document::{Argument, Field, Literal};
use super::fault::{Place, clipped};
use super::given::Given;
use super::plan::{Pick, Planner, Scope, What};

/// Parameters of a search that are about the form of its answer, which a document says by itself, and what
/// would come along.
const REFUSED: &[&str] = &[
    "_contained",
    "_containedType",
    "_elements",
    "_explain",
    "_format",
    "_include",
    "_pretty",
    "_revinclude",
    "_summary",
];

/// Most values that the arguments of one field have.
const MOST_VALUES: usize = 200;

/// What a field is, and what can be selected of it; a value has nothing.
type Meaning = Option<(What, Option<Scope>)>;

impl<'p, 'd> Planner<'p, 'd> {
    /// What a field means where it stands.
    pub(super) fn meaning(&mut self, field: &'p Field<'d>, scope: &Scope) -> Meaning {
        let Field { name, place, .. } = field;
        if ["__schema", "__type"].contains(name) {
            let text = "introspection is not offered: the fields are the elements of R4";
            self.fault(text, *place);
            return None;
        }
        if *name == "__typename" {
            return self.value(field, What::TypeName);
        }
        match scope {
            Scope::Connection(of) => self.of_connection(field, *of),
            Scope::Edge(of) => self.of_edge(field, *of),
            Scope::Query => self.of_query(field),
            Scope::Types(types) => self.of_types(field, types),
        }
    }

    fn unknown(&mut self, field: &Field<'d>, of: &str) -> Meaning {
        self.fault(format!("{of} has no field {}", field.name), field.place);
        None
    }

    /// A field without arguments and without a selection.
    fn value(&mut self, field: &Field<'d>, what: What) -> Meaning {
        self.takes_nothing(field)?;
        self.selects_nothing(field)?;
        Some((what, None))
    }

    fn takes_nothing(&mut self, field: &Field<'d>) -> Option<()> {
        let Some(argument) = field.arguments.first() else { return Some(()) };
        self.fault(format!("{} takes no argument", field.name), argument.place);
        None
    }

    fn selects_nothing(&mut self, field: &Field<'d>) -> Option<()> {
        if field.selection.is_empty() {
            return Some(());
        }
        self.fault(format!("{} is a value: nothing is selected of it", field.name), field.place);
        None
    }

    fn selects_some(&mut self, field: &Field<'d>) -> Option<()> {
        if !field.selection.is_empty() {
            return Some(());
        }
        self.fault(format!("{} needs a selection of its fields", field.name), field.place);
        None
    }

    fn of_query(&mut self, field: &'p Field<'d>) -> Meaning {
        if let Ok(of) = field.name.parse::<ResourceType>() {
            let inner = self.of_resource(of, field.place)?;
            self.selects_some(field)?;
            let [argument] = &*field.arguments else {
                self.fault(format!("{of} takes one argument, id"), field.place);
                return None;
            };
            if argument.name != "id" {
                self.fault(format!("{of} takes one argument, id"), argument.place);
                return None;
            }
            let id = self.text(argument)?;
            let id = match id.parse::<LogicalId>() {
                Ok(id) => id,
                Err(invalid) => {
                    self.fault(format!("{invalid}"), argument.place);
                    return None;
                }
            };
            return Some((What::Read(Identity { resource_type: of, id }), Some(inner)));
        }
        match many(field.name) {
            Some((of, is_page)) => self.many(field, (of, is_page), false),
            None => self.unknown(field, "a query"),
        }
    }

    /// The fields of a type of resource.
    fn of_resource(&mut self, of: ResourceType, place: Place) -> Option<Scope> {
        let found = self.schema.by_name(of.as_str());
        if found.is_none() {
            self.fault(format!("{of} is no type of R4"), place);
        }
        found.map(|id| Scope::Types(vec![id]))
    }

    fn many(
        &mut self,
        field: &'p Field<'d>,
        (of, is_page): (ResourceType, bool),
        is_reverse: bool,
    ) -> Meaning {
        let inner = self.of_resource(of, field.place)?;
        self.selects_some(field)?;
        let (query, by) = self.search(field, is_reverse)?;
        let inner = if is_page { Scope::Connection(of) } else { inner };
        Some((What::Many { of, query, by, is_page }, Some(inner)))
    }

    /// The parameters of a search, and which of them leads back.
    fn search(
        &mut self,
        field: &'p Field<'d>,
        is_reverse: bool,
    ) -> Option<(Query, Option<String>)> {
        let (mut query, mut by, mut count) = (Query::default(), None, 0);
        for argument in &field.arguments {
            let Argument { name, place, .. } = argument;
            if *name == "_reference" {
                if !is_reverse {
                    self.fault("_reference is for searches inside of a resource", *place);
                    return None;
                }
                by = Some(parameter(&self.text(argument)?));
                continue;
            }
            if REFUSED.contains(name) {
                self.fault(format!("{name} means nothing here"), *place);
                return None;
            }
            let given = self.given(argument)?;
            // Without it the search would find all there is.
            let texts = given.texts();
            if given == Given::Many(Vec::new()) || texts.iter().any(String::is_empty) {
                let what = if texts.is_empty() { "a list of nothing" } else { "an empty text" };
                self.fault(format!("{name}: {what} finds nothing"), *place);
                return None;
            }
            let name = parameter(name);
            for text in texts {
                count += 1;
                query = query.and(Query::of(&name, &text));
            }
            if count > MOST_VALUES {
                self.fault(format!("more than {MOST_VALUES} values to search by"), *place);
                return None;
            }
        }
        if is_reverse && by.is_none() {
            let text = format!("{} inside of a resource takes _reference", field.name);
            self.fault(text, field.place);
            return None;
        }
        Some((query, by))
    }

    fn of_connection(&mut self, field: &'p Field<'d>, of: ResourceType) -> Meaning {
        match field.name {
            "count" => self.value(field, What::Count),
            "edges" => {
                self.takes_nothing(field)?;
                self.selects_some(field)?;
                Some((What::Edges, Some(Scope::Edge(of))))
            }
            "first" | "last" | "offset" => self.value(field, What::Nothing),
            "next" => self.value(field, What::Next),
            "pagesize" => self.value(field, What::PageSize),
            "previous" => self.value(field, What::Previous),
            _ => self.unknown(field, &Scope::Connection(of).name()),
        }
    }

    fn of_edge(&mut self, field: &'p Field<'d>, of: ResourceType) -> Meaning {
        match field.name {
            "mode" => self.value(field, What::Mode),
            "resource" => {
                self.takes_nothing(field)?;
                self.selects_some(field)?;
                let inner = self.of_resource(of, field.place)?;
                Some((What::Resource, Some(inner)))
            }
            "score" => self.value(field, What::Score),
            _ => self.unknown(field, &Scope::Edge(of).name()),
        }
    }

    fn of_types(&mut self, field: &'p Field<'d>, types: &[TypeId]) -> Meaning {
        let Found { inner, has_value } = self.found(field.name, types);
        if has_value || !inner.is_empty() {
            if inner.is_empty() {
                self.selects_nothing(field)?;
            } else if !has_value {
                self.selects_some(field)?;
            }
            let pick = self.pick(field, &inner)?;
            let is_open = !field.selection.is_empty();
            let what = What::Element { pick, is_companion: false };
            return Some((what, is_open.then_some(Scope::Types(inner))));
        }
        let beside = field.name.strip_prefix('_').map(|name| self.found(name, types));
        if beside.is_some_and(|found| found.has_value) {
            self.selects_some(field)?;
            let element: Vec<TypeId> = self.schema.by_name("Element").into_iter().collect();
            let pick = self.pick(field, &element)?;
            return Some((What::Element { pick, is_companion: true }, Some(Scope::Types(element))));
        }
        let is = |id: &TypeId, kind: TypeKind| self.schema.get(*id).kind == kind;
        let has_resource = types.iter().any(|id| is(id, TypeKind::Resource));
        let has_reference = types.iter().any(|id| &*self.schema.get(*id).name == "Reference");
        match field.name {
            "resourceType" if has_resource => self.value(field, What::ResourceType),
            "resource" if has_reference => self.target(field),
            name => {
                if let Some(many) = many(name).filter(|_| has_resource) {
                    return self.many(field, many, true);
                }
                let of = self.named(types);
                self.unknown(field, &of)
            }
        }
    }

    fn named(&self, types: &[TypeId]) -> String {
        match types {
            [one] => self.schema.get(*one).name.to_string(),
            _ => "what this may be".to_owned(),
        }
    }

    /// What a property is in any of these types.
    fn found(&self, name: &str, types: &[TypeId]) -> Found {
        let mut found = Found::default();
        for id in types {
            let Some((_, of)) = self.schema.get(*id).key(name) else { continue };
            let def = self.schema.get(of.type_id);
            match def.kind {
                TypeKind::Primitive(_) | TypeKind::Xhtml => found.has_value = true,
                TypeKind::Resource if def.is_abstract => {
                    if let Scope::Types(all) = Scope::of_any(self.schema) {
                        found.inner = all;
                    }
                }
                _ if found.inner.contains(&of.type_id) => {}
                _ => found.inner.push(of.type_id),
            }
        }
        found
    }

    /// What a reference leads to.
    fn target(&mut self, field: &'p Field<'d>) -> Meaning {
        self.selects_some(field)?;
        let (mut of, mut is_optional) = (Vec::new(), false);
        for argument in field.arguments.iter().filter(|it| !matches!(it.value, Literal::Null)) {
            match argument.name {
                "optional" => is_optional = self.text(argument)? == "true",
                "type" => {
                    for name in self.given(argument)?.texts() {
                        let Ok(found) = name.parse::<ResourceType>() else {
                            let text = format!("{:?} is no type of R4", clipped(&name));
                            self.fault(text, argument.place);
                            return None;
                        };
                        of.push(found);
                    }
                }
                _ => {
                    self.fault("resource takes optional and type", argument.place);
                    return None;
                }
            }
        }
        let ids: Vec<TypeId> =
            of.iter().filter_map(|of: &ResourceType| self.schema.by_name(of.as_str())).collect();
        let inner = if ids.is_empty() { Scope::of_any(self.schema) } else { Scope::Types(ids) };
        Some((What::Target { of, is_optional }, Some(inner)))
    }

    /// Which values of an element are wanted.
    fn pick(&mut self, field: &'p Field<'d>, inner: &[TypeId]) -> Option<Pick> {
        let mut pick = Pick::default();
        for argument in &field.arguments {
            let Argument { name, place, .. } = argument;
            if self.is_nothing(argument) {
                continue;
            }
            let text = self.text(argument)?;
            match *name {
                "_count" | "_offset" => {
                    let Ok(number) = text.parse::<usize>() else {
                        self.fault(format!("{name} is a whole number"), *place);
                        return None;
                    };
                    if *name == "_count" { pick.count = Some(number) } else { pick.offset = number }
                }
                "fhirpath" => pick.fhirpath = Some(self.expression(&text, *place)?),
                name if self.found(name, inner).has_value => {
                    pick.equals.push((name.to_owned(), text));
                }
                name => {
                    self.fault(format!("{} cannot be picked by {name}", field.name), *place);
                    return None;
                }
            }
        }
        Some(pick)
    }
}

/// The types that a property may have: those with fields, and whether there are others.
#[derive(Default)]
struct Found {
    inner: Vec<TypeId>,
    has_value: bool,
}

/// The type that a search is of, and whether pages are wanted: `PatientList`, `PatientConnection`.
fn many(name: &str) -> Option<(ResourceType, bool)> {
    if let Some(of) = name.strip_suffix("Connection") {
        return Some((of.parse().ok()?, true));
    }
    Some((name.strip_suffix("List")?.parse().ok()?, false))
}

/// The search parameter that a name of GraphQL, which has no `-`, stands for.
fn parameter(name: &str) -> String {
    let (first, rest) = match name.strip_prefix('_') {
        Some(rest) => ("_", rest),
        None => ("", name),
    };
    format!("{first}{}", rest.replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_parameters_and_searches() {
        for (name, expected) in [
            ("name", "name"),
            ("address_city", "address-city"),
            ("_lastUpdated", "_lastUpdated"),
            ("_id", "_id"),
            ("value_quantity", "value-quantity"),
            ("part-of", "part-of"),
        ] {
            assert_eq!(parameter(name), expected);
        }
        let of = |name: &str| many(name).map(|(of, is_page)| (of.to_string(), is_page));
        assert_eq!(of("PatientList"), Some(("Patient".to_owned(), false)));
        assert_eq!(of("PatientConnection"), Some(("Patient".to_owned(), true)));
        assert_eq!(of("ListList"), Some(("List".to_owned(), false)));
        assert_eq!(of("List"), None);
        assert_eq!(of("NobodyList"), None);
        assert_eq!(of("Patient"), None);
    }
}
