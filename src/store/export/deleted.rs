//! Bundles of what was deleted since an export.
//!
//! A deletion has no labels and no content: what the version before it was decides who hears of it.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::access::interaction::Kind;
use crate::error::Error;
use crate::fhir::json::{Object, Value};
use crate::fhir::{Identity, ResourceType};
use crate::store::connection::Reader;
use crate::store::rows::{self, Timestamptz};
use crate::store::search::bulk::DELETED;
use crate::store::{TENANT, failure};

use super::walk::{ROWS, Walker};
use super::{ExportKind, ExportLevel};

/// Resources that one Bundle deletes.
const DELETIONS: usize = 100;

impl Walker<'_, '_> {
    /// Bundles of what was deleted since, where that is asked.
    pub(super) async fn deleted(&mut self) -> Result<(), Error> {
        let Some(since) = self.since.clone() else { return Ok(()) };
        let codes: Vec<i16> = self.plan.types.iter().map(|of| of.code()).collect();
        // What lies in no compartment is told of to who asks for all patients.
        let is_beside = |of: &&ResourceType| !self.plan.looked_at.contains(of);
        let beside: Vec<i16> =
            self.plan.types.iter().filter(is_beside).map(|of| of.code()).collect();
        let is_of_patients = self.plan.level != ExportLevel::System && self.members.is_none();
        let (from, at) = (Timestamptz(since.from()), Timestamptz(since.at));
        let snapshot = self.snapshot;
        let statement = snapshot.prepare(DELETED).await.map_err(failure::error)?;
        let members = self.members.clone();
        let values: [&(dyn ToSql + Sync); 8] =
            [&TENANT, &codes, &from, &at, &since.seen, &members, &is_of_patients, &beside];
        let portal = snapshot.bind(&statement, &values).await.map_err(failure::costly)?;
        loop {
            let rows = snapshot.query_portal(&portal, ROWS).await.map_err(failure::costly)?;
            let mut gone = Vec::new();
            for row in &rows {
                gone.extend(self.gone(row).await?);
            }
            for some in gone.chunks(DELETIONS) {
                let patients: Vec<i64> =
                    some.iter().flat_map(|(_, patients)| patients).copied().collect();
                let text = deletions(some.iter().map(|(identity, _)| identity));
                let kind = (ExportKind::Deleted, ResourceType::BUNDLE);
                self.output.line(kind, text.as_bytes(), &patients).await?;
            }
            if rows.len() < ROWS as usize {
                return Ok(());
            }
        }
    }

    /// What was deleted, where what it was before lay within reach.
    async fn gone(&self, row: &Row) -> Result<Option<(Identity, Vec<i64>)>, Error> {
        let identity = rows::identity(row, 0)?;
        let permit = self.permit.derive(Kind::SearchType, identity.resource_type)?;
        if permit.is_restricted() {
            let has_before = row.try_get::<_, Option<i32>>(3).map_err(failure::error)?.is_some();
            if !has_before {
                return Ok(None);
            }
            let before = rows::version(row, 3, identity.clone())?;
            // The connection of the snapshot is at work with the portal.
            let pipeline = self.store.0.readers.pipeline().await?;
            if !self.store.admitted(Reader::Shared(&pipeline), &before, &permit).await? {
                return Ok(None);
            }
        }
        Ok(Some((identity, row.try_get(2).map_err(failure::error)?)))
    }
}

fn deletions<'i>(gone: impl Iterator<Item = &'i Identity>) -> String {
    let entry = |identity: &Identity| {
        let url = identity.to_string();
        let request = Object::new().with("method", "DELETE").with("url", url);
        Value::from(Object::new().with("request", request))
    };
    let bundle = Object::new()
        .with("resourceType", "Bundle")
        .with("type", "transaction")
        .with("entry", gone.map(entry).collect::<Vec<_>>());
    Value::from(bundle).to_text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_deleted_is_deleted_by_a_transaction() {
        let id = "p".parse().expect("an id");
        let gone = [Identity { resource_type: ResourceType::PATIENT, id }];
        assert_eq!(
            deletions(gone.iter()),
            r#"{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"DELETE","url":"Patient/p"}}]}"#
        );
    }
}
