//! `kiln v2`: messages of HL7 version 2 from the command line.

mod beside;
mod convert;
mod coverage;
mod import;
pub(super) mod keys;
mod list;
mod listen;
mod maps;
mod query;
mod send;
mod sites;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::config::Config;
use crate::hl7v2::batch;

/// What can be done with messages.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show what messages would make: a transaction Bundle each.
    #[command(after_help = "Example:\n  kiln v2 convert adt-a01.hl7 --site stmary.toml")]
    Convert(convert::ConvertArgs),
    /// List the codes of senders that no map has another one for, and say what they are.
    #[command(subcommand)]
    Codes(sites::CodesCommand),
    /// Say how much of the guide from version 2 to FHIR the maps do.
    #[command(after_help = "Example:\n  kiln v2 coverage --guide v2-to-fhir-ig-mappings.tar.gz")]
    Coverage(coverage::CoverageArgs),
    /// Take in the messages of files and folders, without a listener between.
    #[command(after_help = "Example:\n  kiln v2 import archive/2026-07/")]
    Import(ImportArgs),
    /// List messages, the newest first.
    #[command(after_help = "Example:\n  kiln v2 list --state failed --type ADT^A40")]
    List(ListArgs),
    /// Take messages over MLLP and show them, without a server and without storing anything.
    #[command(after_help = "Example:\n  kiln v2 listen 127.0.0.1:2575 --out captured/")]
    Listen(listen::ListenArgs),
    /// Show the values that paths name in the messages of a file; beside those of another reader, if wanted.
    #[command(
        after_help = "Examples:\n  kiln v2 query adt-a01.hl7 PID-3[*].1 PID-5\n  kiln v2 query adt-a01.hl7 --beside"
    )]
    Query(QueryArgs),
    /// Check, compare and explain maps.
    #[command(subcommand)]
    Map(maps::MapCommand),
    /// Have messages worked on again: one, or all that failed.
    #[command(after_help = "Example:\n  kiln v2 replay --failed --site 'LAB|STM'")]
    Replay(ReplayArgs),
    /// Make another key file for the texts of messages; the one of before is kept beside it, for backups.
    #[command(after_help = "Example:\n  kiln v2 rotate-key")]
    RotateKey,
    /// Send the messages of files over MLLP and tell how they are answered.
    #[command(
        after_help = "Examples:\n  kiln v2 send adt-a01.hl7 --to 10.0.0.7:2575\n  kiln v2 send adt-a01.hl7 --to \
                      feeds.example.org:2575 --tls --ca hospital.pem --cert lab.pem --key lab.key"
    )]
    Send(SendArgs),
}

/// `kiln v2 import`
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// Files and folders; folders are searched through.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// `kiln v2 list`
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Those that stand there: received, processed, failed, ..
    #[arg(long)]
    state: Option<String>,
    /// Those of this sender: MSH-3 and MSH-4 with a | between.
    #[arg(long)]
    site: Option<String>,
    /// Those of this type: ADT, or ADT^A01.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// How many.
    #[arg(long, default_value_t = 50)]
    count: u32,
}

/// `kiln v2 query`
#[derive(Debug, Args)]
pub(super) struct QueryArgs {
    /// A file with messages.
    file: PathBuf,
    /// Paths such as PID-3[2].4.2, or OBX[*]; without any the whole message, a value a line.
    #[arg(value_name = "PATH")]
    paths: Vec<String>,
    /// Show beside each value what the hl7-parser library reads there, and say where that differs: who else
    /// receives the message may see it so. The status is 1 when anything differs.
    #[arg(long)]
    beside: bool,
    /// The character set where MSH-18 names none.
    #[arg(long, default_value = "UNICODE UTF-8")]
    charset: String,
}

/// `kiln v2 replay`
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// The id of a message.
    #[arg(required_unless_present = "failed", conflicts_with = "failed")]
    id: Option<String>,
    /// All that failed.
    #[arg(long)]
    failed: bool,
    /// Of this sender alone.
    #[arg(long, requires = "failed")]
    site: Option<String>,
    /// What they made before and make no longer is deleted, unless others have changed it.
    #[arg(long)]
    prune: bool,
    /// Why: it is kept in the record.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// `kiln v2 send`
