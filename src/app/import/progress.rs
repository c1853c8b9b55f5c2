//! What the progress of an import says.

use std::time::Duration;

use super::super::progress;

/// Shows how far an import is.
pub(super) struct Progress(progress::Progress);

/// What there is to show.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Bytes of the input read.
    pub(super) position: u64,
    pub(super) resources: u64,
    pub(super) failed: u64,
}

impl Progress {
    /// For an input of `total` bytes.
    pub(super) fn new(total: u64, is_quiet: bool) -> Self {
        Self(progress::Progress::new("import", total, is_quiet))
    }

    /// Shows what was seen so far.
    pub(super) fn show(&mut self, seen: Seen) {
        let text = describe(seen, self.0.elapsed());
        self.0.show(seen.position, &text);
    }

    /// Takes the bar away and says what came of it.
    pub(super) fn finish(&self, seen: Seen, files: u64, skipped: u64) {
        let elapsed = self.0.elapsed();
        let text = describe(seen, elapsed);
        let skipped = match skipped {
            0 => String::new(),
            count => format!(", {count} parts were loaded before"),
        };
        let seconds = elapsed.as_secs_f64();
        self.0.finish(&format!("imported {files} files in {seconds:.1} s: {text}{skipped}"));
    }
}

fn describe(seen: Seen, elapsed: Duration) -> String {
    let rate = seen.resources as f64 / elapsed.as_secs_f64().max(0.001);
    let failed = match seen.failed {
        0 => String::new(),
        count => format!(", {count} failed"),
    };
    format!("{} resources, {rate:.0}/s{failed}", seen.resources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_count_rate_and_failures() {
        let seen = |failed| Seen { position: 1, resources: 500, failed };
        let two = Duration::from_secs(2);
        assert_eq!(describe(seen(0), two), "500 resources, 250/s");
        assert_eq!(describe(seen(3), two), "500 resources, 250/s, 3 failed");
    }
}
