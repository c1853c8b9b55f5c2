//! Batches whose rows are gone: which of them were dropped by who holds the key of checkpoints.

use std::collections::HashSet;

use crate::access::interaction::Kind;
use crate::audit::{Finding, PublicKey, Retirement, SignedRetirement, Sum};
use crate::error::Error;
use crate::store::Store;
use crate::store::maintenance::{self, Seal};

/// A month whose rows were dropped as a signature says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RetiredMonth {
    /// The month, six digits.
    pub month: String,
    /// How many of its rows are gone.
    pub rows: u64,
}

/// What a batch is checked by, as one after the other comes by.
struct Said {
    retirement: Retirement,
    is_signed: bool,
    sum: Sum,
    /// Rows of its batches that are gone.
    gone: u64,
}

impl Said {
    fn is_of_these(&self) -> bool {
        self.sum.rows() == self.retirement.rows && self.sum.digest() == self.retirement.digest
    }

    fn finding(&self) -> Finding {
        Finding::Retirement(self.retirement.month.clone())
    }
}

/// All that says that months were dropped.
pub(super) struct Retired {
    said: Vec<Said>,
    /// Whether there is one that nobody can read.
    is_unreadable: bool,
}

impl Retired {
    /// What the database has; it counts where one of `trusted` has signed it for this `log`.
    pub(super) async fn read(
        store: &Store,
        log: &str,
        trusted: &[PublicKey],
    ) -> Result<Self, Error> {
        Ok(Self::of(&maintenance::retirements(store).await?, log, trusted))
    }

    fn of(all: &[SignedRetirement], log: &str, trusted: &[PublicKey]) -> Self {
        let read = |signed: &SignedRetirement| {
            let retirement = Retirement::parse(&signed.text)?;
            let is_signed = retirement.log == log && signed.is_signed_by(trusted);
            Some(Said { retirement, is_signed, sum: Sum::default(), gone: 0 })
        };
        let said: Vec<_> = all.iter().filter_map(read).collect();
        Self { is_unreadable: said.len() < all.len(), said }
    }

    /// Takes note of the next batch; what is wrong with that whose last batch it is.
    pub(super) fn next(&mut self, seal: &Seal) -> Option<Finding> {
        for said in self.said.iter_mut().filter(|said| said.retirement.batches.contains(seal.n)) {
            let last = (seal.last.xid, seal.last.id);
            said.sum.add(seal.n, (seal.size, &seal.root), last);
            let is_last = said.retirement.batches.last() == Some(seal.n);
            if is_last && said.is_signed && !said.is_of_these() {
                return Some(said.finding());
            }
        }
        None
    }

    /// What is wrong with a batch whose rows are gone: nothing where they were dropped as is signed.
    pub(super) fn account_for(&mut self, seal: &Seal) -> Option<Finding> {
        let mut of_batch: Vec<_> =
            self.said.iter_mut().filter(|it| it.retirement.batches.contains(seal.n)).collect();
        let Some(signed) = of_batch.iter_mut().find(|said| said.is_signed) else {
            let forged = of_batch.first().map(|said| said.finding());
            return Some(forged.unwrap_or(Finding::Gone(seal.n)));
        };
        signed.gone += u64::from(seal.size);
        (signed.retirement.month != seal.month).then_some(Finding::Batch(seal.n))
    }

    /// What is wrong at the end: what is signed by nobody, or speaks of batches that there are not.
    pub(super) fn end(&self) -> Option<Finding> {
        let wrong = self.said.iter().find(|said| !(said.is_signed && said.is_of_these()));
        let unreadable = || self.is_unreadable.then(|| Finding::Retirement("?".to_owned()));
        wrong.map(Said::finding).or_else(unreadable)
    }

    /// The months that were dropped, as far as their batches were looked at.
    pub(super) fn months(&self) -> Vec<RetiredMonth> {
        let gone = self.said.iter().filter(|said| said.gone > 0);
        gone.map(|said| RetiredMonth { month: said.retirement.month.clone(), rows: said.gone })
            .collect()
    }
}

