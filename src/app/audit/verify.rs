//! `kiln audit verify`: whether the ledger is still what was sealed of it.

use std::collections::HashMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use uuid::Uuid;

use crate::audit::merkle::{self, Growing};
use crate::audit::{Finding, PublicKey, Sealed, Signed, batch_leaf, compare};
use crate::error::Error;
use crate::fhir::Instant;
use crate::store::Store;
use crate::store::maintenance::{self, KnownParties, OrderedRow, Place, Seal, SealedBatch, UpTo};

use super::retired::{Retired, RetiredMonth, unless_said};
use super::sealer::month;

/// Batches that are read at once: rows of one transaction are sorted for each read.
const GROUP: i64 = 64;
/// Groups that are read at a time.
const AHEAD: usize = 2;

/// What is known from outside the database.
#[derive(Clone, Debug, Default)]
pub struct Outside {
    /// Whose checkpoints count.
    pub trusted: Vec<PublicKey>,
    /// The checkpoints that were exported.
    pub checkpoints: Vec<Signed>,
}

/// What a verification found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Batches whose seals were checked.
    pub batches: u64,
    /// Rows that were compared.
    pub rows: u64,
    /// The first thing that is wrong.
    pub finding: Option<Finding>,
    /// When the last checkpoint was made.
    pub sealed_until: Option<Instant>,
    /// The months that were dropped, as is signed.
    pub retired: Vec<RetiredMonth>,
    /// Rows that are not sealed yet, and when the first of them was made.
    pub unsealed: (i64, Option<Instant>),
}

/// Compares the ledger with its seal, rows from batch `since` on; `progress` hears of each group how
/// many rows the record has up to there.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn verify(
    store: &Store,
    log: &str,
    outside: &Outside,
    since: u64,
    mut progress: impl FnMut(u64),
) -> Result<Report, Error> {
    let mut retired = Retired::read(store, log, &outside.trusted).await?;
    let mut chain = Chain::new(outside);
    let mut report = Report::default();
    // Rows are read from behind this place on: where one stands at it, nobody sealed it.
    let first = maintenance::encoded_row(store, Uuid::nil()).await?;
    if let Some(row) = first.filter(|row| row.place == Place::START) {
        report.finding = Some(Finding::Inserted(row.place.id));
        return Ok(report);
    }
    let groups = stream::unfold(Some((0, Place::START)), |from| group(store, log, from, since));
    let parties = &KnownParties::default();
    let groups = groups.map(|group| async move {
        let (seals, before) = group?;
        let rows = Rows::read((store, parties), &seals, before, since).await?;
        Ok::<_, Error>((seals, rows))
    });
    let mut groups = std::pin::pin!(groups.buffered(AHEAD));
    let mut last = Place::START;
    while let Some((seals, rows)) = groups.try_next().await? {
        let mut rows = rows;
        for seal in &seals {
            let mut finding = chain.next(seal).or_else(|| retired.next(seal));
            if finding.is_none() && seal.n >= since {
                if rows.are_gone(seal) {
                    finding = retired.account_for(seal);
                } else {
                    finding = rows.check(seal);
                    report.rows += u64::from(seal.size);
                }
            }
            if let Some(finding) = finding {
                let finding = unless_said(store, log, (finding, seal)).await?;
                report.finding = Some(rows.told(store, (finding, seal)).await?);
                return Ok(report);
            }
            report.batches += 1;
            report.sealed_until = Some(seal.signed.checkpoint.at);
            last = seal.last;
        }
        progress(chain.rows);
    }
    report.finding = chain.end().or_else(|| retired.end());
    if report.finding.is_none() {
        report.finding = maintenance::stray_batch(store).await?.map(Finding::Stray);
    }
    report.retired = retired.months();
    report.unsealed = maintenance::unsealed(store, last).await?;
    Ok(report)
}

type Group = (Vec<Seal>, Place);

/// The next batches and the place before them; more at once where only the seals are of interest.
async fn group(
    store: &Store,
    log: &str,
    from: Option<(u64, Place)>,
    since: u64,
) -> Option<(Result<Group, Error>, Option<(u64, Place)>)> {
    let (number, before) = from?;
    let limit = if number < since { (since - number).min(10_000).cast_signed() } else { GROUP };
    match maintenance::seals(store, log, number, limit).await {
        Ok(seals) => {
            let last = seals.last()?;
            let next = (last.n + 1, last.last);
            Some((Ok((seals, before)), Some(next)))
        }
        Err(error) => Some((Err(error), None)),
    }
}

/// What the seals themselves must be: each one behind the one before, signed, and as exported.
struct Chain<'a> {
    trusted: &'a [PublicKey],
    exported: HashMap<u64, Vec<&'a Signed>>,
    growing: Growing,
    rows: u64,
    last: Place,
}

impl<'a> Chain<'a> {
    fn new(outside: &'a Outside) -> Self {
        let mut exported: HashMap<_, Vec<_>> = HashMap::new();
        for signed in &outside.checkpoints {
            exported.entry(signed.checkpoint.size).or_default().push(signed);
        }
        Self {
            trusted: &outside.trusted,
            exported,
            growing: Growing::default(),
            rows: 0,
            last: Place::START,
        }
    }

