//! `kiln v2 convert`, `map`, `coverage`, `import`, `list` and `replay`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::database::temporary;
use crate::harness::process::{Process, kiln};
use crate::harness::shared::shared;
use crate::hl7v2::feed::adt;
use crate::hl7v2::sites::LAB;

/// A folder of its own.
fn folder() -> PathBuf {
    let folder = temporary("v2-commands");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn put(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

/// Runs `kiln v2 ..`: whether it went well, its output, its errors.
fn v2(arguments: &[&str]) -> (bool, String, String) {
    let output = kiln(&[&["v2"], arguments].concat());
    let told = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), told(output.stdout), told(output.stderr))
}

/// A message in the set of Windows that does not say so.
fn western(id: &str) -> Vec<u8> {
    let text = adt("A28", id, "12").replace("Muster", "M\u{FC}ller");
    text.chars().map(|c| u8::try_from(c).unwrap()).collect()
}

/// v2 P8: what a message would make is shown, or judged, without a server.
#[test]
fn a_message_is_converted_by_a_command() {
    let folder = folder();
    let file = put(&folder, "a.hl7", adt("A28", "1", "12").as_bytes());
    let (is_well, out, told) = v2(&["convert", &file]);
    assert!(is_well, "{told}");
    let bundle: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&bundle["resourceType"], &bundle["type"]),
        (&"Bundle".into(), &"transaction".into())
    );
    let entries = bundle["entry"].as_array().unwrap();
    let patient = entries.iter().find(|it| it["resource"]["resourceType"] == "Patient").unwrap();
    assert_eq!(patient["resource"]["name"][0]["family"], "Muster");
    let (is_well, out, told) = v2(&["convert", "--check", &file]);
    let count = format!("{file}\t{} resources\t", entries.len());
    assert!(is_well && out.lines().any(|line| line.starts_with(&count)), "{out}{told}");
    // What no map knows, and what lacks what it must have.
    let other = put(&folder, "b.hl7", adt("Z99", "1", "12").as_bytes());
    let (is_well, out, told) = v2(&["convert", &other]);
    assert!(!is_well && out.is_empty(), "{out}");
    assert!(told.ends_with(&format!("{other}: no map for its type and event\n")), "{told}");
    let nobody = adt("A28", "1", "12").replace("|12^^^STM^MR|", "||");
    let nobody = put(&folder, "c.hl7", nobody.as_bytes());
    let (is_well, _, told) = v2(&["convert", &nobody]);
    assert!(!is_well && told.contains("error: PID-3: required: "), "{told}");
    std::fs::remove_dir_all(folder).unwrap();
}

/// v2 S52, S53: commands read messages as the settings and the profile of their sender say.
#[test]
fn commands_read_messages_as_their_sender_sends_them() {
    let folder = folder();
    let file = put(&folder, "western.hl7", &western("1"));
    let lab = put(&folder, "lab.toml", LAB.as_bytes());
    let strict = LAB.replace("[codes", "reading = \"strict\"\n[codes");
    let strict = put(&folder, "strict.toml", strict.as_bytes());
    let (is_well, _, told) = v2(&["convert", &file]);
    assert!(!is_well && told.contains("the message is not in UTF-8"), "{told}");
    for more in [
        &["--site", &*lab][..],
        &["--set", "hl7v2.charset=windows-1252"],
        // What is asked for is stronger than the settings.
        &["--charset", "8859/1", "--set", "hl7v2.charset=UTF-8"],
    ] {
        let (is_well, out, told) = v2(&[&["convert", &*file], more].concat());
        assert!(is_well && out.contains("\"M\u{FC}ller\""), "{more:?} {told}");
    }
    let (is_well, out, told) = v2(&["map", "explain", "--site", &lab, "--message", &file, "PID-5"]);
    assert!(is_well && out.contains("\tPID-5"), "{out}{told}");
    // Which of two profiles reads it is told as what else they make of it.
    let (is_well, out, told) = v2(&["map", "diff", "-", &lab, &file]);
    assert!(is_well && out.contains("- refused: the message is not in UTF-8"), "{out}{told}");
    assert!(
        out.contains("M\u{FC}ller") && out.ends_with("1 messages make something else\n"),
        "{out}"
    );
    let junk = format!("{}NTE|1||one\rtwo\r", adt("A28", "1", "12"));
    let junk = put(&folder, "junk.hl7", junk.as_bytes());
    let (is_well, out, _) = v2(&["map", "diff", &lab, &strict, &junk]);
    assert!(is_well && out.contains("+ refused: a line after NTE^1 is no segment"), "{out}");
    for arguments in [
        &["convert", "--site", &*strict, &*junk][..],
        &["map", "diff", &strict, &strict, &junk],
        &["map", "explain", "--site", &strict, "--message", &junk],
    ] {
        let (is_well, _, told) = v2(arguments);
        assert!(
            !is_well && told.contains("a line after NTE^1 is no segment"),
            "{arguments:?} {told}"
        );
    }
    std::fs::remove_dir_all(folder).unwrap();
}

