//! Months are dropped on record and signed, and a month that somebody else took away is named (A11, A12, V32).
//!
//! Covers: security A12, V32.
//! Covers: security A11.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use kiln::audit::{Finding, Retirement, SignedRetirement, SigningKey};

use crate::harness::database::connect;
use crate::harness::process::kiln;

use super::super::record::Record;

/// Two months of long ago that have partitions, and one before them whose rows find none.
pub(super) const OLD: [(&str, bool); 3] = [("200905", false), ("201001", true), ("201002", true)];

impl Record {
    /// A record that begins with this year, and goes on with rows of months of long ago.
    pub(super) async fn with_old_months() -> Self {
        Self::make().await.with(&OLD).await
    }

    /// The same record with rows of these months behind its own.
    async fn with(self, months: &[(&str, bool)]) -> Self {
        let record = self;
        for (month, has_partition) in months {
            let from = format!("to_timestamp('{month}01+00', 'YYYYMMDDTZH')");
            let part = |parent, name| {
                format!(
                    "DO $$ BEGIN EXECUTE format('CREATE TABLE {name}_{month} PARTITION OF {parent} \
                     FOR VALUES FROM (%L) TO (%L)', {from}, {from} + interval '1 month'); END $$;\n\
                     ALTER TABLE {name}_{month} OWNER TO kiln_owner"
                )
            };
            if *has_partition {
                record.server.database.run(&part("ledger_row", "ledger")).await;
                record.server.database.run(&part("seal_rows", "seal_rows")).await;
            }
            let rows = format!(
                "INSERT INTO ledger_row (id, at, grp, tid, interaction, outcome, party, request, query, pat) \
                 SELECT gen_random_uuid(), {from} + interval '1 day', grp, tid, interaction, outcome, party, \
                 request, query, pat FROM c_ledger"
            );
            record.server.database.run(&rows).await;
            record.seal().await;
        }
        assert_eq!(record.verify().await.finding, None);
        record.copy().await;
        record
    }

    /// Runs `kiln audit` beside the server, as the owner of the tables.
    pub(super) fn command(&self, arguments: &[&str]) -> Output {
        let data = self.folder.path().join("data");
        let flags = [
            format!("data_dir={}", data.display()),
            format!("database.url={}", self.server.database.app),
            format!("database.owner_url={}", self.server.database.owner),
            format!("audit.folder={}", self.folder.path().display()),
            "auth.mode=off".to_owned(),
        ];
        let mut all = vec!["audit"];
        all.extend(arguments);
        all.extend(flags.iter().flat_map(|flag| ["--set", flag.as_str()]));
        kiln(&all)
    }

    /// Drops what is older than six years, and has that sealed.
    pub(super) async fn retire(&self) -> String {
        let done = self.command(&["retain", "--years", "6"]);
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{text}{}", String::from_utf8_lossy(&done.stderr));
        self.copy().await;
        text
    }

