//! batch and transaction: `POST [base]` with a Bundle.
//!
//! [`plan`] reads the Bundle, pure; `rewrite` gives entries their new references, pure;
//! `transaction` runs all entries in one unit of work, after `conditional` has found what criteria
//! mean; `batch` runs each in its own. Both run an entry through the interaction it stands for.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#transaction>, checklist rest section 3

mod batch;
mod call;
mod conditional;
mod entry;
pub mod plan;
mod records;
mod rewrite;
mod seen;
mod shell;
mod transaction;
mod versions;

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::access::interaction::Kind;
use crate::access::{Attempted, Caller, Interaction};
use crate::clock::IdSource;
use crate::error::Error;
use crate::fhir::json::Value;
use crate::fhir::query::Query;
use crate::fhir::{Identity, IssueCode, LogicalId, ResourceType, Version, VersionId};
use crate::store::Current;
use crate::store::hl7v2::Companion;

use super::{
    Deletion, Document, Engine, HistoryPage, HistoryScope, Provenance, Searched, Wish,
    WriteOptions, Written,
};

use plan::{Entry, Unread};

pub(super) use seen::Seen;

/// The id of what an entry creates, by its place in the Bundle.
pub type NewIds = Arc<dyn Fn(usize) -> LogicalId + Send + Sync>;

/// What the entries of a Bundle may lean on beside the engine.
#[derive(Clone, Default)]
pub struct BundleOptions {
    /// Gives the CapabilityStatement as JSON, as the query of a `GET metadata` entry asks for it.
    pub capability_statement: Option<Arc<ReadStatement>>,
    /// Whether what is not understood is refused rather than ignored (`Prefer: handling`).
    pub is_strict: bool,
    /// Whether searches of a batch wait for the index of words (`Kiln-Fulltext: wait`). Those of a transaction do not:
    /// what it holds would have to end first.
    pub waits_for_words: bool,
    /// Does `$hl7v2-convert` with a Parameters resource.
    pub convert: Option<Arc<Convert>>,
    /// `Accept-Language`, for the operations of terminology.
    pub languages: Option<String>,
    /// Ids of the sender's own for what is created; one that is taken is a conflict.
    pub new_ids: Option<NewIds>,
    /// The Provenance of all that a transaction makes, or of what each entry of a batch does.
    pub provenance: Option<Provenance>,
    /// What the sender wants of the checks of what is written.
    pub wish: Wish,
    /// The message whose effect a transaction is: what is committed with it, by its results.
    pub companion: Option<Arc<MakeCompanion>>,
    /// The message whose effect a transaction is, for its record: that has this in the place of the Bundle.
    pub import: Option<Import>,
    /// Versions that the sender has read and worked with: the first try looks for none of them. Where entries have
    /// criteria, all are read in the transaction that looks by these.
    pub known: Vec<Current>,
}

/// A message, and patients whom it is about beside those of whom it writes something.
#[derive(Clone, Debug)]
pub struct Import {
    /// The message.
    pub message: Uuid,
    /// The patients.
    pub patients: Vec<LogicalId>,
}

/// What is committed with the effect of a message, by the results of its entries.
pub type MakeCompanion = dyn Fn(&[EntryResult]) -> Companion + Send + Sync;

/// A CapabilityStatement as JSON for the query of its URL.
pub type ReadStatement = dyn Fn(&Query) -> Result<Bytes, Error> + Send + Sync;

/// What `$hl7v2-convert` answers to a Parameters resource.
pub type Convert = dyn Fn(&Value<'_>) -> Result<Value<'static>, Error> + Send + Sync;

impl BundleOptions {
    fn statement(&self, query: &Query) -> Result<EntryResult, Error> {
        let missing = || Error::NotFound("metadata".to_owned());
        let statement = self.capability_statement.as_ref().ok_or_else(missing)?(query)?;
        Ok(EntryResult::CapabilityStatement(statement))
    }

    /// What comes beside the resource of an entry.
    fn of_write(&self) -> WriteOptions<'_> {
        WriteOptions { provenance: self.provenance.as_ref(), wish: self.wish }
    }

    /// The identity of what the entry at `index` creates.
    fn new_identity(&self, index: usize, of: ResourceType, ids: &dyn IdSource) -> Identity {
        let chosen = self.new_ids.as_ref().map(|new_ids| new_ids(index));
        Identity { resource_type: of, id: chosen.unwrap_or_else(|| ids.logical_id()) }
    }
}

