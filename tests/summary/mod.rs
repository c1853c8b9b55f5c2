//! `$summary`: the International Patient Summary.

mod asked;
mod world;

use std::collections::BTreeSet;

use kiln::app::demo::Generator;
use kiln::fhir::json::Value;

use crate::export::Exporter;
use crate::harness::client::{Answer, Client};
use crate::harness::json::at;
use crate::harness::server::TestServer;

use world::{ALONG, SECTIONS, filled};

const URL: &str = "/Patient/a/$summary";
const PROFILE: &str = "http://hl7.org/fhir/uv/ips/StructureDefinition/Bundle-uv-ips";

/// The entries' addresses, and what each holds.
fn entries<'v>(document: &'v Value<'static>) -> Vec<(&'v str, &'v Value<'static>)> {
    let entry = |entry: &'v Value<'static>| {
        (entry.str_at("fullUrl").expect("a fullUrl"), entry.get("resource").expect("a resource"))
    };
    document.items_at("entry").iter().map(entry).collect()
}

fn composition<'v>(document: &'v Value<'static>) -> &'v Value<'static> {
    at(document, "entry[0].resource").expect("a Composition")
}

/// The codes of the sections, with what each refers to below the base.
fn sections(document: &Value<'static>, base: &str) -> Vec<(String, Vec<String>)> {
    let section = |section: &Value<'static>| {
        let code = at(section, "code.coding[0].code").and_then(Value::as_str).unwrap().to_owned();
        let targets = section.items_at("entry").iter().filter_map(|it| it.str_at("reference"));
        (code, targets.map(|it| it.replace(&format!("{base}/"), "")).collect())
    };
    composition(document).items_at("section").iter().map(section).collect()
}

/// All that is referred to, anywhere.
fn references(value: &Value<'_>, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, inner) in object.iter() {
                if let ("reference", Some(text)) = (name, inner.as_str()) {
                    found.insert(text.to_owned());
                }
                references(inner, found);
            }
        }
        Value::Array(all) => all.iter().for_each(|inner| references(inner, found)),
        _ => {}
    }
}

/// Holds a document to the rules of documents: what is first, addresses, where references lead.
fn is_document(answer: &Answer, base: &str) -> Value<'static> {
    let document = answer.json();
    assert_eq!(document.str_at("resourceType"), Some("Bundle"));
    assert_eq!(document.str_at("type"), Some("document"));
    assert!(document.str_at("timestamp").is_some() && document.get("identifier").is_some());
    let all = entries(&document);
    assert_eq!(all[0].1.str_at("resourceType"), Some("Composition"));
    assert_eq!(all[1].1.str_at("resourceType"), Some("Patient"));
    let urls: BTreeSet<&str> = all.iter().map(|(url, _)| *url).collect();
    assert_eq!(urls.len(), all.len(), "an address stands twice: {answer:?}");
    for (url, resource) in &all {
        let (of, id) = (resource.str_at("resourceType").unwrap(), resource.str_at("id").unwrap());
        assert!(*url == format!("{base}/{of}/{id}") || *url == format!("urn:uuid:{id}"), "{url}");
        let mut found = BTreeSet::new();
        references(resource, &mut found);
        for target in found {
            let is_whole = target.contains(':');
            let address = if is_whole { target.clone() } else { format!("{base}/{target}") };
            assert!(urls.contains(&*address), "{url}: {target} leads nowhere");
            assert!(is_whole || url.starts_with(base), "{target} is relative to {url}");
        }
    }
    document
}

/// What the server's own validator finds against the profile, errors alone.
async fn errors(client: &Client, document: &Value<'static>) -> Vec<String> {
    let url = format!("/Bundle/$validate?profile={PROFILE}");
    let told = client.post(&url, document.to_text()).await.expect(200).json();
    let is_error =
        |issue: &&Value<'_>| !matches!(issue.str_at("severity"), Some("information" | "warning"));
    let text = |issue: &Value<'_>| {
        let place = at(issue, "expression[0]").and_then(Value::as_str).unwrap_or_default();
        format!("{place}: {}", issue.str_at("diagnostics").unwrap_or_default())
    };
    told.items_at("issue").iter().filter(is_error).map(text).collect()
}

