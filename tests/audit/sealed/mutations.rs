//! Random changes of the record, of its seal and of the checkpoints: each is found, and the first fault is
//! named (A11).
//!
//! 40 changes; 1,000 with `KILN_TEST_LONG=1`. The seed is of the clock and printed; `KILN_AUDIT_SEED=n` sets it. What a
//! change of rows must be told as follows from a copy of the ledger that the database itself compares.
//!
//! Covers: security A11.

use kiln::app::audit::verify::Outside;
use kiln::audit::{Finding, PublicKey, Signed};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::harness::database::connect;
use crate::harness::shared::{audit_seed, long};
use crate::search_oracle::random::Random;

use super::super::record::Record;

/// The ledger as it was, row by row in its order.
const COPY_VIEW: &str = "CREATE TABLE c_view AS SELECT row_number() OVER (ORDER BY xid, id) AS place, \
     id, md5(l::text) AS said FROM ledger l";

/// The first place at which the ledger is not as it was: the row of before, and the one that is there.
const FIRST: &str = "SELECT b.id, n.id FROM c_view b FULL JOIN (SELECT row_number() OVER (ORDER BY xid, id, at) \
     AS place, id, md5(l::text) AS said FROM ledger l) n ON n.place = b.place \
     WHERE b.said IS DISTINCT FROM n.said ORDER BY coalesce(b.place, n.place) LIMIT 1";

/// Columns that say nothing as long as others of the same row do, and those others.
const SHADOWED: [(&str, &str); 4] =
    [("subject", "logical_id"), ("token_id", "token"), ("request", "request_id"), ("pat", "pats")];

/// What a row is copied by.
const COPIED: &str = "grp, tid, interaction, outcome, party, request, query, pat, pats, entities";

/// Rows that say something in each column: one as before migration 70 and one of now.
const PLANTED: &str = "INSERT INTO ledger (id, at, grp, tid, interaction, outcome, rt, vid, logical_id, actor, \
     client, token, source, request_id, method, query, failure, pats, entities, person, purpose) VALUES \
     (gen_random_uuid(), now(), gen_random_uuid(), 0, 12, 4, 103, 7, 'p', 'user:ada', 'app', 'token', '192.0.2.1', \
     'request', 'GET', '/', 'why', '{7,-8}', '{Patient/p}', 'Practitioner/ada', 'TREAT');\n\
     INSERT INTO ledger_row (id, at, grp, tid, interaction, outcome, rt, vid, subject, party, token_id, request, \
     query, pat) SELECT gen_random_uuid(), now(), gen_random_uuid(), 0, 12, 0, 103, 7, gen_random_uuid(), \
     kiln_party('user:eve', 'app', 'Practitioner/eve', 'TREAT', '192.0.2.1', 'GET'), gen_random_uuid(), \
     gen_random_uuid(), '/', 7";

/// The columns that may be NULL, by tables.
const NULLABLE: [(&str, &str); 2] = [
    ("ledger_party", "client person purpose source"),
    (
        "ledger_row",
        "actor client entities failure grp logical_id method party pat pats person purpose request request_id rt \
         source subject token token_id vid",
    ),
];

/// The same as the database has it.
const MAY_BE_NULL: &str = "SELECT c.relname::text, \
     string_agg(a.attname::text, ' ' ORDER BY a.attname::text COLLATE \"C\") FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE a.attnum > 0 AND NOT a.attisdropped AND NOT \
     a.attnotnull AND c.oid IN ('ledger_party'::regclass, 'ledger_row'::regclass, 'seal'::regclass, \
     'seal_retired'::regclass, 'seal_rows'::regclass) GROUP BY 1 ORDER BY 1";

/// What is changed, in turn.
#[derive(Clone, Copy, Debug)]
enum Kind {
    AddRow,
    AddSeal,
    AddSealedRows,
    ChangeCheckpoint,
    ChangeParty,
    ChangeRow,
    ChangeSeal,
    ChangeSealedRows,
    CutEnd,
    DeleteParty,
    DeleteRow,
    DeleteSeal,
    DeleteSealedRows,
    DuplicateRow,
    SwapRows,
}

