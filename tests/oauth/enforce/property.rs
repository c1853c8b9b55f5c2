//! The strongest test of enforcement: what a token shows of all data is what an open server shows of
//! the data that the token reaches, whatever is asked; and what it does not reach changes nothing.
//!
//! The world is random: three patients, what is theirs, and references across. Which of it a patient
//! reaches is worked out here, from the documents alone, and stored on a server of its own. The same
//! question then goes to both. In the other test all that is hidden from somebody is changed, deleted
//! and brought back, and the answers must be the same to the byte: for patients, for an app that sees
//! laboratory results alone, and for clinicians to whom a patient denies everything, or one class.

mod questions;
mod world;

use std::collections::BTreeMap;

use kiln::access::consent::{Act, Denial, Expression};
use kiln::fhir::{LogicalId, ResourceType};
use tokio::sync::watch::Sender;

use crate::harness::client::Client;
use crate::harness::grants::Token;
use crate::harness::server::TestServer;

use super::super::world::body;
use questions::{Gist, pages, question, question_beside, texts};
use world::{Chance, Made, PATIENTS, changed, world};

async fn store(server: &TestServer, all: &[&Made]) {
    for made in all {
        let url = format!("/{}", made.path);
        server.client.put(&url, body(&made.path, &made.content)).await.expect(201);
    }
}

/// How many questions: few in a usual run.
fn cases() -> usize {
    if crate::harness::shared::long() { 20_000 } else { 500 }
}

/// Covers: security E6, E11, E12, VP.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_shows_what_an_open_server_shows_of_what_it_reaches() {
    let mut chance = Chance(0x5eed_0fa1);
    let all = world(&mut chance);
    let full = TestServer::start().await;
    store(&full, &all.iter().collect::<Vec<_>>()).await;
    let mut seats = Vec::new();
    for patient in PATIENTS {
        let own = all.iter().filter(|made| made.is_of(patient, &all));
        let own: Vec<Made> = own.map(|made| made.part_of(patient)).collect();
        let part = TestServer::start().await;
        store(&part, &own.iter().collect::<Vec<_>>()).await;
        let limited = Token::new(&full, "patient/*.rs").patient(patient).client().await;
        seats.push((limited, part));
    }
    for case in 0..cases() {
        let url = question(&mut chance);
        let ((limited, _), part) = &seats[case % 3];
        // An estimate or a total that nobody asked for may be left out by one of them.
        let without_total = |pages: Vec<Gist>| {
            let is_asked = url.contains("_total=") || url.contains("_summary=");
            let page = |(status, entries, total)| {
                (status, entries, Option::filter(total, |_: &String| is_asked))
            };
            pages.into_iter().map(page).collect::<Vec<_>>()
        };
        let shown = without_total(pages(limited, &url).await);
        let expected = without_total(pages(&part.client, &url).await);
        assert_eq!(shown, expected, "case {case} of {}: {url}", PATIENTS[case % 3]);
    }
    for (_, part) in seats {
        part.stop().await;
    }
    full.stop().await;
}

/// Who asks, and what is hidden from who asks.
struct Seat {
    name: &'static str,
    client: Client,
    hidden: Vec<String>,
    _stop: Sender<bool>,
}

impl Seat {
    async fn new(
        (name, token): (&'static str, Token<'_>),
        all: &[Made],
        is_hidden: impl Fn(&Made) -> bool,
    ) -> Self {
        let (client, stop) = token.client().await;
        let hidden = all.iter().filter(|made| is_hidden(made));
        let hidden: Vec<String> = hidden.map(|made| made.path.clone()).collect();
        assert!(hidden.len() > 10, "{name}: {hidden:?}");
        Self { name, client, hidden, _stop: stop }
    }

