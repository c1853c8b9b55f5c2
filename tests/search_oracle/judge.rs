//! Which resources match: the rules of search, clause by clause over every resource.

use kiln::fhir::ResourceType;
use kiln::fhir::json::Value;
use kiln::spec::search_parameter::SearchType;

use super::fixed::{BRANCHES, TREE};
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
                if leads(world, from, code, at) && clause_holds(world, from, inner)? {
                    return Some(true);
                }
            }
            Some(false)
        }
        Clause::Test { code, modifier, any } => test(world, at, code, *modifier, any),
        Clause::Words { code, any, without } => {
            let words = words(&world.docs[at].value, code);
            let has = |word: &str| words.iter().any(|it| it == word);
            Some(any.iter().any(|it| has(it)) && !without.is_some_and(has))
        }
    }
}

/// The words of a resource, small: of the narrative, or of all other strings.
fn words(value: &Value<'_>, code: &str) -> Vec<String> {
    let mut texts = Vec::new();
    if code == "_text" {
        let div = value.get("text").and_then(|text| text.str_at("div")).unwrap_or_default();
        let parts = div.split('<').filter_map(|part| part.split_once('>'));
        texts.extend(parts.map(|(_, text)| text.to_owned()));
    } else {
        strings("", value, &mut texts);
    }
    let words = texts.iter().flat_map(|text| text.split(|it: char| !it.is_alphanumeric()));
    words.map(str::to_lowercase).collect()
}

fn strings(name: &str, value: &Value<'_>, found: &mut Vec<String>) {
    match value {
        Value::String(text) if name != "div" => found.push(text.to_string()),
        Value::Array(items) => items.iter().for_each(|item| strings(name, item, found)),
        Value::Object(object) => object.iter().for_each(|(name, it)| strings(name, it, found)),
        _ => {}
    }
}

fn expression_holds(world: &World, at: usize, expression: &Expression) -> Option<bool> {
    Some(match expression {
        Expression::All(a, b) => expression_holds(world, at, a)? & expression_holds(world, at, b)?,
        Expression::Along { code, target, within, end } => {
            let mut any = false;
            for value in world.values(at, code).iter() {
                let Held::Link(link) = value else { continue };
                let to = world.target(at, link);
                let is_it = |to: &usize| target.is_none_or(|of| of == world.docs[*to].of);
                let Some(to) = to.filter(is_it) else { continue };
                let is_within = match within {
                    Some(within) => expression_holds(world, to, within)?,
                    None => true,
                };
                any |= is_within && expression_holds(world, to, end)?;
            }
            any
        }
        Expression::Any(a, b) => expression_holds(world, at, a)? | expression_holds(world, at, b)?,
        Expression::Has { source, code, end } => {
            let mut any = false;
            for from in world.of(&[*source]) {
                any |= leads(world, from, code, at) && expression_holds(world, from, end)?;
            }
            any
        }
        Expression::Not(inner) => !expression_holds(world, at, inner)?,
        Expression::Test { code, modifier, asked } => {
            test(world, at, code, *modifier, std::slice::from_ref(asked))?
        }
    })
}

/// Whether a reference of one resource leads to another.
fn leads(world: &World, from: usize, code: &str, to: usize) -> bool {
    let is_to =
        |value: &Held| matches!(value, Held::Link(link) if world.target(from, link) == Some(to));
    world.values(from, code).iter().any(is_to)
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
        Clause::Filter(_) | Clause::Has { .. } | Clause::Words { .. } => true,
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
            // What is asked for need not be here.
            if one(&values, Modifier::None, any, world)? {
                return Some(true);
            }
            // What stands in a hierarchy of its own is referred to.
            let links = values.iter().filter_map(|value| match value {
                Held::Link(link) => world.target(at, link),
                _ => None,
            });
            let mut links = links.flat_map(|to| any.iter().map(move |asked| (to, asked)));
            Some(links.any(|(to, asked)| is_related(world, to, "partof", modifier, asked)))
        }
        Modifier::Above | Modifier::Below if kind == SearchType::Token => {
            let is_one = |value: &Held| any.iter().any(|asked| is_subsumed(value, modifier, asked));
            Some(values.iter().any(is_one))
        }
        Modifier::In | Modifier::NotIn => {
            let is_one = |value: &Held| any.iter().any(|asked| is_member(world, value, asked));
            Some(values.iter().any(is_one) == (modifier == Modifier::In))
        }
        Modifier::Not => Some(!one(&values, Modifier::None, any, world)?),
        Modifier::NotWhole => Some(!one(&values, Modifier::Whole, any, world)?),
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

/// Whether a code is the one that is asked for, or is above or below it.
fn is_subsumed(value: &Held, modifier: Modifier, asked: &Asked) -> bool {
    let (Held::Code { system, code, .. }, Asked::Token { code: other, .. }) = (value, asked) else {
        return false;
    };
    let (mut lower, upper) =
        if modifier == Modifier::Below { (code, other) } else { (other, code) };
    let above: Vec<(String, String)> = BRANCHES
        .iter()
        .filter_map(|(code, above)| Some(((*code).to_owned(), (*above)?.to_owned())))
        .collect();
    while lower != upper {
        let Some((_, next)) = above.iter().find(|(code, _)| code == lower) else { return false };
        lower = next;
    }
    system.as_deref() == Some(TREE)
}

/// Whether a code is in a value set, which is named by its url or as a resource.
fn is_member(world: &World, value: &Held, asked: &Asked) -> bool {
    let Asked::Text(name) = asked else { return false };
    let is_named = |id: &str, url: Option<&str>| {
        name.strip_prefix("ValueSet/") == Some(id) || url == Some(name.as_str())
    };
    let sets = world.docs.iter().filter(|doc| doc.of.as_str() == "ValueSet");
    let mut sets = sets.filter(|doc| is_named(&doc.id, doc.value.str_at("url")));
    let set = sets.next().unwrap_or_else(|| panic!("no value set {name}"));
    let includes = set.value.get("compose").map_or(&[][..], |it| it.items_at("include"));
    includes.iter().any(|include| {
        let system = System::Named(include.str_at("system").unwrap_or_default().to_owned());
        let is_one = |code: &str| {
            let asked = Asked::Token { system: system.clone(), code: code.to_owned() };
            is_token(value, &asked)
        };
        match include.items_at("concept") {
            [] => BRANCHES.iter().any(|(code, _)| is_one(code)),
            concepts => concepts.iter().filter_map(|it| it.str_at("code")).any(is_one),
        }
    })
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
    if prefix == "po" {
        return Some(compares("ap", stored, asked));
    }
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
