//! An order by a code and then by the date: pages forward to the end and back to the beginning, however many match.

use std::cmp::Reverse;

use crate::harness::client::{Answer, Client};
use crate::harness::server::TestServer;

/// What is written: some lack a category, and so many that it is no longer kept which; few lack a method.
const ALL: usize = 1_330;

#[derive(Clone, Debug)]
struct Made {
    id: String,
    categories: Vec<&'static str>,
    method: Option<&'static str>,
    /// Days since the first of all; some have no date.
    day: Option<usize>,
}

fn made(number: usize) -> Made {
    let categories = match number % 20 {
        0 => vec!["alpha"],
        1 if number.is_multiple_of(3) => vec!["omega", "alpha"],
        2..=8 => vec!["beta"],
        _ => Vec::new(),
    };
    let method = match number % 50 {
        0 => None,
        1..=10 => Some("one"),
        _ => Some("two"),
    };
    // Dates in another order than that of the writes.
    let day = (number % 400 != 1).then_some(number * 7_919 % 10_007);
    Made { id: format!("o{number}"), categories, method, day }
}

impl Made {
    fn json(&self) -> String {
        let coded = |code: &&str| format!(r#"{{"coding":[{{"system":"urn:c","code":"{code}"}}]}}"#);
        let mut text = format!(
            r#"{{"resourceType":"Observation","id":"{}","status":"final","code":{{"text":"x"}}"#,
            self.id
        );
        let categories: Vec<String> = self.categories.iter().map(coded).collect();
        if !categories.is_empty() {
            text.extend([r#","category":["#, &categories.join(","), "]"]);
        } else if self.id.ends_with('3') {
            // A value that is no code.
            text += r#","category":[{"text":"none"}]"#;
        }
        if let Some(method) = &self.method {
            text.extend([r#","method":"#, &coded(method)]);
        }
        if let Some(day) = self.day {
            let date =
                format!("{}-{:02}-{:02}", 1990 + day / 336, 1 + day % 336 / 28, 1 + day % 28);
            text.extend([r#","effectiveDateTime":""#, &date, "\""]);
        }
        text + "}"
    }

    /// What comes first where codes ascend, or descend; what has none comes last.
    fn key(&self, by: &str, is_descending: bool) -> Option<&'static str> {
        let codes = if by == "method" {
            self.method.into_iter().collect()
        } else {
            self.categories.clone()
        };
        if is_descending { codes.into_iter().max() } else { codes.into_iter().min() }
    }
}

/// The ids in the order that is asked for; those without a date are alike where the code is.
fn expected(by: &str, is_descending: bool) -> Vec<Made> {
    let mut all: Vec<Made> = (0..ALL).map(made).collect();
    all.sort_by_key(|it| Reverse(it.day));
    if is_descending {
        all.sort_by_key(|it| Reverse(it.key(by, true)));
    } else {
        all.sort_by_key(|it| (it.key(by, false).is_none(), it.key(by, false)));
    }
    all
}

async fn write(client: &Client) {
    for first in (0..ALL).step_by(400) {
        let entry = |number| {
            let it = made(number);
            format!(
                r#"{{"resource":{},"request":{{"method":"PUT","url":"Observation/{}"}}}}"#,
                it.json(),
                it.id
            )
        };
        let entries: Vec<String> = (first..(first + 400).min(ALL)).map(entry).collect();
        let bundle = format!(
            r#"{{"resourceType":"Bundle","type":"transaction","entry":[{}]}}"#,
            entries.join(",")
        );
        client.post("/", bundle).await.expect(200);
    }
}

pub(super) fn ids(page: &Answer) -> Vec<String> {
    let count = page.text().matches(r#""mode":"match""#).count();
    (0..count).filter_map(|at| page.at(&format!("entry[{at}].resource.id"))).collect()
}

pub(super) fn link(page: &Answer, relation: &str) -> Option<String> {
    page.at(&format!("link[relation={relation}].url"))
}

/// The pages from the first on; and those back from the last one, in the order of their matches.
pub(super) async fn walk(client: &Client, url: &str) -> (Vec<Vec<String>>, Vec<Vec<String>>) {
    let mut page = client.get(url).await.expect(200);
    let mut forward = vec![ids(&page)];
    while let Some(next) = link(&page, "next") {
        page = client.get(&next).await.expect(200);
        forward.push(ids(&page));
    }
    let mut back = vec![ids(&page)];
    while let Some(previous) = link(&page, "previous") {
        page = client.get(&previous).await.expect(200);
        back.insert(0, ids(&page));
    }
    (forward, back)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_by_code_and_date_are_in_order_forward_and_back() {
    let settings = [("validation.level", "off"), ("definitions.readable", "false")];
    let server = TestServer::start_with(&settings).await;
    write(&server.client).await;
    // What most lack is not kept, what few lack is: both are found last.
    let kept = "SELECT count(*) FROM token_code WHERE h = 0";
    assert!(server.database.number(kept).await > 0, "too many lack a category");
    for (by, is_descending) in
        [("category", false), ("category", true), ("method", false), ("method", true)]
    {
        let expected = expected(by, is_descending);
        let dated = |ids: &[String]| -> Vec<String> {
            let has_date =
                |id: &&String| expected.iter().any(|it| it.id == **id && it.day.is_some());
            ids.iter().filter(has_date).cloned().collect()
        };
        let all: Vec<String> = expected.iter().map(|it| it.id.clone()).collect();
        let sign = if is_descending { "-" } else { "" };
        // All of a type, and what has a token.
        for criteria in ["", "status=final&"] {
            let url = format!("/Observation?{criteria}_sort={sign}{by},-date&_count=97");
            let (forward, back) = walk(&server.client, &url).await;
            let (found, found_back) = (forward.concat(), back.concat());
            assert_eq!(found.len(), ALL, "{url}");
            assert_eq!(dated(&found), dated(&all), "{url}");
            assert_eq!(found_back, found, "{url}");
        }
    }
    server.stop().await;
}

/// Rows of the index without resources: more than are sorted, quickly made. What only `b1` has of `b1` and `x1` they
/// have too, and a few have what only `x1` has.
const MANY: &str = "
    CREATE TABLE t_tok AS SELECT r.id, k.h, k.sysh FROM tok k JOIN res r USING (rid) WHERE r.id IN ('b1', 'x1');
    CREATE TABLE t_made AS SELECT 1000000 + n AS rid, n, 'b1' AS like_id, timestamptz '2000-01-01' + n * interval '1 min' AS s
      FROM generate_series(1, 200001) n
      UNION ALL SELECT 2000000 + n, 1000000 + n, 'x1', timestamptz '1975-01-01' + n * interval '1 min' FROM generate_series(1, 600) n;
    INSERT INTO srow (rid, idh, s, hi, dk, rt, toks, keys, present)
      SELECT m.rid, m.n, m.s, m.s, 0, f.rt, f.toks, f.keys, f.present FROM t_made m JOIN res r ON r.id = m.like_id JOIN srow f ON f.rid = r.rid;
    INSERT INTO tok (h, s, rid, sysh, dk)
      SELECT o.h, m.s, m.rid, o.sysh, 0 FROM t_made m JOIN t_tok o ON o.id = m.like_id
      WHERE NOT EXISTS (SELECT FROM t_tok x WHERE x.h = o.h AND x.id <> o.id);
    DROP TABLE t_tok, t_made;
    ANALYZE";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_are_sorted_have_pages_forward_and_back() {
    let settings = [("validation.level", "off"), ("http.max_page", "70000")];
    let server = TestServer::start_with(&settings).await;
    let client = &server.client;
    for (id, status, category, date) in [
        ("x1", "amended", "a", "1980-01-01"),
        ("a1", "final", "a", "1970-01-01"),
        ("a2", "final", "a", "1970-01-02"),
        ("a3", "final", "a", "1970-01-03"),
        ("b0", "final", "b", "1970-01-01"),
        ("b1", "final", "b", "2030-01-01"),
        ("n1", "final", "", "2030-01-01"),
        ("n2", "final", "", "2030-01-02"),
    ] {
        let category = match category {
            "" => String::new(),
            code => format!(r#","category":[{{"coding":[{{"system":"urn:c","code":"{code}"}}]}}]"#),
        };
        let body = format!(
            r#"{{"resourceType":"Observation","id":"{id}","status":"{status}","code":{{"text":"x"}}{category},"effectiveDateTime":"{date}"}}"#
        );
        client.put(&format!("/Observation/{id}"), body).await.expect(201);
    }
    server.database.run(MANY).await;
    let all = ["a3 a2", "a1 b1"];
    let url = "/Observation?status=final&_sort=category,-date&_total=none";
    let first = client.get(&format!("{url}&_count=2")).await.expect(200);
    assert_eq!(ids(&first).join(" "), all[0], "{first:?}");
    let second = client.get(&link(&first, "next").expect("more")).await.expect(200);
    assert_eq!(ids(&second).join(" "), all[1], "{second:?}");
    let again = client.get(&link(&second, "previous").expect("what was before")).await.expect(200);
    assert_eq!(ids(&again).join(" "), all[0], "{again:?}");
    assert!(link(&again, "previous").is_none(), "{again:?}");
    // To the end, past all that are nothing, and back.
    let (forward, back) = walk(client, &format!("{url}&_count=70000")).await;
    assert_eq!(forward.concat().join(" "), "a3 a2 a1 b1 b0 n2 n1");
    assert_eq!(forward.len(), 3, "{forward:?}");
    assert_eq!(back.concat(), forward.concat());
    // The same of values, whose first page back is not full either.
    let url = "/Observation?_sort=-date,status&_total=none&_count=1";
    let first = client.get(url).await.expect(200);
    assert_eq!(ids(&first), ["n2"]);
    let second = client.get(&link(&first, "next").expect("more")).await.expect(200);
    let again = client.get(&link(&second, "previous").expect("what was before")).await.expect(200);
    assert_eq!(ids(&again), ["n2"], "{again:?}");
    server.stop().await;
}
