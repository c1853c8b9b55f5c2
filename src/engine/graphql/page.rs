//! Pages of a search as connections with edges.
//!
//! Spec: <https://hl7.org/fhir/R4/graphql.html#searching>

use std::borrow::Cow;

use crate::engine::Searched;
use crate::error::Error;
use crate::fhir::ResourceType;
use crate::fhir::json::Value;

use super::fault::Step;
use super::opened::Opened;
use super::output::{Entry, Listing, Out};
use super::plan::{Node, Scope, What};
use super::walk::{Manner, Walk};

/// The fields of a connection; a page has `default` matches where nobody says how many.
pub(super) fn connection<'w>(
    walk: &mut Walk<'w>,
    (found, of, default): (&Searched, ResourceType, u32),
    nodes: &[&'w Node<'w>],
) -> Result<Vec<Entry>, Error> {
    let (mut out, manner) = (Vec::new(), Manner::default());
    for (node, children) in walk.merged(nodes, None) {
        let value = match &node.what {
            What::Count => found.page.total.map(|total| Value::from(total.number)),
            What::Edges => {
                edges(walk, (found, of), (node, &children), &mut out)?;
                None
            }
            What::Next => found.page.next.clone().map(Value::from),
            What::PageSize => {
                let asked = found.shown.iter().find(|(name, _)| &**name == "_count");
                let asked = asked.and_then(|(_, value)| value.parse().ok());
                Some(Value::from(asked.unwrap_or(u64::from(default))))
            }
            What::Previous => found.page.previous.clone().map(Value::from),
            What::TypeName => Some(Value::from(Scope::Connection(of).name())),
            _ => None,
        };
        if let Some(value) = value {
            walk.leaf(value, node, &manner, &mut out);
        }
    }
    Ok(out)
}

/// The matches, each with how it is one.
fn edges<'w>(
    walk: &mut Walk<'w>,
    (found, of): (&Searched, ResourceType),
    (node, children): (&'w Node<'w>, &[&'w Node<'w>]),
    out: &mut Vec<Entry>,
) -> Result<(), Error> {
    let manner = Manner::default();
    let depth = walk.path.len();
    walk.path.push(Step::Key(node.key.to_owned()));
    if found.page.matches.is_empty() {
        out.push(Entry::Empty(node.key.to_owned()));
    }
    for (index, found) in found.page.matches.iter().enumerate() {
        walk.path.truncate(depth + 1);
        walk.path.push(Step::Index(index));
        let mut entries = Vec::new();
        for (node, children) in walk.merged(children, None) {
            let value = match node.what {
                What::Mode => Some(Value::from("match")),
                What::Resource => {
                    walk.path.push(Step::Key(node.key.to_owned()));
                    let text = found.version.to_json();
                    let opened = Opened::new(&text, &found.version, walk.schema)?;
                    let within = opened.within(walk.schema, walk.now);
                    let at = opened.at(&within);
                    walk.value(at, (node, &children), (false, 0), &manner, &mut entries);
                    walk.path.pop();
                    None
                }
                What::Score => {
                    found.score.map(|score| Value::Number(Cow::Owned(format!("{score:.4}"))))
                }
                What::TypeName => Some(Value::from(Scope::Edge(of).name())),
                _ => None,
            };
            if let Some(value) = value {
                walk.leaf(value, node, &manner, &mut entries);
            }
        }
        let (key, out_of) = (node.key.to_owned(), Out::Object(entries));
        out.push(Entry::Value { key, listing: Listing::Many, out: out_of, place: node.place });
        if walk.is_full {
            break;
        }
    }
    walk.path.truncate(depth);
    Ok(())
}
