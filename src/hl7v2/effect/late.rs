//! News of a visit that come late: what it is now stays, and what happened before finds its place.
//!
//! Spec: v2 S22

use super::visit::Event;
use super::{Json, list, set_list};
use crate::fhir::Instant;
use crate::fhir::datetime::{DateTime, Zone};
use crate::fhir::json::Value;

/// The stored visit with a movement in its place among the others, and a beginning where it had none.
pub fn placed(stored: &Json, event: &Event<'_>) -> Json {
    let mut visit = stored.clone();
    let begins = matches!(event.name, "A01" | "A04");
    let since = event.begun.filter(|_| begins).unwrap_or(event.at);
    if begins && period_of(&visit, "start").is_none() {
        let mut period = match visit.get("period") {
            Some(Value::Object(period)) => period.clone(),
            _ => Json::new(),
        };
        period.set_first("start", since.to_owned());
        visit.set("period", period);
    }
    let moves = begins || matches!(event.name, "A02" | "A06" | "A07" | "A09" | "A10" | "A17");
    if let Some(place) = event.place.as_ref().filter(|_| moves) {
        insert(&mut visit, place, since);
    }
    visit
}

/// The visit has been at `place` since a time before other places.
fn insert(visit: &mut Json, place: &Json, since: &str) {
    let Some(at) = instant(since) else { return };
    let mut all = list(visit, "location");
    let is_known = all.iter().any(|one| {
        one.get("location").and_then(Value::as_object) == Some(place)
            && start_of(one).and_then(instant) == Some(at)
    });
    if is_known {
        return;
    }
    let later =
        all.iter().position(|one| start_of(one).and_then(instant).is_some_and(|it| it > at));
    let index = later.unwrap_or(all.len());
    let next = all.get(index).and_then(start_of).map(str::to_owned);
    let end = next.or_else(|| period_of(visit, "end").map(str::to_owned));
    if let Some(before) = index.checked_sub(1)
        && let Some(before) = all[before].as_object_mut()
    {
        before.set("status", "completed");
        let mut period = match before.get("period") {
            Some(Value::Object(period)) => period.clone(),
            _ => Json::new(),
        };
        period.set("end", since.to_owned());
        before.set("period", period);
    }
    let status = if end.is_some() { "completed" } else { "active" };
    let period = Json::new().with("start", since.to_owned()).with_some("end", end);
    let entry = Json::new().with("location", place.clone()).with("status", status);
    all.insert(index, Value::Object(entry.with("period", period)));
    set_list(visit, "location", all);
}

fn start_of<'a>(one: &'a Value<'static>) -> Option<&'a str> {
    one.get("period").and_then(|period| period.str_at("start"))
}

fn period_of<'a>(visit: &'a Json, name: &str) -> Option<&'a str> {
    visit.get("period").and_then(|period| period.str_at(name))
}

fn instant(text: &str) -> Option<Instant> {
    DateTime::parse_search(text).map(|moment| moment.lower(Zone::UTC))
}

#[cfg(test)]
mod tests {
    use super::super::visit::advanced;
    use super::*;

    fn place(name: &str) -> Json {
        Json::new().with("reference", format!("Location/{name}"))
    }

    fn event<'a>(name: &'a str, at: &'a str, to: &str) -> Event<'a> {
        Event { name, at, begun: None, ended: None, place: Some(place(to)), prior: None }
    }

    /// The places of a visit with their days: `a:01-02`.
    fn shown(visit: &Json) -> String {
        let of = |one: &Value<'static>, name: &str| {
            let day = one.get("period").and_then(|it| it.str_at(name)).unwrap_or_default();
            day.get(8..10).unwrap_or_default().to_owned()
        };
        let places = list(visit, "location");
        let places = places.iter().map(|one| {
            let name = one.get("location").and_then(|it| it.str_at("reference")).unwrap();
            let name = name.trim_start_matches("Location/");
            let mark = if one.str_at("status") == Some("active") { "!" } else { "" };
            format!("{name}{mark}:{}-{}", of(one, "start"), of(one, "end"))
        });
        places.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_late_movement_stands_between_those_before_and_after_it() {
        let (visit, _) = advanced(None, &Json::new(), &event("A01", "2026-01-03", "a"));
        let (visit, _) = advanced(Some(&visit), &visit, &event("A02", "2026-01-06", "c"));
        for (name, at, to, expected) in [
            ("A02", "2026-01-04", "b", "a:03-04 b:04-06 c!:06-"),
            ("A02", "2026-01-06", "c", "a:03-06 c!:06-"),
            ("A02", "2026-01-08", "d", "a:03-06 c:06-08 d!:08-"),
            ("A01", "2026-01-01", "z", "z:01-03 a:03-06 c!:06-"),
            ("A21", "2026-01-04", "b", "a:03-06 c!:06-"),
        ] {
            assert_eq!(shown(&placed(&visit, &event(name, at, to))), expected, "{name} {at}");
        }
        let (gone, _) = advanced(Some(&visit), &visit, &event("A03", "2026-01-09", ""));
        let after = placed(&gone, &event("A02", "2026-01-08T10:00:00+02:00", "d"));
        assert_eq!(shown(&after), "a:03-06 c:06-08 d:08-09");
    }

    #[test]
    fn a_late_admission_says_when_a_visit_began() {
        let (visit, _) = advanced(None, &Json::new(), &event("A03", "2026-01-03", "a"));
        let visit = placed(&visit, &event("A01", "2026-01-01", "a"));
        assert_eq!(period_of(&visit, "start"), Some("2026-01-01"));
        assert_eq!(period_of(&visit, "end"), Some("2026-01-03"));
        assert_eq!(super::super::text_of(&visit, "status"), Some("finished"));
    }
}
