//! A wire between a server and the test database that can be cut at a chosen moment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::database::Database;

/// The end of every answer outside a transaction: ReadyForQuery, idle.
const READY: &[u8] = b"Z\0\0\0\x05I";

/// When the wire is cut, once a statement passes that has the mark in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cut {
    /// The database has done it and answered; the server never learns.
    BeforeItsAnswer,
    /// The database never sees it.
    BeforeItArrives,
}

/// A listener on 127.0.0.1 that passes everything on to the socket of a database.
#[derive(Clone)]
pub(crate) struct Proxy {
    address: SocketAddr,
    armed: Arc<Mutex<Option<(&'static str, Cut)>>>,
}

impl Proxy {
    /// A wire to the server of `database`.
    pub(crate) async fn before(database: &Database) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self { address: listener.local_addr().unwrap(), armed: Arc::default() };
        let (socket, own) = (socket(&database.app), proxy.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (socket, own) = (socket.clone(), own.clone());
                tokio::spawn(async move {
                    let server = UnixStream::connect(socket).await.unwrap();
                    // Its end is the cut, or that of a side: there is nothing to tell.
                    let _ = own.pass(client, server).await;
                });
            }
        });
        proxy
    }

    /// The URL of `database` by way of this wire.
    pub(crate) fn url(&self, database: &Database) -> String {
        let (role, rest) = database.app.split_once('@').unwrap();
        let (_, name) = rest.split_once('/').unwrap();
        format!("{role}@{}/{name}?sslmode=disable", self.address)
    }

    /// Cuts the next connection on which a statement with `mark` in it passes.
    pub(crate) fn cut(&self, mark: &'static str, when: Cut) {
        *self.armed.lock().unwrap() = Some((mark, when));
    }

    /// Whether the cut that was asked for has happened.
    pub(crate) fn has_cut(&self) -> bool {
        self.armed.lock().unwrap().is_none()
    }

    async fn pass(&self, mut client: TcpStream, mut server: UnixStream) -> std::io::Result<()> {
        let (mut up, mut down) = (vec![0; 1 << 20], vec![0; 1 << 20]);
        loop {
            tokio::select! {
                count = client.read(&mut up) => {
                    let sent = &up[..count?];
                    if sent.is_empty() {
                        return Ok(());
                    }
                    match self.triggered(sent) {
                        None => server.write_all(sent).await?,
                        Some(Cut::BeforeItArrives) => return Ok(()),
                        Some(Cut::BeforeItsAnswer) => {
                            server.write_all(sent).await?;
                            let mut answer = Vec::new();
                            while !answer.ends_with(READY) {
                                answer.push(server.read_u8().await?);
                            }
                            return Ok(());
                        }
                    }
                }
                count = server.read(&mut down) => {
                    let count = count?;
                    if count == 0 {
                        return Ok(());
                    }
                    client.write_all(&down[..count]).await?;
                }
            }
        }
    }

    fn triggered(&self, sent: &[u8]) -> Option<Cut> {
        let mut armed = self.armed.lock().unwrap();
        let (mark, when) = (*armed)?;
        sent.windows(mark.len()).any(|part| part == mark.as_bytes()).then(|| *armed = None)?;
        Some(when)
    }
}

/// The socket that a URL like `postgres://role@%2Ffolder:port/name` names.
fn socket(url: &str) -> PathBuf {
    let (_, rest) = url.split_once('@').unwrap();
    let (place, _) = rest.split_once('/').unwrap();
    let (folder, port) = place.rsplit_once(':').unwrap();
    PathBuf::from(folder.replace("%2F", "/").replace("%2f", "/")).join(format!(".s.PGSQL.{port}"))
}