    fn next(&mut self, seal: &Seal) -> Option<Finding> {
        let n = self.growing.size();
        let checkpoint = &seal.signed.checkpoint;
        self.growing.push(batch_leaf(&seal.root, seal.size));
        self.rows += u64::from(seal.size);
        let is_next = seal.n == n && seal.last > self.last && checkpoint.rows == self.rows;
        // What is signed is no finer.
        let is_next = is_next && checkpoint.at == checkpoint.at.floor_to_millis();
        self.last = seal.last;
        let is_sealed =
            checkpoint.root == self.growing.root() && seal.signed.is_signed_by(self.trusted);
        if !is_next || !is_sealed {
            return Some(Finding::Batch(n));
        }
        let exported = self.exported.remove(&checkpoint.size).unwrap_or_default();
        // Another time or key is another checkpoint of the same record: nodes that raced have such.
        let same = |signed: &&Signed| {
            signed.is_signed_by(self.trusted)
                && signed.checkpoint.root == checkpoint.root
                && signed.checkpoint.rows == checkpoint.rows
        };
        (!exported.iter().all(same)).then_some(Finding::Checkpoint(checkpoint.size))
    }

    /// What is wrong at the end: checkpoints that speak of more.
    fn end(&self) -> Option<Finding> {
        let (batch, rows) = (self.growing.size(), self.rows);
        let is_more = self.exported.keys().any(|size| *size > batch);
        if is_more {
            return Some(Finding::Truncated { batch, rows });
        }
        self.exported.keys().min().map(|size| Finding::Checkpoint(*size))
    }
}

/// The rows of some batches, as they were sealed and as they are.
struct Rows {
    sealed: HashMap<u64, SealedBatch>,
    found: std::vec::IntoIter<OrderedRow>,
}

impl Rows {
    async fn read(
        (store, parties): (&Store, &KnownParties),
        seals: &[Seal],
        before: Place,
        since: u64,
    ) -> Result<Self, Error> {
        let wanted = seals.iter().position(|seal| seal.n >= since);
        let (Some(first), Some(last)) = (wanted, seals.last()) else {
            return Ok(Self { sealed: HashMap::new(), found: Vec::new().into_iter() });
        };
        let before = if first == 0 { before } else { seals[first - 1].last };
        let from = seals[first].n;
        let sealed = maintenance::sealed_rows(store, from, last.n.saturating_add(1));
        // More than were sealed are not read without a bound.
        let rows: i64 = seals[first..].iter().map(|seal| i64::from(seal.size)).sum();
        // A seal that was moved back must not hide the rows of those before it.
        let end = seals.iter().map(|seal| seal.last).max().unwrap_or(last.last);
        let (through, most) = (UpTo::Through(end), rows * 2 + 1_000);
        let found = maintenance::ordered_rows(store, parties, before, through, most);
        let (sealed, found) = futures_util::try_join!(sealed, found)?;
        Ok(Self { sealed: by_number(sealed), found: found.into_iter() })
    }

    /// Whether nothing is left of a batch but its place in the log.
    fn are_gone(&self, seal: &Seal) -> bool {
        let next = self.found.as_slice().first();
        let is_here = next.is_some_and(|row| row.place <= seal.last);
        !is_here && !self.sealed.contains_key(&seal.n)
    }

    fn check(&mut self, seal: &Seal) -> Option<Finding> {
        let mut found = Vec::with_capacity(seal.size as usize);
        while let Some(row) = self.found.as_slice().first() {
            if row.place > seal.last {
                break;
            }
            found.push(*row);
            self.found.next();
        }
        let bent = Some(Finding::Batch(seal.n));
        let Some(batch) = self.sealed.get(&seal.n) else { return bent };
        let leaves: Vec<_> = batch.rows.iter().map(|row| row.leaf).collect();
        if batch.rows.len() != seal.size as usize || merkle::root(&leaves) != seal.root {
            return bent;
        }
        // The hash of a row is over its id and its place too, so it tells when it is those of the seal that
        // were changed and not the row.
        let is_bent = |(sealed, row): (&Sealed, &OrderedRow)| {
            sealed.leaf == row.leaf && sealed.id != row.place.id
        };
        let last = leaves.last().and_then(|leaf| found.iter().find(|row| row.leaf == *leaf));
        if batch.rows.iter().zip(&found).any(is_bent)
            || last.is_some_and(|row| row.place != seal.last)
        {
            return bent;
        }
        let rows: Vec<_> = found.iter().map(OrderedRow::sealed).collect();
        let first = found.first().map(|row| (row.at, month(row)));
        let is_of_month = first.is_some_and(|(at, month)| at == batch.at && month == seal.month);
        compare(&batch.rows, &rows).or(if is_of_month { None } else { bent })
    }

    /// What was found, once it is known whether a row that is missing in its place is in another.
    async fn told(
        &self,
        store: &Store,
        (finding, seal): (Finding, &Seal),
    ) -> Result<Finding, Error> {
        let Finding::Missing(id) = finding else { return Ok(finding) };
        let Some(row) = maintenance::encoded_row(store, id).await? else { return Ok(finding) };
        let sealed = self.sealed.get(&seal.n).into_iter().flat_map(|batch| &batch.rows);
        let leaf = merkle::leaf(&row.encoding);
        // A row that says where it was when it was sealed was not moved: it is the seal that was.
        let is_in_place = sealed.into_iter().any(|row| row.id == id && row.leaf == leaf);
        Ok(if is_in_place { Finding::Batch(seal.n) } else { Finding::Reordered(id) })
    }
}

/// Batches by their numbers; of one that is there twice, no rows.
fn by_number(all: Vec<SealedBatch>) -> HashMap<u64, SealedBatch> {
    let mut batches: HashMap<u64, SealedBatch> = HashMap::with_capacity(all.len());
    for batch in all {
        batches.entry(batch.n).and_modify(|twice| twice.rows.clear()).or_insert(batch);
    }
    batches
}
