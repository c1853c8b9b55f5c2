//! An order by values: pages go on to the last and back however many match, beside a token that most have and
//! past what has no value.
//!
//! Covers: rest 4.177.

use super::grouped::{ids, link, walk};
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