    /// What is answered to all of these, of which nothing is hidden and some is something.
    async fn answers(&self, questions: &[String]) -> Vec<Vec<String>> {
        let mut all = Vec::new();
        let mut found = 0;
        for url in questions {
            let texts = texts(&self.client, url).await;
            let text = texts.concat();
            for path in &self.hidden {
                let (of, id) = path.split_once('/').expect("a path");
                let resource = format!(r#""resourceType":"{of}","id":"{id}""#);
                let address = format!(r#""fullUrl":"{}/{path}""#, self.client.base());
                let is_shown = text.contains(&resource) || text.contains(&address);
                assert!(!is_shown, "{}: {url} shows {path}: {text}", self.name);
            }
            found += usize::from(text.contains(r#""resource":{"resourceType":"#));
            all.push(texts);
        }
        assert!(found * 20 >= questions.len(), "{}: {found} show something", self.name);
        all
    }
}

/// Three patients, an app of one that sees laboratory results alone, and a clinician to whom one patient
/// denies everything. Hidden from the last two is at least what is told here.
async fn seats(full: &TestServer, all: &[Made]) -> Vec<Seat> {
    let mut seats = Vec::new();
    for patient in PATIENTS {
        let token = Token::new(full, "patient/*.rs").patient(patient);
        seats.push(Seat::new((patient, token), all, |made| !made.is_of(patient, all)).await);
    }
    let narrow = "patient/Observation.rs?category=laboratory patient/Patient.rs";
    let token = Token::new(full, narrow).patient("p2");
    let is_hidden = |made: &Made| {
        let is_lab = made.path.starts_with("Observation/") && made.content.contains("laboratory");
        let is_granted = is_lab || made.path.starts_with("Patient/");
        !is_granted || !made.is_of("p2", all)
    };
    seats.push(Seat::new(("laboratory of p2", token), all, is_hidden).await);
    let id: LogicalId = "p1".parse().expect("an id");
    let patient = full.store().hasher().patient(&id);
    let denied = |of: Expression| {
        let token = Token::new(full, "user/*.rs").user("Practitioner/d", &["practitioner"]);
        token.denials(vec![Denial {
            patient,
            id: id.clone(),
            act: Act::Read,
            of,
            is_binding: false,
        }])
    };
    let is_hidden = |made: &Made| {
        let is_theirs = !made.patients.is_empty() && made.patients.iter().all(|it| *it == "p1");
        is_theirs || made.is_about("p1", all)
    };
    let everything = denied(Expression::All(Vec::new()));
    seats.push(Seat::new(("clinician denied p1", everything), all, is_hidden).await);
    let is_hidden = |made: &Made| {
        let is_theirs = made.patients.contains("p1") || made.is_about("p1", all);
        is_theirs && made.has_some("Observation")
    };
    let one = denied(Expression::Types(vec![ResourceType::OBSERVATION]));
    seats.push(Seat::new(("clinician denied Observations of p1", one), all, is_hidden).await);
    seats
}

/// A resource as it is stored at a moment.
struct Stored {
    content: String,
    version: u64,
    is_gone: bool,
}

impl Stored {
    /// Stores this content, as a version after the last one.
    async fn put(&mut self, full: &TestServer, path: &str, content: String) {
        let status = if self.is_gone { 201 } else { 200 };
        let put = full.client.put(&format!("/{path}"), body(path, &content)).await.expect(status);
        assert!(put.version() > self.version, "{path} is as it was: {put:?}");
        *self = Self { content, version: put.version(), is_gone: false };
    }

    /// Changes it, deletes it, or brings it back.
    async fn change(&mut self, full: &TestServer, path: &str, chance: &mut Chance) {
        // Who is a patient stays one.
        if !self.is_gone && !path.starts_with("Patient/") && chance.below(3) == 0 {
            full.client.delete(&format!("/{path}")).await.expect(204);
            self.is_gone = true;
            return;
        }
        let content = changed(path, &self.content);
        self.put(full, path, content).await;
    }
}

/// Covers: security VP.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_hidden_changes_no_byte_of_any_answer() {
    let mut chance = Chance(0x0dd_ba11);
    let all = world(&mut chance);
    let full = TestServer::start().await;
    store(&full, &all.iter().collect::<Vec<_>>()).await;
    let first = |made: &Made| {
        let content = made.content.clone();
        (made.path.clone(), Stored { content, version: 1, is_gone: false })
    };
    let mut stored: BTreeMap<String, Stored> = all.iter().map(first).collect();
    for seat in seats(&full, &all).await {
        // Each finds the world whole.
        for (path, resource) in stored.iter_mut().filter(|(_, resource)| resource.is_gone) {
            let content = resource.content.clone();
            resource.put(&full, path, content).await;
        }
        let questions = (0..cases() / 10).map(|_| question(&mut chance));
        let mut questions: Vec<String> = questions.collect();
        if seat.name.starts_with("clinician") {
            questions.extend((0..cases() / 20).map(|_| question_beside(&mut chance)));
        }
        let before = seat.answers(&questions).await;
        for path in &seat.hidden {
            let resource = stored.get_mut(path).expect("it is stored");
            resource.change(&full, path, &mut chance).await;
        }
        let after = seat.answers(&questions).await;
        for ((url, before), after) in questions.iter().zip(before).zip(after) {
            assert_eq!(after, before, "{}: {url}", seat.name);
        }
    }
    full.stop().await;
}
