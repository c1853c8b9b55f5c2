//! The seal over the record: any change is found and named (A11, V32).
//!
//! Covers: security A12, C4, V32.
//! Covers: security A11.

use std::time::{Duration, Instant};

use kiln::app::audit::folder::Folder;
use kiln::app::audit::sealer::{Sealer, log_name};
use kiln::app::audit::verify::{Outside, verify};
use kiln::audit::Finding;
use kiln::clock::SystemClock;
use kiln::store::maintenance::last_seal;
use uuid::Uuid;

use crate::harness::database::connect;
use crate::harness::process::Process;
use crate::harness::server::config;

use super::super::record::Record;

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_nobody_touched_is_as_it_was_sealed() {
    let record = Record::make().await;
    let report = record.verify().await;
    // Transactions of the cluster's other databases may have parted a batch.
    let batches = report.batches;
    assert!(batches >= 4, "{report:?}");
    assert_eq!((report.finding, report.rows), (None, 16));
    assert_eq!(report.unsealed.0, 0);
    // What comes later is told, and sealed by the next pass.
    record.server.client.get("/Patient/p1").await.expect(200);
    let report = record.verify().await;
    assert_eq!((report.finding, report.rows, report.unsealed.0), (None, 16, 1));
    assert!(report.unsealed.1.is_some());
    assert_eq!(record.seal().await, 17);
    let report = record.verify_since(batches).await;
    assert_eq!((report.finding, report.batches, report.rows), (None, batches + 1, 1));
    let nothing = record.verify_since(99).await;
    assert_eq!((nothing.finding, nothing.rows), (None, 0));
}

