//! A connection over TLS on which one side speaks and the other listens, as syslog does.
//!
//! The listener says nothing, so what it has got is known at the end alone: the speaker says that it
//! ends, and the listener, which has read up to there, ends too. The operator named the address: it is
//! not filtered.
//!
//! [`secured`] is such a connection for those who speak and listen in turn.
//!
//! Spec: RFC 5425 section 4.4, RFC 8446 section 6.1

use std::io::ErrorKind;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{OutboundError, Trust};

/// Longest time for the connection, for one write, and for the listener to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Most that is read of a listener, which has nothing to say.
const MOST_SAID: u64 = 4096;

/// How long after the other side's end it may tell that it did not take the last bytes.
const RESET_WITHIN: Duration = Duration::from_millis(200);

/// A connection to a listener.
pub struct Line {
    host: String,
    stream: TlsStream<TcpStream>,
}

impl Line {
    /// Connects to `place`, a host and a port.
    ///
    /// # Errors
    /// [`OutboundError`], when there is none, or one that is not believed.
    pub async fn open(place: &str, trust: &Trust) -> Result<Self, OutboundError> {
        let stream = secured(place, trust).await?;
        Ok(Self { host: host_of(place).to_owned(), stream })
    }

    /// Says `bytes`.
    ///
    /// # Errors
    /// [`OutboundError::Failed`] when the other side is gone.
    pub async fn say(&mut self, bytes: &[u8]) -> Result<(), OutboundError> {
        in_time(&self.host, self.stream.write_all(bytes)).await
    }

    /// Ends, and waits until the other side has read everything.
    ///
    /// # Errors
    /// [`OutboundError::Failed`] when that is not known.
    pub async fn end(mut self) -> Result<(), OutboundError> {
        let stream = &mut self.stream;
        let ended = async {
            // The connection below stays open: its system tells on it what became of the last bytes.
            stream.get_mut().1.send_close_notify();
            stream.flush().await?;
            let mut rest = (&mut *stream).take(MOST_SAID);
            match rest.read_to_end(&mut Vec::new()).await {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
                Err(error) => return Err(error),
            }
            // Many end without a word, having read all; who has closed the door before, with a word or without,
            // resets the connection when the bytes come.
            tokio::time::sleep(RESET_WITHIN).await;
            stream.get_ref().0.take_error()?.map_or(Ok(()), Err)
        };
        in_time(&self.host, ended).await
    }
}

/// A connection over TLS to `place`, a host and a port that the operator named.
///
/// # Errors
/// [`OutboundError`], when there is none, or one that is not believed.
pub async fn secured(place: &str, trust: &Trust) -> Result<TlsStream<TcpStream>, OutboundError> {
    let host = host_of(place);
    let connected = async {
        let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        let stream = TcpStream::connect(place).await?;
        // What is said is said whole: nothing is to be waited for.
        stream.set_nodelay(true)?;
        TlsConnector::from(trust.0.clone()).connect(name, stream).await
    };
    in_time(host, connected).await
}

/// The host of a host and a port; an address of version 6 has brackets around it there.
fn host_of(place: &str) -> &str {
    let (host, _) = place.rsplit_once(':').unwrap_or((place, ""));
    host.trim_start_matches('[').trim_end_matches(']')
}

async fn in_time<T>(
    host: &str,
    work: impl Future<Output = std::io::Result<T>>,
) -> Result<T, OutboundError> {
    let failed = |reason| OutboundError::Failed { host: host.to_owned(), reason };
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done.map_err(|error| failed(error.to_string())),
        Err(_) => Err(failed("no answer in time".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::crypto::ring;
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::{RootCertStore, ServerConfig};
    use tokio::net::TcpListener;
    use tokio::sync::oneshot;
    use tokio_rustls::TlsAcceptor;

    use super::super::trust;
    use super::*;

    /// How a listener ends.
    #[derive(Clone, Copy, Debug)]
    struct Ending {
        reads_all: bool,
        says_so: bool,
    }

    /// A listener of its own authority, and who believes it.
    fn secured_by_itself() -> (TlsAcceptor, Trust) {
        let made = generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let CertifiedKey { cert, signing_key } = made;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let versions = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions();
        let chain = vec![cert.der().clone()];
        let server = versions.expect("versions").with_no_client_auth().with_single_cert(chain, key);
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).expect("an authority");
        let client = trust::client().expect("a client").with_root_certificates(roots);
        let trust = Trust(Arc::new(client.with_no_client_auth()));
        (TlsAcceptor::from(Arc::new(server.expect("a server"))), trust)
    }

    /// What a speaker hears of its end from a listener.
    async fn ended(ending: Ending) -> Result<(), OutboundError> {
        let (acceptor, trust) = secured_by_itself();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let place = format!("localhost:{}", listener.local_addr().expect("an address").port());
        // What comes with the end of the handshake is taken in with it.
        let (shaken, is_shaken) = oneshot::channel();
        let listening = async move {
            let (stream, _) = listener.accept().await.expect("a speaker");
            let mut stream = acceptor.accept(stream).await.expect("a handshake");
            shaken.send(()).expect("a speaker that waits");
            if ending.reads_all {
                stream.read_to_end(&mut Vec::new()).await.expect("an end");
            } else {
                // What comes meanwhile lies in the system, and is thrown away with the connection.
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            if ending.says_so {
                stream.get_mut().1.send_close_notify();
                stream.flush().await.expect("a word");
            }
        };
        let speaking = async {
            let mut line = Line::open(&place, &trust).await.expect("a connection");
            is_shaken.await.expect("a handshake");
            line.say(b"a message").await.expect("bytes that go out");
            line.end().await
        };
        tokio::join!(listening, speaking).1
    }

    #[tokio::test]
    async fn what_was_not_read_to_its_end_was_not_taken() {
        for says_so in [true, false] {
            for reads_all in [true, false] {
                let (ending, began) = (Ending { reads_all, says_so }, Instant::now());
                assert_eq!(ended(ending).await.is_ok(), reads_all, "{ending:?}");
                assert!(began.elapsed() < PATIENCE, "{ending:?}: it is told, not waited for");
            }
        }
    }
}