/// Those of tables with many columns come more often.
const KINDS: [Kind; 20] = [
    Kind::ChangeRow,
    Kind::AddRow,
    Kind::ChangeSeal,
    Kind::AddSeal,
    Kind::ChangeRow,
    Kind::AddSealedRows,
    Kind::ChangeCheckpoint,
    Kind::ChangeSeal,
    Kind::ChangeParty,
    Kind::ChangeRow,
    Kind::ChangeSealedRows,
    Kind::CutEnd,
    Kind::ChangeRow,
    Kind::DeleteParty,
    Kind::DeleteRow,
    Kind::ChangeSeal,
    Kind::DeleteSeal,
    Kind::DeleteSealedRows,
    Kind::DuplicateRow,
    Kind::SwapRows,
];

/// What must be found.
#[derive(Debug)]
enum Expected {
    /// Just this.
    Exactly(Finding),
    /// The first row that is not what it was.
    FirstRow,
    /// The same where this row is there twice: either of both is the first.
    Twice(Uuid),
}

/// A change: statements, or another copy of the checkpoints.
struct Change {
    statements: String,
    outside: Outside,
    expected: Expected,
}

/// What there is to change.
struct World {
    record: Record,
    client: Client,
    random: Random,
    batches: u64,
}

impl World {
    async fn make(seed: u64) -> Self {
        let mut record = Record::make().await;
        record.server.database.run(PLANTED).await;
        record.seal().await;
        record.copy().await;
        record.server.database.run(COPY_VIEW).await;
        let client = connect(&record.server.database.superuser).await;
        let rows = client.query("SELECT id FROM ledger ORDER BY xid, id", &[]).await.unwrap();
        record.ids = rows.iter().map(|row| row.get(0)).collect();
        let batches = record.server.database.number("SELECT count(*) FROM seal").await;
        Self { record, client, random: Random::new(seed, 0), batches: batches.cast_unsigned() }
    }

    /// A column of a table: its name, its type, and whether it may be NULL.
    async fn column(&mut self, table: &str) -> (String, String, bool) {
        let sql = "SELECT attname::text, format_type(atttypid, NULL), NOT attnotnull FROM pg_attribute \
                   WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum";
        let columns = self.client.query(sql, &[&table]).await.unwrap();
        let row = self.random.pick(&columns);
        (row.get(0), row.get(1), row.get(2))
    }

    /// The value that a column is changed to.
    fn value(&mut self, name: &str, kind: &str) -> String {
        let by = self.random.between(1, 255);
        let never = self.random.chance(20).then(|| *self.random.pick(&["", "-"]));
        match (name, kind, never) {
            // It has to stay above 0, and numbers of batches must not meet.
            ("size", _, _) => format!("size + {by}"),
            ("n", _, _) => format!("n + 1000 + {by}"),
            // It must be nobody's number.
            ("pat", _, _) => format!("coalesce(pat, 1000000000000) # {by}::bigint"),
            (_, "uuid", _) => {
                let other = self.uuid();
                // One of anywhere, or the next one that there could be.
                let next = format!(
                    "(left({name}::text, 35) || translate(right({name}::text, 1), '0123456789abcdef', \
                     '123456789abcdef0'))::uuid"
                );
                let chosen = if self.random.chance(50) { "NULL" } else { &next };
                format!("coalesce({chosen}, '{other}'::uuid)")
            }
            (_, "timestamp with time zone" | "date", Some(sign)) => format!("'{sign}infinity'"),
            (_, "timestamp with time zone", _) => format!("{name} + interval '{by} microseconds'"),
            (_, "date", _) => format!("{name} + {by}"),
            (_, "smallint" | "integer" | "bigint", _) => {
                format!("coalesce({name}, 0) # {by}::{kind}")
            }
            (_, "text", _) => format!("coalesce({name}, '') || 'x'"),
            (_, "bigint[]" | "text[]", Some(_)) => format!("array_append({name}, NULL)"),
            (_, "bigint[]", _) => format!("{name} || {}::bigint", 1_000_000_000_000 + by),
            (_, "text[]", _) => format!("{name} || 'x'::text"),
            (_, "bytea", Some(_)) => format!("{name} || '\\x00'::bytea"),
            (_, "bytea", _) => {
                let at = format!("{by} % length({name})");
                let bit = 1 << self.random.below(8);
                format!("set_byte({name}, {at}, get_byte({name}, {at}) # {bit})")
            }
            _ => panic!("{name}: no value of {kind} is known"),
        }
    }

