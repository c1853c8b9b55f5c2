//! Questions about a patient who is being loaded: what they find, and how much there is.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Loaded, codes_of, text};
use crate::harness::client::Client;
use crate::search_oracle::query::encoded;

/// How many kinds of questions there are.
pub(super) const KINDS: usize = 14;

/// Types that are counted.
const COUNTED: &[&str] =
    &["Condition", "Encounter", "MedicationRequest", "Observation", "Procedure"];

/// All pages of an answer.
struct Pages {
    matches: Vec<Value>,
    included: Vec<Value>,
    total: Option<u64>,
}

async fn walk(client: &Client, url: &str) -> Pages {
    let mut pages = Pages { matches: Vec::new(), included: Vec::new(), total: None };
    let mut next = Some(url.to_owned());
    while let Some(url) = next {
        let mut call = client.call("GET", &url);
        // Words follow what is stored; who waits for them finds what was stored before.
        if url.contains("_content=") || url.contains("_text=") {
            call = call.header("Kiln-Fulltext", "wait");
        }
        let answer = call.send().await.expect(200);
        let bundle: Value = serde_json::from_slice(&answer.body).unwrap();
        pages.total = pages.total.or(bundle["total"].as_u64());
        for entry in bundle["entry"].as_array().map_or(&[][..], Vec::as_slice) {
            let resource = entry["resource"].clone();
            match text(&entry["search"], "mode") {
                "match" => pages.matches.push(resource),
                "include" => pages.included.push(resource),
                mode => panic!("{url}: {mode}: {entry}"),
            }
        }
        let links = bundle["link"].as_array().unwrap();
        let link = links.iter().find(|link| link["relation"] == "next");
        next = link.map(|link| text(link, "url").to_owned());
    }
    let unique: BTreeSet<&str> = pages.matches.iter().map(|it| text(it, "id")).collect();
    assert_eq!(unique.len(), pages.matches.len(), "some came twice");
    pages
}

/// One question about a patient; how many it found and how many there are.
pub(super) async fn ask(client: &Client, patient: &Loaded, turn: usize) -> (String, usize, usize) {
    match turn % KINDS {
        kind @ 0..6 => ask_plainly(client, patient, (kind, turn / KINDS)).await,
        kind => ask_more(client, patient, (kind, turn / KINDS)).await,
    }
}

async fn ask_plainly(
    client: &Client,
    patient: &Loaded,
    (kind, turn): (usize, usize),
) -> (String, usize, usize) {
    let by = encoded(&patient.identifier);
    let (code, of_code) = patient.code(turn);
    let ordered = |matches: &[Value], moment: &dyn Fn(&Value) -> String| {
        matches.iter().map(moment).collect::<Vec<_>>()
    };
    match kind {
        0 => {
            let of = COUNTED[turn % COUNTED.len()];
            let url = format!("/{of}?patient.identifier={by}&_summary=count");
            let pages = walk(client, &url).await;
            (url, pages.total.unwrap() as usize, patient.count(of))
        }
        1 => {
            let size = [7, 40, 200][turn % 3];
            let url = format!("/Observation?patient.identifier={by}&_sort=-date&_count={size}");
            let pages = walk(client, &url).await;
            let of: BTreeSet<&str> =
                pages.matches.iter().map(|it| text(&it["subject"], "reference")).collect();
            assert!(of.len() < 2, "{url}: of {of:?}");
            let mut moments = ordered(&pages.matches, &|it| utc(text(it, "effectiveDateTime")));
            moments.reverse();
            assert!(moments.is_sorted(), "{url}: {moments:?}");
            (url, pages.matches.len(), patient.count("Observation"))
        }
        2 => {
            let asked = encoded(code);
            let url = format!("/Observation?patient.identifier={by}&code={asked}&_count=1000");
            let pages = walk(client, &url).await;
            assert_eq!(pages.total, Some(pages.matches.len() as u64), "{url}");
            let others = pages.matches.iter().filter(|it| !codes_of(it).contains(code)).count();
            assert_eq!(others, 0, "{url}");
            (url, pages.matches.len(), of_code)
        }
        3 => {
            let asked = encoded(code);
            let url = format!("/Patient?identifier={by}&_has:Observation:patient:code={asked}");
            let pages = walk(client, &url).await;
            (url, pages.matches.len(), 1)
        }
        4 => {
            let url = format!("/Patient?identifier={by}&_revinclude=Encounter:patient");
            let pages = walk(client, &url).await;
            let expected = if pages.matches.is_empty() { 0 } else { patient.count("Encounter") };
            assert_eq!(pages.included.len(), expected, "{url}");
            (url, pages.matches.len(), 1)
        }
        _ => {
            let url = format!(
                "/Encounter?patient.identifier={by}&_include=Encounter:patient&_sort=date&_count=1000"
            );
            let pages = walk(client, &url).await;
            assert_eq!(pages.included.len(), usize::from(!pages.matches.is_empty()), "{url}");
            let moments = ordered(&pages.matches, &|it| utc(text(&it["period"], "start")));
            assert!(moments.is_sorted(), "{url}: {moments:?}");
            (url, pages.matches.len(), patient.count("Encounter"))
        }
    }
}

