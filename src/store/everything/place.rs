//! Where a page, or a part of one, begins: in which of the walks, behind which members of a Group, and where in
//! the walk of these.

use crate::error::Error;
use crate::fhir::LogicalId;
use crate::store::cursor::{self, Position, Seal};

use super::Members;

/// Members of a Group whose compartments are walked together: each is a walk of each type, and a page takes its
/// rows of all of them.
const TOGETHER: usize = 25;

/// Which of the walks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// The patients, or the encounter.
    Centre,
    /// What lies in the compartments.
    Compartments,
    /// What is referred to beyond.
    Beyond,
}

impl Stage {
    const ALL: [Self; 3] = [Self::Centre, Self::Compartments, Self::Beyond];

    fn next(self) -> Option<Self> {
        Self::ALL.into_iter().skip_while(|it| *it != self).nth(1)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Centre => "centre",
            Self::Compartments => "compartments",
            Self::Beyond => "beyond",
        }
    }
}

/// Where a page, or a part of one, begins.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Place {
    pub(super) stage: Stage,
    /// The last of the members whose compartments were walked before; `None`: nobody's were.
    pub(super) after: Option<LogicalId>,
    /// The place in the walk; `None`: its beginning.
    pub(super) from: Option<String>,
}

impl Place {
    pub(super) const START: Self = Self::of(Stage::Centre);

    /// The beginning of a walk.
    pub(super) const fn of(stage: Stage) -> Self {
        Self { stage, after: None, from: None }
    }

    pub(super) fn open(text: &str, seal: &Seal) -> Result<Self, Error> {
        let unknown = || cursor::unknown("operation");
        let Position { keys, .. } = seal.open(text).ok_or_else(unknown)?;
        let [Some(name), after, from] = &*keys else { return Err(unknown()) };
        let stage = Stage::ALL.into_iter().find(|stage| stage.name() == name);
        let after = after.as_deref().map(str::parse::<LogicalId>).transpose();
        Ok(Self {
            stage: stage.ok_or_else(unknown)?,
            after: after.map_err(|_| unknown())?,
            from: from.clone(),
        })
    }

    pub(super) fn close(&self, seal: &Seal) -> String {
        let after = self.after.as_ref().map(ToString::to_string);
        let keys = vec![Some(self.stage.name().to_owned()), after, self.from.clone()];
        seal.close(&Position { keys, rid: 0, is_back: false, total: None })
    }

    /// Where it goes on: `next` in the walk, else with the members who come next, else with the walk that follows.
    pub(super) fn onward(&self, next: Option<String>, members: &Members) -> Option<Self> {
        if next.is_some() {
            return Some(Self { from: next, ..self.clone() });
        }
        if let (Stage::Compartments, Some(members)) = (self.stage, members) {
            let (before, some) = together(members, self.after.as_ref());
            let is_last = before.len() + some.len() >= members.len();
            if let Some(last) = some.last().filter(|_| !is_last) {
                return Some(Self { after: Some(last.clone()), ..Self::of(self.stage) });
            }
        }
        Some(Self::of(self.stage.next()?))
    }
}

/// The members up to `after`, and those whose compartments are walked next; `members` are in order.
pub(super) fn together<'m>(
    members: &'m [LogicalId],
    after: Option<&LogicalId>,
) -> (&'m [LogicalId], &'m [LogicalId]) {
    let begin = after.map_or(0, |after| members.partition_point(|id| id <= after));
    let (before, rest) = members.split_at(begin);
    (before, rest.chunks(TOGETHER).next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::hash::Hasher;

    fn ids(count: usize) -> Vec<LogicalId> {
        (0..count).map(|number| format!("p{number:03}").parse().expect("an id")).collect()
    }

    #[test]
    fn a_place_opens_as_it_was_closed_and_what_is_no_place_does_not() {
        let seal = Seal::within(b"a", &Hasher::with_key([7; 16]));
        for stage in Stage::ALL {
            for from in [None, Some("Practitioner/a".to_owned())] {
                for after in [None, ids(1).pop()] {
                    let place = Place { stage, after, from: from.clone() };
                    assert_eq!(Place::open(&place.close(&seal), &seal).ok(), Some(place));
                }
            }
        }
        let other = |keys: Vec<Option<String>>| {
            seal.close(&Position { keys, rid: 0, is_back: false, total: None })
        };
        for text in [
            String::new(),
            "odd".to_owned(),
            other(vec![]),
            other(vec![Some("beyond".to_owned()), None]),
            other(vec![Some("beyond".to_owned()), Some("no id".to_owned()), None]),
            other(vec![Some("nowhere".to_owned()), None, None]),
            other(vec![None, None, None]),
        ] {
            assert!(matches!(Place::open(&text, &seal), Err(Error::Invalid(_))), "{text}");
        }
    }

    #[test]
    fn walks_follow_each_other_and_end() {
        let next = Stage::ALL.map(Stage::next);
        assert_eq!(next, [Some(Stage::Compartments), Some(Stage::Beyond), None]);
    }

    #[test]
    fn members_are_walked_together_each_once() {
        for count in [0, 1, TOGETHER - 1, TOGETHER, TOGETHER + 1, 3 * TOGETHER, 3 * TOGETHER + 1] {
            let all = ids(count);
            let (mut walked, mut times) = (Vec::new(), 0);
            let mut at = Some(Place::of(Stage::Compartments));
            while let Some(place) = at.filter(|place| place.stage == Stage::Compartments) {
                let (before, some) = together(&all, place.after.as_ref());
                assert_eq!(before, walked, "{count}");
                walked.extend(some.iter().cloned());
                times += 1;
                let members = Some(all.clone());
                let within = place.onward(Some("x".to_owned()), &members);
                assert_eq!(within, Some(Place { from: Some("x".to_owned()), ..place.clone() }));
                at = place.onward(None, &members);
            }
            assert_eq!((walked, times), (all.clone(), count.div_ceil(TOGETHER).max(1)), "{count}");
        }
        let all = Place::of(Stage::Compartments).onward(None, &None);
        assert_eq!(all, Some(Place::of(Stage::Beyond)));
        // Who is no member any more stands between those who are.
        let all = [ids(1), vec!["q".parse().expect("an id")]].concat();
        let (before, some) = together(&all, Some(&"p5".parse().expect("an id")));
        assert_eq!((before, some), (&all[..1], &all[1..]));
    }
}
