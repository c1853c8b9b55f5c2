//! How far an import is: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Time between two lines where there is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(5);

/// Shows progress on standard error.
pub(super) struct Progress {
    shape: Shape,
    started: Instant,
}

enum Shape {
    Bar(ProgressBar),
    Lines { last: Instant, total: u64 },
    None,
}

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
        let started = Instant::now();
        let shape = if is_quiet {
            Shape::None
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let template = "{bar:30} {percent:>3}%  {msg}  {eta} left";
            bar.set_style(
                ProgressStyle::with_template(template)
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            Shape::Bar(bar)
        } else {
            Shape::Lines { last: started, total }
        };
        Self { shape, started }
    }

    /// Shows what was seen so far.
    pub(super) fn show(&mut self, seen: Seen) {
        let text = describe(seen, self.started.elapsed());
        match &mut self.shape {
            Shape::Bar(bar) => {
                bar.set_position(seen.position);
                bar.set_message(text);
            }
            Shape::Lines { last, total } => {
                if last.elapsed() >= BETWEEN_LINES {
                    *last = Instant::now();
                    let percent = seen.position * 100 / (*total).max(1);
                    let left = time_left(seen.position, *total, self.started.elapsed());
                    eprintln!("import: {percent} % read, {text}, about {left} s left");
                }
            }
            Shape::None => {}
        }
    }

    /// Takes the bar away and says what came of it.
    pub(super) fn finish(&self, seen: Seen, files: u64, skipped: u64) {
        if let Shape::Bar(bar) = &self.shape {
            bar.finish_and_clear();
        }
        if !matches!(self.shape, Shape::None) {
            let elapsed = self.started.elapsed();
            let text = describe(seen, elapsed);
            let skipped = match skipped {
                0 => String::new(),
                count => format!(", {count} parts were loaded before"),
            };
            eprintln!("imported {files} files in {:.1} s: {text}{skipped}", elapsed.as_secs_f64());
        }
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

/// Whole seconds until the rest is read, at the speed so far.
fn time_left(position: u64, total: u64, elapsed: Duration) -> u64 {
    let rest = total.saturating_sub(position) as f64;
    (elapsed.as_secs_f64() * rest / position.max(1) as f64).ceil() as u64
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
        assert_eq!(time_left(25, 100, two), 6);
    }
}
