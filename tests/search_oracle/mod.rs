//! Random resources and random searches against an evaluator that reads the specification anew.
//!
//! A world is a server of its own with some hundred resources, written, changed and deleted by a
//! seeded generator. Each search is sent over HTTP, its pages walked to the end and back to the first,
//! and the ids, the order, the total and what comes along compared with what [`judge`] and [`along`] find by
//! looking at every resource. The evaluator shares FHIRPath and the document tree with the server, and nothing of search.
//!
//! 1,000 searches; 20,000 with `KILN_TEST_LONG=1`. The seed is printed; `KILN_ORACLE_SEED=n` sets
//! it, `KILN_ORACLE_WORLD=n` runs one world alone. Failures are shrunk to the smallest search that
//! still fails.
//!
//! Covers: rest 4.8, rest 4.10, rest 4.178, rest 4.180, rest 4.188.

mod along;
mod ask;
mod filter;
mod fixed;
mod fixture;
mod generate;
mod held;
mod judge;
pub(crate) mod measure;
mod order;
pub(crate) mod query;
pub(crate) mod random;
mod shrink;
mod world;

use std::collections::BTreeSet;

use kiln::fhir::json::Value;

use crate::harness::client::{Answer, Client};
use crate::harness::server::TestServer;
use crate::harness::shared::long;
use query::{Query, Total};
use random::Random;
use world::World;

/// Searches of one world.
const SEARCHES: usize = 100;

/// So many failures are shown.
const SHOWN: usize = 25;

/// Most pages that are walked.
const MAX_PAGES: usize = 150;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_searches_find_what_a_naive_evaluator_finds() {
    let seed = setting("KILN_ORACLE_SEED").unwrap_or(1);
    let worlds = if long() { 200 } else { 10 };
    let range = setting("KILN_ORACLE_WORLD").map_or(0..worlds, |world| world..world + 1);
    println!("seed {seed}, worlds {range:?}");
    let (mut failures, mut asked, mut found) = (Vec::new(), 0, 0);
    for number in range {
        // Random resources say what no code system defines.
        let server = TestServer::start_with(&[
            ("validation.level", "off"),
            ("definitions.readable", "false"),
        ])
        .await;
        let world = build(&server.client, seed, number).await;
        let mut random = Random::new(seed, number * 2 + 1);
        let mut of_world = 0;
        while of_world < SEARCHES {
            let query = generate::query(&world, &mut random);
            let Some(wanted) = judge::matches(&world, &query) else { continue };
            of_world += 1;
            found += usize::from(!wanted.is_empty());
            if let Err(fault) = check(&server.client, &world, &query).await {
                let told = shrink::failure(&server.client, &world, &query, fault).await;
                failures.push(format!("seed {seed}, world {number}: {told}"));
            }
        }
        server.stop().await;
        asked += of_world;
        if failures.len() >= SHOWN {
            break;
        }
    }
    println!("{asked} searches asked, {found} of them found something");
    let count = failures.len();
    assert!(failures.is_empty(), "{count} of {asked} differ:\n\n{}", failures.join("\n\n"));
    assert!(found * 5 > asked * 2, "only {found} of {asked} searches found something");
}

/// Writes the resources, changes and deletes some, and reads what is there.
async fn build(client: &Client, seed: u64, number: u64) -> World {
    let mut random = Random::new(seed, number * 2);
    let mut names = Vec::new();
    let mut bodies = Vec::new();
    for (of, count) in fixture::TYPES {
        for at in 0..*count {
            bodies.push(fixture::resource(&mut random, of, at, &client.base()));
            names.push((*of, fixture::id(of, at), at));
        }
    }
    // What is asked for stays as it is.
    let sets = fixed::sets();
    bodies.extend(sets.iter().cloned());
    bodies.push(fixed::tree());
    let entries: Vec<_> = bodies.iter().map(put).collect();
    let bundle = format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[{}]}}"#,
        entries.join(",")
    );
    client.post("/", bundle).await.expect(200);
    for (of, id, at) in &names {
        if random.chance(15) {
            let body = fixture::resource(&mut random, of, *at, &client.base());
            let answer = client.put(&format!("/{of}/{id}"), body.to_string()).await;
            assert!([200, 201].contains(&answer.status), "{answer:?}");
        }
        if random.chance(4) {
            let answer = client.delete(&format!("/{of}/{id}")).await;
            assert!([200, 204].contains(&answer.status), "{answer:?}");
        }
    }
    // From now on nothing changes: what waits for the words once has waited for all of them.
    let words = client.call("GET", "/Patient?_content=none&_count=1");
    words.header("Kiln-Fulltext", "wait").send().await.expect(200);
    let mut resources = Vec::new();
    let sets = (0..sets.len()).map(|number| ("ValueSet", format!("set{number}"), number));
    for (of, id, _) in names.into_iter().chain(sets) {
        let answer = client.get(&format!("/{of}/{id}")).await;
        match answer.status {
            200 => resources.push(answer.json()),
            410 => {}
            _ => panic!("{answer:?}"),
        }
    }
    World::new(resources, client.base())
}

