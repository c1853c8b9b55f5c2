//! Whose the hashes of patients are that the ledger has.

use uuid::Uuid;

use crate::error::Error;
use crate::fhir::{LogicalId, ResourceType};

use super::super::{Store, failure};
use super::seal::Place;

/// Patients that rows are about, and who has a hash that rows have. $5 is the type Patient.
const NAMES: &str = "WITH l AS (SELECT pats, rt, logical_id FROM ledger \
     WHERE (xid, id) > ($1, $2) AND (xid, id) <= ($3, $4)), \
     h AS (SELECT DISTINCT unnest(pats) AS hash FROM l EXCEPT SELECT hash FROM patient_name) \
     SELECT logical_id FROM l WHERE rt = $5 AND logical_id IS NOT NULL \
     UNION SELECT r.id FROM h JOIN comp c ON c.pat = h.hash AND c.rt = $5 \
     JOIN res r ON r.rid = c.rid AND r.dk = c.dk";

const ADD: &str = "INSERT INTO patient_name (hash, id) SELECT * FROM unnest($1::bigint[], $2::text[]) \
     ON CONFLICT (hash) DO NOTHING";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[NAMES, ADD];

/// Keeps the names of the patients of the rows after `after` up to `last`.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn keep_patient_names(store: &Store, after: Place, last: Place) -> Result<(), Error> {
    let connection = store.0.writers.connection().await?;
    let statement = connection.prepare_cached(NAMES).await.map_err(failure::error)?;
    let (from, to): ((i64, Uuid), (i64, Uuid)) = ((after.xid, after.id), (last.xid, last.id));
    let code = ResourceType::PATIENT.code();
    let rows = connection.query(&statement, &[&from.0, &from.1, &to.0, &to.1, &code]).await;
    let (mut hashes, mut ids) = (Vec::new(), Vec::new());
    for row in rows.map_err(failure::error)? {
        let id: String = row.try_get(0).map_err(failure::error)?;
        // A patient that was looked for in vain may have had no id at all.
        if let Ok(known) = id.parse::<LogicalId>() {
            hashes.push(store.hasher().patient(&known));
            ids.push(id);
        }
    }
    if hashes.is_empty() {
        return Ok(());
    }
    let statement = connection.prepare_cached(ADD).await.map_err(failure::error)?;
    connection.execute(&statement, &[&hashes, &ids]).await.map_err(failure::error)?;
    Ok(())
}
