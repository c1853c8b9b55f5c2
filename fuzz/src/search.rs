//! Search queries, `_filter` expressions and page links.

use std::fmt::Write as _;
use std::sync::LazyLock;

use kiln::fhir::datetime::Zone;
use kiln::fhir::query::Query;
use kiln::fhir::{Instant, ResourceType};
use kiln::search::extract::{Extractor, Settings};
use kiln::search::request::{
    Context, InvalidSearch, Limits, Reason, SearchRequest, SearchTarget, Strictness, parse,
};
use kiln::search::values::quantity::Ucum;
use kiln::spec::Spec;
use kiln::spec::codes::Codes;
use kiln::store::cursor::{Position, Seal};
use kiln::store::hash::Hasher;

use crate::target::holds;

static EXTRACTOR: LazyLock<Extractor> = LazyLock::new(|| match extractor() {
    Ok(extractor) => extractor,
    Err(fault) => unreachable!("the embedded pack loads: {fault}"),
});

fn extractor() -> Result<Extractor, Box<dyn std::error::Error>> {
    let spec = Spec::r4()?;
    let codes = Codes::r4()?;
    let base = "http://example.org/fhir".into();
    let settings = Settings { base, units: Box::new(Ucum), zone: Zone::UTC };
    Ok(Extractor::new(spec, codes, settings)?)
}

fn read(
    target: &SearchTarget,
    text: &str,
    dates_overlap: bool,
) -> Option<Result<SearchRequest, InvalidSearch>> {
    let query = Query::parse(text).ok()?;
    let context = Context {
        extractor: &EXTRACTOR,
        now: Instant::from_micros(0),
        strictness: Strictness::Lenient,
        dates_overlap,
        limits: Limits { filter_nodes: 500, ..Limits::default() },
    };
    Some(parse(target, &query, &context))
}

/// A query is read or refused, in bounds, and what is shown of it is read as the same.
pub(crate) fn query(input: &[u8]) -> Result<(), String> {
    let Ok(text) = std::str::from_utf8(input) else { return Ok(()) };
    let (name, text) = text.split_once('?').unwrap_or(("", text));
    let target = match name.parse::<ResourceType>() {
        Ok(only) => SearchTarget::Type(only),
        Err(_) => SearchTarget::System,
    };
    let dates_overlap = input.len() % 2 == 1;
    match read(&target, text, dates_overlap) {
        None => Ok(()),
        Some(Err(invalid)) => refused(&invalid),
        Some(Ok(found)) => {
            holds(found.types.is_sorted_by_key(|it| it.as_str()), "types are in order")?;
            holds(!found.types.is_empty(), "there is a type")?;
            let shown: Vec<String> = found
                .shown
                .iter()
                .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
                .collect();
            let again = read(&target, &shown.join("&"), dates_overlap);
            let Some(Ok(again)) = again else {
                return Err(format!("what is shown is refused: {shown:?}: {again:?}"));
            };
            let notices = Vec::new();
            let found = SearchRequest { notices, ..found };
            let again = SearchRequest { notices: Vec::new(), ..again };
            holds(found == again, &format!("{shown:?} is read as {again:?}, not {found:?}"))
        }
    }
}

/// An expression is read or refused with a place in it; and what is one is none where an end of it is missing, or
/// beside a name that nobody knows.
pub(crate) fn filter(input: &[u8]) -> Result<(), String> {
    let Ok(text) = std::str::from_utf8(input) else { return Ok(()) };
    for of in [ResourceType::PATIENT, ResourceType::OBSERVATION] {
        if !is_filter(of, text)? {
            continue;
        }
        for none in [
            format!("({text}"),
            format!("{text})"),
            format!("{text} and"),
            format!("({text}) and unheard eq x"),
        ] {
            holds(!is_filter(of, &none)?, &format!("{none:?} is no expression"))?;
        }
    }
    Ok(())
}

/// Whether an expression is read; what is refused has a place in it.
fn is_filter(of: ResourceType, text: &str) -> Result<bool, String> {
    let columns = 1..=text.chars().count() + 1;
    let query = format!("_filter={}", encoded(text));
    let invalid = match read(&SearchTarget::Type(of), &query, query.len() % 2 == 1) {
        None => return Ok(false),
        Some(Ok(_)) => return Ok(true),
        Some(Err(invalid)) => invalid,
    };
    refused(&invalid)?;
    for fault in invalid.0 {
        let Reason::Filter { column, problem } = fault.reason else {
            return Err(format!("a fault has a column: {fault}"));
        };
        holds(columns.contains(&column), "the column is in the text")?;
        holds(!matches!(*problem, Reason::Filter { .. }), "a fault has one column")?;
    }
    Ok(false)
}

/// Letters that have something of the proof at the beginning of a link.
const PROOF: usize = 11;

/// A page link opens where and as it was sealed, and nobody reads it elsewhere; whatever nobody sealed does not open.
pub(crate) fn cursor(input: &[u8]) -> Result<(), String> {
    let hasher = Hasher::with_key([7; 16]);
    let (here, there) = (Seal::within(b"here", &hasher), Seal::within(b"there", &hasher));
    if let Ok(text) = std::str::from_utf8(input) {
        holds(here.open(text).is_none(), "what nobody sealed does not open")?;
    }
    let Some(position) = Position::from_bytes(input) else { return Ok(()) };
    let text = here.close(&position);
    holds(here.open(&text).as_ref() == Some(&position), "a link opens as it was sealed")?;
    holds(there.open(&text).is_none(), "a link opens nowhere else")?;
    let other = there.close(&position);
    holds(text.get(PROOF..) != other.get(PROOF..), "what a link says is enciphered")?;
    let mut changed = text.into_bytes();
    let at = input
        .iter()
        .fold(0, |sum: usize, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)))
        % changed.len();
    changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).map_err(|fault| fault.to_string())?;
    holds(here.open(&changed).is_none(), "a link that was changed does not open")
}

fn refused(invalid: &InvalidSearch) -> Result<(), String> {
    holds((1..=100).contains(&invalid.0.len()), "the number of faults is bounded")?;
    let is_short = |text: String| text.len() < 2_000;
    holds(invalid.0.iter().all(|fault| is_short(fault.to_string())), "faults are short")
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "%{byte:02X}");
        out
    })
}