/// How one entry ended; the http layer gives it status, headers and outcome.
#[derive(Debug)]
pub enum EntryResult {
    /// What an operation answers with.
    Answered(Value<'static>),
    /// `GET metadata`
    CapabilityStatement(Bytes),
    /// A delete, with or without criteria.
    Deleted(Deletion),
    /// A summary.
    Document(Box<Document>),
    /// It failed: only in a batch, where the others go on.
    Failed(Error),
    /// A page of history, whose it is, and the query it was asked by.
    History(HistoryPage, HistoryScope, Query),
    /// The Meta of a `$meta` operation.
    Meta(Value<'static>),
    /// If-None-Match or If-Modified-Since of a GET entry held: 304.
    NotModified(VersionId),
    /// A read or vread.
    Read(Version),
    /// A page of a search, and the query it was asked by.
    Search(Box<Searched>, Query),
    /// The same of what a patient is told of accesses.
    Told(Box<Searched>, Query),
    /// A create, update or patch.
    Written(Written),
}

/// The results, in the order of the request's entries.
#[derive(Debug)]
pub struct BundleOutcome {
    /// Whether it was a transaction: it answers with `transaction-response`.
    pub is_transaction: bool,
    /// One for each entry.
    pub entries: Vec<EntryResult>,
}

impl Engine {
    /// Runs a batch or transaction Bundle.
    ///
    /// # Errors
    /// Of a batch only when the Bundle itself is malformed. Of a transaction the error of the first
    /// entry that failed, with its place in the Bundle; nothing is stored then.
    pub async fn bundle(
        &self,
        bundle: Value<'_>,
        options: &BundleOptions,
        caller: &Caller,
    ) -> Result<BundleOutcome, Error> {
        let is_transaction = match bundle_kind(&bundle) {
            Ok(is_transaction) => is_transaction,
            Err(error) => {
                return self.gate.denied(Kind::Batch.of_system(), caller, error).await;
            }
        };
        if let Err(error) = self.validation.ready_for_bundle(&bundle).await {
            let kind = if is_transaction { Kind::Transaction } else { Kind::Batch };
            let (mut bundle, interaction) = (bundle, kind.of_system());
            let entries = plan::entries(&mut bundle, &self.settings.base, options.is_strict);
            let attempted = self.attempted(&entries, interaction);
            return self.gate.denied_with(interaction, attempted, caller, error).await;
        }
        let outcome = if is_transaction {
            // Boxed, for it is large, and whoever has a Bundle run carries it along.
            Box::pin(self.transaction(bundle, options, caller)).await?
        } else {
            self.batch(bundle, options, caller).await?
        };
        self.validation.note_all(&outcome.entries);
        Ok(outcome)
    }

    /// What goes on record of entries that do not run. Of more than a Bundle may have nothing does: its own row tells
    /// how many they are.
    fn attempted(
        &self,
        entries: &[Result<Entry<'_>, Unread>],
        bundle: Interaction,
    ) -> Vec<Attempted> {
        if self.check_size(entries.len()).is_err() {
            return Vec::new();
        }
        let one = |entry: &Result<Entry<'_>, Unread>| match entry {
            Ok(entry) => entry.action.attempted(),
            Err(unread) => unread.attempted(bundle),
        };
        entries.iter().map(one).collect()
    }

    /// The bounds on a Bundle's size.
    fn check_size(&self, entries: usize) -> Result<(), Error> {
        let most = self.settings.max_bundle_entries;
        if entries <= most {
            return Ok(());
        }
        let text = format!("the Bundle has {entries} entries; this server takes at most {most}");
        Err(Error::invalid_at(IssueCode::TooCostly, text, "Bundle.entry"))
    }
}

/// Whether a Bundle asks for a transaction (true) or a batch (false).
fn bundle_kind(bundle: &Value<'_>) -> Result<bool, Error> {
    if bundle.str_at("resourceType") != Some("Bundle") {
        let text = "only a Bundle can be sent to the base: other resources go to their type";
        return Err(Error::invalid(IssueCode::Invalid, text));
    }
    match bundle.str_at("type") {
        Some("transaction") => Ok(true),
        Some("batch") => Ok(false),
        Some(other) => {
            let text = format!(
                "a Bundle of type {other:?} cannot be processed: only batch and transaction"
            );
            Err(Error::invalid_at(IssueCode::Invalid, text, "Bundle.type"))
        }
        None => Err(Error::invalid_at(IssueCode::Required, "a Bundle needs a type", "Bundle.type")),
    }
}

/// The error as it looks from outside the entry: every finding with its place in the Bundle.
fn at_entry(error: Error, index: usize) -> Error {
    let place = |issues: Vec<crate::fhir::Issue>, prefix: &str| {
        let mut issues = issues;
        for issue in &mut issues {
            issue.expression = within(&issue.expression, prefix);
        }
        issues
    };
    let resource = format!("Bundle.entry[{index}].resource");
    match error {
        Error::Invalid(issues) => Error::Invalid(place(issues, &resource)),
        Error::Unprocessable(issues) => Error::Unprocessable(place(issues, &resource)),
        other => Error::Entry { index, cause: Box::new(other) },
    }
}

/// `Patient.name[0]` seen from the entry that holds the Patient.
fn within(expression: &str, prefix: &str) -> String {
    if expression.starts_with("Bundle.entry[") {
        return expression.to_owned();
    }
    match expression.split_once('.') {
        Some((_, rest)) => format!("{prefix}.{rest}"),
        None => prefix.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_inside_an_entry_tells_its_place_in_the_bundle() {
        let error = Error::invalid_at(IssueCode::Value, "bad", "Patient.name[0].given[1]");
        let Error::Invalid(issues) = at_entry(error, 3) else { panic!("stays invalid") };
        assert_eq!(issues[0].expression, "Bundle.entry[3].resource.name[0].given[1]");
        let Error::Entry { index, .. } = at_entry(Error::Forbidden, 2) else {
            panic!("becomes the entry's error")
        };
        assert_eq!(index, 2);
    }
}
