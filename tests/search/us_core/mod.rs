//! The searches that US Core asks for, over Synthea's data, as Inferno runs them.
//!
//! The CapabilityStatements of US Core 3.1.1 and 6.1.0 say which searches there are. Values are
//! taken from resources that are held; each search is sent by GET and by POST, with references and
//! tokens in both forms and dates with each comparator, its pages are followed to the end, and what
//! is found has to be what a plain look at every resource finds.
//!
//! Covers: rest 9.3, rest 9.4, rest 9.5, rest 9.6, rest 9.7, rest 9.9, rest 9.10, rest 9.15, rest 9.16, rest 9.17, rest 9.18, rest 9.19, rest 9.33.

mod answer;
mod data;
mod judge;
mod made;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::client::Client;
use crate::harness::server::TestServer;
use crate::harness::shared::archive;

use answer::{Found, get, post};
use data::{Data, Doc};
use judge::{Asked, ask, held, query};
use plan::{Kind, Search, kind, searches};

/// The versions of US Core whose searches are run.
const PACKAGES: &[&str] =
    &["packages/hl7.fhir.us.core-3.1.1.tgz", "packages/hl7.fhir.us.core-6.1.0.tgz"];

/// The search parameters that US Core adds to FHIR's own: name, type and code.
const CUSTOM: &[(&str, &str, &str)] = &[
    ("careteam-role", "CareTeam", "role"),
    ("condition-asserted-date", "Condition", "asserted-date"),
    ("encounter-discharge-disposition", "Encounter", "discharge-disposition"),
    ("ethnicity", "Patient", "ethnicity"),
    ("goal-description", "Goal", "description"),
    ("race", "Patient", "race"),
];

/// The dates whose comparators US Core wants (rest 9.10).
const COMPARED: &[(&str, &str)] = &[
    ("CarePlan", "date"),
    ("Condition", "abatement-date"),
    ("Condition", "asserted-date"),
    ("Condition", "onset-date"),
    ("Condition", "recorded-date"),
    ("DiagnosticReport", "date"),
    ("DocumentReference", "date"),
    ("DocumentReference", "period"),
    ("Encounter", "date"),
    ("Goal", "target-date"),
    ("Immunization", "date"),
    ("MedicationRequest", "authoredon"),
    ("Observation", "date"),
    ("Procedure", "date"),
    ("QuestionnaireResponse", "authored"),
    ("ServiceRequest", "authored"),
];

/// How they are compared.
const COMPARATORS: [&str; 4] = ["ge", "gt", "le", "lt"];

#[tokio::test(flavor = "multi_thread")]
async fn each_search_of_us_core_finds_what_a_plain_look_at_the_data_finds() {
    let Some((wanted, parameters)) = published() else { return };
    // What is found is the matter here, not what it breaks.
    let server = TestServer::start_with(&[("validation.level", "off")]).await;
    let client = server.client.clone();
    let Some(data) = Data::load(&client).await else { return };
    define(&client, &parameters).await;
    let run = Run { client, data };
    let mut compared = BTreeSet::new();
    for search in &wanted {
        run.search(search, &mut compared).await;
    }
    for (of, code) in COMPARED {
        for prefix in COMPARATORS {
            let one = ((*of).to_owned(), (*code).to_owned(), prefix);
            assert!(compared.contains(&one), "{of}?{code}={prefix}.. was not asked");
        }
    }
    run.categories().await;
    run.without_and_with_status(&wanted).await;
    run.medications().await;
    run.instances().await;
    drop(run);
    server.stop().await;
}

/// The searches of both versions, and the SearchParameters that 6.1.0 adds.
fn published() -> Option<(BTreeSet<Search>, Vec<Value>)> {
    let (mut wanted, mut parameters) = (BTreeSet::new(), BTreeMap::new());
    for package in PACKAGES {
        for (name, bytes) in archive(package)? {
            if name.ends_with("/CapabilityStatement-us-core-server.json") {
                wanted.extend(searches(&serde_json::from_slice(&bytes).unwrap()));
            }
            let own = CUSTOM
                .iter()
                .find(|(own, ..)| name.ends_with(&format!("/SearchParameter-us-core-{own}.json")));
            if let Some((own, ..)) = own {
                parameters.insert(own, serde_json::from_slice::<Value>(&bytes).unwrap());
            }
        }
    }
    assert_eq!(wanted.len(), 106);
    wanted.extend(CUSTOM.iter().map(|(_, of, code)| Search::new(of, &[code])));
    assert_eq!(parameters.len(), CUSTOM.len());
    Some((wanted, parameters.into_values().collect()))
}

