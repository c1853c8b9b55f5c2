//! The targets of HL7 version 2, each in a process that is watched: the seeds and some thousand mutations of them;
//! ten minutes each with `KILN_TEST_LONG=1`. A panic, a hang, a flood of memory or a broken property is a finding.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests read their own switch from the environment, and panic when they fail"
)]

use std::process::Command;

/// Seconds of each target in the long form.
const LONG: u64 = 600;

/// Fuzzes a target, `cases` times in the short form.
fn fuzz(target: &str, cases: u64) {
    let is_long = std::env::var_os("KILN_TEST_LONG").is_some_and(|value| value == "1");
    let (option, number) = if is_long { ("--seconds", LONG) } else { ("--cases", cases) };
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln-fuzz"));
    let ran = command.args([option, &number.to_string(), target]).output().unwrap();
    let told = String::from_utf8_lossy(&ran.stdout);
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{told}{said}");
    // `v2-frame  4000 cases in 2 s (2000 a second)`
    let mut words = told.split_whitespace();
    assert_eq!(words.next(), Some(target), "{told}");
    let done: u64 = words.next().and_then(|word| word.parse().ok()).unwrap();
    assert!(if is_long { done > 0 } else { done == cases }, "{told}");
}

/// Covers: v2 B42.
#[test]
fn no_message_breaks_the_reader_or_its_answer() {
    fuzz("v2", 4_000);
}

/// Covers: v2 B42.
#[test]
fn no_stream_breaks_the_frames() {
    fuzz("v2-frame", 10_000);
}

/// Covers: v2 B42.
#[test]
fn no_text_breaks_the_escapes() {
    fuzz("v2-escape", 10_000);
}

/// Covers: v2 B42.
#[test]
fn no_text_breaks_dates() {
    fuzz("v2-date", 10_000);
}

/// Covers: v2 B42.
#[test]
fn no_message_breaks_what_maps_make() {
    fuzz("v2-draft", 2_000);
}

/// Covers: v2 B42.
#[test]
fn no_profile_of_a_sender_breaks_the_compiler_of_maps() {
    fuzz("v2-map", 1_000);
}

/// Covers: v2 B42.
#[test]
fn no_file_of_maps_breaks_their_compiler() {
    fuzz("v2-maps", 2_000);
}
