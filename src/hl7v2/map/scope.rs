//! Which segments a rule sees: the groups of a message, and the segment at hand.
//!
//! Groups are found by anchors: a segment of `start` begins one. A rule sees the segment that it is
//! about and those that hang on it, then those of its group, then those of the whole message; but a
//! segment that belongs to groups is never taken from another group.

use std::ops::Range;

use crate::hl7v2::er7::{Index, Message, Path, Segment, SegmentName};

/// Segments that hang on the one before them.
const HANGING: [&str; 12] =
    ["NTE", "PRT", "ROL", "TCD", "SID", "CTD", "RXR", "RXC", "CDO", "PV2", "PD1", "ARV"];

/// Segments that belong to the one they hang on alone, and are never looked for further out.
const OWN: [&str; 4] = ["NTE", "PRT", "ROL", "CTD"];

/// A group of a map.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// The segments that begin one, in their order: `["ORC", "OBR"]`.
    pub start: Vec<String>,
    /// The segments that belong to one; empty: all until the next one begins.
    pub has: Vec<String>,
    /// The group that is inside this one where this one stands first; empty: none. The orders of a specimen come
    /// behind its SPM in some messages, and have it among their own segments in others.
    pub leads: String,
}

impl Group {
    fn owns(&self, name: &str) -> bool {
        self.start.iter().chain(&self.has).any(|own| own == name)
    }

    /// Whether one can have a segment of this name that begins none.
    pub(super) fn may_have(&self, name: &str) -> bool {
        self.has.is_empty() || self.owns(name) || is_local(name)
    }

    /// The ranges of this group's instances among `within`.
    pub fn find(&self, message: &Message<'_>, within: &Range<usize>) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        // Which segments of `start` the open one has already: those up to this place.
        let mut reached: Option<usize> = None;
        for at in within.clone() {
            let Some(segment) = message.segment_at(at) else { break };
            let name = segment.name();
            let name = name.as_str();
            let place = self.start.iter().position(|own| own == name);
            match (place, reached) {
                (Some(place), Some(before)) if place > before => {
                    reached = Some(place);
                    extend(&mut found, at);
                }
                (Some(place), _) => {
                    reached = Some(place);
                    found.push(at..at + 1);
                }
                (None, Some(_)) if self.may_have(name) => {
                    // Something between ORC and OBR does not part them.
                    extend(&mut found, at);
                }
                (None, _) => reached = None,
            }
        }
        found
    }
}

/// The parts of `within` that each have one segment at their head that leads all groups called `name` behind it.
/// None where such a group stands before the first of these segments, which are the groups' own then.
pub(super) fn led(
    groups: &[Group],
    name: &str,
    message: &Message<'_>,
    within: &Range<usize>,
) -> Vec<Range<usize>> {
    let leader = groups.iter().find(|group| group.leads == name);
    let inner = groups.iter().find(|group| group.name == name);
    let Some((leader, inner)) = leader.zip(inner) else { return Vec::new() };
    let begins = |group: &Group, at: usize| {
        let segment = message.segment_at(at);
        segment.is_some_and(|it| group.start.iter().any(|own| own == it.name().as_str()))
    };
    let heads: Vec<_> = within.clone().filter(|at| begins(leader, *at)).collect();
    let first = within.clone().find(|at| begins(inner, *at));
    if first.is_none_or(|first| heads.first().is_none_or(|head| first < *head)) {
        return Vec::new();
    }
    let ends = heads.iter().skip(1).copied().chain([within.end]);
    heads.iter().copied().zip(ends).map(|(start, end)| start..end).collect()
}

/// The groups called `name` in `within`, each with the segment that leads it.
pub(super) fn groups_in(
    groups: &[Group],
    name: &str,
    message: &Message<'_>,
    within: &Range<usize>,
) -> Vec<(Range<usize>, Option<usize>)> {
    let Some(group) = groups.iter().find(|group| group.name == name) else { return Vec::new() };
    let parts = led(groups, name, message, within);
    if parts.is_empty() {
        return group.find(message, within).into_iter().map(|range| (range, None)).collect();
    }
    let inside = |part: &Range<usize>| {
        let start = part.start;
        group.find(message, part).into_iter().map(move |range| (range, Some(start)))
    };
    parts.iter().flat_map(inside).collect()
}

/// Of the parts that a segment leads what stands before the first of the groups in them.
pub(super) fn heads(
    groups: &[Group],
    message: &Message<'_>,
    within: &Range<usize>,
) -> Vec<Range<usize>> {
    let names = groups.iter().map(|group| group.leads.as_str()).filter(|name| !name.is_empty());
    let mut out = Vec::new();
    for name in names {
        let inner = groups.iter().find(|group| group.name == name);
        for part in led(groups, name, message, within) {
            let first = inner.and_then(|inner| inner.find(message, &part).into_iter().next());
            out.push(part.start..first.map_or(part.end, |first| first.start));
        }
    }
    out
}