#[derive(Debug, Args)]
pub(super) struct SendArgs {
    /// Files with messages, each in one or many.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where they are sent.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:2575")]
    to: String,
    /// Over TLS: the certificate of the other side must be for the host of --to.
    #[arg(long)]
    tls: bool,
    /// Authorities that may vouch for the other side, in PEM; without it those of the system.
    #[arg(long, value_name = "FILE", requires = "tls")]
    ca: Option<PathBuf>,
    /// A certificate of its own in PEM, those that vouch for it after it, where the other side asks for one.
    #[arg(long, value_name = "FILE", requires_all = ["tls", "key"])]
    cert: Option<PathBuf>,
    /// The private key of that certificate, in PEM.
    #[arg(long, value_name = "FILE", requires_all = ["tls", "cert"])]
    key: Option<PathBuf>,
    /// Connections that send side by side; the order of messages is kept on one alone.
    #[arg(long, default_value_t = 1, value_name = "N")]
    connections: u16,
    /// Most messages a second; without it as fast as they are answered.
    #[arg(long, value_name = "N")]
    rate: Option<u32>,
    /// Send all of it so many times, each time under control ids of its own.
    #[arg(long, default_value_t = 1, value_name = "N")]
    times: u32,
    /// Say nothing on the way.
    #[arg(long)]
    quiet: bool,
}

/// Runs it.
///
/// # Errors
/// What keeps it from being done, as a sentence.
pub(super) async fn run(command: Command, config: &Config) -> Result<ExitCode, Box<dyn Error>> {
    match command {
        Command::Convert(args) => {
            convert::run(&args, config, &mut std::io::stdout(), &mut std::io::stderr()).await
        }
        Command::Codes(command) => sites::codes(command, config, &mut std::io::stdout()).await,
        Command::Coverage(args) => coverage::run(&args, config, &mut std::io::stdout()).await,
        Command::Import(args) => import::run(&args, config).await,
        Command::List(args) => list::list(args, config).await,
        Command::Listen(args) => listen::run(&args).await,
        Command::Map(command) => maps::run(command, config, &mut std::io::stdout()).await,
        Command::Query(args) => query::run(&args, &mut std::io::stdout().lock()),
        Command::Replay(args) => list::replay(args, config).await,
        Command::RotateKey => keys::rotate(config, &mut std::io::stdout()).await,
        Command::Send(args) => send::run(&args).await,
    }
}

/// The messages of a file.
fn messages(path: &Path) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(match batch::split(&bytes) {
        Some(batch) => batch.messages.into_iter().map(<[u8]>::to_vec).collect(),
        None => vec![bytes],
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: Command,
    }

    #[test]
    fn hosts_have_names_or_numbers() {
        for at in ["feeds.example.org:2575", "localhost:2575", "127.0.0.1:2575", "[::1]:2575"] {
            let sent = Line::try_parse_from(["v2", "send", "a.hl7", "--to", at]).unwrap().command;
            assert!(matches!(sent, Command::Send(args) if args.to == at), "{at}");
            let heard = Line::try_parse_from(["v2", "listen", at]).unwrap().command;
            assert!(matches!(heard, Command::Listen(_)), "{at}");
        }
    }

    #[test]
    fn files_for_tls_are_named_with_it_and_a_certificate_with_its_key() {
        for (more, is_taken) in [
            ("", true),
            ("--tls", true),
            ("--tls --ca a.pem", true),
            ("--tls --cert c.pem --key c.key", true),
            ("--ca a.pem", false),
            ("--cert c.pem --key c.key", false),
            ("--tls --cert c.pem", false),
            ("--tls --key c.key", false),
        ] {
            let line = ["v2", "send", "a.hl7"].into_iter().chain(more.split_whitespace());
            assert_eq!(Line::try_parse_from(line).is_ok(), is_taken, "{more}");
        }
    }
}
