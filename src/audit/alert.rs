//! Rules over the record: what somebody should look at, and soon.
//!
//! A [`Watch`] is shown the rows in their order. It counts within windows of time and forgets what is
//! older, so it has as much in memory as the parties do within a window. What it is shown twice it
//! counts once. It counts from its own beginning on: a server that starts begins anew.

use std::collections::HashMap;
use std::fmt;

use crate::access::interaction::Kind;
use crate::fhir::Instant;

use super::balp::{Entry, recorded};

/// How long a party is not told of again by rules that do not count.
const MUTED_MS: i64 = 3_600_000;
/// After how many rows what is old is looked for.
const SWEEP: u32 = 4_096;
/// The purpose of use of whoever breaks the glass.
const BREAKS_GLASS: &str = "BTG";

/// More than a number within a time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limit {
    /// The number.
    pub count: usize,
    /// The time, in milliseconds.
    pub window_ms: i64,
}

/// Whether a moment is within working hours.
pub type Hours = Box<dyn Fn(Instant) -> bool + Send>;

/// The rules that count.
#[derive(Default)]
pub struct Rules {
    /// Patients whose data one party has had access to.
    pub patients: Option<Limit>,
    /// Failed logins of one user, or from one address: wrong passwords and wrong second factors.
    pub failed_logins: Option<Limit>,
    /// Whether it is told who breaks the glass.
    pub breaks_glass: bool,
    /// Working hours of users.
    pub hours: Option<Hours>,
}

impl Rules {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        let is_counted = self.patients.is_some() || self.failed_logins.is_some();
        !is_counted && !self.breaks_glass && self.hours.is_none()
    }
}

/// Which rule found something.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Rule {
    /// Somebody broke the glass.
    BreakGlass,
    /// Logins of one user failed.
    FailedLogins,
    /// Logins from one address failed.
    FailedLoginsFrom,
    /// One party, many patients.
    ManyPatients,
    /// Access at an unusual time.
    OutOfHours,
}

impl Rule {
    const ALL: [Self; 5] = [
        Self::BreakGlass,
        Self::FailedLogins,
        Self::FailedLoginsFrom,
        Self::ManyPatients,
        Self::OutOfHours,
    ];

    /// The rule with a code; `None` for one of another version of this program.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.code() == code)
    }

    /// Its code.
    pub fn code(self) -> &'static str {
        match self {
            Self::BreakGlass => "break-glass",
            Self::FailedLogins => "failed-logins",
            Self::FailedLoginsFrom => "failed-logins-from",
            Self::ManyPatients => "many-patients",
            Self::OutOfHours => "out-of-hours",
        }
    }
}

/// What a rule found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Alert {
    /// The rule.
    pub rule: Rule,
    /// The event at which it was found.
    pub event: uuid::Uuid,
    /// Of whom: a party as the ledger has it, or an address.
    pub party: String,
    /// The patient whose glass was broken, by the hash that the ledger has.
    pub patient: Option<i64>,
    /// How many patients or logins there were; 1 for rules that do not count.
    pub count: usize,
    /// Until when the same of that party is no news.
    pub until: Instant,
}

impl Alert {
    /// When.
    pub fn at(&self) -> Instant {
        recorded(self.event)
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { party, count, .. } = self;
        match self.rule {
            Rule::BreakGlass => write!(out, "{party} broke the glass"),
            Rule::FailedLogins => write!(out, "{count} logins of {party} failed"),
            Rule::FailedLoginsFrom => write!(out, "{count} logins from {party} failed"),
            Rule::ManyPatients => write!(out, "{party} had access to data of {count} patients"),
            Rule::OutOfHours => write!(out, "{party} had access to data out of hours"),
        }
    }
}

/// What counts once, and when it was last seen.
type Seen = HashMap<u128, i64>;

/// Looks at rows by rules.
pub struct Watch {
    rules: Rules,
    seen: HashMap<(Rule, String), Seen>,
    muted: HashMap<(Rule, String, Option<i64>), i64>,
    since_sweep: u32,
}

