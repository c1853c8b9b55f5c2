//! Regular expressions: `matches()`, `matchesFull()`, `replaceMatches()`.
//!
//! They take time that is linear in the text, whatever the pattern; look-around and references
//! back are therefore refused. A dot matches line ends too, as FHIRPath says.
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
pub(in crate::fhirpath) type Pattern = OnceLock<Option<Regex>>;

type Items<'v> = Outcome<Vec<Item<'v>>>;

/// Largest program that a pattern may become, in bytes.
const MAX_PROGRAM: usize = 1 << 20;

/// Steps that making a pattern costs.
const COMPILING: usize = 200;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Extent {
    /// The pattern may match a part of the text.
    Part,
    /// The pattern matches all of the text.
    Whole,
}

fn compiled(text: &str, extent: Extent) -> Option<Regex> {
    let anchored = match extent {
        Extent::Part => Cow::Borrowed(text),
        Extent::Whole => Cow::Owned(format!("\\A(?:{text})\\z")),
    };
    let mut builder = RegexBuilder::new(&anchored);
    builder.dot_matches_new_line(true).size_limit(MAX_PROGRAM).dfa_size_limit(MAX_PROGRAM);
    builder.build().ok()
}

/// The pattern of the first argument, made once where it is constant.
fn pattern<'v>(call: &mut Call<'_, '_, 'v>, text: &str, extent: Extent) -> Outcome<Cow<'v, Regex>> {
    let made = if let Some(kept) = call.pattern {
        kept.get_or_init(|| compiled(text, extent)).as_ref().map(Cow::Borrowed)
    } else {
        call.evaluator.spend(COMPILING + text.len(), call.start)?;
        compiled(text, extent).map(Cow::Owned)
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
    Ok(one(pattern.is_match(&text)))
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
    for captures in pattern.captures_iter(&text) {
        let Some(found) = captures.get(0) else { break };
        let before = out.len();
        out.push_str(&text[until..found.start()]);
        expand(&captures, &substitute, &mut out);
        until = found.end();
        call.evaluator.spend(1, call.start)?;
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