/// The same where the record says by a row alone that the month was dropped, as versions before did.
pub(super) async fn unless_said(
    store: &Store,
    log: &str,
    (finding, seal): (Finding, &Seal),
) -> Result<Finding, Error> {
    let (Finding::Gone(batch), Some(last)) = (&finding, maintenance::last_seal(store, log).await?)
    else {
        return Ok(finding);
    };
    let said = maintenance::retired(store, Kind::Retain.number(), last.last).await?;
    let months: HashSet<_> = said.iter().filter_map(|text| text.split(' ').next()).collect();
    let is_said = months.contains(seal.month.as_str());
    let unproven = Finding::Unproven { batch: *batch, month: seal.month.clone() };
    Ok(if is_said { unproven } else { finding })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::audit::{Batches, Checkpoint, SigningKey};
    use crate::fhir::Instant;
    use crate::store::maintenance::Place;

    const LOG: &str = "0123456789abcdef";

    fn key() -> SigningKey {
        SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap()
    }

    /// A batch of five rows of January 2019; the first three are of it, the others of the next month.
    fn seal(n: u64, key: &SigningKey) -> Seal {
        let at = Instant::from_micros(0);
        let checkpoint =
            Checkpoint { log: LOG.to_owned(), size: n + 1, rows: (n + 1) * 5, at, root: [0; 32] };
        let last = Place { xid: n.cast_signed(), id: Uuid::nil() };
        let month = if n < 3 { "201901" } else { "201902" }.to_owned();
        Seal { n, month, size: 5, last, root: [n as u8; 32], signed: key.sign(checkpoint) }
    }

    fn retirement(key: &SigningKey) -> Retirement {
        let mut sum = Sum::default();
        for n in 0..3 {
            let seal = seal(n, key);
            sum.add(n, (seal.size, &seal.root), (seal.last.xid, seal.last.id));
        }
        Retirement {
            log: LOG.to_owned(),
            month: "201901".to_owned(),
            at: Instant::from_micros(0),
            rows: 15,
            batches: Batches::of(0..3),
            digest: sum.digest(),
            archive: [0; 32],
        }
    }

    /// The first finding over five batches of which those in `gone` have no rows, with what is left at the end.
    fn found(all: &[SignedRetirement], gone: &[u64], key: &SigningKey) -> Option<Finding> {
        let mut retired = Retired::of(all, LOG, &[key.public()]);
        for n in 0..5 {
            let seal = seal(n, key);
            let account = |retired: &mut Retired| {
                let is_gone = gone.contains(&n);
                is_gone.then(|| retired.account_for(&seal)).flatten()
            };
            if let Some(finding) = retired.next(&seal).or_else(|| account(&mut retired)) {
                return Some(finding);
            }
        }
        retired.end()
    }

    #[test]
    fn batches_are_gone_by_right_only_where_a_signature_says_so() {
        let (key, other) = (key(), key());
        let good = || retirement(&key);
        let by = |retirement: &Retirement| vec![SignedRetirement::new(retirement, &key)];
        let forged = || Some(Finding::Retirement("201901".to_owned()));
        let bent = |change: fn(&mut Retirement)| {
            let mut retirement = good();
            change(&mut retirement);
            retirement
        };
        let signed = SignedRetirement::new(&good(), &key);
        let altered = |text: String| vec![SignedRetirement { text, ..signed.clone() }];
        let wider = altered(bent(|it| it.batches = Batches::of(0..4)).text());
        let unreadable = altered("201901".to_owned());
        for (name, said, gone, expected) in [
            ("nothing", vec![], &[][..], None),
            ("dropped", by(&good()), &[0, 1, 2], None),
            ("said and not dropped", by(&good()), &[], None),
            ("said twice", [by(&good()), by(&good())].concat(), &[0, 1, 2], None),
            ("one more", by(&good()), &[0, 1, 2, 3], Some(Finding::Gone(3))),
            ("unsaid", vec![], &[1], Some(Finding::Gone(1))),
            ("foreign key", vec![SignedRetirement::new(&good(), &other)], &[0, 1, 2], forged()),
            (
                "foreign key, nothing gone",
                vec![SignedRetirement::new(&good(), &other)],
                &[],
                forged(),
            ),
            ("widened", wider, &[3], forged()),
            ("another log", by(&bent(|it| it.log = "other".to_owned())), &[1], forged()),
            ("other sums", by(&bent(|it| it.rows = 16)), &[0, 1, 2], forged()),
            ("other batches", by(&bent(|it| it.batches = Batches::of(0..2))), &[0, 1], forged()),
            ("beyond the end", by(&bent(|it| it.batches = Batches::of(0..9))), &[], forged()),
            ("unreadable", unreadable, &[], Some(Finding::Retirement("?".to_owned()))),
            (
                "another month",
                by(&bent(|it| it.month = "201812".to_owned())),
                &[0, 1, 2],
                Some(Finding::Batch(0)),
            ),
        ] {
            assert_eq!(found(&said, gone, &key), expected, "{name}");
        }
    }

    #[test]
    fn what_was_dropped_is_counted_by_month() {
        let key = key();
        let signed = [SignedRetirement::new(&retirement(&key), &key)];
        let mut retired = Retired::of(&signed, LOG, &[key.public()]);
        assert_eq!(retired.months(), []);
        for n in 1..3 {
            assert_eq!(retired.account_for(&seal(n, &key)), None);
        }
        assert_eq!(retired.months(), [RetiredMonth { month: "201901".to_owned(), rows: 10 }]);
    }
}
