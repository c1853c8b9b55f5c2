//! Pages by a cursor while others write, under every sort, forward and back: what stays as it is comes once
//! and in its order, what comes into being or goes is told by where the cursor is.
//!
//! Each order is gone by with a filter and without: few candidates are sorted, and without any an index is
//! walked. `_score` is not among the orders: it changes with each word that anybody writes.
//!
//! Covers: rest 4.189, rest 4.194.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::grouped::{ids, link};
use crate::harness::client::{Answer, Client};
use crate::harness::server::TestServer;

/// Matches on a page.
const PAGE: usize = 3;
/// After so many pages others write; then they leave the walk alone, so that it ends.
const DISTURBED: usize = 3;
/// No walk has more pages.
const MOST_PAGES: usize = 30;

/// What an order goes by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum By {
    Change,
    Id,
    /// Some value, which every other resource may lack or share.
    Value,
}

/// One order of a type.
struct Order {
    of: &'static str,
    criteria: &'static str,
    /// `_sort`, and whether what has the greatest rank comes first.
    sorts: &'static [(&'static str, bool)],
    by: By,
    /// Whether resources without a value are found.
    has_lacking: bool,
    /// What each resource has.
    base: &'static str,
    /// What a resource of this rank has beside that.
    value: fn(i64) -> String,
}

const OBSERVATION: &str = r#","status":"final","code":{"coding":[{"system":"urn:c","code":"c"}]}"#;
const ENCOUNTER: &str = r#","status":"finished","class":{"code":"AMB"}"#;
/// In the order of their texts.
const STATUSES: [&str; 4] = ["cancelled", "finished", "planned", "triaged"];
const GENDERS: [&str; 4] = ["female", "male", "other", "unknown"];

