//! Regular expressions: `matches()`, `matchesFull()`, `replaceMatches()`.
//!
//! A match takes time that is linear in the text and in what the pattern becomes, and is charged by
//! both; look-around and references back are therefore refused. A dot matches line ends too, as
//! FHIRPath says.
//!
//! Spec: <https://hl7.org/fhirpath/N1/#matchesregex-string-boolean>

use std::borrow::Cow;
use std::sync::OnceLock;

use regex::{Captures, Regex, RegexBuilder};

use super::{Call, Function, function, one};
use crate::fhirpath::eval::Outcome;
use crate::fhirpath::item::Item;

pub(super) static TABLE: &[Function] = &[
    function("matches", 1, 1, |call| matches(call, Extent::Part)),
    function("matchesFull", 1, 1, |call| matches(call, Extent::Whole)),
    function("replaceMatches", 2, 2, replace),
];

/// What was made of a constant regular expression: `None` when it is none.
pub(in crate::fhirpath) type Pattern = OnceLock<Option<Compiled>>;

/// A regular expression, and how much more than the smallest it costs.
#[derive(Clone, Debug)]
pub(in crate::fhirpath) struct Compiled {
    regex: Regex,
    weight: usize,
}

type Items<'v> = Outcome<Vec<Item<'v>>>;

/// Bytes of the smallest program; each factor of four is tried up to the largest.
const SMALL_PROGRAM: usize = 1 << 12;

/// Largest program that a pattern may become, in bytes.
const MAX_PROGRAM: usize = 1 << 20;

/// Longest text of a pattern, in bytes: what is read of it takes many times as much before it is known how large a
/// program it becomes. Patterns of FHIR have some hundred.
const MAX_PATTERN: usize = 4_096;

/// Steps that making the smallest pattern costs.
const COMPILING: usize = 200;

/// Bytes that the search for one more match passes in a step.
const BYTES_SOUGHT: usize = 256;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Extent {
    /// The pattern may match a part of the text.
    Part,
    /// The pattern matches all of the text.
    Whole,
}

fn compiled(text: &str, extent: Extent) -> Option<Compiled> {
    let anchored = match extent {
        Extent::Part => Cow::Borrowed(text),
        Extent::Whole => Cow::Owned(format!("\\A(?:{text})\\z")),
    };
    let mut builder = RegexBuilder::new(&anchored);
    builder.dot_matches_new_line(true).dfa_size_limit(MAX_PROGRAM);
    let limits = std::iter::successors(Some(SMALL_PROGRAM), |limit| Some(limit * 4));
    for limit in limits.take_while(|limit| *limit <= MAX_PROGRAM) {
        match builder.size_limit(limit).build() {
            Ok(regex) => return Some(Compiled { regex, weight: limit / SMALL_PROGRAM }),
            Err(regex::Error::CompiledTooBig(_)) => {}
            Err(_) => break,
        }
    }
    None
}

/// The pattern of the first argument, made once where it is constant.
fn pattern<'v>(
    call: &mut Call<'_, '_, 'v>,
    text: &str,
    extent: Extent,
) -> Outcome<Cow<'v, Compiled>> {
    if text.len() > MAX_PATTERN {
        return call.fail(format!("the regular expression is longer than {MAX_PATTERN} bytes"));
    }
    let made = if let Some(kept) = call.pattern {
        kept.get_or_init(|| compiled(text, extent)).as_ref().map(Cow::Borrowed)
    } else {
        call.evaluator.spend(COMPILING + text.len(), call.start)?;
        let made = compiled(text, extent);
        let weight = made.as_ref().map_or(0, |made| made.weight);
        call.evaluator.spend(COMPILING * weight, call.start)?;
        made.map(Cow::Owned)
    };
    match made {
        Some(pattern) => Ok(pattern),
        None => call.fail("the regular expression is malformed, too large, or looks around"),
    }
}

fn matches<'v>(call: &mut Call<'_, '_, 'v>, extent: Extent) -> Items<'v> {
    let (text, wanted) = (call.text_input()?, call.text_argument(0)?);
    let Some((text, wanted)) = text.zip(wanted) else { return Ok(Vec::new()) };
    let pattern = pattern(call, &wanted, extent)?;
    call.spend_bytes(text.len().saturating_mul(pattern.weight))?;
    Ok(one(pattern.regex.is_match(&text)))
}

fn replace<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let (text, wanted) = (call.text_input()?, call.text_argument(0)?);
    let substitute = call.text_argument(1)?;
    let Some(((text, wanted), substitute)) = text.zip(wanted).zip(substitute) else {
        return Ok(Vec::new());
    };
    if wanted.is_empty() {
        return Ok(one(text.into_owned()));
    }
    let pattern = pattern(call, &wanted, Extent::Part)?;
    let mut out = String::new();
    let mut until = 0;
    let mut all = pattern.regex.captures_iter(&text);
    loop {
        // A search may look at all that is left to find a short match.
        let sought = (text.len() - until).saturating_mul(pattern.weight) / BYTES_SOUGHT;
        call.evaluator.spend(1 + sought, call.start)?;
        let Some(captures) = all.next() else { break };
        let Some(found) = captures.get(0) else { break };
        let before = out.len();
        out.push_str(&text[until..found.start()]);
        expand(&captures, &substitute, &mut out);
        until = found.end();
        call.spend_bytes(out.len() - before)?;
    }
    out.push_str(&text[until..]);
    Ok(one(out))
}

/// Appends the substitute, with groups by number (`$1`) or name (`${name}`) in it.
fn expand(captures: &Captures<'_>, substitute: &str, out: &mut String) {
    let mut rest = substitute;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let named = after.strip_prefix('{').and_then(|name| name.split_once('}'));
        let (group, next) = match named {
            _ if digits > 0 => {
                (after[..digits].parse().ok().and_then(|at| captures.get(at)), &after[digits..])
            }
            Some((name, next)) => (captures.name(name), next),
            None => {
                out.push('$');
                (None, after)
            }
        };
        out.push_str(group.map_or("", |group| group.as_str()));
        rest = next;
    }
    out.push_str(rest);
}
