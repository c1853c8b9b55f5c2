//! Who is told: takes requests, keeps them in their order, and answers as it is told to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A request that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) method: String,
    pub(crate) path: String,
    head: String,
    pub(crate) body: String,
    /// How it was answered.
    pub(crate) status: u16,
}

impl Taken {
    /// The value of a header; several of one name are joined by commas.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let own = lines.filter(|(known, _)| known.trim().eq_ignore_ascii_case(name));
        let all: Vec<&str> = own.map(|(_, value)| value.trim()).collect();
        (!all.is_empty()).then(|| all.join(","))
    }
}

#[derive(Default)]
struct Desk {
    taken: Vec<Taken>,
    /// How the next ones are answered.
    next: VecDeque<u16>,
    /// How all others are.
    usual: u16,
    /// Where a redirect leads.
    elsewhere: String,
}

/// A receiver.
#[derive(Clone)]
pub(crate) struct Receiver {
    root: String,
    desk: Arc<Mutex<Desk>>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let root = format!("http://{}", listener.local_addr().unwrap());
        let desk = Arc::new(Mutex::new(Desk { usual: 200, ..Desk::default() }));
        let receiver = Self { root, desk };
        let accepting = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let receiver = accepting.clone();
                tokio::spawn(async move { receiver.take(stream).await });
            }
        });
        receiver
    }

    /// The address of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.root)
    }

    /// From now on, requests are answered so.
    pub(crate) fn answer(&self, status: u16) {
        self.desk.lock().unwrap().usual = status;
    }

    /// The next ones are answered so, one after the other.
    pub(crate) fn answer_next(&self, statuses: &[u16]) {
        self.desk.lock().unwrap().next.extend(statuses);
    }

    /// Where a redirect leads.
    pub(crate) fn lead_to(&self, url: String) {
        self.desk.lock().unwrap().elsewhere = url;
    }

    /// What was taken so far.
    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.desk.lock().unwrap().taken.clone()
    }

    /// Methods and paths of what was answered well.
    pub(crate) fn told(&self) -> Vec<String> {
        let well = self.taken().into_iter().filter(|taken| taken.status < 300);
        well.map(|taken| format!("{} {}", taken.method, taken.path)).collect()
    }

    /// Waits until so many requests were answered well.
    pub(crate) async fn until(&self, count: usize) -> Vec<String> {
        let began = Instant::now();
        loop {
            let told = self.told();
            if told.len() >= count {
                return told;
            }
            assert!(began.elapsed() < Duration::from_mins(1), "{count}: {:#?}", self.taken());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn take(&self, mut stream: TcpStream) {
        let mut read = Vec::new();
        let mut taken = loop {
            let mut part = vec![0; 16 << 10];
            let Ok(count @ 1..) = stream.read(&mut part).await else { return };
            read.extend_from_slice(&part[..count]);
            if let Some(taken) = whole(&read) {
                break taken;
            }
        };
        let (status, elsewhere) = {
            let mut desk = self.desk.lock().unwrap();
            let usual = desk.usual;
            taken.status = desk.next.pop_front().unwrap_or(usual);
            desk.taken.push(taken.clone());
            (taken.status, desk.elsewhere.clone())
        };
        let answer = format!(
            "HTTP/1.1 {status} Is\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

/// A request that is there to its end.
fn whole(read: &[u8]) -> Option<Taken> {
    let text = String::from_utf8_lossy(read);
    let (head, _) = text.split_once("\r\n\r\n")?;
    let mut first = head.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let taken = Taken { method, path, head: head.to_owned(), body: String::new(), status: 0 };
    let length = taken.header("content-length").map_or(0, |length| length.parse().unwrap());
    let body = read.get(head.len() + 4..)?;
    (body.len() >= length).then(|| Taken { body: String::from_utf8_lossy(body).into(), ..taken })
}