fn extend(found: &mut [Range<usize>], at: usize) {
    if let Some(last) = found.last_mut() {
        last.end = at + 1;
    }
}

fn is_local(name: &str) -> bool {
    name.starts_with('Z') || HANGING.contains(&name)
}

/// What a rule sees.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scope {
    /// From the smallest to the largest: the segment with what hangs on it, its groups, all.
    pub ranges: Vec<Range<usize>>,
    /// Which of the ranges are those of groups: their own segments are looked for no further out.
    pub is_group: Vec<bool>,
    /// Which one of its kind it is, beginning at 1.
    pub number: usize,
    /// The field whose repetition is at hand, and which one.
    pub repetition: Option<(Path, u16)>,
    /// Whether that repetition stands for the whole field.
    pub is_alone: bool,
    /// The segment that leads the group at hand and others: the specimen of an order.
    pub lead: Option<usize>,
}

impl Scope {
    /// The scope of a whole message, or of one patient in it, with what stands before all of them.
    pub(crate) fn whole(range: Range<usize>, head: Range<usize>) -> Self {
        let (ranges, is_group) = (vec![range, head], vec![false, false]);
        Self { ranges, is_group, number: 1, repetition: None, is_alone: false, lead: None }
    }

    /// A group within this scope.
    pub(crate) fn group(&self, range: Range<usize>, number: usize) -> Self {
        let mut inner = self.clone();
        inner.ranges.insert(0, range);
        inner.is_group.insert(0, true);
        inner.number = number;
        inner
    }

    /// The same with a segment that leads it, if there is one.
    pub(crate) fn led_by(self, lead: Option<usize>) -> Self {
        Self { lead: lead.or(self.lead), ..self }
    }

    /// The smallest range.
    pub(crate) fn inner(&self) -> Range<usize> {
        self.ranges.first().cloned().unwrap_or(0..0)
    }

    /// One segment within this scope, with what hangs on it.
    pub(crate) fn segment(&self, at: usize, number: usize, message: &Message<'_>) -> Self {
        let holds = |range: &&Range<usize>| range.contains(&at);
        let end = self.ranges.iter().find(holds).map_or(at + 1, |range| range.end);
        let hangs = |next: &usize| {
            let is_hanging =
                message.segment_at(*next).is_some_and(|it| HANGING.contains(&it.name().as_str()));
            is_hanging || goes_on(*next, message)
        };
        let count = (at + 1..end).take_while(hangs).count();
        let mut inner = self.clone();
        inner.ranges.insert(0, at..at + 1 + count);
        inner.is_group.insert(0, false);
        inner.number = number;
        inner
    }

    /// One repetition of a field within this scope.
    pub(crate) fn repeat(&self, path: Path, at: u16) -> Self {
        Self { repetition: Some((path, at)), number: usize::from(at), ..self.clone() }
    }

    /// The same where it stands for the whole field.
    pub(crate) fn alone(&self, path: Path, at: u16) -> Self {
        Self { is_alone: true, ..self.repeat(path, at) }
    }

    /// The segments of this name within the smallest range.
    pub(crate) fn inside<'m>(&self, name: &str, message: &'m Message<'m>) -> Vec<Segment<'m>> {
        named(self.inner(), name, message)
    }

    /// The segments of this name that a path sees: those of the smallest range that has any.
    pub(crate) fn see<'m>(
        &self,
        name: SegmentName,
        groups: &[Group],
        message: &'m Message<'m>,
    ) -> Vec<Segment<'m>> {
        let lead = self.lead.and_then(|at| message.segment_at(at));
        if let Some(lead) = lead.filter(|lead| lead.is(name.as_str())) {
            return vec![lead];
        }
        let is_of_group = groups.iter().any(|group| group.owns(name.as_str()));
        for (range, is_group) in self.ranges.iter().zip(&self.is_group) {
            let found = named(range.clone(), name.as_str(), message);
            if !found.is_empty() {
                return found;
            }
            if *is_group && is_of_group {
                return Vec::new();
            }
        }
        Vec::new()
    }

    /// The segments of this name that a rule repeats over: those of the smallest range that has any,
    /// or of the smallest alone.
    pub(crate) fn repeats<'m>(
        &self,
        name: SegmentName,
        groups: &[Group],
        message: &'m Message<'m>,
    ) -> Vec<Segment<'m>> {
        if OWN.contains(&name.as_str()) {
            return self.inside(name.as_str(), message);
        }
        self.see(name, groups, message)
    }

    /// Whether a segment of this name stands before the one at hand, in the range around it.
    pub(crate) fn is_after(&self, name: &str, message: &Message<'_>) -> bool {
        let at = self.inner().start;
        let around = self.ranges.get(1).cloned().unwrap_or_else(|| self.inner());
        (around.start..at).any(|at| message.segment_at(at).is_some_and(|it| it.is(name)))
    }
}

