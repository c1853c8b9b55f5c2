//! Composites: values of several parameters that one element has.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#composite> (rest 4.127 to 4.131)

use crate::search::extract::Shape;

use super::compare::Comparison;
use super::criterion::{Criteria, Raw};
use super::escape::split;
use super::fault::Reason;

/// More ways than this to read a value are none.
const MAX_WAYS: usize = 64;

/// What a value is not that could be read in more.
pub(super) const UNCLEAR: &str = "clear: name the type of the reference";

impl Criteria<'_> {
    pub(super) fn composite(
        &mut self,
        shapes: &[Shape<'_>],
        raw: Raw<'_>,
    ) -> Result<Vec<Comparison>, Reason> {
        let texts: Vec<_> = split(raw.text, '$').collect();
        if texts.len() != shapes.len() || texts.contains(&"") {
            let kinds: Vec<_> = shapes.iter().map(|shape| shape.search_type.as_str()).collect();
            return Err(raw.wrong(format!("of {} parts: {}", shapes.len(), kinds.join("$"))));
        }
        let mut parts = Vec::with_capacity(shapes.len());
        for (text, shape) in texts.into_iter().zip(shapes) {
            parts.push(self.plain(std::slice::from_ref(shape), Raw { text, ..raw })?);
        }
        let found = ways(&parts).ok_or_else(|| raw.wrong(UNCLEAR))?;
        Ok(found.into_iter().map(Comparison::Composite).collect())
    }
}

/// Every way to take one comparison of each part; `None`: there are too many.
pub(super) fn ways(parts: &[Vec<Comparison>]) -> Option<Vec<Vec<Comparison>>> {
    let mut ways: Vec<Vec<Comparison>> = vec![Vec::new()];
    for part in parts {
        if ways.len() * part.len() > MAX_WAYS {
            return None;
        }
        let longer = |way: Vec<Comparison>| {
            part.iter().map(move |next| {
                let mut way = way.clone();
                way.push(next.clone());
                way
            })
        };
        ways = ways.into_iter().flat_map(longer).collect();
    }
    Some(ways)
}