/// What is compared from a checkpoint on is what came after it, and what is told on the way ends at the whole.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_compares_what_came_after_a_checkpoint() {
    let record = Record::make().await;
    record.server.client.get("/Patient/p1").await.expect(200);
    assert_eq!(record.seal().await, 17);
    let store = record.server.store();
    let last = last_seal(store, &log_name(store)).await.unwrap().unwrap();
    let (batches, newest) = (last.n + 1, u64::from(last.size));
    for (since, rows) in [(0, 17), (last.n, newest), (batches, 0)] {
        let mut told = Vec::new();
        let progress = |position| told.push(position);
        let outside = record.outside();
        let report = verify(store, &log_name(store), &outside, since, progress).await.unwrap();
        assert_eq!((report.finding, report.batches, report.rows), (None, batches, rows));
        assert!(told.is_sorted(), "{told:?}");
        assert_eq!(told.last(), Some(&last.signed.checkpoint.rows), "since {since}: {told:?}");

        let verified = record.command(&["verify", "--since", &since.to_string()]);
        let text = String::from_utf8_lossy(&verified.stdout).into_owned();
        let said = format!("{rows} rows are as they were sealed, in {batches} batches\n");
        assert!(verified.status.success() && text.starts_with(&said), "since {since}: {text}");
        let errors = String::from_utf8_lossy(&verified.stderr).into_owned();
        assert!(errors.contains(&format!("{rows} rows in ")), "since {since}: {errors}");
        let noted = format!(
            "SELECT count(*) FROM ledger WHERE query = 'kiln audit verify' \
             AND entities = ARRAY['since {since}: {rows} rows']"
        );
        assert_eq!(record.server.database.number(&noted).await, 1, "since {since}");
    }
    // Behind all that anybody knows nothing would be compared.
    let beyond = record.command(&["verify", "--quiet", "--since", &(batches + 1).to_string()]);
    let text = String::from_utf8_lossy(&beyond.stderr).into_owned();
    let said = format!("there is no checkpoint {}: the last one is {batches}", batches + 1);
    assert!(!beyond.status.success() && text.contains(&said), "{text}");
    // What is wrong before it is not looked at, what is wrong after it is named.
    let bend = |of: &str| format!("UPDATE ledger_row SET vid = 99 WHERE id = (SELECT {of})");
    let (first, newest) = (record.ids[0], "last_id FROM seal ORDER BY n DESC LIMIT 1");
    let since = last.n.to_string();
    record.server.database.run(&bend(&format!("'{first}'::uuid"))).await;
    assert!(record.command(&["verify", "--quiet", "--since", &since]).status.success());
    assert!(!record.command(&["verify", "--quiet"]).status.success());
    record.server.database.run(&bend(newest)).await;
    let verified = record.command(&["verify", "--quiet", "--since", &since]);
    let text = String::from_utf8_lossy(&verified.stdout).into_owned();
    let named = format!("row {} was altered", last.last.id);
    assert!(!verified.status.success() && text.contains(&named), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_column_of_any_row_that_is_changed_is_named() {
    let record = Record::make().await;
    for (number, change) in [
        "at = at + interval '1 microsecond'",
        "grp = gen_random_uuid()",
        "tid = tid + 1",
        "interaction = interaction + 1",
        "outcome = 8 - outcome",
        "rt = coalesce(rt, 0) + 1",
        "vid = coalesce(vid, 0) + 1",
        "logical_id = coalesce(logical_id, '') || 'x'",
        "actor = 'somebody else'",
        "client = 'x'",
        "token = 'x'",
        "source = '192.0.2.1'",
        "request_id = 'x'",
        "method = 'TRACE'",
        "query = query || '&'",
        "failure = coalesce(failure, '') || 'x'",
        "pats = pats || 1",
        "entities = entities || ARRAY['x']",
        "person = 'Practitioner/x'",
        "purpose = 'TREAT'",
        "party = party + 1",
        "party = NULL",
        "pat = coalesce(pat, 0) + 1, pats = NULL",
        "token_id = gen_random_uuid()",
        "subject = gen_random_uuid(), logical_id = NULL",
        "request = gen_random_uuid(), request_id = NULL",
    ]
    .into_iter()
    .enumerate()
    {
        let id = record.ids[(number * 7) % record.ids.len()];
        let change = format!("UPDATE ledger_row SET {change} WHERE id = '{id}'");
        assert_eq!(record.found_after(&change).await, Some(Finding::Altered(id)), "{change}");
    }
    assert_eq!(record.verify().await.finding, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_gone_added_moved_or_cut_off_are_named() {
    let record = Record::make().await;
    let (ids, last) = (&record.ids, record.ids.len() - 1);
    let of = |at: usize| format!("id = '{}'", ids[at]);
    let insert = |id: &str, xid: &str| {
        format!(
            "INSERT INTO ledger_row (id, at, grp, tid, interaction, outcome, party, request, query, pat, xid) \
             SELECT '{id}', at, grp, tid, interaction, outcome, party, request, query, pat, {xid} \
             FROM ledger_row WHERE {}",
            of(5)
        )
    };
    let new = Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0000);
    for (change, expected) in [
        (format!("DELETE FROM ledger_row WHERE {}", of(0)), Finding::Missing(ids[0])),
        (format!("DELETE FROM ledger_row WHERE {}", of(6)), Finding::Missing(ids[6])),
        (format!("DELETE FROM ledger_row WHERE {}", of(last)), Finding::Missing(ids[last])),
        ("DELETE FROM ledger_row".to_owned(), Finding::Missing(ids[0])),
        ("UPDATE ledger_party SET actor = 'somebody else'".to_owned(), Finding::Altered(ids[0])),
        ("DELETE FROM ledger_party".to_owned(), Finding::Altered(ids[0])),
        (insert(&new.to_string(), "xid"), Finding::Inserted(new)),
        (insert(&new.to_string(), "1"), Finding::Inserted(new)),
        // Before all that there can be.
        (insert(&Uuid::nil().to_string(), &i64::MIN.to_string()), Finding::Inserted(Uuid::nil())),
        // Moved to the end, where nothing is sealed yet.
        (
            format!("UPDATE ledger_row SET xid = 1000000000 WHERE {}", of(2)),
            Finding::Reordered(ids[2]),
        ),
        // Two rows of one batch that changed places.
        (
            format!(
                "UPDATE ledger_row SET xid = (SELECT sum(xid) FROM ledger WHERE {0} OR {1}) - xid \
                 WHERE {0} OR {1}",
                of(8),
                of(9)
            ),
            Finding::Reordered(ids[8]),
        ),
    ] {
        assert_eq!(record.found_after(&change).await, Some(expected), "{change}");
    }
}

/// How many rows there are up to the last of the third batch.
const BEHIND_THIRD: &str = "SELECT count(*) FROM ledger_row r, seal s \
     WHERE s.n = 2 AND (r.xid, r.id) <= (s.last_xid, s.last_id)";

#[tokio::test(flavor = "multi_thread")]
async fn a_seal_that_was_bent_to_fit_is_named() {
    let record = Record::make().await;
    let kept = record.server.database.number(BEHIND_THIRD).await;
    let cut = "DELETE FROM seal WHERE n >= 3;\nDELETE FROM seal_rows WHERE n >= 3;\n\
         DELETE FROM ledger_row WHERE (xid, id) > (SELECT last_xid, last_id FROM seal WHERE n = 2)";
    let bend =
        "UPDATE seal_rows SET leaves = set_byte(leaves, 0, 255 - get_byte(leaves, 0)) WHERE n = 2";
    for (change, expected) in [
        (bend, Finding::Batch(2)),
        (
            "UPDATE seal_rows SET ids = substr(ids, 17), leaves = substr(leaves, 33) WHERE n = 1",
            Finding::Batch(1),
        ),
        ("DELETE FROM seal_rows WHERE n = 0", Finding::Batch(0)),
        ("UPDATE seal SET root = log_root WHERE n = 3", Finding::Batch(3)),
        ("UPDATE seal SET log_root = root WHERE n = 1", Finding::Batch(1)),
        (
            "UPDATE seal SET signature = set_byte(signature, 3, 255 - get_byte(signature, 3)) WHERE n = 1",
            Finding::Batch(1),
        ),
        ("UPDATE seal SET at = at - interval '1 day' WHERE n = 1", Finding::Batch(1)),
        ("UPDATE seal SET total = total + 1 WHERE n = 2", Finding::Batch(2)),
        ("UPDATE seal SET size = size - 1 WHERE n = 2", Finding::Batch(2)),
        ("DELETE FROM seal WHERE n = 1", Finding::Batch(1)),
        (
            "UPDATE seal SET month = (to_char(month, 'YYYY-MM-DD') || ' BC')::date WHERE n = 1",
            Finding::Batch(1),
        ),
        // Beside the log: a proof could take it for a batch.
        (
            "INSERT INTO seal (n, at, month, size, total, last_xid, last_id, root, log_root, key, signature) \
             SELECT -1, at, month, size, total, last_xid, last_id, root, log_root, key, signature FROM seal WHERE n = 1",
            Finding::Stray(-1),
        ),
        (
            "INSERT INTO seal_rows (n, at, ids, leaves) SELECT -3, at, ids, leaves FROM seal_rows WHERE n = 1",
            Finding::Stray(-3),
        ),
        (
            "INSERT INTO seal_rows (n, at, ids, leaves) SELECT 99, at, ids, leaves FROM seal_rows WHERE n = 1",
            Finding::Stray(99),
        ),
        (cut, Finding::Truncated { batch: 3, rows: u64::try_from(kept).unwrap() }),
        ("TRUNCATE ledger_row, seal, seal_rows", Finding::Truncated { batch: 0, rows: 0 }),
    ] {
        assert_eq!(record.found_after(change).await, Some(expected), "{change}");
    }
    assert_eq!(record.verify().await.finding, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_sealed_anew_is_not_that_of_the_exported_checkpoints() {
    let record = Record::make().await;
    // Who has the database and the key, but not the exported checkpoints.
    let change = "UPDATE ledger_row SET actor = 'somebody else' WHERE xid = (SELECT max(xid) FROM ledger);\n\
         TRUNCATE seal, seal_rows";
    record.server.database.run(change).await;
    let other = Folder::of(&config(&record.server.database, &[]));
    let store = record.server.store();
    let mut sealer = Sealer::new(store.clone(), SystemClock, other.clone()).unwrap();
    record.finish(&mut sealer).await;
    let trusted = other.trusted().unwrap();
    let mut all = record.folder.trusted().unwrap();
    all.extend(trusted);
    let checkpoints = record.folder.checkpoints().unwrap();
    let outside = Outside { trusted: all, checkpoints };
    let report = verify(store, &log_name(store), &outside, 0, |_| {}).await.unwrap();
    assert_eq!(report.finding, Some(Finding::Checkpoint(1)));
    // And a key that nobody trusts seals nothing.
    let outside = Outside { trusted: record.folder.trusted().unwrap(), checkpoints: Vec::new() };
    let report = verify(store, &log_name(store), &outside, 0, |_| {}).await.unwrap();
    assert_eq!(report.finding, Some(Finding::Batch(0)));
}

/// Adds rows by one transaction.
fn many(rows: u32) -> String {
    format!(
        "INSERT INTO ledger_row (id, at, tid, interaction, outcome, party, request, query) \
         SELECT gen_random_uuid(), now(), 0, 12, 0, party, gen_random_uuid(), '/' \
         FROM (SELECT party FROM ledger_row LIMIT 1) p, generate_series(1, {rows})"
    )
}

/// What the server's role may add, though no server does, is sealed and told like any other row.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_nobody_writes_keeps_no_other_from_being_sealed_and_read() {
    let record = Record::make().await;
    for (end, lists) in [("aaaa", "'{NULL}', '{NULL}'"), ("bbbb", "'{{1,2},{3,4}}', '{{a},{b}}'")] {
        let add = format!(
            "INSERT INTO ledger_row (id, at, tid, interaction, outcome, party, request, query, pats, entities) \
             SELECT (left(id::text, 32) || '{end}')::uuid, at, tid, interaction, outcome, party, request, query, {lists} \
             FROM ledger_row WHERE id = '{}'",
            record.ids[5]
        );
        record.server.database.run(&add).await;
    }
    assert_eq!(record.seal().await, 18);
    assert_eq!(record.verify().await.finding, None);
    let told = record.server.client.get("/AuditEvent?_count=100&_total=accurate").await.expect(200);
    assert_eq!(told.at("total").as_deref(), Some("18"), "{told:?}");
}

/// Rows of one transaction are read ahead, and sealed in batches all the same.
#[tokio::test(flavor = "multi_thread")]
async fn many_rows_of_one_transaction_are_sealed_in_batches() {
    let record = Record::make().await;
    record.server.database.run(&many(4_500)).await;
    let (mut one, mut two) = (record.sealer(), record.sealer());
    let sealed = tokio::join!(record.finish(&mut one), record.finish(&mut two));
    assert_eq!(sealed, (4516, 4516));
    let report = record.verify().await;
    assert_eq!((report.finding, report.rows, report.unsealed.0), (None, 4516, 0));
    let whole = "SELECT count(*) FROM seal WHERE size = 1000";
    assert_eq!(record.server.database.number(whole).await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_seal_one_record() {
    let record = Record::make().await;
    let (mut one, mut two) = (record.sealer(), record.sealer());
    for round in 0..5 {
        for _ in 0..=round {
            record.server.client.get("/Patient/p1").await.expect(200);
        }
        let sealed = tokio::join!(record.finish(&mut one), record.finish(&mut two));
        assert_eq!(sealed.0, sealed.1);
        let report = record.verify().await;
        assert_eq!((report.finding, report.unsealed.0), (None, 0));
    }
}

/// What cannot be put into the folder waits, sealing goes on, and nothing is left out afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_that_find_no_file_are_there_later() {
    let record = Record::make().await;
    let mut sealer = record.sealer();
    record.finish(&mut sealer).await;
    let file = record.folder.path().join("checkpoints.jsonl");
    let away = record.folder.path().join("away.jsonl");
    std::fs::rename(&file, &away).unwrap();
    std::fs::create_dir(&file).unwrap();
    for rows in [17, 18] {
        record.server.client.get("/Patient/p1").await.expect(200);
        let began = Instant::now();
        while record.server.database.number("SELECT max(total) FROM seal").await < rows {
            // Before the row is below the horizon there is nothing to put anywhere the first time.
            let _ = sealer.finish().await;
            assert!(began.elapsed() < Duration::from_mins(1), "{rows} rows are not sealed");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(sealer.finish().await.is_err(), "its checkpoint is nowhere");
    }
    // Many rows do not wait for the file from batch to batch.
    record.server.database.run(&many(2_500)).await;
    let total = "SELECT max(total) FROM seal";
    let began = Instant::now();
    while record.server.database.number(total).await == 18 {
        let _ = sealer.finish().await;
        assert!(began.elapsed() < Duration::from_mins(1), "many rows are not sealed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(record.server.database.number(total).await, 2_518);
    std::fs::remove_dir(&file).unwrap();
    std::fs::rename(&away, &file).unwrap();
    assert_eq!(record.finish(&mut sealer).await, 2_518);
    let seals = record.server.database.number("SELECT count(*) FROM seal").await;
    let sizes = record.folder.checkpoints().unwrap();
    let sizes: Vec<u64> = sizes.iter().map(|signed| signed.checkpoint.size).collect();
    assert_eq!(sizes, (1..=seals.cast_unsigned()).collect::<Vec<_>>());
    assert_eq!(record.verify().await.finding, None);
}

/// Waits until the server has sealed all; how many checkpoints there are.
async fn until_sealed(process: &Process, rows: u64) -> usize {
    let file = process.data_dir.join("audit/checkpoints.jsonl");
    let began = Instant::now();
    loop {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let sealed = text.lines().last().and_then(|line| {
            serde_json::from_str::<serde_json::Value>(line).ok()?["rows"].as_u64()
        });
        if sealed.is_some_and(|sealed| sealed >= rows) {
            return text.lines().count();
        }
        assert!(began.elapsed() < Duration::from_secs(30), "not sealed: {text}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_verifies_proves_and_names() {
    let mut process = Process::start().await;
    let client = &process.client;
    client.put("/Patient/p", r#"{"resourceType":"Patient","id":"p"}"#).await.expect(201);
    let checkpoints = until_sealed(&process, 2).await;
    process.client.get("/Patient/p").await.expect(200);
    process.kill_and_restart();
    process.ready(Duration::from_mins(1)).await;
    let text = |output: std::process::Output| {
        format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    };
    until_sealed(&process, 3).await;
    let verified = process.beside("audit", &["verify"]);
    assert!(verified.status.success(), "{}", text(verified));
    assert!(text(verified).contains("rows are as they were sealed"));

    let superuser = connect(&process.database_url()).await;
    let id = superuser.query_one("SELECT id::text FROM ledger WHERE interaction = 14", &[]).await;
    let id: String = id.unwrap().get(0);
    let key = process.data_dir.join("audit/checkpoints.pub");
    let file = process.data_dir.join("proof.json");
    for arguments in [&["prove", &id][..], &["growth", "--from", &checkpoints.to_string()]] {
        let proof = process.beside("audit", arguments);
        assert!(proof.status.success(), "{}", text(proof));
        std::fs::write(&file, &proof.stdout).unwrap();
        let check = ["check", file.to_str().unwrap(), "--key", key.to_str().unwrap()];
        let checked = process.beside("audit", &check);
        assert!(checked.status.success(), "{}", text(checked));
        let said = String::from_utf8(checked.stdout).unwrap();
        let of_event = format!("event {id}, recorded at 20");
        assert_eq!(said.starts_with(&of_event), arguments[0] == "prove", "{said}");
        let bent =
            String::from_utf8(proof.stdout).unwrap().replacen("\"size\": ", "\"size\": 1", 1);
        std::fs::write(&file, bent).unwrap();
        assert!(!process.beside("audit", &check).status.success());
    }
    assert!(!process.beside("audit", &["prove", "nobody"]).status.success());

    let bend = format!("UPDATE ledger_row SET actor = 'x' WHERE id = '{id}'");
    superuser.batch_execute(&bend).await.unwrap();
    let verified = process.beside("audit", &["verify", "--quiet"]);
    assert!(!verified.status.success());
    assert!(text(verified).contains(&format!("row {id} was altered")));
}
