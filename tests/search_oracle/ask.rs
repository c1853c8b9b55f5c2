//! From a stored value to a question that finds it, or just misses it.

use kiln::spec::search_parameter::SearchType;

use super::fixture::SYSTEMS;
use super::held::{Held, Link};
use super::judge::UCUM;
use super::measure::{Numbers, SECOND, civil};
use super::query::{Asked, Modifier, System, Unit};
use super::random::Random;
use super::world::World;

const PREFIXES: &[&str] = &["", "", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"];

/// Stands for the code of a parameter: the first part of a composite, where the server refuses
/// `system|`.
pub(super) const FIRST_PART: &str = "first part";

/// Parameters over elements that are no codings: their system is implied or there is none.
pub(super) fn is_code_element(code: &str) -> bool {
    matches!(
        code,
        "active"
            | "deceased"
            | "email"
            | "gender"
            | "intent"
            | "lot-number"
            | "phone"
            | "status"
            | "telecom"
            | "version"
    )
}

/// A question about `value`; `None` where the modifier does not fit it.
pub(super) fn about(
    world: &World,
    random: &mut Random,
    value: &Held,
    kind: SearchType,
    code: &str,
    modifier: Modifier,
) -> Option<Asked> {
    match value {
        Held::Amount { range, system, code, unit } => {
            let text = number(random, *range);
            let prefix = *random.pick(PREFIXES);
            if kind == SearchType::Number {
                return Some(Asked::Number { prefix, text });
            }
            let unit = units(random, system.as_ref(), code.as_ref(), unit.as_ref());
            Some(Asked::Quantity { prefix, text, unit })
        }
        Held::Code { system, code: text, .. } => {
            matches!(modifier, Modifier::None | Modifier::Not).then_some(())?;
            Some(match token(random, system.as_ref(), text, is_code_element(code)) {
                Asked::Token { system: System::Whole(_), .. } if code == FIRST_PART => {
                    Asked::Token { system: System::Any, code: text.clone() }
                }
                asked => asked,
            })
        }
        Held::Link(link) => reference(world, random, link, code, modifier),
        Held::Place { latitude, longitude } => Some(Asked::Near {
            latitude: (*latitude as i64 + random.between(-3, 3)).clamp(-90, 90),
            longitude: (*longitude as i64 + random.between(-3, 3)).clamp(-180, 180),
            kilometres: *random.pick(&[50, 300, 1_000, 5_000]),
        }),
        Held::Shown(text) => {
            (modifier == Modifier::Text).then(|| Asked::Text(shortened(random, text, true)))
        }
        Held::Text(text) | Held::Word(text) => Some(Asked::Text(match modifier {
            Modifier::Exact if random.chance(80) => text.clone(),
            Modifier::Exact => text.to_uppercase(),
            Modifier::Contains => shortened(random, text, false),
            _ => shortened(random, text, true),
        })),
        Held::Time(span) => {
            let around = span.low.or(span.high)?;
            let prefix = *random.pick(PREFIXES);
            Some(Asked::Date { prefix, text: date(random, around) })
        }
        Held::Typed { system, code, value } => {
            (modifier == Modifier::OfType).then(|| Asked::Typed {
                system: system.clone().unwrap_or_default(),
                code: code.clone(),
                value: if random.chance(80) { value.clone() } else { "none".to_owned() },
            })
        }
        Held::Uri(uri) => Some(Asked::Text(match modifier {
            Modifier::Above if random.chance(70) => format!("{uri}/more"),
            Modifier::Below if random.chance(70) => {
                uri[..random.between(4, uri.len() as i64) as usize].to_owned()
            }
            _ => uri.clone(),
        })),
    }
}

/// A beginning or any piece, with other case and accents now and then.
fn shortened(random: &mut Random, text: &str, from_start: bool) -> String {
    let letters: Vec<char> = text.chars().collect();
    let start = if from_start { 0 } else { random.below(letters.len()) };
    let end = start + 1 + random.below(letters.len() - start);
    let piece: String = letters[start..end].iter().collect();
    // What folds to nothing asks for everything: another question.
    if super::measure::fold(&piece).is_empty() {
        return text.to_owned();
    }
    match random.below(4) {
        0 => piece.to_uppercase(),
        1 => piece.to_lowercase().replace('ü', "u").replace('é', "e"),
        _ => piece,
    }
}

/// A number near an end of the range, with its own number of digits.
fn number(random: &mut Random, range: Numbers) -> String {
    let end = range.low.or(range.high).unwrap_or_default();
    // Open ends lie at .37, which no question of one decimal or of whole numbers meets.
    let is_exact = range.low == range.high;
    let tenths = end.div_euclid(100_000_000_000);
    let (sign, tenths) = if tenths < 0 { ("-", -tenths) } else { ("", tenths) };
    match random.below(4) {
        0 => format!("{sign}{}", tenths / 10),
        1 => format!("{sign}{}.{}", tenths / 10, tenths % 10),
        2 if is_exact => {
            let thousandths = end.abs() / 1_000_000_000;
            format!("{sign}{}.{:03}", thousandths / 1_000, thousandths % 1_000)
        }
        _ => format!("{sign}{}", tenths / 10 + random.below(3) as i128),
    }
}

fn units(
    random: &mut Random,
    system: Option<&String>,
    code: Option<&String>,
    unit: Option<&String>,
) -> Unit {
    match (random.below(5), system, code) {
        (0, _, _) => Unit::Any,
        (1, Some(system), Some(_)) if random.chance(50) => Unit::OfSystem(system.clone()),
        (1, _, _) => match code.or(unit) {
            Some(name) => Unit::Named(name.clone()),
            None => Unit::Any,
        },
        (2, Some(system), Some(_)) if system == UCUM => {
            Unit::Coded(system.clone(), (*random.pick(&["mg", "g", "kg", "min", "h"])).to_owned())
        }
        (_, Some(system), Some(code)) => Unit::Coded(system.clone(), code.clone()),
        _ => unit.map_or(Unit::Any, |unit| Unit::Named(unit.clone())),
    }
}

fn token(random: &mut Random, system: Option<&String>, code: &str, is_code_element: bool) -> Asked {
    let text = match random.below(6) {
        0 if !is_code_element => code.to_uppercase(),
        1 if !is_code_element => code.to_lowercase(),
        2 if random.chance(30) && !matches!(code, "true" | "false") => "unheard-of".to_owned(),
        _ => code.to_owned(),
    };
    let whole = |system: &String| System::Whole(system.clone());
    let system = match (random.below(5), system) {
        (0, Some(system)) => System::Named(system.clone()),
        (1, Some(system)) => whole(system),
        (2, _) if !is_code_element => System::None,
        (3, Some(system)) if !is_code_element && random.chance(40) => System::Named(
            SYSTEMS
                .iter()
                .find(|other| *other != system)
                .map_or_else(String::new, |it| (*it).to_owned()),
        ),
        _ => System::Any,
    };
    let code = if matches!(system, System::Whole(_)) { String::new() } else { text };
    Asked::Token { system, code }
}

fn reference(
    world: &World,
    random: &mut Random,
    link: &Link,
    code: &str,
    modifier: Modifier,
) -> Option<Asked> {
    if modifier == Modifier::Identifier {
        let Link::Identifier { system, value } = link else { return None };
        // The system alone finds no reference: the server says so.
        return Some(match token(random, system.as_ref(), value, false) {
            Asked::Token { system: System::Whole(system), .. } => {
                Asked::Token { system: System::Named(system), code: value.clone() }
            }
            asked => asked,
        });
    }
    if let Modifier::Type(wanted) = modifier {
        let Link::Local { of, id, .. } = link else { return None };
        return (wanted.as_str() == of).then(|| Asked::Text(id.clone()));
    }
    Some(Asked::Text(match link {
        Link::Elsewhere(url) => url.clone(),
        Link::Local { of, id, version } => match random.below(6) {
            0 => format!("{}/{of}/{id}", world.base),
            // Of an entry of a list nobody can tell the type.
            1 if code != "item" => id.clone(),
            2 => match version {
                Some(version) => format!("{of}/{id}/_history/{version}"),
                None => format!("{of}/{id}/_history/1"),
            },
            _ => format!("{of}/{id}"),
        },
        Link::Contained(_) | Link::Identifier { .. } => return None,
    }))
}

/// A text for a moment near `ticks`, of any precision.
fn date(random: &mut Random, ticks: i128) -> String {
    let shift = *random.pick(&[0, 0, 0, -1, 1, -1_000, 1_000]) * SECOND;
    let ticks = ticks + shift;
    let seconds = ticks.div_euclid(SECOND) as i64;
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let rest = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    match random.below(8) {
        0 => format!("{year}"),
        1 => format!("{year}-{month:02}"),
        2 | 3 => format!("{year}-{month:02}-{day:02}"),
        4 => format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}"),
        5 => format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"),
        6 => {
            let millis = ticks.rem_euclid(SECOND) * 1_000 / SECOND;
            format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
        }
        _ => format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:00+00:00"),
    }
}
