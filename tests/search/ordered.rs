//! An order by values: pages go on to the last and back however many match, beside a token that most have and
//! past what has no value.
//!
//! Covers: rest 4.177.

use super::grouped::{ids, link, walk};
use crate::harness::client::Client;
use crate::harness::server::TestServer;

/// Rows of the index without resources, quickly made: more with a value than are sorted, and as many without one
/// as are not sorted where only their keys order them.
const MANY: &str = "
    CREATE TABLE t_made AS SELECT 1000000 + n AS rid, n, 'v2' AS like_id FROM generate_series(1, 200001) n
      UNION ALL SELECT 2000000 + n, 1000000 + n, 'n1' FROM generate_series(1, 2100) n;
    INSERT INTO srow (rid, idh, s, hi, dk, rt, toks, keys, present)
      SELECT m.rid, m.n, f.s, f.hi, 0, f.rt, f.toks, f.keys, f.present
      FROM t_made m JOIN res r ON r.id = m.like_id JOIN srow f ON f.rid = r.rid;
    INSERT INTO tok (h, s, rid, sysh, dk)
      SELECT k.h, k.s, m.rid, k.sysh, 0 FROM t_made m JOIN res r ON r.id = m.like_id JOIN tok k ON k.rid = r.rid;
    INSERT INTO num (h, rid, y, u, n, dk, lo, hi)
      SELECT k.h, m.rid, k.y, k.u, k.n, 0, k.lo + m.n, k.hi + m.n
      FROM t_made m JOIN res r ON r.id = m.like_id JOIN num k ON k.rid = r.rid;
    DROP TABLE t_made;
    ANALYZE";

