//! Which resources match: the rules of search, clause by clause over every resource.

use kiln::fhir::ResourceType;
use kiln::fhir::json::Value;
use kiln::spec::search_parameter::SearchType;

use super::held::{Held, Link, link};
use super::measure::{Numbers, Span, base_unit, compares, fold, half, number, span};
use super::query::{Asked, Clause, Contained, Expression, Modifier, Query, System, Unit};
use super::world::{World, parameter, parts, spec};

/// The references from a part to the whole of its own type.
pub(super) const PART_OF: &[&str] = &["part-of", "partof"];

/// The places of the matches, in no order. `None` when the answer hangs on a question that the
/// specification leaves open.
pub(super) fn matches(world: &World, query: &Query) -> Option<Vec<usize>> {
    let mut found = Vec::new();
    for at in looked_at(world, query) {
        let patient = query.compartment.as_ref();
        let mut holds = patient.is_none_or(|patient| lies_in(world, at, patient));
        for clause in &query.clauses {
            holds &= clause_holds(world, at, clause)?;
        }
        if holds {
            let container = world.docs[at].container;
            let shown = query.contained.is_some_and(|it| it.shows_container);
            found.push(container.filter(|_| shown).unwrap_or(at));
        }
    }
    // A container comes once, however much of it matches.
    found.sort_unstable();
    found.dedup();
    Some(found)
}

/// The resources that a search looks at, contained ones where it asks for them (rest 4.176).
fn looked_at(world: &World, query: &Query) -> Vec<usize> {
    let own = world.of(&query.types);
    let Some(Contained { has_own, .. }) = query.contained else { return own };
    let inside = world.inside(&query.types);
    if has_own { own.into_iter().chain(inside).collect() } else { inside }
}

fn clause_holds(world: &World, at: usize, clause: &Clause) -> Option<bool> {
    match clause {
        Clause::Chain { code, target, inner } => {
            for value in world.values(at, code).iter() {
                let Held::Link(link) = value else { continue };
                let Some(to) = world.target(at, link) else { continue };
                let of = world.docs[to].of;
                let is_type = target.is_none_or(|wanted| wanted == of);
                if is_type && has(of, inner) && clause_holds(world, to, inner)? {
                    return Some(true);
                }
            }
            Some(false)
        }
        Clause::Filter(expression) => expression_holds(world, at, expression),
        Clause::Has { source, code, inner } => {
            for from in world.of(&[*source]) {
                let leads = world.values(from, code).iter().any(
                    |value| matches!(value, Held::Link(link) if world.target(from, link) == Some(at)),
                );
                if leads && clause_holds(world, from, inner)? {
                    return Some(true);
                }
            }
            Some(false)
        }
        Clause::Test { code, modifier, any } => test(world, at, code, *modifier, any),
    }
}

fn expression_holds(world: &World, at: usize, expression: &Expression) -> Option<bool> {
    Some(match expression {
        Expression::All(a, b) => expression_holds(world, at, a)? & expression_holds(world, at, b)?,
        Expression::Any(a, b) => expression_holds(world, at, a)? | expression_holds(world, at, b)?,
        Expression::Not(inner) => !expression_holds(world, at, inner)?,
        Expression::Test { code, modifier, asked } => {
            test(world, at, code, *modifier, std::slice::from_ref(asked))?
        }
    })
}

/// Whether the resource is in the compartment of a patient (rest 4.170).
fn lies_in(world: &World, at: usize, patient: &str) -> bool {
    let doc = &world.docs[at];
    if doc.of == ResourceType::PATIENT && doc.id == patient {
        return true;
    }
    let codes = spec().compartment(ResourceType::PATIENT).unwrap().parameters(doc.of);
    let mut values = codes.iter().map(|code| world.values(at, code));
    values.any(|values| {
        values.iter().any(|value| {
            matches!(value, Held::Link(Link::Local { of, id, .. }) if of == "Patient" && id == patient)
        })
    })
}

/// Whether the type has the parameter of a clause.
fn has(of: ResourceType, clause: &Clause) -> bool {
    match clause {
        Clause::Chain { code, .. } | Clause::Test { code, .. } => parameter(of, code).is_some(),
        Clause::Filter(_) | Clause::Has { .. } => true,
    }
}

fn test(world: &World, at: usize, code: &str, modifier: Modifier, any: &[Asked]) -> Option<bool> {
    let doc = &world.docs[at];
    match code {
        "_id" => {
            let is = any.iter().any(|asked| matches!(asked, Asked::Text(id) if *id == doc.id));
            return Some(is != (modifier == Modifier::Not));
        }
        "_list" => return Some(any.iter().any(|asked| listed(world, at, asked))),
        _ => {}
    }
    let kind = parameter(doc.of, code)?.search_type;
    if kind == SearchType::Composite {
        return composite(world, at, code, any);
    }
    let values = world.values(at, code);
    match modifier {
        Modifier::Missing => {
            let wants = matches!(&any[0], Asked::Text(text) if text == "true");
            Some(values.is_empty() == wants)
        }
        Modifier::Above | Modifier::Below if kind == SearchType::Reference => {
            if PART_OF.contains(&code) {
                return Some(any.iter().any(|asked| is_related(world, at, code, modifier, asked)));
            }
            // What stands in a hierarchy of its own is referred to.
            let links = values.iter().filter_map(|value| match value {
                Held::Link(link) => world.target(at, link),
                _ => None,
            });
            let mut links = links.flat_map(|to| any.iter().map(move |asked| (to, asked)));
            Some(links.any(|(to, asked)| is_related(world, to, "partof", modifier, asked)))
        }
        Modifier::Not => Some(!one(&values, Modifier::None, any, world)?),
        _ => one(&values, modifier, any, world),
    }
}

