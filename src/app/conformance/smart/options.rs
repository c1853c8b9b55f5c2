//! What a run is told: the server, the clients registered there, and who logs in.

use std::fs;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::super::report::SuiteError;
use super::apps::{App, Proof};
use super::keys::Signer;

/// The server to check and what to check it with.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// FHIR base of the server.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080/fhir")]
    pub(crate) base: String,
    /// Id of a public client.
    #[arg(long, value_name = "ID")]
    pub(crate) public_client: Option<String>,
    /// Id of a client with a secret.
    #[arg(long, value_name = "ID", requires = "secret_file")]
    pub(crate) secret_client: Option<String>,
    /// File with its secret.
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// Id of a client with a key (private_key_jwt).
    #[arg(long, value_name = "ID", requires = "key_file")]
    pub(crate) key_client: Option<String>,
    /// Private key of the clients with a key: PKCS#8 in PEM, RSA or P-384.
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// The key's id in the client's key set.
    #[arg(long, value_name = "KID", default_value = "conformance")]
    pub(crate) key_id: String,
    /// Id of a backend service, with the same key.
    #[arg(long, value_name = "ID", requires = "key_file")]
    pub(crate) backend_client: Option<String>,
    /// Scopes that the backend service asks for.
    #[arg(long, value_name = "SCOPES", default_value = "system/*.rs")]
    pub(crate) backend_scope: String,
    /// A Group to export whole, by id; otherwise all patients are exported.
    #[arg(long, value_name = "ID", requires = "backend_client")]
    pub(crate) group: Option<String>,
    /// Ids of the Patients of that Group: its export has these and no others.
    #[arg(long, value_name = "IDS", value_delimiter = ',', requires = "group")]
    pub(crate) group_patients: Option<Vec<String>>,
    /// Redirect address of all apps; on loopback, so that --authorize-by-hand can listen there.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8765/callback")]
    pub(crate) redirect_uri: String,
    /// Log in as this user and walk through the server's own pages.
    #[arg(long, value_name = "NAME", requires = "password_file")]
    pub(crate) user: Option<String>,
    /// File with the user's password.
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// File with the secret of the user's codes (base32), where a second factor is asked for.
    #[arg(long, value_name = "FILE")]
    pub(crate) totp_file: Option<PathBuf>,
    /// Print each authorization address and wait for a person to walk through it.
    #[arg(long, conflicts_with = "user")]
    pub(crate) authorize_by_hand: bool,
    /// The patient to choose, by id; otherwise the first that is offered.
    #[arg(long, value_name = "ID")]
    pub(crate) patient: Option<String>,
    /// What to search for where the server's picker lists nobody at first: the patient's family name.
    #[arg(long, value_name = "NAME")]
    pub(crate) patient_name: Option<String>,
    /// A launch handle of the EHR, for one EHR launch.
    #[arg(long, value_name = "HANDLE")]
    pub(crate) launch: Option<String>,
    /// Where the server makes launch handles for its EHR: asked with a token of the backend service
    /// that has the scope system/__launch.
    #[arg(long, value_name = "URL")]
    pub(crate) launch_endpoint: Option<String>,
    /// An encounter of the patient for the EHR launch, by id.
    #[arg(long, value_name = "ID")]
    pub(crate) encounter: Option<String>,
    /// Address of the brands Bundle, where the SMART configuration does not name it.
    #[arg(long, value_name = "URL")]
    pub(crate) brands: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The clients of a run.
#[derive(Debug, Default)]
pub(super) struct Apps {
    pub(super) public: Option<App>,
    pub(super) secret: Option<App>,
    pub(super) key: Option<App>,
    pub(super) backend: Option<App>,
}

impl Options {
    pub(super) fn apps(&self) -> Result<Apps, SuiteError> {
        let key = |id: &Option<String>| -> Result<Option<App>, SuiteError> {
            let (Some(id), Some(file)) = (id, &self.key_file) else { return Ok(None) };
            let signer = Signer::read(file, &self.key_id).map_err(SuiteError::Options)?;
            Ok(Some(App::new(id, Proof::Key(Box::new(signer)))))
        };
        let secret = match (&self.secret_client, &self.secret_file) {
            (Some(id), Some(file)) => Some(App::new(id, Proof::Secret(line_of(file)?))),
            _ => None,
        };
        Ok(Apps {
            public: self.public_client.as_ref().map(|id| App::new(id, Proof::None)),
            secret,
            key: key(&self.key_client)?,
            backend: key(&self.backend_client)?,
        })
    }
}

/// The first line of a file that holds a secret.
pub(super) fn line_of(file: &Path) -> Result<SecretString, SuiteError> {
    let text = fs::read_to_string(file)
        .map_err(|error| SuiteError::Options(format!("{}: {error}", file.display())))?;
    Ok(text.lines().next().unwrap_or_default().trim().into())
}
