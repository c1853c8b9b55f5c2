//! Numbers of patients: whose they are, which count, and who takes them back.

use super::sites::install;
use super::stories::{Story, result};

/// A message of another sender about the same patient.
async fn by(story: &mut Story, application: &str, id: u32, numbers: &str) -> String {
    let message = format!(
        "MSH|^~\\&|{application}|STM|KILN|H|2026070512{id:02}00||ADT^A31^ADT_A05|{application}{id}|P|2.5.1\r\
         EVN||2026070512{id:02}00\rPID|1||{numbers}||Muster^Anna\r"
    );
    super::feed::value(&story.sender.send(&message).await, "MSA-1")
}

async fn numbers(story: &Story) -> String {
    let found = story.get("/Patient?").await;
    let of = |at: u32| found.at(&format!("entry[0].resource.identifier[{at}].value"));
    let mut all: Vec<_> = (0..9).map_while(of).collect();
    all.sort();
    all.join(" ")
}

/// v2 S1: PID-2 and PID-4 are kept, each with a system.
///
/// Covers: v2 S1.
#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_of_old_fields_are_kept() {
    let mut story = Story::begin().await;
    let pid = "PID|1|OLD1^^^EXT&1.2.3&ISO^PT|12^^^STM^MR|ALT1^^^CLINIC~ALT2|Muster^Anna";
    assert_eq!(story.tell("ADT^A28^ADT_A05", pid).await, "AA");
    for (value, system) in [
        ("OLD1", "urn:oid:1.2.3"),
        ("ALT1", "urn:kiln/v2/aa/LAB.STM/CLINIC"),
        ("ALT2", "urn:kiln/v2/aa/LAB.STM"),
    ] {
        let url = format!("/Patient?identifier={system}|{value}&");
        assert_eq!(story.count(&url).await, "1", "{url}");
    }
}

/// v2 S2: numbers of an authority that the site distrusts never say who somebody is.
///
/// Covers: v2 S2.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_of_a_distrusted_authority_do_not_count() {
    let mut story = Story::begin().await;
    let profile = "[site]\nid = \"lab\"\nmatch = { app = \"LAB\" }\n\
        [authority]\nSTM = { system = \"https://stm.test/mrn\" }\n\
        ROOM = { system = \"https://stm.test/room\", trusted = false }\n";
    install(&story.server, "lab", Some(profile)).await;
    assert_eq!(
        story.tell("ADT^A28^ADT_A05", "PID|1||7^^^ROOM^MR~1^^^STM^MR||Muster^Anna").await,
        "AA"
    );
    // The same room, and another patient.
    assert_eq!(story.tell("ADT^A28^ADT_A05", "PID|1||7^^^ROOM^MR~2^^^STM^MR||Neu^Eva").await, "AA");
    assert_eq!(story.count("/Patient?").await, "2");
    assert_eq!(story.count("/Patient?identifier=https://stm.test/room|7&").await, "2");
    // Who has no other number is nobody.
    let told = story.tell("ADT^A28^ADT_A05", "PID|1||7^^^ROOM^MR||Neu^Eva").await;
    assert_eq!(told, "AE no-trusted-number");
    assert_eq!(story.count("/Patient?").await, "2");
}

/// v2 B11, v2 S3: the order of numbers says nothing, of whatever type they are.
///
/// Covers: v2 B11, v2 S3.
#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_numbers_of_no_personal_type_says_nothing() {
    let mut story = Story::begin().await;
    let pid = |numbers: &str| format!("PID|1||{numbers}||Muster^Anna");
    for numbers in [
        "S1^^^SSA^SS~D1^^^DMV^DL",
        "D1^^^DMV^DL~S1^^^SSA^SS",
        "^^^STM^MR~S1^^^SSA^SS",
        "D1^^^DMV^DL",
    ] {
        assert_eq!(story.tell("ADT^A28^ADT_A05", &pid(numbers)).await, "AA", "{numbers}");
        assert_eq!(story.count("/Patient?").await, "1", "{numbers}");
    }
    for numbers in ["1^^^STM^MR~2^^^NAT^PI", "2^^^NAT^PI~1^^^STM^MR"] {
        assert_eq!(story.tell("ADT^A28^ADT_A05", &pid(numbers)).await, "AA", "{numbers}");
        assert_eq!(story.count("/Patient?").await, "2", "{numbers}");
    }
}

