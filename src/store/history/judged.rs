//! Histories under limits that the patients of a row do not tell: each version is held against its
//! document, and what is current now is asked of the compiler of searches.
//!
//! There is no total then, and what was deleted is left out where nothing current stands for it.

use std::collections::{HashMap, HashSet};

use tokio_postgres::Row;

use crate::access::Restriction;
use crate::access::interaction::Kind;
use crate::error::Error;
use crate::fhir::{ResourceType, Version};
use crate::store::policy::Made;
use crate::store::{failure, rows, search};

use super::{HistoryScope, NEWEST, Page, Position, place, read};

/// How many versions are read at a time.
pub(super) const JUDGED: i64 = 200;
/// How often, before a page ends where it is.
const MOST_JUDGED: usize = 50;

impl Page<'_, '_> {
    /// A page's rows and one beyond, each held against its document: where a frame does not tell.
    pub(super) async fn judged(
        &self,
        sql: &'static str,
        resource_type: Option<ResourceType>,
        from: Option<Position>,
    ) -> Result<Vec<Row>, Error> {
        let wanted = self.request.count as usize + 1;
        let mut edge = from.map_or(NEWEST, |from| from.at);
        let mut shown = Vec::new();
        for _ in 0..MOST_JUDGED {
            let rows = self.rows_across(sql, resource_type, (edge, JUDGED), None).await?;
            let Some(last) = rows.last() else { break };
            edge = place(last).map_err(failure::error)?;
            let is_end = rows.len() < JUDGED as usize;
            shown.extend(self.currently_reached(self.admitted(rows).await?).await?);
            if is_end || shown.len() >= wanted {
                break;
            }
        }
        shown.truncate(wanted);
        Ok(shown)
    }

    /// The version of a row and its patients, as the caller is shown them.
    pub(super) fn shown(&self, row: &Row) -> Result<(Version, Vec<i64>), Error> {
        let found = (read(row)?, row.try_get(5).map_err(failure::error)?);
        let kind = match self.request.scope {
            HistoryScope::Instance(_) => Kind::HistoryInstance,
            HistoryScope::System | HistoryScope::Type(_) => Kind::HistoryType,
        };
        self.store.cut_by(found, kind, self.permit)
    }

    /// How far the permit goes with rows of a type.
    fn reach_of(&self, of: ResourceType) -> Result<Option<Restriction>, Error> {
        if self.permit.interaction().resource_type.is_some() {
            return Ok(Some(self.permit.restriction().clone()));
        }
        match self.permit.derive(Kind::HistoryType, of) {
            Ok(permit) => Ok(Some(permit.restriction().clone())),
            Err(Error::Forbidden) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The rows whose documents are within reach, as far as they tell, and of what patients deny what they name.
    pub(super) async fn admitted(&self, rows: Vec<Row>) -> Result<Vec<Row>, Error> {
        let mut found: Vec<(Row, Version, Restriction)> = Vec::with_capacity(rows.len());
        for row in rows {
            let (version, _) = self.shown(&row)?;
            if let Some(reach) = self.reach_of(version.identity.resource_type)? {
                found.push((row, version, reach));
            }
        }
        let asked: Vec<(&Version, &Restriction)> =
            found.iter().map(|(_, version, reach)| (version, reach)).collect();
        let whose = self.store.whose(self.reader, &asked, &Made::new()).await?;
        let mut kept = Vec::with_capacity(found.len());
        for ((row, version, reach), about) in found.into_iter().zip(whose) {
            if self.store.shows_about(&version, &reach, &about)? {
                kept.push(row);
            }
        }
        Ok(kept)
    }

    /// The rows of resources whose current version is within reach too.
    async fn currently_reached(&self, rows: Vec<Row>) -> Result<Vec<Row>, Error> {
        let mut by_type: HashMap<ResourceType, Vec<i64>> = HashMap::new();
        for row in &rows {
            let of = rows::identity(row, 7)?.resource_type;
            by_type.entry(of).or_default().push(row.try_get(6).map_err(failure::error)?);
        }
        let mut seen: HashSet<i64> = HashSet::new();
        for (of, rids) in by_type {
            let Some(reach) = self.reach_of(of)? else { continue };
            match reach.limits() {
                None => seen.extend(rids),
                Some(limits) => {
                    let asked = (of, &*rids);
                    let found =
                        search::reached_of(self.store, self.reader, asked, limits, self.permit);
                    seen.extend(found.await?);
                }
            }
        }
        let is_seen = |row: &Row| row.try_get(6).is_ok_and(|rid: i64| seen.contains(&rid));
        Ok(rows.into_iter().filter(is_seen).collect())
    }
}
