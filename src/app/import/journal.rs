//! The journal of what was acknowledged, so that a second run goes on where the first ended.
//!
//! One JSON object a line: `{"file":..,"size":..,"modified":..,"entry":..,"failed":[..]}`. A file that
//! was changed since is another file. The last line of a run that was killed may be torn; it is
//! passed over. What was stored and not noted is tried again, and the sink knows it by its ids.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::hash::Hash;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::fhir::json::{Object, Value, parse};

use super::source::SourceFile;

/// What is known of a piece of input.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Known {
    /// All of it is stored.
    Done,
    /// All but these entries is stored.
    Failed(Vec<u32>),
}

/// Acknowledged pieces: in memory by a hash of their name, on disk as lines.
pub(super) struct Journal {
    known: HashMap<u128, Known>,
    file: Option<File>,
}

impl Journal {
    /// A journal that forgets at the end.
    pub(super) fn in_memory() -> Self {
        Self { known: HashMap::new(), file: None }
    }

    /// Opens or makes the journal at `path`.
    ///
    /// # Errors
    /// When the file can be neither read nor made.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)?;
        }
        // It names files and what was in them.
        let options = &mut OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).mode(0o600).open(path)?;
        let mut known = HashMap::new();
        for line in BufReader::new(&file).split(b'\n') {
            let line = line?;
            if let Some((key, state)) = read_line(&line) {
                known.insert(key, state);
            }
        }
        // A run that was killed may have left a line without its end, be it torn or whole.
        let mut end = [b'\n'];
        if file.seek(SeekFrom::End(-1)).is_ok() {
            file.read_exact(&mut end)?;
        }
        if end != *b"\n" {
            file.write_all(b"\n")?;
        }
        Ok(Self { known, file: Some(file) })
    }

    /// What is known of `entry` of `file`; `None` when it is new.
    pub(super) fn state(&self, file: &SourceFile, entry: &str) -> Option<&Known> {
        self.known.get(&key(&file.path.to_string_lossy(), file.size, file.modified, entry))
    }

    /// Notes that `entry` was stored but for `failed`.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub(super) fn record(
        &mut self,
        file: &SourceFile,
        entry: &str,
        failed: &[u32],
    ) -> io::Result<()> {
        let name = file.path.to_string_lossy();
        let state = if failed.is_empty() { Known::Done } else { Known::Failed(failed.to_vec()) };
        self.known.insert(key(&name, file.size, file.modified, entry), state);
        let Some(journal) = &mut self.file else { return Ok(()) };
        let failed = failed.iter().map(|at| Value::from(u64::from(*at))).collect::<Vec<_>>();
        let line = Object::new()
            .with("file", &*name)
            .with("size", file.size)
            .with("modified", file.modified)
            .with("entry", entry)
            .with_some("failed", (!failed.is_empty()).then_some(failed));
        let mut text = Vec::new();
        Value::from(line).write(&mut text);
        text.push(b'\n');
        journal.write_all(&text)
    }

    /// Brings what was written to the disk.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), File::sync_data)
    }
}

fn key(file: &str, size: u64, modified: u64, entry: &str) -> u128 {
    let mut hasher = SipHasher13::new();
    (file, size, modified, entry).hash(&mut hasher);
    hasher.finish128().as_u128()
}

fn read_line(line: &[u8]) -> Option<(u128, Known)> {
    let value = parse(line).ok()?;
    let number = |name: &str| value.get(name)?.as_number()?.parse::<u64>().ok();
    let key =
        key(value.str_at("file")?, number("size")?, number("modified")?, value.str_at("entry")?);
    let failed: Vec<u32> =
        value.items_at("failed").iter().filter_map(|at| at.as_number()?.parse().ok()).collect();
    Some((key, if failed.is_empty() { Known::Done } else { Known::Failed(failed) }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::source::Kind;
    use super::*;

    fn file(size: u64) -> SourceFile {
        SourceFile {
            path: "a b.json".into(),
            size,
            modified: 5,
            kind: Kind::Document,
            is_gzip: false,
        }
    }

    #[test]
    fn a_second_run_knows_what_the_first_one_stored() {
        let path = std::env::temp_dir().join(format!("kiln-journal-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let mut journal = Journal::open(&path).unwrap();
        journal.record(&file(1), "x", &[]).unwrap();
        journal.record(&file(1), "y", &[3, 7]).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "others read it");
        let mut torn = OpenOptions::new().append(true).open(&path).unwrap();
        torn.write_all(b"{\"file\":\"a b.js").unwrap();
        drop(journal);

        let mut journal = Journal::open(&path).unwrap();
        assert_eq!(journal.state(&file(1), "x"), Some(&Known::Done));
        assert_eq!(journal.state(&file(1), "y"), Some(&Known::Failed(vec![3, 7])));
        assert_eq!(journal.state(&file(1), "z"), None);
        assert_eq!(journal.state(&file(2), "x"), None, "a changed file is another file");
        journal.record(&file(1), "z", &[]).unwrap();
        drop(journal);

        let journal = Journal::open(&path).unwrap();
        assert_eq!(journal.state(&file(1), "z"), Some(&Known::Done), "written behind a torn line");
        drop(journal);

        // Whole, but for the end of the line.
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, text.trim_ascii_end()).unwrap();
        let mut journal = Journal::open(&path).unwrap();
        journal.record(&file(1), "w", &[]).unwrap();
        drop(journal);
        let journal = Journal::open(&path).unwrap();
        for entry in ["z", "w"] {
            assert_eq!(journal.state(&file(1), entry), Some(&Known::Done), "{entry}");
        }
        std::fs::remove_file(&path).unwrap();
    }
}
