//! `kiln bench audit` makes rows, tells their size, searches among them, seals and verifies them.

use crate::harness::process::Process;

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_is_measured_on_rows_of_its_own() {
    let process = Process::start().await;
    let database = process.database_url();
    let base = process.client.base();
    let arguments = ["audit", "--rows", "3000", "--database", &database, "--base", &base];
    let output = process.beside("bench", &arguments);
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{text}");
    for part in [
        "no --beside",
        "bytes a row with indexes",
        "of that the table",
        "events of a patient:",
        "what a user saw:",
        "rows are sealed",
        "as sealed",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains(", 0 of 100 find any"), "{text}");
}
