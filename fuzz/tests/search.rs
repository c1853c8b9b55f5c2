//! The targets of searches, each in a process that is watched: the seeds and some thousand mutations of them; ten
//! minutes each with `KILN_TEST_LONG=1`. A panic, a hang, a flood of memory or a broken property is a finding.

mod common;

use common::fuzz;

/// Covers: security H8, H10.
#[test]
fn no_query_breaks_its_reader_and_what_is_shown_of_it_reads_the_same() {
    fuzz("query", 2_000);
}

/// What has a syntax error or an unknown name is refused; that this is 400 shows the case of the item.
///
/// Covers: rest 4.175, security H10.
#[test]
fn no_filter_breaks_its_reader() {
    fuzz("filter", 2_000);
}

/// Covers: security H9.
#[test]
fn no_expression_breaks_fhirpath_or_its_budget() {
    fuzz("fhirpath", 4_000);
}

/// Links are opaque, and open as they were made alone; that this is 400, and a link a GET, shows the case of the item.
///
/// Covers: rest 4.193.
#[test]
fn no_link_opens_that_nobody_sealed() {
    fuzz("cursor", 10_000);
}
