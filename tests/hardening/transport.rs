//! The server's own TLS: what it speaks, what it refuses, what every answer says of it.
//!
//! Covers: security K1.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::harness::database::temporary;
use crate::harness::server::TestServer;

/// The files of a server's TLS; the folder is removed at the end.
pub(crate) struct Files {
    pub(crate) folder: PathBuf,
    pub(crate) authority: String,
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Files {
    /// An authority, and a certificate of it for this machine.
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ours = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &ours).unwrap();
        let folder = temporary("transport");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("ca.pem"), ours.pem()).unwrap();
        std::fs::write(folder.join("certificate.pem"), certificate.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
        let only_ours = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(folder.join("key.pem"), only_ours).unwrap();
        Self { folder, authority: ours.pem() }
    }

    /// The path of one of them.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }
}

fn address(server: &TestServer) -> SocketAddr {
    server.client.root().trim_start_matches("http://").parse().unwrap()
}

/// All that comes back for `bytes`.
async fn told<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, bytes: &[u8]) -> Vec<u8> {
    stream.write_all(bytes).await.unwrap();
    let mut all = Vec::new();
    let read = stream.read_to_end(&mut all);
    // Who is not told to go waits; what came until then counts.
    let _ = tokio::time::timeout(Duration::from_secs(5), read).await;
    all
}

/// A hello of TLS 1.0 to 1.2: suites of each time, the curve P-256, and signatures by ECDSA.
fn hello(minor: u8) -> Vec<u8> {
    let mut body = vec![3, minor];
    body.extend([7; 32]);
    body.extend([0, 0, 6, 0xc0, 0x2b, 0xc0, 0x13, 0xc0, 0x0a, 1, 0]);
    body.extend([0, 16, 0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3]);
    let mut record = vec![22, 3, 1, 0, (body.len() + 4) as u8, 1, 0, 0, body.len() as u8];
    record.extend(body);
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn only_tls_of_today_is_spoken_and_every_answer_asks_for_it() {
    let files = Files::new();
    let (certificate, key) = (files.path("certificate.pem"), files.path("key.pem"));
    let settings = [("tls.certificate", certificate.as_str()), ("tls.key", key.as_str())];
    let server = TestServer::start_with(&settings).await;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(files.authority.as_bytes()).unwrap()).unwrap();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        for path in ["/fhir/metadata", "/fhir/Patient/none", "/health/live", "/nothing"] {
            let stream = TcpStream::connect(address(&server)).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let stream = connector.connect(name, stream).await.unwrap();
            let sent =
                format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            let answer = told(stream, sent.as_bytes()).await;
            let answer = String::from_utf8_lossy(&answer).to_lowercase();
            assert!(answer.starts_with("http/1.1 "), "{path}: {answer}");
            assert!(answer.contains("\r\nstrict-transport-security: max-age="), "{path}: {answer}");
        }
    }
    // The same hello is answered by a hello, or by an alert and an end: the version alone decides.
    for (minor, expected) in [(3, [22, 2]), (2, [21, 2]), (1, [21, 2])] {
        let stream = TcpStream::connect(address(&server)).await.unwrap();
        let answer = told(stream, &hello(minor)).await;
        assert_eq!([answer[0], answer[5]], expected, "TLS 1.{}: {answer:?}", minor - 1);
    }
    let stream = TcpStream::connect(address(&server)).await.unwrap();
    let plain = told(stream, b"GET /fhir/metadata HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(!String::from_utf8_lossy(&plain).contains("HTTP/1.1 200"), "{plain:?}");
    assert!(!plain.starts_with(b"HTTP"), "{plain:?}");
}