const ORDERS: &[Order] = &[
    Order {
        sorts: &[("name", false), ("-name", true)],
        // Case makes no difference to the order.
        value: |rank| match rank % 4 {
            0 => format!(r#","name":"NAME {rank:03}""#),
            _ => format!(r#","name":"name {rank:03}""#),
        },
        ..plain("Organization", "")
    },
    Order {
        sorts: &[("code", false), ("-code", true)],
        value: |rank| format!(r#","code":{{"coding":[{{"system":"urn:c","code":"c{rank:03}"}}]}}"#),
        ..plain("Medication", "")
    },
    Order {
        sorts: &[("probability", false), ("-probability", true)],
        value: |rank| format!(r#","prediction":[{{"probabilityDecimal":0.{rank:03}}}]"#),
        ..plain("RiskAssessment", r#","status":"final","subject":{"reference":"Patient/p"}"#)
    },
    Order {
        sorts: &[("value-quantity", false), ("-value-quantity", true)],
        value: quantity,
        ..plain("Observation", OBSERVATION)
    },
    Order {
        sorts: &[("code-value-quantity", false), ("-code-value-quantity", true)],
        value: quantity,
        ..plain("Observation", OBSERVATION)
    },
    Order {
        sorts: &[("subject", false), ("-subject", true)],
        value: |rank| format!(r#","subject":{{"reference":"Patient/p{rank:03}"}}"#),
        ..plain("Observation", OBSERVATION)
    },
    Order {
        sorts: &[("url", false), ("-url", true)],
        value: |rank| format!(r#","url":"http://example.org/{rank:03}""#),
        ..plain("Device", "")
    },
    Order {
        // What is not sorted has the newest first.
        sorts: &[("date", false), ("-date", true), ("", true)],
        value: |rank| format!(r#","period":{{"start":"{}"}}"#, day(rank)),
        ..plain("Encounter", ENCOUNTER)
    },
    Order {
        sorts: &[("birthdate", false), ("-birthdate", true)],
        value: |rank| format!(r#","birthDate":"{}""#, day(rank)),
        ..plain("Patient", "")
    },
    Order {
        // The newest of each code.
        sorts: &[("status,-date", false)],
        has_lacking: false,
        value: |rank| {
            let (status, start) = (one_of(STATUSES, rank), day(99 - rank));
            format!(r#","status":"{status}","period":{{"start":"{start}"}}"#)
        },
        ..plain("Encounter", r#","class":{"code":"AMB"}"#)
    },
    Order {
        sorts: &[("gender,-birthdate", false), ("-gender,birthdate,_id", true)],
        value: |rank| {
            let (gender, born) = (one_of(GENDERS, rank), day(99 - rank));
            format!(r#","gender":"{gender}","birthDate":"{born}""#)
        },
        ..plain("Person", "")
    },
    Order {
        criteria: "near=0|0|20000|km&",
        sorts: &[("near", false), ("-near", true)],
        has_lacking: false,
        value: |rank| format!(r#","position":{{"longitude":{rank},"latitude":0}}"#),
        ..plain("Location", "")
    },
    Order {
        sorts: &[("_lastUpdated", false), ("-_lastUpdated", true)],
        by: By::Change,
        ..plain("Basic", r#","code":{"text":"x"}"#)
    },
    Order {
        sorts: &[("_id", false), ("-_id", true)],
        by: By::Id,
        ..plain("Basic", r#","code":{"text":"x"}"#)
    },
];

const fn plain(of: &'static str, base: &'static str) -> Order {
    Order {
        of,
        criteria: "",
        sorts: &[],
        by: By::Value,
        has_lacking: true,
        base,
        value: |_| String::new(),
    }
}

fn quantity(rank: i64) -> String {
    let unit = r#""system":"http://unitsofmeasure.org","code":"mg""#;
    format!(r#","valueQuantity":{{"value":{rank},{unit}}}"#)
}

fn day(rank: i64) -> String {
    format!("2020-{:02}-{:02}", 1 + rank / 28, 1 + rank % 28)
}

fn one_of(codes: [&'static str; 4], rank: i64) -> &'static str {
    codes[(rank / 25) as usize]
}

/// What others do with a resource while pages are read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Role {
    Goes,
    Moves,
    Stays,
}

/// What is there at first, by number: what others do with it and its rank. Some share one, and the last have none
/// where that may be.
const FIRST: [(Role, i64); 15] = [
    (Role::Stays, 30),
    (Role::Moves, 32),
    (Role::Goes, 32),
    (Role::Stays, 34),
    (Role::Goes, 36),
    (Role::Moves, 38),
    (Role::Stays, 38),
    (Role::Stays, 38),
    (Role::Moves, 40),
    (Role::Stays, 42),
    (Role::Goes, 44),
    (Role::Stays, 46),
    (Role::Stays, 48),
    (Role::Goes, 50),
    (Role::Stays, 52),
];
/// From which number on they lack a value.
const LACKING: usize = 12;

#[derive(Clone, Copy, Debug)]
struct Resource {
    role: Role,
    rank: Option<i64>,
}

/// How often something has to come: from so often to so often.
type Times = (usize, usize);

/// One order at work.
struct Run<'c> {
    client: &'c Client,
    order: &'c Order,
    is_descending: bool,
    url: String,
    /// What all ids of this run begin with.
    prefix: String,
    /// All that is there now.
    there: BTreeMap<String, Resource>,
    /// How many Bundles were written, and how many resources came to an end of the order.
    bundles: i64,
    edges: i64,
}

/// The entries of a Bundle in the making.
#[derive(Default)]
struct Bundle(Vec<String>);

impl Bundle {
    fn delete(&mut self, of: &str, id: &str) {
        self.0.push(format!(r#"{{"request":{{"method":"DELETE","url":"{of}/{id}"}}}}"#));
    }
}

impl<'c> Run<'c> {
    fn new(
        client: &'c Client,
        order: &'c Order,
        (sort, is_descending): (&str, bool),
        (is_filtered, number): (bool, usize),
    ) -> Self {
        let filter = if is_filtered { "_tag=t&" } else { "" };
        let sort = if sort.is_empty() { String::new() } else { format!("_sort={sort}&") };
        let url = format!("/{}?{}{filter}{sort}_count={PAGE}", order.of, order.criteria);
        let prefix = format!("x{number:02}-");
        let there = BTreeMap::new();
        Self { client, order, is_descending, url, prefix, there, bundles: 0, edges: 0 }
    }

    /// Which comes first on the way forward; what lacks a value comes last either way.
    fn forward(&self, one: Option<i64>, other: Option<i64>) -> Ordering {
        match (one, other) {
            (Some(one), Some(other)) if self.is_descending => other.cmp(&one),
            (Some(one), Some(other)) => one.cmp(&other),
            (one, other) => other.is_some().cmp(&one.is_some()),
        }
    }

    fn on_the_way(&self, is_back: bool, one: Option<i64>, other: Option<i64>) -> Ordering {
        let ordering = self.forward(one, other);
        if is_back { ordering.reverse() } else { ordering }
    }

    /// A rank before all others or behind all that have one.
    fn edge(&mut self, is_first: bool) -> i64 {
        self.edges += 1;
        if is_first == self.is_descending { 60 + self.edges } else { 30 - self.edges }
    }

    /// Has an entry write a resource; the rank that counts is told. The Bundle that it is in is the next.
    fn put(
        &mut self,
        bundle: &mut Bundle,
        id: &str,
        role: Role,
        wanted: Option<i64>,
    ) -> Option<i64> {
        let Order { of, base, value, by, .. } = self.order;
        let rank = if *by == By::Change { Some(self.bundles) } else { wanted };
        let value = wanted.map(value).unwrap_or_default();
        // Each version is another one, whatever the order goes by.
        let language = self.bundles;
        bundle.0.push(format!(
            r#"{{"resource":{{"resourceType":"{of}","id":"{id}","meta":{{"tag":[{{"code":"t"}}]}},
                "language":"en-x-v{language}"{base}{value}}},"request":{{"method":"PUT","url":"{of}/{id}"}}}}"#
        ));
        self.there.insert(id.to_owned(), Resource { role, rank });
        rank
    }

    async fn send(&mut self, bundle: Bundle) {
        let entries = bundle.0.join(",");
        let bundle =
            format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#);
        self.client.post("/", bundle).await.expect(200);
        self.bundles += 1;
    }

    /// Writes what is there at first: three Bundles, in another order than that of the ranks.
    async fn fill(&mut self) {
        let mut bundle = Bundle::default();
        for at in 0..FIRST.len() {
            let number = at * 7 % FIRST.len();
            let (role, rank) = FIRST[number];
            let is_lacking = self.order.has_lacking && number >= LACKING;
            let (id, rank) = match self.order.by {
                By::Id => (format!("i{:03}", 30 + number), Some(30 + number as i64)),
                By::Change => (format!("r{number}"), None),
                By::Value => (format!("r{number}"), Some(rank).filter(|_| !is_lacking)),
            };
            let id = format!("{}{id}", self.prefix);
            self.put(&mut bundle, &id, role, rank);
            if at % 5 == 4 {
                self.send(std::mem::take(&mut bundle)).await;
            }
        }
    }

    /// What others do after a page. `shown` is what was seen up to here, `times` how often what has to come.
    async fn disturb(
        &mut self,
        (is_back, number): (bool, usize),
        shown: &[(String, Option<i64>)],
        times: &mut BTreeMap<String, Times>,
    ) {
        let is_shown = |id: &str| shown.iter().any(|(it, _)| it == id);
        let last = shown.last().expect("a page has something").1;
        let mut bundle = Bundle::default();
        let of_role = |all: &BTreeMap<String, Resource>, wanted| -> Vec<String> {
            let all = all.iter().filter(|(_, it)| it.role == wanted);
            all.map(|(id, _)| id.clone()).collect()
        };
        let goes = of_role(&self.there, Role::Goes);
        let seen = goes.iter().find(|id| is_shown(id));
        let unseen = goes.iter().rfind(|id| !is_shown(id));
        for id in seen.into_iter().chain(unseen) {
            bundle.delete(self.order.of, id);
            self.there.remove(id);
            times.insert(id.clone(), if is_shown(id) { (1, 1) } else { (0, 0) });
        }
        // What was shown has another value: it may come again, and nothing else may be left out for it.
        let moves = of_role(&self.there, Role::Moves);
        if let Some(id) = moves.iter().find(|id| is_shown(id) && times[*id] == (1, 1)) {
            let old = self.there[id].rank;
            let wanted = match (self.order.by, number) {
                (By::Id, _) => old,
                (_, 2) if self.order.has_lacking => None,
                (_, number) => Some(self.edge(number.is_multiple_of(2))),
            };
            let rank = self.put(&mut bundle, id, Role::Moves, wanted);
            let again = match self.on_the_way(is_back, last, rank) {
                Ordering::Less => (2, 2),
                Ordering::Equal => (1, 2),
                Ordering::Greater => (1, 1),
            };
            times.insert(id.clone(), again);
        }
        // One comes before all, one behind, and one beside what was shown last.
        let (first, end) = (self.edge(true), self.edge(false));
        let beside = last.filter(|_| self.order.by == By::Value);
        let new = [(Some(first), Role::Goes), (Some(end), Role::Stays), (beside, Role::Moves)];
        for (wanted, role) in new.into_iter().filter(|(wanted, _)| wanted.is_some()) {
            let rank = wanted.unwrap_or_default();
            let id = match self.order.by {
                By::Id => format!("{}i{rank:03}", self.prefix),
                _ => format!("{}n{}-{}", self.prefix, self.bundles, bundle.0.len()),
            };
            let rank = self.put(&mut bundle, &id, role, wanted);
            let once = match self.on_the_way(is_back, last, rank) {
                Ordering::Less => (1, 1),
                Ordering::Equal => (0, 1),
                Ordering::Greater => (0, 0),
            };
            times.insert(id, once);
        }
        self.send(bundle).await;
    }

    /// Goes on from a page to the last, or back to the first, while others write; gives the page at the end, and what
    /// stayed as it was, as it came.
    async fn walk(&mut self, page: Answer, is_back: bool) -> (Answer, Vec<String>) {
        let relation = if is_back { "previous" } else { "next" };
        let stays: Vec<String> = self.there.keys().cloned().collect();
        let mut times: BTreeMap<String, Times> = stays.into_iter().map(|id| (id, (1, 1))).collect();
        let (mut page, mut shown, mut number) = (page, Vec::new(), 0);
        loop {
            let mut on_page = ids(&page);
            assert!((1..=PAGE).contains(&on_page.len()), "{}: {page:?}", self.url);
            if is_back {
                on_page.reverse();
            }
            for id in on_page {
                let known = self.there.get(&id);
                let known = known.unwrap_or_else(|| panic!("{}: {id} is gone", self.url));
                shown.push((id, known.rank));
            }
            let Some(next) = link(&page, relation) else { break };
            if number < DISTURBED {
                self.disturb((is_back, number), &shown, &mut times).await;
            }
            number += 1;
            assert!(number < MOST_PAGES, "{}: the pages do not end", self.url);
            page = self.client.get(&next).await.expect(200);
        }
        assert!(number >= DISTURBED, "{}: {number} pages", self.url);
        let is_ordered = |pair: &[(String, Option<i64>)]| {
            self.on_the_way(is_back, pair[0].1, pair[1].1) != Ordering::Greater
        };
        assert!(shown.windows(2).all(is_ordered), "{} {relation}: {shown:?}", self.url);
        for (id, (least, most)) in times {
            let count = shown.iter().filter(|(it, _)| *it == id).count();
            let what = format!("{} {relation}: {id} came {count} times", self.url);
            assert!((least..=most).contains(&count), "{what}, not {least} to {most}: {shown:?}");
        }
        let is_first = |id: &&String| {
            id.as_bytes().get(self.prefix.len()).is_some_and(|it| matches!(it, b'i' | b'r'))
        };
        let has_stayed = |id: &&String| {
            self.there.get(*id).is_some_and(|it| it.role == Role::Stays) && is_first(id)
        };
        let stayed = shown.iter().map(|(id, _)| id).filter(has_stayed).cloned().collect();
        (page, stayed)
    }

    /// A page that was gone back to is the last when all behind it is gone.
    async fn end(&mut self) {
        let first = self.client.get(&self.url).await.expect(200);
        let kept = ids(&first);
        let second = self.client.get(&link(&first, "next").expect("more")).await.expect(200);
        let back = link(&second, "previous").expect("what was before");
        self.delete(|id| !kept.iter().any(|it| it == id)).await;
        let alone = self.client.get(&back).await.expect(200);
        assert_eq!(ids(&alone), kept, "{}", self.url);
        assert_eq!(link(&alone, "previous"), None, "{}", self.url);
        assert_eq!(link(&alone, "next"), None, "{}: to a page without a match", self.url);
        self.delete(|_| true).await;
    }

    async fn delete(&mut self, which: impl Fn(&str) -> bool) {
        let mut bundle = Bundle::default();
        let gone: Vec<String> = self.there.keys().filter(|id| which(id)).cloned().collect();
        for id in gone {
            bundle.delete(self.order.of, &id);
            self.there.remove(&id);
        }
        self.send(bundle).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stays_comes_once_under_every_sort_while_others_write() {
    let settings = [("validation.level", "off"), ("definitions.readable", "false")];
    let server = TestServer::start_with(&settings).await;
    let mut number = 0;
    for order in ORDERS {
        for sort in order.sorts {
            for is_filtered in [false, true] {
                let mut run = Run::new(&server.client, order, *sort, (is_filtered, number));
                run.fill().await;
                let first = server.client.get(&run.url).await.expect(200);
                let (last, forward) = run.walk(first, false).await;
                let (_, mut back) = run.walk(last, true).await;
                back.reverse();
                assert_eq!(back, forward, "{}: what was before in the same order", run.url);
                run.end().await;
                number += 1;
            }
        }
    }
    println!("{number} walks forward and back");
    server.stop().await;
}
