//! TLS to a database server: what `sslmode` and `sslrootcert` of its URL ask for.
//!
//! Both drivers get the same from here. Neither knows `verify-ca` alike: sqlx adds the public
//! authorities to the given one, so that anybody's certificate would do. It is therefore held to
//! what `verify-full` asks, as is `require` with a root certificate.
//!
//! Layer: 4. Spec: <https://www.postgresql.org/docs/current/libpq-ssl.html>

use std::path::PathBuf;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use thiserror::Error;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::outbound::{self, TrustError};

/// The value of `sslrootcert` that means the authorities of the system.
const SYSTEM: &str = "system";

/// Why a database's URL cannot be used. Never holds the URL, which may have a password.
#[derive(Debug, Error)]
pub enum AddressError {
    /// A driver cannot read it.
    #[error("the URL of the database cannot be read: {0}")]
    Url(String),
    /// No such mode.
    #[error("sslmode={0} is not known: disable, prefer, require, verify-ca or verify-full")]
    Mode(String),
    /// The authorities cannot be read.
    #[error("sslrootcert {}: {reason}", path.display())]
    Root {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The system trusts nobody.
    #[error("the system has no certificates of authorities: name a file by sslrootcert")]
    NoAuthorities,
}

/// How much of the server's identity is checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mode {
    /// No TLS.
    Disable,
    /// TLS where the server has it, with whatever certificate.
    Prefer,
    /// TLS, with whatever certificate.
    Require,
    /// TLS, with a certificate of an authority that we trust and in the name of the host.
    Verify,
}

/// What a URL says of TLS.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Tls {
    mode: Mode,
    /// Whether the URL says so.
    is_said: bool,
    /// The authorities to trust; those of the system when there is none.
    root: Option<PathBuf>,
}

impl Tls {
    /// Splits a URL into what both drivers read alike and what it says of TLS.
    pub(super) fn split(url: &str) -> Result<(String, Self), AddressError> {
        let (place, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut said, mut root, mut rest) = (None, None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode_str(value).decode_utf8_lossy();
            match name {
                "sslmode" => said = Some(mode_of(&value)?),
                "sslrootcert" => root = Some(value.into_owned()),
                _ => rest.push(pair),
            }
        }
        let mode = match said {
            Some(Mode::Require) if root.is_some() => Mode::Verify,
            said => said.unwrap_or(Mode::Prefer),
        };
        let root = root.filter(|root| root != SYSTEM).map(PathBuf::from);
        let separator = if rest.is_empty() { "" } else { "?" };
        let tls = Self { mode, is_said: said.is_some(), root };
        Ok((format!("{place}{separator}{}", rest.join("&")), tls))
    }

    /// The same for a connection that leaves this machine: unless the URL says otherwise, who
    /// answers must prove to be who was asked.
    pub(super) fn over_a_network(self) -> Self {
        if self.is_said { self } else { Self { mode: Mode::Verify, ..self } }
    }

    /// The same for a connection over a unix socket, which has no TLS.
    pub(super) fn without(self) -> Self {
        Self { mode: Mode::Disable, ..self }
    }

    /// What programs of PostgreSQL are told of it, by their environment.
    pub(super) fn environment(&self) -> Vec<(&'static str, String)> {
        let mode = match self.mode {
            Mode::Disable => "disable",
            Mode::Prefer => "prefer",
            Mode::Require => "require",
            Mode::Verify => "verify-full",
        };
        let named = self.root.as_ref().map(|root| root.display().to_string());
        let root = named.or_else(|| (self.mode == Mode::Verify).then(|| SYSTEM.to_owned()));
        let root = root.map(|root| ("PGSSLROOTCERT", root));
        [("PGSSLMODE", mode.to_owned())].into_iter().chain(root).collect()
    }

