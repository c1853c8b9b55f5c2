//! Reading, order, arithmetic and boundaries of dates and times.

use super::*;

#[test]
fn the_forms_of_fhir_and_fhirpath_are_read_and_others_are_not() {
    for (text, expected) in [
        ("2015", Some((TemporalKind::Date, 1))),
        ("2015-02-28", Some((TemporalKind::Date, 3))),
        ("2016-02-29", Some((TemporalKind::Date, 3))),
        ("2015T", Some((TemporalKind::DateTime, 1))),
        ("2015-02-04T14", Some((TemporalKind::DateTime, 4))),
        ("2015-02-04T14:34:28.123+09:00", Some((TemporalKind::DateTime, 6))),
        ("14:30", Some((TemporalKind::Time, 5))),
        ("T14:30:00", Some((TemporalKind::Time, 6))),
        ("2015-02-29", None),
        ("2015-13", None),
        ("2015-2", None),
        ("2015T14:00", None),
        ("2015-02-04T24:00", None),
        ("2015-02-04T14:60", None),
        ("2015-02-04T14:00+15:00", None),
        ("2015-02-04T14:00é", None),
        ("2015-02-04-05", None),
        ("", None),
        ("T", None),
        ("é:", None),
        ("0000", None),
    ] {
        let found = Temporal::parse(text).map(|read| (read.kind, read.precision));
        assert_eq!(found, expected, "{text:?}");
    }
}

#[test]
fn order_respects_offsets_and_missing_precision() {
    use Ordering::{Equal, Greater, Less};
    for (left, right, expected) in [
        ("2012", "2013", Some(Less)),
        ("2012", "2012-01", None),
        ("2012-05", "2013-01-01", Some(Less)),
        ("2012-01-01T10:00:00Z", "2012-01-01T11:00:00+01:00", Some(Equal)),
        ("2012-01-01T00:30:00+01:00", "2011-12-31T23:30:00Z", Some(Equal)),
        ("2012-01-01T10:00:00Z", "2012-01-01T11:00:00", None),
        ("2012-01-01T10:00:00.1", "2012-01-01T10:00:00.10", Some(Equal)),
        ("2012-01-01T10:00:01", "2012-01-01T10:00:00.9", Some(Greater)),
        ("10:00", "11:00", Some(Less)),
        ("10:00", "2012", None),
    ] {
        let read = |text| Temporal::parse(text).expect(text);
        assert_eq!(read(left).compare(&read(right)), expected, "{left} {right}");
    }
}

#[test]
fn durations_move_dates_by_the_calendar_and_keep_the_precision() {
    use super::shift::Step::{Millis, Months};
    const DAY: i64 = 86_400_000;
    for (text, step, expected) in [
        ("1973-12-25", Millis(7 * DAY), Some("1974-01-01")),
        ("2016-02-28", Millis(DAY), Some("2016-02-29")),
        ("2016-01-31", Months(1), Some("2016-02-29")),
        ("2016-02-29", Months(12), Some("2017-02-28")),
        ("2016-03-31", Months(-1), Some("2016-02-29")),
        ("2014", Months(24), Some("2016")),
        ("2014", Months(23), Some("2015")),
        ("2014-05", Millis(40 * DAY), Some("2014-06")),
        ("2016", Millis(364 * DAY), Some("2016")),
        ("2016-01-01", Millis(25 * 3_600_000), Some("2016-01-02")),
        ("2016-01-01", Millis(-1), Some("2016-01-01")),
        ("2016-01-01T00:30", Millis(-3_600_000), Some("2015-12-31T23:30")),
        ("2016-12-31T23:59:59.999Z", Millis(1), Some("2017-01-01T00:00:00.000Z")),
        ("2016-01-01T10:00:00+10:00", Months(13), Some("2017-02-01T10:00:00+10:00")),
        ("23:30", Millis(3_600_000), Some("00:30")),
        ("01:00:00.5", Millis(-7_200_000), Some("23:00:00.5")),
        ("10:00", Months(1), None),
        ("9999", Months(12), None),
        ("0001-01-01", Millis(-DAY), None),
        ("2016-01-01", Millis(i64::MAX), None),
        ("2016-01-01", Months(i64::MIN), None),
    ] {
        let moved = Temporal::parse(text).expect(text).plus(step);
        assert_eq!(moved.map(|moved| moved.text()).as_deref(), expected, "{text} {step:?}");
    }
}

#[test]
fn boundaries_are_the_ends_of_what_was_left_open() {
    for (text, is_high, digits, expected) in [
        ("2014", false, Some(6), Some("2014-01")),
        ("2014", true, None, Some("2014-12-31")),
        ("2016-02", true, None, Some("2016-02-29")),
        ("2014-01-01T08", false, None, Some("2014-01-01T08:00:00.000+14:00")),
        ("2014-01-01T08", true, None, Some("2014-01-01T08:59:59.999-12:00")),
        ("2014-01-01T08:05-05:00", true, Some(17), Some("2014-01-01T08:05:59.999-05:00")),
        ("2014-01-01T08", false, Some(8), Some("2014-01-01")),
        ("2014-01-01T08:00:00.5Z", true, Some(17), Some("2014-01-01T08:00:00.500Z")),
        ("10:30", false, Some(9), Some("10:30:00.000")),
        ("10:30", true, None, Some("10:30:59.999")),
        ("10:30", true, Some(2), Some("10")),
        ("2014", true, Some(5), None),
        ("2014", true, Some(10), None),
        ("10:30", true, Some(17), None),
        ("10:30", true, Some(-4), None),
    ] {
        let end = Temporal::parse(text).expect(text).boundary(is_high, digits);
        assert_eq!(end.map(|end| end.text()).as_deref(), expected, "{text} {is_high} {digits:?}");
    }
    for (text, digits) in
        [("2014", 4), ("2014-01-05T10:30:00.000", 17), ("10:30", 4), ("10:30:00.000", 9), ("10", 2)]
    {
        assert_eq!(Temporal::parse(text).expect(text).digits(), digits, "{text}");
    }
}

#[test]
fn moments_print_as_they_are_read() {
    let now = Temporal::from_micros(1_700_000_000_123_456);
    assert_eq!(now.text(), "2023-11-14T22:13:20.123Z");
    assert_eq!(now.to_date().map(|date| date.text()).as_deref(), Some("2023-11-14"));
    assert_eq!(now.to_time().map(|time| time.text()).as_deref(), Some("22:13:20.123"));
    assert_eq!(Temporal::from_micros(-1).text(), "1969-12-31T23:59:59.999Z");
}
