//! What a site has of its own: for whom it is, authorities, codes, units, zone, modes, and how its
//! messages are taken in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::hl7v2::charset::Charset;
use crate::hl7v2::dtm::Zones;
use crate::hl7v2::er7::{Escapes, Reading};
use crate::hl7v2::judge::{fits, fits_name};
use crate::hl7v2::tables::Target;
use crate::hl7v2::types::id::Authority;

/// How the entries of a list of segments change what is stored.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Mode {
    /// Each entry says by its action code what happens to it.
    ActionCode,
    /// The entries are all there is: what is stored and missing among them is ended.
    Snapshot,
    /// Each entry is added or brought up to date; none is ended.
    #[default]
    Upsert,
}

impl Mode {
    /// The mode called so in a map.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "action-code" => Self::ActionCode,
            "snapshot" => Self::Snapshot,
            "upsert" => Self::Upsert,
            _ => return None,
        })
    }

    /// What it is called in a map.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ActionCode => "action-code",
            Self::Snapshot => "snapshot",
            Self::Upsert => "upsert",
        }
    }
}

/// Who sends a message: what a profile is chosen by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sender<'a> {
    /// MSH-3.
    pub application: &'a str,
    /// MSH-4.
    pub facility: &'a str,
    /// The listener, or the way.
    pub listener: &'a str,
    /// The names in the client's certificate, with a blank between them.
    pub certificate: &'a str,
}

/// For whom a profile is: patterns in which `*` stands for anything; an empty one is not asked for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Matching {
    /// Of MSH-3, as a whole or its first component.
    pub application: String,
    /// Of MSH-4, likewise.
    pub facility: String,
    /// Of the listener.
    pub listener: String,
    /// Of one of the names in the client's certificate, whatever its case.
    pub certificate: String,
}

impl Matching {
    /// Whether it says nothing, and so is for nobody.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the profile is for this sender.
    pub fn is_for(&self, sender: &Sender<'_>) -> bool {
        let is = |pattern: &str, text: &str| pattern.is_empty() || fits_name(pattern, text);
        let (own, names) = (self.certificate.to_lowercase(), sender.certificate.to_lowercase());
        !self.is_empty()
            && is(&self.application, sender.application)
            && is(&self.facility, sender.facility)
            && is(&self.listener, sender.listener)
            && (own.is_empty() || names.split(' ').any(|name| fits(&own, name)))
    }

    /// How much it asks for: of several profiles the one that asks for most is used.
    pub fn weight(&self) -> usize {
        let all = [&self.application, &self.facility, &self.listener, &self.certificate];
        all.iter().map(|pattern| pattern.chars().filter(|c| *c != '*').count()).sum()
    }
}

/// How the messages of a site are taken in, where that is not as for all others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    /// The character set where MSH-18 names none.
    pub charset: Option<Charset>,
    /// How forgiving messages are read.
    pub reading: Option<Reading>,
    /// Whether AA waits for the effect.
    pub waits_for_effect: Option<bool>,
    /// Whether a failed message holds its lines.
    pub holds_lines: Option<bool>,
    /// Whether messages that differ in MSH-7 alone are repetitions.
    pub ignores_sent_time: Option<bool>,
    /// Whether what is not valid is left out, and the rest stored.
    pub is_partial: Option<bool>,
    /// Whether bytes that are not in the character set are replaced.
    pub replaces_undecodable: Option<bool>,
    /// Whether a control id that was used for another message is refused.
    pub refuses_reuse: Option<bool>,
    /// How many seconds a message waits for those before it, by their numbers; then it is done.
    pub gap_seconds: Option<u32>,
    /// Whether a copy of each message is kept as a document of its patient.
    pub copies: Option<bool>,
}

/// What is usual at a site and not elsewhere.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Habit {
    /// An end that data tell of (PV1-45 in A08) ends a visit: `discharge_by_data = true`.
    EndsByData,
    /// A patient that is to end and that nobody knows is made in order to end: `merge_unknown = true`.
    MakesLosing,
    /// A step that cannot follow what a visit is, such as a transfer after the discharge, is refused:
    /// `transitions = "refuse"`.
    RefusesTransitions,
    /// A value without a type is refused, not kept as a text: `refuse_untyped = true`.
    RefusesUntyped,
    /// A registration (A04) says that somebody has arrived, not that the visit is under way: `a04 = "arrived"`.
    RegistersArrivals,
    /// Each repetition of a value is a result of its own: `split_repeats = true`.
    SplitsRepeats,
    /// A patient's account stands for a visit that has no number: `visit_by_account = true`.
    VisitByAccount,
}