/// Covers: security G1.
#[tokio::test(flavor = "multi_thread")]
async fn a_summary_has_the_sections_of_the_guide_and_what_they_refer_to() {
    let server = filled().await;
    let (client, base) = (&server.client, server.client.base());
    let answer = client.get(URL).await.expect(200);
    let document = is_document(&answer, &base);
    let found = sections(&document, &base);
    let wanted: Vec<(String, Vec<String>)> = SECTIONS
        .iter()
        .map(|(code, all)| ((*code).to_owned(), all.iter().map(|it| (*it).to_owned()).collect()))
        .collect();
    assert_eq!(found, wanted);
    let stored: Vec<String> = entries(&document)
        .iter()
        .filter_map(|(url, _)| Some(url.strip_prefix(&format!("{base}/"))?.to_owned()))
        .collect();
    let of_sections = SECTIONS.iter().flat_map(|(_, all)| *all);
    let wanted: Vec<&str> =
        std::iter::once(&"Patient/a").chain(of_sections).chain(ALONG).copied().collect();
    assert_eq!(stored, wanted);
    let composition = composition(&document);
    for (path, expected) in [
        ("type.coding[0].code", "60591-5"),
        ("subject.reference", &*format!("{base}/Patient/a")),
        ("status", "final"),
        ("confidentiality", "N"),
        ("title", "International Patient Summary"),
    ] {
        assert_eq!(at(composition, path).and_then(Value::as_str), Some(expected), "{path}");
    }
    // Each narrative lists its entries, and what they say is text.
    let told = composition.to_text();
    for part in [
        "<li>Nuts (active)</li>",
        "<li>Pill &lt;5 mg&gt; (active), 2022-01-01</li>",
        "<li>2823-3: 4.10 mmol/L (final), 2022-01-01</li>",
        "<li>Stent (active), 2019-05-05</li>",
        "Ann Ada",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    // What the document has not, nothing in it leads to, and nothing says where that would be.
    let text = answer.text();
    for left in ["a-visit", "a-error", "a-refuted", "a-old", "a-not", "a-idea", "a-refused", "b-k"]
    {
        assert!(!text.contains(left), "{left}: {text}");
    }
    assert_eq!(errors(client, &document).await, Vec::<String>::new());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_with_nothing_has_no_information_and_claims_nothing() {
    let server = filled().await;
    let (client, base) = (&server.client, server.client.base());
    let answer = client.get("/Patient/c/$summary").await.expect(200);
    let document = is_document(&answer, &base);
    let found = sections(&document, &base);
    let codes: Vec<&str> = found.iter().map(|(code, _)| &**code).collect();
    assert_eq!(codes, ["48765-2", "11450-4", "10160-0"]);
    let text = answer.text();
    for code in ["no-allergy-info", "no-problem-info", "no-medication-info"] {
        assert_eq!(text.matches(code).count(), 1, "{code}: {text}");
    }
    assert!(!text.contains("no-known") && !text.contains("masked"), "{text}");
    assert_eq!(errors(client, &document).await, Vec::<String>::new());
    // What another patient's resources say of this one is not theirs.
    let other = client.get("/Patient/b/$summary").await.expect(200);
    assert!(other.text().contains("Observation/b-k"));
    is_document(&other, &base);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn summaries_of_made_up_patients_fit_the_profile() {
    let server = TestServer::start().await;
    let (client, base) = (&server.client, server.client.base());
    for bundle in Generator::new(5).bundles(3) {
        client.post("/", bundle.to_json()).await.expect(200);
    }
    let patients = client.get("/Patient?_count=10").await.expect(200).json();
    let mut shown = BTreeSet::new();
    for (_, patient) in entries(&patients) {
        let url = format!("/Patient/{}/$summary", patient.str_at("id").unwrap());
        let document = is_document(&client.get(&url).await.expect(200), &base);
        let found = sections(&document, &base);
        shown.extend(found.into_iter().filter(|(_, all)| !all.is_empty()).map(|(code, _)| code));
        assert_eq!(errors(client, &document).await, Vec::<String>::new(), "{url}");
    }
    for code in ["48765-2", "11450-4", "10160-0", "11369-6", "47519-4", "30954-2", "8716-3"] {
        assert!(shown.contains(code), "{code}: {shown:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summary_goes_out_in_each_form_and_can_be_kept() {
    let server = filled().await;
    let client = &server.client;
    for (query, form, start) in [
        ("", "application/fhir+json", "{\"resourceType\":\"Bundle\""),
        ("?_pretty=true", "application/fhir+json", "{\n  \"resourceType\": \"Bundle\""),
        ("?_format=xml", "application/fhir+xml", "<"),
    ] {
        let answer = client.get(&format!("{URL}{query}")).await.expect(200);
        assert!(answer.text().starts_with(start), "{query}: {answer:?}");
        assert!(answer.header("Content-Type").unwrap().starts_with(form), "{query}: {answer:?}");
        let call = client.call("POST", "/Bundle").header("Content-Type", form);
        call.body(answer.body.clone()).send().await.expect(201);
    }
    // Nothing is kept unless it is sent.
    let kept = client.get("/Bundle?_summary=count").await.expect(200);
    assert_eq!(kept.at("total").as_deref(), Some("3"));
    let made = client.get("/Composition?_summary=count").await.expect(200);
    assert_eq!(made.at("total").as_deref(), Some("0"));
    server.stop().await;
}

/// Covers: security G1.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_taken_along_whole_in_short_and_with_others() {
    let server = filled().await;
    let client = &server.client;
    let whole = client.get("/Patient/a/$everything").await.expect(200).text();
    let short = client.get(URL).await.expect(200).text();
    let export = Exporter::new(client).export("/Patient/$export").await;
    for (of, id) in [("Condition", "a-asthma"), ("Observation", "a-k-new"), ("Patient", "a")] {
        let name = format!(r#""id":"{id}""#);
        assert!(whole.contains(&name) && short.contains(&name), "{of}/{id}");
        let lines = &export.output[of];
        assert_eq!(lines.iter().filter(|line| line.contains(&name)).count(), 1, "{of}/{id}");
    }
    server.stop().await;
}
