//! All keys that a query finds, without asking how well each fits.

use tantivy::collector::{Collector, SegmentCollector};
use tantivy::columnar::Column;
use tantivy::{DocId, Score, SegmentOrdinal, SegmentReader};

/// The name of the field that holds the key.
pub(super) const KEY: &str = "key";

/// Collects keys.
pub(super) struct Keys {
    /// How many are kept of what is found.
    pub(super) limit: usize,
}

/// Collects those of one part of the index.
pub(super) struct KeysOfPart {
    keys: Column<i64>,
    found: Vec<i64>,
    limit: usize,
}

impl Collector for Keys {
    type Fruit = Vec<i64>;
    type Child = KeysOfPart;

    fn for_segment(
        &self,
        _: SegmentOrdinal,
        segment: &SegmentReader,
    ) -> tantivy::Result<KeysOfPart> {
        let keys = segment.fast_fields().i64(KEY)?;
        Ok(KeysOfPart { keys, found: Vec::new(), limit: self.limit })
    }

    fn requires_scoring(&self) -> bool {
        false
    }

    fn merge_fruits(&self, parts: Vec<Vec<i64>>) -> tantivy::Result<Vec<i64>> {
        let mut all = parts.concat();
        all.truncate(self.limit);
        Ok(all)
    }
}

impl SegmentCollector for KeysOfPart {
    type Fruit = Vec<i64>;

    fn collect(&mut self, document: DocId, _: Score) {
        if self.found.len() < self.limit {
            self.found.extend(self.keys.first(document));
        }
    }

    fn harvest(self) -> Vec<i64> {
        self.found
    }
}