/// Whether the segment at this place goes on with the text of the OBX before it: both are lines of text, blank ones
/// too, without numbers of their own, and of the same code and sub-id.
pub(crate) fn goes_on(at: usize, message: &Message<'_>) -> bool {
    let pair = at.checked_sub(1).and_then(|before| message.segment_at(before));
    let Some((before, now)) = pair.zip(message.segment_at(at)) else { return false };
    let is_text = |one: &Segment<'_>| {
        one.is("OBX")
            && matches!(&*one.field(2).text(), "TX" | "FT")
            && !one.field(5).is_null()
            && !one.field(21).is_valued()
    };
    let code = |one: &Segment<'_>, part: u16| {
        one.field(3).repetition(1).component(part).text().into_owned()
    };
    let sub_id = |one: &Segment<'_>| one.field(4).text().into_owned();
    is_text(&before)
        && is_text(&now)
        && now.field(3).is_valued()
        && (1..=3).all(|part| part == 2 || code(&before, part) == code(&now, part))
        && sub_id(&before) == sub_id(&now)
        && before.field(11).text() == now.field(11).text()
}

/// Whether a path asks for all lines of a text, of which the blank ones are lines too.
pub(crate) fn has_lines(path: &Path, segment: &Segment<'_>) -> bool {
    let is_all_of_value = path.field == 5 && path.component == 0 && path.repetition == Index::All;
    is_all_of_value && segment.is("OBX") && matches!(&*segment.field(2).text(), "FT" | "ST" | "TX")
}

/// Whether the note at this place belongs to a result or a specimen, not to the group itself.
pub(crate) fn owner(at: usize, message: &Message<'_>) -> bool {
    let before = (0..at).rev().filter_map(|at| message.segment_at(at));
    let mut before = before.skip_while(|it| HANGING.contains(&it.name().as_str()));
    before.next().is_some_and(|it| it.is("OBX") || it.is("SPM"))
}

fn named<'m>(range: Range<usize>, name: &str, message: &'m Message<'m>) -> Vec<Segment<'m>> {
    range.filter_map(|at| message.segment_at(at)).filter(|segment| segment.is(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hl7v2::charset::Charset;
    use crate::hl7v2::er7::Reading;

    fn order() -> Group {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Group {
            name: "order".to_owned(),
            start: words(&["ORC", "OBR"]),
            has: words(&["OBX", "SPM"]),
            ..Group::default()
        }
    }

    fn read(segments: &str) -> String {
        let lines = segments.split(' ').map(|name| format!("{name}|^~\\&|"));
        lines.collect::<Vec<_>>().join("\r")
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "one group is one range")]
    fn a_group_begins_at_its_anchors_whatever_is_missing() {
        let utf8 = Charset::named("UTF-8").unwrap();
        for (segments, expected) in [
            ("MSH PID ORC OBR OBX ORC OBR OBX", vec![2..5, 5..8]),
            ("MSH PID OBR OBX OBR OBX NTE", vec![2..4, 4..7]),
            ("MSH PID ORC NTE OBR OBX ZZZ FT1", vec![2..7]),
            ("MSH PID ORC ORC", vec![2..3, 3..4]),
            ("MSH PID", vec![]),
        ] {
            let text = read(segments);
            let message = Message::parse(&text, utf8, Reading::Lenient).unwrap();
            let all = 0..message.segments().len();
            assert_eq!(order().find(&message, &all), expected, "{segments}");
        }
    }

    #[test]
    fn orders_behind_a_specimen_are_led_by_it_and_those_before_have_their_own() {
        let utf8 = Charset::named("UTF-8").unwrap();
        let specimen = Group {
            name: "specimen".to_owned(),
            start: vec!["SPM".to_owned()],
            leads: "order".to_owned(),
            ..Group::default()
        };
        let groups = [order(), specimen];
        for (segments, expected) in [
            (
                "MSH PID SPM OBX ORC OBR OBX ORC OBR SPM SAC OBR OBX",
                vec![(4..7, Some(2)), (7..9, Some(2)), (11..13, Some(9))],
            ),
            ("MSH SPM SPM OBR", vec![(3..4, Some(2))]),
            ("MSH PID ORC OBR SPM ORC OBR SPM", vec![(2..5, None), (5..8, None)]),
            ("MSH PID ORC OBR", vec![(2..4, None)]),
            ("MSH PID SPM", vec![]),
        ] {
            let text = read(segments);
            let message = Message::parse(&text, utf8, Reading::Lenient).unwrap();
            let all = 0..message.segments().len();
            assert_eq!(groups_in(&groups, "order", &message, &all), expected, "{segments}");
        }
        let text = read("MSH PID SPM OBX ORC OBR OBX SPM OBX OBX");
        let message = Message::parse(&text, utf8, Reading::Lenient).unwrap();
        assert_eq!(heads(&groups, &message, &(0..10)), [2..4, 7..10]);
    }
}