    /// What tokio-postgres is told of it.
    pub(super) fn mode(&self) -> SslMode {
        match self.mode {
            Mode::Disable => SslMode::Disable,
            Mode::Prefer => SslMode::Prefer,
            Mode::Require | Mode::Verify => SslMode::Require,
        }
    }

    /// What tokio-postgres makes a connection secure with.
    pub(super) fn connector(&self) -> Result<MakeRustlsConnect, AddressError> {
        let config = outbound::client().map_err(|error| AddressError::Url(error.reason))?;
        let config = if self.mode == Mode::Verify {
            config.with_root_certificates(self.authorities()?)
        } else {
            let verifier = Arc::new(AnyCertificate(config.crypto_provider().clone()));
            config.dangerous().with_custom_certificate_verifier(verifier)
        };
        Ok(MakeRustlsConnect::new(config.with_no_client_auth()))
    }

    /// `options` of sqlx with the same.
    pub(super) fn options(&self, options: PgConnectOptions) -> PgConnectOptions {
        let options = options.ssl_mode(match self.mode {
            Mode::Disable => PgSslMode::Disable,
            Mode::Prefer => PgSslMode::Prefer,
            Mode::Require => PgSslMode::Require,
            Mode::Verify => PgSslMode::VerifyFull,
        });
        match &self.root {
            Some(root) => options.ssl_root_cert(root),
            None => options,
        }
    }

    fn authorities(&self) -> Result<RootCertStore, AddressError> {
        let authorities = outbound::authorities(self.root.as_deref())
            .map_err(|TrustError { path, reason }| AddressError::Root { path, reason })?;
        if authorities.is_empty() { Err(AddressError::NoAuthorities) } else { Ok(authorities) }
    }
}

fn mode_of(text: &str) -> Result<Mode, AddressError> {
    match text {
        "disable" => Ok(Mode::Disable),
        "prefer" => Ok(Mode::Prefer),
        "require" => Ok(Mode::Require),
        "verify-ca" | "verify-full" => Ok(Mode::Verify),
        other => Err(AddressError::Mode(other.to_owned())),
    }
}

/// Takes any certificate whose key the server proves to have: against listeners, not impostors.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_how_its_server_is_checked() {
        let place = "postgres://u:p@db.example.org:5433/kiln";
        for (query, rest, mode, root) in [
            ("", "", Mode::Prefer, None),
            ("?sslmode=disable", "", Mode::Disable, None),
            ("?sslmode=require", "", Mode::Require, None),
            ("?sslmode=verify-ca&sslrootcert=/a/b.pem", "", Mode::Verify, Some("/a/b.pem")),
            ("?sslmode=verify-full&sslrootcert=system", "", Mode::Verify, None),
            ("?sslrootcert=%2Fa%20b&sslmode=require", "", Mode::Verify, Some("/a b")),
            ("?sslrootcert=/a", "", Mode::Prefer, Some("/a")),
            (
                "?application_name=x&sslmode=require&connect_timeout=3",
                "?application_name=x&connect_timeout=3",
                Mode::Require,
                None,
            ),
        ] {
            let split = Tls::split(&format!("{place}{query}")).unwrap();
            let root = root.map(PathBuf::from);
            let is_said = query.contains("sslmode=");
            assert_eq!(split, (format!("{place}{rest}"), Tls { mode, is_said, root }), "{query}");
        }
        let refused = Tls::split(&format!("{place}?sslmode=allow")).unwrap_err().to_string();
        assert!(refused.contains("allow") && !refused.contains("u:p"), "{refused}");
    }

    #[test]
    fn authorities_that_are_not_there_are_named() {
        for (root, named) in [("/nowhere/ca.pem", "/nowhere/ca.pem"), ("/dev/null", "/dev/null")] {
            let tls = Tls { mode: Mode::Verify, is_said: true, root: Some(root.into()) };
            let refused = tls.connector().err().map(|error| error.to_string());
            assert!(refused.as_deref().is_some_and(|it| it.contains(named)), "{refused:?}");
        }
    }
}
