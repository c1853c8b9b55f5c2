//! When something is done again: RPT, RI, and TQ of the versions before 2.5.

use crate::fhir::json::{Object, Value};

use super::number::decimal;
use super::{Args, Context, Json, Rep, coding, filled, list, object, text};

const PATTERNS: &str = "http://terminology.hl7.org/CodeSystem/v2-0335";

/// What a repeat pattern says without a table: times a day, or every so many hours.
struct Pattern {
    frequency: Option<u64>,
    period: Option<String>,
    unit: &'static str,
    when: Option<&'static str>,
    days: Vec<&'static str>,
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// `BID`, `TID`, `Q6H`, `Q2D`, `QJ135`, `QHS`.
fn pattern(code: &str) -> Option<Pattern> {
    let code = code.trim().to_ascii_uppercase();
    let plain = |frequency: Option<u64>, period: &str, unit: &'static str| Pattern {
        frequency,
        period: Some(period.to_owned()),
        unit,
        when: None,
        days: Vec::new(),
    };
    let timed = |when: &'static str| Pattern { when: Some(when), ..plain(None, "1", "d") };
    Some(match &*code {
        "QD" | "DAILY" | "Q24H" => plain(Some(1), "1", "d"),
        "BID" => plain(Some(2), "1", "d"),
        "TID" => plain(Some(3), "1", "d"),
        "QID" => plain(Some(4), "1", "d"),
        "QOD" => plain(Some(1), "2", "d"),
        "QHS" | "HS" => timed("HS"),
        "QAM" => timed("MORN"),
        "QPM" => timed("EVE"),
        "PC" => timed("PC"),
        "AC" => timed("AC"),
        _ => {
            if let Some(times) = code.strip_prefix('X').and_then(|rest| rest.strip_suffix('D')) {
                let frequency: u64 = times.parse().ok().filter(|times| *times > 0)?;
                return Some(plain(Some(frequency), "1", "d"));
            }
            let rest = code.strip_prefix('Q')?;
            if let Some(days) = rest.strip_prefix('J') {
                let day = |digit: char| {
                    let at = digit.to_digit(10)?.checked_sub(1)?;
                    DAYS.get(at as usize).copied()
                };
                let days: Option<Vec<_>> = days.chars().map(day).collect();
                return days
                    .filter(|days| !days.is_empty())
                    .map(|days| Pattern { days, ..plain(None, "1", "wk") });
            }
            let unit = match rest.chars().last()? {
                'S' => "s",
                'M' => "min",
                'H' => "h",
                'D' => "d",
                'W' => "wk",
                'L' => "mo",
                _ => return None,
            };
            let count = &rest[..rest.len() - 1];
            let count: u32 = if count.is_empty() { 1 } else { count.parse().ok()? };
            plain(Some(1), &count.to_string(), unit)
        }
    })
}

fn number(digits: impl Into<String>) -> Json {
    Value::Number(digits.into().into())
}

/// An RPT, or the pattern of a TQ, as a Timing: what it repeats, and its code.
///
/// `duration`, `unit`, `count`, `start`, `end` give what other fields say of the same timing.
pub fn rpt(rep: &Rep<'_>, args: &Args<'_>, context: &Context<'_>) -> Option<Json> {
    let mut repeat = Object::new();
    if let Some(bounds) = bounds(args, context) {
        repeat.set("boundsPeriod", bounds);
    }
    let whole = |name: &str| args.text(name).parse::<u64>().ok().filter(|count| *count > 0);
    if let Some(count) = whole("count") {
        repeat.set("count", count);
    }
    let duration = decimal(args.text("duration"), false);
    if let Some((duration, unit)) = duration.zip(time_unit(args.text("unit"))) {
        repeat.set("duration", number(duration));
        repeat.set("durationUnit", unit);
    }
    let own = |pattern: Pattern| {
        let mut part = Object::new();
        if let Some(frequency) = pattern.frequency {
            part.set("frequency", frequency);
        }
        if let Some(period) = pattern.period.filter(|_| pattern.when.is_none()) {
            part.set("period", number(period));
            part.set("periodUnit", pattern.unit);
        }
        let days: Vec<_> = pattern.days.into_iter().map(Json::from).collect();
        if let Some(days) = list(days) {
            part.set("dayOfWeek", days);
        }
        if let Some(when) = pattern.when {
            part.set("when", vec![Json::from(when)]);
        }
        part
    };
    for (name, value) in rep.some(1).and_then(pattern).map(own).unwrap_or_default() {
        repeat.set(name, value);
    }
    written_out(rep, context, &mut repeat);
    let code = rep.some(1).map(|code| {
        let coding = code_of(code, rep, context);
        object([("coding", list(vec![coding])), ("text", text(rep.some(2).unwrap_or(code)))])
    });
    let repeat = filled(repeat);
    filled(object([("repeat", repeat), ("code", code.and_then(filled))]))
}

