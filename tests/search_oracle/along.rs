//! What comes along with the matches of a page: asked for and judged.

use std::collections::BTreeSet;

use kiln::fhir::ResourceType;

use super::generate;
use super::held::{Held, Link};
use super::query::{Along, Query};
use super::random::Random;
use super::world::World;

/// Type and id.
type Name = (String, String);

/// What comes along: one or two ways to or from the matches.
pub(super) fn asked(random: &mut Random, types: &[ResourceType]) -> Vec<Along> {
    let one = |random: &mut Random| {
        let of = *random.pick(types);
        let is_back = random.chance(50);
        let (source, code) = if is_back {
            let ways = generate::referring(of);
            *(!ways.is_empty()).then(|| random.pick(&ways))?
        } else {
            let codes = generate::references(of);
            (of, *(!codes.is_empty()).then(|| random.pick(&codes))?)
        };
        let target = if is_back { of } else { *random.pick(&generate::targets(source, code)) };
        Some(Along { is_back, source, code, target: random.chance(40).then_some(target) })
    };
    (0..=random.below(2)).filter_map(|_| one(random)).collect()
}

/// What is wrong with what came along with the `matches` of a page.
///
/// A reference may name a version: whether that is shown, or counts as one to what is current now, hangs on
/// versions that the world does not have. So it may come along and need not.
pub(super) fn fault(
    world: &World,
    query: &Query,
    matches: &[Name],
    found: &[Name],
) -> Option<String> {
    let (mut sure, mut possible) = (BTreeSet::new(), BTreeSet::new());
    for along in &query.along {
        let mut add = |(name, is_sure): (Name, bool)| {
            if is_sure && !matches.contains(&name) {
                sure.insert(name.clone());
            }
            possible.insert((name, is_sure));
        };
        if along.is_back {
            referring(world, along, matches).for_each(&mut add);
        } else {
            for at in places(world, matches).filter(|at| world.docs[*at].of == along.source) {
                targets(world, along, at).into_iter().for_each(&mut add);
            }
        }
    }
    let unique: BTreeSet<Name> = found.iter().cloned().collect();
    if let Some(missing) = sure.difference(&unique).next() {
        return Some(format!("{missing:?} does not come along"));
    }
    let is_possible = |name: &Name| {
        let is_match = matches.contains(name);
        possible.contains(&(name.clone(), false))
            || (!is_match && possible.contains(&(name.clone(), true)))
    };
    if let Some(extra) = unique.iter().find(|name| !is_possible(name)) {
        return Some(format!("{extra:?} comes along"));
    }
    let is_versioned = |name: &Name| possible.contains(&(name.clone(), false));
    let count = |name: &Name| found.iter().filter(|it| *it == name).count();
    let twice = unique.iter().find(|name| count(name) > 1 && !is_versioned(name));
    twice.map(|name| format!("{name:?} comes along twice"))
}

fn places(world: &World, matches: &[Name]) -> impl Iterator<Item = usize> {
    (0..world.docs.len())
        .filter(|at| world.docs[*at].container.is_none() && matches.contains(&world.name(*at)))
}

/// What the references of a match lead to, and whether that is sure to be shown.
fn targets(world: &World, along: &Along, at: usize) -> Vec<(Name, bool)> {
    let mut found = Vec::new();
    for value in world.values(at, along.code).iter() {
        let Held::Link(link @ Link::Local { of, id, version }) = value else { continue };
        if along.target.is_some_and(|target| target.as_str() != of) {
            continue;
        }
        let is_there = world.target(at, link).is_some();
        if is_there || version.is_some() {
            found.push(((of.clone(), id.clone()), version.is_none()));
        }
    }
    found
}

/// What refers to the matches, likewise.
fn referring(world: &World, along: &Along, matches: &[Name]) -> impl Iterator<Item = (Name, bool)> {
    let sources = world.of(&[along.source]).into_iter();
    sources.flat_map(move |from| {
        let to = targets(world, along, from).into_iter();
        to.filter(|(name, _)| matches.contains(name))
            .map(move |(_, is_sure)| (world.name(from), is_sure))
            .collect::<Vec<_>>()
    })
}
