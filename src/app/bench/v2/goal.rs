//! Rates beside what they should be, and beside the floor of the run.
//!
//! What is asked of a rate is asked of a quiet machine. Where the floor of the run is below what it is when the
//! machine is quiet (`--quiet-floor`), the same ratio to the floor is asked.

/// What is asked of a rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Goal {
    /// Messages a second, when the machine is quiet.
    pub(super) least: f64,
    /// Bare INSERTs a second in this run.
    pub(super) floor: Option<f64>,
    /// The same when the machine is quiet.
    pub(super) quiet: Option<f64>,
}

impl Goal {
    /// What is asked in this run, and the quiet floor that it comes from, where it is less.
    fn asked(self) -> (f64, Option<f64>) {
        match (self.floor, self.quiet) {
            (Some(floor), Some(quiet)) if floor < quiet => (self.least * floor / quiet, self.quiet),
            _ => (self.least, None),
        }
    }

    /// The rate beside what is asked, with a mark where it is less.
    pub(super) fn tell(self, rate: f64) -> String {
        let (asked, quiet) = self.asked();
        let least = self.least;
        let ratio = self.floor.filter(|floor| *floor > 0.0).map_or_else(String::new, |floor| {
            format!(", {:.2} of the floor of {floor:.0} INSERTs", rate / floor)
        });
        let bound = quiet.map_or_else(
            || format!("at least {least:.0}"),
            |quiet| format!("at least {asked:.0}: {least:.0} where the floor is {quiet:.0}"),
        );
        // What is no number keeps nothing.
        let mark = if rate >= asked { "" } else { " !" };
        format!("{rate:.0} messages a second{ratio} ({bound}){mark}")
    }
}

/// A floor of `--quiet-floor`: `store=3000`.
///
/// # Errors
/// A sentence.
pub(in crate::app::bench) fn quiet_floor(text: &str) -> Result<(String, f64), String> {
    let wrong = || format!("{text:?} is no NAME=N such as store=3000");
    let (name, rate) = text.split_once('=').ok_or_else(wrong)?;
    let rate: f64 = rate.parse().map_err(|_| wrong())?;
    let is_known = matches!(name, "store" | "visit" | "result");
    if is_known && rate.is_finite() && rate > 0.0 {
        Ok((name.to_owned(), rate))
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_floor_asks_for_the_same_ratio() {
        for (floor, quiet, rate, told) in [
            (None, None, 2_000.0, "2000 messages a second (at least 2000)"),
            (None, Some(3_000.0), 1_999.0, "1999 messages a second (at least 2000) !"),
            (
                Some(4_000.0),
                None,
                1_000.0,
                "1000 messages a second, 0.25 of the floor of 4000 INSERTs (at least 2000) !",
            ),
            // A floor above that of a quiet machine asks for no more.
            (
                Some(4_000.0),
                Some(3_000.0),
                2_000.0,
                "2000 messages a second, 0.50 of the floor of 4000 INSERTs (at least 2000)",
            ),
            (
                Some(1_500.0),
                Some(3_000.0),
                1_000.0,
                "1000 messages a second, 0.67 of the floor of 1500 INSERTs (at least 1000: 2000 where the \
                 floor is 3000)",
            ),
            (
                Some(1_500.0),
                Some(3_000.0),
                900.0,
                "900 messages a second, 0.60 of the floor of 1500 INSERTs (at least 1000: 2000 where the \
                 floor is 3000) !",
            ),
        ] {
            assert_eq!(Goal { least: 2_000.0, floor, quiet }.tell(rate), told);
        }
        let nothing = Goal { least: 1.0, floor: None, quiet: None }.tell(f64::NAN);
        assert!(nothing.ends_with('!'), "{nothing}");
    }

    #[test]
    fn a_quiet_floor_has_a_name_and_a_rate() {
        assert_eq!(quiet_floor("store=3000"), Ok(("store".to_owned(), 3_000.0)));
        for text in ["", "3000", "store", "store=", "store=0", "store=-1", "store=inf", "other=1"] {
            assert!(quiet_floor(text).is_err(), "{text}");
        }
    }
}