fn put(body: &serde_json::Value) -> String {
    let (of, id) = (body["resourceType"].as_str().unwrap(), body["id"].as_str().unwrap());
    format!(r#"{{"resource":{body},"request":{{"method":"PUT","url":"{of}/{id}"}}}}"#)
}

/// What a search answers on all its pages.
struct Found {
    /// Types and ids, in order.
    matches: Vec<(String, String)>,
    /// How many are on each page.
    pages: Vec<usize>,
    /// The url of the last page.
    last: String,
    totals: BTreeSet<Option<String>>,
}

/// Asks and compares.
///
/// # Errors
/// What differs.
async fn check(client: &Client, world: &World, query: &Query) -> Result<(), String> {
    let Some(wanted) = judge::matches(world, query) else { return Ok(()) };
    let found = walk(client, (world, query)).await?;
    let name = |at: usize| world.name(at);
    let unique: BTreeSet<_> = found.matches.iter().cloned().collect();
    if unique.len() != found.matches.len() {
        return Err(format!("some are there twice: {:?}", found.matches));
    }
    let expected: BTreeSet<_> = wanted.iter().map(|at| name(*at)).collect();
    if unique != expected {
        let ids = |set: BTreeSet<&(String, String)>| -> Vec<String> {
            set.into_iter().map(|(of, id)| format!("{of}/{id}")).collect()
        };
        let missing = ids(expected.difference(&unique).collect());
        let extra = ids(unique.difference(&expected).collect());
        return Err(format!("missing {missing:?}, too much {extra:?}"));
    }
    let is_wrong = |told: &Option<String>| !is_total(told.as_deref(), query.total, wanted.len());
    if found.totals.iter().any(is_wrong) {
        return Err(format!("totals {:?} of {}", found.totals, wanted.len()));
    }
    let places: Vec<_> = found
        .matches
        .iter()
        .map(|found| *wanted.iter().find(|at| name(**at) == *found).unwrap())
        .collect();
    match order::fault(world, &query.sort, &places) {
        Some((a, b)) => Err(format!("{:?} stands before {:?}", name(a), name(b))),
        None => Ok(()),
    }
}

/// Whether a page may tell this total where so many match: an estimate may be wrong from a thousand on.
fn is_total(told: Option<&str>, asked: Option<Total>, count: usize) -> bool {
    let told = told.map(|told| told.parse::<usize>().unwrap());
    match asked {
        None => told.is_none_or(|told| told == count),
        Some(Total::Accurate) => told == Some(count),
        Some(Total::Estimate) => told.is_some_and(|told| told == count || told >= 1_000),
    }
}

async fn walk(client: &Client, (world, query): (&World, &Query)) -> Result<Found, String> {
    let totals = BTreeSet::new();
    let mut found = Found { matches: Vec::new(), pages: Vec::new(), last: query.url(), totals };
    for _ in 0..MAX_PAGES {
        let (bundle, matches) = page(client, (world, query), &found.last).await?;
        found.totals.insert(bundle.get("total").and_then(Value::as_number).map(str::to_owned));
        found.pages.push(matches.len());
        let is_empty = matches.is_empty();
        found.matches.extend(matches);
        match link(&bundle, "next") {
            Some(_) if is_empty => return Err("an empty page with a next one".to_owned()),
            Some(next) => found.last = next,
            None => {
                back(client, (world, query), &found).await?;
                return Ok(found);
            }
        }
    }
    Err("the pages do not end".to_owned())
}

/// Walks back from the last page: the same pages come the other way round.
async fn back(
    client: &Client,
    (world, query): (&World, &Query),
    found: &Found,
) -> Result<(), String> {
    let (mut url, mut end) = (found.last.clone(), found.matches.len());
    for (left, size) in found.pages.iter().enumerate().rev() {
        let (bundle, matches) = page(client, (world, query), &url).await?;
        let there = &found.matches[end - size..end];
        if matches != there {
            return Err(format!("on the way back {matches:?} and not {there:?}"));
        }
        end -= size;
        match (link(&bundle, "previous"), left) {
            (None, 0) => {}
            (Some(previous), 1..) => url = previous,
            (previous, _) => return Err(format!("{left} pages before, and {previous:?}")),
        }
    }
    Ok(())
}

fn link(bundle: &Value<'_>, relation: &str) -> Option<String> {
    let mut links = bundle.items_at("link").iter();
    let link = links.find(|link| link.str_at("relation") == Some(relation))?;
    link.str_at("url").map(str::to_owned)
}

/// One page and the types and ids of its matches.
async fn page(
    client: &Client,
    (world, query): (&World, &Query),
    url: &str,
) -> Result<(Value<'static>, Vec<(String, String)>), String> {
    let answer = client.get(url).await;
    if answer.status != 200 {
        return Err(format!("status {}: {}", answer.status, told(&answer)));
    }
    let bundle = answer.json();
    let (mut matches, mut along) = (Vec::new(), Vec::new());
    for entry in bundle.items_at("entry") {
        let resource = entry.get("resource").ok_or("no resource")?;
        let text = |name| resource.str_at(name).unwrap_or_default().to_owned();
        match entry.get("search").and_then(|search| search.str_at("mode")) {
            Some("match") => {}
            Some("include") => {
                along.push((text("resourceType"), text("id")));
                continue;
            }
            Some("outcome") => return Err(format!("not all was understood: {}", told(&answer))),
            mode => return Err(format!("mode {mode:?}")),
        }
        let url = entry.str_at("fullUrl").unwrap_or_default();
        let id = url.rsplit('/').next().unwrap_or_default();
        if id.rsplit('#').next() != Some(&text("id")) {
            return Err(format!("{url:?} is the url of {}", text("id")));
        }
        matches.push((text("resourceType"), id.to_owned()));
    }
    if query.count.is_some_and(|count| matches.len() > count) {
        return Err(format!("{} on a page", matches.len()));
    }
    match along::fault(world, query, &matches, &along) {
        Some(fault) => Err(fault),
        None => Ok((bundle, matches)),
    }
}

fn told(answer: &Answer) -> String {
    answer.text().chars().take(400).collect()
}
