//! The targets of HL7 version 2, each in a process that is watched: the seeds and some thousand mutations of them;
//! ten minutes each with `KILN_TEST_LONG=1`. A panic, a hang, a flood of memory or a broken property is a finding.

mod common;

use common::fuzz;

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
