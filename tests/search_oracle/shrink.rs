//! From a search that fails to the smallest one that still does, with the resources it is about.

use std::fmt::Write as _;

use super::query::{Asked, Clause, Expression, Query};
use super::world::World;
use super::{Client, check, judge};

/// Tells a failure by its smallest form.
pub(super) async fn failure(
    client: &Client,
    world: &World,
    query: &Query,
    fault: String,
) -> String {
    let (mut query, mut fault) = (query.clone(), fault);
    'smaller: loop {
        for smaller in simpler(&query) {
            if let Err(found) = check(client, world, &smaller).await {
                (query, fault) = (smaller, found);
                continue 'smaller;
            }
        }
        break;
    }
    let mut out = format!("GET /{}\n  {fault}", query.url());
    let about = (0..world.docs.len()).find(|at| {
        let doc = &world.docs[*at];
        doc.container.is_none() && fault.contains(&format!("{}/{}\"", doc.of.as_str(), doc.id))
    });
    let about = about.or_else(|| judge::matches(world, &query)?.first().copied());
    for text in about.map(|at| world.closure(at)).into_iter().flatten().take(4) {
        let _ = write!(out, "\n  {text}");
    }
    out
}

/// Searches that ask for less: without a clause, a value, a key, a page, a total.
fn simpler(query: &Query) -> Vec<Query> {
    let mut found = Vec::new();
    if query.count.is_some() {
        found.push(Query { count: None, ..query.clone() });
    }
    if query.total.is_some() {
        found.push(Query { total: None, ..query.clone() });
    }
    if query.compartment.is_some() {
        found.push(Query { compartment: None, ..query.clone() });
    }
    for at in 0..query.along.len() {
        let mut smaller = query.clone();
        smaller.along.remove(at);
        found.push(smaller);
    }
    for at in 0..query.sort.len() {
        let mut smaller = query.clone();
        smaller.sort.remove(at);
        found.push(smaller);
    }
    for (at, clause) in query.clauses.iter().enumerate() {
        let mut smaller = query.clone();
        smaller.clauses.remove(at);
        found.push(smaller);
        for simple in simpler_clauses(clause) {
            let mut smaller = query.clone();
            smaller.clauses[at] = simple;
            found.push(smaller);
        }
    }
    found
}

fn simpler_clauses(clause: &Clause) -> Vec<Clause> {
    match clause {
        Clause::Chain { code, target, inner } => simpler_clauses(inner)
            .into_iter()
            .map(|inner| Clause::Chain { code, target: *target, inner: Box::new(inner) })
            .collect(),
        Clause::Filter(Expression::All(a, b) | Expression::Any(a, b)) => {
            [a, b].map(|one| Clause::Filter((**one).clone())).to_vec()
        }
        Clause::Filter(Expression::Not(one)) => vec![Clause::Filter((**one).clone())],
        Clause::Has { source, code, inner } => simpler_clauses(inner)
            .into_iter()
            .map(|inner| Clause::Has { source: *source, code, inner: Box::new(inner) })
            .collect(),
        Clause::Test { code, modifier, any } if any.len() > 1 => any
            .iter()
            .map(|one: &Asked| Clause::Test { code, modifier: *modifier, any: vec![one.clone()] })
            .collect(),
        Clause::Filter(
            Expression::Along { .. } | Expression::Has { .. } | Expression::Test { .. },
        )
        | Clause::Test { .. }
        | Clause::Words { .. } => vec![],
    }
}
