//! TLS of a listener: certificate and key from files, read anew when they change.
//!
//! Versions 1.2 and 1.3 only. With authorities for clients, who shows no certificate of one of them
//! gets no connection.
//!
//! Spec: security K1, K2

use std::fmt::{Display, Write as _};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::work::Watched;

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(10);

/// The files that TLS needs.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The server's certificate and those that vouch for it, its own first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authorities of clients, when they must have certificates.
    pub client_authorities: Option<PathBuf>,
}

/// Why TLS cannot be spoken.
#[derive(Debug, Error)]
#[error("TLS: {}: {reason}", path.display())]
pub struct TlsError {
    path: PathBuf,
    reason: String,
}

/// TLS as it is spoken at this moment.
#[derive(Clone)]
pub struct Tls {
    files: Arc<TlsFiles>,
    current: Arc<RwLock<Current>>,
}

struct Current {
    read: Contents,
    config: Arc<ServerConfig>,
}

/// What the files held.
#[derive(Eq, PartialEq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_authorities: Option<Vec<u8>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] names the file that cannot be used, and why.
    pub fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let read = Contents::read(&files)?;
        let config = Arc::new(configured(&files, &read)?);
        let current = Arc::new(RwLock::new(Current { read, config }));
        Ok(Self { files: Arc::new(files), current })
    }

    /// Takes what the files hold now, if it is something else.
    ///
    /// # Errors
    /// [`TlsError`]; then all stays as it was.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let read = Contents::read(&self.files)?;
        if self.current.read().unwrap_or_else(PoisonError::into_inner).read == read {
            return Ok(false);
        }
        let config = Arc::new(configured(&self.files, &read)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Current { read, config };
        Ok(true)
    }

    /// Looks at the files again and again.
    pub async fn follow(self) {
        let mut is_told = false;
        loop {
            tokio::time::sleep(LOOK).await;
            match self.reload() {
                Ok(true) => tracing::info!("TLS: a new certificate counts from now on"),
                Ok(false) => is_told = false,
                Err(error) if !is_told => {
                    is_told = true;
                    tracing::warn!(%error, "what was read before goes on counting");
                }
                Err(_) => {}
            }
        }
    }

    /// The same for a listener of another protocol: the connection, and the names of the client's
    /// certificate, where it shows one: those of its DNS names, and `sha256:` with its digest.
    ///
    /// # Errors
    /// What went wrong in the handshake.
    pub async fn accept_named(
        &self,
        stream: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, Vec<String>)> {
        let config = self.current.read().unwrap_or_else(PoisonError::into_inner).config.clone();
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let names = shown.map(names).unwrap_or_default();
        Ok((stream, names))
    }

    /// The handshake with who has connected.
    pub(super) async fn accept(&self, stream: Watched) -> io::Result<TlsStream<Watched>> {
        let config = self.current.read().unwrap_or_else(PoisonError::into_inner).config.clone();
        TlsAcceptor::from(config).accept(stream).await
    }
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let read = |path: &Path| std::fs::read(path).map_err(|error| fault(path, error));
        let metadata = std::fs::metadata(&files.key).map_err(|error| fault(&files.key, error))?;
        if metadata.permissions().mode() & 0o007 != 0 {
            return Err(fault(&files.key, "everybody on this machine may read it (chmod o= it)"));
        }
        Ok(Self {
            certificate: read(&files.certificate)?,
            key: read(&files.key)?,
            client_authorities: files.client_authorities.as_deref().map(read).transpose()?,
        })
    }
}

fn fault(path: &Path, reason: impl Display) -> TlsError {
    TlsError { path: path.to_owned(), reason: format!("{reason}") }
}

