//! Feeds over TLS: certificates bound to senders.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use kiln::hl7v2::judge::Binding;
use kiln::hl7v2::listener::{Handshake, Secured};
use kiln::http::listener::{Tls, TlsFiles};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::database::temporary;
use crate::harness::process::kiln;

use super::feed::{Feed, Sender, Setup, adt, value};

pub(super) type Authority = CertifiedIssuer<'static, KeyPair>;

pub(super) fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for these names, with a blank between them, and its key.
fn certificate(authority: &Authority, names: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let names: Vec<_> = names.split(' ').map(str::to_owned).collect();
    let params = CertificateParams::new(names).unwrap();
    (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

struct Encrypted(Tls);

impl Handshake for Encrypted {
    fn accept(&self, stream: TcpStream) -> BoxFuture<'_, io::Result<Secured>> {
        async move {
            let (stream, names) = self.0.accept_named(stream).await?;
            Ok(Secured { stream: Box::new(stream), names })
        }
        .boxed()
    }
}

/// Puts another certificate of the server in its place; it.
pub(super) fn renew(authority: &Authority, folder: &Path) -> String {
    let (certificate, key) = certificate(authority, "localhost");
    std::fs::write(folder.join("certificate.pem"), &certificate).unwrap();
    std::fs::write(folder.join("key.pem"), key).unwrap();
    certificate
}

/// A folder with what a server needs whose clients this authority vouches for.
pub(super) fn files(authority: &Authority) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = temporary("v2-tls");
    let path = |name: &str| folder.join(name);
    std::fs::create_dir_all(&folder).unwrap();
    renew(authority, &folder);
    std::fs::write(path("clients.pem"), authority.pem()).unwrap();
    std::fs::set_permissions(path("key.pem"), std::fs::Permissions::from_mode(0o600)).unwrap();
    folder
}

fn tls(authority: &Authority) -> (Tls, PathBuf) {
    let folder = files(authority);
    let path = |name: &str| folder.join(name);
    let files = TlsFiles {
        certificate: path("certificate.pem"),
        key: path("key.pem"),
        client_authorities: Some(path("clients.pem")),
    };
    (Tls::open(files).unwrap(), folder)
}

async fn connected(
    feed: &Feed,
    authority: &Authority,
    name: Option<&str>,
) -> io::Result<Sender<TlsStream<TcpStream>>> {
    connected_to(feed.address, authority, name.map(|name| (authority, name))).await
}

/// Connects to a server that the authority vouches for, with a certificate of another one.
pub(super) async fn connected_to(
    address: SocketAddr,
    authority: &Authority,
    client: Option<(&Authority, &str)>,
) -> io::Result<Sender<TlsStream<TcpStream>>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match client {
        None => builder.with_no_client_auth(),
        Some((authority, names)) => {
            let (certificate, key) = certificate(authority, names);
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let stream = TcpStream::connect(address).await?;
    let server = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(server, stream).await?;
    Ok(Sender::new(stream))
}

/// A certificate sends in its own name alone, and without one nobody does.
///
/// Covers: v2 B40, v2 F5.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_bound_to_its_sender() {
    let authority = authority();
    let (tls, folder) = tls(&authority);
    let mut setup = Setup { tls: Some(Arc::new(Encrypted(tls))), ..Setup::default() };
    setup.settings.rules.bindings = vec![Binding::parse("lab.example.org=LAB|STM").unwrap()];
    let feed = Feed::start_with(setup).await;
    let mut own = connected(&feed, &authority, Some("lab.example.org")).await.unwrap();
    assert_eq!(value(&own.send(&adt("A01", "1", "1")).await, "MSA-1"), "AA");
    let foreign = adt("A01", "2", "1").replace("|LAB|", "|ADT|");
    assert_eq!(value(&own.send(&foreign).await, "MSA-1"), "AR");
    // The same sender by its whole name, and by another name of its certificate.
    let whole = adt("A01", "5", "1").replace("|LAB|", "|LAB^1.2.3^ISO|");
    let mut second =
        connected(&feed, &authority, Some("lis.example.org lab.example.org")).await.unwrap();
    assert_eq!(value(&second.send(&whole).await, "MSA-1"), "AA");
    let mut other = connected(&feed, &authority, Some("adt.example.org")).await.unwrap();
    assert_eq!(value(&other.send(&adt("A01", "3", "1")).await, "MSA-1"), "AR");
    match connected(&feed, &authority, None).await {
        Err(_) => {}
        Ok(mut nobody) => {
            // With TLS 1.3 the refusal comes after the client's side of the handshake.
            let message = kiln::hl7v2::frame::framed(adt("A01", "4", "1").as_bytes());
            let _ = tokio::io::AsyncWriteExt::write_all(&mut nobody.stream, &message).await;
            assert_eq!(nobody.read().await, None);
        }
    }
    assert_eq!(feed.states().await, ["processed", "rejected", "processed", "rejected"]);
    let refused = "SELECT count(*) FROM ledger WHERE interaction = 65 AND outcome = 4";
    assert_eq!(feed.server.database.number(refused).await, 2, "refusals are on record as such");
    for (name, count) in [("lab.example.org", 2), ("adt.example.org", 1)] {
        let sent = format!(
            "SELECT count(*) FROM ledger WHERE interaction = 65 AND actor = 'service:hl7v2 {name}'"
        );
        assert_eq!(
            feed.server.database.number(&sent).await,
            count,
            "who sent is on record: {name}"
        );
    }
    std::fs::remove_dir_all(folder).unwrap();
}

