//! The MLLP listener: connections in, frames to the receiver, answers back in their order.
//!
//! A connection has one message at a time, so a sender that does not wait is held back by TCP; nothing
//! is read while too many messages wait. Where a message cannot be stored, nothing is answered and the
//! connection is closed: the sender keeps the message.
//!
//! Spec: v2 M1, M2, M10, B3 to B5, B7, B40

mod peers;
mod rest;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};
use tokio_util::codec::Decoder as _;

use super::ack::{Condition, Issue};
use super::frame::{Frame, Frames, NOT_STORED, STORED, framed};
use super::lasting::lasting;
use super::receive::{Application, Origin, Receiver};
use super::unconfirmed::{CONFIRM, Unconfirmed};
use crate::config::Network;
use crate::error::root_cause;
use peers::{Counted, Peers, Present};

/// How long the byte after FS is waited for.
const AFTER_END: Duration = Duration::from_millis(250);
/// How long an answer may take to be written, and a handshake to be made.
const WRITE: Duration = Duration::from_secs(30);
/// Between two looks at whether messages may be read again.
const FULL: Duration = Duration::from_millis(100);
/// Longest wait for connections when the server stops.
const LAST_WAIT: Duration = Duration::from_secs(20);
/// Silence after which the other side is asked whether it is there.
const KEEP_ALIVE: Duration = Duration::from_mins(1);
/// How much is read at once of who sends much.
const CHUNK: usize = 64 * 1024;
/// How much of who has said nothing yet, or nothing since the last message: most connections do that most of the time.
const FIRST: usize = 4 * 1024;

/// A connection, encrypted or not.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection after its handshake.
pub struct Secured {
    /// The connection.
    pub stream: Box<dyn Stream>,
    /// The names in the client's certificate, and `sha256:` with its digest; none without one.
    pub names: Vec<String>,
}

/// Who speaks TLS for the listener.
pub trait Handshake: Send + Sync {
    /// The handshake with who has connected.
    fn accept(&self, stream: TcpStream) -> BoxFuture<'_, io::Result<Secured>>;
}

/// How connections come in.
#[derive(Clone)]
pub struct Door {
    /// TLS, where it is spoken.
    pub tls: Option<Arc<dyn Handshake>>,
    /// Who may connect; without any all may.
    pub allow: Vec<Network>,
    /// Largest message.
    pub max_message_bytes: usize,
    /// Most connections.
    pub connections: u32,
    /// Most of one address.
    pub connections_per_peer: u32,
    /// Silence after which a connection is closed; `None`: never.
    pub idle: Option<Duration>,
    /// How long a message may take to come.
    pub frame: Duration,
    /// Whether each frame is confirmed by a frame of its own (release 2 of MLLP).
    pub confirms: bool,
}

/// Serves `listener` until told to stop, then lets messages end that are being answered.
pub async fn serve(
    listener: TcpListener,
    receiver: Arc<Receiver>,
    door: Door,
    stop: watch::Receiver<bool>,
) {
    let seats = Arc::new(Semaphore::new(door.connections as usize));
    let (peers, door) = (Peers::default(), Arc::new(door));
    let accepting = || accept(&listener, (&receiver, &door, &stop), (&seats, &peers), stop.clone());
    lasting("accept", stop.clone(), accepting).await;
    drop(listener);
    let ended = seats.acquire_many(door.connections);
    if timeout(LAST_WAIT, ended).await.is_err() {
        tracing::warn!("some connections of feeds did not end in time");
    }
}