fn configured(files: &TlsFiles, read: &Contents) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates(&files.certificate, &read.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&read.key);
    let key = key.map_err(|_| fault(&files.key, "holds no private key in PEM"))?;
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| fault(&files.certificate, error))?;
    let builder = match (&files.client_authorities, &read.client_authorities) {
        (Some(path), Some(pem)) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(path, pem)? {
                roots.add(authority).map_err(|error| fault(path, error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build().map_err(|error| fault(path, error))?)
        }
        _ => builder.with_no_client_auth(),
    };
    let config = builder.with_single_cert(chain, key);
    let mut config = config.map_err(|error| fault(&files.certificate, error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// By what a client is known that has shown this certificate.
fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let mut names = Vec::new();
    if let Ok(read) = webpki::EndEntityCert::try_from(certificate) {
        names.extend(read.valid_dns_names().map(str::to_owned));
    }
    let mut digest = String::from("sha256:");
    for byte in Sha256::digest(certificate) {
        // Writing to a String does not fail.
        let _ = write!(digest, "{byte:02x}");
    }
    names.push(digest);
    names
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(fault(path, "holds no certificate in PEM")),
        Err(error) => Err(fault(path, error)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::net::SocketAddr;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, SupportedProtocolVersion};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::watch;
    use tokio_rustls::TlsConnector;

    use crate::clock::{IdSource as _, SystemIds};
    use crate::http::listener::{Door, Limits, Ready, serve};

    use super::*;

    type Authority = CertifiedIssuer<'static, KeyPair>;

    fn authority() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    /// A certificate of `authority` in the name of `localhost`, and its key.
    fn certificate(authority: &Authority) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
    }

    /// A folder with the files of TLS, removed at the end.
    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    impl Folder {
        fn with(authority: &Authority) -> Self {
            let number = SystemIds::default().ordered();
            let name = format!("kiln-listener-tls-{number}");
            let folder = Self(std::env::temp_dir().join(name));
            fs::create_dir(&folder.0).unwrap();
            folder.certify(authority);
            folder
        }

        fn certify(&self, authority: &Authority) {
            let (certificate, key) = certificate(authority);
            fs::write(self.0.join("certificate.pem"), certificate).unwrap();
            fs::write(self.0.join("key.pem"), key).unwrap();
            self.permit(0o600);
        }

        fn permit(&self, mode: u32) {
            fs::set_permissions(self.0.join("key.pem"), Permissions::from_mode(mode)).unwrap();
        }

        fn files(&self) -> TlsFiles {
            let (certificate, key) = (self.0.join("certificate.pem"), self.0.join("key.pem"));
            TlsFiles { certificate, key, client_authorities: None }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the listener of a test is its own task")]
    async fn started(tls: &Tls) -> (SocketAddr, watch::Sender<bool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let door = Door { limits: Limits::of(10), tls: Some(tls.clone()) };
        tokio::spawn(serve(listener, Ready::default(), door, stopped));
        (address, stop)
    }

    /// What a client that trusts `authority` alone is told, with a certificate of its own or without.
    async fn asked(
        address: SocketAddr,
        authority: &Authority,
        version: &'static SupportedProtocolVersion,
        own: Option<&Authority>,
    ) -> io::Result<String> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let (certificate, key) = certificate(own);
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let request = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Covers: security K1.
    #[tokio::test]
    async fn tls_is_spoken_and_nothing_else() {
        let ours = authority();
        let folder = Folder::with(&ours);
        let tls = Tls::open(folder.files()).unwrap();
        let (address, _stop) = started(&tls).await;
        for version in [&TLS12, &TLS13] {
            let answer = asked(address, &ours, version, None).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK"), "{version:?}: {answer}");
        }
        assert!(asked(address, &authority(), &TLS13, None).await.is_err(), "another's certificate");
        let mut plain = TcpStream::connect(address).await.unwrap();
        plain.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let _ = plain.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }

    #[tokio::test]
    async fn a_new_certificate_counts_from_then_on() {
        let (first, second) = (authority(), authority());
        let folder = Folder::with(&first);
        let tls = Tls::open(folder.files()).unwrap();
        let (address, _stop) = started(&tls).await;
        assert!(!tls.reload().unwrap(), "nothing is new");
        folder.certify(&second);
        assert!(asked(address, &first, &TLS13, None).await.is_ok(), "not before it was read");
        assert!(tls.reload().unwrap());
        assert!(asked(address, &first, &TLS13, None).await.is_err());
        assert!(asked(address, &second, &TLS13, None).await.is_ok());
        fs::write(folder.0.join("certificate.pem"), "half a file").unwrap();
        let error = tls.reload().unwrap_err().to_string();
        assert!(error.contains("certificate.pem: holds no certificate in PEM"), "{error}");
        assert!(asked(address, &second, &TLS13, None).await.is_ok(), "what was read goes on");
    }

    /// Covers: security K2.
    #[tokio::test]
    async fn clients_have_certificates_where_authorities_are_named() {
        let (ours, clients) = (authority(), authority());
        let folder = Folder::with(&ours);
        let path = folder.0.join("clients.pem");
        fs::write(&path, clients.pem()).unwrap();
        let files = TlsFiles { client_authorities: Some(path), ..folder.files() };
        let tls = Tls::open(files).unwrap();
        let (address, _stop) = started(&tls).await;
        for version in [&TLS12, &TLS13] {
            assert!(asked(address, &ours, version, Some(&clients)).await.is_ok(), "{version:?}");
            assert!(asked(address, &ours, version, Some(&authority())).await.is_err());
            assert!(asked(address, &ours, version, None).await.is_err(), "{version:?}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let folder = Folder::with(&authority());
        let error = |files| Tls::open(files).map(drop).unwrap_err().to_string();
        folder.permit(0o644);
        assert!(error(folder.files()).contains("key.pem: everybody on this machine may read it"));
        folder.permit(0o640);
        assert!(Tls::open(folder.files()).is_ok());
        let other = Folder::with(&authority());
        let mixed = TlsFiles { key: other.files().key, ..folder.files() };
        assert!(error(mixed).contains("certificate.pem: "), "a key of another certificate");
        fs::write(folder.files().key, "no key").unwrap();
        assert!(error(folder.files()).contains("key.pem: holds no private key in PEM"));
        fs::remove_file(folder.files().key).unwrap();
        assert!(error(folder.files()).contains("key.pem: "));
    }
}
