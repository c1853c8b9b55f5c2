//! What the server does to its own tables, for nobody: imported by `app` only.

mod alerts;
mod code_systems;
mod contents;
mod encoding;
mod erasure;
mod feed;
mod index;
mod labelling;
mod outlets;
mod packages;
mod patients;
mod reindex;
mod retention;
mod rights;
mod seal;
mod search_parameters;
mod sweep;

use crate::error::Error;

use super::{Store, failure};

pub use super::events::{Most, name_patients, rows_after};
pub use alerts::{Untold, add_alerts, alert_told, forget_alerts, untold_alerts};
pub use code_systems::{
    BegunLoad, CodeSystemRow, ConceptRow, add_concepts, begin_code_system, code_systems,
    code_systems_mark, complete_code_system, drop_code_system, read_code_systems,
};
pub use contents::{Contents, definitions, definitions_mark, of_keys, sizes, sizes_after};
pub use encoding::{KnownParties, id_and_time};
pub use erasure::{Eraser, ErasureRequest, Hold, PatientRecord, Whose};
pub use feed::{FeedPosition, FeedRow, Horizon, changes, first_change, horizon};
pub use index::{ROOM_OF_BODIES, build_index};
pub use labelling::{OtherLabels, is_labelled, labelled, labelled_by_others, labels_by};
pub use outlets::{Reached, add_outlet, move_outlet, outlet_reached, take_outlet};
pub use packages::{
    InstalledPackage, install_package, installed_packages, package_names, packages_mark,
};
pub use patients::KnownPatients;
pub(in crate::store) use reindex::reindex_one;
pub use reindex::reindex_some;
pub use retention::{
    batches_of, drop_month, months_before, retire, retired, retirements, rows_of, unsealed_of,
};
pub use rights::rights_over_record;
pub use seal::{
    EncodedRow, OrderedRow, Place, Seal, SealedBatch, UpTo, add_seal, encoded_row, last_seal,
    ordered_rows, rows_to_seal, seal_of, sealed_rows, seals, stray_batch, unsealed,
};
pub use search_parameters::{
    InForce, StoredDefinition, build_parameter, choose_parameters, parameters_in_force,
};

const MAKE_PARTITIONS: &str = "SELECT kiln_make_partitions(CURRENT_DATE)";
const IS_EMPTY: &str = "SELECT NOT EXISTS (SELECT FROM ident)";

/// Every statement of this file, for the test that prepares them.
pub(super) fn statements() -> impl Iterator<Item = &'static str> {
    [
        &[MAKE_PARTITIONS, IS_EMPTY],
        alerts::STATEMENTS,
        code_systems::STATEMENTS,
        contents::STATEMENTS,
        encoding::STATEMENTS,
        feed::STATEMENTS,
        index::STATEMENTS,
        labelling::STATEMENTS,
        outlets::STATEMENTS,
        packages::STATEMENTS,
        patients::STATEMENTS,
        reindex::STATEMENTS,
        retention::STATEMENTS,
        rights::STATEMENTS,
        seal::STATEMENTS,
        search_parameters::STATEMENTS,
        sweep::STATEMENTS,
    ]
    .into_iter()
    .flatten()
    .copied()
    .chain(erasure::statements())
}

/// Makes the partitions of the next months; a second call finds nothing to do.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn make_partitions(store: &Store) -> Result<i32, Error> {
    let made: (i32,) = sqlx::query_as(MAKE_PARTITIONS)
        .fetch_one(&store.0.admin)
        .await
        .map_err(failure::sqlx_error)?;
    Ok(made.0)
}

/// Whether any resource was ever stored.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn is_empty(store: &Store) -> Result<bool, Error> {
    let found: (bool,) =
        sqlx::query_as(IS_EMPTY).fetch_one(&store.0.admin).await.map_err(failure::sqlx_error)?;
    Ok(found.0)
}
