//! Dates and times plus durations.
//!
//! Spec: <https://hl7.org/fhirpath/N1/#datetime-arithmetic>

use super::{FRACTION, HOUR, SECOND, Temporal, TemporalKind};
use crate::fhir::civil::{civil_from_days, days_from_civil, days_in_month};

/// What a duration counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::fhirpath) enum Step {
    /// Calendar months, which differ in length.
    Months(i64),
    /// Milliseconds: what has one length.
    Millis(i64),
}

impl Step {
    /// The other way.
    pub(in crate::fhirpath) fn reversed(self) -> Option<Self> {
        Some(match self {
            Self::Months(months) => Self::Months(months.checked_neg()?),
            Self::Millis(millis) => Self::Millis(millis.checked_neg()?),
        })
    }
}

const DAY_NANOS: i128 = 86_400_000_000_000;

impl Temporal<'_> {
    /// Later by `step`, with the same precision; what is finer than that is cut off.
    ///
    /// `None` when it leaves the years 1 to 9999, and for a time of day plus months.
    pub(in crate::fhirpath) fn plus(&self, step: Step) -> Option<Temporal<'static>> {
        match (step, self.kind) {
            (Step::Months(_), TemporalKind::Time) => None,
            (Step::Millis(millis), TemporalKind::Time) => {
                let nanos = self.nanos_of_day() + self.whole(i128::from(millis) * 1_000_000);
                let of_day = nanos.rem_euclid(DAY_NANOS) as i64;
                Some(self.with_nanos_of_day(of_day).with_fraction_shown())
            }
            (Step::Months(months), _) if self.precision == 1 => self.plus_months(months / 12 * 12),
            (Step::Months(months), _) => self.plus_months(months),
            (Step::Millis(millis), _) => {
                let days = millis / 86_400_000;
                match self.precision {
                    // Without a calendar to go by, a year has 365 days and a month 30.
                    1 => self.plus_months(days / 365 * 12),
                    2 => self.plus_months(days / 30),
                    _ => self.plus_nanos(self.whole(i128::from(millis) * 1_000_000)),
                }
            }
        }
    }

    /// The nanoseconds in whole units of the precision.
    fn whole(&self, nanos: i128) -> i128 {
        let unit = match self.precision {
            ..=HOUR => DAY_NANOS,
            4 => 3_600_000_000_000,
            5 => 60_000_000_000,
            _ => 1,
        };
        nanos / unit * unit
    }

    /// A day that the month does not have becomes its last.
    fn plus_months(&self, months: i64) -> Option<Temporal<'static>> {
        let [year, month, day, hour, minute, second, nanos] = self.fields();
        let total = (year * 12 + month - 1).checked_add(months)?;
        let (year, month) = (total.div_euclid(12), total.rem_euclid(12) + 1);
        let day = day.min(days_in_month(year, month));
        let moved = [year, month, day, hour, minute, second, nanos];
        (1..=9999).contains(&year).then(|| self.at(moved))
    }

    fn plus_nanos(&self, nanos: i128) -> Option<Temporal<'static>> {
        let [year, month, day, ..] = self.fields();
        let days = i128::from(days_from_civil(year, month, day));
        let total = days * DAY_NANOS + self.nanos_of_day() + nanos;
        let days = i64::try_from(total.div_euclid(DAY_NANOS)).ok()?;
        // Far beyond the years that can be written, so that the calendar does not overflow.
        if days.abs() > 4_000_000 {
            return None;
        }
        let (year, month, day) = civil_from_days(days);
        let moved = self.at([year, month, day, 0, 0, 0, 0]);
        let of_day = total.rem_euclid(DAY_NANOS) as i64;
        (1..=9999).contains(&year).then(|| moved.with_nanos_of_day(of_day).with_fraction_shown())
    }

    fn nanos_of_day(&self) -> i128 {
        let [.., hour, minute, second, nanos] = self.fields();
        let seconds = i128::from(hour * 3600 + minute * 60 + second);
        seconds * 1_000_000_000 + i128::from(nanos)
    }

    /// A fraction that the digits written do not show gets three of them.
    fn with_fraction_shown(self) -> Self {
        let shown = 10_u32.pow(u32::from(FRACTION - self.fraction));
        let hidden = self.precision == SECOND && !self.nanos.is_multiple_of(shown);
        if hidden { Self { fraction: self.fraction.max(3), ..self } } else { self }
    }
}
