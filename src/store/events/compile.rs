//! Conditions as SQL over rows of the ledger.
//!
//! A row is found when one of its events may match; what only an event can tell is left to whoever
//! looks at the events. The text depends on the form of the condition alone: values are bound.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::access::interaction::Kind;
use crate::audit::balp::recorded;
use crate::audit::query::Condition;
use crate::search::request::compare::Part;
use crate::store::TENANT;
use crate::store::rows::Edge;

/// The ids from the first to the last, both among them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Bounds {
    first: Uuid,
    last: Uuid,
}

impl Bounds {
    /// Where all rows are.
    const ALL: Self = Self { first: Uuid::nil(), last: Uuid::max() };
    /// Where no row is.
    pub(super) const NOWHERE: Self = Self { first: Uuid::max(), last: Uuid::nil() };

    /// With a row, too.
    pub(super) fn with(self, row: Uuid) -> Self {
        self.around(Self { first: row, last: row })
    }

    /// Where rows for which `condition` holds can be.
    pub(super) fn of(condition: &Condition) -> Self {
        match condition {
            Condition::All(parts) => parts.iter().map(Self::of).fold(Self::ALL, |one, other| {
                Self { first: one.first.max(other.first), last: one.last.min(other.last) }
            }),
            Condition::Any(parts) => parts.iter().map(Self::of).fold(Self::NOWHERE, Self::around),
            Condition::Event(events) => {
                events.iter().fold(Self::NOWHERE, |all, (row, _)| all.with(*row))
            }
            Condition::Ids(from, to) => Self { first: *from, last: *to },
            _ => Self::ALL,
        }
    }

    fn around(self, other: Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }

    /// From a row on, it among them.
    pub(super) fn cut(&mut self, row: Uuid, is_ascending: bool) {
        if is_ascending {
            self.first = self.first.max(row);
        } else {
            self.last = self.last.min(row);
        }
    }

    /// Without the row at which they begin.
    pub(super) fn leave(&mut self, is_ascending: bool) {
        if is_ascending {
            self.first = Uuid::from_u128(self.first.as_u128().saturating_add(1));
        } else {
            self.last = Uuid::from_u128(self.last.as_u128().saturating_sub(1));
        }
    }

    /// The times between which the rows were made, with room for the moment between id and time.
    fn times(self) -> (Edge, Edge) {
        const ROOM_MS: i64 = 86_400_000;
        let low = if self.first.is_nil() {
            Edge::Past
        } else {
            Edge::At(recorded(self.first).plus_millis(-ROOM_MS))
        };
        // No id of a row is of a time that late.
        let is_open = self.last.as_u128() >> 80 > 250_000_000_000_000;
        let high =
            if is_open { Edge::Future } else { Edge::At(recorded(self.last).plus_millis(ROOM_MS)) };
        let low = if self.first.as_u128() >> 80 > 250_000_000_000_000 { Edge::Future } else { low };
        (low, high)
    }
}

/// The keys by which the index has the parties behind which persons stand.
#[derive(Debug, Default)]
pub(super) struct Parties(pub(super) BTreeMap<String, Vec<i32>>);

