//! Whom the server believes when it calls an address that the operator named, and what it shows there.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use thiserror::Error;

/// Why TLS cannot be spoken with these files.
#[derive(Debug, Error)]
#[error("TLS: {}: {reason}", path.display())]
pub struct TrustError {
    /// The file; none where it is about no file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// TLS 1.2 and 1.3 as a client.
#[derive(Clone)]
pub struct Trust(pub(super) Arc<ClientConfig>);

impl Trust {
    /// The system's authorities, or those in a file; with a certificate and its key, it is shown to
    /// whoever asks for one.
    ///
    /// # Errors
    /// [`TrustError`] names the file that cannot be used.
    pub fn open(
        authorities: Option<&Path>,
        own: Option<(&Path, &Path)>,
    ) -> Result<Self, TrustError> {
        let builder = client()?.with_root_certificates(self::authorities(authorities)?);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate)?;
                let key = PrivateKeyDer::from_pem_file(key)
                    .map_err(|_| wrong(key, &"holds no private key in PEM"))?;
                let built = builder.with_client_auth_cert(chain, key);
                built.map_err(|error| wrong(certificate, &error))?
            }
        };
        Ok(Self(Arc::new(config)))
    }
}

/// TLS 1.2 and 1.3 as a client, before it is said whom it believes.
///
/// # Errors
/// [`TrustError`] without a file where the library does not offer them.
pub fn client() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, TrustError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    builder.with_safe_default_protocol_versions().map_err(|error| wrong(Path::new(""), &error))
}

/// The authorities in a file, at least one; without a file those of the system, which may be none.
///
/// # Errors
/// [`TrustError`] names the file that cannot be used.
pub fn authorities(file: Option<&Path>) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = file {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| wrong(path, &error))?;
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| wrong(path, &error))?;
    let read: Result<Vec<_>, _> = read.collect();
    let read = read.map_err(|error| wrong(path, &error))?;
    if read.is_empty() {
        return Err(wrong(path, &"holds no certificate in PEM"));
    }
    Ok(read)
}

fn wrong(path: &Path, reason: &dyn Display) -> TrustError {
    TrustError { path: path.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_cannot_be_used_are_named() {
        assert!(Trust::open(None, None).is_ok());
        let missing = Path::new("/nowhere/authorities.pem");
        let error = Trust::open(Some(missing), None).map(drop).unwrap_err().to_string();
        assert!(error.contains("/nowhere/authorities.pem"), "{error}");
        let empty = Path::new("/dev/null");
        let error = Trust::open(Some(empty), None).map(drop).unwrap_err().to_string();
        assert!(error.contains("/dev/null: holds no certificate"), "{error}");
    }
}
