//! Runs a target as a test: as many cases as are told, or a time with `KILN_TEST_LONG=1`.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests read their own switch from the environment, and panic when they fail"
)]

use std::process::Command;

/// Seconds of each target in the long form.
const LONG: u64 = 600;

/// Fuzzes a target, `cases` times in the short form.
pub(crate) fn fuzz(target: &str, cases: u64) {
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
