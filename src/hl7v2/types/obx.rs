//! OBX-5 by OBX-2: a value of an Observation, or of a part of it.

use super::{Args, Context, Json, NoteKind, Rep, attach, code, number, text, time};
use crate::hl7v2::map::site::Habit;

/// A value with the type of FHIR that it has: `("Quantity", ..)`.
pub type Choice = (&'static str, Json);

/// All repetitions of OBX-5 as values; `kind` is OBX-2, `unit` OBX-6.
///
/// What cannot be what OBX-2 says is kept as a text, and that is told.
pub fn values(
    reps: &[&Rep<'_>],
    kind: &str,
    unit: Option<&Rep<'_>>,
    context: &Context<'_>,
) -> Vec<Choice> {
    match kind {
        "NA" | "MA" => {
            let found = number::na(reps, unit, context);
            found.into_iter().map(|value| ("SampledData", value)).collect()
        }
        "ST" | "TX" | "FT" => {
            let value = lines(reps, kind).and_then(|lines| text(&lines));
            value.map(|value| ("string", value)).into_iter().collect()
        }
        _ => reps.iter().filter_map(|rep| value(rep, kind, unit, context)).collect(),
    }
}

/// A text of which each repetition is a line, as it was sent; `None` where nothing can be seen of it. Blanks
/// around an ST are none of it.
fn lines(reps: &[&Rep<'_>], kind: &str) -> Option<String> {
    let line = |rep: &&Rep<'_>| match (rep.whole(), kind) {
        (line, "ST") => line.trim().to_owned(),
        (line, _) => line,
    };
    let lines = reps.iter().map(line).collect::<Vec<_>>().join("\n");
    Some(lines).filter(|lines| !lines.trim().is_empty())
}

fn value(
    rep: &Rep<'_>,
    kind: &str,
    unit: Option<&Rep<'_>>,
    context: &Context<'_>,
) -> Option<Choice> {
    if !rep.is_valued() {
        return None;
    }
    let args = Args::default();
    let found = match kind {
        "NM" | "SI" => {
            let found = number::quantity_of(rep.c(1), unit, context);
            found.map(|value| ("Quantity", Json::from(value)))
        }
        "CQ" => number::quantity_of(rep.c(1), Some(&rep.component(2)), context)
            .map(|value| ("Quantity", Json::from(value))),
        "SN" => Some(number::sn(rep, unit, context)),
        "CE" | "CWE" | "CNE" | "CF" | "IS" | "ID" => {
            code::cwe(rep, &args, context).map(|value| ("CodeableConcept", value))
        }
        "DT" | "TS" | "DTM" => time::datetime(rep.c(1), context).map(|value| ("dateTime", value)),
        "TM" => time::time(rep.c(1), context).map(|value| ("time", value)),
        "DR" => time::period_of(rep.c(1), rep.c(2), context).map(|value| ("Period", value)),
        "NR" => number::range_of(rep.c(1), rep.c(2), unit, context).map(|value| ("Range", value)),
        "ED" | "RP" => {
            // A value of an Observation has no attachment: the report or a document does.
            attach::described(rep, kind).map(|value| ("string", value))
        }
        _ => None,
    };
    found.or_else(|| as_text(rep, kind, context))
}

/// The whole value as a text.
fn as_text(rep: &Rep<'_>, kind: &str, context: &Context<'_>) -> Option<Choice> {
    if kind.is_empty() && context.site.has(Habit::RefusesUntyped) {
        context.note(NoteKind::Damaged, "OBX-2 does not say what the value is");
        return None;
    }
    if !matches!(kind, "VR" | "") {
        let what = format!("OBX-2 says {kind}, and the value is kept as a text");
        context.note(NoteKind::Kept, what);
    }
    let words = match kind {
        "VR" => rep.joined("-"),
        // What has no parts by its type is one text, whatever stands in it.
        "" | "DT" | "DTM" | "NM" | "SI" | "TM" | "TS" => rep.whole().trim().to_owned(),
        _ => rep.joined(" "),
    };
    text(&words).map(|value| ("string", value))
}
