//! What the ledger keeps of an interaction, and who writes it.

use std::future::Future;

use uuid::Uuid;

use crate::error::Error;
use crate::fhir::{Identity, Instant, LogicalId, ResourceType, VersionId};

use super::caller::Caller;
use super::interaction::Interaction;
use super::permit::Permit;

/// What a result tells, and about whom.
#[derive(Clone, Debug, Default)]
pub struct Disclosed {
    /// The one resource it is about, where there is one.
    pub subject: Option<(ResourceType, LogicalId, Option<VersionId>)>,
    /// Hashes of the patients whose data it shows or changes.
    pub patients: Vec<i64>,
    /// What else it tells, such as the versions of a history, `Patient/1/_history/2`. A search is told by
    /// its query and its patients alone, as BALP has it.
    pub entities: Vec<String>,
    /// What an entry of a Bundle asks for, by method and address, `GET` and `Patient?name=x`: the row is of that, not
    /// of the Bundle.
    pub asked: Option<(&'static str, String)>,
}

/// An interaction and what is known of whom it is about: what becomes a row beside the others of
/// its request.
pub type Attempted = (Interaction, Disclosed);

/// An interaction that got nowhere.
pub(super) fn alone(interaction: Interaction) -> Vec<Attempted> {
    vec![(interaction, Disclosed::default())]
}

/// An interaction with one resource of which no more is known than its name.
pub fn named_only(interaction: Interaction, identity: &Identity) -> Attempted {
    let subject = Some((identity.resource_type, identity.id.clone(), None));
    (interaction, Disclosed { subject, ..Disclosed::default() })
}

/// Most characters of why something failed.
const MAX_FAILURE: usize = 4_000;

/// How an interaction ended, in AuditEvent's words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// 8: a serious failure, ours.
    Failure,
    /// 4: refused or not possible as asked.
    Refused,
    /// 0
    Success,
}

impl Outcome {
    /// AuditEvent.outcome.
    pub fn number(self) -> i16 {
        match self {
            Self::Failure => 8,
            Self::Refused => 4,
            Self::Success => 0,
        }
    }

    fn of(error: &Error) -> Self {
        match error {
            Error::Entry { cause, .. } => Self::of(cause),
            Error::Busy(_)
            | Error::Internal(_)
            | Error::TimedOut(_)
            | Error::Unavailable(_)
            | Error::Unconfirmed(_) => Self::Failure,
            _ => Self::Refused,
        }
    }
}

/// One row of the ledger.
#[derive(Clone, Debug)]
pub struct LedgerRow {
    /// UUIDv7.
    pub id: Uuid,
    /// When.
    pub at: Instant,
    /// Shared by the rows of one request.
    pub group: Uuid,
    /// Who asked, by which request.
    pub caller: Caller,
    /// What was asked.
    pub interaction: Interaction,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it failed; empty on success.
    pub failure: String,
    /// What was told or changed.
    pub disclosed: Disclosed,
}

impl LedgerRow {
    /// Whether it tells of a read that was answered: the one thing whose row may reach the disk a moment
    /// later than the answer leaves, where the settings say so.
    pub fn is_of_read(&self) -> bool {
        self.outcome == Outcome::Success && self.interaction.kind.is_read()
    }

    /// Marks the row as failed for `error`.
    pub(super) fn fail(&mut self, error: &Error) {
        self.outcome = Outcome::of(error);
        // The debug form of our own failures may hold internals; the ledger keeps the class.
        // What cannot be kept in a text of the database must not keep the row out of it. What a client sent may be
        // part of it, and is kept with each entry of a Bundle.
        let kept = error.to_string();
        let kept = kept.chars().take(MAX_FAILURE);
        self.failure = kept.map(|it| if it == '\0' { '\u{fffd}' } else { it }).collect();
        if let (Error::NotFound(name), None) = (error, &self.disclosed.subject) {
            self.disclosed.subject = named(name, self.interaction);
        }
    }
}

/// The resource that was asked for and is not known to who asked: whether it is there is for the ledger
/// to tell, which knows.
fn named(
    name: &str,
    interaction: Interaction,
) -> Option<(ResourceType, LogicalId, Option<VersionId>)> {
    let mut parts = name.split('/');
    let of: ResourceType = parts.next()?.parse().ok()?;
    let id = parts.next()?.parse().ok()?;
    let version = match (parts.next(), parts.next()) {
        (Some("_history"), Some(version)) => version.parse().ok(),
        _ => None,
    };
    (interaction.resource_type == Some(of)).then_some((of, id, version))
}

