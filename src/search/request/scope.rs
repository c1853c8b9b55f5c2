//! Which types a query searches: the path of the request and `_type`.

use crate::fhir::ResourceType;
use crate::fhir::query::Query;

use super::Filter;
use super::context::{Context, SearchTarget};
use super::criterion::unfit;
use super::fault::{Reason, clip};
use super::parse::Draft;

/// The types that a query searches.
#[derive(Debug)]
pub(super) struct Scope {
    /// In the order of their names, at least one.
    pub(super) types: Vec<ResourceType>,
    /// Whether the query or the path names them: then a parameter that only some of them have is
    /// refused, else passed over (rest 4.167, 4.168).
    pub(super) is_listed: bool,
}

impl Scope {
    /// The types, and the filters that the path asks for.
    ///
    /// Where nothing is left of the types, nothing matches (rest 4.169).
    pub(super) fn of(
        target: &SearchTarget,
        query: &Query,
        context: &Context<'_>,
    ) -> (Self, Vec<Filter>) {
        let mut filters = Vec::new();
        let mut is_listed = false;
        let mut types: Vec<ResourceType> = match target {
            SearchTarget::System => ResourceType::all().collect(),
            SearchTarget::Type(only) => vec![*only],
            SearchTarget::Compartment { code, id, resource_type } => {
                filters.push(Filter::Compartment { code: *code, id: id.clone() });
                let compartment = context.extractor.spec().compartment(*code);
                let all = || compartment.map(|of| of.resource_types().collect());
                resource_type.map_or_else(
                    || all().unwrap_or_else(|| ResourceType::all().collect()),
                    |only| vec![only],
                )
            }
        };
        types.sort_unstable_by_key(|of| of.as_str());
        let before = types.clone();
        for (name, value) in query.iter().filter(|(_, value)| !value.is_empty()) {
            let named = || -> Vec<ResourceType> {
                let names = value.split(',').take(context.limits.values);
                names.filter_map(|name| name.parse().ok()).collect()
            };
            match name {
                "_type" => {
                    is_listed = true;
                    let named = named();
                    types.retain(|of| named.contains(of));
                }
                "_type:not" => {
                    let named = named();
                    types.retain(|of| !named.contains(of));
                }
                _ => {}
            }
        }
        if types.is_empty() {
            types = before;
            is_listed = false;
            filters.push(Filter::Any(Vec::new()));
        }
        (Self { types, is_listed }, filters)
    }
}

impl Draft<'_> {
    /// What [`Scope::of`] understood is shown, what it did not is named.
    pub(super) fn type_parameter(&mut self, name: &str, modifier: Option<&str>, value: &str) {
        if let Some(modifier) = modifier.filter(|modifier| *modifier != "not") {
            return self.fault(name, unfit(modifier, ":not"));
        }
        if value.is_empty() {
            return self.ignore_empty(name);
        }
        let (count, limit) = (value.split(',').count(), self.context().limits.values);
        if count > limit {
            return self.fault(name, Reason::TooMany { what: "values", count, limit });
        }
        for unknown in value.split(',').filter(|name| name.parse::<ResourceType>().is_err()) {
            self.ignore(name, format!("{:?} is no type of resource", clip(unknown)));
        }
        self.show(name, value);
    }
}
