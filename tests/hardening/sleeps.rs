//! A value that asks the database to wait is answered as soon as another one: it is not read as SQL.

use std::time::{Duration, Instant};

use super::injection::{capability, stocked};
use super::payloads::{Parameter, SLEEPS, escaped, harmless};
use crate::harness::client::Client;
use crate::harness::shared::long;

/// Longest that a value may take beyond what is usual: half of what it asks for.
const SPARE: Duration = Duration::from_secs(1);

/// One parameter in so many is asked for other text too.
const SAMPLE: usize = 8;

/// Addresses whose statements differ, with the place of the text.
const PLACES: &[&str] = &[
    "/Patient?name=@",
    "/Patient?name:exact=@",
    "/Patient?name:contains=@",
    "/Patient?phonetic=a%20@",
    "/Patient?identifier=@",
    "/Patient?identifier=http://example.org/@|@",
    "/Patient?gender:not=@",
    "/Patient?birthdate=ge2020-01-01@",
    "/Patient?general-practitioner=Practitioner/@",
    "/Patient?general-practitioner.name=@",
    "/Patient?_has:Observation:subject:code=@",
    "/Patient?_id=@",
    "/Patient?_tag=@",
    "/Patient?_profile=http://example.org/@",
    "/Patient?_lastUpdated=gt2020-01-01@",
    "/Patient?_content=@",
    "/Patient?_list=@",
    "/Patient?_filter=name%20eq%20%22@%22",
    "/Patient?_sort=@",
    "/Patient?_include=Patient:@",
    "/Patient?_elements=@",
    "/Patient?_cursor=@",
    "/Patient?@=a",
    "/Patient?name:@=a",
    "/Observation?value-quantity=5|http://unitsofmeasure.org|@",
    "/Observation?code-value-quantity=@$5",
    "/Observation?code:in=http://example.org/@",
    "/RiskAssessment?probability=0.5@",
    "/ValueSet?url:below=http://example.org/@",
    "/Location?near=@",
    "/AuditEvent?entity=Patient/@",
    "/ValueSet/$expand?url=http://example.org/vs/canary&filter=@",
    "/Patient/@",
    "/Patient/canary/_history/@",
    "/Patient/canary/_history?_since=@",
];

/// How long the answers took, each with its address.
#[derive(Default)]
struct Times(Vec<(String, Duration)>);

impl Times {
    async fn ask(&mut self, client: &Client, url: String) {
        let began = Instant::now();
        let answer = client.get(&url).await;
        let took = began.elapsed();
        assert!((200..500).contains(&answer.status), "{url}: {answer:?}");
        self.0.push((url, took));
    }

    fn median(&self) -> Duration {
        let mut all: Vec<_> = self.0.iter().map(|(_, took)| *took).collect();
        all.sort_unstable();
        all[all.len() / 2]
    }
}

/// Asks for both by turns, so that neither always finds what the other has prepared.
async fn ask(client: &Client, (asleep, awake): (&mut Times, &mut Times), round: usize) {
    let text = SLEEPS[round % SLEEPS.len()];
    for (turn, place) in PLACES.iter().enumerate() {
        let sleep = place.replace('@', &escaped(text));
        let other = place.replace('@', &escaped(&harmless(text)));
        if (turn + round).is_multiple_of(2) {
            asleep.ask(client, sleep).await;
            awake.ask(client, other).await;
        } else {
            awake.ask(client, other).await;
            asleep.ask(client, sleep).await;
        }
    }
}

/// Asks for each parameter of each type, with all texts or one of them.
async fn ask_all(
    client: &Client,
    (asleep, awake): (&mut Times, &mut Times),
    parameters: &[Parameter],
) {
    let count = if long() { SLEEPS.len() } else { 1 };
    for (turn, parameter) in parameters.iter().enumerate() {
        // What every type has comes again with the next one.
        if parameter.is_common() && !turn.is_multiple_of(SAMPLE) && !long() {
            continue;
        }
        for number in turn * 11..turn * 11 + count {
            let text = SLEEPS[number % SLEEPS.len()];
            asleep.ask(client, parameter.search(text, number)).await;
            if number.is_multiple_of(SAMPLE) {
                awake.ask(client, parameter.search(&harmless(text), number)).await;
            }
        }
    }
}

/// Covers: security H8.
#[tokio::test(flavor = "multi_thread")]
async fn no_value_has_the_database_sleep() {
    let server = stocked(&[]).await;
    let client = &server.client;
    let parameters = Parameter::all(&capability(client).await);
    let (mut asleep, mut awake) = (Times::default(), Times::default());
    for round in 0..SLEEPS.len() {
        ask(client, (&mut asleep, &mut awake), round).await;
    }
    ask_all(client, (&mut asleep, &mut awake), &parameters).await;
    assert!(asleep.0.len() > 1_500 && awake.0.len() > 500, "{}", asleep.0.len());
    let usual = awake.median();
    // That which must not be would be seen.
    let began = Instant::now();
    server.database.number("SELECT count(*) FROM pg_sleep(2)").await;
    assert!(began.elapsed() > usual + SPARE, "other text takes {usual:?}");
    assert!(asleep.median() < usual + SPARE, "{:?} and {usual:?}", asleep.median());
    for (url, took) in asleep.0.iter().filter(|(_, took)| *took > usual + SPARE) {
        // What else the machine does holds up one of three; a sleep holds up each.
        let mut again = Times::default();
        again.ask(client, url.clone()).await;
        again.ask(client, url.clone()).await;
        let least = again.0.iter().map(|(_, took)| *took).min().unwrap_or_default();
        assert!(least <= usual + SPARE, "{url} took {took:?}, then {least:?}; usual is {usual:?}");
    }
    server.stop().await;
}
