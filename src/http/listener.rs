//! Listeners: connections in, requests to the endpoint, an orderly end.

use std::convert::Infallible;
use std::fmt::Display;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::server::TlsStream;
use tower::ServiceExt;

mod starting;
pub mod tenants;
mod tls;
mod work;

use starting::starting;
pub use tls::{Tls, TlsError, TlsFiles};
use work::{Answering, Running, Watched, Work};

/// Most bytes of a request that are read before its head is known; `http` refuses smaller heads
/// already, with an answer that a client can read.
const MAX_HEAD_BYTES: usize = 128 * 1024;
/// How often a peer over HTTP/2 is asked whether it is there, and how long it has to answer.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));
/// Between two looks at whether a connection that is to end still has work.
const LOOK: Duration = Duration::from_millis(500);
/// Between two warnings of the same kind.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(10);

/// What a listener bears.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most connections at a time; who comes then waits for one that ends.
    pub connections: u32,
    /// Longest time that a connection is without a request, whatever else its peer says.
    pub head: Duration,
    /// Longest wait for running requests when the server stops.
    pub stop: Duration,
}

impl Limits {
    /// Limits with room for `connections`.
    pub fn of(connections: u32) -> Self {
        Self { connections, head: Duration::from_secs(30), stop: Duration::from_secs(20) }
    }
}

/// How connections come in.
#[derive(Clone)]
pub struct Door {
    /// What the listener bears.
    pub limits: Limits,
    /// TLS, when it is spoken.
    pub tls: Option<Tls>,
}

impl From<Limits> for Door {
    fn from(limits: Limits) -> Self {
        Self { limits, tls: None }
    }
}

/// The endpoint, once it is there; until then every request gets 503.
#[derive(Clone, Default)]
pub struct Ready(Arc<OnceLock<Router>>);

impl Ready {
    /// Opens the endpoint; a second call changes nothing.
    pub fn set(&self, router: Router) {
        // Set once, by the start of the server.
        let _ = self.0.set(router);
    }
}

