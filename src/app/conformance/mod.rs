//! `kiln conformance`: suites of checks that Kiln runs against a FHIR server, Kiln's or another.
//!
//! They are our suites. They ask what the public test kits ask, in our own words and code, and a
//! passed run is no certificate of anybody.
//!
//! Layer: 8. Imports `clock`; to judge what is exported, `fhir`, `spec`, `terminology` and `validate`.

mod html;
mod http;
mod report;
mod smart;
mod url;
mod valid;

use std::process::ExitCode;

use report::SuiteError;

/// The suites.
#[derive(Debug, clap::Subcommand)]
pub(super) enum ConformanceCommand {
    /// Check a SMART on FHIR server: discovery, launches, tokens, scopes and refusals.
    ///
    /// What needs a client, a key or a user that is not given is skipped with the reason. The exit code is 1
    /// when a check fails.
    #[command(
        after_help = "Examples:\n  kiln conformance smart --base http://127.0.0.1:8080/fhir\n  \
                      kiln conformance smart --base https://example.org/fhir --public-client app \\\n    \
                      --authorize-by-hand"
    )]
    Smart(Box<smart::Options>),
}

/// Runs a suite and prints its report.
///
/// # Errors
/// What keeps the suite from running at all; a failed check is in the exit code.
pub(super) async fn run(command: ConformanceCommand) -> Result<ExitCode, SuiteError> {
    let ConformanceCommand::Smart(options) = command;
    let json = options.json;
    let report = smart::run(*options).await?;
    report.print(json, &mut std::io::stdout()).map_err(|source| SuiteError::Print { source })?;
    Ok(if report.is_passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