impl Watch {
    /// A watch that has seen nothing.
    pub fn new(rules: Rules) -> Self {
        Self { rules, seen: HashMap::new(), muted: HashMap::new(), since_sweep: 0 }
    }

    /// What the rules find at a row.
    pub fn look(&mut self, entry: &Entry) -> Vec<Alert> {
        let at = recorded(entry.id).as_micros() / 1_000;
        self.since_sweep += 1;
        if self.since_sweep >= SWEEP {
            self.sweep(at);
        }
        let mut found = Vec::new();
        // The server itself works through many patients, at any hour.
        if entry.actor.starts_with("service:") {
            return found;
        }
        if matches!(entry.kind, Kind::Login | Kind::SecondFactor) && entry.outcome != 0 {
            found.extend(self.failed_login(entry, at));
        }
        let is_access = entry.outcome == 0 && !entry.patients.is_empty();
        if is_access {
            found.extend(self.many_patients(entry, at));
        }
        let breaks = entry.kind == Kind::BreakGlass
            || (is_access && entry.purpose.as_deref() == Some(BREAKS_GLASS));
        if self.rules.breaks_glass && entry.outcome == 0 && breaks {
            // Each patient's glass is another one.
            let whose = entry.patients.first().map(|patient| patient.hash);
            found.extend(self.once((Rule::BreakGlass, whose), entry, at));
        }
        let is_late = |hours: &Hours| !hours(recorded(entry.id));
        let is_user = entry.actor.starts_with("user:");
        if is_access && is_user && self.rules.hours.as_ref().is_some_and(is_late) {
            found.extend(self.once((Rule::OutOfHours, None), entry, at));
        }
        found
    }

    fn failed_login(&mut self, entry: &Entry, at: i64) -> Vec<Alert> {
        let Some(limit) = self.rules.failed_logins else { return Vec::new() };
        let user = entry.actor.starts_with("user:").then(|| entry.actor.clone());
        let user = user.map(|user| (Rule::FailedLogins, user));
        let address = entry.source.clone().map(|address| (Rule::FailedLoginsFrom, address));
        let count =
            |(rule, party)| self.count(rule, limit, (party, entry, at), [entry.id.as_u128()]);
        user.into_iter().chain(address).filter_map(count).collect()
    }

    fn many_patients(&mut self, entry: &Entry, at: i64) -> Option<Alert> {
        let limit = self.rules.patients?;
        let patients = entry.patients.iter().map(|patient| patient.hash as u128);
        self.count(Rule::ManyPatients, limit, (entry.actor.clone(), entry, at), patients)
    }

    /// Counts `items` for a party; too many begin anew.
    fn count(
        &mut self,
        rule: Rule,
        limit: Limit,
        (party, entry, at): (String, &Entry, i64),
        items: impl IntoIterator<Item = u128>,
    ) -> Option<Alert> {
        let key = (rule, party);
        let seen = self.seen.entry(key.clone()).or_default();
        seen.extend(items.into_iter().map(|item| (item, at)));
        if seen.len() <= limit.count {
            return None;
        }
        seen.retain(|_, seen| *seen > at - limit.window_ms);
        let count = seen.len();
        if count <= limit.count {
            return None;
        }
        self.seen.remove(&key);
        let until = recorded(entry.id).plus_millis(limit.window_ms);
        Some(Alert { rule, event: entry.id, party: key.1, patient: None, count, until })
    }

    fn once(
        &mut self,
        (rule, whose): (Rule, Option<i64>),
        entry: &Entry,
        at: i64,
    ) -> Option<Alert> {
        let key = (rule, entry.actor.clone(), whose);
        if self.muted.get(&key).is_some_and(|since| at - since < MUTED_MS) {
            return None;
        }
        self.muted.insert(key, at);
        let (event, party) = (entry.id, entry.actor.clone());
        let until = recorded(event).plus_millis(MUTED_MS);
        Some(Alert { rule, event, party, patient: whose, count: 1, until })
    }