    /// A row of the ledger that says something in a column, its own or its party's, and no longer once that is NULL.
    async fn emptied(&mut self, table: &str, name: &str) -> Option<Uuid> {
        let sql = format!(
            "SELECT r.id FROM ledger_row r LEFT JOIN ledger_party p ON p.key = r.party WHERE {0}.{name} IS NOT NULL \
             AND {0}.{name}::text NOT IN ('{{}}', r.id::text) ORDER BY r.xid, r.id",
            if table == "ledger_party" { "p" } else { "r" }
        );
        let rows = self.client.query(&sql, &[]).await.unwrap();
        (!rows.is_empty()).then(|| self.random.pick(&rows).get(0))
    }

    fn uuid(&mut self) -> Uuid {
        Uuid::from_u64_pair(self.random.next(), self.random.next())
    }

    fn row(&mut self) -> Uuid {
        *self.random.pick(&self.record.ids)
    }

    fn batch(&mut self) -> u64 {
        self.random.next() % self.batches
    }

    async fn change(&mut self, kind: Kind) -> Change {
        let outside = self.record.outside();
        let (statements, expected) = match kind {
            Kind::ChangeCheckpoint => return self.change_checkpoint(outside),
            Kind::DuplicateRow => {
                let one = self.row();
                let statements = format!(
                    "INSERT INTO ledger_row (id, at, xid, {COPIED}) SELECT id, at + interval '1 microsecond', \
                     xid, {COPIED} FROM ledger_row WHERE id = '{one}'"
                );
                (statements, Expected::Twice(one))
            }
            Kind::AddRow | Kind::ChangeRow | Kind::DeleteRow | Kind::SwapRows => {
                (self.change_row(kind).await, Expected::FirstRow)
            }
            Kind::ChangeParty | Kind::DeleteParty => {
                (self.change_party(kind).await, Expected::FirstRow)
            }
            _ => {
                let (statements, finding) = self.change_seal(kind).await;
                (statements, Expected::Exactly(finding))
            }
        };
        Change { statements, outside, expected }
    }

    async fn change_row(&mut self, kind: Kind) -> String {
        let (one, other) = (self.row(), self.row());
        match kind {
            // Among what is sealed: behind the last transaction it would be a new row.
            Kind::AddRow => format!(
                "INSERT INTO ledger_row (id, at, xid, {COPIED}) SELECT '{}', at, xid, {COPIED} FROM ledger_row \
                 WHERE xid < (SELECT max(xid) FROM ledger_row) ORDER BY id = '{one}' DESC, xid LIMIT 1",
                self.uuid()
            ),
            Kind::ChangeRow => {
                let (name, kind, may_be_null) = self.column("ledger_row").await;
                if may_be_null
                    && self.random.chance(40)
                    && let Some(one) = self.emptied("ledger_row", &name).await
                {
                    return format!("UPDATE ledger_row SET {name} = NULL WHERE id = '{one}'");
                }
                let value = self.value(&name, &kind);
                let shadow = SHADOWED.iter().find(|(shadowed, _)| *shadowed == name);
                let shadow =
                    shadow.map(|(_, other)| format!(", {other} = NULL")).unwrap_or_default();
                format!("UPDATE ledger_row SET {name} = {value}{shadow} WHERE id = '{one}'")
            }
            Kind::SwapRows => {
                // One's own place is no other: then it is the first and the last.
                let (one, other) = if one == other {
                    (self.record.ids[0], self.record.ids[self.record.ids.len() - 1])
                } else {
                    (one, other)
                };
                format!(
                    "UPDATE ledger_row r SET xid = o.xid FROM ledger_row o \
                     WHERE r.id IN ('{one}', '{other}') AND o.id IN ('{one}', '{other}') AND o.id <> r.id"
                )
            }
            _ => format!("DELETE FROM ledger_row WHERE id = '{one}'"),
        }
    }

    async fn change_party(&mut self, kind: Kind) -> String {
        let one = self.with_party().await;
        let of = |one: Uuid| format!("key = (SELECT party FROM ledger_row WHERE id = '{one}')");
        if matches!(kind, Kind::DeleteParty) {
            return format!("DELETE FROM ledger_party WHERE {}", of(one));
        }
        let (name, kind, may_be_null) = self.column("ledger_party").await;
        if may_be_null
            && self.random.chance(40)
            && let Some(one) = self.emptied("ledger_party", &name).await
        {
            return format!("UPDATE ledger_party SET {name} = NULL WHERE {}", of(one));
        }
        let value = self.value(&name, &kind);
        format!("UPDATE ledger_party SET {name} = {value} WHERE {}", of(one))
    }

