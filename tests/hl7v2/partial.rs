//! What is not valid stops its message, or is left out of it, as the sender's profile says.

use super::sites::install;
use super::stories::Story;

const PROFILE: &str = r#"
[site]
id = "vax"
match = { app = "LAB", facility = "STM" }
partial = true
"#;

/// An immunization that is not valid (it lacks its time), beside one that is.
const VACCINES: &str = "PID|1||12^^^STM^MR||Muster^Anna\n\
     ORC|RE||X1^LAB\nRXA|0|1|||08^Hep B^CVX|0.5|mL||||||||L1|||||CP\n\
     ORC|RE||X2^LAB\nRXA|0|1|20260704||08^Hep B^CVX|0.5|mL||||||||L2|||||CP";

/// The rest is stored, and what was left out is told.
///
/// Covers: v2 F3.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_can_have_what_is_not_valid_left_out() {
    let mut story = Story::begin().await;
    let all = "/Immunization?patient.identifier=12&";
    let refused = story.tell("VXU^V04^VXU_V04", VACCINES).await;
    assert!(refused.starts_with("AE") && refused.contains("invalid-resource"), "{refused}");
    assert_eq!(story.count(all).await, "0");
    assert_eq!(story.count("/Patient?").await, "0");
    install(&story.server, "vax", Some(PROFILE)).await;
    let told = story.tell("VXU^V04^VXU_V04", VACCINES).await;
    assert!(told.starts_with("AA") && told.contains("skipped-invalid"), "{told}");
    assert_eq!(story.count(all).await, "1");
    assert_eq!(story.of(all, "lotNumber").await, "L2");
    // The origin is told of what is there, and of nothing else.
    let origin = story.get("/Provenance?").await;
    let target = |at: u32| origin.at(&format!("entry[0].resource.target[{at}].reference"));
    let targets: Vec<_> = (0..20).map_while(target).collect();
    assert!(targets.iter().any(|it| it.starts_with("Patient/")), "{targets:?}");
    assert!(targets.iter().any(|it| it.starts_with("Immunization/")), "{targets:?}");
    for target in &targets {
        story.get(&format!("/{target}")).await;
    }
    let effects = "SELECT count(*) FROM v2_effect WHERE resource_type = 'Immunization'";
    assert_eq!(story.server.database.number(effects).await, 1);
    // A word that is neither true nor false is a fault of the profile.
    let spec = kiln::spec::Spec::r4().unwrap();
    let maps = kiln::hl7v2::map::Maps::base(&spec.schema).unwrap();
    let faults = maps.with_site("p.toml", "[site]\nid = 'x'\npartial = 'yes'", &spec.schema);
    assert!(faults.unwrap_err()[0].to_string().contains("partial"));
}

/// What cannot be without what is left out goes with it, and no more: the visit stays without its diagnosis.
///
/// Covers: v2 F3.
#[tokio::test(flavor = "multi_thread")]
async fn a_visit_stays_when_its_diagnosis_is_left_out() {
    let mut story = Story::begin().await;
    let whole = "PID|1||12^^^STM^MR||Muster^Anna\n\
         PV1|1|I|W1^1^2^STM||||||||||||||||V1^^^STM^VN\nDG1|1||K35^Appendicitis^I10|||A";
    // A condition of nobody is none.
    let faulty = format!("{PROFILE}[resource.condition]\nunset = [\"subject\"]\n");
    install(&story.server, "vax", Some(&faulty)).await;
    let told = story.tell("ADT^A01^ADT_A01", whole).await;
    assert!(told.starts_with("AA") && told.contains("skipped-invalid"), "{told}");
    assert_eq!(story.count("/Condition?").await, "0");
    assert_eq!(story.of("/Encounter?", "status").await, "in-progress");
    assert_eq!(story.of("/Encounter?", "diagnosis[0].condition.reference").await, "");
    assert_eq!(story.of("/Patient?", "name[0].family").await, "Muster");
    // When the rule is mended, both are there.
    install(&story.server, "vax", Some(PROFILE)).await;
    assert_eq!(story.tell("ADT^A08^ADT_A01", whole).await.split(' ').next(), Some("AA"));
    let condition = story.of("/Condition?", "id").await;
    let named = story.of("/Encounter?", "diagnosis[0].condition.reference").await;
    assert_eq!(named, format!("Condition/{condition}"));
}