/// So many that one page begins among what has no value.
const PAGE: &str = "67000";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_are_sorted_have_pages_to_the_last_by_their_values() {
    let settings = [("validation.level", "off"), ("http.max_page", PAGE)];
    let server = TestServer::start_with(&settings).await;
    let client = &server.client;
    for (id, value) in [
        ("v1", r#","valueQuantity":{"value":1}"#),
        ("v2", r#","valueQuantity":{"value":2}"#),
        ("v3", r#","valueQuantity":{"value":9000000}"#),
        ("n1", ""),
        ("n2", ""),
    ] {
        let body = format!(
            r#"{{"resourceType":"Observation","id":"{id}","status":"final","code":{{"text":"x"}}{value}}}"#
        );
        client.put(&format!("/Observation/{id}"), body).await.expect(201);
    }
    server.database.run(MANY).await;
    let first = client.get("/Observation?status=final&_sort=value-quantity&_count=2").await;
    let first = first.expect(200);
    assert_eq!(ids(&first), ["v1", "v2"], "{first:?}");
    assert!(link(&first, "next").is_some(), "{first:?}");
    for (url, expected) in [
        // What has no value by the store's key alone, and by another key.
        ("/Observation?status=final&_sort=value-quantity", "v1 v2 v3 n1 n2"),
        ("/Observation?_sort=-value-quantity,status", "v3 v2 v1 n1 n2"),
    ] {
        let url = format!("{url}&_total=none&_count={PAGE}");
        let (forward, back) = walk(client, &url).await;
        assert_eq!(forward.concat().join(" "), expected, "{url}");
        assert_eq!(forward.len(), 4, "{url}: {forward:?}");
        assert_eq!(back.concat(), forward.concat(), "{url}");
    }
    server.stop().await;
}

/// Five of three types each, of which the first and the last have their value in several ways, and one without.
async fn put_alike(client: &Client) {
    let quantity = |value: &str, unit: &str| {
        let value = format!(r#"{{"value":{value},"unit":"{unit}"}}"#);
        format!(r#"{{"code":{{"text":"x"}},"valueQuantity":{value}}}"#)
    };
    let thrice = |value: &str| {
        let exact = format!("{value}.0");
        [quantity(value, "mg"), quantity(value, "ml"), quantity(&exact, "mg")].join(",")
    };
    let once = |value: &str| quantity(value, "mg");
    let due = |dates: &[&str]| -> String {
        let each: Vec<_> = dates.iter().map(|it| format!(r#"{{"dueDate":"{it}"}}"#)).collect();
        each.join(",")
    };
    let goal =
        r#","lifecycleStatus":"active","description":{"text":"x"},"subject":{"display":"x"}"#;
    for (of, all, name, values) in [
        (
            "Patient",
            "",
            "name",
            ["José,Jose,JOSE", "Karl", "Lena", "Mia", "Zoë,Zoe,ZOE"].map(|names| {
                let given: Vec<_> = names.split(',').map(|it| format!("\"{it}\"")).collect();
                format!(r#"{{"given":[{}]}}"#, given.join(","))
            }),
        ),
        (
            "Observation",
            r#","status":"final","code":{"text":"x"}"#,
            "component",
            [thrice("5"), once("6"), once("7"), once("8"), thrice("9")],
        ),
        (
            "Goal",
            goal,
            "target",
            [
                due(&["2020", "2020-01", "2020-01-01"]),
                due(&["2020-02-01"]),
                due(&["2020-03-01"]),
                due(&["2020-04-01"]),
                due(&["2021", "2021-01", "2021-01-01"]),
            ],
        ),
    ] {
        let values = values.iter().map(String::as_str).chain([""]);
        for (value, id) in values.zip(["a", "b", "c", "d", "e", "n"]) {
            let body = match value {
                "" => format!(r#"{{"resourceType":"{of}","id":"{id}"{all}}}"#),
                _ => format!(r#"{{"resourceType":"{of}","id":"{id}"{all},"{name}":[{value}]}}"#),
            };
            client.put(&format!("/{of}/{id}"), body).await.expect(201);
        }
    }
}

/// A resource that has one value in several ways takes the place of no other: neither on a page nor in the total.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_one_value_in_several_ways_hides_nothing() {
    let settings = [("validation.level", "off"), ("definitions.readable", "false")];
    let server = TestServer::start_with(&settings).await;
    let client = &server.client;
    put_alike(client).await;
    for (of, by) in
        [("Patient", "given"), ("Observation", "component-value-quantity"), ("Goal", "target-date")]
    {
        for (sign, expected) in [("", "a b c d e n"), ("-", "e d c b a n")] {
            let url = format!("/{of}?_sort={sign}{by}&_count=2");
            let (forward, back) = walk(client, &url).await;
            assert_eq!(forward.concat().join(" "), expected, "{url}");
            assert_eq!(back.concat(), forward.concat(), "{url}");
            let told = client.get(&url).await.expect(200).at("total");
            assert!(told.as_deref().is_none_or(|told| told == "6"), "{url}: {told:?}");
        }
    }
    server.stop().await;
}

/// A code in several systems is found by the code alone as several rows of one resource.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_in_several_systems_hides_nothing_in_an_order_by_date() {
    /// So many that they are not few, each by two rows.
    const ALL: usize = 520;
    let server = TestServer::start_with(&[("validation.level", "off")]).await;
    let entries: Vec<String> = (0..ALL)
        .map(|at| {
            // Some have no date.
            let date = format!(r#","effectiveDateTime":"2{:03}-01-01""#, at / 2);
            let date = if at % 20 == 0 { String::new() } else { date };
            format!(
                r#"{{"resource":{{"resourceType":"Observation","id":"o{at:03}","status":"final","code":{{"coding":[{{"system":"urn:a","code":"k"}},{{"system":"urn:b","code":"k"}}]}}{date}}},"request":{{"method":"PUT","url":"Observation/o{at:03}"}}}}"#
            )
        })
        .collect();
    let bundle = format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[{}]}}"#,
        entries.join(",")
    );
    server.client.post("/", bundle).await.expect(200);
    let (dated, undated): (Vec<usize>, Vec<usize>) = (0..ALL).partition(|at| at % 20 != 0);
    let newest_first = {
        let mut all = dated.clone();
        all.sort_by_key(|at| (std::cmp::Reverse(at / 2), *at));
        all
    };
    for (sort, dated) in [("date,_id", dated), ("-date,_id", newest_first)] {
        let expected: Vec<String> =
            dated.iter().chain(&undated).map(|at| format!("o{at:03}")).collect();
        let url = format!("/Observation?code=k&_sort={sort}&_count=50");
        let (forward, back) = walk(&server.client, &url).await;
        assert_eq!(forward.concat(), expected, "{url}");
        assert_eq!(back.concat(), expected, "{url}");
    }
    server.stop().await;
}

/// Rows of the index without resources: fewer than are sorted, found by a code in two systems, which makes more rows
/// than that.
const TWICE: &str = "
    INSERT INTO srow (rid, idh, s, hi, dk, rt, toks, keys, present)
      SELECT 1000000 + n, n, f.s, f.hi, 0, f.rt, f.toks, f.keys, f.present
      FROM generate_series(1, 101000) n, res r JOIN srow f ON f.rid = r.rid WHERE r.id = 'dated';
    INSERT INTO tok (h, s, rid, sysh, dk)
      SELECT k.h, k.s, 1000000 + n, k.sysh, 0
      FROM generate_series(1, 101000) n, res r JOIN tok k ON k.rid = r.rid WHERE r.id = 'dated' AND k.sysh <> 0;
    ANALYZE";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_found_twice_is_sorted_as_a_whole() {
    let server = TestServer::start_with(&[("validation.level", "off")]).await;
    let client = &server.client;
    // The one that is walked last comes first in the order.
    for (id, content) in [
        ("dated", r#""status":"final","effectiveDateTime":"2020-01-01""#),
        ("undated", r#""status":"amended""#),
    ] {
        let body = format!(
            r#"{{"resourceType":"Observation","id":"{id}",{content},"code":{{"coding":[{{"system":"urn:a","code":"k"}},{{"system":"urn:b","code":"k"}}]}}}}"#
        );
        client.put(&format!("/Observation/{id}"), body).await.expect(201);
    }
    server.database.run(TWICE).await;
    let first = client.get("/Observation?code=k&_sort=status,code&_count=2").await.expect(200);
    assert_eq!(ids(&first).first().map(String::as_str), Some("undated"), "{first:?}");
    assert_eq!(first.at("total").as_deref(), Some("101002"), "{first:?}");
    server.stop().await;
}