    /// A row that has its party by a key.
    async fn with_party(&mut self) -> Uuid {
        let sql = "SELECT id FROM ledger_row WHERE party IS NOT NULL ORDER BY xid, id";
        let rows = self.client.query(sql, &[]).await.unwrap();
        self.random.pick(&rows).get(0)
    }

    async fn change_seal(&mut self, kind: Kind) -> (String, Finding) {
        let (n, end) = (self.batch(), self.batches);
        let found = Finding::Batch(n);
        let columns = "size, total, last_xid, last_id, root, log_root, key, signature";
        match kind {
            Kind::AddSeal => (
                format!(
                    "INSERT INTO seal (n, at, month, {columns}) SELECT {end}, at, month, {columns} FROM seal \
                     WHERE n = {n}"
                ),
                Finding::Batch(end),
            ),
            Kind::AddSealedRows => (
                format!(
                    "INSERT INTO seal_rows SELECT n, at + interval '1 microsecond', ids, leaves FROM seal_rows \
                     WHERE n = {n}"
                ),
                found,
            ),
            Kind::ChangeSeal | Kind::ChangeSealedRows => {
                let table = if matches!(kind, Kind::ChangeSeal) { "seal" } else { "seal_rows" };
                let (name, kind, _) = self.column(table).await;
                let value = self.value(&name, &kind);
                (format!("UPDATE {table} SET {name} = {value} WHERE n = {n}"), found)
            }
            Kind::CutEnd => self.cut_from(n).await,
            Kind::DeleteSeal if n + 1 == end => {
                let (_, truncated) = self.cut_from(n).await;
                (format!("DELETE FROM seal WHERE n = {n}"), truncated)
            }
            Kind::DeleteSeal => (format!("DELETE FROM seal WHERE n = {n}"), found),
            _ => (format!("DELETE FROM seal_rows WHERE n = {n}"), found),
        }
    }

    /// The record ends before a batch.
    async fn cut_from(&mut self, n: u64) -> (String, Finding) {
        let rows = format!("SELECT coalesce(sum(size), 0)::bigint FROM seal WHERE n < {n}");
        let rows = self.record.server.database.number(&rows).await.cast_unsigned();
        let seals =
            format!("DELETE FROM seal WHERE n >= {n};\nDELETE FROM seal_rows WHERE n >= {n}");
        let behind = format!(
            "DELETE FROM ledger_row WHERE {n} = 0 OR (xid, id) > (SELECT last_xid, last_id FROM seal \
             WHERE n = {n} - 1)"
        );
        // Or only the seal, as if the rows had just come.
        let cut = if self.random.chance(30) { seals } else { format!("{behind};\n{seals}") };
        (cut, Finding::Truncated { batch: n, rows })
    }

    /// A field of one line of the exported checkpoints.
    fn change_checkpoint(&mut self, mut outside: Outside) -> Change {
        let at = self.random.below(outside.checkpoints.len());
        let (bit, byte) = (1 << self.random.below(8), self.random.below(32));
        let Signed { checkpoint, key, signature } = &mut outside.checkpoints[at];
        match self.random.below(7) {
            0 => checkpoint.size = self.random.next() % (self.batches + 3),
            1 => checkpoint.rows += 1,
            2 => checkpoint.at = checkpoint.at.plus_millis(1),
            3 => checkpoint.root[byte] ^= bit,
            4 => checkpoint.log.push('0'),
            5 => {
                let PublicKey(bytes) = key;
                bytes[byte] ^= bit;
            }
            _ => signature[byte] ^= bit,
        }
        let size = outside.checkpoints[at].checkpoint.size;
        // Another one may have said so already: then nothing was changed.
        if size == at as u64 + 1 && outside.checkpoints == self.record.outside().checkpoints {
            outside.checkpoints[at].checkpoint.rows += 1;
        }
        let rows = outside.checkpoints.iter().map(|signed| signed.checkpoint.rows);
        let rows = rows.max().unwrap_or_default();
        let expected = if size > self.batches {
            Finding::Truncated { batch: self.batches, rows }
        } else {
            Finding::Checkpoint(size)
        };
        Change { statements: String::new(), outside, expected: Expected::Exactly(expected) }
    }

