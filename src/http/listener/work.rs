//! What a connection has to do: requests that run, and answers that are on their way.
//!
//! An answer is given to the connection long before its reader has it: a slow one is still served
//! when no request runs any more. So the socket is watched too.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// What is written at a time to keep a connection alive is less; that is no work.
const SMALL: usize = 64;
/// Most of an answer that is given to the connection at a time: over HTTP/2, which asks for more when
/// its reader has room, the request runs until the last of it.
const PIECE: usize = 256 << 10;
/// How many times as long as it may rest a connection waits for a reader that takes nothing.
const PATIENCE: u8 = 4;

/// What a connection has to do.
#[derive(Clone)]
pub(super) struct Work(Arc<State>);

struct State {
    running: watch::Sender<usize>,
    written: AtomicU64,
    is_blocked: AtomicBool,
}

impl Work {
    pub(super) fn none() -> Self {
        let (written, is_blocked) = (AtomicU64::new(0), AtomicBool::new(false));
        Self(Arc::new(State { running: watch::Sender::new(0), written, is_blocked }))
    }

    pub(super) fn begin(&self) -> Running {
        self.0.running.send_modify(|running| *running += 1);
        Running(self.clone())
    }

    /// Whether no request runs.
    pub(super) fn is_idle(&self) -> bool {
        *self.0.running.borrow() == 0
    }

    /// How often something of an answer was written.
    pub(super) fn written(&self) -> u64 {
        self.0.written.load(Ordering::Relaxed)
    }

    /// Whether there is something to write that its reader does not take.
    pub(super) fn is_blocked(&self) -> bool {
        self.0.is_blocked.load(Ordering::Relaxed)
    }

    /// Waits until no request has run and nothing was written for so long; longer where there is
    /// something to write that nobody takes.
    pub(super) async fn has_rested(&self, limit: Duration) {
        let mut changes = self.0.running.subscribe();
        let mut stalled = 0;
        loop {
            // The sender is here; it cannot be gone.
            let _ = changes.wait_for(|running| *running == 0).await;
            let before = self.written();
            let has_changed = tokio::time::timeout(limit, changes.changed()).await.is_ok();
            if has_changed || self.written() != before {
                stalled = 0;
            } else if self.is_blocked() && stalled + 1 < PATIENCE {
                stalled += 1;
            } else {
                return;
            }
        }
    }

    fn note(&self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Pending => self.0.is_blocked.store(true, Ordering::Relaxed),
            Poll::Ready(written) => {
                self.0.is_blocked.store(false, Ordering::Relaxed);
                if written.as_ref().is_ok_and(|count| *count > SMALL) {
                    self.0.written.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

/// A request that came and is not answered to the end.
pub(super) struct Running(Work);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.running.send_modify(|running| *running -= 1);
    }
}

/// The body of an answer, which runs until it is given to the connection.
pub(super) struct Answering {
    body: Body,
    /// What the body gave, and is not given on yet.
    rest: Bytes,
    _running: Running,
}

impl Answering {
    pub(super) fn of(body: Body, running: Running) -> Self {
        Self { body, rest: Bytes::new(), _running: running }
    }
}

impl http_body::Body for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                other => return other,
            }
        }
        let length = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(http_body::Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        let (of_body, here) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = http_body::SizeHint::new();
        hint.set_lower(of_body.lower().saturating_add(here));
        if let Some(upper) = of_body.upper().and_then(|upper| upper.checked_add(here)) {
            hint.set_upper(upper);
        }
        hint
    }
}

/// A socket, and what is written to it.
pub(super) struct Watched {
    pub(super) stream: TcpStream,
    pub(super) work: Work,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.work.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.work.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