/// Codes of one system of a sender.
pub type Rows = BTreeMap<String, Target>;

/// A site: one sender, or several that are alike.
#[derive(Clone, Debug)]
pub struct Site {
    /// What it is called.
    pub id: String,
    /// For whom it is.
    pub matching: Matching,
    /// How its messages are taken in.
    pub wishes: Wishes,
    /// The endpoint that answers to the work on its messages go to, where that is not their own connection.
    pub answers: Option<String>,
    /// The url that local names of the site begin with, without a slash at the end.
    pub base: String,
    /// By what its times are read that have no offset.
    pub zones: Zones,
    /// Who gives identifiers, by namespace and by universal id.
    pub authorities: BTreeMap<String, Authority>,
    /// Whether an identifier of DNS names a place of the web.
    pub dns_urls: bool,
    /// Whether a comma may stand for the point of a decimal.
    pub decimal_comma: bool,
    /// What is usual there and not elsewhere.
    pub habits: BTreeSet<Habit>,
    /// Whether it lives by the rules of the United States, as all do that say nothing of it: its resources
    /// claim the profiles of US Core where they keep to them.
    pub is_us: bool,
    /// Whether it says so itself: then its numbers of social security are those of the United States.
    pub says_us: bool,
    /// Code systems by the sender's names for them.
    pub systems: BTreeMap<String, String>,
    /// Codes of the sender by code set and the sender's name for the system.
    pub codes: BTreeMap<(String, String), Rows>,
    /// Units by the sender's words for them.
    pub units: BTreeMap<String, String>,
    /// What escapes of its own stand for.
    pub escapes: Arc<Escapes>,
    /// How lists of segments change what is stored, by segment.
    pub modes: BTreeMap<String, Mode>,
}

impl Site {
    /// Whether this is usual there.
    pub fn has(&self, habit: Habit) -> bool {
        self.habits.contains(&habit)
    }
}

impl Default for Site {
    fn default() -> Self {
        Self {
            id: "default".to_owned(),
            matching: Matching::default(),
            wishes: Wishes::default(),
            answers: None,
            base: "urn:kiln".to_owned(),
            zones: Zones::utc(),
            authorities: BTreeMap::new(),
            dns_urls: false,
            decimal_comma: false,
            habits: BTreeSet::new(),
            is_us: true,
            says_us: false,
            systems: BTreeMap::new(),
            codes: BTreeMap::new(),
            units: BTreeMap::new(),
            escapes: Arc::default(),
            modes: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_for_whom_it_says_and_the_one_that_asks_for_most_is_used() {
        let of = |application: &str, facility: &str, certificate: &str| Matching {
            application: application.to_owned(),
            facility: facility.to_owned(),
            listener: String::new(),
            certificate: certificate.to_owned(),
        };
        let sender = Sender {
            application: "LABCORE1^1.2^ISO",
            facility: "STM",
            listener: "mllp",
            certificate: "Lab.example.org lis.example.org sha256:00ff",
        };
        for (matching, is_for, weight) in [
            (of("", "", ""), false, 0),
            (of("LABCORE*", "STM", ""), true, 10),
            (of("LABCORE1", "", ""), true, 8),
            (of("LABCORE1^1.2^ISO", "", ""), true, 16),
            (of("LABCORE2", "STM", ""), false, 11),
            (of("", "STX", ""), false, 3),
            (of("*", "", "lab.EXAMPLE.org"), true, 15),
            (of("*", "", "lis.example.*"), true, 12),
            (of("", "", "sha256:00FF"), true, 11),
            (of("*", "", "other"), false, 5),
        ] {
            assert_eq!(matching.is_for(&sender), is_for, "{matching:?}");
            assert_eq!(matching.weight(), weight, "{matching:?}");
        }
        let over =
            |listener: &str| Matching { listener: listener.to_owned(), ..Matching::default() };
        assert!(over("mllp").is_for(&sender) && !over("http").is_for(&sender));
    }
}
