//! A connection over TLS on which one side speaks and the other listens, as syslog does.
//!
//! The listener says nothing, so what it has got is known at the end alone: the speaker says that it
//! ends, and the listener, which has read up to there, ends too. The operator named the address: it is
//! not filtered.
//!
//! Spec: RFC 5425 section 4.4, RFC 8446 section 6.1

use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{OutboundError, Trust};

/// Longest time for the connection, for one write, and for the listener to end.
const PATIENCE: Duration = Duration::from_secs(10);

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
        let (host, _) = place.rsplit_once(':').unwrap_or((place, ""));
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let connected = async {
            let name = ServerName::try_from(host.clone()).map_err(std::io::Error::other)?;
            let stream = TcpStream::connect(place).await?;
            TlsConnector::from(trust.0.clone()).connect(name, stream).await
        };
        let stream = in_time(&host, connected).await?;
        Ok(Self { host, stream })
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
            stream.shutdown().await?;
            let mut rest = Vec::new();
            match stream.read_to_end(&mut rest).await {
                // A listener that ends without a word has still read to the end: else its system
                // would have reset the connection.
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(()),
                read => read.map(drop),
            }
        };
        in_time(&self.host, ended).await
    }
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