/// v2 S4: a sender takes back what it alone has told of.
///
/// Covers: v2 S4.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_taken_back_by_who_told_of_it() {
    let mut story = Story::begin().await;
    let own = "urn:oid:1.2";
    let trusted = "1^^^&1.9&ISO^MR";
    let of = |value: &str| format!("{value}^^^&1.2&ISO^XX");
    // Two senders tell of numbers of one authority, of one of them both.
    assert_eq!(
        by(&mut story, "ADT", 1, &format!("{trusted}~{}~{}", of("A"), of("AB"))).await,
        "AA"
    );
    assert_eq!(
        by(&mut story, "LAB", 2, &format!("{trusted}~{}~{}", of("B"), of("AB"))).await,
        "AA"
    );
    assert_eq!(numbers(&story).await, "1 A AB B");
    // What one leaves out goes, unless the other told of it.
    assert_eq!(by(&mut story, "ADT", 3, &format!("{trusted}~{}", of("C"))).await, "AA");
    assert_eq!(numbers(&story).await, "1 AB B C");
    // Who names no number of the authority takes none away.
    assert_eq!(by(&mut story, "LAB", 4, trusted).await, "AA");
    assert_eq!(numbers(&story).await, "1 AB B C");
    assert_eq!(story.count(&format!("/Patient?identifier={own}|B&")).await, "1");
}

/// v2 S2, v2 S4: a number that was taken back leads to nobody any more: the next who has it is another person, whose
/// data are nobody else's.
///
/// Covers: v2 S2, v2 S4.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_was_taken_back_is_the_next_person_s() {
    let mut story = Story::begin().await;
    let (add, change) = ("ADT^A28^ADT_A05", "ADT^A31^ADT_A05");
    let pid = |numbers: &str, name: &str| format!("PID|1||{numbers}||{name}");
    let both = pid("12^^^STM^MR~5^^^STM^PI", "Muster^Anna");
    assert_eq!(story.tell(add, &both).await, "AA");
    let first = story.of("/Patient?", "id").await;
    // Whose a result is may be said by one number: that takes none away.
    let by_one = result("5", "F", "1").replace("^^^STM^MR", "^^^STM^PI");
    assert!(story.tell("ORU^R01^ORU_R01", &by_one).await.starts_with("AA"));
    assert_eq!(numbers(&story).await, "12 5");
    let now = pid("13^^^STM^MR~5^^^STM^PI", "Muster^Anna");
    assert_eq!(story.tell(change, &now).await, "AA");
    assert_eq!(numbers(&story).await, "13 5");
    // Nobody has it: there is nobody who could end.
    let merge = format!("{now}\nMRG|12^^^STM^MR");
    assert_eq!(story.tell("ADT^A40^ADT_A39", &merge).await, "AE unknown-patient");
    for (name, given) in [("Other^Person", "Person"), ("Other^Paul", "Paul")] {
        assert_eq!(story.tell(add, &pid("12^^^STM^MR", name)).await, "AA");
        assert_eq!(story.count("/Patient?").await, "2", "{name}");
        let url = "/Patient?identifier=12&";
        assert_ne!(story.of(url, "id").await, first);
        assert_eq!(story.of(url, "name[0].given[0]").await, given);
    }
    let kept = story.get(&format!("/Patient/{first}")).await;
    assert_eq!(kept.at("name[0].family").as_deref(), Some("Muster"));
    let values = [0, 1, 2].map(|at| kept.at(&format!("identifier[{at}].value")));
    assert_eq!(values.map(Option::unwrap_or_default), ["5", "13", ""]);
    // What was true before, told again: nobody can say any more who is meant.
    let again = story.tell_at(add, "20260704115900", &both).await;
    assert_eq!(again, "AE identity-conflict");
    // A number of an authority that nobody has told of since is added by late news, and found by.
    let late = pid("13^^^STM^MR~77^^^NAT^PI", "Alt^Anna");
    assert_eq!(story.tell_at(change, "20260704115900", &late).await, "AA stale");
    assert_eq!(story.tell(change, &pid("77^^^NAT^PI", "Neu^Anna")).await, "AA");
    assert_eq!(story.count("/Patient?").await, "2");
    assert_eq!(story.of("/Patient?identifier=13&", "name[0].family").await, "Neu");
}

