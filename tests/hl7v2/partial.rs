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