impl Parties {
    /// The persons that a condition names.
    pub(super) fn persons(condition: &Condition) -> Vec<&str> {
        match condition {
            Condition::All(parts) | Condition::Any(parts) => {
                parts.iter().flat_map(Self::persons).collect()
            }
            Condition::Not(part) => Self::persons(part),
            Condition::Persons(names) => names.iter().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }

    fn of(&self, persons: &[String]) -> Vec<i32> {
        let keys = persons.iter().filter_map(|person| self.0.get(person)).flatten().copied();
        keys.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// Whether a condition holds for rows of some patients alone, or of parties beside them. Rows of parties alone
/// are in an index in the order of time.
pub(super) fn names_patients(condition: &Condition) -> bool {
    match condition {
        Condition::All(parts) => parts.iter().any(names_patients),
        Condition::Any(parts) => {
            parts.iter().any(names_patients)
                && parts.iter().all(|part| names_patients(part) || names_parties(part))
        }
        Condition::Patients(_) => true,
        _ => false,
    }
}

/// Whether a condition holds for rows of some parties alone.
fn names_parties(condition: &Condition) -> bool {
    match condition {
        Condition::Actor(_) | Condition::Persons(_) => true,
        Condition::All(parts) => parts.iter().any(names_parties),
        Condition::Any(parts) => parts.iter().all(names_parties),
        _ => false,
    }
}

/// Within the bounds of a [`Where`], as an index by a function of ids has them.
pub(super) fn spans(function: &str) -> String {
    format!("{function}(id) >= {function}($2) AND {function}(id) <= {function}($3)")
}

/// A WHERE with its values.
pub(super) struct Where<'p> {
    /// The condition.
    pub(super) text: String,
    values: Vec<Box<dyn ToSql + Sync + Send>>,
    parties: &'p Parties,
}

impl<'p> Where<'p> {
    /// Rows for which `condition` may hold, within `bounds`, by the indexes of time; `parties` are those of all its
    /// persons.
    pub(super) fn of(condition: &Condition, bounds: Bounds, parties: &'p Parties) -> Self {
        let mut found = Self::within(bounds, parties);
        let condition = found.all(&[condition]);
        found.text = format!("{} AND {}{condition}", spans("kiln_time"), found.text);
        found
    }

    /// Rows within `bounds`, by other indexes: to ask each row for its span costs more than the row.
    pub(super) fn within(bounds: Bounds, parties: &'p Parties) -> Self {
        let mut found = Self { text: String::new(), values: Vec::new(), parties };
        let (low, high) = bounds.times();
        found.value(TENANT);
        found.value(bounds.first);
        found.value(bounds.last);
        found.value(low);
        found.value(high);
        found.text.push_str("tid = $1 AND id >= $2 AND id <= $3 AND at >= $4 AND at <= $5");
        found
    }

    /// What follows the text for rows for which all of `conditions` may hold, too.
    pub(super) fn all(&mut self, conditions: &[&Condition]) -> String {
        let texts = conditions.iter().map(|part| format!(" AND {}", self.compile(part, false).0));
        texts.collect()
    }

    /// The values in the order of the parameters.
    pub(super) fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect()
    }

    /// Binds a value; how the text names it.
    pub(super) fn value(&mut self, value: impl ToSql + Sync + Send + 'static) -> String {
        self.values.push(Box::new(value));
        format!("${}", self.values.len())
    }

    /// The condition, and whether it holds of exactly the rows whose events match. What `is_negated` can
    /// use no index and is told exactly where it can be: else nothing could be left out by it.
    fn compile(&mut self, condition: &Condition, is_negated: bool) -> (String, bool) {
        match condition {
            Condition::All(parts) => self.join(parts, " AND ", "true", is_negated),
            Condition::Any(parts) => self.join(parts, " OR ", "false", is_negated),
            Condition::Not(part) => {
                let before = self.values.len();
                let (text, is_exact) = self.compile(part, true);
                if is_exact {
                    return (format!("({text}) IS NOT TRUE"), true);
                }
                self.values.truncate(before);
                ("true".to_owned(), false)
            }
            Condition::Event(events) => {
                let rows: Vec<Uuid> = events.iter().map(|(row, _)| *row).collect();
                (format!("id = ANY({})", self.value(rows)), false)
            }
            // What the index has of a party is a hash of 32 bits: another party may have the same.
            Condition::Actor(names) if is_negated => {
                (format!("actor = ANY({})", self.value(names.clone())), true)
            }
            Condition::Actor(names) => {
                (self.actors(names.iter().map(|name| actor_key(name)).collect()), false)
            }
            // Who stands behind a party is no column of its rows, so no index could find them by it.
            Condition::Persons(persons) if !is_negated => {
                let keys = self.parties.of(persons);
                (if keys.is_empty() { "false".to_owned() } else { self.actors(keys) }, false)
            }
            // Who names several organizations names none: that the rows tell.
            Condition::For(names) => {
                let (kind, names) = (Kind::ConsentDecision.number(), self.value(names.clone()));
                (format!("(interaction = {kind} AND entities && {names}::text[])"), false)
            }
            Condition::Patients(hashes) => {
                let hashes = self.value(hashes.clone());
                let text = format!(
                    "(patient = ANY({hashes}::bigint[]) OR patients && {hashes}::bigint[])"
                );
                (text, false)
            }
            Condition::Name { part: Part::Whole, text, is_exact: true } => {
                self.compile(&Condition::Actor(vec![format!("user:{text}")]), is_negated)
            }
            // Names are compared folded, which the database cannot do: it finds all users.
            Condition::Name { part, text, .. } => {
                let is_any = text.is_empty() && *part != Part::Whole;
                ("actor LIKE 'user:%'".to_owned(), is_any)
            }
            Condition::Names(of, id, version) => {
                let name = self.value(format!("{of}/{id}"));
                let rest = version.map_or("%".to_owned(), |version| version.to_string());
                let rest = self.value(rest);
                let text = format!(
                    "EXISTS (SELECT FROM unnest(entities) e WHERE e = {name} \
                     OR e LIKE {name}::text || '/_history/' || {rest}::text)"
                );
                (text, false)
            }
            Condition::NamesOf(None) => ("cardinality(entities) > 0".to_owned(), false),
            // Addresses are compared folded, which the database cannot do.
            Condition::Source { .. } => ("true".to_owned(), false),
            plain => (self.plain(plain), true),
        }
    }

    /// Conditions that rows answer by a column.
    fn plain(&mut self, condition: &Condition) -> String {
        match condition {
            Condition::Client(ids) => format!("client = ANY({})", self.value(ids.clone())),
            Condition::HasPatient => "cardinality(pats) > 0".to_owned(),
            Condition::HasRequest => "request_id <> ''".to_owned(),
            Condition::HasSubject => "(logical_id IS NOT NULL AND rt IS NOT NULL)".to_owned(),
            Condition::HasToken => "token IS NOT NULL".to_owned(),
            Condition::Ids(from, to) => {
                format!("(id >= {} AND id < {})", self.value(*from), self.value(*to))
            }
            Condition::Kinds(kinds) => {
                let numbers: Vec<i16> = kinds.iter().map(|kind| kind.number()).collect();
                format!("interaction = ANY({})", self.value(numbers))
            }
            Condition::NamesOf(Some(of)) => {
                let begins = self.value(format!("{of}/%"));
                format!("EXISTS (SELECT FROM unnest(entities) e WHERE e LIKE {begins})")
            }
            Condition::Outcomes(numbers) => {
                format!("outcome = ANY({})", self.value(numbers.clone()))
            }
            Condition::PersonOf(of) => format!("person LIKE {}", self.value(format!("{of}/%"))),
            Condition::Persons(persons) => match &persons[..] {
                [person] => format!("person = {}", self.value(person.clone())),
                _ => format!("person = ANY({})", self.value(persons.clone())),
            },
            Condition::Purposes(codes) => format!("purpose = ANY({})", self.value(codes.clone())),
            Condition::Requests(ids) => format!("request_id = ANY({})", self.value(ids.clone())),
            Condition::Subject(of, id, version) => {
                let (of, id) = (self.value(of.code()), self.value(id.clone()));
                let version = version.map(|version| format!(" AND vid = {}", self.value(version)));
                format!("(rt = {of} AND logical_id = {id}{})", version.unwrap_or_default())
            }
            Condition::SubjectOf(of) => {
                format!("(rt = {} AND logical_id IS NOT NULL)", self.value(of.code()))
            }
            Condition::Token(token) => format!("token = {}", self.value(token.clone())),
            Condition::Actor(_)
            | Condition::All(_)
            | Condition::Any(_)
            | Condition::Event(_)
            | Condition::For(_)
            | Condition::Name { .. }
            | Condition::Names(..)
            | Condition::NamesOf(None)
            | Condition::Not(_)
            | Condition::Patients(_)
            | Condition::Source { .. } => "true".to_owned(),
        }
    }

    /// Of one party the index has the order, too.
    fn actors(&mut self, keys: Vec<i32>) -> String {
        match &keys[..] {
            [key] => format!("actor_key = {}", self.value(*key)),
            _ => format!("actor_key = ANY({})", self.value(keys)),
        }
    }

    fn join(
        &mut self,
        parts: &[Condition],
        with: &str,
        of_none: &str,
        is_negated: bool,
    ) -> (String, bool) {
        if parts.is_empty() {
            return (of_none.to_owned(), true);
        }
        let parts: Vec<_> = parts.iter().map(|part| self.compile(part, is_negated)).collect();
        let is_exact = parts.iter().all(|(_, is_exact)| *is_exact);
        let texts: Vec<_> = parts.into_iter().map(|(text, _)| text).collect();
        (format!("({})", texts.join(with)), is_exact)
    }
}

/// What the ledger's index has of a party: the first 32 bits of SHA-256 (migration 70, `kiln_actor`).
fn actor_key(actor: &str) -> i32 {
    let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(actor));
    i32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patients_are_named_where_nothing_else_may_hold_instead() {
        let (patient, person) =
            (Condition::Patients(vec![1]), Condition::Persons(vec!["Patient/a".to_owned()]));
        let other = Condition::Outcomes(vec![0]);
        let of_patient = Condition::PersonOf(crate::fhir::ResourceType::PATIENT);
        let user = Condition::All(vec![Condition::Actor(vec!["user:a".to_owned()]), of_patient]);
        for (condition, expected) in [
            (Condition::Any(vec![patient.clone(), person.clone()]), true),
            (Condition::Any(vec![person.clone()]), false),
            (person, false),
            (Condition::All(vec![other.clone(), patient.clone()]), true),
            (Condition::Any(vec![other.clone(), patient.clone()]), false),
            (Condition::All(vec![other]), false),
            (Condition::Any(vec![patient.clone(), Condition::never()]), true),
            (Condition::Any(vec![patient.clone(), user.clone()]), true),
            (user, false),
            (Condition::Not(Box::new(patient)), false),
            (Condition::always(), false),
            (Condition::never(), false),
        ] {
            assert_eq!(names_patients(&condition), expected, "{condition:?}");
        }
    }

