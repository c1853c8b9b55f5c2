//! The way of a server to its database, which is taken away and given back.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

/// How a [`Wire`] is.
#[derive(Clone, Copy)]
pub(crate) enum State {
    /// Every connection is closed.
    Cut,
    Open,
    /// Connections stay and nothing comes through.
    Silent,
}

/// The way to a database, to be cut.
pub(crate) struct Wire {
    address: SocketAddr,
    state: watch::Sender<State>,
}

impl Wire {
    /// A way to the private PostgreSQL whose URL `url` is.
    pub(crate) async fn to(url: &str) -> Self {
        let (_, rest) = url.split_once('@').unwrap();
        let (folder, rest) = rest.split_once(':').unwrap();
        let (port, _) = rest.split_once('/').unwrap();
        let socket = PathBuf::from(folder.replace("%2F", "/")).join(format!(".s.PGSQL.{port}"));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, changes) = watch::channel(State::Open);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(carry(stream, socket.clone(), changes.clone()));
            }
        });
        Self { address, state }
    }

    /// How it is from now on.
    pub(crate) fn set(&self, state: State) {
        self.state.send_replace(state);
    }

    /// `url` by this way.
    pub(crate) fn url(&self, url: &str) -> String {
        let (start, rest) = url.split_once('@').unwrap();
        let (_, database) = rest.split_once('/').unwrap();
        format!("{start}@{}/{database}", self.address)
    }
}

async fn carry(mut client: TcpStream, socket: PathBuf, mut state: watch::Receiver<State>) {
    let mut server = UnixStream::connect(&socket).await.unwrap();
    loop {
        let now = *state.borrow_and_update();
        match now {
            State::Cut => return,
            State::Silent if state.changed().await.is_err() => return,
            State::Silent => {}
            State::Open => tokio::select! {
                _ = copy_bidirectional(&mut client, &mut server) => return,
                _ = state.changed() => {}
            },
        }
    }
}
