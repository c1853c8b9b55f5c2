//! Messages by month: where they stand, how months go whose time is over, and how the table of before becomes
//! the first of them.

use std::time::Duration;

use kiln::app::server::Server;
use kiln::audit::hex;
use kiln::store::{Address, Tenant, migrate};
use sqlx::migrate::Migrator;
use tokio_postgres::NoTls;

use super::super::feed::{Feed, Setup, adt, value};
use crate::harness::client::Client;
use crate::harness::database::Database;
use crate::harness::server::config;

/// Gives the months of May to July 2019 parts of their own, and the messages with the control ids 1 to 3 to one of
/// them each.
const AGED: &str = "SET ROLE kiln_owner;\n\
     DO $$ DECLARE part text; BEGIN \
       SELECT c.relname INTO part FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
        WHERE i.inhparent = 'v2_message'::regclass AND c.relname ~ '^v2_message_[0-9]{6}$' ORDER BY 1 LIMIT 1; \
       EXECUTE format('ALTER TABLE v2_message DETACH PARTITION %I', part); \
       EXECUTE format('ALTER TABLE v2_message ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', part, \
         kiln_first_id(to_date(right(part, 6), 'YYYYMM')::timestamp AT TIME ZONE 'UTC'), \
         kiln_first_id((to_date(right(part, 6), 'YYYYMM') + interval '1 month') AT TIME ZONE 'UTC')); \
       PERFORM kiln_make_partitions('2019-05-01'); \
     END $$;\n\
     CREATE TABLE moved AS SELECT m.id, t.at, \
       (left(kiln_first_id(t.at)::text, 13) || right(m.id::text, 23))::uuid AS new FROM v2_message m \
       JOIN (VALUES ('1', timestamptz '2019-05-15Z'), ('2', '2019-06-15Z'), ('3', '2019-07-15Z')) AS t(control, at) \
         ON t.control = m.control_id;\n\
     UPDATE v2_dedupe t SET message_id = new FROM moved WHERE t.message_id = moved.id;\n\
     UPDATE v2_effect t SET message_id = new FROM moved WHERE t.message_id = moved.id;\n\
     UPDATE v2_issue t SET message_id = new FROM moved WHERE t.message_id = moved.id;\n\
     UPDATE v2_open t SET message_id = new FROM moved WHERE t.message_id = moved.id;\n\
     UPDATE v2_message t SET id = new, received_at = moved.at FROM moved WHERE t.id = moved.id;\n\
     DROP TABLE moved;\n\
     RESET ROLE";

