//! Results by their status: what is corrected follows what was final, and nothing goes back.
//!
//! Spec: v2 S31 to S33

use super::{Json, Remark, text_of};

/// How far a status has come; a lower one does not follow a higher one.
fn rank(status: &str) -> u8 {
    match status {
        "registered" => 1,
        "partial" => 2,
        "preliminary" => 3,
        "final" => 4,
        "amended" | "corrected" | "appended" => 5,
        "cancelled" => 6,
        "entered-in-error" => 7,
        _ => 0,
    }
}

/// Whether a result of this status may follow the stored one.
pub fn may_follow(stored: &Json, status: &str) -> bool {
    let before = text_of(stored, "status").unwrap_or_default();
    // What was cancelled or wrong may be reported after all, as final or corrected.
    let is_taken_back = rank(before) >= 6;
    rank(status) >= rank(before) || (is_taken_back && rank(status) >= 4)
}

/// Whether this status goes beyond that of the stored result.
pub fn rises(stored: &Json, status: &str) -> bool {
    rank(status) > rank(text_of(stored, "status").unwrap_or_default())
}

/// The result of now, from the stored one and what the message makes of it. `is_unchanged`: the sender
/// says that the value was final and is not sent again (OBX-11 `U`).
///
/// `None`: the message is older than what is stored.
pub fn followed(stored: &Json, now: Json, is_unchanged: bool) -> (Option<Json>, Vec<Remark>) {
    let status = text_of(&now, "status").unwrap_or_default();
    if !may_follow(stored, status) {
        return (None, vec!["status-regression"]);
    }
    if !is_unchanged {
        return (Some(now), Vec::new());
    }
    let mut kept = now;
    let is_value = |name: &str| name.trim_start_matches('_').starts_with("value");
    kept.retain(|name, _| !is_value(name) && name != "dataAbsentReason");
    for (name, value) in stored.iter().filter(|(name, _)| is_value(name)) {
        kept.set(name.to_owned(), value.clone());
    }
    (Some(kept), Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(status: &str, value: &str) -> Json {
        Json::new()
            .with("status", status.to_owned())
            .with("valueString", value.to_owned())
            .into_owned()
    }

    #[test]
    fn a_status_never_goes_back() {
        for (before, now, expected) in [
            ("registered", "preliminary", true),
            ("preliminary", "preliminary", true),
            ("preliminary", "final", true),
            ("final", "final", true),
            ("final", "corrected", true),
            ("corrected", "corrected", true),
            ("final", "cancelled", true),
            ("final", "entered-in-error", true),
            ("cancelled", "final", true),
            ("entered-in-error", "corrected", true),
            ("final", "preliminary", false),
            ("final", "registered", false),
            ("corrected", "final", false),
            ("cancelled", "preliminary", false),
        ] {
            let (found, told) = followed(&result(before, "1"), result(now, "2"), false);
            assert_eq!(found.is_some(), expected, "{before} {now}");
            assert_eq!(told.is_empty(), expected, "{before} {now}");
        }
    }

    #[test]
    fn a_value_that_is_not_sent_again_is_kept() {
        let (found, _) = followed(&result("final", "1"), result("final", ""), true);
        assert_eq!(found, Some(result("final", "1")));
    }
}
