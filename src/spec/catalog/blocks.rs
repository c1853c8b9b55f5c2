//! The blocks of packs that were unpacked last: what is read once is often read again, and with its
//! neighbours.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::spec::package::{PackError, Records};

/// Text that is kept. A block has about a megabyte, which takes a millisecond to unpack.
const MAX_BYTES: usize = 8 << 20;

/// A pack and a block of it, by their numbers.
type Place = (usize, usize);

/// Unpacked blocks, as many as [`MAX_BYTES`] hold.
#[derive(Debug, Default)]
pub(super) struct Blocks(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// What was asked for last comes last.
    blocks: VecDeque<(Place, Arc<Records>)>,
    size_bytes: usize,
}

impl Blocks {
    /// The block at `place`; `unpack` makes it, where it is not at hand. Others do not wait for that.
    ///
    /// # Errors
    /// Those of `unpack`.
    pub(super) fn get(
        &self,
        place: Place,
        unpack: impl FnOnce() -> Result<Records, PackError>,
    ) -> Result<Arc<Records>, PackError> {
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept().take(place) {
            return Ok(known);
        }
        let made = Arc::new(unpack()?);
        kept().put(place, &made);
        Ok(made)
    }
}

impl Kept {
    fn take(&mut self, place: Place) -> Option<Arc<Records>> {
        let at = self.blocks.iter().position(|(of, _)| *of == place)?;
        let found = self.blocks.remove(at)?;
        let records = Arc::clone(&found.1);
        self.blocks.push_back(found);
        Some(records)
    }

    fn put(&mut self, place: Place, records: &Arc<Records>) {
        // Two may have unpacked the same one.
        if records.size_bytes() > MAX_BYTES || self.take(place).is_some() {
            return;
        }
        self.size_bytes += records.size_bytes();
        self.blocks.push_back((place, Arc::clone(records)));
        while self.size_bytes > MAX_BYTES {
            let Some((_, oldest)) = self.blocks.pop_front() else { break };
            self.size_bytes -= oldest.size_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::R4_PACK;
    use crate::spec::package::Pack;

    #[test]
    fn what_was_asked_for_last_is_kept_within_bounds() {
        let pack = Pack::open(R4_PACK).expect("opens");
        let blocks = Blocks::default();
        let mut unpacked = Vec::new();
        let mut ask = |number: usize| {
            let made = || {
                unpacked.push(number);
                pack.block(number)
            };
            blocks.get((0, number), made).expect("a block").lines().count()
        };
        let count = ask(0);
        assert_eq!(ask(0), count);
        assert!(ask(1) > 0 && ask(0) > 0);
        for number in 2..15 {
            assert!(ask(number) > 0);
            assert_eq!(ask(0), count, "what is asked for again and again stays");
        }
        assert!(ask(1) > 0);
        let expected: Vec<usize> = (0..15).chain([1]).collect();
        assert_eq!(unpacked, expected);
        let kept = blocks.0.lock().expect("nobody panicked");
        let sum: usize = kept.blocks.iter().map(|(_, records)| records.size_bytes()).sum();
        assert_eq!(kept.size_bytes, sum);
        assert!(sum <= MAX_BYTES && kept.blocks.len() > 2, "{sum}");
    }

    #[test]
    fn what_cannot_be_unpacked_is_told_and_not_kept() {
        let blocks = Blocks::default();
        let failed = blocks.get((0, 0), || Err(PackError::Section("resources")));
        assert!(failed.is_err());
        let pack = Pack::open(R4_PACK).expect("opens");
        assert!(blocks.get((0, 0), || pack.block(0)).is_ok());
    }
}
