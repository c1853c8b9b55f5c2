//! Visits by their events: status, period and classes, with their history; `places` has where somebody is.
//!
//! The events tell what happened, the stored visit what was known; a step that cannot follow is told
//! and done as far as that is safe. An event about data (A08, A31) never changes the status.
//!
//! Spec: v2 E-A01 to E-A38

use super::{Json, Remark, list, places, set_list, text_of};
use crate::fhir::json::Value;

/// What happened.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// `A01`
    pub name: &'a str,
    /// When, as a dateTime.
    pub at: &'a str,
    /// When the visit began, if the message says so (PV1-44).
    pub begun: Option<&'a str>,
    /// When it ended (PV1-45).
    pub ended: Option<&'a str>,
    /// Where the patient is (PV1-3): a Reference.
    pub place: Option<Json>,
    /// Where the patient was (PV1-6).
    pub prior: Option<Json>,
    /// Where a place is kept for the patient (PV1-42).
    pub kept: Option<Json>,
    /// What the sender's profile says of events.
    pub habits: Habits,
}

/// What a profile says of events.
#[derive(Clone, Copy, Debug, Default)]
pub struct Habits {
    /// A registration says that somebody has arrived.
    pub registers_arrivals: bool,
    /// An end that data tell of ends a visit.
    pub ends_by_data: bool,
}

/// Elements that events own.
const OWNED: &[&str] = &["status", "statusHistory", "classHistory", "period", "location"];

/// The visit of now: `now` is the stored one as the data of the message amend it.
pub fn advanced(stored: Option<&Json>, now: &Json, event: &Event<'_>) -> (Json, Vec<Remark>) {
    let mut told = Vec::new();
    let mut visit = with_state(now, stored);
    let before = stored.and_then(|stored| text_of(stored, "status")).map(str::to_owned);
    let status = next_status(before.as_deref(), event, &mut told);
    keep_class(stored, &mut visit, event);
    let is_taken = match event.name {
        "A03" => status == "finished",
        "A13" => status == "in-progress",
        _ => true,
    };
    // A step that is not taken moves neither ends nor places.
    let step = Event { name: if is_taken { event.name } else { "" }, ..event.clone() };
    period(before.as_deref(), &mut visit, &step);
    places::after(&mut visit, &step, status, &mut told);
    set_status(before.as_deref(), status, &mut visit, event);
    (visit, told)
}

/// The data of `now` with the status, period, history and places of another version.
pub fn with_state(now: &Json, of: Option<&Json>) -> Json {
    let mut visit = now.clone();
    for name in OWNED {
        match of.and_then(|of| of.get(name)) {
            Some(value) => visit.set(*name, value.clone()),
            None => drop(visit.remove(name)),
        }
    }
    visit
}

/// Whether an event moves a visit on; others tell of its data alone.
pub fn is_movement(event: &str) -> bool {
    matches!(
        event,
        "A01"
            | "A02"
            | "A03"
            | "A04"
            | "A05"
            | "A06"
            | "A07"
            | "A09"
            | "A10"
            | "A11"
            | "A12"
            | "A13"
            | "A14"
            | "A15"
            | "A17"
            | "A21"
            | "A22"
            | "A23"
            | "A26"
            | "A27"
            | "A32"
            | "A33"
            | "A38"
            | "A52"
            | "A53"
    )
}

/// The status of before.
fn kept(status: &str) -> &'static str {
    match status {
        "planned" => "planned",
        "arrived" => "arrived",
        "triaged" => "triaged",
        "in-progress" => "in-progress",
        "onleave" => "onleave",
        "finished" => "finished",
        "cancelled" => "cancelled",
        "entered-in-error" => "entered-in-error",
        _ => "unknown",
    }
}

/// The status after a step that only some visits can take, and whether this one can. Where it cannot, it is what it
/// was if something would be lost, else what the event says: of a visit that nobody has told of nothing is known.
fn step(event: &str, before: Option<&str>) -> Option<(&'static str, bool)> {
    let is = |known: &[&str]| before.is_some_and(|before| known.contains(&before));
    let is_known = before.is_some();
    let stays = (before.map_or("in-progress", kept), false);
    Some(match event {
        // Nobody is away from what has not begun or is over.
        "A21" | "A22" if is(&["planned", "finished", "cancelled", "entered-in-error"]) => stays,
        "A21" => ("onleave", is_known),
        "A22" => ("in-progress", is(&["onleave", "unknown"])),
        // What has begun is no plan any more that could be called off.
        "A27" | "A38" if !is_known => ("cancelled", false),
        "A27" | "A38" if is(&["planned", "unknown", "cancelled"]) => ("cancelled", true),
        // Who has left was there.
        "A11" if is(&["finished", "entered-in-error"]) => stays,
        "A11" => ("cancelled", is_known && !is(&["planned"])),
        "A23" => ("entered-in-error", is_known),
        "A03" if is(&["entered-in-error"]) => stays,
        "A03" => ("finished", is_known && !is(&["planned", "cancelled"])),
        "A13" if is(&["finished"]) => ("in-progress", true),
        "A13" if is(&["unknown"]) => ("in-progress", false),
        // What was told of a leave was wrong: the patient never left, or has not come back.
        "A52" if is(&["onleave"]) => ("in-progress", true),
        "A53" if is(&["in-progress"]) => ("onleave", true),
        "A13" | "A27" | "A38" | "A52" | "A53" => stays,
        _ => return None,
    })
}

