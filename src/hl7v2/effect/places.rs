//! Where somebody is during a visit, was before, and may be next.
//!
//! Spec: v2 E-A01 to E-A17

use super::visit::{Event, is_movement};
use super::{Json, Remark, list, set_list};
use crate::fhir::json::Value;

/// The places of a visit after an event, by which it has this status.
pub(super) fn after(visit: &mut Json, event: &Event<'_>, status: &str, told: &mut Vec<Remark>) {
    let mut all = list(visit, "location");
    let is_nowhere = all.iter().all(is_kept);
    match event.name {
        "A01" | "A04" | "A05" | "A14" | "A08" | "A28" | "A31" => {
            if let Some(place) = event.place.clone().filter(|_| is_nowhere) {
                let status = if matches!(event.name, "A05" | "A14") { "planned" } else { "active" };
                all.push(entry(place, status, event.begun.unwrap_or(event.at)));
            } else if matches!(event.name, "A01" | "A04") {
                // A planned place is taken.
                set_all(&mut all, "planned", "active", None);
            }
        }
        "A02" | "A06" | "A07" | "A09" | "A10" | "A17" => move_to(&mut all, event, told),
        "A12" | "A32" | "A33" => {
            let last = all.iter().rposition(is_active);
            // A place that is kept is none that the patient came from.
            if let Some(last) = last.filter(|last| !all[..*last].iter().all(is_kept)) {
                all.remove(last);
                reopen(&mut all);
            } else {
                told.push("unexpected-transition");
            }
        }
        "A03" => set_all(&mut all, "active", "completed", Some(event.ended.unwrap_or(event.at))),
        "A13" => reopen(&mut all),
        _ => {}
    }
    if let Some(ended) =
        event.ended.filter(|_| event.habits.ends_by_data && !is_movement(event.name))
    {
        set_all(&mut all, "active", "completed", Some(ended));
    }
    let is_over = matches!(status, "finished" | "cancelled" | "entered-in-error");
    keep_free(&mut all, event, is_over);
    set_list(visit, "location", all);
}

/// Whether a place is kept for the patient, who is not there.
pub(super) fn is_kept(one: &Value<'static>) -> bool {
    one.str_at("status") == Some("reserved")
}

fn is_active(one: &Value<'static>) -> bool {
    one.str_at("status") == Some("active")
}

/// A place that is kept for the patient (A15, PV1-42) until the patient is there, the transfer is called off (A26),
/// or the visit is over (`is_over`).
fn keep_free(all: &mut Vec<Value<'static>>, event: &Event<'_>, is_over: bool) {
    if is_over || event.name == "A26" {
        all.retain(|one| !is_kept(one));
    } else if matches!(event.name, "A01" | "A04" | "A05" | "A08" | "A14" | "A15")
        && let Some(place) = event.kept.clone()
    {
        all.retain(|one| !is_kept(one));
        let entry = Json::new().with("location", place).with("status", "reserved");
        all.push(Value::Object(entry));
    }
    // Senders repeat PV1-42 when the patient is there.
    let taken: Vec<_> = all
        .iter()
        .filter(|one| is_active(one))
        .filter_map(|one| one.get("location").cloned())
        .collect();
    all.retain(|one| {
        !is_kept(one) || one.get("location").is_none_or(|place| !taken.contains(place))
    });
}

/// Closes the place of before and opens the one of now.
fn move_to(all: &mut Vec<Value<'static>>, event: &Event<'_>, told: &mut Vec<Remark>) {
    let Some(place) = &event.place else { return };
    let name = |one: &Value<'static>| {
        one.get("location").and_then(|it| it.str_at("reference")).map(str::to_owned)
    };
    let new = place.get("reference").and_then(Value::as_str).map(str::to_owned);
    let active = all.iter().rfind(|one| is_active(one)).and_then(name);
    if active.is_some() && active == new {
        return;
    }
    let prior =
        event.prior.as_ref().and_then(|prior| prior.get("reference")).and_then(Value::as_str);
    match (&active, prior) {
        (Some(active), Some(prior)) if active != prior => told.push("prior-location"),
        (None, Some(_)) => {
            if let Some(prior) = event.prior.clone() {
                all.push(Value::Object(ended_entry(prior, event.at)));
            }
        }
        _ => {}
    }
    set_all(all, "active", "completed", Some(event.at));
    all.push(entry(place.clone(), "active", event.at));
}

