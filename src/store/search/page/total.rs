//! How many matches there are in all, as far as that is asked for or cheap.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#total> (rest 4.187, 4.188; security E6)

use tokio_postgres::Row;

use crate::error::Error;
use crate::search::request::{SearchRequest, Total};
use crate::store::failure;

use super::super::choice::{Choice, Chosen};
use super::super::driver::conjuncts;
use super::super::order::Order;
use super::super::run::Run;
use super::super::source::every;
use super::super::sql::Statement;
use super::super::{Count, Paging};
use super::statement::COUNTED;
use super::{Search, is_there};

impl Search<'_, '_> {
    /// How many matches there are; `rows` are those of the first page and one beyond.
    pub(super) async fn total(
        &self,
        run: &mut Run<'_>,
        request: &SearchRequest,
        chosen: &Chosen,
        paging: &Paging,
        rows: &[Row],
    ) -> Result<Option<Count>, Error> {
        if request.total == Total::None {
            return Ok(None);
        }
        let exact = |number| Ok(Some(Count { number, is_exact: true }));
        if rows.len() <= paging.count as usize {
            return exact(rows.iter().filter(|row| is_there(row, 4)).count() as u64);
        }
        let is_restricted = self.is_restricted()?;
        if is_restricted && request.total == Total::Unspecified {
            return self.total_within_reach(run, &chosen.all, counted(rows)?).await;
        }
        // What the database expects is of everybody's.
        let is_counted = request.total == Total::Estimate && is_restricted;
        match counted(rows)? {
            Some(number) => exact(number),
            None if request.total == Total::Accurate || is_counted => {
                run.step(|| "counts all matches for the total".to_owned());
                exact(self.count_all(run, &chosen.all).await?)
            }
            None if request.total == Total::Estimate => {
                run.step(|| "takes the total that the database expects".to_owned());
                let number = run.estimate(&self.all(&chosen.all)?).await?.max(COUNTED);
                Ok(Some(Count { number, is_exact: false }))
            }
            None => Ok(None),
        }
    }

    /// The total that nobody asked for, for who does not see all: how it comes to be `counted` goes by what
    /// there is of everybody's, so whether it is told goes by what is within reach alone. Where that
    /// are the records of patients, it is told of so many.
    async fn total_within_reach(
        &self,
        run: &mut Run<'_>,
        choice: &Choice,
        counted: Option<u64>,
    ) -> Result<Option<Count>, Error> {
        if !self.reaches_records()? {
            return Ok(None);
        }
        let number = if let Some(number) = counted {
            number
        } else {
            run.step(|| format!("counts up to {COUNTED} matches for the total"));
            self.count(run, choice, Some(COUNTED + 1)).await?
        };
        Ok((number <= COUNTED).then_some(Count { number, is_exact: true }))
    }

    /// The keys of all matches.
    fn all(&self, choice: &Choice) -> Result<Statement, Error> {
        let filters = conjuncts(self.filters);
        let mut compiler = self.compiler(&choice.turned);
        let (source, rest) = self.walk(&mut compiler, choice, &Order::NATIVE, &filters)?;
        let distinct = if source.has_duplicates { "DISTINCT " } else { "" };
        let every = every(&source, &format!("{distinct}{} AS rid", source.row.rid), &rest);
        Ok(compiler.binds.finish(&every))
    }

    pub(super) async fn count_all(&self, run: &mut Run<'_>, choice: &Choice) -> Result<u64, Error> {
        self.count(run, choice, None).await
    }

    /// How many matches there are, up to `most`.
    async fn count(
        &self,
        run: &mut Run<'_>,
        choice: &Choice,
        most: Option<u64>,
    ) -> Result<u64, Error> {
        let Statement { sql, binds } = self.all(choice)?;
        let limit = most.map_or_else(String::new, |most| format!(" LIMIT {most}"));
        let sql = format!("SELECT count(*) FROM (SELECT FROM ({sql}) a{limit}) e");
        let statement = Statement { sql, binds };
        let rows = run.rows(&statement).await?;
        let row = rows.first().ok_or_else(|| Error::internal("a count gives a row"))?;
        Ok(row.try_get::<_, i64>(0).map_err(failure::error)?.cast_unsigned())
    }
}

/// The total that the rows of a page tell.
pub(super) fn counted(rows: &[Row]) -> Result<Option<u64>, Error> {
    let Some(row) = rows.first() else { return Ok(None) };
    let seen: i64 = row.try_get(2).map_err(failure::error)?;
    let total: Option<i64> = row.try_get(3).map_err(failure::error)?;
    // What was sorted was counted.
    Ok(total.or((seen > 0).then_some(seen)).map(i64::cast_unsigned))
}