/// The status after an event.
fn next_status(before: Option<&str>, event: &Event<'_>, told: &mut Vec<Remark>) -> &'static str {
    let has_ended = matches!(before, Some("finished" | "cancelled" | "entered-in-error"));
    let mut unexpected = |is: bool| {
        if is {
            told.push("unexpected-transition");
        }
    };
    if let Some((status, is_expected)) = step(event.name, before) {
        unexpected(!is_expected);
        return status;
    }
    match event.name {
        // The admission of a visit that has ended is late news.
        "A01" | "A04" if has_ended => {
            unexpected(true);
            kept(before.unwrap_or_default())
        }
        "A05" | "A14"
            if before.is_some_and(|before| before != "planned" && before != "unknown") =>
        {
            unexpected(true);
            kept(before.unwrap_or_default())
        }
        "A04" if event.habits.registers_arrivals => match before {
            Some("in-progress" | "triaged" | "onleave") => kept(before.unwrap_or_default()),
            _ => "arrived",
        },
        "A01" | "A04" => "in-progress",
        "A05" | "A14" => "planned",
        "A02" | "A06" | "A07" | "A09" | "A10" | "A12" | "A17" | "A32" | "A33" => {
            unexpected(before.is_none() || has_ended);
            before.map_or("in-progress", kept)
        }
        _ => match before {
            Some(_) if event.habits.ends_by_data && event.ended.is_some() && !has_ended => {
                "finished"
            }
            Some(before) => kept(before),
            None if event.ended.is_some() => "finished",
            None => "unknown",
        },
    }
}

fn set_status(before: Option<&str>, status: &'static str, visit: &mut Json, event: &Event<'_>) {
    if let Some(before) = before.filter(|before| *before != status) {
        let mut history = list(visit, "statusHistory");
        let since =
            history.last().and_then(|last| last.get("period")).and_then(|it| it.str_at("end"));
        let since = since.map(str::to_owned).or_else(|| start_of(visit));
        let period = Json::new().with_some("start", since).with("end", event.at.to_owned());
        let entry =
            Json::new().with("status", before.to_owned()).with("period", period.into_owned());
        history.push(Value::Object(entry.into_owned()));
        set_list(visit, "statusHistory", history);
    }
    visit.set("status", status);
}

fn start_of(visit: &Json) -> Option<String> {
    visit.get("period").and_then(|period| period.str_at("start")).map(str::to_owned)
}

/// The class before a change goes into the history; without a new one the old one stays.
fn keep_class(stored: Option<&Json>, visit: &mut Json, event: &Event<'_>) {
    let Some(before) = stored.and_then(|stored| stored.get("class")) else { return };
    let code = |class: &Value<'static>| class.str_at("code").map(str::to_owned);
    let now = visit.get("class").and_then(code);
    if now.is_none() || now.as_deref() == Some("UNK") {
        visit.set("class", before.clone());
    } else if now != code(before) {
        let mut history = list(visit, "classHistory");
        let since =
            history.last().and_then(|last| last.get("period")).and_then(|it| it.str_at("end"));
        let since = since.map(str::to_owned).or_else(|| start_of(visit));
        let period = Json::new().with_some("start", since).with("end", event.at.to_owned());
        let entry = Json::new().with("class", before.clone()).with("period", period.into_owned());
        history.push(Value::Object(entry.into_owned()));
        set_list(visit, "classHistory", history);
    }
}

fn period(before: Option<&str>, visit: &mut Json, event: &Event<'_>) {
    let mut period = match visit.get("period") {
        Some(Value::Object(period)) => period.clone(),
        _ => Json::new(),
    };
    let begins = matches!(event.name, "A01" | "A04");
    if let Some(begun) = event.begun {
        period.set("start", begun.to_owned());
    } else if begins && (!period.contains("start") || before == Some("planned")) {
        period.set("start", event.at.to_owned());
    }
    match event.name {
        "A03" => period.set("end", event.ended.unwrap_or(event.at).to_owned()),
        "A13" => {
            period.remove("end");
            if let Some(Value::Object(stay)) = visit.get_mut("hospitalization") {
                stay.remove("dischargeDisposition");
                stay.remove("destination");
                if stay.is_empty() {
                    visit.remove("hospitalization");
                }
            }
        }
        _ => {
            if let Some(ended) = event.ended {
                period.set("end", ended.to_owned());
            }
        }
    }
    if period.is_empty() {
        visit.remove("period");
    } else {
        visit.set("period", period);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> Json {
        Json::new().with("reference", format!("Location/{name}"))
    }

    fn event<'a>(name: &'a str, at: &'a str) -> Event<'a> {
        Event {
            name,
            at,
            begun: None,
            ended: None,
            place: None,
            prior: None,
            kept: None,
            habits: Habits::default(),
        }
    }

    fn said(class: &str) -> Json {
        Json::new().with("class", Json::new().with("code", class.to_owned()).into_owned())
    }

    /// The visit after some events: `A02@ward`, each a day after the one before.
    fn after(events: &[&str]) -> (Json, Vec<Remark>) {
        let (mut visit, mut told): (Option<Json>, _) = (None, Vec::new());
        for (day, text) in (1..).zip(events) {
            let (name, where_to) =
                text.split_once('@').map_or((*text, None), |(name, to)| (name, Some(to)));
            let at = format!("2026-01-{day:02}");
            let event = Event { place: where_to.map(place), ..event(name, &at) };
            let now = match &visit {
                Some(visit) => visit.clone(),
                None => said("IMP"),
            };
            let (next, more) = advanced(visit.as_ref(), &now, &event);
            told.extend(more);
            visit = Some(next);
        }
        (visit.unwrap(), told)
    }

    /// Status, period, and each place with its status.
    fn shown(events: &[&str]) -> String {
        let (visit, told) = after(events);
        let period = visit.get("period");
        let of = |name| {
            period.and_then(|period| period.str_at(name)).map_or("", |at| &at[8..]).to_owned()
        };
        let places = list(&visit, "location").into_iter().map(|one| {
            let name = one.get("location").and_then(|it| it.str_at("reference")).unwrap();
            format!(" {}:{}", name.trim_start_matches("Location/"), one.str_at("status").unwrap())
        });
        let history = list(&visit, "statusHistory").len();
        let places: String = places.collect();
        let status = text_of(&visit, "status").unwrap();
        format!(
            "{status} {}-{}{places} h{history}{}",
            of("start"),
            of("end"),
            if told.is_empty() { "" } else { " !" }
        )
    }

    #[test]
    fn events_lead_from_state_to_state() {
        for (events, expected) in [
            (&["A01@a"][..], "in-progress 01- a:active h0"),
            (&["A04@a"], "in-progress 01- a:active h0"),
            (&["A05@a"], "planned - a:planned h0"),
            (&["A05@a", "A01@a"], "in-progress 02- a:active h1"),
            (&["A05", "A38"], "cancelled - h1"),
            (&["A14", "A27"], "cancelled - h1"),
            (&["A01@a", "A02@b"], "in-progress 01- a:completed b:active h0"),
            (&["A01@a", "A02@b", "A02@b"], "in-progress 01- a:completed b:active h0"),
            (&["A01@a", "A02@b", "A12"], "in-progress 01- a:active h0"),
            (&["A01@a", "A03"], "finished 01-02 a:completed h1"),
            (&["A01@a", "A02@b", "A03", "A13"], "in-progress 01- a:completed b:active h2"),
            (&["A01@a", "A11"], "cancelled 01- a:active h1"),
            (&["A01@a", "A23"], "entered-in-error 01- a:active h1"),
            (&["A01@a", "A21", "A22"], "in-progress 01- a:active h2"),
            (&["A01@a", "A21", "A52"], "in-progress 01- a:active h2"),
            (&["A01@a", "A21", "A22", "A53"], "onleave 01- a:active h3"),
            (&["A01@a", "A08@c"], "in-progress 01- a:active h0"),
            (&["A01@a", "A03", "A08"], "finished 01-02 a:completed h1"),
            (&["A08"], "unknown - h0"),
            // Steps that cannot follow are done as far as that is safe, and told.
            (&["A03"], "finished -01 h0 !"),
            (&["A03", "A01@a"], "finished 02-01 a:active h0 !"),
            (&["A01@a", "A13"], "in-progress 01- a:active h0 !"),
            (&["A02@b"], "in-progress - b:active h0 !"),
            (&["A01@a", "A03", "A02@b"], "finished 01-02 a:completed b:active h1 !"),
            (&["A01@a", "A12"], "in-progress 01- a:active h0 !"),
            (&["A01@a", "A52"], "in-progress 01- a:active h0 !"),
            (&["A01@a", "A03", "A53"], "finished 01-02 a:completed h1 !"),
            (&["A01@a", "A03", "A21"], "finished 01-02 a:completed h1 !"),
            (&["A01@a", "A03", "A22"], "finished 01-02 a:completed h1 !"),
            (&["A01@a", "A11", "A21"], "cancelled 01- a:active h1 !"),
            (&["A05@a", "A21"], "planned - a:planned h0 !"),
            (&["A05@a", "A22"], "planned - a:planned h0 !"),
            (&["A01@a", "A22"], "in-progress 01- a:active h0 !"),
            (&["A21"], "onleave - h0 !"),
            (&["A22"], "in-progress - h0 !"),
            (&["A01@a", "A38"], "in-progress 01- a:active h0 !"),
            (&["A04@a", "A27"], "in-progress 01- a:active h0 !"),
            (&["A01@a", "A21", "A38"], "onleave 01- a:active h1 !"),
            (&["A01@a", "A03", "A27"], "finished 01-02 a:completed h1 !"),
            (&["A01@a", "A03", "A38"], "finished 01-02 a:completed h1 !"),
            (&["A05", "A38", "A38"], "cancelled - h1"),
            (&["A38"], "cancelled - h0 !"),
            (&["A01@a", "A03", "A11"], "finished 01-02 a:completed h1 !"),
            (&["A01@a", "A23", "A11"], "entered-in-error 01- a:active h1 !"),
            (&["A01@a", "A11", "A11"], "cancelled 01- a:active h1"),
            (&["A01@a", "A21", "A11"], "cancelled 01- a:active h2"),
            (&["A05", "A11"], "cancelled - h1 !"),
            (&["A11"], "cancelled - h0 !"),
            (&["A23"], "entered-in-error - h0 !"),
            (&["A05", "A03"], "finished -02 h1 !"),
            (&["A01@a", "A11", "A03"], "finished 01-03 a:completed h2 !"),
            (&["A01@a", "A23", "A03"], "entered-in-error 01- a:active h1 !"),
            (&["A01@a", "A23", "A13"], "entered-in-error 01- a:active h1 !"),
            (&["A01@a", "A11", "A13"], "cancelled 01- a:active h1 !"),
            (&["A05@a", "A13"], "planned - a:planned h0 !"),
            (&["A08", "A13"], "in-progress - h1 !"),
        ] {
            assert_eq!(shown(events), expected, "{events:?}");
        }
    }

    #[test]
    fn the_message_s_own_times_and_places_count() {
        let told = Event {
            begun: Some("2025-12-31"),
            place: Some(place("a")),
            ..event("A01", "2026-01-01")
        };
        let (visit, _) = advanced(None, &said("IMP"), &told);
        assert_eq!(start_of(&visit).as_deref(), Some("2025-12-31"));
        let moved = Event {
            place: Some(place("c")),
            prior: Some(place("b")),
            ..event("A02", "2026-01-02")
        };
        let (visit, told) = advanced(Some(&visit), &visit, &moved);
        assert_eq!(told, ["prior-location"]);
        assert_eq!(list(&visit, "location").len(), 2, "what is stored wins");
        let left = Event { ended: Some("2026-01-03"), ..event("A03", "2026-01-04") };
        let (visit, _) = advanced(Some(&visit), &visit, &left);
        assert_eq!(visit.get("period").and_then(|it| it.str_at("end")), Some("2026-01-03"));
    }

    #[test]
    fn a_class_of_before_is_kept_in_the_history() {
        let (visit, _) = advanced(None, &said("AMB"), &event("A04", "2026-01-01"));
        let mut now = visit.clone();
        now.set("class", Json::new().with("code", "IMP"));
        let (visit, _) = advanced(Some(&visit), &now, &event("A06", "2026-01-02"));
        let history = list(&visit, "classHistory");
        assert_eq!(history[0].get("class").and_then(|it| it.str_at("code")), Some("AMB"));
        now = visit.clone();
        now.set("class", Json::new().with("code", "UNK"));
        let (visit, _) = advanced(Some(&visit), &now, &event("A08", "2026-01-03"));
        assert_eq!(visit.get("class").and_then(|it| it.str_at("code")), Some("IMP"));
        assert_eq!(list(&visit, "classHistory").len(), 1);
    }
}