/// v2 S4: what somebody takes away by hand is taken away too, but the number of a patient whom another one has replaced
/// leads to who stayed as long as either has it.
///
/// Covers: v2 S4.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_was_merged_leads_to_who_stayed_whatever_is_changed_by_hand() {
    let mut story = Story::begin().await;
    let add = "ADT^A28^ADT_A05";
    let pid = |number: &str, name: &str| format!("PID|1||{number}^^^STM^MR||{name}");
    for number in ["1", "9"] {
        assert_eq!(story.tell(add, &pid(number, "Muster^Anna")).await, "AA");
    }
    let merge = format!("{}\nMRG|9^^^STM^MR", pid("1", "Muster^Anna"));
    assert_eq!(story.tell("ADT^A40^ADT_A39", &merge).await, "AA");
    let url = "/Patient?active=true&";
    let kept = story.of(url, "id").await;
    let without = async |story: &Story, number: &str| {
        let found = story.get(&format!("/Patient/{kept}")).await;
        let system = found.at("identifier[0].system").unwrap();
        let link = found.at("link[0].other.reference").unwrap();
        let body = format!(
            r#"{{"resourceType":"Patient","id":"{kept}","active":true,"name":[{{"family":"Muster"}}],
            "identifier":[{{"system":"{system}","value":"{number}"}}],
            "link":[{{"other":{{"reference":"{link}"}},"type":"replaces"}}]}}"#
        );
        story.server.client.put(&format!("/Patient/{kept}"), body).await.expect(200);
    };
    without(&story, "1").await;
    assert_eq!(story.tell(add, &pid("9", "Neu^Anna")).await, "AA");
    assert_eq!(story.of(url, "id").await, kept);
    assert_eq!(story.of(url, "name[0].family").await, "Neu");
    // The number by which it was known itself is another's once it is taken away.
    without(&story, "3").await;
    assert_eq!(story.tell(add, &pid("1", "Other^Person")).await, "AA");
    assert_eq!(story.count("/Patient?active=true&").await, "2");
    assert_eq!(story.of("/Patient?identifier=1&", "name[0].family").await, "Other");
    let found = story.get(&format!("/Patient/{kept}")).await;
    assert_eq!(found.at("name[0].family").as_deref(), Some("Muster"));
}

/// v2 S30: a report that is known by its number alone is found again by its code, and another panel of that number is
/// another report.
///
/// Covers: v2 S30.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_by_its_number_alone_is_found_by_its_code() {
    let mut story = Story::begin().await;
    let panel = |code: &str, status: &str, value: u8| {
        format!(
            "PID|1||1^^^STM^MR||Muster^Anna\nOBR|1||F1^LAB|{code}^Panel^L|||20260704110000|||||||||||||||20260704113000||LAB|{status}\n\
             OBX|1|NM|R^Result^L||{value}|g/dL|||||{status}"
        )
    };
    let oru = "ORU^R01^ORU_R01";
    assert_eq!(story.tell(oru, &panel("A", "F", 1)).await, "AA");
    // As keys were before the code of a panel was in them.
    let of = "resource_type IN ('DiagnosticReport', 'ServiceRequest')";
    let coded = format!("DELETE FROM v2_key WHERE {of} AND strpos(value, chr(31)) > 0");
    story.server.database.run(&coded).await;
    assert_eq!(story.tell(oru, &panel("B", "F", 2)).await, "AA");
    assert_eq!(story.count("/DiagnosticReport?").await, "2");
    assert_eq!(story.tell(oru, &panel("A", "C", 3)).await, "AA");
    assert_eq!(story.tell(oru, &panel("B", "C", 4)).await, "AA");
    assert_eq!(story.count("/DiagnosticReport?").await, "2");
    assert_eq!(story.count("/ServiceRequest?").await, "2");
    for code in ["A", "B"] {
        let url = format!("/DiagnosticReport?code={code}&");
        assert_eq!(story.of(&url, "status").await, "corrected", "{code}");
        assert_eq!(story.of(&url, "meta.versionId").await, "2", "{code}");
    }
    // The number alone is that of the first.
    let keys = format!("SELECT count(*) FROM v2_key WHERE {of}");
    assert_eq!(story.server.database.number(&keys).await, 6);
}

