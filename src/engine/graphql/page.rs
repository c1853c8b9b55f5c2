//! Pages of a search as connections with edges.
//!
//! Spec: <https://hl7.org/fhir/R4/graphql.html#searching>

use std::borrow::Cow;

use crate::engine::Searched;
use crate::error::Error;
use crate::fhir::ResourceType;
use crate::fhir::json::Value;
use crate::store::search::Match;

use super::fault::Step;
use super::opened::Opened;
use super::output::{Entry, Listing, Out};
use super::plan::{Node, Scope, What};
use super::walk::{At, Manner, Merged, Walk};

/// The fields of a connection; a page has `default` matches where nobody says how many.
pub(super) fn connection<'w>(
    walk: &mut Walk<'w>,
    (found, of, default): (&Searched, ResourceType, u32),
    nodes: &[&'w Node<'w>],
) -> Result<Vec<Entry>, Error> {
    let (mut out, manner) = (Vec::new(), Manner::default());
    let fields = walk.merged(nodes, None);
    let mut lists = None;
    for (node, _) in &fields {
        let value = match &node.what {
            What::Count => found.page.total.map(|total| Value::from(total.number)),
            What::Edges => {
                if lists.is_none() {
                    lists = Some(edges(walk, (found, of), &fields)?.into_iter());
                }
                out.extend(lists.as_mut().and_then(Iterator::next).into_iter().flatten());
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

/// The matches for each field of edges in turn: each match is opened once, wherever it is wanted.
fn edges<'w>(
    walk: &mut Walk<'w>,
    (found, of): (&Searched, ResourceType),
    fields: &[Merged<'w>],
) -> Result<Vec<Vec<Entry>>, Error> {
    let mut lists = Vec::new();
    for (node, children) in fields.iter().filter(|(node, _)| is_edges(node)) {
        let empty = found.page.matches.is_empty().then(|| Entry::Empty(node.key.to_owned()));
        let told: Vec<Entry> = empty.into_iter().collect();
        lists.push((*node, walk.merged(children, None), told));
    }
    let depth = walk.path.len();
    for (index, found) in found.page.matches.iter().enumerate() {
        let mut asked = lists.iter().flat_map(|(_, fields, _)| fields).map(|(node, _)| *node);
        let asking = asked.find(|node| matches!(node.what, What::Resource));
        let text = asking.map(|_| found.version.to_json()).unwrap_or_default();
        let opened = match asking {
            Some(node) => Some(Opened::new(&text, &found.version, walk, node.place)?),
            None => None,
        };
        let within = opened.as_ref().map(|opened| opened.within(walk.schema, walk.now));
        let at = opened.as_ref().zip(within.as_ref()).map(|(opened, it)| opened.at(it));
        for (node, fields, out) in &mut lists {
            walk.path.truncate(depth);
            walk.path.extend([Step::Key(node.key.to_owned()), Step::Index(index)]);
            if !walk.takes(node.key.len() + 2, node.place) {
                break;
            }
            let inner = Out::Object(edge(walk, (found, of), at, fields));
            let (key, listing) = (node.key.to_owned(), Listing::Many);
            out.push(Entry::Value { key, listing, out: inner, place: node.place });
        }
        if walk.is_full {
            break;
        }
    }
    walk.path.truncate(depth);
    Ok(lists.into_iter().map(|(_, _, out)| out).collect())
}

/// One match, with how it is one; the resource stands `at` where it is wanted.
fn edge<'w, 'v>(
    walk: &mut Walk<'w>,
    (found, of): (&Match, ResourceType),
    at: Option<At<'v, '_>>,
    fields: &[Merged<'w>],
) -> Vec<Entry>
where
    'w: 'v,
{
    let (mut entries, manner) = (Vec::new(), Manner::default());
    for (node, children) in fields {
        let value = match node.what {
            What::Mode => Some(Value::from("match")),
            What::Resource => {
                walk.path.push(Step::Key(node.key.to_owned()));
                if let Some(at) = at {
                    walk.value(at, (*node, children), (false, 0), &manner, &mut entries);
                }
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
    entries
}

fn is_edges(node: &Node<'_>) -> bool {
    matches!(node.what, What::Edges)
}
