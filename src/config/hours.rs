//! Hours of a day.

/// From one time of day to another, which may be past midnight.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WorkingHours {
    from: u32,
    until: u32,
}

impl WorkingHours {
    /// Reads `07:00-19:00`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (from, until) = text.split_once('-')?;
        let (from, until) = (minutes(from)?, minutes(until)?);
        (from != until).then_some(Self { from, until })
    }

    /// Whether a time, in minutes after midnight, is within them.
    pub fn contain(self, minute: u32) -> bool {
        if self.from < self.until {
            (self.from..self.until).contains(&minute)
        } else {
            minute >= self.from || minute < self.until
        }
    }
}

fn minutes(text: &str) -> Option<u32> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let is_number = |part: &str| part.len() == 2 && part.bytes().all(|it| it.is_ascii_digit());
    if !is_number(hours) || !is_number(minutes) {
        return None;
    }
    let (hours, minutes): (u32, u32) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_two_times_of_day() {
        for (text, minute, expected) in [
            ("07:00-19:00", 7 * 60, Some(true)),
            ("07:00-19:00", 19 * 60, Some(false)),
            ("07:00-19:00", 0, Some(false)),
            ("22:30-06:00", 23 * 60, Some(true)),
            ("22:30-06:00", 60, Some(true)),
            ("22:30-06:00", 6 * 60, Some(false)),
            ("00:00-23:59", 12 * 60, Some(true)),
            ("7:00-19:00", 0, None),
            ("07:00-24:00", 0, None),
            ("07:60-19:00", 0, None),
            ("07:00-07:00", 0, None),
            ("07:00", 0, None),
            ("+7:00-19:00", 0, None),
            ("", 0, None),
        ] {
            let contains = WorkingHours::parse(text).map(|hours| hours.contain(minute));
            assert_eq!(contains, expected, "{text:?} {minute}");
        }
    }
}