/// Whether a resource is above or below another, or is that one itself (rest 4.123).
fn is_related(world: &World, at: usize, code: &str, modifier: Modifier, asked: &Asked) -> bool {
    let Asked::Text(text) = asked else { return false };
    let Some(other) = world.target(at, &link(text, &world.base)) else { return false };
    let (mut lower, upper) = if modifier == Modifier::Below { (at, other) } else { (other, at) };
    // No way up is longer than there are resources; circles end here too.
    for _ in 0..world.docs.len() {
        if lower == upper {
            return true;
        }
        let values = world.values(lower, code);
        let mut ways = values.iter().filter_map(|value| match value {
            Held::Link(link) => world.target(lower, link),
            _ => None,
        });
        let Some(next) = ways.next() else { return false };
        lower = next;
    }
    false
}

fn one(values: &[Held], modifier: Modifier, any: &[Asked], world: &World) -> Option<bool> {
    for asked in any {
        for value in values {
            if holds(value, modifier, asked, world)? {
                return Some(true);
            }
        }
    }
    Some(false)
}

fn listed(world: &World, at: usize, asked: &Asked) -> bool {
    let Asked::Text(id) = asked else { return false };
    let lists = world.docs.iter().filter(|doc| doc.of.as_str() == "List" && doc.id == *id);
    let entries = lists.flat_map(|doc| doc.value.items_at("entry"));
    let kept = entries.filter(|entry| entry.get("deleted").and_then(Value::as_bool) != Some(true));
    let doc = &world.docs[at];
    let name = format!("{}/{}", doc.of.as_str(), doc.id);
    let mut named = kept.filter_map(|entry| entry.get("item")?.str_at("reference"));
    named.any(|text| text == name)
}

fn composite(world: &World, at: usize, code: &str, any: &[Asked]) -> Option<bool> {
    let count = parts(world.docs[at].of, code).len();
    for element in world.elements(at, code).iter() {
        for asked in any {
            let Asked::Composite(wanted) = asked else { return None };
            assert_eq!(wanted.len(), count, "{code}");
            let mut all = true;
            for (values, asked) in element.iter().zip(wanted) {
                all &= one(values, Modifier::None, std::slice::from_ref(asked), world)?;
            }
            if all {
                return Some(true);
            }
        }
    }
    Some(false)
}

fn holds(value: &Held, modifier: Modifier, asked: &Asked, world: &World) -> Option<bool> {
    Some(match (value, asked) {
        (Held::Text(text), Asked::Text(asked)) => match modifier {
            Modifier::Exact => text == asked,
            Modifier::Contains => fold(text).contains(&fold(asked)),
            Modifier::End => fold(text).ends_with(&fold(asked)),
            Modifier::Whole => fold(text) == fold(asked),
            _ => fold(text).starts_with(&fold(asked)),
        },
        (Held::Word(later), Asked::Text(asked)) => match modifier {
            Modifier::End | Modifier::Exact | Modifier::Whole => false,
            Modifier::Contains => later.contains(&fold(asked)),
            _ => later.starts_with(&fold(asked)),
        },
        (Held::Shown(text), Asked::Text(asked)) if modifier == Modifier::Text => {
            fold(text).starts_with(&fold(asked))
        }
        (Held::Code { .. }, Asked::Token { .. }) => is_token(value, asked),
        (Held::Code { code, .. }, Asked::Text(asked)) if modifier == Modifier::None => {
            code == asked
        }
        (Held::Typed { system, code, value }, Asked::Typed { system: s, code: c, value: v }) => {
            system.as_deref() == Some(s) && code.eq_ignore_ascii_case(c) && value == v
        }
        (Held::Link(Link::Identifier { system, value }), Asked::Token { .. }) => {
            let code = value.clone();
            modifier == Modifier::Identifier
                && is_token(&Held::Code { system: system.clone(), code, is_exact: true }, asked)
        }
        (Held::Link(held), Asked::Text(text)) => is_link(held, modifier, text, world),
        (Held::Uri(uri), Asked::Text(text)) => match modifier {
            Modifier::Below => !is_urn(uri) && !is_urn(text) && uri.starts_with(text.as_str()),
            Modifier::Above => !is_urn(uri) && text.starts_with(uri.as_str()),
            _ => uri == text,
        },
        (Held::Time(stored), Asked::Date { prefix, text }) => is_time(*stored, prefix, text)?,
        (Held::Amount { range, .. }, Asked::Number { prefix, text }) => {
            range.compares(prefix, number(text), half(text))
        }
        (Held::Amount { .. }, Asked::Quantity { prefix, text, unit }) => {
            is_quantity(value, prefix, text, unit)
        }
        (Held::Place { latitude, longitude }, Asked::Near { .. }) => {
            is_near(*latitude, *longitude, asked)?
        }
        _ => false,
    })
}