/// Takes connections, each with a seat of its own.
async fn accept(
    listener: &TcpListener,
    (receiver, door, stop): (&Arc<Receiver>, &Arc<Door>, &watch::Receiver<bool>),
    (seats, peers): (&Arc<Semaphore>, &Peers),
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let next = async {
            let seat = seats.clone().acquire_owned().await;
            listener.accept().await.map(|accepted| (seat, accepted))
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            _ = stopped.changed() => return,
        };
        match accepted {
            Ok((Ok(seat), (stream, source))) => {
                let address = source.ip().to_canonical();
                if !door.allow.is_empty() && !door.allow.iter().any(|net| net.contains(address)) {
                    refused("not allowed", address);
                } else if let Some(present) = peers.enter(address, door.connections_per_peer, seat)
                {
                    let served = (receiver.clone(), door.clone(), stop.clone());
                    connect(stream, source, present, served);
                } else {
                    refused("too many connections", address);
                }
            }
            Ok((Err(_closed), _)) => return,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Waits until told to stop, or there is nobody left to tell.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|is_told| *is_told).await;
}

fn refused(why: &'static str, peer: IpAddr) {
    metrics::counter!("kiln_v2_connections_refused_total", "reason" => why).increment(1);
    tracing::warn!(why, %peer, "a connection was refused");
}

#[expect(clippy::disallowed_methods, reason = "every connection is a task of the listener")]
fn connect(
    stream: TcpStream,
    source: SocketAddr,
    present: Present,
    (receiver, door, stop): (Arc<Receiver>, Arc<Door>, watch::Receiver<bool>),
) {
    // Answers are written whole; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    keep_alive(&stream);
    tokio::spawn(async move {
        let _present = present;
        let peer = source.ip().to_canonical();
        let secured = match &door.tls {
            None => Ok(Secured { stream: Box::new(stream), names: Vec::new() }),
            Some(tls) => match timeout(WRITE, tls.accept(stream)).await {
                Ok(accepted) => accepted,
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            },
        };
        let secured = match secured {
            Ok(secured) => secured,
            Err(error) => {
                metrics::counter!("kiln_v2_connections_refused_total", "reason" => "tls")
                    .increment(1);
                tracing::warn!(%peer, %error, "no TLS with a sender");
                return;
            }
        };
        let origin = Origin {
            listener: "mllp",
            peer: Some(peer),
            names: secured.names,
            is_framed: true,
            caller: None,
        };
        let frames = Frames::new(door.max_message_bytes);
        let mut connection = Connection {
            stream: secured.stream,
            frames,
            buffer: BytesMut::new(),
            receiver,
            stop,
            origin,
            confirms: door.confirms,
            unconfirmed: Unconfirmed::new(CONFIRM),
            counted: (0, 0),
        };
        let counted = Counted::new();
        let why = connection.serve(&door).await;
        drop(counted);
        connection.count();
        let dropped = connection.frames.dropped();
        tracing::debug!(%peer, why, dropped, "a feed has ended");
    });
}

/// Has the other side asked whether it is there when it says nothing.
fn keep_alive(stream: &TcpStream) {
    let alive = socket2::TcpKeepalive::new().with_time(KEEP_ALIVE);
    let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&alive);
}

/// Writes a frame around an answer, unless the other side reads nothing.
async fn write_frame<S: AsyncWrite + Unpin>(
    stream: &mut S,
    answer: &[u8],
    patience: Duration,
) -> Result<(), &'static str> {
    let frame = framed(answer);
    let write = async {
        stream.write_all(&frame).await?;
        stream.flush().await
    };
    match timeout(patience, write).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err("writing"),
        Err(_) => Err("not read"),
    }
}

struct Connection {
    stream: Box<dyn Stream>,
    frames: Frames,
    buffer: BytesMut,
    receiver: Arc<Receiver>,
    stop: watch::Receiver<bool>,
    origin: Origin,
    confirms: bool,
    unconfirmed: Unconfirmed,
    /// Bytes between frames and frames without CR that the metrics have.
    counted: (u64, u64),
}

impl Connection {
    /// Tells the metrics what of the frames was not as it should be.
    fn count(&mut self) {
        let (dropped, unended) = (self.frames.dropped(), self.frames.unended());
        metrics::counter!("kiln_v2_noise_bytes_total").increment(dropped - self.counted.0);
        metrics::counter!("kiln_v2_missing_cr_total").increment(unended - self.counted.1);
        self.counted = (dropped, unended);
    }

