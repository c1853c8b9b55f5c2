//! The generator against a server that keeps texts in a map, and the floor on a real database.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::floor::{Floor, Statement};
use super::linked::{bodies, linked_sets};
use super::{BenchArgs, Origin, Work, refuse_without_bounds, run};
use crate::app::postgres::Private;
use crate::config::Config;
use crate::fhir::json::{Value, parse};

/// Ids are never given twice, as those of a real server.
static SERIAL: AtomicU64 = AtomicU64::new(1);

type Kept = Arc<Mutex<HashMap<String, Vec<u8>>>>;

/// What every search finds.
const FOUND: &str = r#"{"resourceType":"Bundle","total":3,"entry":[{"resource":
    {"resourceType":"Observation","id":"o","code":{"coding":[{"system":"s","code":"c"}]}},
    "search":{"mode":"match"}}]}"#;

/// Answers as a FHIR server does, as far as the measurements look.
fn answer(kept: &Kept, method: &str, path: &str, content: &[u8]) -> (u16, String) {
    let path = path.strip_prefix("/fhir").unwrap_or_default().to_owned();
    let mut kept = kept.lock().unwrap();
    match method {
        "POST" if path.is_empty() => {
            let bundle = parse(content).unwrap();
            for entry in bundle.items_at("entry") {
                let url = entry.get("request").unwrap().str_at("url").unwrap();
                kept.insert(format!("/{url}"), Vec::new());
            }
            (200, String::new())
        }
        "POST" => {
            assert_eq!(parse(content).unwrap().str_at("resourceType"), path.strip_prefix('/'));
            let location = format!("{path}/{}", SERIAL.fetch_add(1, Ordering::Relaxed));
            kept.insert(location.clone(), content.to_vec());
            (201, location)
        }
        "PUT" => {
            let id = path.rsplit('/').next();
            assert_eq!(parse(content).unwrap().str_at("id"), id);
            let before = kept.insert(path, content.to_vec());
            assert_ne!(before.as_deref(), Some(content), "an update changes something");
            (200, String::new())
        }
        "DELETE" => (if kept.remove(&path).is_some() { 204 } else { 404 }, String::new()),
        _ if path.contains("code:not=") => (500, String::new()),
        _ if path.contains('?') => (200, String::new()),
        _ => (if kept.contains_key(&path) { 200 } else { 404 }, String::new()),
    }
}

async fn serve(mut stream: TcpStream, kept: Kept) {
    let mut received = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = memmem::find(&received, b"\r\n\r\n") {
                break end + 4;
            }
            match stream.read_buf(&mut received).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        };
        let head = String::from_utf8(received[..end].to_vec()).unwrap();
        let length = head
            .split("Content-Length: ")
            .nth(1)
            .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
        while received.len() < end + length {
            stream.read_buf(&mut received).await.unwrap();
        }
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let path = path.to_owned();
        let content = &received[end..end + length];
        // The one rule that it knows beyond the form, for who asks for it.
        let is_refused = head.contains("Prefer: validation=base")
            && memmem::find(content, br#""gender":"robot""#).is_some();
        let (status, location) =
            if is_refused { (422, String::new()) } else { answer(&kept, method, &path, content) };
        received.drain(..end + length);
        let body = match (status, path.contains('?')) {
            (204, _) => "",
            (200, true) => FOUND,
            _ => "{}",
        };
        let text = format!(
            "HTTP/1.1 {status} X\r\nLocation: http://x/fhir{location}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn args(work: Work, base: String) -> BenchArgs {
    BenchArgs {
        without: None,
        bounded: false,
        rows: 0,
        concepts: 0,
        work,
        base: Some(base),
        clients: vec![1, 3],
        seconds: 1,
        database: None,
        postgres_bin: None,
        pid: None,
        resources: 500,
        patients: 4,
        seed: 1,
        pack: Vec::new(),
        profile: Vec::new(),
        data: Vec::new(),
        feed: ([127, 0, 0, 1], 2575).into(),
        messages: None,
        quiet_floor: Vec::new(),
        only: Vec::new(),
        header: Vec::new(),
        json: None,
    }
}

/// Runs `work` against such a server and gives the results.
async fn results(work: Work) -> Value<'static> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/fhir", listener.local_addr().unwrap());
    let kept = Kept::default();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        let mut clients = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            clients.spawn(serve(stream, Arc::clone(&kept)));
        }
    });
    let name = format!("kiln-bench-{work:?}-{}.json", std::process::id());
    let path = std::env::temp_dir().join(name);
    let only: &[&str] = match work {
        Work::Search => &["code sorted, popular", "count of a token", "token:not"],
        _ => &[],
    };
    let args = BenchArgs {
        only: only.iter().map(|name| (*name).to_owned()).collect(),
        json: Some(path.clone()),
        ..args(work, base)
    };
    run(args, &Config::load(None, &[]).unwrap(), &Origin::default()).await.unwrap();
    let text = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    parse(&text).unwrap().into_owned()
}

