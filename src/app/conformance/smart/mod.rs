//! `kiln conformance smart`: what a SMART on FHIR server must do, asked of a running one.
//!
//! A file each for the groups: discovery, launches by each kind of client, OpenID Connect, refresh,
//! backend services, exports, introspection, brands, and what the certification of (g)(10) adds. The suite sees
//! the server from outside only and works against any.
//!
//! What it never does: write FHIR data. It registers no client and no user: it is told them.

mod agent;
mod apps;
mod backend;
mod brands;
mod bulk;
mod discovery;
mod ehr;
mod granular;
mod introspection;
mod items;
mod keys;
mod launch;
mod limited;
mod openid;
mod options;
mod refresh;
mod refusals;
mod revocation;
mod scope;
mod standalone;
mod tls;
mod tokens;
mod walker;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64_URL;
use hyper::header::ACCEPT;
use serde_json::Value;

use crate::clock::{Clock as _, IdOrder, IdSource as _, SystemClock, SystemIds};

use super::http::{Answer, Call, Http};
use super::report::{Report, SuiteError};
use agent::Agent;
pub(crate) use options::Options;

/// A run: the server, what is known of it, and what was found.
struct Suite {
    options: Options,
    http: Http,
    report: Report,
    agent: Agent,
    /// The FHIR base without a slash at its end.
    base: String,
    /// The SMART configuration; null when there is none.
    configuration: Value,
}

/// Runs all checks that the options allow.
///
/// # Errors
/// [`SuiteError::Options`]: a file that cannot be used.
pub(super) async fn run(options: Options) -> Result<Report, SuiteError> {
    let apps = options.apps()?;
    let agent = match (&options.user, &options.password_file) {
        (Some(user), Some(file)) => {
            let totp = options.totp_file.as_deref().map(options::line_of).transpose()?;
            Agent::walker(user, options::line_of(file)?, totp)
        }
        _ if options.authorize_by_hand => Agent::Hands,
        _ => Agent::Nobody,
    };
    let base = options.base.trim_end_matches('/').to_owned();
    let mut suite = Suite {
        http: Http::new().map_err(SuiteError::Options)?,
        report: Report::new(&base, items::ITEMS),
        agent,
        base,
        configuration: Value::Null,
        options,
    };
    if suite.discovery().await {
        suite.tls().await;
        let standalone = suite.standalone(&apps).await;
        suite.ehr_launch(&apps).await;
        suite.limited(&apps, standalone.as_ref()).await;
        suite.granular(&apps, standalone.as_ref()).await;
        suite.introspection(&apps, standalone.as_ref()).await;
        suite.refusals(&apps).await;
        suite.backend(apps.backend.as_ref()).await;
        suite.brands().await;
        suite.revocation(&apps).await;
    }
    Ok(suite.report)
}

impl Suite {
    /// A member of the SMART configuration that is a text.
    fn endpoint(&self, name: &str) -> Result<String, String> {
        let found = self.configuration[name].as_str().filter(|text| !text.is_empty());
        found.map(str::to_owned).ok_or_else(|| format!("the SMART configuration has no {name}"))
    }

    fn has_capability(&self, name: &str) -> bool {
        let capabilities = self.configuration["capabilities"].as_array();
        capabilities.is_some_and(|all| all.iter().any(|known| known == name))
    }

    /// Asks for a FHIR resource or a search below the base.
    async fn fhir(&self, path: &str, token: &str) -> Result<Answer, String> {
        let call = Call::get(format!("{}/{path}", self.base));
        self.http.send(call.header(ACCEPT, "application/fhir+json").bearer(token)).await
    }
}

/// The present moment as JWTs count it.
fn now_seconds() -> i64 {
    SystemClock.now().as_micros() / 1_000_000
}

/// A random text: of 36 characters, as a `state` or an id is.
fn random() -> String {
    SystemIds(IdOrder::Random).logical_id().as_str().to_owned()
}

/// A PKCE verifier.
fn verifier() -> String {
    BASE64_URL.encode(SystemIds::default().secret())
}
