//! Random expressions of `_filter`.

use kiln::fhir::ResourceType;
use kiln::spec::search_parameter::SearchType;

use super::generate::{PARAMETERS, references, referring, table, targets, test};
use super::query::{Asked, Clause, Expression, Modifier};
use super::random::Random;
use super::world::{World, parameter};

/// An expression about resources of a type, of comparisons that go so deep.
pub(super) fn expression(
    world: &World,
    random: &mut Random,
    of: ResourceType,
    depth: usize,
) -> Option<Expression> {
    let way = if depth == 0 { 3 } else { random.below(5) };
    let mut inner = || Some(Box::new(expression(world, random, of, depth - 1)?));
    match way {
        0 => Some(Expression::All(inner()?, inner()?)),
        1 => Some(Expression::Any(inner()?, inner()?)),
        2 => Some(Expression::Not(inner()?)),
        _ => (0..20).find_map(|_| match random.below(8) {
            0 | 1 => along(world, random, of),
            2 => referred(world, random, of),
            _ => comparison(world, random, of),
        }),
    }
}

/// What holds for what a reference leads to, brackets before it now and then.
fn along(world: &World, random: &mut Random, of: ResourceType) -> Option<Expression> {
    let codes = references(of);
    let code = *(!codes.is_empty()).then(|| random.pick(&codes))?;
    let target = *random.pick(&targets(of, code));
    let is_only = parameter(of, code)?.targets == [target];
    let end = Box::new(comparison(world, random, target)?);
    let within = random.chance(40).then(|| comparison(world, random, target)).flatten();
    let named = !is_only || random.chance(50);
    let target = named.then_some(target);
    Some(Expression::Along { code, target, within: within.map(Box::new), end })
}

/// What holds for something that refers here.
fn referred(world: &World, random: &mut Random, of: ResourceType) -> Option<Expression> {
    let ways = referring(of);
    let (source, code) = *(!ways.is_empty()).then(|| random.pick(&ways))?;
    Some(Expression::Has { source, code, end: Box::new(comparison(world, random, source)?) })
}

/// One comparison; `None` for what it cannot say.
fn comparison(world: &World, random: &mut Random, of: ResourceType) -> Option<Expression> {
    let code = *random.pick(table(PARAMETERS, of));
    let Clause::Test { modifier, any, .. } = test(world, random, of, code)? else { return None };
    let mut asked = any.into_iter().next()?;
    let kind = parameter(of, code)?.search_type;
    let is_plain =
        |text: &str| text.chars().all(|it| it.is_ascii_alphanumeric() || "-_.:/".contains(it));
    let modifier = match (kind, modifier, &mut asked) {
        (_, Modifier::Missing | Modifier::In | Modifier::NotIn, _)
        | (SearchType::String, Modifier::Contains, _)
        | (
            SearchType::Number | SearchType::Quantity,
            Modifier::None,
            Asked::Number { .. } | Asked::Quantity { .. },
        ) => modifier,
        (SearchType::String, Modifier::None, _) => {
            *random.pick(&[Modifier::None, Modifier::End, Modifier::Whole, Modifier::NotWhole])
        }
        (
            SearchType::Token,
            Modifier::Above | Modifier::Below | Modifier::None | Modifier::Not,
            Asked::Token { code, .. },
        ) if is_plain(code) && !code.is_empty() => modifier,
        (SearchType::Reference, Modifier::None, Asked::Text(text))
            if is_plain(text) && text.matches('/').count() == 1 =>
        {
            *random.pick(&[Modifier::None, Modifier::None, Modifier::Not])
        }
        (SearchType::Uri, Modifier::None, Asked::Text(text))
            if is_plain(text) && text.contains('/') =>
        {
            *random.pick(&[Modifier::None, Modifier::Not])
        }
        (SearchType::Date, Modifier::None, Asked::Date { prefix, .. }) => {
            if random.chance(20) {
                *prefix = "po";
            }
            modifier
        }
        _ => return None,
    };
    Some(Expression::Test { code, modifier, asked })
}