    /// Answers frame after frame; why it ended.
    async fn serve(&mut self, door: &Door) -> &'static str {
        let (mut stop, mut began) = (self.stop.clone(), None);
        loop {
            match self.frames.decode(&mut self.buffer) {
                Ok(Some(frame)) => {
                    began = None;
                    if let Err(why) = self.take(frame).await {
                        return why;
                    }
                    if *stop.borrow() {
                        return "stopping";
                    }
                    continue;
                }
                Ok(None) => {}
                Err(_) => return "reading",
            }
            if self.frames.is_inside() {
                began.get_or_insert_with(Instant::now);
            }
            let is_nearly_whole = self.frames.is_nearly_whole(&self.buffer);
            let wait = match began {
                _ if is_nearly_whole => Some(AFTER_END),
                Some(began) => Some(door.frame.saturating_sub(began.elapsed())),
                None => door.idle,
            };
            let again = self.unconfirmed.wait().filter(|_| began.is_none() && !is_nearly_whole);
            let is_again = again.is_some_and(|again| wait.is_none_or(|wait| again < wait));
            let wait = if is_again { again } else { wait };
            let read = tokio::select! {
                read = self.read(wait) => read,
                _ = stop.changed() => return "stopping",
            };
            match read {
                Ok(Some(0)) => return self.close().await,
                Ok(Some(_)) => {}
                Ok(None) if is_nearly_whole => {
                    if let Some(frame) = self.frames.finish(&mut self.buffer)
                        && let Err(why) = self.take(frame).await
                    {
                        return why;
                    }
                    began = None;
                }
                Ok(None) if is_again => {
                    let overdue = self.unconfirmed.overdue();
                    if let Err(why) = self.send_again(overdue).await {
                        return why;
                    }
                }
                Ok(None) => return if began.is_some() { "half a message" } else { "idle" },
                Err(_) => return "reading",
            }
        }
    }

    /// Reads what is there; `None` when nothing came in time.
    async fn read(&mut self, wait: Option<Duration>) -> io::Result<Option<usize>> {
        let is_silent = self.buffer.is_empty() && !self.frames.is_inside();
        if is_silent {
            // What the last message needed room for is given back.
            self.buffer = BytesMut::new();
        }
        self.frames.make_room(&mut self.buffer, if is_silent { FIRST } else { CHUNK });
        let read = self.stream.read_buf(&mut self.buffer);
        match wait {
            None => read.await.map(Some),
            Some(wait) => timeout(wait, read).await.ok().transpose(),
        }
    }

    /// The other side has closed: what it left half is lost, which it knows.
    async fn close(&mut self) -> &'static str {
        if let Ok(Some(frame)) = self.frames.decode_eof(&mut self.buffer)
            && let Err(why) = self.take(frame).await
        {
            return why;
        }
        "closed"
    }

    /// What is done with a message is much to remember, which a connection need not have room for while it is silent.
    fn take(&mut self, frame: Frame) -> BoxFuture<'_, Result<(), &'static str>> {
        self.taken(frame).boxed()
    }

    async fn taken(&mut self, frame: Frame) -> Result<(), &'static str> {
        self.count();
        match frame {
            // What confirms an answer of ours, or does not.
            Frame::Whole(byte) if self.confirms && byte[..] == *STORED => {
                match self.unconfirmed.confirmed() {
                    Some(next) => self.write(&next).await,
                    None => Ok(()),
                }
            }
            Frame::Whole(byte) if self.confirms && byte[..] == *NOT_STORED => {
                let refused = self.unconfirmed.refused();
                self.send_again(refused).await
            }
            Frame::Whole(message) => self.message(message).await,
            Frame::Truncated(beginning) => {
                metrics::counter!("kiln_v2_truncated_total").increment(1);
                let (peer, bytes) = (self.origin.peer, beginning.len());
                tracing::warn!(?peer, bytes, "a frame was cut off by the next: not answered");
                Ok(())
            }
            Frame::TooLong(beginning) => {
                let issue = Issue::error(Condition::ApplicationError).named("too-long");
                let refused = self.receiver.refuse(&beginning, issue, &self.origin).await;
                if let Ok(answer) = refused {
                    self.write(&answer).await?;
                    self.buffer = BytesMut::new();
                    rest::drain(&mut self.stream).await;
                }
                Err("a message beyond the limit")
            }
        }
    }

    async fn message(&mut self, message: Bytes) -> Result<(), &'static str> {
        while self.receiver.is_full() {
            tokio::select! {
                () = tokio::time::sleep(FULL) => {}
                // It is not stored and not answered: the sender keeps it.
                () = told(&mut self.stop) => return Err("stopping"),
            }
        }
        let answers = match self.receiver.receive(&message, &self.origin).await {
            Ok(answers) => answers,
            Err(error) => {
                tracing::warn!(
                    cause = root_cause(&error),
                    "a message is not stored and not answered"
                );
                if self.confirms {
                    self.write(NOT_STORED).await?;
                }
                return Err("not stored");
            }
        };
        if self.confirms {
            self.write(STORED).await?;
        }
        if let Some(accept) = answers.accept {
            self.answer(accept).await?;
        }
        match answers.application {
            Application::Silent => Ok(()),
            Application::Now(answer) => self.answer(answer).await,
            Application::Later(pending) => {
                let receiver = self.receiver.clone();
                match pending.answer(&receiver).await {
                    Ok(Some(answer)) => self.answer(answer).await,
                    Ok(None) => Ok(()),
                    Err(error) => {
                        let cause = root_cause(&error);
                        tracing::warn!(cause, "a message may not be stored and is not answered");
                        Err("not stored")
                    }
                }
            }
        }
    }

    /// Writes an answer; in release 2 once the other side has confirmed the one before it.
    async fn answer(&mut self, answer: Bytes) -> Result<(), &'static str> {
        if !self.confirms {
            return self.write(&answer).await;
        }
        match self.unconfirmed.push(answer)? {
            Some(answer) => self.write(&answer).await,
            None => Ok(()),
        }
    }

    /// Sends an answer again, if there is one to be sent.
    async fn send_again(
        &mut self,
        answer: Result<Option<Bytes>, &'static str>,
    ) -> Result<(), &'static str> {
        match answer? {
            Some(answer) => {
                metrics::counter!("kiln_v2_answers_sent_again_total").increment(1);
                self.write(&answer).await
            }
            None => Ok(()),
        }
    }

    async fn write(&mut self, answer: &[u8]) -> Result<(), &'static str> {
        write_frame(&mut self.stream, answer, WRITE).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: v2 M1.
    #[tokio::test]
    async fn who_reads_no_answers_is_given_up() {
        let (mut own, other) = tokio::io::duplex(16);
        let (began, patience) = (Instant::now(), Duration::from_millis(100));
        assert_eq!(write_frame(&mut own, &[b'x'; 100], patience).await, Err("not read"));
        assert!(began.elapsed() >= patience);
        drop(other);
        let (mut own, mut reading) = tokio::io::duplex(16);
        let read = async {
            let mut all = Vec::new();
            reading.read_to_end(&mut all).await.unwrap();
            all
        };
        let answer = b"an answer longer than that";
        let write = async move { write_frame(&mut own, answer, WRITE).await };
        let (all, written) = tokio::join!(read, write);
        assert_eq!(written, Ok(()));
        assert_eq!(all, framed(answer));
    }

    /// Covers: v2 M1.
    #[tokio::test]
    async fn a_silent_side_is_asked_whether_it_is_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _other = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let socket = socket2::SockRef::from(&stream);
        assert!(!socket.keepalive().unwrap());
        keep_alive(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEP_ALIVE);
    }
}
