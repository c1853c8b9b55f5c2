//! `kiln erase` and `kiln hold`: a patient's record is erased when one person asked for it, another one approved, and nothing
//! speaks against it.
//!
//! Persons prove who they are, each act is on record before it is done, and what is taken is taken by the owner of the tables
//! ([`Eraser`]): the role that serves has no right to any of it.
//!
//! Layer: 8. Imports `access`, `audit`, `clock`, `config`, `fhir`, `oauth`, `store`.
//!
//! Spec: security G2, K8

pub(super) mod certificate;
pub(super) mod list;
mod who;

use std::error::Error;
use std::io::Write;

use clap::Subcommand;
use serde_json::Value;

use crate::access::interaction::Kind;
use crate::access::{Actor, Disclosed};
use crate::audit::{Erased, SignedErased};
use crate::config::Config;
use crate::fhir::{Instant, LogicalId, ResourceType};
use crate::oauth::Authority;
use crate::store::maintenance::{Eraser, ErasureRequest, Whose};

use super::audit::folder::Folder;
use super::audit::{note_command, sealer};
use super::authority;
use super::database::Database;
use who::{By, Officer};

type Done = Result<(), Box<dyn Error>>;

/// How often it is looked for what was written about a patient while the record was erased.
const LOOKS: u32 = 5;

/// What can be done about erasures.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Approve a request that somebody else made: the record is erased at once, unless something speaks against it.
    #[command(after_help = "Example:\n  kiln erase approve 3 --by grace < secret.txt")]
    Approve {
        /// The number of the request.
        number: i64,
        #[command(flatten)]
        by: By,
    },
    /// Say which requests there are, and what became of them.
    #[command(after_help = "Example:\n  kiln erase list")]
    List,
    /// Ask for the erasure of a patient's record. Nothing is erased by this.
    #[command(
        after_help = "Example:\n  kiln erase request --patient p1 --reason 'request 2026-17' --by ada < secret.txt"
    )]
    Request {
        /// The id of the patient.
        #[arg(long)]
        patient: LogicalId,
        /// Why. It is kept: write nothing in it that says who the patient is.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        by: By,
    },
    /// Show a request: what speaks against it, or what was taken and what stays.
    #[command(
        after_help = "Examples:\n  kiln erase show 3\n  kiln erase show 3 --json > certificate.json"
    )]
    Show {
        /// Its number.
        number: i64,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Withdraw a request that was not approved yet.
    #[command(after_help = "Example:\n  kiln erase withdraw 3 --by ada < secret.txt")]
    Withdraw {
        /// Its number.
        number: i64,
        #[command(flatten)]
        by: By,
    },
}

/// What can be done about holds.
#[derive(Debug, Subcommand)]
pub(super) enum HoldCommand {
    /// Keep a patient's record from being erased, for a lawsuit or another reason.
    #[command(
        after_help = "Example:\n  kiln hold add --patient p1 --reason 'case 7 O 12/26' --by ada < secret.txt"
    )]
    Add {
        /// The id of the patient.
        #[arg(long)]
        patient: LogicalId,
        /// Why.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        by: By,
    },
    /// Say which holds there are and were.
    #[command(after_help = "Example:\n  kiln hold list --patient p1")]
    List {
        /// Those of this patient alone.
        #[arg(long)]
        patient: Option<LogicalId>,
    },
    /// Lift the holds on a patient's record.
    #[command(after_help = "Example:\n  kiln hold remove --patient p1 --by ada < secret.txt")]
    Remove {
        /// The id of the patient.
        #[arg(long)]
        patient: LogicalId,
        #[command(flatten)]
        by: By,
    },
}

/// What a command works with.
struct Desk<'a> {
    config: &'a Config,
    authority: &'a Authority,
    eraser: Eraser,
    folder: Folder,
    base: String,
}

/// Runs a command about erasures for who reads the standard output.
///
/// # Errors
/// Why it was not done, as a sentence.
pub(super) async fn run(command: Command, config: &Config) -> Done {
    with_desk(config, async |desk| desk.erase(command, &mut std::io::stdout()).await).await
}

/// The same about holds.
///
/// # Errors
/// As [`run`].
pub(super) async fn hold(command: HoldCommand, config: &Config) -> Done {
    with_desk(config, async |desk| desk.hold(command, &mut std::io::stdout()).await).await
}

