//! One kept-alive HTTP/1.1 connection that reads no more of an answer than a measurement needs.
//!
//! A general client costs as much processor time as the server's own handling of a read, on a
//! machine where both share two cores; hence this small one. It understands content lengths and
//! chunks, and takes the status, the Location and the body.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, lookup_host};

use super::target::Target;

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_mins(5);

/// A client's connection; made when the first request goes out.
pub(super) struct Connection {
    target: Target,
    /// The address of this machine that it comes from, where that is chosen.
    source: Option<IpAddr>,
    stream: Option<TcpStream>,
    request: Vec<u8>,
    received: Vec<u8>,
    body: Vec<u8>,
}

/// What a measurement wants to know of an answer.
#[derive(Debug)]
pub(super) struct Answer<'c> {
    pub(super) status: u16,
    /// The Location header.
    pub(super) location: Option<&'c str>,
    pub(super) body: &'c [u8],
}

impl Answer<'_> {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether it was refused because there were too many.
    pub(super) fn is_limited(&self) -> bool {
        self.status == 429
    }

    /// Status and the beginning of the body, for a message.
    pub(super) fn describe(&self) -> String {
        let start = &self.body[..self.body.len().min(300)];
        format!("{} {}", self.status, String::from_utf8_lossy(start))
    }
}

/// Where the parts of an answer lie in what was received.
#[derive(Debug, Default, Eq, PartialEq)]
struct Head {
    status: u16,
    location: Option<(usize, usize)>,
    length: Option<usize>,
    is_chunked: bool,
    closes: bool,
}

impl Connection {
    pub(super) fn new(target: &Target) -> Self {
        Self {
            target: target.clone(),
            source: None,
            stream: None,
            request: Vec::with_capacity(8 << 10),
            received: Vec::with_capacity(16 << 10),
            body: Vec::new(),
        }
    }

    /// Comes from this address from the next connection on.
    pub(super) fn set_source(&mut self, source: Option<IpAddr>) {
        self.source = source;
    }

    /// Sends a request to `path` below the base (`/Patient/1`, or empty) and waits for the answer.
    ///
    /// # Errors
    /// When the connection cannot be made or breaks, or the answer is no HTTP/1.1.
    pub(super) async fn send(
        &mut self,
        method: &str,
        path: &str,
        content: Option<&[u8]>,
    ) -> io::Result<Answer<'_>> {
        let exchanged = tokio::time::timeout(PATIENCE, self.exchange(method, path, content)).await;
        let head = match exchanged {
            Ok(Ok(head)) => head,
            Ok(Err(fault)) => {
                self.stream = None;
                return Err(fault);
            }
            Err(_) => {
                self.stream = None;
                return Err(io::Error::from(io::ErrorKind::TimedOut));
            }
        };
        if head.closes {
            self.stream = None;
        }
        let location = head.location.and_then(|(from, to)| self.received.get(from..to));
        let location = location.and_then(|text| std::str::from_utf8(text).ok());
        Ok(Answer { status: head.status, location, body: &self.body })
    }

    async fn exchange(
        &mut self,
        method: &str,
        path: &str,
        content: Option<&[u8]>,
    ) -> io::Result<Head> {
        let kept = self.stream.take();
        let mut stream = if let Some(stream) = kept {
            stream
        } else {
            let stream = connected(&self.target.address, self.source).await?;
            stream.set_nodelay(true)?;
            stream
        };
        self.write_request(method, path, content);
        stream.write_all(&self.request).await?;
        self.received.clear();
        self.body.clear();
        let (head, end) = loop {
            if let Some(end) = memmem::find(&self.received, b"\r\n\r\n") {
                let head = read_head(&self.received[..end + 2])?;
                if head.status >= 200 {
                    break (head, end + 4);
                }
                self.received.drain(..end + 4);
                continue;
            }
            receive(&mut stream, &mut self.received).await?;
        };
        if head.is_chunked {
            self.read_chunks(&mut stream, end).await?;
        } else if !matches!(head.status, 204 | 304) {
            self.read_length(&mut stream, end, head.length).await?;
        }
        self.stream = Some(stream);
        Ok(head)
    }

    fn write_request(&mut self, method: &str, path: &str, content: Option<&[u8]>) {
        self.request.clear();
        // A base without a path is asked for as `/`.
        let path = if self.target.path.is_empty() && path.is_empty() { "/" } else { path };
        let out = &mut self.request;
        for part in [method, " ", &self.target.path, path, " HTTP/1.1\r\n", &self.target.headers] {
            out.extend_from_slice(part.as_bytes());
        }
        if let Some(content) = content {
            let length = content.len().to_string();
            out.extend_from_slice(b"Content-Type: ");
            out.extend_from_slice(self.target.content_type.as_bytes());
            out.extend_from_slice(b"\r\nContent-Length: ");
            out.extend_from_slice(length.as_bytes());
            out.extend_from_slice(b"\r\n\r\n");
            out.extend_from_slice(content);
        } else {
            out.extend_from_slice(b"\r\n");
        }
    }

    async fn read_length(
        &mut self,
        stream: &mut TcpStream,
        from: usize,
        length: Option<usize>,
    ) -> io::Result<()> {
        if let Some(length) = length {
            while self.received.len() < from + length {
                receive(stream, &mut self.received).await?;
            }
            self.body.extend_from_slice(&self.received[from..from + length]);
            return Ok(());
        }
        // Neither length nor chunks: the body ends with the connection.
        stream.read_to_end(&mut self.received).await?;
        self.body.extend_from_slice(&self.received[from..]);
        Ok(())
    }

    async fn read_chunks(&mut self, stream: &mut TcpStream, from: usize) -> io::Result<()> {
        let mut at = from;
        loop {
            let line_end = loop {
                if let Some(end) = memmem::find(&self.received[at..], b"\r\n") {
                    break at + end;
                }
                receive(stream, &mut self.received).await?;
            };
            let size = chunk_size(&self.received[at..line_end])?;
            let (start, end) = (line_end + 2, line_end + 2 + size);
            while self.received.len() < end + 2 {
                receive(stream, &mut self.received).await?;
            }
            self.body.extend_from_slice(&self.received[start..end]);
            at = end + 2;
            if size == 0 {
                return Ok(());
            }
        }
    }
}

