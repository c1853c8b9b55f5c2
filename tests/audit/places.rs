//! Checkpoints go to an object store in their order, whatever becomes of it, and are what the record is verified by.
//!
//! Covers: security A11.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kiln::audit::hex;
use ring::digest::{SHA256, digest};
use ring::hmac;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::process::Process;

/// A bucket: what was to be put there, in order, with the answers; an object is not put over another.
#[derive(Clone)]
struct Bucket {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<(u16, Object)>>>,
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
            asked: Arc::default(),
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
        let planned = self.statuses.lock().unwrap().pop_front();
        let is_there = self.kept().iter().any(|it| it.path == object.path);
        let status = planned.unwrap_or(if is_there { 412 } else { 200 });
        self.asked.lock().unwrap().push((status, object));
        let answer =
            format!("HTTP/1.1 {status} Is\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let _ = stream.write_all(answer.as_bytes()).await;
    }

    /// What is there. 500: it has it, and cannot say so.
    fn kept(&self) -> Vec<Object> {
        let asked = self.asked.lock().unwrap();
        let kept = asked.iter().filter(|(status, _)| [200, 500].contains(status));
        kept.map(|(_, object)| object.clone()).collect()
    }

    /// Waits until so many checkpoints are there; the objects, and the sizes of what is in them.
    async fn until(&self, count: usize) -> (Vec<Object>, BTreeSet<u64>) {
        let began = Instant::now();
        loop {
            let objects = self.kept();
            let sizes: BTreeSet<u64> = objects.iter().flat_map(Object::sizes).collect();
            if sizes.len() >= count {
                return (objects, sizes);
            }
            assert!(began.elapsed() < Duration::from_mins(2), "{objects:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Object {
    /// The sizes of the checkpoints in it.
    fn sizes(&self) -> Vec<u64> {
        self.body.lines().map(size).collect()
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

/// Waits until a file of the folder of the seal is as it should be; its text.
async fn until_file(process: &Process, name: &str, is_fit: impl Fn(&str) -> bool) -> String {
    let (file, began) = (process.data_dir.join("audit").join(name), Instant::now());
    loop {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        if is_fit(&text) {
            return text;
        }
        assert!(began.elapsed() < Duration::from_mins(1), "{name}: {text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_has_each_checkpoint_and_the_record_is_verified_by_them() {
    // It is away, then takes one and cannot say so.
    let bucket = Bucket::start(&[503, 500]).await;
    let mut process = start(&bucket).await;
    let (_, first) = bucket.until(1).await;
    process.client.get("/Patient/x").await.expect(404);
    let (_, before) = bucket.until(first.len() + 1).await;
    let reached = *before.last().unwrap();
    let is_noted = |text: &str| text.trim().parse::<u64>().is_ok_and(|noted| noted >= reached);
    until_file(&process, "checkpoints.at-vault", is_noted).await;
    process.kill();
    let count = bucket.asked.lock().unwrap().len();
    let (_, before) = bucket.until(before.len()).await;
    process.restart();
    process.ready(Duration::from_mins(1)).await;
    process.client.get("/Patient/y").await.expect(404);
    let (mut objects, sizes) = bucket.until(before.len() + 1).await;
    let expected: BTreeSet<u64> = (1..=sizes.len() as u64).collect();
    assert_eq!(sizes, expected, "none is left out");
    let asked = bucket.asked.lock().unwrap().clone();
    let begins: Vec<(u16, u64)> =
        asked.iter().map(|(status, it)| (*status, it.sizes()[0])).collect();
    assert_eq!(begins[..2], [(503, 1), (500, 1)]);
    assert_eq!(begins[2].1, 1, "what it did not say it has is put again: {begins:?}");
    assert!(begins.len() > count, "something is put after the restart: {begins:?}");
    assert!(begins[count..].iter().all(|(_, at)| *at > reached), "it goes on: {begins:?}");
    objects.sort_by(|one, other| one.path.cmp(&other.path));
    let mut copy = String::new();
    for object in &objects {
        is_signed(object);
        copy.push_str(&object.body);
    }
    let has_all = |own: &str| {
        let known: BTreeSet<&str> = own.lines().collect();
        copy.lines().all(|line| known.contains(line))
    };
    until_file(&process, "checkpoints.jsonl", has_all).await;
    // Nobody who has the database has these.
    let file = process.data_dir.join("from-the-bucket.jsonl");
    std::fs::write(&file, &copy).unwrap();
    let verify = ["verify", "--quiet", "--checkpoints", file.to_str().unwrap()];
    let output = process.beside("audit", &verify);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}");
    let agreed = format!("{} exported checkpoints agree", copy.lines().count());
    assert!(told.contains(&agreed), "{told}");
}

/// An object is put where it belongs, over no other, and by the key without showing it.
fn is_signed(object: &Object) {
    let Object { path, head, body } = object;
    assert!(head.starts_with("PUT /kiln/audit/"), "{head}");
    assert_eq!(header(head, "if-none-match"), Some("*"), "{head}");
    let told = |name| header(head, name).unwrap_or_else(|| panic!("no {name}: {head}"));
    assert_eq!(told("x-amz-content-sha256"), sha256(body), "{head}");
    assert_eq!(told("authorization"), authorization(path, told), "{head}");
    assert!(!head.contains("canary"), "{head}");
    let (name, sizes) = (path.rsplit('/').next().unwrap(), object.sizes());
    let named = format!("{:012}-{:012}-", sizes[0], sizes.last().unwrap());
    assert!(name.strip_suffix(".jsonl").is_some_and(|name| name.starts_with(&named)), "{path}");
}

/// The header Authorization as a store makes it of what it was told (AWS Signature Version 4), to compare it.
fn authorization<'h>(path: &str, told: impl Fn(&'static str) -> &'h str) -> String {
    const NAMES: &str = "host;x-amz-content-sha256;x-amz-date";
    let headers: Vec<String> =
        NAMES.split(';').map(|name| format!("{name}:{}", told(name))).collect();
    let headers = headers.join("\n");
    let request = format!("PUT\n{path}\n\n{headers}\n\n{NAMES}\n{}", told("x-amz-content-sha256"));
    let (time, day) = (told("x-amz-date"), &told("x-amz-date")[..8]);
    let scope = format!("{day}/us-east-1/s3/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", sha256(&request));
    let mut key = b"AWS4canary".to_vec();
    for part in [day, "us-east-1", "s3", "aws4_request", text.as_str()] {
        let with = hmac::Key::new(hmac::HMAC_SHA256, &key);
        key = hmac::sign(&with, part.as_bytes()).as_ref().to_vec();
    }
    let signature = hex(&key);
    format!("AWS4-HMAC-SHA256 Credential=kiln/{scope},SignedHeaders={NAMES},Signature={signature}")
}

fn sha256(text: &str) -> String {
    hex(digest(&SHA256, text.as_bytes()).as_ref())
}

fn size(line: &str) -> u64 {
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    value["size"].as_u64().unwrap()
}