    /// Seals what is not sealed, also where rows of before are missing.
    async fn seal_more(&self) {
        let unsealed = "ledger_row WHERE (xid, id) > \
                        (SELECT last_xid, last_id FROM seal ORDER BY n DESC LIMIT 1)";
        let (mut sealer, began) = (self.sealer(), Instant::now());
        loop {
            sealer.finish().await.unwrap();
            if self.count(unsealed).await == 0 {
                return;
            }
            assert!(began.elapsed() < Duration::from_mins(1), "not all is sealed");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn archive(&self, name: &str) -> PathBuf {
        self.folder.path().join("archive").join(name)
    }

    async fn count(&self, of: &str) -> i64 {
        self.server.database.number(&format!("SELECT count(*) FROM {of}")).await
    }

    /// The first batch of a month (`YYYY-MM`).
    pub(super) async fn first_of(&self, month: &str) -> u64 {
        let sql = format!("SELECT min(n) FROM c_seal WHERE month = '{month}-01'");
        self.server.database.number(&sql).await.cast_unsigned()
    }
}

/// Takes the rows of a batch away, and what is sealed of each.
fn without(batch: u64) -> String {
    let end = |n: u64| format!("(SELECT last_xid, last_id FROM seal WHERE n = {n})");
    let after = batch.checked_sub(1).map(|n| format!(" AND (xid, id) > {}", end(n)));
    format!(
        "DELETE FROM seal_rows WHERE n = {batch};\n\
         DELETE FROM ledger_row WHERE (xid, id) <= {}{}",
        end(batch),
        after.unwrap_or_default()
    )
}

/// A row of the ledger that says that a month was dropped, as versions before wrote it.
fn say_dropped(month: &str) -> String {
    format!(
        "INSERT INTO ledger_row (id, at, grp, tid, interaction, outcome, party, request, query, entities) \
         SELECT gen_random_uuid(), now(), grp, tid, 60, 0, party, request, query, ARRAY['{month} 16 abc'] \
         FROM c_ledger LIMIT 1"
    )
}

/// Adds a statement that a month was dropped.
fn add(signed: &SignedRetirement) -> String {
    let SignedRetirement { text, key, signature } = signed;
    let signature = kiln::audit::hex(signature);
    format!(
        "INSERT INTO seal_retired (statement, key, signature) VALUES ('{text}', '\\x{key}', '\\x{signature}')"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn old_months_are_archived_and_dropped_and_the_record_says_so() {
    let record = Record::with_old_months().await;
    // No archive is overwritten.
    let before = record.archive("ledger_201001.ndjson.gz");
    std::fs::create_dir_all(before.parent().unwrap()).unwrap();
    std::fs::write(&before, "of before").unwrap();
    let text = record.retire().await;
    assert!(text.contains("3 months were dropped") && text.contains("201002: 16 rows"), "{text}");
    assert_eq!(std::fs::read_to_string(&before).unwrap(), "of before");
    for name in ["200905", "201001.2", "201002"] {
        let path = record.archive(&format!("ledger_{name}.ndjson.gz"));
        let mut rows = String::new();
        GzDecoder::new(File::open(&path).unwrap()).read_to_string(&mut rows).unwrap();
        assert_eq!(rows.lines().count(), 16, "{name}");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(record.count("ledger WHERE at < '2011-01-01'").await, 0);
    assert_eq!(record.count("seal_rows WHERE at < '2011-01-01'").await, 0);
    let report = record.verify().await;
    assert_eq!((report.finding, report.unsealed.0), (None, 0));
    let months: Vec<_> = report.retired.iter().map(|it| (it.month.as_str(), it.rows)).collect();
    assert_eq!(months, OLD.map(|(month, _)| (month, 16)));
    let verified = record.command(&["verify", "--quiet"]);
    let text = String::from_utf8_lossy(&verified.stdout).into_owned();
    let told = "months dropped: 2009-05 (16 rows), 2010-01 (16 rows), 2010-02 (16 rows), signed";
    assert!(verified.status.success() && text.contains(told), "{text}");
    // There is nothing left to do.
    let text = record.retire().await;
    assert!(text.contains("0 months were dropped"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_that_is_only_said_to_be_dropped_is_named() {
    let record = Record::with_old_months().await;
    let first = record.first_of("2010-01").await;
    let take = without(first);
    assert_eq!(record.found_after(&take).await, Some(Finding::Gone(first)));
    // A row of the record says so, sealed like every other: as versions before did it.
    record.server.database.run(&format!("{take};\n{}", say_dropped("201001"))).await;
    record.seal_more().await;
    let unproven = Finding::Unproven { batch: first, month: "201001".to_owned() };
    assert_eq!(record.verify().await.finding, Some(unproven.clone()));
    assert!(unproven.to_string().contains("2010-01"), "{unproven}");
    assert!(!record.command(&["verify", "--quiet"]).status.success());
    // Nor does a batch go with a month that is not its own.
    record.restore().await;
    let bend = "UPDATE seal SET month = '2010-01-01' WHERE n = 0";
    assert_eq!(record.found_after(bend).await, Some(Finding::Batch(0)));
    let other = format!("{bend};\n{};\n{}", without(0), say_dropped("201001"));
    record.server.database.run(&other).await;
    record.seal_more().await;
    let unproven = Finding::Unproven { batch: 0, month: "201001".to_owned() };
    assert_eq!(record.verify().await.finding, Some(unproven));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_says_that_a_month_was_dropped_cannot_be_forged() {
    let record = Record::with_old_months().await;
    record.retire().await;
    let (january, now) = (record.first_of("2010-01").await, 0);
    let good = signed_of_january(&record).await;
    let said = Retirement::parse(&good.text).unwrap();
    assert_eq!((said.month.as_str(), said.rows), ("201001", 16));
    let wider = Retirement { batches: kiln::audit::Batches::of(0..=january), ..said.clone() };
    let stranger = SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap();
    let forged = || Some(Finding::Retirement("201001".to_owned()));
    let copied = SignedRetirement { text: wider.text(), ..good.clone() };
    let by_stranger = SignedRetirement::new(&wider, &stranger);
    let posing = SignedRetirement { key: good.key, ..by_stranger.clone() };
    let of_january = "statement LIKE '%' || chr(10) || '201001' || chr(10) || '%'";
    let silenced = format!("DELETE FROM seal_retired WHERE {of_january}");
    for (change, expected) in [
        (without(now), Some(Finding::Gone(now))),
        (add(&copied), forged()),
        (format!("{};\n{}", without(now), add(&copied)), forged()),
        (format!("{};\n{}", without(now), add(&by_stranger)), forged()),
        (format!("{};\n{}", without(now), add(&posing)), forged()),
        // The record still says so by a row, and that is not enough.
        (silenced.clone(), Some(Finding::Unproven { batch: january, month: "201001".to_owned() })),
        // Nor does it hide that where a part of the row says nothing at all.
        (
            format!(
                "{silenced};\nUPDATE ledger_row SET entities = array_prepend(NULL, entities) WHERE interaction = 60"
            ),
            Some(Finding::Unproven { batch: january, month: "201001".to_owned() }),
        ),
        (
            format!("{silenced};\nDELETE FROM ledger_row WHERE interaction = 60"),
            Some(Finding::Gone(january)),
        ),
        (
            format!("UPDATE seal SET month = '2010-03-01' WHERE n = {january}"),
            Some(Finding::Batch(january)),
        ),
        (
            "UPDATE seal_retired SET statement = replace(statement, '\n16\n', '\n17\n')".to_owned(),
            Some(Finding::Retirement("200905".to_owned())),
        ),
        (
            format!(
                "UPDATE seal_retired SET signature = set_byte(signature, 1, 255 - get_byte(signature, 1)) \
                 WHERE {of_january}"
            ),
            forged(),
        ),
    ] {
        assert_eq!(record.found_after(&change).await, expected, "{change}");
    }
    let report = record.verify().await;
    assert_eq!((report.finding, report.retired.len()), (None, 3));
}

/// What is signed of January 2010.
async fn signed_of_january(record: &Record) -> SignedRetirement {
    let all = kiln::store::maintenance::retirements(record.server.store()).await.unwrap();
    all.into_iter().find(|signed| signed.text.contains("\n201001\n")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_dropped_of_a_record_that_was_bent() {
    let record = Record::with_old_months().await;
    let bend = "UPDATE ledger_row SET actor = 'somebody else' WHERE at < '2010-02-01'";
    record.server.database.run(bend).await;
    let before = record.count("ledger").await;
    let done = record.command(&["retain", "--years", "6"]);
    let text = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(!done.status.success() && text.contains("not as it was sealed"), "{text}");
    assert_eq!((record.count("ledger").await, record.count("seal_retired").await), (before, 0));
}

/// Six years are kept where nobody says otherwise (45 CFR 164.316(b)(2)), and never none.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_younger_than_six_years_is_kept_unless_somebody_says_otherwise() {
    let record = Record::make().await;
    let of = "SELECT to_char(now() AT TIME ZONE 'UTC' - make_interval(months => 12 * 6 + m), 'YYYYMM') \
         FROM generate_series(0, 1) m ORDER BY m";
    let rows = connect(&record.server.database.superuser).await.query(of, &[]).await.unwrap();
    let [kept, over]: [String; 2] = [rows[0].get(0), rows[1].get(0)];
    let record = record.with(&[(over.as_str(), true), (kept.as_str(), true)]).await;
    let old = "ledger WHERE at < now() - interval '5 years'";
    for years in ["0", "-1", "six", "6.5", ""] {
        let done = record.command(&["retain", &format!("--years={years}")]);
        let text = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(2), "{years:?}: {text}");
        assert!(text.contains("--years"), "{years:?}: {text}");
        assert_eq!(record.count(old).await, 32, "{years:?}");
    }
    let done = record.command(&["retain"]);
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{text}{}", String::from_utf8_lossy(&done.stderr));
    assert!(text.starts_with("1 months were dropped\n"), "{text}");
    assert!(text.contains(&format!("{over}: 16 rows")), "{text}");
    assert_eq!(record.count(old).await, 16);
    assert_eq!(record.verify().await.finding, None);
}

/// Adds a row of January 2010 at the moment at which it is signed that this month goes.
const LATE: &str = "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN \
     IF NEW.statement LIKE '%' || chr(10) || '201001' || chr(10) || '%' THEN \
     INSERT INTO ledger_row (id, at, grp, tid, interaction, outcome, party, request, query, pat) \
     SELECT gen_random_uuid(), timestamptz '2010-01-15 00:00:00+00', grp, tid, interaction, outcome, party, \
     request, query, pat FROM c_ledger LIMIT 1; END IF; RETURN NULL; END $$; \
     CREATE TRIGGER late AFTER INSERT ON seal_retired FOR EACH ROW EXECUTE FUNCTION late()";

/// What was not read and verified is not dropped either.
#[tokio::test(flavor = "multi_thread")]
async fn a_month_stays_in_which_a_row_comes_in_after_it_was_verified() {
    let record = Record::with_old_months().await;
    record.server.database.run(LATE).await;
    let done = record.command(&["retain", "--years", "6"]);
    let text = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(!done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    assert!(text.contains("rows of 201001 came in meanwhile"), "{text}");
    let old = "ledger WHERE at < '2011-01-01'";
    assert_eq!(record.count(old).await, 16 + 1 + 16);
    let report = record.verify().await;
    assert_eq!((report.finding, report.retired.len()), (None, 1), "{:?}", report.retired);
    // Another run takes the row along.
    record.server.database.run("DROP TRIGGER late ON seal_retired").await;
    let text = record.retire().await;
    assert!(text.contains("2 months were dropped") && text.contains("201001: 17 rows"), "{text}");
    assert_eq!(record.count(old).await, 0);
    let report = record.verify().await;
    assert_eq!(report.finding, None);
    let of_january = report.retired.iter().filter(|it| it.month == "201001");
    assert_eq!(of_january.map(|it| it.rows).sum::<u64>(), 17);
}
