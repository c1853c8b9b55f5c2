//! The floor of a search: its bodies by primary key in one statement, or its count by an index.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use super::super::BenchError;
use super::super::floor::{Floor, Timing};

/// Rows that bodies of one kind fill.
const ROWS: u64 = 20_000;
/// Distance of the keys of one kind from those of the next.
const APART: u64 = 1_000_000;

/// What the database must do at least.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Least {
    /// Count so many rows of an index.
    Count(u64),
    /// Fetch so many bodies of a kind.
    Fetch { kind: String, bodies: u64 },
}

/// Tables to measure on, and what was measured already.
pub(super) struct Floors<'f> {
    floor: &'f Floor,
    /// Places of the kinds among the keys.
    kinds: BTreeMap<String, usize>,
    /// Rows of the index that is counted.
    counted: u64,
    known: HashMap<(Least, usize), Timing>,
}

impl<'f> Floors<'f> {
    /// Makes the tables out of bodies by kind; the index gets `counted` rows.
    ///
    /// # Errors
    /// [`BenchError::Database`]
    pub(super) async fn new(
        floor: &'f Floor,
        bodies: &BTreeMap<String, Vec<String>>,
        counted: u64,
    ) -> Result<Floors<'f>, BenchError> {
        floor.sql(&tables(bodies, counted)).await?;
        // Only some roles may; without it the first measurement bears the pages of the loading.
        let _ = floor.sql("CHECKPOINT;").await;
        let kinds = bodies.keys().enumerate().map(|(at, kind)| (kind.clone(), at)).collect();
        Ok(Self { floor, kinds, counted, known: HashMap::new() })
    }

    /// How long it takes with so many clients.
    ///
    /// # Errors
    /// [`BenchError::Database`]
    pub(super) async fn measure(
        &mut self,
        least: &Least,
        clients: usize,
        seconds: u64,
    ) -> Result<Option<Timing>, BenchError> {
        let key = (least.clone(), clients);
        if let Some(known) = self.known.get(&key) {
            return Ok(Some(*known));
        }
        let Some(script) = self.script(least) else { return Ok(None) };
        let timing = self.floor.time(&script, clients, seconds).await?;
        self.known.insert(key, timing);
        Ok(Some(timing))
    }

    /// The script for pgbench; `None` for bodies that there are none of.
    fn script(&self, least: &Least) -> Option<String> {
        match least {
            Least::Count(number) => {
                let from = self.counted.saturating_sub(*number);
                Some(format!(
                    "SELECT count(*) FROM kiln_bench.entry WHERE h = 1 AND s >= to_timestamp({from});\n"
                ))
            }
            Least::Fetch { bodies: 0, .. } => None,
            Least::Fetch { kind, bodies } => {
                let first = *self.kinds.get(kind)? as u64 * APART;
                // A step that shares no factor with the rows scatters the keys.
                Some(format!(
                    "\\set r random(0, {})\n\
                     SELECT body::text FROM kiln_bench.page WHERE id = ANY(ARRAY(\
                     SELECT {first} + (:r + g * 7919) % {ROWS} FROM generate_series(1, {bodies}) g));\n",
                    ROWS - 1
                ))
            }
        }
    }
}

/// The statements that make and fill the tables. The index is like that of the server's tokens.
fn tables(bodies: &BTreeMap<String, Vec<String>>, counted: u64) -> String {
    let mut sql = String::from(
        "SET client_min_messages = warning;
         DROP SCHEMA IF EXISTS kiln_bench CASCADE;
         CREATE SCHEMA kiln_bench;
         CREATE TABLE kiln_bench.body (kind bigint, n bigint, body jsonb);
         CREATE TABLE kiln_bench.page (id bigint PRIMARY KEY, body jsonb NOT NULL);
         CREATE TABLE kiln_bench.entry (
             h bigint NOT NULL, s timestamptz NOT NULL, rid bigint NOT NULL, dk int NOT NULL,
             sysh int NOT NULL);
         CREATE UNIQUE INDEX ON kiln_bench.entry (h, s DESC, rid DESC, dk, sysh);\n",
    );
    for (kind, bodies) in bodies.values().enumerate() {
        for (n, body) in bodies.iter().enumerate() {
            // Writing to a String cannot fail, here and below.
            let _ = writeln!(
                sql,
                "INSERT INTO kiln_bench.body VALUES ({kind}, {n}, $kiln_body${body}$kiln_body$);"
            );
        }
        let count = bodies.len().max(1);
        let _ = writeln!(
            sql,
            "INSERT INTO kiln_bench.page SELECT {kind} * {APART}::bigint + g, body \
             FROM generate_series(0, {ROWS} - 1) g \
             JOIN kiln_bench.body ON kind = {kind} AND n = g % {count} ORDER BY g;"
        );
    }
    let _ = writeln!(
        sql,
        "INSERT INTO kiln_bench.entry \
         SELECT 1, to_timestamp(g), g, 0, 0 FROM generate_series(0, {counted} - 1) g;
         VACUUM ANALYZE kiln_bench.page;
         VACUUM ANALYZE kiln_bench.entry;"
    );
    sql
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::postgres::Private;
    use crate::config::Config;

    #[tokio::test]
    async fn bodies_and_counts_have_a_floor_each_measured_once() {
        let folder = std::env::temp_dir().join(format!("kiln-floors-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let flags = [("data_dir".to_owned(), folder.display().to_string())];
        let postgres = Private::start(&Config::load(None, &flags).unwrap()).unwrap();
        let floor = Floor::new(&postgres.owner_url(), None).await.unwrap();
        let kinds = ["Group", "Patient"]
            .map(|kind| (kind.to_owned(), vec![format!(r#"{{"resourceType":"{kind}"}}"#)]));
        let mut floors = Floors::new(&floor, &BTreeMap::from(kinds), 1_000).await.unwrap();
        let fetch = |kind: &str, bodies| Least::Fetch { kind: kind.to_owned(), bodies };
        for least in [Least::Count(500), fetch("Patient", 20)] {
            let timing = floors.measure(&least, 2, 1).await.unwrap().unwrap();
            // How fast is the machine's: a clock with coarse steps sees short statements take nothing.
            let is_time = timing.p50_ms.is_finite() && timing.p50_ms >= 0.0;
            assert!(timing.per_second > 0.0 && is_time, "{least:?}: {timing:?}");
            assert_eq!(floors.measure(&least, 2, 1).await.unwrap(), Some(timing), "{least:?}");
        }
        for least in [fetch("Patient", 0), fetch("List", 1)] {
            assert_eq!(floors.measure(&least, 1, 1).await.unwrap(), None, "{least:?}");
        }
        // What pgbench runs does what it is for.
        let script = floors.script(&Least::Count(500)).unwrap();
        assert_eq!(floor.sql(&script).await.unwrap().trim(), "500");
        let script = floors.script(&fetch("Patient", 20)).unwrap();
        let sql = script.lines().last().unwrap().replace(":r", "3");
        let fetched = floor.sql(&sql).await.unwrap();
        assert_eq!(fetched.lines().filter(|line| line.contains("Patient")).count(), 20);
        floor.remove().await.unwrap();
        postgres.stop();
        let _ = std::fs::remove_dir_all(&folder);
    }
}
