//! News of a visit that come late: what it is now stays, and what happened before finds its place.
//!
//! Spec: v2 S22

use super::places::is_kept;
use super::visit::Event;
use super::{Json, list, set_list};
use crate::fhir::Instant;
use crate::fhir::datetime::{DateTime, Zone};
use crate::fhir::json::Value;

/// The stored visit with a movement in its place among the others, and a beginning where it had none.
/// `until`: when the latest movement was.
pub fn placed(stored: &Json, event: &Event<'_>, until: Option<&str>) -> Json {
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
    if let Some(status) = status_of(event.name) {
        let at = event.ended.filter(|_| event.name == "A03").unwrap_or(since);
        place_status(&mut visit, status, at, until);
    }
    visit
}

/// The status that an event brings about whatever was before.
fn status_of(event: &str) -> Option<&'static str> {
    Some(match event {
        "A01" | "A04" | "A13" | "A22" => "in-progress",
        "A03" => "finished",
        "A05" | "A14" => "planned",
        "A21" => "onleave",
        _ => return None,
    })
}

fn lasting(status: &str, start: Option<&str>, end: &str) -> Value<'static> {
    let start = start.map(str::to_owned);
    let period = Json::new().with_some("start", start).with("end", end.to_owned());
    Value::Object(Json::new().with("status", status.to_owned()).with("period", period))
}

/// The visit has had a status since a time before what it is now.
fn place_status(visit: &mut Json, status: &str, at: &str, until: Option<&str>) {
    let Some(moment) = instant(at) else { return };
    let mut all = list(visit, "statusHistory");
    let end_of = |one: &Value<'static>| {
        one.get("period").and_then(|period| period.str_at("end")).map(str::to_owned)
    };
    let later = all
        .iter()
        .position(|one| end_of(one).as_deref().and_then(instant).is_some_and(|end| end > moment));
    if let Some(index) = later {
        let (one, end) = (all[index].clone(), end_of(&all[index]).unwrap_or_default());
        let before = one.str_at("status").unwrap_or("unknown").to_owned();
        let start = start_of(&one).map(str::to_owned);
        let is_before = start.as_deref().and_then(instant).is_some_and(|start| start > moment);
        if before == status {
            return;
        }
        if is_before {
            all.insert(index, lasting(status, Some(at), start.as_deref().unwrap_or(at)));
        } else {
            all[index] = lasting(status, Some(at), &end);
            all.insert(index, lasting(&before, start.as_deref(), at));
        }
        set_list(visit, "statusHistory", all);
        return;
    }
    let Some(current) = super::text_of(visit, "status").map(str::to_owned) else { return };
    if current == status {
        return;
    }
    let began =
        all.last().and_then(end_of).or_else(|| period_of(visit, "start").map(str::to_owned));
    let is_before = began.as_deref().and_then(instant).is_some_and(|began| began > moment);
    if let Some(began) = began.as_deref().filter(|_| is_before) {
        all.push(lasting(status, Some(at), began));
    } else if let Some(until) = until.filter(|until| instant(until).is_some_and(|it| it > moment)) {
        // A visit that has ended was under way before it was what it is now.
        if began.is_some() && current != "finished" {
            all.push(lasting(&current, began.as_deref(), at));
        }
        all.push(lasting(status, Some(at), until));
    }
    set_list(visit, "statusHistory", all);
}

/// The visit has been at `place` since a time before other places.
fn insert(visit: &mut Json, place: &Json, since: &str) {
    let Some(at) = instant(since) else { return };
    // Where the patient may be next is not of the past.
    let (kept, mut all): (Vec<_>, Vec<_>) = list(visit, "location").into_iter().partition(is_kept);
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
    all.extend(kept);
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
        Event {
            name,
            at,
            begun: None,
            ended: None,
            place: Some(place(to)),
            prior: None,
            kept: None,
            habits: super::super::visit::Habits::default(),
        }
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
            assert_eq!(shown(&placed(&visit, &event(name, at, to), None)), expected, "{name} {at}");
        }
        let (gone, _) = advanced(Some(&visit), &visit, &event("A03", "2026-01-09", ""));
        let after = placed(&gone, &event("A02", "2026-01-08T10:00:00+02:00", "d"), None);
        assert_eq!(shown(&after), "a:03-06 c:06-08 d:08-09");
    }

    #[test]
    fn a_late_admission_says_when_a_visit_began() {
        let (visit, _) = advanced(None, &Json::new(), &event("A03", "2026-01-03", "a"));
        let visit = placed(&visit, &event("A01", "2026-01-01", "a"), Some("2026-01-03"));
        assert_eq!(period_of(&visit, "start"), Some("2026-01-01"));
        assert_eq!(period_of(&visit, "end"), Some("2026-01-03"));
        assert_eq!(super::super::text_of(&visit, "status"), Some("finished"));
    }

    /// The statuses of a visit with their days: `planned:01-02`.
    fn statuses(visit: &Json) -> String {
        let day = |one: &Value<'static>, name: &str| {
            let day = one.get("period").and_then(|it| it.str_at(name)).unwrap_or_default();
            day.get(8..10).unwrap_or_default().to_owned()
        };
        let all = list(visit, "statusHistory").into_iter().map(|one| {
            format!(
                "{}:{}-{} ",
                one.str_at("status").unwrap(),
                day(&one, "start"),
                day(&one, "end")
            )
        });
        all.collect::<String>() + super::super::text_of(visit, "status").unwrap()
    }

    #[test]
    fn a_late_status_stands_where_it_was() {
        let step = |visit: Option<&Json>, name: &str, at: &str| {
            let none = Json::new();
            advanced(visit, visit.unwrap_or(&none), &event(name, at, "a")).0
        };
        let visit = step(None, "A01", "2026-01-03");
        let away = step(Some(&visit), "A21", "2026-01-06");
        let back = step(Some(&away), "A22", "2026-01-08");
        assert_eq!(statuses(&back), "in-progress:03-06 onleave:06-08 in-progress");
        for (visit, name, at, until, expected) in [
            (
                &visit,
                "A21",
                "2026-01-04",
                Some("2026-01-05"),
                "in-progress:03-04 onleave:04-05 in-progress",
            ),
            (&visit, "A05", "2026-01-01", Some("2026-01-03"), "planned:01-03 in-progress"),
            (&visit, "A22", "2026-01-04", Some("2026-01-05"), "in-progress"),
            (&visit, "A21", "2026-01-04", None, "in-progress"),
            (
                &back,
                "A22",
                "2026-01-07",
                Some("2026-01-08"),
                "in-progress:03-06 onleave:06-07 in-progress:07-08 in-progress",
            ),
            (
                &back,
                "A05",
                "2026-01-01",
                Some("2026-01-08"),
                "planned:01-03 in-progress:03-06 onleave:06-08 in-progress",
            ),
            (
                &back,
                "A02",
                "2026-01-07",
                Some("2026-01-08"),
                "in-progress:03-06 onleave:06-08 in-progress",
            ),
        ] {
            let placed = placed(visit, &event(name, at, "a"), until);
            assert_eq!(statuses(&placed), expected, "{name} {at}");
        }
    }
}
