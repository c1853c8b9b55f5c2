//! Whose the hashes of patients are that the ledger has.

use std::collections::{HashMap, HashSet};

use tokio_postgres::Row;

use crate::error::Error;
use crate::fhir::{LogicalId, ResourceType};

use super::super::hash::Hasher;
use super::super::{Store, failure};
use super::encoding::{patients, subject};

/// Those of these hashes that have a name.
const KEPT: &str = "SELECT hash FROM patient_name WHERE hash = ANY($1::bigint[])";

/// The patients in the compartments of these hashes. $2 is the type Patient.
const IN_COMPARTMENTS: &str = "SELECT DISTINCT r.id FROM unnest($1::bigint[]) h (hash) \
     JOIN comp c ON c.pat = h.hash AND c.rt = $2 JOIN res r ON r.rid = c.rid AND r.dk = c.dk";

const ADD: &str = "INSERT INTO patient_name (hash, id) SELECT * FROM unnest($1::bigint[], $2::text[]) \
     ON CONFLICT (hash) DO NOTHING";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[KEPT, IN_COMPARTMENTS, ADD];

/// Most patients that are remembered: with more, all are forgotten.
const KNOWN: usize = 100_000;

/// Patients whose names are kept: nobody takes them away again.
#[derive(Debug, Default)]
pub struct KnownPatients(HashSet<i64>);

impl KnownPatients {
    fn add(&mut self, hashes: impl IntoIterator<Item = i64>) {
        if self.0.len() >= KNOWN {
            self.0.clear();
        }
        self.0.extend(hashes);
    }
}

/// Patients of rows who were not known.
#[derive(Debug, Default)]
pub(super) struct MetPatients {
    hashes: HashSet<i64>,
    /// Whom rows are about, by their hashes: rows about who was looked for in vain have no other.
    ids: HashMap<i64, LogicalId>,
}

impl MetPatients {
    /// Takes over those of a row of [`super::encoding::raw_columns`].
    pub(super) fn meet(
        &mut self,
        row: &Row,
        known: &KnownPatients,
        hasher: &Hasher,
    ) -> Result<(), Error> {
        self.hashes.extend(patients(row)?.into_iter().filter(|hash| !known.0.contains(hash)));
        let Some((code, id)) = subject(row)? else { return Ok(()) };
        // Who was looked for in vain may have had no id at all.
        if code == ResourceType::PATIENT.code()
            && let Ok(id) = id.parse::<LogicalId>()
        {
            let hash = hasher.patient(&id);
            if !known.0.contains(&hash) {
                self.ids.insert(hash, id);
            }
        }
        Ok(())
    }

    /// Keeps their names, as far as they can be found.
    pub(super) async fn keep(
        mut self,
        store: &Store,
        known: &mut KnownPatients,
    ) -> Result<(), Error> {
        let hashes: Vec<i64> = self.hashes.iter().chain(self.ids.keys()).copied().collect();
        if hashes.is_empty() {
            return Ok(());
        }
        let connection = store.0.writers.connection().await?;
        let statement = connection.prepare_cached(KEPT).await.map_err(failure::error)?;
        let kept = connection.query(&statement, &[&hashes]).await.map_err(failure::error)?;
        for row in kept {
            let hash = row.try_get(0).map_err(failure::error)?;
            known.add([hash]);
            self.hashes.remove(&hash);
            self.ids.remove(&hash);
        }
        self.hashes.retain(|hash| !self.ids.contains_key(hash));
        if !self.hashes.is_empty() {
            let hashes: Vec<i64> = self.hashes.into_iter().collect();
            let statement =
                connection.prepare_cached(IN_COMPARTMENTS).await.map_err(failure::error)?;
            let code = ResourceType::PATIENT.code();
            let found = connection.query(&statement, &[&hashes, &code]).await;
            for row in found.map_err(failure::error)? {
                let id: &str = row.try_get(0).map_err(failure::error)?;
                if let Ok(id) = id.parse::<LogicalId>() {
                    self.ids.insert(store.hasher().patient(&id), id);
                }
            }
        }
        if self.ids.is_empty() {
            return Ok(());
        }
        let (hashes, ids): (Vec<i64>, Vec<&str>) =
            self.ids.iter().map(|(hash, id)| (*hash, id.as_str())).unzip();
        let statement = connection.prepare_cached(ADD).await.map_err(failure::error)?;
        connection.execute(&statement, &[&hashes, &ids]).await.map_err(failure::error)?;
        known.add(hashes);
        Ok(())
    }
}