/// Serves `listener` until told to stop, then lets running requests finish.
pub async fn serve(
    listener: TcpListener,
    ready: Ready,
    door: Door,
    mut stop: watch::Receiver<bool>,
) {
    let Door { limits, tls } = door;
    let server = Arc::new(builder(limits));
    let seats = Arc::new(Semaphore::new(limits.connections as usize));
    let mut warned = Warned::default();
    loop {
        if seats.available_permits() == 0 && warned.is_due() {
            let connections = limits.connections;
            tracing::warn!(connections, "as many connections as there may be: others wait");
        }
        let next = async {
            let seat = seats.clone().acquire_owned().await;
            listener.accept().await.map(|accepted| (seat, accepted))
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            // Told, or there is nobody left to tell.
            _ = stop.changed() => break,
        };
        match accepted {
            Ok((Ok(seat), (stream, source))) => {
                let connection = Attended { limits, stop: stop.clone(), _seat: seat };
                let peer = Peer { ready: ready.clone(), source, work: Work::none() };
                connect(server.clone(), tls.clone(), connection, stream, peer);
            }
            Ok((Err(_closed), _)) => break,
            // Out of file descriptors, or the client left again: the next may do better.
            Err(error) => {
                if warned.is_due() {
                    tracing::warn!(%error, "cannot accept a connection");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    // A connection keeps its seat to its end.
    let ended = seats.acquire_many(limits.connections);
    if tokio::time::timeout(limits.stop, ended).await.is_err() {
        tracing::warn!("some requests did not finish in time");
    }
}

fn builder(limits: Limits) -> Builder<TokioExecutor> {
    let mut server = Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(MAX_HEAD_BYTES)
        .pipeline_flush(true);
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE.0)
        .keep_alive_timeout(KEEP_ALIVE.1);
    server
}

/// Remembers when something was last warned of.
#[derive(Default)]
struct Warned(Option<Instant>);

impl Warned {
    /// Whether it is time to warn, which then counts as done.
    fn is_due(&mut self) -> bool {
        let is_due = self.0.is_none_or(|last| last.elapsed() > BETWEEN_WARNINGS);
        if is_due {
            self.0 = Some(Instant::now());
        }
        is_due
    }
}

/// Who is at the other end, and what it asks.
#[derive(Clone)]
struct Peer {
    ready: Ready,
    source: SocketAddr,
    work: Work,
}

impl Peer {
    /// Answers one request, which counts as running until its answer is given away.
    async fn answer(
        self,
        mut request: Request<Incoming>,
        running: Running,
    ) -> Result<Response<Answering>, Infallible> {
        request.extensions_mut().insert(ConnectInfo(self.source));
        let response = match self.ready.0.get().cloned() {
            Some(router) => router.oneshot(request.map(Body::new)).await?,
            None => starting(request.uri(), request.headers()),
        };
        Ok(response.map(|body| Answering::of(body, running)))
    }
}

#[expect(clippy::disallowed_methods, reason = "every connection is a task of the listener")]
fn connect(
    server: Arc<Builder<TokioExecutor>>,
    tls: Option<Tls>,
    mut attended: Attended,
    stream: TcpStream,
    peer: Peer,
) {
    // Answers are written whole; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    let stream = Watched { stream, work: peer.work.clone() };
    tokio::spawn(async move {
        let Some(tls) = tls else { return attended.serve(&server, stream, peer).await };
        if let Some(stream) = attended.shake_hands(&tls, stream).await {
            attended.serve(&server, stream, peer).await;
        }
    });
}

/// How long a connection may go on.
struct Attended {
    limits: Limits,
    stop: watch::Receiver<bool>,
    _seat: OwnedSemaphorePermit,
}

impl Attended {
    /// Speaks TLS with who is there; `None` where nothing comes of it in the time for a request's head.
    async fn shake_hands(&mut self, tls: &Tls, stream: Watched) -> Option<TlsStream<Watched>> {
        let handshake = tokio::time::timeout(self.limits.head, tls.accept(stream));
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            // Told, or there is nobody left to tell.
            _ = self.stop.changed() => return None,
        };
        match shaken {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                tracing::debug!(%error, "TLS did not come about");
                None
            }
            Err(_elapsed) => None,
        }
    }

    /// Answers the requests of `stream`.
    async fn serve<S>(self, server: &Builder<TokioExecutor>, stream: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let work = peer.work.clone();
        let service = service_fn(move |request| {
            let running = peer.work.begin();
            peer.clone().answer(request, running)
        });
        let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
        self.until_ended(connection.into_owned(), work).await;
    }

    /// Runs `connection` until it ends by itself; until the server stops, or no request comes in
    /// time, and what is running is done.
    async fn until_ended<C: GracefulConnection>(self, connection: C, work: Work)
    where
        C::Error: Display,
    {
        let Self { limits, mut stop, _seat } = self;
        let mut connection = pin!(connection);
        let has_rested = tokio::select! {
            ended = connection.as_mut() => return told(ended),
            () = work.has_rested(limits.head) => true,
            // Told, or there is nobody left to tell.
            _ = stop.changed() => false,
        };
        connection.as_mut().graceful_shutdown();
        // A peer that does not answer would keep a connection without any work; twice, for what
        // was answered just now may still be on its way.
        let idle = async {
            let (mut looks, mut written) = (0, work.written());
            while looks < 2 {
                tokio::time::sleep(LOOK).await;
                let now = work.written();
                // Who has rested took nothing for long.
                let waits = !has_rested && work.is_blocked();
                let is_idle = work.is_idle() && now == written && !waits;
                (looks, written) = (if is_idle { looks + 1 } else { 0 }, now);
            }
        };
        tokio::select! {
            ended = connection.as_mut() => told(ended),
            () = idle => {}
        }
    }
}

fn told<E: Display>(ended: Result<(), E>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// What begins a connection of HTTP/2, with settings that leave all as it is.
    const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

    const LIVE: &[u8] = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";

    #[expect(clippy::disallowed_methods, reason = "the listener of a test is its own task")]
    async fn started_with(limits: Limits, ready: Ready) -> (SocketAddr, watch::Sender<bool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(serve(listener, ready, limits.into(), stopped));
        (address, stop)
    }

    async fn started(limits: Limits) -> (SocketAddr, watch::Sender<bool>) {
        started_with(limits, Ready::default()).await
    }

    async fn said(address: SocketAddr, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    /// Whether the other side ends `stream` within `limit`; a reset counts.
    async fn ends(stream: &mut TcpStream, limit: Duration) -> bool {
        let mut read = Vec::new();
        tokio::time::timeout(limit, stream.read_to_end(&mut read)).await.is_ok()
    }

    #[tokio::test]
    async fn a_connection_without_a_request_ends() {
        let head = Duration::from_millis(200);
        let (address, _stop) = started(Limits { head, ..Limits::of(10) }).await;
        for bytes in [&b""[..], b"PRI", b"GET /health/live HTTP/1.1\r\nHo", HTTP2] {
            let mut stream = said(address, bytes).await;
            let began = Instant::now();
            assert!(ends(&mut stream, Duration::from_secs(10)).await, "{bytes:?}");
            assert!(began.elapsed() >= head / 2, "{bytes:?} had no time");
        }
    }

    /// A request for `/health/live` over HTTP/2, by the numbers of RFC 7541's tables: GET, http, and
    /// `:path` as a literal.
    const LIVE2: &[u8] = b"\0\0\x10\x01\x05\0\0\0\x01\x82\x86\x04\x0c/health/live";

    /// A peer over HTTP/2 that asks once, then answers what is asked of it and asks whether the other
    /// side is there, ten times in the time that a connection may rest: until it is told to go.
    async fn until_told_to_go(stream: &mut TcpStream, head: Duration) {
        let ping = b"\0\0\x08\x06\0\0\0\0\0somebody";
        let mut frame = [0; 9];
        loop {
            if tokio::time::timeout(head / 10, stream.readable()).await.is_err() {
                stream.write_all(ping).await.unwrap();
                continue;
            }
            stream.read_exact(&mut frame).await.unwrap();
            let length = u32::from_be_bytes([0, frame[0], frame[1], frame[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            stream.read_exact(&mut payload).await.unwrap();
            if frame[3] == 7 {
                return;
            }
        }
    }

    #[tokio::test]
    async fn a_peer_that_asks_for_nothing_more_does_not_keep_its_place_by_pings() {
        let head = Duration::from_millis(500);
        let (address, _stop) = started(Limits { head, ..Limits::of(1) }).await;
        let mut stream = said(address, HTTP2).await;
        let began = Instant::now();
        stream.write_all(LIVE2).await.unwrap();
        let told = until_told_to_go(&mut stream, head);
        assert!(tokio::time::timeout(Duration::from_secs(10), told).await.is_ok(), "it may stay");
        assert!(began.elapsed() >= head / 2, "it had no time");
        let mut second = said(address, LIVE).await;
        let mut answer = [0; 15];
        let answered = second.read_exact(&mut answer);
        tokio::time::timeout(Duration::from_secs(10), answered).await.unwrap().unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
    }

    /// An answer of 32 MB, as a whole.
    fn large() -> Ready {
        let ready = Ready::default();
        ready.set(Router::new().fallback(async || vec![7_u8; 32 << 20]));
        ready
    }

    /// Reads an answer, a little at a time; how many bytes it had.
    async fn read_slowly(stream: &mut TcpStream, until: Option<watch::Sender<bool>>) -> usize {
        let (mut all, mut some) = (0, vec![0; 128 << 10]);
        while let Ok(count @ 1..) = stream.read(&mut some).await {
            all += count;
            if all > 1 << 20
                && let Some(stop) = &until
            {
                let _ = stop.send(true);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        all
    }

    #[tokio::test]
    async fn who_reads_slowly_gets_the_whole_answer() {
        let limits = Limits { head: Duration::from_millis(300), ..Limits::of(10) };
        for is_stopped in [false, true] {
            let (address, stop) = started_with(limits, large()).await;
            let mut stream = said(address, LIVE).await;
            let until = is_stopped.then(|| stop.clone());
            let count = read_slowly(&mut stream, until).await;
            assert!(count > 32 << 20, "cut off after {count} bytes, stopped: {is_stopped}");
        }
    }

    #[tokio::test]
    async fn who_stops_reading_is_let_go() {
        let limits = Limits { head: Duration::from_millis(200), ..Limits::of(1) };
        let (address, _stop) = started_with(limits, large()).await;
        let _silent = said(address, LIVE).await;
        let mut second = said(address, LIVE).await;
        let mut answer = [0; 15];
        let answered = second.read_exact(&mut answer);
        tokio::time::timeout(Duration::from_secs(20), answered).await.unwrap().unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
    }

    #[tokio::test]
    async fn who_finds_every_connection_taken_waits_for_one_that_ends() {
        let (address, _stop) = started(Limits::of(1)).await;
        let mut first = said(address, LIVE).await;
        let mut answer = [0; 15];
        first.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        let mut second = said(address, LIVE).await;
        let early = second.read_exact(&mut answer);
        assert!(tokio::time::timeout(Duration::from_millis(300), early).await.is_err());
        drop(first);
        let then = second.read_exact(&mut answer);
        tokio::time::timeout(Duration::from_secs(10), then).await.unwrap().unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
    }

    #[tokio::test]
    async fn a_peer_that_says_nothing_does_not_hold_the_stop() {
        let (address, stop) = started(Limits::of(10)).await;
        let mut silent = Vec::new();
        for bytes in [&b""[..], b"PRI", LIVE, HTTP2] {
            let mut stream = said(address, bytes).await;
            if bytes == HTTP2 {
                // Its settings: it has understood.
                stream.read_exact(&mut [0; 9]).await.unwrap();
            }
            silent.push(stream);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        stop.send(true).unwrap();
        let began = Instant::now();
        for (at, stream) in silent.iter_mut().enumerate() {
            assert!(ends(stream, Duration::from_secs(10)).await, "{at}");
        }
        assert!(began.elapsed() < Limits::of(10).stop / 2, "{:?}", began.elapsed());
        let closed = tokio::time::timeout(Duration::from_secs(10), stop.closed());
        assert!(closed.await.is_ok(), "the listener goes on");
    }
}