fn code_of(code: &str, rep: &Rep<'_>, context: &Context<'_>) -> Json {
    match context.tables.target("RepeatPattern", code) {
        Some(target) => coding(&target.system, &target.code, ""),
        None => coding(PATTERNS, code, rep.s(1, 2)),
    }
}

/// What RPT.3 to RPT.9 say beside the code.
fn written_out(rep: &Rep<'_>, context: &Context<'_>, repeat: &mut Object<'static>) {
    let day = |at: usize| {
        let number = rep.c(at).parse::<usize>().ok()?.checked_sub(1)?;
        DAYS.get(number).copied().map(Json::from)
    };
    if let Some(days) = list([3, 4].into_iter().filter_map(day).collect()) {
        repeat.set("dayOfWeek", days);
    }
    if let Some((period, unit)) = decimal(rep.c(5), false).zip(time_unit(rep.c(6))) {
        repeat.set("period", number(period));
        repeat.set("periodUnit", unit);
    }
    let when = context.tables.code("EventRelatedPeriod", rep.c(8));
    if let Some(when) = when.filter(|_| rep.c(5).is_empty()) {
        repeat.set("when", vec![Json::from(when.to_owned())]);
        let minutes = rep.c(9).parse::<u64>().ok();
        let times = match time_unit(rep.c(10)) {
            Some("h") => 60,
            Some("d") => 24 * 60,
            _ => 1,
        };
        if let Some(minutes) = minutes.filter(|minutes| *minutes > 0) {
            repeat.set("offset", minutes * times);
        }
    }
}

fn bounds(args: &Args<'_>, context: &Context<'_>) -> Option<Json> {
    super::time::period_of(args.text("start"), args.text("end"), context)
}

/// The unit of time of FHIR for a word of v2.
pub fn time_unit(word: &str) -> Option<&'static str> {
    Some(match word.to_ascii_lowercase().as_str() {
        "s" | "sec" | "secs" | "second" | "seconds" => "s",
        "m" | "min" | "mins" | "minute" | "minutes" | "isom" => "min",
        "h" | "hr" | "hrs" | "hour" | "hours" | "isoh" => "h",
        "d" | "day" | "days" | "isod" => "d",
        "w" | "wk" | "week" | "weeks" => "wk",
        "l" | "mo" | "mon" | "month" | "months" => "mo",
        "a" | "y" | "yr" | "year" | "years" | "ann" => "a",
        _ => return None,
    })
}

/// The minutes that a number is; `unit`: the field with its unit.
pub fn minutes(rep: &Rep<'_>, args: &Args<'_>, _: &Context<'_>) -> Option<Json> {
    let count: u64 = rep.c(1).split('.').next()?.parse().ok()?;
    let times = match time_unit(args.text("unit")) {
        None | Some("min") => 1,
        Some("h") => 60,
        Some("d") => 24 * 60,
        Some("s") if count.is_multiple_of(60) => return whole(count / 60),
        Some(_) => return None,
    };
    whole(count.checked_mul(times)?)
}

fn whole(count: u64) -> Option<Json> {
    Some(count).filter(|count| (1..1 << 31).contains(count)).map(Json::from)
}

/// A duration: a number with a unit of time. `unit`: the field or word that has it.
pub fn duration(rep: &Rep<'_>, args: &Args<'_>, context: &Context<'_>) -> Option<Json> {
    let digits = decimal(rep.c(1), context.site.decimal_comma)?;
    let unit = time_unit(args.text("unit"))?;
    let quantity = Object::new()
        .with("value", number(digits))
        .with("unit", unit)
        .with("system", super::units::UCUM)
        .with("code", unit);
    Some(quantity.into())
}