async fn receive(stream: &mut TcpStream, into: &mut Vec<u8>) -> io::Result<()> {
    if into.capacity() - into.len() < 4 << 10 {
        into.reserve(16 << 10);
    }
    match stream.read_buf(into).await? {
        0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        _ => Ok(()),
    }
}

fn no_http() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP/1.1")
}

/// The size in hexadecimal at the start of a chunk; what may follow it is passed over.
fn chunk_size(line: &[u8]) -> io::Result<usize> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let digits = std::str::from_utf8(digits.trim_ascii()).map_err(|_| no_http())?;
    usize::from_str_radix(digits, 16).map_err(|_| no_http())
}

/// Reads a status line and the headers that matter; `head` ends with a line end.
fn read_head(head: &[u8]) -> io::Result<Head> {
    let status =
        head.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5)).ok_or_else(no_http)?;
    let status = std::str::from_utf8(status).ok().and_then(|digits| digits.parse().ok());
    let mut found = Head {
        status: status.ok_or_else(no_http)?,
        closes: head.starts_with(b"HTTP/1.0"),
        ..Head::default()
    };
    let mut at = 0;
    while let Some(end) = memmem::find(&head[at..], b"\r\n") {
        let line = &head[at..at + end];
        if let Some(colon) = memchr::memchr(b':', line) {
            let (name, value) = (&line[..colon], &line[colon + 1..]);
            let start = at + colon + 1 + (value.len() - value.trim_ascii_start().len());
            let value = value.trim_ascii();
            match name.len() {
                8 if name.eq_ignore_ascii_case(b"location") => {
                    found.location = Some((start, start + value.len()));
                }
                10 if name.eq_ignore_ascii_case(b"connection") => {
                    found.closes = value.eq_ignore_ascii_case(b"close");
                }
                14 if name.eq_ignore_ascii_case(b"content-length") => {
                    let digits = std::str::from_utf8(value).ok();
                    found.length = digits.and_then(|digits| digits.parse().ok());
                }
                17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                    found.is_chunked = value.eq_ignore_ascii_case(b"chunked");
                }
                _ => {}
            }
        }
        at += end + 2;
    }
    Ok(found)
}

/// A connection to `address`, from `source` where that is chosen.
async fn connected(address: &str, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let Some(source) = source else { return TcpStream::connect(address).await };
    let target = lookup_host(address).await?.find(|it| it.is_ipv4() == source.is_ipv4());
    let target = target.ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
    let socket = if source.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.bind(SocketAddr::new(source, 0))?;
    socket.connect(target).await
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;

    /// Serves each of `answers` to one request on one connection.
    async fn server(answers: &'static [&'static str]) -> (Target, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for answer in answers {
                let mut request = Vec::new();
                while memmem::find(&request, b"\r\n\r\n").is_none() {
                    stream.read_buf(&mut request).await.unwrap();
                }
                for part in answer.as_bytes().chunks(7) {
                    stream.write_all(part).await.unwrap();
                    stream.flush().await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        });
        (Target::parse(&format!("http://{address}/fhir"), &[]).unwrap(), tasks)
    }

    #[tokio::test]
    async fn answers_of_every_form_are_read_on_one_connection() {
        let (target, _tasks) = server(&[
            "HTTP/1.1 201 Created\r\nlocation:  http://x/Patient/1 \r\nContent-Length: 2\r\n\r\n{}",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\nhello\r\nA;x=y\r\n, world!!!\r\n0\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\nconnection: close\r\n\r\nnone",
        ])
        .await;
        let mut connection = Connection::new(&target);
        let answer = connection.send("POST", "/Patient", None).await.unwrap();
        assert_eq!((answer.status, answer.location), (201, Some("http://x/Patient/1")));
        let answer = connection.send("GET", "/Patient/1", None).await.unwrap();
        assert_eq!((answer.status, answer.body), (200, &b"hello, world!!!"[..]));
        let answer = connection.send("DELETE", "/Patient/1", None).await.unwrap();
        assert_eq!((answer.status, answer.body), (204, &b""[..]));
        let answer = connection.send("GET", "/Patient/1", None).await.unwrap();
        assert_eq!((answer.status, answer.body), (404, &b"none"[..]));
        assert!(connection.stream.is_none(), "the server said that it closes");
    }

    #[tokio::test]
    async fn what_is_no_http_is_an_error() {
        let (target, _tasks) = server(&["SSH-2.0-x\r\n\r\n"]).await;
        assert!(Connection::new(&target).send("GET", "", None).await.is_err());
    }
}