    /// Fails unless the row that statements change is named; they are undone.
    async fn is_named_after(&self, statements: &str) {
        self.record.server.database.run(statements).await;
        let found = self.record.verify().await.finding;
        assert!(names(self.first().await, found.as_ref()), "{statements}: {found:?}");
        self.record.restore().await;
    }

    /// What the database says is the first row that is not what it was.
    async fn first(&self) -> (Option<Uuid>, Option<Uuid>) {
        let row = self.client.query_opt(FIRST, &[]).await.unwrap();
        row.map_or((None, None), |row| (row.get(0), row.get(1)))
    }
}

/// Whether a finding names the first row that is not what it was: `before` is gone from its place, where there
/// is `now`.
fn names((before, now): (Option<Uuid>, Option<Uuid>), found: Option<&Finding>) -> bool {
    match found {
        Some(Finding::Altered(id)) => before == Some(*id) && now == before,
        Some(Finding::Inserted(id)) => now == Some(*id) && now != before,
        Some(Finding::Missing(id)) => before == Some(*id) && now != before,
        // The last row of a batch that is beyond its end may still come before all others.
        Some(Finding::Reordered(id)) => [before, now].contains(&Some(*id)),
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_random_change_is_found_and_the_first_fault_named() {
    let seed = audit_seed();
    let cases = if long() { 1_000 } else { 40 };
    println!("seed {seed}, {cases} changes");
    let mut world = World::make(seed).await;
    assert_eq!(world.record.verify().await.finding, None);
    assert_eq!(world.first().await, (None, None));
    for case in 0..cases {
        let kind = KINDS[case % KINDS.len()];
        let Change { statements, outside, expected } = world.change(kind).await;
        if !statements.is_empty() {
            world.record.server.database.run(&statements).await;
        }
        let found = world.record.verify_by(&outside, 0).await.finding;
        let told = format!(
            "seed {seed}, case {case}, {kind:?}: {found:?}, not {expected:?}, {statements}"
        );
        let is_named = match &expected {
            Expected::Exactly(expected) => found.as_ref() == Some(expected),
            Expected::FirstRow => names(world.first().await, found.as_ref()),
            Expected::Twice(id) => {
                found == Some(Finding::Altered(*id)) || names(world.first().await, found.as_ref())
            }
        };
        assert!(is_named, "{told}");
        if !statements.is_empty() {
            world.record.restore().await;
        }
    }
    assert_eq!(world.record.verify().await.finding, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_column_that_is_emptied_is_missed() {
    let mut world = World::make(audit_seed()).await;
    let rows = world.client.query(MAY_BE_NULL, &[]).await.unwrap();
    let columns: Vec<(&str, &str)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(columns, NULLABLE);
    for (table, names) in NULLABLE {
        for name in names.split(' ') {
            let one = world.emptied(table, name).await;
            let one = one.unwrap_or_else(|| panic!("no row says anything in {table}.{name}"));
            let of = match table {
                "ledger_row" => format!("id = '{one}'"),
                _ => format!("key = (SELECT party FROM ledger_row WHERE id = '{one}')"),
            };
            world.is_named_after(&format!("UPDATE {table} SET {name} = NULL WHERE {of}")).await;
        }
    }
}

/// Rows are found by the key of their party: none may lead to another than they tell of.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_found_as_that_of_another_party_is_named() {
    let world = World::make(audit_seed()).await;
    let eve = "(SELECT key FROM ledger_party WHERE actor = 'user:eve')";
    for change in [
        // It tells of Ada by itself.
        format!("UPDATE ledger_row SET party = {eve} WHERE actor = 'user:ada'"),
        "UPDATE ledger_row SET party = 1 WHERE actor = 'user:ada'".to_owned(),
        // It tells of Eve, by a key that is nobody's.
        format!(
            "UPDATE ledger_row SET party = party # (1::bigint << 32) WHERE party = {eve};\n\
             UPDATE ledger_party SET key = key # (1::bigint << 32) WHERE actor = 'user:eve'"
        ),
    ] {
        world.is_named_after(&change).await;
    }
    // A row of before tells of Ada by itself, and is found by her with what the parties say of her.
    let one =
        world.client.query_one("SELECT id FROM ledger_row WHERE actor = 'user:ada'", &[]).await;
    world.record.server.database.run("DELETE FROM ledger_party WHERE actor = 'user:ada'").await;
    let found = world.record.verify().await.finding;
    assert_eq!(found, Some(Finding::Altered(one.unwrap().get(0))));
}
