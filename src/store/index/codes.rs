//! Which codes there are of parameters that have few, and which parameters resources seldom lack.
//!
//! What lacks a code, or a value, is found by what it has instead: the other codes (`token_code` lists them),
//! or a row of `tok` that says so. Both would be too much for every parameter. So one with many codes is
//! given up, and so is the absence of one that many resources lack: a walk of all resources soon
//! finds some of them. Each node counts what it writes itself; what any has given up stands in the
//! table, and a search that would rely on it asks there first.
//!
//! What the table has to tell of a resource is committed before the resource is.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::store::connection::{Pipeline, Pipelines, Reader};
use crate::store::failure;

use super::columns::Indexed;

/// Most codes of a parameter that are listed.
const FEW: usize = 32;
/// Up to how many resources may lack a parameter, however few have it.
const SOME: u64 = 500;
/// Of so many resources one may lack it.
const SELDOM: u64 = 50;

const NOTE: &str = "INSERT INTO token_code (p, h, y) \
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::int[]) u(p, h, y) ORDER BY 1, 2, 3 \
    ON CONFLICT DO NOTHING";

const GIVEN_UP: &str = "SELECT p FROM token_code WHERE h = 0";

/// Every statement of this file, for the test that prepares them.
pub(in crate::store) const STATEMENTS: &[&str] = &[NOTE, GIVEN_UP];

/// A code of a parameter: hash of the parameter, `tok.h`, `tok.sysh`. A hash of 0 gives the parameter up.
pub(super) type Code = (i64, i64, i32);

/// What this node knows of the codes of parameters.
#[derive(Debug, Default)]
pub(in crate::store) struct Codes(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Whether the table was asked what others had given up.
    is_begun: bool,
    parameters: HashMap<i64, Listed>,
    /// Resources of each type that were written here.
    written: HashMap<i16, u64>,
}

/// What is known of a parameter, or of the absence of one.
#[derive(Debug)]
enum Listed {
    GivenUp,
    /// How many resources lack it.
    Lacking(u64),
    /// Its codes that the table has.
    These(HashSet<(i64, i32)>),
}

impl Codes {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of these absences that `tok` has rows of.
    pub(super) fn kept(&self, absences: impl Iterator<Item = i64>) -> Vec<i64> {
        let known = self.known();
        let is_kept =
            |absence: &i64| !matches!(known.parameters.get(absence), Some(Listed::GivenUp));
        absences.filter(is_kept).collect()
    }

    /// What the table must hear of before resources are written.
    fn unknown(&self, all: &[Indexed<'_>]) -> Vec<Code> {
        let known = &mut *self.known();
        let mut unknown = Vec::new();
        for (indexed, (rows, _)) in all.iter().filter_map(|it| Some((it, it.now?))) {
            let written = known.written.entry(indexed.resource_type.code()).or_default();
            *written += 1;
            for &absence in &rows.lacking {
                let listed = known.parameters.entry(absence).or_insert(Listed::Lacking(0));
                if let Listed::Lacking(number) = listed {
                    *number += 1;
                    if *number > SOME && *number * SELDOM > *written {
                        unknown.push((absence, 0, 0));
                    }
                }
            }
            for &(parameter, h, system) in &rows.codes {
                let listed = known.parameters.entry(parameter);
                if let Listed::These(codes) =
                    listed.or_insert_with(|| Listed::These(HashSet::new()))
                    && !codes.contains(&(h, system))
                {
                    let is_few = codes.len() < FEW;
                    unknown.push(if is_few { (parameter, h, system) } else { (parameter, 0, 0) });
                }
            }
        }
        unknown.sort_unstable();
        unknown.dedup();
        unknown
    }

    /// Takes in what the table has by now.
    fn noted(&self, codes: impl IntoIterator<Item = Code>) {
        let mut known = self.known();
        for (parameter, h, system) in codes {
            if h == 0 {
                known.parameters.insert(parameter, Listed::GivenUp);
            } else if let Some(Listed::These(codes)) = known.parameters.get_mut(&parameter) {
                codes.insert((h, system));
            }
        }
    }

    /// Tells the table of the codes of what is about to be written, on a connection of its own: if that is
    /// never committed, a code too many does no harm.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub(in crate::store) async fn note(
        &self,
        all: &[Indexed<'_>],
        readers: &Pipelines,
    ) -> Result<(), Error> {
        if !self.known().is_begun {
            let pipeline = readers.pipeline().await?;
            let known = given_up(&pipeline).await?;
            self.noted(known.into_iter().map(|parameter| (parameter, 0, 0)));
            self.known().is_begun = true;
        }
        let unknown = self.unknown(all);
        if unknown.is_empty() {
            return Ok(());
        }
        let parameters: Vec<i64> = unknown.iter().map(|code| code.0).collect();
        let hashes: Vec<i64> = unknown.iter().map(|code| code.1).collect();
        let systems: Vec<i32> = unknown.iter().map(|code| code.2).collect();
        let pipeline = readers.pipeline().await?;
        Reader::Shared(&pipeline).query(NOTE, &[&parameters, &hashes, &systems]).await?;
        self.noted(unknown);
        Ok(())
    }
}

/// The parameters whose codes are not all listed, and the absences that not all rows tell of.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub(in crate::store) async fn given_up(pipeline: &Pipeline) -> Result<HashSet<i64>, Error> {
    let rows = Reader::Shared(pipeline).query(GIVEN_UP, &[]).await?;
    rows.iter().map(|row| row.try_get(0).map_err(failure::error)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::ResourceType;
    use crate::store::index::IndexRows;

    fn unknown(codes: &Codes, rows: &IndexRows) -> Vec<Code> {
        let indexed = Indexed {
            rid: 1,
            identity: 2,
            resource_type: ResourceType::PATIENT,
            before: None,
            now: Some((rows, &[])),
            patients: &[],
        };
        let unknown = codes.unknown(&[indexed]);
        codes.noted(unknown.clone());
        unknown
    }

    #[test]
    fn a_code_is_told_of_once_and_many_codes_not_at_all() {
        let codes = Codes::default();
        let with = |h| IndexRows { codes: vec![(7, h, 0)], ..IndexRows::default() };
        assert_eq!(unknown(&codes, &with(1)), [(7, 1, 0)]);
        assert_eq!(unknown(&codes, &with(1)), []);
        for h in 2..=FEW as i64 {
            assert_eq!(unknown(&codes, &with(h)), [(7, h, 0)]);
        }
        assert_eq!(unknown(&codes, &with(99)), [(7, 0, 0)], "one more is too many");
        assert_eq!(unknown(&codes, &with(100)), []);
    }

    #[test]
    fn an_absence_is_kept_while_few_lack_the_parameter() {
        let (often, seldom) = (Codes::default(), Codes::default());
        let lacking = IndexRows { lacking: vec![5], ..IndexRows::default() };
        let whole = IndexRows::default();
        for _ in 0..SOME {
            assert_eq!(unknown(&often, &lacking), []);
            assert_eq!(unknown(&seldom, &lacking), []);
            for _ in 0..SELDOM {
                assert_eq!(unknown(&seldom, &whole), []);
            }
        }
        assert_eq!(unknown(&seldom, &lacking), []);
        assert_eq!(seldom.kept([5].into_iter()), [5]);
        assert_eq!(unknown(&often, &lacking), [(5, 0, 0)]);
        assert!(often.kept([5].into_iter()).is_empty());
    }
}