    /// Forgets what is too old to count.
    fn sweep(&mut self, at: i64) {
        self.since_sweep = 0;
        let window = |rule: Rule| match rule {
            Rule::ManyPatients => self.rules.patients.map_or(0, |limit| limit.window_ms),
            _ => self.rules.failed_logins.map_or(0, |limit| limit.window_ms),
        };
        self.seen.retain(|(rule, _), seen| {
            let oldest = at - window(*rule);
            seen.retain(|_, seen| *seen > oldest);
            !seen.is_empty()
        });
        self.muted.retain(|_, since| at - *since < MUTED_MS);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::balp::{PatientOf, first_id};
    use super::*;

    /// A second, a party, and its patients.
    type Row<'a> = (i64, &'a str, &'a [i64]);

    fn entry(number: u128, second: i64, actor: &str, patients: &[i64]) -> Entry {
        let id = first_id(Instant::from_micros(second * 1_000_000)).as_u128() | (number + 1);
        Entry {
            id: Uuid::from_u128(id),
            kind: Kind::Read,
            outcome: 0,
            resource_type: None,
            subject: None,
            actor: actor.to_owned(),
            client: None,
            token: None,
            person: None,
            purpose: None,
            source: Some("192.0.2.1".to_owned()),
            request_id: String::new(),
            method: String::new(),
            query: String::new(),
            failure: None,
            patients: patients.iter().map(|hash| PatientOf { hash: *hash, id: None }).collect(),
            entities: Vec::new(),
        }
    }

    fn found(watch: &mut Watch, rows: &[Entry]) -> Vec<(&'static str, String, usize)> {
        let alerts = rows.iter().flat_map(|row| watch.look(row));
        alerts.map(|alert| (alert.rule.code(), alert.party.clone(), alert.count)).collect()
    }

    const LIMIT: Option<Limit> = Some(Limit { count: 2, window_ms: 60_000 });

    #[test]
    fn many_patients_are_counted_within_the_window_each_once() {
        let rules = || Rules { patients: LIMIT, ..Rules::default() };
        let told = vec![("many-patients", "user:ada".to_owned(), 3)];
        let cases: [(&str, &[Row<'_>], _); 6] = [
            (
                "three",
                &[(0, "user:ada", &[1]), (1, "user:ada", &[2]), (2, "user:ada", &[3])],
                &told,
            ),
            ("one page", &[(0, "user:ada", &[1, 2, 3])], &told),
            ("the same", &[(0, "user:ada", &[1, 2]), (1, "user:ada", &[1, 2])], &vec![]),
            (
                "slow",
                &[(0, "user:ada", &[1]), (59, "user:ada", &[2]), (61, "user:ada", &[3])],
                &vec![],
            ),
            ("two users", &[(0, "user:ada", &[1, 2]), (1, "user:bob", &[3])], &vec![]),
            ("itself", &[(0, "service:import", &[1, 2, 3])], &vec![]),
        ];
        for (name, rows, expected) in cases {
            let rows: Vec<_> = rows
                .iter()
                .zip(0..)
                .map(|((second, actor, patients), number)| entry(number, *second, actor, patients))
                .collect();
            assert_eq!(&found(&mut Watch::new(rules()), &rows), expected, "{name}");
        }
        let mut watch = Watch::new(rules());
        let row = entry(0, 0, "user:ada", &[1, 2, 3]);
        assert_eq!(found(&mut watch, &[row.clone(), row.clone()]).len(), 2, "counts begin anew");
        let refused = Entry { outcome: 4, ..row };
        assert!(found(&mut watch, &[refused]).is_empty());
    }

    #[test]
    fn failed_logins_are_counted_of_a_user_and_of_an_address() {
        let mut watch = Watch::new(Rules { failed_logins: LIMIT, ..Rules::default() });
        let login = |number, second, actor| {
            let row = entry(number, second, actor, &[]);
            Entry { kind: Kind::Login, outcome: 4, ..row }
        };
        let rows = [login(0, 0, "user:ada"), login(1, 1, "user:bob"), login(2, 2, "anonymous")];
        let of_address = vec![("failed-logins-from", "192.0.2.1".to_owned(), 3)];
        assert_eq!(found(&mut watch, &rows), of_address);
        let rows = [login(3, 3, "user:ada"), login(4, 4, "user:ada")];
        assert_eq!(found(&mut watch, &rows), [("failed-logins", "user:ada".to_owned(), 3)]);
        let row = Entry { outcome: 0, ..login(5, 5, "user:ada") };
        assert!(found(&mut watch, &[row.clone(), row.clone(), row]).is_empty());
        // The same row again is the same login.
        let row = login(6, 70, "user:eve");
        assert!(found(&mut watch, &[row.clone(), row.clone(), row]).is_empty());
        // Who has the password and guesses codes fails to log in too; who ends a session does not.
        let other = |number, kind| Entry { kind, source: None, ..login(number, 200, "user:kim") };
        let rows = [other(7, Kind::Login), other(8, Kind::Logout), other(9, Kind::SecondFactor)];
        assert!(found(&mut watch, &rows).is_empty());
        let told = [("failed-logins", "user:kim".to_owned(), 3)];
        assert_eq!(found(&mut watch, &[other(10, Kind::SecondFactor)]), told);
    }

    #[test]
    fn broken_glass_and_unusual_hours_are_told_once_an_hour() {
        let hours: Hours = Box::new(|at| at.as_micros() >= 7_200_000_000);
        let rules = Rules { breaks_glass: true, hours: Some(hours), ..Rules::default() };
        let mut watch = Watch::new(rules);
        let late = |second| entry(0, second, "user:ada", &[1]);
        let rows = [late(0), late(3_599), late(3_600), late(7_200)];
        let told = ("out-of-hours", "user:ada".to_owned(), 1);
        assert_eq!(found(&mut watch, &rows), [told.clone(), told]);
        assert!(found(&mut watch, &[entry(0, 0, "client:batch", &[1])]).is_empty());
        let broken = Entry { purpose: Some("BTG".to_owned()), ..late(7_200) };
        let told = ("break-glass", "user:ada".to_owned(), 1);
        assert_eq!(found(&mut watch, &[broken.clone(), broken]), [told]);
        // Who may not is no alert, and hides none; another patient is another glass.
        let asked = |patient, outcome| Entry {
            kind: Kind::BreakGlass,
            outcome,
            ..entry(0, 7_300, "user:bob", &[patient])
        };
        let rows = [asked(2, 4), asked(2, 0), asked(2, 0), asked(3, 0)];
        let told = ("break-glass", "user:bob".to_owned(), 1);
        assert_eq!(found(&mut watch, &rows), [told.clone(), told]);
    }

    #[test]
    fn an_alert_says_until_when_the_same_is_no_news() {
        let rules = Rules { patients: LIMIT, breaks_glass: true, failed_logins: None, hours: None };
        let mut watch = Watch::new(rules);
        let row =
            Entry { purpose: Some("BTG".to_owned()), ..entry(0, 100, "user:ada", &[1, 2, 3]) };
        let told: Vec<_> = watch
            .look(&row)
            .into_iter()
            .map(|it| (it.rule, it.patient, it.until.as_micros() / 1_000_000))
            .collect();
        let expected = [(Rule::ManyPatients, None, 160), (Rule::BreakGlass, Some(1), 100 + 3_600)];
        assert_eq!(told, expected);
        for rule in Rule::ALL {
            assert_eq!(Rule::from_code(rule.code()), Some(rule));
        }
        assert_eq!(Rule::from_code("x"), None);
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let mut watch = Watch::new(Rules { patients: LIMIT, ..Rules::default() });
        for number in 0..10_000 {
            let actor = format!("user:{number}");
            watch.look(&entry(number, number as i64, &actor, &[1]));
        }
        assert!(watch.seen.len() < 6_000, "{}", watch.seen.len());
        assert!(Rules::default().is_empty());
    }
}