fn rows(results: &Value<'_>) -> Vec<(String, String, u64, u64)> {
    let number = |row: &Value<'_>, name: &str| -> u64 {
        row.get(name).unwrap().as_number().unwrap().parse().unwrap()
    };
    let row = |row: &Value<'_>| {
        let clients = row.get("clients").unwrap().as_number().unwrap().to_owned();
        let what = row.str_at("what").unwrap().to_owned();
        (clients, what, number(row, "requests"), number(row, "failures"))
    };
    results.items_at("rows").iter().map(row).collect()
}

#[tokio::test]
async fn each_load_is_carried_out_without_a_failure() {
    for (work, expected) in [(Work::Checks, 6), (Work::Crud, 9), (Work::Read, 1), (Work::Import, 2)]
    {
        let results = results(work).await;
        let rows = rows(&results);
        assert_eq!(rows.len(), 2 * expected, "{rows:#?}");
        for (clients, what, requests, failures) in rows {
            assert!(requests > 0 && failures == 0, "{work:?} {clients} {what}: {results:?}");
        }
    }
}

#[tokio::test]
async fn a_search_that_is_refused_is_counted_and_the_others_are_measured() {
    let results = results(Work::Search).await;
    let rows = rows(&results);
    assert_eq!(rows.len(), 2 * 3, "{rows:#?}");
    for (clients, what, requests, failures) in rows {
        let is_refused = what == "token:not";
        assert_eq!(requests == 0, is_refused, "{clients} {what}: {results:?}");
        assert_eq!(failures == 1, is_refused, "{clients} {what}: {results:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let args = args(Work::Read, format!("http://{address}/fhir"));
    assert!(run(args, &Config::load(None, &[]).unwrap(), &Origin::default()).await.is_err());
}

#[test]
fn what_has_no_bounds_cannot_be_held_to_them() {
    for (work, database, is_judged) in [
        (Work::Audit, None, true),
        (Work::Search, Some("dbname=x"), true),
        (Work::Search, None, false),
        (Work::Read, Some("dbname=x"), false),
        (Work::V2, None, false),
    ] {
        let database = database.map(str::to_owned);
        let mut args = BenchArgs { database, bounded: true, ..args(work, String::new()) };
        assert_eq!(refuse_without_bounds(&args).is_ok(), is_judged, "{work:?}");
        args.bounded = false;
        assert!(refuse_without_bounds(&args).is_ok(), "{work:?}");
    }
}

#[tokio::test]
async fn the_floor_is_measured_in_a_schema_that_goes_away() {
    let folder = std::env::temp_dir().join(format!("kiln-floor-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let flags = [("data_dir".to_owned(), folder.display().to_string())];
    let postgres = Private::start(&Config::load(None, &flags).unwrap()).unwrap();
    let floor = Floor::new(&postgres.owner_url(), None).await.unwrap();
    assert!(floor.facts().contains("synchronous_commit on"), "{}", floor.facts());
    let bodies = bodies(&linked_sets(1, 1)[0]);
    floor.prepare(&bodies, 100).await.unwrap();
    for statement in
        [Statement::Insert, Statement::Select, Statement::Update, Statement::InsertBulk]
    {
        let rate = floor.measure(statement, &bodies, 100, 2, 1).await.unwrap();
        assert!(rate > 1.0, "{statement:?}: {rate}");
    }
    let grown = floor.sql("SELECT count(*) > 600 FROM kiln_bench.floor;").await.unwrap();
    assert_eq!(grown.trim(), "t");
    floor.remove().await.unwrap();
    let left = floor.sql("SELECT to_regnamespace('kiln_bench') IS NULL;").await.unwrap();
    assert_eq!(left.trim(), "t");
    postgres.stop();
    let _ = std::fs::remove_dir_all(&folder);
}