/// Writes that become durable together with their ledger rows, or not at all.
pub trait UnitOfWork: Send {
    /// Makes everything durable.
    ///
    /// # Errors
    /// [`CommitError::Raced`] when a resource changed meanwhile: nothing happened, try again.
    /// [`CommitError::Failed`]: nothing happened, unless it holds [`Error::Unconfirmed`]: then
    /// `rows` are on record if everything is durable, and not if nothing is.
    fn commit(self, rows: Vec<LedgerRow>) -> impl Future<Output = Result<(), CommitError>> + Send;

    /// Holds what the writes name against what the caller may see, and against what patients deny: the last
    /// word before the commit.
    ///
    /// # Errors
    /// [`Error::Unprocessable`] where it may not see that, as if it were not there; [`Error::Forbidden`] where
    /// a patient denies that there is more of what those are.
    fn settle(&mut self, permit: &Permit<'_>) -> impl Future<Output = Result<(), Error>> + Send;

    /// Drops everything.
    fn roll_back(self) -> impl Future<Output = ()> + Send;

    /// Whether a write inside the work lost to another writer: the work is run anew.
    fn is_raced(&self) -> bool;

    /// Adds what the ledger must know of one entry, beside the main row.
    fn note(&mut self, interaction: Interaction, disclosed: Disclosed);

    /// What the writes so far tell, one for each ledger row beside the main one.
    fn disclosed(&mut self) -> Vec<Attempted>;
}

/// Why a unit of work was not committed.
#[derive(Debug)]
pub enum CommitError {
    /// It cannot be.
    Failed(Error),
    /// Another writer was faster.
    Raced,
}

/// Where units of work begin and rows without data go.
pub trait Units: Send + Sync {
    /// The writes of one interaction.
    type Unit: UnitOfWork;

    /// What an attempt at a write leaves for the next one.
    type Memory: Default + Send + Sync;

    /// Begins an empty unit of work: an attempt that knows what those before it left.
    fn begin(&self, permit: &Permit<'_>, memory: &Self::Memory) -> Self::Unit;

    /// Makes rows durable that go with no data: reads and denials.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when they cannot be written; then nothing may be disclosed.
    fn record(&self, rows: Vec<LedgerRow>) -> impl Future<Output = Result<(), Error>> + Send;
}

#[cfg(test)]
mod tests {
    use super::super::caller::RequestContext;
    use super::super::interaction::Kind;
    use super::super::principal::Principal;
    use super::*;

    #[test]
    fn a_failure_is_kept_in_a_text_that_the_database_takes() {
        let request = RequestContext {
            id: String::new(),
            method: "GET",
            path_and_query: String::new(),
            source: None,
        };
        let mut row = LedgerRow {
            id: Uuid::nil(),
            at: Instant::from_micros(0),
            group: Uuid::nil(),
            caller: Caller::new(Principal::open(), request),
            interaction: Kind::SearchType.of(ResourceType::PATIENT),
            outcome: Outcome::Success,
            failure: String::new(),
            disclosed: Disclosed::default(),
        };
        assert!(row.is_of_read());
        row.fail(&Error::NotFound("a\0b".to_owned()));
        assert!(!row.is_of_read(), "a refusal waits for the disk");
        assert!(row.disclosed.subject.is_none());
        assert_eq!(
            (row.outcome, row.failure.as_str()),
            (Outcome::Refused, "a\u{fffd}b is not known")
        );
        row.fail(&Error::Conflict("ä".repeat(2 * MAX_FAILURE)));
        assert_eq!(row.failure.chars().count(), MAX_FAILURE, "the ledger keeps the beginning");
        for (name, expected) in [
            ("Observation/b", None),
            ("Patient/b_c", None),
            ("Patient", None),
            ("Patient/b/_history/2", Some("b")),
            ("Patient/b", Some("b")),
        ] {
            row.disclosed.subject = None;
            row.fail(&Error::NotFound(name.to_owned()));
            let id = row.disclosed.subject.as_ref().map(|(_, id, _)| id.as_str());
            assert_eq!(id, expected, "{name}");
        }
    }
}
