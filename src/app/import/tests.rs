//! The whole way from files to a sink.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Away, Failure, ImportError, Loaded, Options, Sink, Summary, Unit, run};
use crate::fhir::json::parse;

/// Takes everything but resources whose id is `bad`, and remembers the order.
#[derive(Default)]
struct Memory(Mutex<Vec<(String, usize)>>);

impl Sink for Memory {
    async fn load(&self, unit: Unit) -> Result<Loaded, Away> {
        tokio::task::yield_now().await;
        let Ok(bundle) = parse(&unit.bytes) else {
            return Ok(Loaded { resources: 0, failures: vec![Failure::whole("malformed")] });
        };
        let entries = bundle.items_at("entry");
        let mut loaded = Loaded::default();
        for (at, entry) in entries.iter().enumerate() {
            let resource = entry.get("resource");
            if resource.and_then(|resource| resource.str_at("id")) == Some("bad") {
                loaded.failures.push(Failure { entry: Some(at), message: "refused".to_owned() });
            } else {
                loaded.resources += 1;
            }
        }
        let name = unit.origin.path.file_name().unwrap().to_string_lossy().into_owned();
        self.0.lock().unwrap().push((format!("{name}|{}", unit.origin.entry), entries.len()));
        Ok(loaded)
    }
}

/// Takes as many units as it is given, and is away then, for the other workers too late to tell.
struct Leaving {
    left: Mutex<u32>,
    asked: Mutex<u32>,
}

