//! Checkpoints go to an object store, each once, whatever becomes of it, and are what the record is verified by.
//!
//! Covers: security A11.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::process::Process;

/// A bucket: what was put there, in order, with the head of the request; an object is not put over another.
#[derive(Clone)]
struct Bucket {
    address: SocketAddr,
    objects: Arc<Mutex<Vec<Object>>>,
    statuses: Arc<Mutex<VecDeque<u16>>>,
}

#[derive(Clone, Debug)]
struct Object {
    path: String,
    head: String,
    body: String,
}

impl Bucket {
    /// One whose first answers are these.
    async fn start(statuses: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bucket = Self {
            address: listener.local_addr().unwrap(),
            objects: Arc::default(),
            statuses: Arc::new(Mutex::new(statuses.iter().copied().collect())),
        };
        let accepting = bucket.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let bucket = accepting.clone();
                tokio::spawn(async move { bucket.take(stream).await });
            }
        });
        bucket
    }

    async fn take(&self, mut stream: TcpStream) {
        let mut read = Vec::new();
        let object = loop {
            let mut part = vec![0; 16 << 10];
            let Ok(count @ 1..) = stream.read(&mut part).await else { return };
            read.extend_from_slice(&part[..count]);
            if let Some(object) = whole(&String::from_utf8_lossy(&read)) {
                break object;
            }
        };
        let status = match self.statuses.lock().unwrap().pop_front() {
            Some(status) => status,
            None if self.objects.lock().unwrap().iter().any(|it| it.path == object.path) => 412,
            None => 200,
        };
        // 500: it has it, and cannot say so.
        if [200, 500].contains(&status) {
            self.objects.lock().unwrap().push(object);
        }
        let answer =
            format!("HTTP/1.1 {status} Is\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let _ = stream.write_all(answer.as_bytes()).await;
    }

    /// Waits until there are so many lines.
    async fn until(&self, lines: usize) -> Vec<Object> {
        let began = Instant::now();
        loop {
            let objects = self.objects.lock().unwrap().clone();
            if objects.iter().map(|it| it.body.lines().count()).sum::<usize>() >= lines {
                return objects;
            }
            assert!(began.elapsed() < Duration::from_mins(2), "{objects:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn whole(text: &str) -> Option<Object> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length: usize = header(head, "content-length")?.parse().ok()?;
    let path = head.split(' ').nth(1)?.to_owned();
    (body.len() >= length).then(|| Object { path, head: head.to_owned(), body: body.to_owned() })
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| {
        let (own, value) = line.split_once(':')?;
        own.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

async fn start(bucket: &Bucket) -> Process {
    let settings = [
        format!("checkpoints.vault.store=http://{}/kiln/audit/", bucket.address),
        "checkpoints.vault.key_id=kiln".to_owned(),
        "checkpoints.vault.secret=canary".to_owned(),
        "auth.outbound_networks=127.0.0.1/32".to_owned(),
    ];
    let settings = settings.map(|setting| &*setting.leak());
    Process::start_with(Vec::leak(settings.into())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_has_each_checkpoint_once_and_the_record_is_verified_by_them() {
    // It is away, then takes one and cannot say so.
    let bucket = Bucket::start(&[503, 500]).await;
    let mut process = start(&bucket).await;
    let first = bucket.until(1).await;
    process.client.get("/Patient/x").await.expect(404);
    let lines: usize = first.iter().map(|it| it.body.lines().count()).sum();
    bucket.until(lines + 1).await;
    process.kill_and_restart();
    process.ready(Duration::from_mins(1)).await;
    process.client.get("/Patient/y").await.expect(404);
    let objects = bucket.until(lines + 2).await;
    let mut copy = String::new();
    for object in &objects {
        let Object { path, head, body } = object;
        assert!(head.starts_with("PUT /kiln/audit/"), "{head}");
        assert_eq!(header(head, "if-none-match"), Some("*"), "{head}");
        assert_eq!(header(head, "x-amz-content-sha256").map(str::len), Some(64), "{head}");
        let signed = header(head, "authorization").unwrap();
        assert!(signed.starts_with("AWS4-HMAC-SHA256 Credential=kiln/"), "{head}");
        assert!(!head.contains("canary"), "{head}");
        let name = path.rsplit('/').next().unwrap();
        let sizes: Vec<u64> = body.lines().map(size).collect();
        let named = format!("{:012}-{:012}-", sizes[0], sizes.last().unwrap());
        assert!(name.strip_suffix(".jsonl").is_some_and(|name| name.starts_with(&named)), "{path}");
        copy.push_str(body);
    }
    let sizes: Vec<u64> = copy.lines().map(size).collect();
    let expected: Vec<u64> = (1..=sizes.len() as u64).collect();
    assert_eq!(sizes, expected, "each once, in their order");
    let own = std::fs::read_to_string(process.data_dir.join("audit/checkpoints.jsonl")).unwrap();
    assert!(own.starts_with(&copy), "as they stand in the file");
    // Nobody who has the database has these.
    let file = process.data_dir.join("from-the-bucket.jsonl");
    std::fs::write(&file, &copy).unwrap();
    let verify = ["verify", "--quiet", "--checkpoints", file.to_str().unwrap()];
    let output = process.beside("audit", &verify);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}");
    assert!(told.contains(&format!("{} exported checkpoints agree", sizes.len())), "{told}");
}

fn size(line: &str) -> u64 {
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    value["size"].as_u64().unwrap()
}
