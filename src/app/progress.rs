//! How far a command is: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Time between two lines where there is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(5);

/// Shows progress on standard error.
pub(super) struct Progress {
    name: &'static str,
    shape: Shape,
    started: Instant,
}

enum Shape {
    Bar(ProgressBar),
    Lines { last: Instant, total: u64 },
    None,
}

impl Progress {
    /// For the command `name`, which has `total` to do.
    pub(super) fn new(name: &'static str, total: u64, is_quiet: bool) -> Self {
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
        Self { name, shape, started }
    }

    /// The time since it began.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Shows that `position` of the total is done.
    pub(super) fn show(&mut self, position: u64, text: &str) {
        match &mut self.shape {
            Shape::Bar(bar) => {
                bar.set_position(position);
                bar.set_message(text.to_owned());
            }
            Shape::Lines { last, total } => {
                if last.elapsed() >= BETWEEN_LINES {
                    *last = Instant::now();
                    let percent = position * 100 / (*total).max(1);
                    let left = time_left(position, *total, self.started.elapsed());
                    let name = self.name;
                    eprintln!("{name}: {percent} %, {text}, about {left} s left");
                }
            }
            Shape::None => {}
        }
    }

    /// Takes the bar away and says what came of it.
    pub(super) fn finish(&self, text: &str) {
        if let Shape::Bar(bar) = &self.shape {
            bar.finish_and_clear();
        }
        if !matches!(self.shape, Shape::None) {
            eprintln!("{text}");
        }
    }
}

/// Whole seconds until the rest is done, at the speed so far.
fn time_left(position: u64, total: u64, elapsed: Duration) -> u64 {
    let rest = total.saturating_sub(position) as f64;
    (elapsed.as_secs_f64() * rest / position.max(1) as f64).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_told_by_the_speed_so_far() {
        for (position, total, seconds, expected) in [(25, 100, 2, 6), (0, 5, 1, 5), (5, 5, 9, 0)] {
            assert_eq!(time_left(position, total, Duration::from_secs(seconds)), expected);
        }
    }
}
