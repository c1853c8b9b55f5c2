//! Somebody else's address: takes what is posted, and answers it or does not.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What was posted, in order, with the path.
type Posted = Vec<(String, Value)>;

/// A receiver of JSON.
#[derive(Clone)]
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    posted: Arc<Mutex<Posted>>,
    answers: Arc<AtomicBool>,
    statuses: Arc<Mutex<VecDeque<u16>>>,
    refused: Arc<Mutex<Option<(&'static str, u16)>>>,
}

impl Receiver {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self {
            address: listener.local_addr().unwrap(),
            posted: Arc::default(),
            answers: Arc::new(AtomicBool::new(true)),
            statuses: Arc::default(),
            refused: Arc::default(),
        };
        let accepting = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let receiver = accepting.clone();
                tokio::spawn(async move { receiver.take(stream).await });
            }
        });
        receiver
    }

    /// Whether what comes from now on is answered.
    pub(super) fn answer(&self, answers: bool) {
        self.answers.store(answers, Ordering::SeqCst);
    }

    /// What comes next is answered so, one after the other; what comes then with 201.
    pub(super) fn answer_with(&self, statuses: &[u16]) {
        self.statuses.lock().unwrap().extend(statuses);
    }

    /// What holds a text is answered so, whatever else is to be.
    pub(super) fn refuse(&self, refused: Option<(&'static str, u16)>) {
        *self.refused.lock().unwrap() = refused;
    }

    /// Forgets what was posted and how what comes is to be answered.
    pub(super) fn forget(&self) {
        self.posted.lock().unwrap().clear();
        self.statuses.lock().unwrap().clear();
    }

    pub(super) fn posted(&self) -> Posted {
        self.posted.lock().unwrap().clone()
    }

    /// Waits until what was posted is as it should be.
    pub(super) async fn until(&self, what: &str, holds: impl Fn(&Posted) -> bool) -> Posted {
        let began = Instant::now();
        loop {
            let posted = self.posted();
            if holds(&posted) {
                return posted;
            }
            assert!(began.elapsed() < Duration::from_mins(2), "{what}: {posted:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn take(&self, mut stream: TcpStream) {
        let mut read = Vec::new();
        let (path, body) = loop {
            let mut part = vec![0; 16 << 10];
            let Ok(count @ 1..) = stream.read(&mut part).await else { return };
            read.extend_from_slice(&part[..count]);
            if let Some(request) = whole(&read) {
                break request;
            }
        };
        let said = answer_to(&body);
        let text = body.to_string();
        let refused = self.refused.lock().unwrap().filter(|(has, _)| text.contains(has));
        self.posted.lock().unwrap().push((path, body));
        if self.answers.load(Ordering::SeqCst) {
            let status = self.statuses.lock().unwrap().pop_front().unwrap_or(201);
            let status = refused.map_or(status, |(_, status)| status);
            let said = said.to_string();
            let answer = format!(
                "HTTP/1.1 {status} Is\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{said}",
                said.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        } else {
            // Until the other side has had enough.
            let _ = stream.read(&mut [0]).await;
        }
    }
}

/// What is said of each entry of a batch: it has been taken.
fn answer_to(body: &Value) -> Value {
    let entries = body["entry"].as_array().map_or(0, Vec::len);
    let entry = json!({ "response": { "status": "201 Created" } });
    json!({ "resourceType": "Bundle", "type": "batch-response", "entry": vec![entry; entries] })
}

/// The path and the body of a request that is there to its end.
fn whole(read: &[u8]) -> Option<(String, Value)> {
    let text = String::from_utf8_lossy(read);
    let (head, _) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    })?;
    let body = read.get(head.len() + 4..)?;
    if body.len() < length {
        return None;
    }
    let path = head.split(' ').nth(1)?.to_owned();
    Some((path, serde_json::from_slice(body).unwrap()))
}
