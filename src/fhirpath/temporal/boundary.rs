//! The ends of the span that a partial date or time leaves open, and how many digits it has.
//!
//! Spec: <https://hl7.org/fhirpath/#lowboundaryprecision-integer-decimal--date--datetime--time>

use super::{HOUR, Offset, SECOND, Temporal, TemporalKind};
use crate::fhir::civil::days_in_month;

/// Digits of year, month, day, hour, minute, second, and of milliseconds.
const DIGITS: [i64; 7] = [4, 6, 8, 10, 12, 14, 17];

impl Temporal<'_> {
    /// How many digits it has: 4 for a year, 17 for a date-time to the millisecond.
    pub(in crate::fhirpath) fn digits(&self) -> i64 {
        let mut digits = DIGITS[usize::from(self.precision.clamp(1, SECOND)) - 1];
        if self.fraction > 0 {
            digits += i64::from(self.fraction.max(3));
        }
        if self.kind == TemporalKind::Time { digits - 8 } else { digits }
    }

    /// The first or last moment that it may mean, with `digits` digits; the most there are where
    /// none are asked for. `None` for a number of digits that no date or time has.
    pub(in crate::fhirpath) fn boundary(
        &self,
        is_high: bool,
        digits: Option<i64>,
    ) -> Option<Temporal<'static>> {
        let (base, most) = match self.kind {
            TemporalKind::Date => (0, 8),
            TemporalKind::DateTime => (0, 17),
            TemporalKind::Time => (8, 9),
        };
        let digits = digits.unwrap_or(most);
        let at = DIGITS.iter().position(|&known| known - base == digits && digits > 0)?;
        let asked = (at as u8 + 1).min(SECOND);
        if digits > most || (self.kind == TemporalKind::Time && asked <= HOUR) {
            return None;
        }
        let mut fields = self.fields();
        if is_high {
            let ends = [9999, 12, 0, 23, 59, 59, 999_999_999];
            for at in usize::from(self.precision)..7 {
                let is_fraction = at == usize::from(SECOND);
                if !is_fraction || self.fraction == 0 {
                    let last = days_in_month(fields[0], fields[1]);
                    fields[at] = if at == 2 { last } else { ends[at] };
                }
            }
        }
        let fraction = if at == 6 { 3 } else { 0 };
        let offset = match (self.kind, self.offset) {
            (TemporalKind::DateTime, Offset::None) if asked > HOUR => {
                Offset::Minutes(if is_high { -12 * 60 } else { 14 * 60 })
            }
            (_, offset) if asked > HOUR => offset,
            _ => Offset::None,
        };
        Some(Temporal { precision: asked, fraction, offset, ..self.at(fields) })
    }
}