/// Has a resource, and the key that messages know it by, be as an earlier build left them: with the digest of
/// `texts` for its key.
async fn age(story: &Story, of: &str, texts: &[&str]) {
    let found = story.get(&format!("/{of}?")).await;
    let at = |path: &str| found.at(&format!("entry[0].resource.{path}")).unwrap();
    let (id, known) = (at("id"), at("identifier[0].value"));
    let text = texts.join("\u{1}");
    let digest = kiln::hl7v2::types::id::digest(&[of, "LAB.STM", &text]);
    let before = kiln::audit::hex(&digest);
    assert_ne!(known, before);
    let url = format!("/{of}/{id}");
    let body = story.get(&url).await.text().replace(&known, &before);
    story.server.client.put(&url, body).await.expect(200);
    let moved = format!("UPDATE v2_key SET value = '{before}' WHERE value = '{known}'");
    story.server.database.run(&moved).await;
}

/// v2 S11: allergies whose keys had no system are known by those of now, and a list of all there is ends none of them.
#[tokio::test(flavor = "multi_thread")]
async fn allergies_of_an_earlier_build_are_taken_over() {
    let patient = "PID|1||1^^^STM^MR||Muster^Anna";
    let update = "ADT^A08^ADT_A01";
    for (own, code) in [("P1^Penicillin^RXN", "P1"), ("^Pollen", "Pollen")] {
        let mut story = Story::begin().await;
        let told = story.tell(update, &format!("{patient}\nAL1|1|DA|{own}")).await;
        assert!(told.starts_with("AA"), "{told}");
        age(&story, "AllergyIntolerance", &["urn:kiln/v2/aa/LAB.STM/STM|1", "AL1", code]).await;
        let id = story.get("/AllergyIntolerance?").await.at("entry[0].resource.id").unwrap();
        // The same code of another system is another allergy: it takes nothing over.
        let both = format!("{patient}\nAL1|1|FA|{code}^Peanut^L\nAL1|2|DA|{own}");
        for time in ["first", "second"] {
            let told = story.tell(update, &both).await;
            assert!(told.starts_with("AA"), "{own} {time} {told}");
            assert_eq!(story.count("/AllergyIntolerance?").await, "2", "{own} {time}");
            let kept = story.get(&format!("/AllergyIntolerance/{id}")).await;
            let status = kept.at("clinicalStatus.coding[0].code");
            assert_eq!(status.as_deref(), Some("active"), "{own} {time}");
            assert_eq!(kept.at("code.text"), own.split('^').nth(1).map(str::to_owned), "{own}");
            // It has the key of now alone.
            assert!(kept.at("identifier[0].value").is_some(), "{own} {time}");
            assert_eq!(kept.at("identifier[1].value"), None, "{own} {time}");
        }
    }
}

