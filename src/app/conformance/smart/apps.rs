//! A registered client and how it proves who it is.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{AUTHORIZATION, ORIGIN};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::super::http::Call;
use super::super::url::{self, Pairs};
use super::keys::Signer;
use super::{now_seconds, random};

/// What an assertion may live at most, which is what test kits send.
const ASSERTION_SECONDS: i64 = 300;

/// Name of the kind of assertion, by RFC 7523.
pub(super) const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A client of the server.
#[derive(Debug)]
pub(super) struct App {
    pub(super) id: String,
    pub(super) proof: Proof,
}

/// What a client shows at the token endpoint.
#[derive(Debug)]
pub(super) enum Proof {
    Key(Box<Signer>),
    None,
    Secret(SecretString),
}

impl App {
    pub(super) fn new(id: &str, proof: Proof) -> Self {
        Self { id: id.to_owned(), proof }
    }

    /// The word for its kind.
    pub(super) fn kind(&self) -> &'static str {
        match self.proof {
            Proof::Key(_) => "asymmetric",
            Proof::None => "public",
            Proof::Secret(_) => "symmetric",
        }
    }

    pub(super) fn is_public(&self) -> bool {
        matches!(self.proof, Proof::None)
    }

    /// A request of this client at an endpoint that asks who it is. A public client sends its
    /// origin, as a browser would.
    pub(super) fn call(
        &self,
        endpoint: &str,
        token_endpoint: &str,
        mut form: Pairs,
        redirect_uri: &str,
    ) -> Result<Call, String> {
        let call = Call::post(endpoint);
        let call = match &self.proof {
            Proof::None => {
                form.push(("client_id".into(), self.id.clone()));
                call.header(ORIGIN, url::origin(redirect_uri))
            }
            Proof::Secret(secret) => {
                let both =
                    format!("{}:{}", url::escape(&self.id), url::escape(secret.expose_secret()));
                call.header(AUTHORIZATION, format!("Basic {}", BASE64_STANDARD.encode(both)))
            }
            Proof::Key(signer) => {
                let assertion = signer.sign(&self.claims(token_endpoint))?;
                form.push(("client_assertion_type".into(), JWT_BEARER.into()));
                form.push(("client_assertion".into(), assertion));
                call
            }
        };
        Ok(call.form(&form))
    }

    /// The claims of a fresh assertion.
    pub(super) fn claims(&self, token_endpoint: &str) -> Value {
        json!({
            "iss": self.id,
            "sub": self.id,
            "aud": token_endpoint,
            "exp": now_seconds() + ASSERTION_SECONDS,
            "jti": random(),
        })
    }
}