fn is_token(value: &Held, asked: &Asked) -> bool {
    let (Held::Code { system, code, is_exact }, Asked::Token { system: wanted, code: text }) =
        (value, asked)
    else {
        return false;
    };
    let is_code = if *is_exact { code == text } else { code.eq_ignore_ascii_case(text) };
    match wanted {
        System::Any => is_code,
        System::Named(name) => is_code && system.as_ref() == Some(name),
        System::None => is_code && system.is_none(),
        System::Whole(name) => system.as_ref() == Some(name),
    }
}

fn is_link(held: &Link, modifier: Modifier, text: &str, world: &World) -> bool {
    let wanted = match modifier {
        Modifier::Type(of) if !text.contains('/') => format!("{}/{text}", of.as_str()),
        _ => text.to_owned(),
    };
    match held {
        Link::Elsewhere(held) => *held == wanted,
        Link::Local { of, id, version } => match link(&wanted, &world.base) {
            Link::Local { of: o, id: i, version: None } => *of == o && *id == i,
            Link::Local { of: o, id: i, version: v } => *of == o && *id == i && *version == v,
            // A bare id: the ids of the generator are of one type each.
            _ => *id == wanted,
        },
        Link::Contained(_) | Link::Identifier { .. } => false,
    }
}

fn is_urn(uri: &str) -> bool {
    uri.starts_with("urn:")
}

/// `ap` is a question of the day: `None` where the answer could differ within three days, or by
/// which end of the asked span its distance is taken from.
fn is_time(stored: Span, prefix: &str, text: &str) -> Option<bool> {
    let asked = span(text, false);
    if prefix != "ap" {
        return Some(compares(prefix, stored, asked));
    }
    let (Some(low), Some(high)) = (asked.low, asked.high) else { return None };
    let now = i128::from(jiff::Timestamp::now().as_microsecond()) * 2;
    let day = 86_400 * 2_000_000;
    let distances = [(now - low).abs(), (now - high).abs()];
    let widened = |distance: i128| {
        let tenth = distance / 10;
        compares(prefix, stored, Span { low: Some(low - tenth), high: Some(high + tenth) })
    };
    let nearest = distances.into_iter().min()?.saturating_sub(3 * day);
    let farthest = distances.into_iter().max()? + 3 * day;
    (widened(nearest) == widened(farthest)).then(|| widened(nearest))
}

fn is_quantity(value: &Held, prefix: &str, text: &str, asked: &Unit) -> bool {
    let Held::Amount { range, system, code, unit } = value else { return false };
    let as_given = || range.compares(prefix, number(text), half(text));
    match asked {
        Unit::Any => as_given(),
        Unit::Named(name) => {
            (code.as_ref() == Some(name) || unit.as_ref() == Some(name)) && as_given()
        }
        Unit::OfSystem(name) => system.as_ref() == Some(name) && as_given(),
        Unit::Coded(name, wanted) if name == UCUM => {
            let (Some(code), true) = (code, system.as_ref() == Some(name)) else { return false };
            let (Some((base, up, down)), Some((other, asked_up, asked_down))) =
                (base_unit(code), base_unit(wanted))
            else {
                return false;
            };
            // Both brought to a thousandth of the base, so that no factor leaves whole numbers.
            let scale = |number: i128, up: i128, down: i128| number * 1_000 * up / down;
            let stored = |end: Option<i128>| end.map(|end| scale(end, up, down));
            let stored = Numbers { low: stored(range.low), high: stored(range.high) };
            let (value, width) = (number(text), half(text));
            base == other
                && stored.compares(
                    prefix,
                    scale(value, asked_up, asked_down),
                    scale(width, asked_up, asked_down),
                )
        }
        Unit::Coded(name, wanted) => {
            system.as_ref() == Some(name) && code.as_ref() == Some(wanted) && as_given()
        }
    }
}

pub(super) const UCUM: &str = "http://unitsofmeasure.org";

/// By the great circle; `None` within a hundredth of the distance that is asked for.
fn is_near(latitude: f64, longitude: f64, asked: &Asked) -> Option<bool> {
    let Asked::Near { latitude: to, longitude: east, kilometres } = asked else { return None };
    let (a, b) = (latitude.to_radians(), (*to as f64).to_radians());
    let apart = (longitude - *east as f64).to_radians();
    let half = ((a - b) / 2.0).sin().powi(2) + a.cos() * b.cos() * (apart / 2.0).sin().powi(2);
    let distance = 2.0 * 6_371.0 * half.sqrt().min(1.0).asin();
    let asked = *kilometres as f64;
    ((distance - asked).abs() > asked / 100.0).then_some(distance <= asked)
}
