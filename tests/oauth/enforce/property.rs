//! The strongest test of enforcement: what a token shows of all data is what an open server shows of
//! the data that the token reaches, whatever is asked; and what it does not reach changes nothing.
//!
//! The worlds are random, several of them: three patients, what is theirs, and references across. Which of one
//! somebody reaches is worked out by an oracle of this test, from the documents alone, and stored on a
//! server of its own. The same question then goes to both. In the other test all that is hidden from somebody
//! is changed, deleted and brought back, and the answers must be the same to the byte.
//!
//! In a usual run each of those who ask does so in one of the worlds, in a long one in each.
//! `KILN_TEST_SEED` names one world for all.

mod oracle;
mod questions;
mod world;

use std::collections::BTreeMap;

use kiln::access::consent::{Act, Denial, Expression};
use kiln::fhir::{LogicalId, ResourceType};
use tokio::sync::watch::Sender;

use crate::harness::client::Client;
use crate::harness::grants::Token;
use crate::harness::server::TestServer;
use crate::harness::shared::{long, seed};

use super::super::world::body;
use oracle::{Oracle, Sight};
use questions::{Gist, pages, question, question_beside, texts};
use world::{Chance, Made, changed, world};

async fn store(server: &TestServer, all: &[Made]) {
    for made in all {
        let url = format!("/{}", made.path);
        server.client.put(&url, body(&made.path, &made.content)).await.expect(201);
    }
}

/// How many questions in all: few in a usual run.
fn cases() -> usize {
    if long() { 20_000 } else { 500 }
}

/// Which of those who ask do so in which world.
fn rounds(seats: &[Seat]) -> Vec<(u64, Vec<&Seat>)> {
    let seeds: Vec<u64> = match seed() {
        Some(seed) => vec![seed],
        None => (1..=if long() { 12 } else { 3 }).collect(),
    };
    let is_in = |seat: usize, place: usize| long() || seat % seeds.len() == place;
    let of = |place: usize| {
        let own = seats.iter().enumerate().filter(|(at, _)| is_in(*at, place));
        own.map(|(_, seat)| seat).collect()
    };
    seeds.iter().enumerate().map(|(place, seed)| (*seed, of(place))).collect()
}

/// How many questions each of them asks, so that all are asked together.
fn share(rounds: &[(u64, Vec<&Seat>)]) -> usize {
    cases().div_ceil(rounds.iter().map(|(_, seats)| seats.len()).sum())
}

/// By what somebody asks.
#[derive(Clone, Copy)]
enum Who {
    /// An app of a patient.
    Patient(&'static str),
    /// A clinician in whose care team patients are.
    Team(&'static [&'static str]),
    /// A clinician whose organization cares for patients.
    Ward(&'static [&'static str]),
    /// Somebody who sees all patients, and nothing that is confidential.
    Clerk,
    /// A clinician to whom a patient denies everything.
    Denied(&'static str),
    /// A clinician to whom a patient denies Observations.
    DeniedObservations(&'static str),
}

/// Who asks, and what of a world that is to show.
struct Seat {
    name: &'static str,
    scopes: &'static str,
    who: Who,
    sight: Sight,
    /// The types of the scopes, where they are not all.
    types: Option<&'static [&'static str]>,
}

const ALL: &str = "patient/*.rs";

/// Each type that is asked for or leads somewhere by itself, Observations by a category.
const GRANULAR: &str = "patient/Observation.rs?category=laboratory patient/Patient.rs \
    patient/Encounter.rs patient/DiagnosticReport.rs patient/Appointment.rs patient/Device.rs \
    patient/Provenance.rs patient/Bundle.rs patient/Task.rs patient/Practitioner.rs";

const LABORATORY: &str = "patient/Observation.rs?category=laboratory patient/Patient.rs";

const ROLES: &str = r#"
[roles.nurse]
scopes = ["user/*.rs"]
panel = "care-team"
clearance = "V"
second_factor = false

[roles.ward]
scopes = ["user/*.rs"]
panel = "organization"
clearance = "V"
second_factor = false

[roles.clerk]
scopes = ["user/*.rs"]
panel = "all"
clearance = "N"
second_factor = false