fn entry(place: Json, status: &'static str, since: &str) -> Value<'static> {
    let period = Json::new().with("start", since.to_owned());
    Value::Object(Json::new().with("location", place).with("status", status).with("period", period))
}

fn ended_entry(place: Json, at: &str) -> Json {
    let period = Json::new().with("end", at.to_owned());
    Json::new().with("location", place).with("status", "completed").with("period", period)
}

/// Gives all places of one status another, with an end.
fn set_all(all: &mut [Value<'static>], from: &str, to: &'static str, end: Option<&str>) {
    for one in all.iter_mut().filter(|one| one.str_at("status") == Some(from)) {
        let Some(one) = one.as_object_mut() else { continue };
        one.set("status", to);
        let Some(end) = end else { continue };
        let mut period = match one.get("period") {
            Some(Value::Object(period)) => period.clone(),
            _ => Json::new(),
        };
        period.set("end", end.to_owned());
        one.set("period", period);
    }
}

/// The last place is where the patient is again.
fn reopen(all: &mut [Value<'static>]) {
    let last = all.iter_mut().rfind(|one| one.str_at("status") == Some("completed"));
    let Some(one) = last.and_then(Value::as_object_mut) else { return };
    one.set("status", "active");
    let is_empty = match one.get_mut("period") {
        Some(Value::Object(period)) => {
            period.remove("end");
            period.is_empty()
        }
        _ => false,
    };
    if is_empty {
        one.remove("period");
    }
}

#[cfg(test)]
mod tests {
    use super::super::visit::{Habits, advanced};
    use super::*;

    /// The places after some events: `A15>b`, a place that is kept, `A02@b`, one where the patient is.
    fn shown(events: &[&str]) -> String {
        let mut stored: Option<Json> = None;
        for text in events {
            let place = |name: &str| Json::new().with("reference", format!("Location/{name}"));
            let event = Event {
                name: &text[..3],
                at: "2026-01-01",
                begun: None,
                ended: None,
                place: text.split_once('@').map(|(_, name)| place(name)),
                prior: None,
                kept: text.split_once('>').map(|(_, name)| place(name)),
                habits: Habits::default(),
            };
            let now = stored.clone().unwrap_or_default();
            stored = Some(advanced(stored.as_ref(), &now, &event).0);
        }
        let all = list(&stored.unwrap_or_default(), "location").into_iter().map(|one| {
            let name = one.get("location").and_then(|it| it.str_at("reference")).unwrap();
            format!("{}:{}", name.trim_start_matches("Location/"), one.str_at("status").unwrap())
        });
        all.collect::<Vec<_>>().join(" ")
    }

    /// Covers: v2 E-A02.
    #[test]
    fn a_place_is_kept_until_the_patient_is_there_or_will_not_come() {
        for (events, expected) in [
            (&["A01@a", "A15>b"][..], "a:active b:reserved"),
            (&["A01@a", "A15>b", "A15>c"], "a:active c:reserved"),
            (&["A01@a", "A15>b", "A08"], "a:active b:reserved"),
            (&["A01@a", "A15>b", "A26"], "a:active"),
            (&["A01@a", "A15>b", "A26>b"], "a:active"),
            (&["A01@a", "A15>b", "A02@b"], "a:completed b:active"),
            (&["A01@a", "A15>b", "A02@c"], "a:completed b:reserved c:active"),
            (&["A01@a", "A15>b", "A02@c", "A12"], "a:active b:reserved"),
            (&["A01@a", "A15>b", "A03"], "a:completed"),
            (&["A15>b", "A01@a"], "b:reserved a:active"),
            (&["A15>b", "A01@b"], "b:active"),
            (&["A15>b", "A01@a", "A12"], "b:reserved a:active"),
            (&["A01@a", "A15>b", "A02@b", "A08>b"], "a:completed b:active"),
        ] {
            assert_eq!(shown(events), expected, "{events:?}");
        }
    }

    /// Covers: v2 E-A02.
    #[test]
    fn no_place_is_kept_for_a_visit_that_is_over() {
        let place = || Json::new().with("reference", "Location/b");
        let kept = Json::new().with("location", place()).with("status", "reserved");
        for (status, ended) in [
            ("finished", None),
            ("cancelled", None),
            // An end that data tell of is an end too.
            ("in-progress", Some("2026-01-01")),
        ] {
            let mut visit = Json::new().with("status", status);
            set_list(&mut visit, "location", vec![Value::Object(kept.clone())]);
            let event = Event {
                name: "A08",
                at: "2026-01-01",
                begun: None,
                ended,
                place: None,
                prior: None,
                kept: Some(place()),
                habits: Habits { ends_by_data: true, ..Habits::default() },
            };
            let (visit, _) = advanced(Some(&visit), &visit, &event);
            assert!(list(&visit, "location").is_empty(), "{status}");
        }
    }
}