/// v2 S30: panels that have a name alone are reports of their own, whichever message brings them, and those of an
/// earlier build are found by their name.
#[tokio::test(flavor = "multi_thread")]
async fn panels_that_have_a_name_alone_stay_apart() {
    let panel = |name: &str, status: &str, value: u8| {
        format!(
            "PID|1||1^^^STM^MR||Muster^Anna\nOBR|1||F1^LAB|^{name}|||20260704110000|||||||||||||||20260704113000||LAB|{status}\n\
             OBX|1|NM|R^Result^L||{value}|g/dL|||||{status}"
        )
    };
    let oru = "ORU^R01^ORU_R01";
    for is_old in [false, true] {
        let mut story = Story::begin().await;
        assert_eq!(story.tell(oru, &panel("Blood count", "F", 1)).await, "AA");
        if is_old {
            let of = "resource_type IN ('DiagnosticReport', 'ServiceRequest')";
            let named = format!("DELETE FROM v2_key WHERE {of} AND strpos(value, chr(31)) > 0");
            story.server.database.run(&named).await;
            age(&story, "Observation", &["F1^LAB", "", "", "R", "L", "", "1"]).await;
        }
        assert_eq!(story.tell(oru, &panel("Differential", "F", 2)).await, "AA");
        // However it is written, it is the same.
        assert_eq!(story.tell(oru, &panel("BLOOD  count", "C", 3)).await, "AA");
        for of in ["DiagnosticReport", "ServiceRequest", "Observation"] {
            assert_eq!(story.count(&format!("/{of}?")).await, "2", "{of} {is_old}");
        }
        for of in ["DiagnosticReport", "Observation"] {
            for status in ["final", "corrected"] {
                let url = format!("/{of}?status={status}&");
                assert_eq!(story.count(&url).await, "1", "{url} {is_old}");
            }
        }
        let corrected = story.of("/DiagnosticReport?status=corrected&", "code.text").await;
        assert_eq!(corrected, "BLOOD  count");
        let value = story.of("/Observation?status=final&", "valueQuantity.value").await;
        assert_eq!(value, "2", "{is_old}");
    }
}

/// v2 S30: results of two people whose orders have no number are two, and those of an earlier build, which told nobody
/// apart there, are taken over by messages of whose they are.
#[tokio::test(flavor = "multi_thread")]
async fn results_without_a_number_stay_with_their_patient() {
    let mut story = Story::begin().await;
    let result = |patient: u8, status: &str, value: u8| {
        format!(
            "PID|1||{patient}^^^STM^MR||Muster^Anna\nOBR|1|||P^Panel^L|||20260704110000|||||||||||||||20260704113000||LAB|{status}\n\
             OBX|1|NM|R^Result^L||{value}|g/dL|||||{status}"
        )
    };
    let oru = "ORU^R01^ORU_R01";
    assert_eq!(story.tell(oru, &result(1, "F", 1)).await, "AA");
    age(&story, "Observation", &["", "", "P", "R", "L", "", "1"]).await;
    let id = story.of("/Observation?", "id").await;
    assert_eq!(story.tell(oru, &result(2, "F", 2)).await, "AA");
    assert_eq!(story.tell(oru, &result(1, "C", 3)).await, "AA");
    for of in ["DiagnosticReport", "Observation"] {
        assert_eq!(story.count(&format!("/{of}?")).await, "2", "{of}");
    }
    assert_eq!(story.of("/Observation?status=corrected&", "id").await, id);
    assert_eq!(story.of("/Observation?status=final&", "valueQuantity.value").await, "2");
}

/// v2 S30: codes longer than an index takes are codes all the same.
#[tokio::test(flavor = "multi_thread")]
async fn long_codes_of_one_number_that_differ_at_their_end_stay_apart() {
    let mut story = Story::begin().await;
    // Digits that an index cannot make shorter.
    let digits = (0..90_u8).flat_map(|n| kiln::hl7v2::types::id::digest(&[&n.to_string()]));
    let long = kiln::audit::hex(&digits.collect::<Vec<u8>>());
    let panel = |end: &str, status: &str| {
        format!(
            "PID|1||1^^^STM^MR||Muster^Anna\nOBR|1||F1^LAB|{long}{end}^Panel {end}^L|||20260704110000|||||||||||||||20260704113000||LAB|{status}"
        )
    };
    let oru = "ORU^R01^ORU_R01";
    for (end, status) in [("A", "F"), ("B", "F"), ("B", "C"), ("A", "C")] {
        assert_eq!(story.tell(oru, &panel(end, status)).await, "AA", "{end} {status}");
    }
    assert_eq!(story.count("/DiagnosticReport?").await, "2");
    assert_eq!(story.count("/DiagnosticReport?status=corrected&").await, "2");
    let longest = "SELECT max(length(value))::bigint FROM v2_key";
    assert!(story.server.database.number(longest).await <= 1_000);
}
