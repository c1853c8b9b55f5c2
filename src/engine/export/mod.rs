//! `$export`: kick-off, how far it is, its files, its end before its time; and the work itself.
//!
//! | file | does |
//! |---|---|
//! | `asked` | what the parameters say, and what is kept of it |
//! | `work` | one export from its claim to its end |
//!
//! It is for clients that act by themselves, by scopes of the system over whole types (`access::need`). What
//! is exported of a type is what a search by the same client would find; the definitions of the packs are
//! not among it. Who asks for the state or for a file is judged anew, by what it is granted then, and
//! exports of others are not there. Everything is on record: the kick-off with the Group, each look, each
//! file that is taken, with its bytes and with whose data are in it, the end, however it comes about.
//!
//! Choices where the guide leaves one: a Group's members are those of the moment of the export; data of who
//! joined since `_since` come only as far as they changed since then; for patients, who and what their
//! resources refer to comes along (practitioners, organizations, places, medications), and each Provenance.
//!
//! Spec: <https://hl7.org/fhir/uv/bulkdata/export.html>, rest 6.54 to 6.69

mod asked;
mod work;

use std::time::Duration;

use uuid::Uuid;

use crate::access::interaction::Kind;
use crate::access::{Caller, Interaction, Permit};
use crate::error::{Error, root_cause};
use crate::fhir::{Instant, ResourceType};
use crate::store::{ExportFile, ExportKind, ExportLevel, ExportState, NewExport};

use super::Engine;

pub use crate::store::{ExportJob, FileReader};
pub use asked::ExportParameter;
pub use work::Standing;

use asked::Asked;

/// How often at most a client is told how far an export is, in milliseconds.
const BETWEEN_LOOKS: i64 = 1_000;

/// The bounds of exports.
#[derive(Clone, Copy, Debug)]
pub struct ExportRules {
    /// How many of one client may be under way.
    pub most_open: u32,
    /// Most lines of a file.
    pub lines_of_file: u32,
    /// How long one export may take.
    pub longest: Duration,
    /// How long files are kept, in milliseconds.
    pub kept: i64,
}

/// What an export is about, as its path says.
pub type ExportOf = ExportLevel;

/// How far an export is.
#[derive(Clone, Debug)]
pub enum ExportStatus {
    /// The files are there.
    Completed(Manifest),
    /// There will be none; why.
    Failed(String),
    /// It goes on.
    Running {
        /// How many lines are written.
        lines: u64,
        /// For how long it has been asked for, in seconds.
        seconds: u64,
    },
}

/// What a client is told of a completed export.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// What no exported resource is newer than.
    pub transaction_time: Instant,
    /// The address that was asked.
    pub request: String,
    /// Until when the files are there.
    pub expires: Instant,
    /// Whether a token is needed for the files.
    pub requires_access_token: bool,
    /// Files of resources.
    pub output: Vec<FileEntry>,
    /// Files of Bundles that delete.
    pub deleted: Vec<FileEntry>,
    /// Files of OperationOutcomes.
    pub error: Vec<FileEntry>,
}

/// A file.
#[derive(Clone, Copy, Debug)]
pub struct FileEntry {
    /// Its number in the export.
    pub number: i32,
    /// The type of its lines.
    pub of: ResourceType,
    /// How many there are.
    pub count: u64,
}

