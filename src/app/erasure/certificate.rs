//! What is told of an erasure: what was taken, what was left, and what stays, for how long. Never that all is gone everywhere.

use std::error::Error;
use std::io::Write;

use serde_json::{Map, Value, json};

use crate::store::maintenance::ErasureRequest;

/// Each store with what of a patient it had, by the names under which the database counts.
const STORES: [(&str, &str); 26] = [
    ("res", "current versions of resources, and of what was deleted"),
    ("hist", "versions before them"),
    ("hist_of_others", "old versions that were the patient's alone, of what is others' by now"),
    ("srow", "the search index: a row for each resource, and for what is contained"),
    ("comp", "the search index: compartments"),
    ("tok", "the search index: codes, identifiers and references"),
    ("num", "the search index: numbers and quantities"),
    ("dat", "the search index: dates"),
    ("str", "the search index: texts"),
    ("subscription", "work on Subscriptions"),
    ("v2_message", "texts of messages of version 2, and of their answers"),
    ("v2_issue", "what was wrong with messages"),
    ("v2_unmapped", "codes of messages without a map"),
    ("v2_answer", "answers to messages that waited"),
    ("v2_key", "identifiers by which messages find resources"),
    ("v2_watermark", "how new what messages said was"),
    ("v2_member", "results that waited for theirs"),
    ("v2_merge", "merges"),
    ("v2_merge_key", "identifiers that merges moved"),
    ("v2_merge_log", "what merges moved"),
    ("export_job", "exports that have ended with the patient in them"),
    ("export_file", "their files, and those of exports that begin anew"),
    ("export_part", "the parts of these"),
    ("oauth_grant", "what apps and people were granted to the record, and tokens"),
    ("consent_decision", "what was decided about apps"),
    ("account", "the patient's own login"),
];

/// What stays, and why; of backups it is told for how long.
const STAYS: [(&str, &str); 12] = [
    (
        "backups",
        "backups and archived write-ahead log of before have the record, for {days} days by `erasure.backup_days`; \
         `kiln restore` erases it again",
    ),
    (
        "ledger",
        "the record of who did what is sealed and kept by law: it names the patient by id and hash, in requests also as \
         they were sent; `kiln audit retain` drops it by months",
    ),
    (
        "tombstones",
        "ids of what was erased, with times and a hash of the patient, so that none is used again",
    ),
    ("feed", "keys and times of changes, without content"),
    ("patient_name", "the id of the patient beside its hash, for the record of who did what"),
    (
        "oauth_emergency",
        "who broke the glass for the patient, and why: a part of the record of who did what",
    ),
    ("audit_alert", "alerts that were found and not told yet, with the hash of the patient"),
    (
        "v2_message",
        "sender, number, kind and times of messages, and checksums: the same message that comes again is known, and does \
         not bring the record back",
    ),
    ("erasure", "this request, and holds"),
    (
        "words",
        "nodes find the words no more within seconds; their files have them until these are next merged, or \
         `kiln reindex --fulltext`",
    ),
    (
        "disk",
        "pages of the database have what was in them until they are used again, and its write-ahead log until it is",
    ),
    ("elsewhere", "what others were sent: exports that were taken, Subscriptions, apps, messages"),
];

/// Adds what a further look found to what is told; whether it was anything of the record.
pub(super) fn add(certificate: &mut Value, more: &Value) -> bool {
    let empty = Map::new();
    let counts = more["taken"].as_object().unwrap_or(&empty);
    for (store, count) in counts {
        let sum = certificate["taken"][store].as_i64().unwrap_or(0) + count.as_i64().unwrap_or(0);
        certificate["taken"][store] = json!(sum);
    }
    // What is left is as the last look saw it.
    for name in ["left", "left_count", "old_versions_left"] {
        certificate[name] = more[name].clone();
    }
    let is_some = |store: &str| more["taken"][store].as_i64().unwrap_or(0) > 0;
    ["res", "hist_of_others", "v2_message"].into_iter().any(is_some)
}

/// How far a request is.
pub(super) fn state(request: &ErasureRequest) -> String {
    let by = request.approved_by.as_deref();
    match (&request.withdrawn, request.executed_at) {
        (Some((by, at)), _) => format!("withdrawn by {by} at {at}"),
        (None, Some(at)) => match by {
            Some(by) => format!("erased at {at}, approved by {by}"),
            None => format!("erased at {at}, and again when the data were restored"),
        },
        (None, None) => "waits for somebody else's approval".to_owned(),
    }
}