async fn with_desk(config: &Config, work: impl AsyncFnOnce(&Desk<'_>) -> Done) -> Done {
    let (database, authority) = Box::pin(authority::of_command(config)).await?;
    let done = match opened(config, &database, &authority).await {
        Ok(desk) => Box::pin(work(&desk)).await,
        Err(error) => Err(error),
    };
    drop(authority);
    database.close().await;
    done
}

async fn opened<'a>(
    config: &'a Config,
    database: &Database,
    authority: &'a Authority,
) -> Result<Desk<'a>, Box<dyn Error>> {
    let missing = "database.owner_url is not set: only the owner of the tables erases";
    let owner = database.owner().ok_or(missing)?;
    let eraser = Eraser::connect(&owner, database.store.hasher()).await?;
    let base = config.base_url(config.http.listen);
    let desk = Desk { config, authority, eraser, folder: Folder::of(config), base };
    // What could not be written when it was executed.
    desk.complete().await?;
    Ok(desk)
}

impl Desk<'_> {
    fn now(&self) -> Instant {
        self.authority.clock.now().floor_to_millis()
    }

    async fn complete(&self) -> Done {
        let log = sealer::log_name(&self.authority.store);
        list::complete_from(&self.eraser, &self.folder, &log).await
    }

    async fn erase(&self, command: Command, out: &mut impl Write) -> Done {
        match command {
            Command::Approve { number, by } => {
                let officer = by.proven(self.authority, "erase approve").await?;
                self.approve(number, &officer, out).await
            }
            Command::List => self.list(out).await,
            Command::Request { patient, reason, by } => {
                let officer = by.proven(self.authority, "erase request").await?;
                self.request(&patient, &reason, &officer, out).await
            }
            Command::Show { number, json } => self.show(number, json, out).await,
            Command::Withdraw { number, by } => {
                let officer = by.proven(self.authority, "erase withdraw").await?;
                self.withdraw(number, &officer, out).await
            }
        }
    }

    async fn hold(&self, command: HoldCommand, out: &mut impl Write) -> Done {
        match command {
            HoldCommand::Add { patient, reason, by } => {
                let officer = by.proven(self.authority, "hold add").await?;
                self.add_hold(&patient, &reason, &officer, out).await?;
            }
            HoldCommand::List { patient } => {
                self.told("hold list", "").await?;
                for hold in self.eraser.holds(patient.as_ref()).await? {
                    let (by, at) = &hold.made;
                    let lifted = hold.lifted.map(|(by, at)| format!(", lifted by {by} at {at}"));
                    let (number, patient, reason) = (hold.number, hold.patient, hold.reason);
                    let lifted = lifted.unwrap_or_default();
                    writeln!(
                        out,
                        "{number}  Patient/{patient}  by {by} at {at}{lifted}: {reason}"
                    )?;
                }
            }
            HoldCommand::Remove { patient, by } => {
                let officer = by.proven(self.authority, "hold remove").await?;
                let text = format!("holds on Patient/{patient} lifted");
                self.note(Kind::Admin, &officer.actor, &patient, &text).await?;
                let by = (officer.name.as_str(), self.now());
                let count = self.eraser.lift_holds(&patient, by).await?;
                writeln!(out, "{count} holds on Patient/{patient} were lifted")?;
            }
        }
        Ok(())
    }

    async fn add_hold(
        &self,
        patient: &LogicalId,
        reason: &str,
        officer: &Officer,
        out: &mut impl Write,
    ) -> Done {
        let whose = self.eraser.whose(patient, &self.base).await?;
        self.has_record(patient, &whose).await?;
        let text = format!("hold on Patient/{patient}: {reason}");
        self.note(Kind::Admin, &officer.actor, patient, &text).await?;
        let by = (officer.name.as_str(), self.now());
        let number = self.eraser.add_hold(patient, reason, by).await?;
        // An erasure that was under way had it wait.
        let kept = self.has_record(patient, &whose).await;
        kept.map_err(|error| format!("hold {number} keeps nothing: {error}"))?;
        writeln!(out, "hold {number} keeps Patient/{patient} from being erased")?;
        Ok(())
    }

    /// Fails where there is nothing to erase or to keep.
    async fn has_record(&self, patient: &LogicalId, whose: &Whose<'_>) -> Done {
        let record = self.eraser.record(whose).await?;
        if !record.is_there || record.is_erased {
            let text = if record.is_erased { "was erased already" } else { "is not known" };
            return Err(format!("Patient/{patient} {text}").into());
        }
        Ok(())
    }

    async fn request(
        &self,
        patient: &LogicalId,
        reason: &str,
        officer: &Officer,
        out: &mut impl Write,
    ) -> Done {
        let whose = self.eraser.whose(patient, &self.base).await?;
        self.has_record(patient, &whose).await?;
        let text = format!("erasure of Patient/{patient} requested: {reason}");
        self.note(Kind::Admin, &officer.actor, patient, &text).await?;
        let by = (officer.name.as_str(), self.now());
        let number = self.eraser.ask(patient, reason, by).await?;
        let number =
            number.ok_or("there is an open request for this patient: `kiln erase list`")?;
        writeln!(
            out,
            "request {number}: somebody else approves it by `kiln erase approve {number}`"
        )?;
        for block in self.blocks(patient, &whose).await? {
            writeln!(out, "  blocked: {block}")?;
        }
        Ok(())
    }

    async fn withdraw(&self, number: i64, officer: &Officer, out: &mut impl Write) -> Done {
        let request = self.find(number).await?;
        let patient: LogicalId = request.patient.parse()?;
        let text = format!("erasure {number} of Patient/{patient} withdrawn");
        self.note(Kind::Admin, &officer.actor, &patient, &text).await?;
        if !self.eraser.withdraw(number, (officer.name.as_str(), self.now())).await? {
            return Err(format!("request {number} is not open any more").into());
        }
        writeln!(out, "request {number} was withdrawn")?;
        Ok(())
    }

    async fn approve(&self, number: i64, officer: &Officer, out: &mut impl Write) -> Done {
        let request = self.find(number).await?;
        let patient: LogicalId = request.patient.parse()?;
        let whose = self.eraser.whose(&patient, &self.base).await?;
        let mut blocks = self.blocks(&patient, &whose).await?;
        if request.asked.0 == officer.name {
            blocks.push(format!("{} asked for it: somebody else approves", officer.name));
        }
        if !request.is_open() {
            blocks.push("it is not open any more".to_owned());
        }
        if !blocks.is_empty() {
            let text = format!("erasure {number} of Patient/{patient}: {}", blocks.join("; "));
            let disclosed = self.about(&patient, String::new());
            let caller = officer.actor.caller();
            self.authority.gate.note_refused(Kind::Erase, &caller, disclosed, &text).await?;
            return Err(format!("request {number} is blocked: {}", blocks.join("; ")).into());
        }
        let text = format!("erasure {number} of Patient/{patient} approved");
        self.note(Kind::Erase, &officer.actor, &patient, &text).await?;
        self.execute((number, &patient), &whose, officer).await?;
        self.tell(&self.find(number).await?, false, out).await
    }

    /// Erases: what is taken is listed, looked for once more, and cleared away.
    async fn execute(
        &self,
        (number, patient): (i64, &LogicalId),
        whose: &Whose<'_>,
        officer: &Officer,
    ) -> Done {
        let (key, at) = (self.folder.signing_key()?, self.now());
        let log = sealer::log_name(&self.authority.store);
        let line = |ordinal| {
            let (log, patient) = (log.clone(), patient.clone());
            SignedErased::new(Erased { log, number, ordinal, patient, at }, &key)
                .to_json()
                .to_string()
        };
        let done = self.eraser.execute(number, (officer.name.as_str(), at), whose, line).await?;
        let certificate = done.ok_or(
            "it was withdrawn, executed or held at this moment, or a message came: `kiln erase show`",
        )?;
        // Whatever becomes of the others: it is erased, and no backup may bring it back.
        let listed = self.complete().await;
        let again = self.execute_again(number, whose, certificate).await;
        let cleared = self.eraser.vacuum().await;
        listed.and(again)?;
        Ok(cleared?)
    }

    /// Looks until nothing is found that was written meanwhile.
    async fn execute_again(&self, number: i64, whose: &Whose<'_>, mut certificate: Value) -> Done {
        for _ in 0..LOOKS {
            let more = self.eraser.execute_again(whose).await?;
            let is_more = certificate::add(&mut certificate, &more);
            self.eraser.count_anew(number, &certificate).await?;
            if !is_more {
                return Ok(());
            }
        }
        let text = "the record is erased, and somebody goes on writing about the patient";
        Err(format!("{text}: what came last is a record of its own").into())
    }

    async fn list(&self, out: &mut impl Write) -> Done {
        self.told("erase list", "").await?;
        for request in self.eraser.requests().await? {
            let (by, at) = &request.asked;
            let (number, patient, state) =
                (request.number, &request.patient, certificate::state(&request));
            writeln!(out, "{number}  Patient/{patient}  asked by {by} at {at}: {state}")?;
        }
        Ok(())
    }

    async fn show(&self, number: i64, json: bool, out: &mut impl Write) -> Done {
        self.told("erase show", &format!("erasure {number}")).await?;
        self.tell(&self.find(number).await?, json, out).await
    }

    async fn tell(&self, request: &ErasureRequest, json: bool, out: &mut impl Write) -> Done {
        let patient: LogicalId = request.patient.parse()?;
        let blocks = if request.is_open() {
            let whose = self.eraser.whose(&patient, &self.base).await?;
            self.blocks(&patient, &whose).await?
        } else {
            Vec::new()
        };
        let days = self.config.erasure.backup_days.get();
        let told = certificate::of(request, &blocks, days);
        if json {
            writeln!(out, "{told:#}")?;
        } else {
            certificate::write(&told, out)?;
        }
        Ok(())
    }

    async fn find(&self, number: i64) -> Result<ErasureRequest, Box<dyn Error>> {
        let found = self.eraser.request(number).await?;
        found.ok_or_else(|| format!("there is no request {number}: `kiln erase list`").into())
    }

    /// What speaks against an erasure at this moment.
    async fn blocks(
        &self,
        patient: &LogicalId,
        whose: &Whose<'_>,
    ) -> Result<Vec<String>, Box<dyn Error>> {
        let record = self.eraser.record(whose).await?;
        let mut blocks = Vec::new();
        for hold in self.eraser.holds(Some(patient)).await?.iter().filter(|it| it.lifted.is_none())
        {
            let ((by, at), number, reason) = (&hold.made, hold.number, &hold.reason);
            blocks.push(format!("hold {number} by {by} since {at}: {reason}"));
        }
        for other in self.eraser.held_with(whose).await? {
            let text = "old versions of what is this patient's by now";
            blocks.push(format!("{text} are of Patient/{other}, on hold: `kiln hold list`"));
        }
        let years = self.config.erasure.retain_years;
        let until = record.last_act.and_then(|last| years_after(last, years));
        if let Some(until) = until.filter(|until| *until > self.now().to_string()) {
            let text = format!("to be kept until {until}, {years} years after its last version");
            blocks.push(format!("{text} (erasure.retain_years)"));
        }
        if record.waiting > 0 {
            let count = record.waiting;
            let text = format!("{count} messages about the patient wait, have failed or are held");
            blocks.push(format!(
                "{text}: have them worked on, or discard them; parts of messages wait a day"
            ));
        }
        Ok(blocks)
    }

    fn about(&self, patient: &LogicalId, text: String) -> Disclosed {
        Disclosed {
            subject: Some((ResourceType::PATIENT, patient.clone(), None)),
            patients: vec![self.authority.store.hasher().patient(patient)],
            entities: (!text.is_empty()).then_some(text).into_iter().collect(),
            ..Disclosed::default()
        }
    }

    /// Puts an act on record that is about to be done.
    async fn note(&self, kind: Kind, actor: &Actor, patient: &LogicalId, text: &str) -> Done {
        let disclosed = self.about(patient, text.replace('\0', "\u{fffd}"));
        Ok(self.authority.gate.note_about(kind, &actor.caller(), disclosed, None).await?)
    }

    /// Puts on record that something is told to the operator.
    async fn told(&self, command: &str, text: &str) -> Done {
        let store = &self.authority.store;
        Ok(note_command(store, &format!("kiln {command}"), text).await?)
    }
}

/// The same day so many years later, as text that is compared as times are; `None`: there is nothing to wait for.
fn years_after(last: Instant, years: u32) -> Option<String> {
    let text = last.to_string();
    let year: u32 = text.get(..4)?.parse().ok()?;
    // A year of more digits would come before all others.
    (years > 0).then(|| format!("{:04}{}", year.saturating_add(years).min(9_999), &text[4..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_kept_for_whole_years() {
        let last = Instant::parse("2024-02-29T10:00:00.000Z").unwrap();
        for (years, expected) in [
            (0, None),
            (1, Some("2025-02-29T10:00:00.000Z")),
            (10, Some("2034-02-29T10:00:00.000Z")),
            (9_999, Some("9999-02-29T10:00:00.000Z")),
            (u32::MAX, Some("9999-02-29T10:00:00.000Z")),
        ] {
            assert_eq!(years_after(last, years).as_deref(), expected);
        }
        // As text it is after the last of February and before the first of March.
        let until = years_after(last, 1).unwrap();
        assert!(until.as_str() > "2025-02-28T23:59:59.999Z");
        assert!(until.as_str() < "2025-03-01T00:00:00.000Z");
    }
}
