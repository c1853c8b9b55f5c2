//! What one element of a body has, where the rows of a composite do not tell: the system of a unit.
//!
//! A row of `num` behind a first part has the system of that part. Rows find the candidates; then one
//! element has to have the code, and a quantity of the system that compares as was asked (rest 4.128).

use crate::error::Error;
use crate::fhir::ResourceType;
use crate::search::extract::Measured;
use crate::search::request::ParameterKey;
use crate::search::request::compare::{AskedToken, Comparison};
use crate::search::request::prefix::Prefix;
use crate::search::values::number::Asked;

use super::super::compile::Compiler;
use super::super::number::compare;
use super::super::token::coded::Place;

/// A number from the JSON of a quantity; no error for what is none.
const NUMBER: &str =
    "CASE WHEN jsonb_typeof(v->'value') = 'number' THEN (v->>'value')::numeric END";

/// Less than lies between any two numbers that can be stored or asked for.
const LEAST: &str = "1e-99";

/// Where the elements are that have a composite's first part, and what that is.
#[derive(Clone, Debug)]
pub(in crate::store::search) struct Element {
    first: AskedToken,
    places: Vec<Measured>,
}

impl Compiler<'_, '_> {
    /// Where the elements of a type are that may have a first part, and a quantity.
    pub(super) fn element(
        &self,
        first: &Comparison,
        keys: &[ParameterKey],
        of: ResourceType,
    ) -> Result<Element, Error> {
        let key = keys.iter().find(|key| key.resource_type == of);
        let places = key.and_then(|key| self.parameters.extractor.measured(of, &key.code));
        match (first, places) {
            (Comparison::Token(first), Some(places)) => {
                Ok(Element { first: first.clone(), places })
            }
            _ => Err(Error::NotSupported(
                "a unit by its system alone is not offered for this composite".to_owned(),
            )),
        }
    }

    /// The condition that an element has the first part, and a quantity of this system that compares so.
    pub(in crate::store::search) fn is_measured(
        &mut self,
        element: &Element,
        (prefix, asked): (Prefix, &Asked),
        system: &str,
    ) -> String {
        let system = self.binds.text(system);
        let mut any = Vec::new();
        for measured in &element.places {
            let mut codes = Vec::new();
            for coded in &measured.codes {
                let Some(holds) = self.is_code(coded, &element.first) else { continue };
                let path = self.binds.text(&*coded.path);
                codes.push(format!(
                    "EXISTS (SELECT FROM jsonb_path_query(e, ({path})::jsonpath) v WHERE {holds})"
                ));
            }
            let quantities = measured.quantities.iter().map(|path| (path, false));
            let ranges = measured.ranges.iter().map(|path| (path, true));
            let mut amounts = Vec::new();
            for (path, is_range) in quantities.chain(ranges) {
                let path = self.binds.text(&**path);
                let ends = if is_range { range() } else { quantity() };
                let compared = compare(prefix, asked, "n.lo", "n.hi", &mut self.binds);
                amounts.push(format!(
                    "EXISTS (SELECT FROM (SELECT {ends} FROM jsonb_path_query(e, ({path})::jsonpath) v \
                     OFFSET 0) n WHERE n.y = {system} AND {compared})"
                ));
            }
            if codes.is_empty() || amounts.is_empty() {
                continue;
            }
            let Place { home, document } = self.whole_of(&measured.path);
            let path = self.binds.text(&*measured.path);
            let (codes, amounts) = (codes.join(" OR "), amounts.join(" OR "));
            any.push(format!(
                "EXISTS (SELECT FROM res w, jsonb_path_query({document}, ({path})::jsonpath) e \
                 WHERE w.rid = {home} AND ({codes}) AND ({amounts}))"
            ));
        }
        if any.is_empty() { "false".to_owned() } else { format!("({})", any.join(" OR ")) }
    }
}

/// System and ends of a Quantity; `<5` ends below 5. NULL where it has no number.
fn quantity() -> String {
    let by = "v->>'comparator'";
    format!(
        "v->>'system' AS y, \
         CASE WHEN {by} IN ('<', '<=') AND {NUMBER} IS NOT NULL THEN '-Infinity'::numeric \
         WHEN {by} = '>' THEN {NUMBER} + {LEAST} ELSE {NUMBER} END AS lo, \
         CASE WHEN {by} IN ('>', '>=') AND {NUMBER} IS NOT NULL THEN 'Infinity'::numeric \
         WHEN {by} = '<' THEN {NUMBER} - {LEAST} ELSE {NUMBER} END AS hi"
    )
}

/// The same of a Range. NULL where it has no number.
fn range() -> String {
    let (low, high) = (NUMBER.replace("v->", "v->'low'->"), NUMBER.replace("v->", "v->'high'->"));
    format!(
        "coalesce(v->'low', v->'high')->>'system' AS y, \
         CASE WHEN coalesce({low}, {high}) IS NOT NULL THEN coalesce({low}, '-Infinity') END AS lo, \
         CASE WHEN coalesce({low}, {high}) IS NOT NULL THEN coalesce({high}, 'Infinity') END AS hi"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_a_range_are_those_of_its_quantities() {
        let found = range();
        for part in [
            "jsonb_typeof(v->'low'->'value') = 'number' THEN (v->'low'->>'value')::numeric",
            "jsonb_typeof(v->'high'->'value') = 'number' THEN (v->'high'->>'value')::numeric",
        ] {
            assert!(found.contains(part), "{part} in {found}");
        }
    }
}