/// v2 P8: how much of the guide is done is counted by a command, over the rows that apply.
#[test]
fn the_coverage_of_the_guide_is_counted_by_a_command() {
    let Some(guide) = shared("suites/v2-to-fhir-ig-mappings.tar.gz") else { return };
    let guide = guide.display().to_string();
    let (is_well, out, told) = v2(&["coverage", "--guide", &guide]);
    assert!(is_well, "{told}");
    let last = out.lines().last().unwrap();
    let numbers = last.split(|c: char| !c.is_ascii_digit()).filter_map(|it| it.parse().ok());
    let numbers: Vec<usize> = numbers.collect();
    let [total, done, purpose, none, missing, percent, applying] = numbers[..] else {
        panic!("{last}")
    };
    assert_eq!((total, done + purpose + none + missing, applying), (1672, total, total - none));
    assert_eq!(percent, (done + purpose) * 100 / applying);
    assert!(percent >= 85, "{last}");
    // The list has a line for each row that is not done as it stands.
    let (is_well, listed, told) = v2(&["coverage", "--guide", &guide, "--list"]);
    assert!(is_well, "{told}");
    let of = |word: &str| listed.lines().filter(|line| line.starts_with(word)).count();
    assert_eq!((of("on purpose\t"), of("n/a\t"), of("missing\t")), (purpose, none, missing));
    let (is_well, _, told) = v2(&["coverage", "--guide", "/nonexistent.tar.gz"]);
    assert!(!is_well && told.contains("/nonexistent.tar.gz: No such file"), "{told}");
}

/// Runs `kiln v2 ..` beside a server: whether it went well, its output, its errors.
fn beside(process: &Process, arguments: &[&str]) -> (bool, String, String) {
    let output = process.beside("v2", arguments);
    let told = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), told(output.stdout), told(output.stderr))
}

/// How many messages `kiln v2 list` lists with these arguments.
fn listed(process: &Process, arguments: &[&str]) -> usize {
    let (is_well, out, told) = beside(process, &[&["list"], arguments].concat());
    assert!(is_well, "{arguments:?} {told}");
    out.lines().count()
}

/// Four messages that were processed and one that failed are listed by what is asked for.
fn lists(process: &Process) {
    for (arguments, expected) in [
        (&[][..], 5),
        (&["--state", "processed"], 4),
        (&["--state", "failed"], 1),
        (&["--type", "ADT"], 5),
        (&["--type", "ADT^A28"], 5),
        (&["--type", "ADT^A01"], 0),
        (&["--site", "LAB|STM"], 5),
        (&["--site", "LAB|STX"], 0),
        (&["--count", "2"], 2),
    ] {
        assert_eq!(listed(process, arguments), expected, "{arguments:?}");
    }
    let (is_well, _, told) = beside(process, &["list", "--state", "lost"]);
    assert!(!is_well && told.contains("\"lost\" is no state of messages"), "{told}");
}

/// v2 P7, P8: a folder is taken in with all that is below it, in the order of the names; what comes of each message is
/// listed, and what failed is worked on again when its cause is mended.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_imported_and_its_messages_are_listed_and_replayed() {
    let process = Process::start().await;
    let folder = process.data_dir.join("in");
    let named = |family: &str, id: &str| adt("A28", id, "12").replace("Muster", family);
    put(&folder, "1/a.hl7", named("First", "1").as_bytes());
    put(&folder, "2/b.hl7", named("Second", "2").as_bytes());
    put(
        &folder,
        "2/c.hl7",
        format!("{}{}", adt("A28", "3", "13"), adt("A28", "4", "14")).as_bytes(),
    );
    put(&folder, "3.hl7", &western("5"));
    let (is_well, out, told) = beside(&process, &["import", &folder.display().to_string()]);
    assert!(!is_well && told.contains("3.hl7"), "{told}");
    assert_eq!(out, "4 files: 4 AA, 1 AE\n");
    let named = async |family: &str| {
        let url = format!("/Patient?identifier=12&family:exact={family}");
        process.client.get(&url).await.expect(200).at("total").unwrap()
    };
    assert_eq!(named("First").await, "0");
    assert_eq!(named("Second").await, "1", "the later one is the later one");
    lists(&process);
    let (_, failed, _) = beside(&process, &["list", "--state", "failed"]);
    assert!(failed.contains("ADT^A28") && failed.contains("  5  "), "{failed}");
    let id = failed.split("  ").next().unwrap();
    // What is mended is the character set, in the profile of the sender.
    let profile = "[site]\nid = \"lab\"\nmatch = { app = \"LAB\" }\ncharset = \"windows-1252\"\n";
    let profile = put(&process.data_dir, "lab.toml", profile.as_bytes());
    assert!(beside(&process, &["map", "install", &profile]).0);
    for (arguments, expected) in [
        (&["replay", "nothing"][..], "\"nothing\" is no id"),
        (&["replay", "00000000-0000-7000-8000-000000000000"], "not"),
        (&["replay"], "ID"),
        (&["replay", id, "--failed"], "--failed"),
    ] {
        let (is_well, _, told) = beside(&process, arguments);
        assert!(!is_well && told.contains(expected), "{arguments:?} {told}");
    }
    let (is_well, out, told) = beside(&process, &["replay", "--failed", "--site", "LAB|STX"]);
    assert!(is_well && out == "0 messages wait to be worked on\n", "{out}{told}");
    let (is_well, out, told) =
        beside(&process, &["replay", id, "--reason", "the set is known now"]);
    assert!(is_well && out == "1 messages wait to be worked on\n", "{out}{told}");
    for _ in 0..100 {
        if listed(&process, &["--state", "failed"]) == 0 && named("M%C3%BCller").await == "1" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it was not worked on again");
}