/// Each message stands in its month; a repetition is told over months, lists go through them, and no index of a
/// message has what changes of it. Months go in their order with all that is known of their messages, each with its
/// row in the ledger, unless a message waits for somebody; then what comes again is new.
///
/// Covers: v2 P5, P6.
#[tokio::test(flavor = "multi_thread")]
async fn messages_stand_in_months_that_go_when_their_time_is_over() {
    let mut setup = Setup::default();
    setup.settings.months_kept = Some(12);
    let feed = Feed::start_with(setup).await;
    let (database, client) = (&feed.server.database, &feed.server.client);
    let mut sender = feed.sender().await;
    let mut answers = Vec::new();
    for (event, id) in [("A01", "1"), ("Z02", "2"), ("A01", "3"), ("A01", "4")] {
        answers.push(sender.send(&adt(event, id, id)).await);
    }
    assert_eq!(database.number("SELECT count(*) FROM v2_message_default").await, 0);
    let changing = "SELECT count(*) FROM pg_index WHERE indrelid::regclass::text ~ '^v2_message' \
         AND pg_get_indexdef(indexrelid) ~ 'state|attempts|ack|reason|processed_at|map_hash|raw'";
    assert_eq!(database.number(changing).await, 0);
    database.run(AGED).await;
    let parts = "SELECT count(DISTINCT tableoid) FROM v2_message";
    assert_eq!(database.number(parts).await, 4);
    assert_eq!(feed.states().await, ["processed", "failed", "processed", "processed"]);
    let listed = async |query: &str| {
        let url = format!("{}/v2/messages?{query}", client.root());
        let list = client.call("GET", &url).send().await.expect(200).text();
        let parts = list.split("\"controlId\":\"").skip(1);
        parts.map(|rest| rest.split('"').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed("since=2019-06-01T00:00:00Z&until=2019-08-01T00:00:00Z").await, ["3", "2"]);
    assert_eq!(listed("until=2019-06-01T00:00:00Z").await, ["1"]);
    assert_eq!(listed("state=failed").await, ["2"]);
    assert_eq!(sender.send(&adt("A01", "1", "1")).await, answers[0], "a repetition");
    assert_eq!(feed.patients().await, 3);
    // June has a message that failed: July stays with it.
    assert_eq!(feed.receiver.drop_months().await.unwrap(), 1);
    let left = "SELECT count(*) FROM v2_message WHERE received_at < timestamptz '2020-01-01Z'";
    assert_eq!(database.number(left).await, 2);
    let failed = listed_id(client, "state=failed").await;
    let discard = format!("{}/v2/messages/{failed}/$discard", client.root());
    client.call("POST", &discard).body("too old").send().await.expect(204);
    assert_eq!(feed.receiver.drop_months().await.unwrap(), 2);
    assert_eq!(feed.receiver.drop_months().await.unwrap(), 0);
    for (what, sql) in [
        ("parts", "SELECT count(*) FROM pg_class WHERE relname ~ '^v2_message_2019'"),
        ("keys", "SELECT count(*) FROM v2_dedupe WHERE control_id IN ('1', '2', '3')"),
        (
            "effects",
            "SELECT count(*) FROM v2_effect WHERE message_id < kiln_first_id('2020-01-01Z')",
        ),
        ("issues", "SELECT count(*) FROM v2_issue WHERE message_id < kiln_first_id('2020-01-01Z')"),
        ("states", "SELECT count(*) FROM v2_open WHERE message_id < kiln_first_id('2020-01-01Z')"),
    ] {
        assert_eq!(database.number(sql).await, 0, "{what}");
    }
    let told = "SELECT count(*) FROM ledger WHERE entities[1] IN ('v2/messages of 201905', \
         'v2/messages of 201906', 'v2/messages of 201907')";
    assert_eq!(database.number(told).await, 3);
    assert_eq!(sender.send(&adt("A01", "4", "4")).await, answers[3], "what is kept is known");
    assert_eq!(value(&sender.send(&adt("A01", "3", "3")).await, "MSA-1"), "AA");
    assert_eq!(feed.patients().await, 4, "what is gone is not");
}

/// A month that somebody reads for longer than is waited for stays with all that is known of its messages: what
/// comes again is a repetition until the month is gone, and each attempt is on record with how it ended.
///
/// Covers: v2 P5, P6.
#[tokio::test(flavor = "multi_thread")]
async fn a_month_that_cannot_be_dropped_stays_whole() {
    let mut setup = Setup::default();
    setup.settings.months_kept = Some(12);
    let feed = Feed::start_with(setup).await;
    let database = &feed.server.database;
    let mut sender = feed.sender().await;
    let answer = sender.send(&adt("A01", "1", "1")).await;
    for (event, id) in [("A01", "2"), ("A01", "3")] {
        sender.send(&adt(event, id, id)).await;
    }
    database.run(AGED).await;
    let (mut reader, connection) = tokio_postgres::connect(&database.app, NoTls).await.unwrap();
    tokio::spawn(connection);
    let reading = reader.transaction().await.unwrap();
    reading.batch_execute("LOCK TABLE v2_message IN ACCESS SHARE MODE").await.unwrap();
    feed.receiver.drop_months().await.unwrap_err();
    let known = [
        ("keys", "SELECT count(*) FROM v2_dedupe WHERE control_id = '1'", 1),
        ("parts", "SELECT count(*) FROM pg_class WHERE relname ~ '^v2_message_2019..$'", 3),
        (
            "effects",
            "SELECT count(*) FROM v2_effect WHERE message_id < kiln_first_id('2019-06-01Z')",
            1,
        ),
    ];
    for (what, sql, count) in known {
        assert_eq!(database.number(sql).await, count, "{what}");
    }
    assert_eq!(sender.send(&adt("A01", "1", "1")).await, answer, "a repetition");
    assert_eq!(feed.patients().await, 3);
    reading.rollback().await.unwrap();
    assert_eq!(feed.receiver.drop_months().await.unwrap(), 3);
    for (what, sql, _) in known {
        assert_eq!(database.number(sql).await, 0, "{what}");
    }
    let month = "v2/messages of 201905";
    for (told, count) in [
        (format!("entities[1] = '{month}' AND outcome = 0"), 2),
        (format!("failure = '{month}' AND outcome = 8"), 1),
    ] {
        let rows = format!("SELECT count(*) FROM ledger WHERE {told}");
        assert_eq!(database.number(&rows).await, count, "{told}");
    }
    assert_eq!(value(&sender.send(&adt("A01", "1", "1")).await, "MSA-1"), "AA");
    assert_eq!(feed.patients().await, 4, "it is new");
}

async fn listed_id(client: &Client, query: &str) -> String {
    let url = format!("{}/v2/messages?{query}", client.root());
    let list = client.call("GET", &url).send().await.expect(200).text();
    list.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

/// The server drops no month that is not over, whoever asks, and no part by itself.
///
/// Covers: v2 P5.
#[tokio::test(flavor = "multi_thread")]
async fn no_month_goes_that_is_not_over() {
    let database = Box::pin(Database::migrated()).await;
    let (client, connection) = tokio_postgres::connect(&database.app, NoTls).await.unwrap();
    tokio::spawn(connection);
    for (month, reason) in [
        ("to_char(now(), 'YYYYMM')", "is no month that is over"),
        ("to_char(now() + interval '1 month', 'YYYYMM')", "is no month that is over"),
        ("'201905; DROP'", ""),
    ] {
        let sql = format!("SELECT kiln_drop_messages({month})");
        let error = client.query(&sql, &[]).await.unwrap_err();
        let said = error.as_db_error().unwrap().message().to_owned();
        assert!(said.contains(reason), "{month}: {said}");
    }
    assert!(client.batch_execute("DROP TABLE v2_message_default").await.is_err());
    assert!(client.query("SELECT kiln_drop_messages('201905')", &[]).await.is_ok(), "none");
}

/// As version 126 of the schema has them: a message in each state, two of one line, one being worked on by a node that
/// is gone, and one with an id that tells no time.
fn of_before() -> String {
    let text = hex(adt("A08", "x", "1").as_bytes());
    format!(
        "INSERT INTO v2_message (id, listener, received_at, raw, sha256, site, charset, send_app, send_fac, \
           control_id, type, event, structure, version, processing, order_keys, state, attempts, lease_until, blocked) \
         SELECT CASE n WHEN 12 THEN 'f0000000-0000-4000-8000-000000000012' ELSE \
             (left(kiln_time(now() - make_interval(days => (40 - n)::int)), 13) || '-7000-8000-' || lpad(n::text, 12, '0'))::uuid END, \
           'mllp', now() - make_interval(days => (40 - n)::int), '\\x{text}'::bytea, sha256(n::text::bytea), 'LAB|STM', 'UTF-8', 'LAB', \
           'STM', 'old' || n, 'ADT', 'A08', 'ADT_A01', '2.5.1', 'P', ARRAY[greatest(n, 2)::bigint], s, \
           CASE s WHEN 'processing' THEN 1 ELSE 0 END, CASE s WHEN 'processing' THEN now() END, n = 2 \
           FROM unnest(ARRAY['received', 'received', 'processing', 'processed', 'processed_with_issues', 'duplicate', \
             'rejected', 'failed', 'held', 'discarded', 'fragment', 'failed']) WITH ORDINALITY AS t(s, n);\n\
         INSERT INTO v2_queue SELECT unnest(order_keys), id FROM v2_message \
          WHERE state IN ('received', 'processing')"
    )
}

/// The table of before becomes the first part as it is: what waited is worked on, in its line, the rest stands where
/// it stood, texts are sealed.
///
/// Covers: v2 P5, P6.
#[tokio::test(flavor = "multi_thread")]
async fn messages_of_before_are_the_first_part() {
    let database = Box::pin(Database::empty()).await;
    let all = sqlx::migrate!("./migrations");
    let before = all.iter().filter(|it| it.version < 150).cloned().collect();
    let pool = sqlx::PgPool::connect(&database.owner).await.unwrap();
    Migrator::with_migrations(before).run(&pool).await.unwrap();
    pool.close().await;
    let time = "CREATE FUNCTION kiln_time(timestamptz) RETURNS text LANGUAGE sql AS $$ \
         SELECT substr(t, 1, 8) || '-' || substr(t, 9, 4) FROM \
           lpad(to_hex((extract(epoch FROM $1) * 1000)::bigint), 12, '0') AS t $$";
    database.run(time).await;
    database.run(&of_before()).await;
    migrate(&Address::new(database.owner.as_str()).of(Tenant::ONLY)).await.unwrap();
    assert_eq!(database.number("SELECT count(*) FROM v2_message_default").await, 1);
    assert_eq!(database.number("SELECT count(*) FROM v2_open").await, 10);
    let server = Box::pin(Server::start(config(&database, &[]))).await.unwrap();
    let client = Client::new(server.address());
    let open = "SELECT (SELECT count(*) FROM v2_open WHERE state IS NULL) \
         + (SELECT count(*) FROM v2_message WHERE raw_key IS NULL)";
    for _ in 0..400 {
        if database.number(open).await == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(database.number(open).await, 0);
    let url = format!("{}/v2/messages?_count=100", client.root());
    let list = client.call("GET", &url).send().await.expect(200).text();
    let states = list.split("\"state\":\"").skip(1);
    let mut states: Vec<_> = states.map(|rest| rest.split('"').next().unwrap()).collect();
    states.reverse();
    assert!(states[..5].iter().all(|state| state.starts_with("processed")), "{states:?}");
    let rest = ["duplicate", "rejected", "failed", "held", "discarded", "fragment", "failed"];
    assert_eq!(states[5..], rest);
    let order = "SELECT count(*) FROM v2_message a JOIN v2_message b ON b.processed_at > a.processed_at \
         WHERE a.control_id = 'old1' AND b.control_id = 'old2'";
    assert_eq!(database.number(order).await, 1, "in their line");
    drop(client);
    server.stop().await;
}
