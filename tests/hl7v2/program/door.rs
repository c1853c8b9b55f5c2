//! Who comes in, by the settings of a server.

use std::net::SocketAddr;
use std::time::Duration;

use kiln::hl7v2::frame::framed;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::server::TestServer;
use crate::hl7v2::feed::{Sender, adt, value};
use crate::hl7v2::secure::{Authority, authority, connected_to, files, renew};
use crate::hl7v2::sites::install;

/// MSA-1 of the answer to a message; `None` without one.
async fn answered<S: AsyncRead + AsyncWrite + Unpin>(
    sender: &mut Sender<S>,
    id: &str,
) -> Option<String> {
    let message = framed(adt("A28", id, id).as_bytes());
    // Where nobody is let in, nothing is read either.
    sender.stream.write_all(&message).await.ok()?;
    sender.stream.flush().await.ok()?;
    sender.read().await.map(|answer| value(&answer, "MSA-1"))
}

/// The same over a new connection with a certificate.
async fn lets_in(
    address: SocketAddr,
    server: &Authority,
    client: (&Authority, &str),
    id: &str,
) -> Option<String> {
    // With TLS 1.3 a refusal comes after the client's side of the handshake.
    let mut sender = connected_to(address, server, Some(client)).await.ok()?;
    answered(&mut sender, id).await
}

/// v2 M2: the addresses that may connect are those of the settings.
#[tokio::test(flavor = "multi_thread")]
async fn only_addresses_of_the_settings_may_connect() {
    for (allow, expected) in [("127.0.0.0/8", Some("AA")), ("192.0.2.0/24", None)] {
        let settings = [("hl7v2.listen", "127.0.0.1:0"), ("hl7v2.allow", allow)];
        let server = TestServer::start_with(&settings).await;
        let mut sender = Sender::new(TcpStream::connect(server.feed()).await.unwrap());
        assert_eq!(answered(&mut sender, "1").await.as_deref(), expected, "{allow}");
    }
}

/// v2 M2: a server that runs takes up new files by itself: its certificate, and who vouches for clients. Who is
/// connected goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_follows_its_certificates_and_authorities() {
    let (own, old, new) = (authority(), authority(), authority());
    let folder = files(&own);
    let path = |name: &str| folder.join(name).display().to_string();
    std::fs::write(folder.join("clients.pem"), old.pem()).unwrap();
    let server = TestServer::start_with(&[
        ("hl7v2.listen", "127.0.0.1:0"),
        ("hl7v2.certificate", &path("certificate.pem")),
        ("hl7v2.key", &path("key.pem")),
        ("hl7v2.client_authorities", &path("clients.pem")),
    ])
    .await;
    let address = server.feed();
    let name = "lab.example.org";
    let mut before = connected_to(address, &own, Some((&old, name))).await.unwrap();
    assert_eq!(answered(&mut before, "1").await.as_deref(), Some("AA"));
    assert_eq!(lets_in(address, &own, (&new, name), "2").await, None);
    // The server's own certificate is of another authority from now on too.
    renew(&new, &folder);
    std::fs::write(folder.join("clients.pem"), new.pem()).unwrap();
    let mut taken = None;
    for n in 0..60 {
        taken = lets_in(address, &new, (&new, name), &format!("3-{n}")).await;
        if taken.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(taken.as_deref(), Some("AA"), "the new files count");
    assert_eq!(lets_in(address, &new, (&old, name), "4").await, None, "the old ones do not");
    assert_eq!(answered(&mut before, "5").await.as_deref(), Some("AA"), "nobody is dropped");
    std::fs::remove_dir_all(folder).unwrap();
}

/// v2 P2: a profile is chosen by any name of a certificate, when a message comes and when it is worked on.
#[tokio::test(flavor = "multi_thread")]
async fn a_profile_is_for_any_name_of_a_certificate() {
    let own = authority();
    let folder = files(&own);
    let path = |name: &str| folder.join(name).display().to_string();
    let server = TestServer::start_with(&[
        ("hl7v2.listen", "127.0.0.1:0"),
        ("hl7v2.certificate", &path("certificate.pem")),
        ("hl7v2.key", &path("key.pem")),
        ("hl7v2.client_authorities", &path("clients.pem")),
    ])
    .await;
    let profile = "[site]\nid = \"lis\"\nmatch = { certificate = \"lis.example.org\" }\n\
                   base = \"https://lis.test\"\ncharset = \"windows-1252\"\n";
    install(&server, "lis", Some(profile)).await;
    let names = "lab.example.org lis.example.org";
    let mut sender = connected_to(server.feed(), &own, Some((&own, names))).await.unwrap();
    // Read as the profile says, and stored under its base.
    let text = adt("A28", "1", "12").replace("Muster", "M\u{FC}ller");
    let bytes: Vec<u8> = text.chars().map(|c| u8::try_from(c).unwrap()).collect();
    sender.write(&framed(&bytes)).await;
    assert_eq!(value(&sender.read().await.unwrap(), "MSA-1"), "AA");
    let found = server.client.get("/Patient").await.expect(200);
    let at = |path: &str| found.at(&format!("entry[0].resource.{path}")).unwrap_or_default();
    assert_eq!(at("name[0].family"), "M\u{FC}ller");
    let system = at("identifier[0].system");
    assert!(system.starts_with("https://lis.test/"), "{system}");
    std::fs::remove_dir_all(folder).unwrap();
}