/// The same by what is lacking, by values, expressions, words and what comes along with what comes along.
async fn ask_more(
    client: &Client,
    patient: &Loaded,
    (kind, turn): (usize, usize),
) -> (String, usize, usize) {
    let by = encoded(&patient.identifier);
    let (code, of_code) = patient.code(turn);
    let asked = encoded(code);
    let about = format!("/Observation?patient.identifier={by}");
    let all = patient.count("Observation");
    let (url, expected) = match kind {
        6 => {
            let said = format!("patient.identifier eq {} and code eq {code}", patient.identifier);
            (format!("/Observation?_filter={}&_count=50", encoded(&said)), of_code)
        }
        7 => {
            let (least, above) = patient.above(turn);
            (format!("{about}&value-quantity=gt{least}&_count=20"), above)
        }
        8 => (format!("{about}&code:not={asked}&_count=100"), all - of_code),
        9 => (format!("{about}&value-quantity:missing=true"), all - patient.quantities.len()),
        10 => {
            let along =
                "_include=Observation:encounter&_include:iterate=Encounter:service-provider";
            (format!("{about}&code={asked}&{along}&_count=1000"), of_code)
        }
        11 => {
            let of = COUNTED[turn % COUNTED.len()];
            let total = "_total=accurate&_count=3";
            (format!("/{of}?patient.identifier={by}&{total}"), patient.count(of))
        }
        12 => (format!("/Patient?_content={}&identifier={by}", encoded(&patient.word)), 1),
        _ => (format!("/Patient?_text=synthea&identifier={by}"), 1),
    };
    let pages = walk(client, &url).await;
    let found = pages.matches.len();
    match kind {
        7 => {
            let (least, _) = patient.above(turn);
            let value = |it: &Value| it["valueQuantity"]["value"].as_f64();
            let is_wrong = |it: &&Value| value(it).is_none_or(|value| value <= least);
            let wrong = pages.matches.iter().find(is_wrong);
            assert!(wrong.is_none(), "{url}: {wrong:?}");
        }
        8 => {
            let wrong = pages.matches.iter().find(|it| codes_of(it).contains(code));
            assert!(wrong.is_none(), "{url}: {wrong:?}");
        }
        10 => {
            let along = if found == 0 { 0 } else { patient.along(code) };
            assert_eq!(pages.included.len(), along, "{url}");
        }
        11 => assert_eq!(pages.total, Some(found as u64), "{url}"),
        _ => {}
    }
    (url, found, expected)
}

/// A moment with a zone as one that sorts as text.
fn utc(text: &str) -> String {
    kiln::fhir::Instant::parse(text).unwrap_or_else(|| panic!("{text}")).to_string()
}