/// All that is told of a request, as JSON.
pub(super) fn of(request: &ErasureRequest, blocks: &[String], days: u32) -> Value {
    let (by, at) = &request.asked;
    let mut told = json!({
        "number": request.number,
        "patient": format!("Patient/{}", request.patient),
        "reason": request.reason,
        "askedBy": by,
        "askedAt": at.to_string(),
        "state": state(request),
    });
    if request.is_open() {
        told["blocked"] = json!(blocks);
    }
    let Some(certificate) = &request.certificate else { return told };
    let taken = STORES.iter().map(|(store, what)| {
        let count = certificate["taken"][store].as_i64().unwrap_or(0);
        json!({ "store": store, "what": what, "count": count })
    });
    let days = days.to_string();
    let stays = STAYS
        .iter()
        .map(|(store, why)| json!({ "store": store, "why": why.replace("{days}", &days) }));
    told["approvedBy"] = json!(request.approved_by);
    told["erasedAt"] = json!(request.executed_at.map(|at| at.to_string()));
    told["taken"] = taken.collect();
    told["left"] = json!({
        "why": "they name others too, or are of a type that is nobody's alone: look at them",
        "count": certificate["left_count"],
        "resources": certificate["left"],
        "oldVersions": certificate["old_versions_left"],
    });
    told["stays"] = stays.collect();
    told
}

/// The same for people.
///
/// # Errors
/// What writing to `out` says.
pub(super) fn write(told: &Value, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
    writeln!(
        out,
        "request {} for {}: {}",
        told["number"],
        text(&told["patient"]),
        text(&told["state"])
    )?;
    writeln!(
        out,
        "asked by {} at {}: {}",
        text(&told["askedBy"]),
        text(&told["askedAt"]),
        text(&told["reason"])
    )?;
    for block in items(&told["blocked"]) {
        writeln!(out, "  blocked: {}", text(&block))?;
    }
    if told["taken"].is_null() {
        return Ok(());
    }
    writeln!(out, "taken:")?;
    for it in items(&told["taken"]).iter().filter(|it| it["count"] != 0) {
        writeln!(
            out,
            "  {:>8}  {}: {}",
            it["count"].to_string(),
            text(&it["store"]),
            text(&it["what"])
        )?;
    }
    let left = &told["left"];
    writeln!(out, "left, because {}:", text(&left["why"]))?;
    writeln!(out, "  {} resources, {} old versions", left["count"], left["oldVersions"])?;
    for name in items(&left["resources"]) {
        writeln!(out, "  {}", text(&name))?;
    }
    writeln!(out, "stays:")?;
    for it in items(&told["stays"]) {
        writeln!(out, "  {}: {}", text(&it["store"]), text(&it["why"]))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::Instant;

    fn request() -> ErasureRequest {
        let at = Instant::from_micros(0);
        ErasureRequest {
            number: 3,
            patient: "p1".to_owned(),
            reason: "asked".to_owned(),
            asked: ("ada".to_owned(), at),
            approved_by: None,
            withdrawn: None,
            executed_at: None,
            certificate: None,
            line: None,
        }
    }

    fn told(request: &ErasureRequest, blocks: &[String]) -> String {
        let mut out = Vec::new();
        write(&of(request, blocks, 30), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_speaks_against_it_is_told_as_long_as_it_is_open() {
        let text = told(&request(), &["hold 1".to_owned()]);
        assert!(
            text.contains("waits for somebody else") && text.contains("blocked: hold 1"),
            "{text}"
        );
        assert!(!text.contains("taken"), "{text}");
    }

    /// Covers: security G2.
    #[test]
    fn a_certificate_lists_every_store_that_is_counted_and_claims_no_more() {
        let migration = include_str!("../../../migrations/0214_erasure_of_one.sql");
        let counted: Vec<&str> = migration
            .split("jsonb_build_object('")
            .skip(1)
            .filter_map(|rest| rest.split_once("', n)"))
            .map(|(store, _)| store)
            .collect();
        let listed: Vec<&str> = STORES.iter().map(|(store, _)| *store).collect();
        for store in &counted {
            assert!(listed.contains(store), "{store} is counted and not told");
        }
        assert_eq!(counted.len(), listed.len(), "{listed:?}");
        let taken: Map<String, Value> =
            counted.iter().map(|store| ((*store).to_owned(), json!(2))).collect();
        let mut certificate =
            json!({ "taken": taken, "left": ["Group/g"], "left_count": 1, "old_versions_left": 0 });
        let more = json!({ "taken": { "res": 1, "tok": 4 }, "left": [], "left_count": 0, "old_versions_left": 0 });
        assert!(add(&mut certificate, &more));
        assert!(!add(
            &mut certificate,
            &json!({ "taken": { "res": 0 }, "left": ["Group/h"], "left_count": 1, "old_versions_left": 0 })
        ));
        let done = ErasureRequest {
            executed_at: Some(Instant::from_micros(0)),
            approved_by: Some("grace".to_owned()),
            certificate: Some(certificate),
            ..request()
        };
        let text = told(&done, &[]);
        for needle in [
            "       3  res:",
            "       6  tok:",
            "Group/h",
            "for 30 days",
            "ledger",
            "approved by grace",
        ] {
            assert!(text.contains(needle), "{needle}: {text}");
        }
        assert!(!text.contains("everywhere") && !text.contains("Group/g"), "{text}");
    }
}
