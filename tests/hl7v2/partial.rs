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
/// Covers in part: v2 F3.
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
    assert_eq!(
        story.of("/Provenance?", "target[0].reference").await.split('/').next(),
        Some("Patient")
    );
    // A word that is neither true nor false is a fault of the profile.
    let spec = kiln::spec::Spec::r4().unwrap();
    let maps = kiln::hl7v2::map::Maps::base(&spec.schema).unwrap();
    let faults = maps.with_site("p.toml", "[site]\nid = 'x'\npartial = 'yes'", &spec.schema);
    assert!(faults.unwrap_err()[0].to_string().contains("partial"));
}

/// A message that failed is worked on again when its profile is mended: it has its effect once, and what
/// came later stays as it is.
///
/// Covers in part: v2 B39.
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