/// A new certificate counts for who connects from then on; who is connected goes on.
///
/// Covers: v2 M2.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_drops_nobody() {
    let authority = authority();
    let (tls, folder) = tls(&authority);
    let shown = |sender: &Sender<TlsStream<TcpStream>>| {
        let (_, connection) = sender.stream.get_ref();
        connection.peer_certificates().unwrap()[0].to_vec()
    };
    let mut setup = Setup { tls: Some(Arc::new(Encrypted(tls.clone()))), ..Setup::default() };
    setup.door = |door| door.allow = vec!["127.0.0.0/8".parse().unwrap()];
    let feed = Feed::start_with(setup).await;
    let mut before = connected(&feed, &authority, Some("lab.example.org")).await.unwrap();
    assert_eq!(value(&before.send(&adt("A01", "1", "1")).await, "MSA-1"), "AA");
    let new = renew(&authority, &folder);
    assert!(tls.reload().unwrap());
    let mut after = connected(&feed, &authority, Some("lab.example.org")).await.unwrap();
    let new = CertificateDer::from_pem_slice(new.as_bytes()).unwrap();
    assert_eq!(shown(&after), new.to_vec());
    assert_ne!(shown(&before), new.to_vec());
    for n in 0..4 {
        let sender = if n % 2 == 0 { &mut before } else { &mut after };
        let message = adt("A01", &format!("again {n}"), "1");
        assert_eq!(value(&sender.send(&message).await, "MSA-1"), "AA");
    }
    // What cannot be used changes nothing.
    std::fs::write(folder.join("key.pem"), "no key").unwrap();
    assert!(tls.reload().is_err());
    let mut later = connected(&feed, &authority, Some("lab.example.org")).await.unwrap();
    assert_eq!(value(&later.send(&adt("A01", "5", "1")).await, "MSA-1"), "AA");
    assert_eq!(feed.states().await, ["processed"; 6]);
    std::fs::remove_dir_all(folder).unwrap();
}

/// Runs `kiln v2 send` to the feed with these flags: whether it went well, and what it said.
async fn sent(feed: &Feed, flags: &[&str]) -> (bool, String) {
    let to = format!("localhost:{}", feed.address.port());
    let line = ["v2", "send", "--quiet", "--to", &to].into_iter().chain(flags.iter().copied());
    let line: Vec<String> = line.map(str::to_owned).collect();
    let run = move || kiln(&line.iter().map(String::as_str).collect::<Vec<_>>());
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let told = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(told).unwrap())
}

/// The command sends over TLS, shows a certificate where it has one, and believes whom it is told to.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_sends_over_tls() {
    let (authority, stranger) = (authority(), authority());
    let (tls, folder) = tls(&authority);
    let mut setup = Setup { tls: Some(Arc::new(Encrypted(tls))), ..Setup::default() };
    setup.settings.rules.bindings = vec![Binding::parse("lab.example.org=LAB|STM").unwrap()];
    let feed = Feed::start_with(setup).await;
    let put = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (certificate, key) = certificate(&authority, "lab.example.org");
    let (cert, key) = (put("lab.pem", &certificate), put("lab.key", &key));
    let (ca, other) = (put("ca.pem", &authority.pem()), put("other.pem", &stranger.pem()));
    let own = put("own.hl7", &adt("A01", "1", "1"));
    let foreign = put("foreign.hl7", &adt("A01", "2", "1").replace("|LAB|", "|ADT|"));
    let shown = ["--tls", "--ca", &ca, "--cert", &cert, "--key", &key];
    let (is_well, told) = sent(&feed, &[&[&*own][..], &shown].concat()).await;
    assert!(is_well && told.contains("1 messages") && told.contains(": 1 AA"), "{told}");
    let (is_well, told) = sent(&feed, &[&[&*foreign][..], &shown].concat()).await;
    assert!(!is_well && told.contains(": 1 AR"), "{told}");
    // A server that nobody known vouches for, no certificate, no TLS: nothing is answered.
    let believed = ["--tls", "--ca", &other, "--cert", &cert, "--key", &key];
    for flags in [&believed[..], &["--tls", "--ca", &ca], &[]] {
        let (is_well, told) = sent(&feed, &[&[&*own][..], flags].concat()).await;
        assert!(!is_well && !told.contains("messages in"), "{flags:?}: {told}");
    }
    assert_eq!(feed.states().await, ["processed", "rejected"]);
    std::fs::remove_dir_all(folder).unwrap();
}