/// A rule is mended after a message has failed by it: worked on again, the message has its effect, once, and
/// what came later stays as it is.
///
/// Covers: v2 B39.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_has_its_effect_when_the_rule_is_mended() {
    let mut story = Story::begin().await;
    // This sender tells the time of a vaccination where nobody looks for it.
    let vaccination = "PID|1||12^^^STM^MR||Alt^Anna\n\
         ORC|RE||X1^LAB\nRXA|0|1|||08^Hep B^CVX|0.5|mL||||||||L1|||||CP||20260704";
    let all = "/Immunization?patient.identifier=12&";
    let refused = story.tell_at("VXU^V04^VXU_V04", "20260704120000", vaccination).await;
    assert!(refused.starts_with("AE") && refused.contains("invalid-resource"), "{refused}");
    let newer = "PID|1||12^^^STM^MR||Neu^Anna";
    assert_eq!(story.tell_at("ADT^A28^ADT_A05", "20260704130000", newer).await, "AA");
    let mended = PROFILE.replace("partial = true\n", "")
        + "[resource.immunization.set]\noccurrenceDateTime = \"RXA-22 | datetime\"\n";
    install(&story.server, "vax", Some(&mended)).await;
    let client = &story.server.client;
    let url = format!("{}/v2/messages/$replay?state=failed", client.root());
    for round in 0..2 {
        client.call("POST", &url).send().await.expect(202);
        let failed = "SELECT count(*) FROM v2_message \
             WHERE state NOT IN ('processed', 'processed_with_issues')";
        for _ in 0..200 {
            if story.server.database.number(failed).await == 0 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert_eq!(story.server.database.number(failed).await, 0, "{round}");
        assert_eq!(story.count(all).await, "1", "{round}");
        assert_eq!(story.of(all, "occurrenceDateTime").await, "2026-07-04");
        assert_eq!(story.of(all, "meta.versionId").await, "1");
        assert_eq!(story.count("/Patient?").await, "1");
        assert_eq!(story.of("/Patient?", "name[0].family").await, "Neu", "newer news stay");
        // Once more by hand: it is the same again.
        let again = "UPDATE v2_message SET state = 'failed' WHERE type = 'VXU';\n\
             INSERT INTO v2_open (message_id, site, received_at, order_keys, state) \
               SELECT id, site, received_at, order_keys, 'failed' FROM v2_message WHERE type = 'VXU'";
        story.server.database.run(again).await;
    }
}

/// A message that failed is worked on again when its profile is mended: it has its effect once, and what
/// came later stays as it is.
///
/// Covers: v2 B39.
#[tokio::test(flavor = "multi_thread")]
async fn a_mended_message_overwrites_nothing_newer() {
    let mut story = Story::begin().await;
    let old = VACCINES.replace("Muster^Anna", "Alt^Anna");
    let refused = story.tell_at("VXU^V04^VXU_V04", "20260704120000", &old).await;
    assert!(refused.starts_with("AE"), "{refused}");
    let newer = "PID|1||12^^^STM^MR||Neu^Anna";
    assert_eq!(story.tell_at("ADT^A28^ADT_A05", "20260704130000", newer).await, "AA");
    install(&story.server, "vax", Some(PROFILE)).await;
    let client = &story.server.client;
    let url = format!("{}/v2/messages/$replay?state=failed", client.root());
    client.call("POST", &url).send().await.expect(202);
    let all = "/Immunization?patient.identifier=12&";
    for _ in 0..200 {
        if story.count(all).await == "1" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(story.of(all, "lotNumber").await, "L2");
    assert_eq!(story.of("/Patient?", "name[0].family").await, "Neu", "newer news stay");
    let stored = story.of(all, "meta.versionId").await;
    // Once more, by its id: nothing is made a second time.
    let list = format!("{}/v2/messages?type=VXU", client.root());
    let list = String::from_utf8(client.call("GET", &list).send().await.body.to_vec()).unwrap();
    let id = list.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let states = "SELECT count(*) FROM v2_message WHERE state = 'processed_with_issues'";
    assert_eq!(story.server.database.number(states).await, 1);
    let replay = format!("{}/v2/messages/{id}/$replay", client.root());
    client.call("POST", &replay).send().await.expect(202);
    for _ in 0..200 {
        if story.server.database.number(states).await == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(story.count(all).await, "1");
    assert_eq!(story.of(all, "meta.versionId").await, stored);
    assert_eq!(story.of("/Patient?", "name[0].family").await, "Neu");
}