impl Engine {
    /// Asks for an export; `request` is the address that was asked. Its id.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for what is not granted; [`Error::Invalid`] and [`Error::NotSupported`] for
    /// parameters; [`Error::NotFound`] and [`Error::Deleted`] of the Group; [`Error::Throttled`] when
    /// enough exports are under way.
    pub async fn export(
        &self,
        of: &ExportOf,
        (parameters, is_strict): (&[ExportParameter], bool),
        request: &str,
        caller: &Caller,
    ) -> Result<Uuid, Error> {
        let interaction = interaction(of);
        let asked = match Asked::read(of, parameters, is_strict, &self.settings.base) {
            Ok(asked) => asked,
            Err(error) => return self.gate.denied(interaction, caller, error).await,
        };
        let id = random_id(self.ids.secret());
        let ask = async |permit: &Permit<'_>| {
            let types = asked.types(&self.spec, permit)?;
            for (of, text) in &asked.filters {
                if !types.contains(of) {
                    return Err(asked::fault(format!("_typeFilter: {of} is not exported")));
                }
                self.export_filter(*of, text, permit).await?;
            }
            let grant = caller.principal.grant();
            let new = NewExport {
                id,
                client: grant.map(|grant| grant.client.clone()),
                token: grant.map(|grant| grant.token),
                scopes: grant.map(|grant| grant.scopes.to_string()).unwrap_or_default(),
                request: request.to_owned(),
                asked: asked.to_json(),
                needs: asked.needs(&types),
                types,
                now: self.clock.now(),
            };
            let most = i64::from(self.settings.exports.most_open);
            let ExportLevel::Group(id) = of else {
                return self.store.add_export(&new, most, permit).await;
            };
            let reading = permit.derive(Kind::Read, ResourceType::GROUP)?;
            let group = self.store.current(id, &reading).await?.map(drop);
            let added = self.store.add_export(&new, most, permit).await?;
            let both = group.and(added).ok_or_else(|| Error::internal("it is on record"))?;
            Ok(both.map(|((), id)| id))
        };
        if let Err(error) = self.gate.run(interaction, caller, ask).await {
            // What nobody has on record is not done.
            if let Err(error) = self.store.forget_export(id).await {
                tracing::warn!(
                    error = root_cause(&error),
                    "an export that was refused may be there"
                );
            }
            return Err(error);
        }
        metrics::counter!("kiln_exports_total", "event" => "asked").increment(1);
        self.export_work.notify_one();
        Ok(id)
    }

    /// How far an export is.
    ///
    /// # Errors
    /// [`Error::NotFound`] for one that is not there or of somebody else; [`Error::Forbidden`] where a
    /// type of it is granted no more; [`Error::Throttled`] for who asks too often.
    pub async fn export_status(&self, id: Uuid, caller: &Caller) -> Result<ExportStatus, Error> {
        let now = self.clock.now();
        let earliest = now.plus_millis(-BETWEEN_LOOKS);
        let look = async |permit: &Permit<'_>| {
            let found = self.store.export_job(id, permit).await?;
            if !self.store.tell_export(id, (now, earliest), permit).await? {
                let text = "the export is asked for too often: once a second at most";
                return Err(Error::Throttled(text.to_owned()));
            }
            Ok(found)
        };
        let job = self.gate.run(Kind::ExportStatus.of_system(), caller, look).await?;
        let millis = now.as_micros().saturating_sub(job.asked_at.as_micros()) / 1_000;
        Ok(match job.state {
            ExportState::Accepted | ExportState::InProgress => ExportStatus::Running {
                lines: job.lines,
                seconds: (millis / 1_000).max(0).cast_unsigned(),
            },
            ExportState::Completed => ExportStatus::Completed(Manifest::of(job)?),
            ExportState::Failed => ExportStatus::Failed(job.failure),
        })
    }

    /// A file of a completed export.
    ///
    /// # Errors
    /// As [`Engine::export_status`].
    pub async fn export_file(
        &self,
        id: Uuid,
        number: i32,
        caller: &Caller,
    ) -> Result<FileReader, Error> {
        let find = async |permit: &Permit<'_>| self.store.export_file(id, number, permit).await;
        let file = self.gate.run(Kind::ExportFile.of_system(), caller, find).await?;
        metrics::counter!("kiln_export_bytes_total").increment(file.bytes);
        Ok(file)
    }

    /// Ends an export before its time, or removes what there is of it.
    ///
    /// # Errors
    /// As [`Engine::export_status`].
    pub async fn cancel_export(&self, id: Uuid, caller: &Caller) -> Result<(), Error> {
        let cancel = async |permit: &Permit<'_>| {
            self.store.cancel_export(id, self.clock.now(), permit).await
        };
        self.gate.run(Kind::ExportCancel.of_system(), caller, cancel).await?;
        metrics::counter!("kiln_exports_total", "event" => "cancelled").increment(1);
        Ok(())
    }
}

impl Manifest {
    fn of(job: ExportJob) -> Result<Self, Error> {
        let missing = || Error::internal("a completed export without its times");
        let entries = |kind: ExportKind| -> Vec<FileEntry> {
            let entry =
                |it: &ExportFile| FileEntry { number: it.number, of: it.of, count: it.lines };
            job.files.iter().filter(|it| it.kind == kind).map(entry).collect()
        };
        Ok(Self {
            transaction_time: job.transaction_time.ok_or_else(missing)?,
            expires: job.expires_at.ok_or_else(missing)?,
            requires_access_token: job.client.is_some(),
            output: entries(ExportKind::Output),
            deleted: entries(ExportKind::Deleted),
            error: entries(ExportKind::Error),
            request: job.request,
        })
    }
}

/// An id that nobody can guess.
fn random_id(secret: [u8; 32]) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&secret[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// An export as a step of the ledger and of the gate.
fn interaction(of: &ExportOf) -> Interaction {
    match of {
        ExportLevel::Group(_) => Kind::Export.of(ResourceType::GROUP),
        ExportLevel::Patient => Kind::Export.of(ResourceType::PATIENT),
        ExportLevel::System => Kind::Export.of_system(),
    }
}
