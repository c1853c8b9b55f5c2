//! Random changes of what says that months of the record were dropped: each is found, and the month named (A11).
//!
//! 20 changes; 400 with `KILN_TEST_LONG=1`. The seed is of the clock and printed; `KILN_AUDIT_SEED=n` sets it. The
//! numbers of what is said are its order and say nothing.
//!
//! Covers: security A11.

use kiln::audit::{Finding, Retirement};

use crate::harness::database::connect;
use crate::harness::shared::{audit_seed, long};
use crate::search_oracle::random::Random;

use super::super::record::Record;
use super::retire::OLD;

/// What is done, in turn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Add,
    Delete,
    Key,
    Signature,
    Statement,
}

const KINDS: [Kind; 5] = [Kind::Statement, Kind::Add, Kind::Key, Kind::Delete, Kind::Signature];

/// A row: what is said, by which key, and the signature.
#[derive(Clone, Debug)]
struct Said {
    statement: String,
    key: Vec<u8>,
    signature: Vec<u8>,
}

impl Said {
    /// The month that it speaks of; none where nobody can read it.
    fn month(&self) -> String {
        Retirement::parse(&self.statement).map_or_else(|| "?".to_owned(), |it| it.month)
    }

    fn bend(&mut self, kind: Kind, random: &mut Random) {
        match kind {
            Kind::Key => bend(&mut self.key, random),
            Kind::Signature => bend(&mut self.signature, random),
            Kind::Add | Kind::Delete | Kind::Statement => {
                let mut bytes = self.statement.clone().into_bytes();
                let at = random.below(bytes.len());
                match random.below(3) {
                    0 => {
                        bytes.remove(at);
                    }
                    1 => bytes.insert(at, b'0'),
                    _ => bytes[at] = if bytes[at] == b'7' { b'3' } else { b'7' },
                }
                self.statement = String::from_utf8(bytes).unwrap();
            }
        }
    }
}

/// Other bytes: one less, one more, or as many.
fn bend(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len());
    match random.below(3) {
        0 => bytes.truncate(bytes.len() - 1),
        1 => bytes.push(0),
        _ => bytes[at] ^= 1 << random.below(8),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_random_change_of_what_says_that_months_were_dropped_is_found() {
    let (seed, cases) = (audit_seed(), if long() { 400 } else { 20 });
    println!("seed {seed}, {cases} changes");
    let mut random = Random::new(seed, 1);
    let record = Record::with_old_months().await;
    record.retire().await;
    assert_eq!(record.verify().await.finding, None);
    let client = connect(&record.server.database.superuser).await;
    let sql = "SELECT statement, key, signature FROM seal_retired ORDER BY number";
    let rows = client.query(sql, &[]).await.unwrap();
    let all: Vec<Said> = rows
        .iter()
        .map(|row| Said { statement: row.get(0), key: row.get(1), signature: row.get(2) })
        .collect();
    assert_eq!(all.len(), OLD.len());
    for case in 0..cases {
        let kind = KINDS[case % KINDS.len()];
        let said = random.pick(&all).clone();
        let mut bent = said.clone();
        bent.bend(kind, &mut random);
        let done = match kind {
            Kind::Add => {
                let sql =
                    "INSERT INTO seal_retired (statement, key, signature) VALUES ($1, $2, $3)";
                client.execute(sql, &[&bent.statement, &bent.key, &bent.signature]).await
            }
            Kind::Delete => {
                let sql = "DELETE FROM seal_retired WHERE statement = $1";
                client.execute(sql, &[&said.statement]).await
            }
            Kind::Key | Kind::Signature | Kind::Statement => {
                let sql = "UPDATE seal_retired SET statement = $2, key = $3, signature = $4 WHERE statement = $1";
                let Said { statement, key, signature } = &bent;
                client.execute(sql, &[&said.statement, statement, key, signature]).await
            }
        };
        assert_eq!(done.unwrap(), 1);
        let found = record.verify().await.finding;
        let month = said.month();
        let first = record.first_of(&format!("{}-{}", &month[..4], &month[4..])).await;
        let forged = Some(Finding::Retirement(bent.month()));
        // What no longer speaks of the first batch of the month, or of nothing, does not say that it was dropped.
        let unproven = Some(Finding::Unproven { batch: first, month });
        let is_named = match kind {
            Kind::Add | Kind::Key | Kind::Signature => found == forged,
            Kind::Delete => found == unproven,
            Kind::Statement => found == forged || found == unproven,
        };
        assert!(is_named, "seed {seed}, case {case}, {kind:?}: {found:?}, {said:?}, {bent:?}");
        record.restore().await;
    }
    assert_eq!(record.verify().await.finding, None);
}