/// Stores the SearchParameters and waits until they are in force.
async fn define(client: &Client, parameters: &[Value]) {
    for parameter in parameters {
        client.post("/SearchParameter", parameter.to_string()).await.expect(201);
    }
    let began = Instant::now();
    for (_, of, code) in CUSTOM {
        loop {
            let url = format!("/{of}?{code}:missing=false&_count=1");
            let answer = client.call("GET", &url).header("Prefer", "handling=strict").send().await;
            if answer.status == 200 {
                break;
            }
            assert!(began.elapsed() < Duration::from_mins(1), "{answer:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

struct Run {
    client: Client,
    data: Data,
}

impl Run {
    /// Runs one search with the values of a few resources; notes which dates were compared how.
    async fn search(&self, search: &Search, compared: &mut BTreeSet<(String, String, &str)>) {
        let of = search.of.as_str();
        let has_all = |doc: &&Doc| search.codes.iter().all(|code| !held(doc, code).is_empty());
        let able: Vec<&Doc> = self.data.of(of).filter(has_all).collect();
        assert!(!able.is_empty(), "no resource has values for {search:?}");
        let ours = able.iter().rfind(|doc| doc.id == format!("{}-15", of.to_lowercase()));
        let chosen = [able[0], able[able.len() / 2], able[able.len() - 1]];
        let chosen = chosen.into_iter().chain(ours.copied());
        let mut idle: BTreeSet<&String> = search.codes.iter().collect();
        for doc in chosen {
            let seen: Vec<_> = search.codes.iter().map(|code| held(doc, code).remove(0)).collect();
            let asked: Vec<Asked> =
                search.codes.iter().zip(&seen).map(|(code, seen)| ask(code, seen)).collect();
            let found = self.compare(of, &asked).await;
            assert!(found.contains(&doc.place()), "{} for {asked:?}", doc.place());
            self.compare(of, &asked.iter().map(Asked::full).collect::<Vec<_>>()).await;
            let dates = asked.iter().enumerate().filter(|(_, one)| kind(&one.code) == Kind::Date);
            for (at, one) in dates {
                for prefix in COMPARATORS {
                    let Some(other) = one.compared(&seen[at], prefix) else { continue };
                    let mut asked = asked.clone();
                    asked[at] = other;
                    let found = self.compare(of, &asked).await;
                    assert!(found.contains(&doc.place()), "{} for {asked:?}", doc.place());
                    compared.insert((of.to_owned(), one.code.clone(), prefix));
                }
            }
            idle.retain(|code| {
                let less: Vec<_> = asked.iter().filter(|one| one.code != **code).cloned().collect();
                self.expected(of, &less) == found
            });
        }
        assert!(idle.is_empty(), "{idle:?} choose nothing in {search:?}");
    }

    fn expected(&self, of: &str, asked: &[Asked]) -> BTreeSet<String> {
        let meets = |doc: &&Doc| asked.iter().all(|one| one.holds(doc));
        self.data.of(of).filter(meets).map(Doc::place).collect()
    }

    /// What GET and POST find, which has to be what is expected.
    async fn compare(&self, of: &str, asked: &[Asked]) -> BTreeSet<String> {
        let (query, expected) = (query(asked), self.expected(of, asked));
        assert!(!expected.is_empty(), "{of}?{query} should find something");
        for found in [
            get(&self.client, &format!("/{of}?{query}")).await,
            post(&self.client, of, &query).await,
        ] {
            assert_eq!(found.places(), expected, "{of}?{query}");
            self.are_as_sent(&found);
        }
        expected
    }

    fn are_as_sent(&self, found: &Found) {
        assert!(found.included.is_empty(), "{:?} came along unasked", found.included);
        for (place, resource) in &found.matches {
            let mut sent = self.data.at(place).unwrap().value.clone();
            let mut resource = resource.clone();
            for value in [&mut sent, &mut resource] {
                value.as_object_mut().unwrap().remove("meta");
            }
            assert_eq!(resource, sent, "{place}");
        }
    }

    /// Every category is found by its code, alone and with its system (rest 9.9, rest 9.19).
    async fn categories(&self) {
        for (at, (of, _, code)) in made::CATEGORIES.iter().enumerate() {
            let doc = self.data.at(&format!("{of}/category-{at}")).unwrap();
            let asked: Vec<Asked> = ["patient", "category"]
                .iter()
                .map(|parameter| ask(parameter, &held(doc, parameter)[0]))
                .collect();
            assert!(query(&asked).ends_with(code), "{asked:?}");
            assert!(asked[1].has_full());
            let full = [asked[0].clone(), asked[1].full()];
            for asked in [asked.as_slice(), &full] {
                assert!(self.compare(of, asked).await.contains(&doc.place()), "{asked:?}");
            }
            assert!(self.expected(of, &full).len() < self.expected(of, &asked[..1]).len());
        }
    }

    /// A search without a status is answered; a status that nothing has finds nothing.
    async fn without_and_with_status(&self, wanted: &BTreeSet<Search>) {
        let statuses = ["clinical-status", "lifecycle-status", "status"];
        for search in wanted.iter().filter(|search| search.codes.contains("patient")) {
            let Some(status) = statuses.iter().find(|code| search.codes.contains(**code)) else {
                continue;
            };
            let of = search.of.as_str();
            let doc = self.data.of(of).last().unwrap();
            let patient = ask("patient", &held(doc, "patient")[0]);
            assert!(self.compare(of, std::slice::from_ref(&patient)).await.len() > 1);
            let patient = query(&[patient]);
            let found = get(&self.client, &format!("/{of}?{patient}&{status}=nonsense")).await;
            assert!(found.matches.is_empty(), "{of} {:?}", found.places());
        }
    }

    /// Provenances of all matches come along, and Medications, and nothing else.
    async fn medications(&self) {
        for of in made::CLINICAL {
            let doc = self.data.of(of).find(|doc| doc.id.starts_with(&of.to_lowercase())).unwrap();
            let asked = if *of == "Patient" { "_id" } else { "patient" };
            let asked = [ask(asked, &held(doc, asked)[0])];
            let expected = self.expected(of, &asked);
            let tells = |doc: &&Doc| {
                let targets = doc.value["target"].as_array().unwrap();
                targets.iter().any(|it| expected.contains(it["reference"].as_str().unwrap()))
            };
            let about: BTreeSet<_> =
                self.data.of("Provenance").filter(tells).map(Doc::place).collect();
            let url = format!("/{of}?{}&_revinclude=Provenance:target", query(&asked));
            let found = get(&self.client, &url).await;
            assert_eq!((found.places(), found.included), (expected, about), "{url}");
        }
        for of in ["MedicationDispense", "MedicationRequest"] {
            let doc = self.data.of(of).last().unwrap();
            let asked = [ask("patient", &held(doc, "patient")[0])];
            let expected = self.expected(of, &asked);
            let used: BTreeSet<_> = expected
                .iter()
                .filter_map(|place| {
                    let doc = self.data.at(place).unwrap();
                    doc.value["medicationReference"]["reference"].as_str().map(str::to_owned)
                })
                .collect();
            let url = format!("/{of}?{}&_include={of}:medication", query(&asked));
            let found = get(&self.client, &url).await;
            assert!(!used.is_empty());
            assert_eq!((found.places(), found.included), (expected, used), "{url}");
        }
    }

    /// What is found can be read, with its version, its history, and all that it refers to.
    async fn instances(&self) {
        let types: BTreeSet<_> = self.data.docs.iter().map(|doc| doc.of.clone()).collect();
        self.client.get("/metadata").await.expect(200);
        for of in types {
            for doc in [self.data.of(&of).next().unwrap(), self.data.of(&of).last().unwrap()] {
                let place = doc.place();
                let read = self.client.get(&place).await.expect(200);
                let version = format!("{place}/_history/{}", read.version());
                let vread = self.client.get(&version).await.expect(200);
                assert_eq!(read.body, vread.body, "{place}");
                self.client.get(&format!("{place}/_history")).await.expect(200);
                let mut references = Vec::new();
                answer::references(&doc.value, &mut references);
                for reference in references {
                    self.client.get(reference).await.expect(200);
                }
            }
        }
    }
}
