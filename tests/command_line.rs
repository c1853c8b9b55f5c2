//! The `kiln` program as an operator meets it.

use crate::harness::process::kiln;

/// Commands that exist by now, each with an example in its help.
const COMMANDS: &[&str] = &[
    "backup",
    "bench",
    "client",
    "conformance",
    "demo",
    "erase",
    "fhirpath",
    "hold",
    "import",
    "key",
    "migrate",
    "package",
    "restore",
    "serve",
    "tenant",
    "terminology",
    "token",
    "user",
];

#[test]
fn help_lists_every_command_and_each_has_an_example() {
    let output = kiln(&["help"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    for command in COMMANDS {
        assert!(text.contains(&format!("\n  {command} ")), "{command} is not in:\n{text}");
        let output = kiln(&["help", command]);
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{command}");
        let example = format!("kiln {command}");
        let shown = help.matches(&example).count() > 1 || help.contains("subcommand");
        assert!(shown || help.contains("Commands:"), "no example in:\n{help}");
    }
}

#[test]
fn mistakes_are_named_and_end_with_a_failure() {
    let cases: &[(&[&str], &str)] = &[
        (&["frobnicate"], "frobnicate"),
        (&["serve", "--set", "http.lisen=127.0.0.1:0"], "http.lisen"),
        (&["serve", "--set", "http.listen=0.0.0.0:0"], "http.base_url"),
        (&["serve", "--set", "auth.mode=off", "--set", "http.listen=0.0.0.0:0"], "auth.mode"),
        (&["--set", "http.lisen=1", "serve", "--set", "auth.mode=off"], "http.lisen"),
        (&["serve", "--config", "/nonexistent/kiln.toml"], "/nonexistent/kiln.toml"),
        (&["serve", "--set", "auth.mode=off", "--set", "http.listen=here"], "http.listen"),
        (&["package", "build", "/nonexistent.tgz"], "/nonexistent.tgz: No such file"),
        (&["package", "install", "Cargo.toml"], "Cargo.toml: not a definition pack"),
        (&["fhirpath", "name x", "Cargo.toml"], "name x\n       ^"),
        (&["fhirpath", "name", "/nonexistent.json"], "/nonexistent.json: No such file"),
        (&["fhirpath", "name", "Cargo.toml"], "Cargo.toml: "),
        (&["package", "build", "Cargo.toml"], "Cargo.toml: the package cannot be read: "),
    ];
    for (arguments, named) in cases {
        let output = kiln(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(text.contains(named), "{arguments:?} says:\n{text}");
        assert!(!text.contains("panicked"), "{arguments:?} says:\n{text}");
    }
}

#[test]
fn the_version_is_the_package_version() {
    let output = kiln(&["--version"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.trim(), concat!("kiln ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_smart_suite_fails_without_a_server_and_says_so_in_both_forms() {
    let nowhere = ["conformance", "smart", "--base", "http://127.0.0.1:1/fhir/"];
    let output = kiln(&nowhere);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.starts_with("I0.1.1 SMART configuration answers\n  fail answers 200"), "{text}");
    let output = kiln(&[&nowhere[..], &["--json"]].concat());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert_eq!(report["base"], "http://127.0.0.1:1/fhir");
    assert_eq!((&report["checks"][0]["item"], &report["failed"]), (&"I0.1.1".into(), &1.into()));
    let output = kiln(&["conformance", "smart", "--key-client", "a", "--key-file", "Cargo.toml"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && text.contains("Cargo.toml: "), "{text}");
}

/// Only a build for the bench can serve without a ledger.
#[test]
fn no_server_can_be_told_to_keep_no_ledger() {
    let output = kiln(&["serve", "--without-ledger"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("unexpected argument '--without-ledger'"), "{told}");
}

/// A part of a measurement that there is not is refused, with those that there are, before a server is asked.
#[test]
fn a_bench_names_its_parts_where_one_is_not_known() {
    for (arguments, expected) in [
        (&["audit", "--only", "TYPO"][..], "it is one of: cost; seal; search; who"),
        (&["audit", "--only", "who"], "--only who needs --database"),
        (&["audit", "--only", "cost"], "--only cost needs --without"),
        (&["v2", "--only", "stor"], "it is one of: store; paced; visit; result"),
        (&["v2", "--messages", "1", "--only", "store"], "it is one of: visit; result"),
        (&["read", "--only", "x"], "read is measured as a whole"),
    ] {
        let output = kiln(&[&["bench"], arguments].concat());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(expected), "{arguments:?}: {told}");
    }
}