[roles.doctor]
scopes = ["user/*.rs"]
panel = "all"
clearance = "V"
second_factor = false
"#;

impl Seat {
    const fn patient(
        name: &'static str,
        scopes: &'static str,
        mine: &'static [&'static str; 1],
    ) -> Self {
        let sight = Sight::Patients(mine, None);
        Self { name, scopes, who: Who::Patient(mine[0]), sight, types: None }
    }

    const fn user(name: &'static str, who: Who, sight: Sight) -> Self {
        Self { name, scopes: "user/*.rs", who, sight, types: None }
    }

    /// Whether this is to show of the world.
    fn sees(&self, oracle: &Oracle, path: &str) -> bool {
        let of = path.split('/').next().unwrap_or_default();
        self.types.is_none_or(|types| types.contains(&of)) && oracle.sees(self.sight, path)
    }

    /// Whether scopes over some types alone do not let ask this: it is about all of them.
    fn is_refused(&self, url: &str) -> bool {
        self.scopes == GRANULAR && url.starts_with("/_history")
    }

    /// Something to ask; what is in no compartment is for who is no patient.
    fn question(&self, chance: &mut Chance) -> String {
        let is_beside = !matches!(self.who, Who::Patient(_)) && chance.below(3) == 0;
        if is_beside { question_beside(chance) } else { question(chance) }
    }

    /// A client that asks so; the endpoint stops with the second.
    async fn client(&self, server: &TestServer) -> (Client, Sender<bool>) {
        let token = Token::new(server, self.scopes);
        let user = |role: &str| {
            Token::new(server, self.scopes).roles(ROLES).user("Practitioner/d", &[role])
        };
        let denied = |patient: &str, of: Expression| {
            let id: LogicalId = patient.parse().expect("an id");
            let patient = server.store().hasher().patient(&id);
            let denial = Denial { patient, id, act: Act::Read, of, is_binding: false };
            user("doctor").denials(vec![denial])
        };
        let token = match self.who {
            Who::Patient(patient) => token.patient(patient),
            Who::Team(patients) => user("nurse").care_team(patients),
            Who::Ward(patients) => user("ward").organization(patients),
            Who::Clerk => user("clerk"),
            Who::Denied(patient) => denied(patient, Expression::All(Vec::new())),
            Who::DeniedObservations(patient) => {
                denied(patient, Expression::Types(vec![ResourceType::OBSERVATION]))
            }
        };
        token.client().await
    }
}

const P1: &[&str; 1] = &["p1"];
const LABORATORY_OF_P2: Sight = Sight::Patients(&["p2"], Some("laboratory"));

/// Those for whom it is known to the last resource what they see.
const KNOWN: &[Seat] = &[
    Seat::patient("p0", ALL, &["p0"]),
    Seat::patient("p1", ALL, P1),
    Seat::patient("p2", ALL, &["p2"]),
    Seat { sight: LABORATORY_OF_P2, ..Seat::patient("types of p2", GRANULAR, &["p2"]) },
    Seat::user("care team", Who::Team(&["p0", "p1"]), Sight::Patients(&["p0", "p1"], None)),
    Seat::user("clerk", Who::Clerk, Sight::Unlabelled),
    Seat::user("denied p1", Who::Denied("p1"), Sight::AllBut("p1")),
];

/// Those from whom at least what they are not to see is hidden.
const LIMITED: &[Seat] = &[
    Seat::patient("p0", ALL, &["p0"]),
    Seat::patient("p1", ALL, P1),
    Seat::patient("p2", ALL, &["p2"]),
    Seat {
        sight: LABORATORY_OF_P2,
        types: Some(&["Observation", "Patient"]),
        ..Seat::patient("laboratory of p2", LABORATORY, &["p2"])
    },
    Seat::user("care team", Who::Team(&["p0", "p1"]), Sight::Patients(&["p0", "p1"], None)),
    Seat::user("organization", Who::Ward(P1), Sight::Patients(P1, None)),
    Seat::user("clerk", Who::Clerk, Sight::Unlabelled),
    Seat::user("denied p1", Who::Denied("p1"), Sight::AllBut("p1")),
    Seat::user(
        "denied Observations of p1",
        Who::DeniedObservations("p1"),
        Sight::AllButObservations("p1"),
    ),
];