    #[test]
    fn the_text_depends_on_the_form_alone_and_what_only_events_tell_is_left_open() {
        let not = |part| Condition::Not(Box::new(part));
        let rest = "tid = $1 AND id >= $2 AND id <= $3 AND at >= $4 AND at <= $5 AND ";
        let spans = "kiln_time(id) >= kiln_time($2) AND kiln_time(id) <= kiln_time($3) AND ";
        let known = |name: &str, keys: &[i32]| (name.to_owned(), keys.to_vec());
        let parties = Parties([known("Patient/a", &[7]), known("Patient/b", &[7, 8])].into());
        let persons = |names: &[&str]| {
            Condition::Persons(names.iter().map(|&name| name.to_owned()).collect())
        };
        for (condition, expected) in [
            (Condition::always(), "true"),
            (persons(&["Patient/a"]), "actor_key = $6"),
            (persons(&["Patient/a", "Patient/b"]), "actor_key = ANY($6)"),
            (persons(&["Patient/c"]), "false"),
            (not(persons(&["Patient/a"])), "(person = $6) IS NOT TRUE"),
            (Condition::never(), "false"),
            (
                Condition::Patients(vec![1, 2]),
                "(patient = ANY($6::bigint[]) OR patients && $6::bigint[])",
            ),
            (not(Condition::Patients(vec![1])), "true"),
            (Condition::Actor(vec!["user:a".to_owned()]), "actor_key = $6"),
            (not(Condition::Actor(vec!["user:a".to_owned()])), "(actor = ANY($6)) IS NOT TRUE"),
            (
                not(Condition::All(vec![
                    Condition::Actor(vec!["user:a".to_owned()]),
                    not(Condition::Kinds(vec![Kind::Token])),
                ])),
                "((actor = ANY($6) AND (interaction = ANY($7)) IS NOT TRUE)) IS NOT TRUE",
            ),
            (
                not(Condition::Any(vec![
                    Condition::Actor(vec!["user:a".to_owned()]),
                    Condition::Patients(vec![1]),
                ])),
                "true",
            ),
            (not(Condition::Token("'".to_owned())), "(token = $6) IS NOT TRUE"),
            (
                Condition::For(vec!["Organization/g".to_owned()]),
                "(interaction = 67 AND entities && $6::text[])",
            ),
            (not(Condition::For(vec!["Organization/g".to_owned()])), "true"),
            (not(Condition::NamesOf(None)), "true"),
            (
                not(Condition::NamesOf(Some(crate::fhir::ResourceType::CONSENT))),
                "(EXISTS (SELECT FROM unnest(entities) e WHERE e LIKE $6)) IS NOT TRUE",
            ),
            (
                Condition::All(vec![Condition::Outcomes(vec![4]), Condition::HasPatient]),
                "(outcome = ANY($6) AND cardinality(pats) > 0)",
            ),
        ] {
            let all = Bounds::of(&Condition::always());
            let found = Where::of(&condition, all, &parties);
            let text = found.text.strip_prefix(spans).and_then(|text| text.strip_prefix(rest));
            assert_eq!(text, Some(expected), "{condition:?}");
            let last = format!("${}", found.parameters().len());
            assert!(found.text.contains(&last), "{condition:?}");
        }
    }
}
