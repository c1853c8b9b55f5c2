//! Figures beside what they may be, and lines of cells as columns.

use std::fmt::Write as _;

use serde::Serialize;

/// What a figure may be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// A figure that has a bound.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
    #[serde(flatten)]
    bound: Bound,
    is_kept: bool,
}

impl Figure {
    pub(super) fn new(
        what: impl Into<String>,
        value: f64,
        unit: &'static str,
        bound: Bound,
    ) -> Self {
        // What is no number keeps nothing.
        let is_kept = match bound {
            Bound::AtLeast(least) => value >= least,
            Bound::AtMost(most) => value <= most,
        };
        Self { what: what.into(), value, unit, bound, is_kept }
    }

    /// The figure as a line of cells, with a mark where it does not keep its bound.
    pub(super) fn cells(&self) -> Vec<String> {
        let (value, bound) = self.told();
        let mark = if self.is_kept { "" } else { " !" };
        vec![self.what.clone(), value, format!("{bound}{mark}")]
    }

    /// What is to be said of it where it does not keep its bound.
    pub(super) fn missed(&self) -> Option<String> {
        let (value, bound) = self.told();
        (!self.is_kept).then(|| format!("{}: {value}, {bound}", self.what))
    }

    fn told(&self) -> (String, String) {
        let bound = match self.bound {
            Bound::AtLeast(least) => format!("at least {least}"),
            Bound::AtMost(most) => format!("at most {most}"),
        };
        let places = if self.value.abs() < 1_000.0 { 2 } else { 0 };
        (format!("{:.places$} {}", self.value, self.unit), bound)
    }
}

/// Lines of cells as columns, of which one begins at the left.
pub(super) fn aligned(lines: &[Vec<String>], left: usize) -> String {
    let mut text = String::new();
    for line in lines {
        for (column, cell) in line.iter().enumerate() {
            // A row of another kind has fewer cells.
            let cells = lines.iter().filter_map(|line| line.get(column));
            let width = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            let gap = if column == 0 { "" } else { "  " };
            // Writing to a String cannot fail.
            let _ = if column == left {
                write!(text, "{gap}{cell:<width$}")
            } else {
                write!(text, "{gap}{cell:>width$}")
            };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_marked_where_it_does_not_keep_its_bound() {
        for (value, bound, told) in [
            (220.0, Bound::AtMost(220.0), ["220.00 x", "at most 220"]),
            (220.5, Bound::AtMost(220.0), ["220.50 x", "at most 220 !"]),
            (200_000.0, Bound::AtLeast(200_000.0), ["200000 x", "at least 200000"]),
            (150_000.4, Bound::AtLeast(200_000.0), ["150000 x", "at least 200000 !"]),
            (f64::NAN, Bound::AtMost(1.0), ["NaN x", "at most 1 !"]),
        ] {
            let figure = Figure::new("what", value, "x", bound);
            assert_eq!(figure.cells()[1..], told.map(str::to_owned));
            let missed =
                told[1].strip_suffix(" !").map(|most| format!("what: {}, {most}", told[0]));
            assert_eq!(figure.missed(), missed);
        }
        let json = serde_json::to_value(Figure::new("w", 1.0, "%", Bound::AtLeast(2.0))).unwrap();
        assert_eq!(json["at_least"], 2.0);
        assert_eq!(json["is_kept"], false);
    }
}