/// A total that nobody asked for may be left out by one of two servers, or be an estimate.
fn without_total(url: &str, pages: Vec<Gist>) -> Vec<Gist> {
    let is_asked = url.contains("_total=") || url.contains("_summary=");
    let page =
        |(status, entries, total)| (status, entries, Option::filter(total, |_: &String| is_asked));
    pages.into_iter().map(page).collect()
}

/// Covers: security E6, E11, E12, VP.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_shows_what_an_open_server_shows_of_what_it_reaches() {
    let rounds = rounds(KNOWN);
    let count = share(&rounds);
    for (seed, seats) in rounds {
        println!("KILN_TEST_SEED={seed}");
        let all = world(&mut Chance::new(seed, 0));
        let oracle = Oracle::new(&all);
        let full = TestServer::start().await;
        store(&full, &all).await;
        for (at, seat) in (1..).zip(seats) {
            let own = all.iter().filter(|made| seat.sees(&oracle, &made.path));
            let own: Vec<Made> = own.map(|made| Oracle::part(seat.sight, made)).collect();
            assert!((5..all.len()).contains(&own.len()), "{} sees {}", seat.name, own.len());
            let part = TestServer::start().await;
            store(&part, &own).await;
            let (limited, _stop) = seat.client(&full).await;
            let mut chance = Chance::new(seed, at);
            for case in 0..count {
                let url = seat.question(&mut chance);
                let shown = without_total(&url, pages(&limited, &url).await);
                let expected = if seat.is_refused(&url) {
                    vec![(403, Vec::new(), None)]
                } else {
                    without_total(&url, pages(&part.client, &url).await)
                };
                assert_eq!(shown, expected, "seed {seed}, {}, case {case}: {url}", seat.name);
            }
            part.stop().await;
        }
        full.stop().await;
    }
}

/// Somebody who asks about what may have changed.
struct Asker {
    name: String,
    client: Client,
    hidden: Vec<String>,
    _stop: Sender<bool>,
}

impl Asker {
    async fn new(seat: &Seat, full: &TestServer, (seed, all): (u64, &[Made])) -> Self {
        let oracle = Oracle::new(all);
        let paths = all.iter().map(|made| made.path.clone());
        let hidden: Vec<String> = paths.filter(|path| !seat.sees(&oracle, path)).collect();
        let name = format!("seed {seed}, {}", seat.name);
        assert!(hidden.len() > 10, "{name}: {hidden:?}");
        let (client, stop) = seat.client(full).await;
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
    let rounds = rounds(LIMITED);
    let count = share(&rounds);
    for (seed, seats) in rounds {
        println!("KILN_TEST_SEED={seed}");
        let all = world(&mut Chance::new(seed, 0));
        let full = TestServer::start().await;
        store(&full, &all).await;
        let first = |made: &Made| {
            let content = made.content.clone();
            (made.path.clone(), Stored { content, version: 1, is_gone: false })
        };
        let mut stored: BTreeMap<String, Stored> = all.iter().map(first).collect();
        for (at, seat) in (101..).zip(seats) {
            // Each finds the world whole.
            for (path, resource) in stored.iter_mut().filter(|(_, resource)| resource.is_gone) {
                let content = resource.content.clone();
                resource.put(&full, path, content).await;
            }
            let mut chance = Chance::new(seed, at);
            let asker = Asker::new(seat, &full, (seed, &all)).await;
            let questions: Vec<String> = (0..count).map(|_| seat.question(&mut chance)).collect();
            let before = asker.answers(&questions).await;
            for path in &asker.hidden {
                let resource = stored.get_mut(path).expect("it is stored");
                resource.change(&full, path, &mut chance).await;
            }
            let after = asker.answers(&questions).await;
            for ((url, before), after) in questions.iter().zip(before).zip(after) {
                assert_eq!(after, before, "{}: {url}", asker.name);
            }
        }
        full.stop().await;
    }
}