impl Sink for Leaving {
    async fn load(&self, _: Unit) -> Result<Loaded, Away> {
        tokio::task::yield_now().await;
        *self.asked.lock().unwrap() += 1;
        let mut left = self.left.lock().unwrap();
        *left = left.checked_sub(1).ok_or_else(|| Away("gone".to_owned()))?;
        Ok(Loaded { resources: 1, failures: Vec::new() })
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kiln-import-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, content: &[u8]) {
        std::fs::write(self.0.join(name), content).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

async fn import(path: &Path, journal: Option<&Path>) -> (Summary, Vec<(String, usize)>) {
    let sink = Arc::new(Memory::default());
    let options = Options {
        paths: vec![path.to_owned()],
        workers: 3,
        journal: journal.map(Path::to_owned),
        is_quiet: true,
        ..Options::default()
    };
    let summary = run(&options, Arc::clone(&sink)).await.unwrap();
    let seen = sink.0.lock().unwrap().clone();
    (summary, seen)
}

fn patient(id: &str) -> String {
    format!(r#"{{"resourceType":"Patient","id":"{id}"}}"#)
}

#[tokio::test]
async fn every_kind_of_file_is_loaded_and_others_are_left_alone() {
    let folder = Folder::new("kinds");
    let lines: String = (0..1_200).map(|at| patient(&format!("p{at}")) + "\n").collect();
    folder.write("a.json", patient("a").as_bytes());
    folder.write("b.json.gz", &gzip(patient("b").as_bytes()));
    folder.write("c.ndjson", lines.as_bytes());
    let inner = gzip(lines.as_bytes());
    let member = patient("d");
    let tar = archive(&[
        ("x/d.json", member.as_bytes()),
        ("x/e.ndjson.gz", &inner),
        ("x/notes.txt", b"no"),
    ]);
    folder.write("d.tar.gz", &gzip(&tar));
    folder.write("README.md", b"not data");
    folder.write("z.json", br#"{"resourceType":"Patient","id":"#);
    let (summary, mut seen) = import(&folder.0, None).await;
    seen.sort();
    let expected = [
        ("a.json|", 1),
        ("b.json.gz|", 1),
        ("c.ndjson|1-500", 500),
        ("c.ndjson|1001-1200", 200),
        ("c.ndjson|501-1000", 500),
        ("d.tar.gz|x/d.json", 1),
        ("d.tar.gz|x/e.ndjson.gz:1-500", 500),
        ("d.tar.gz|x/e.ndjson.gz:1001-1200", 200),
        ("d.tar.gz|x/e.ndjson.gz:501-1000", 500),
    ];
    assert_eq!(seen, expected.map(|(name, count)| (name.to_owned(), count)));
    assert_eq!((summary.resources, summary.failed), (2_403, 1));
    assert!(summary.failures[0].file.ends_with("z.json"));
    assert!(!summary.is_complete());
}

#[tokio::test]
async fn a_second_run_loads_only_what_failed_in_the_first() {
    let folder = Folder::new("again");
    folder.write("a.json", patient("a").as_bytes());
    folder.write("b.ndjson", [patient("1"), patient("bad"), patient("3")].join("\n").as_bytes());
    let journal = folder.0.join("journal");
    let (first, _) = import(&folder.0, Some(&journal)).await;
    assert_eq!((first.resources, first.failed, first.skipped), (3, 1, 0));
    assert_eq!(first.failures[0].entry, "line 2");
    let (second, seen) = import(&folder.0, Some(&journal)).await;
    assert_eq!((second.resources, second.failed, second.skipped), (0, 1, 1));
    assert_eq!(seen, [("b.ndjson|1-3".to_owned(), 1)], "only the failed line went out again");
    assert_eq!(second.failures[0].entry, "line 2");
    folder.write("a.json", patient("changed").as_bytes());
    let (third, _) = import(&folder.0, Some(&journal)).await;
    assert_eq!((third.resources, third.skipped), (1, 0), "a changed file is loaded again");
}

#[tokio::test]
async fn a_database_that_is_away_ends_the_import_which_goes_on_later() {
    let folder = Folder::new("away");
    for at in 0..500 {
        folder.write(&format!("{at}.json"), patient(&format!("p{at}")).as_bytes());
    }
    let journal = folder.0.join("journal");
    let sink = Arc::new(Leaving { left: Mutex::new(100), asked: Mutex::new(0) });
    let options = Options {
        paths: vec![folder.0.clone()],
        workers: 3,
        journal: Some(journal.clone()),
        is_quiet: true,
        ..Options::default()
    };
    let ended = run(&options, Arc::clone(&sink)).await;
    assert!(matches!(&ended, Err(ImportError::Away(why)) if why == "gone"), "{ended:?}");
    let asked = *sink.asked.lock().unwrap();
    assert!((101..=103).contains(&asked), "{asked}: a worker each may have found it away");
    let (then, _) = import(&folder.0, Some(&journal)).await;
    assert_eq!((then.resources, then.skipped, then.failed), (400, 100, 0));
}

#[tokio::test]
async fn files_that_others_refer_to_are_loaded_first() {
    let folder = Folder::new("order");
    for name in ["Aaron.json", "practitionerInformation1.json", "hospitalInformation1.json"] {
        folder.write(name, patient("a").as_bytes());
    }
    let (_, seen) = import(&folder.0, None).await;
    assert_eq!(seen[2].0, "Aaron.json|", "{seen:?}");
}

#[tokio::test]
async fn a_path_that_cannot_be_imported_is_an_error() {
    let folder = Folder::new("paths");
    folder.write("a.txt", b"x");
    for name in ["a.txt", "missing.json"] {
        let options = Options {
            paths: vec![folder.0.join(name)],
            workers: 1,
            is_quiet: true,
            ..Options::default()
        };
        assert!(run(&options, Arc::new(Memory::default())).await.is_err(), "{name}");
    }
}

#[expect(clippy::disallowed_methods, reason = "where the test data lies is no setting of Kiln's")]
#[tokio::test]
async fn a_hundred_synthetic_patients_are_read_from_their_archive() {
    let shared = std::env::var_os("KILN_SHARED").map_or_else(|| "../shared".into(), PathBuf::from);
    let path = shared.join("suites/synthea-r4-100-patients.tar.gz");
    if !path.exists() {
        assert!(std::env::var_os("CI").is_none(), "{} is missing", path.display());
        eprintln!("skipped: {} is not there", path.display());
        return;
    }
    let (summary, seen) = import(&path, None).await;
    assert_eq!((summary.failed, seen.len()), (0, 103));
    assert_eq!(summary.resources, 38_970 + 1, "102 transactions and one Group");
}
