//! The files of a release, on disk.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::terminology::release::{Files, Kind};

/// How deep folders are searched: a distribution has four or five.
const MAX_DEPTH: usize = 12;
/// Most files of a distribution.
const MAX_FILES: usize = 100_000;

/// Files and folders that an operator named.
pub(super) struct Folder {
    files: Vec<(String, PathBuf, u64)>,
    /// Bytes read so far, however often.
    read: Arc<AtomicU64>,
}

impl Folder {
    /// Looks through `paths`.
    ///
    /// # Errors
    /// What the system says, with the path.
    pub(super) fn new(paths: &[PathBuf]) -> Result<Self, String> {
        let mut files = Vec::new();
        for path in paths {
            walk(path, 0, &mut files).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(Self { files, read: Arc::default() })
    }

    /// Without the files that a release of this kind does not need.
    pub(super) fn only(mut self, kind: Kind) -> Self {
        self.files.retain(|(name, ..)| kind.reads(name));
        self
    }

    /// What reading all of it counts up to.
    pub(super) fn total(&self, kind: Kind) -> u64 {
        self.files.iter().map(|(name, _, size)| size * kind.passes(name)).sum()
    }

    /// Counts the bytes that are read.
    pub(super) fn counter(&self) -> Arc<AtomicU64> {
        self.read.clone()
    }
}

impl Files for Folder {
    fn names(&self) -> Vec<String> {
        self.files.iter().map(|(name, ..)| name.clone()).collect()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn BufRead + '_>> {
        let found = self.files.iter().find(|(known, ..)| known == name);
        let (_, path, _) = found.ok_or(io::ErrorKind::NotFound)?;
        let counted = Counted { file: File::open(path)?, read: &self.read };
        Ok(Box::new(BufReader::with_capacity(1 << 18, counted)))
    }
}

struct Counted<'f> {
    file: File,
    read: &'f AtomicU64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

fn walk(path: &Path, depth: usize, files: &mut Vec<(String, PathBuf, u64)>) -> io::Result<()> {
    let about = std::fs::metadata(path)?;
    if about.is_file() {
        files.push((path.display().to_string(), path.to_owned(), about.len()));
        return Ok(());
    }
    if !about.is_dir() || depth == MAX_DEPTH || files.len() > MAX_FILES {
        return Ok(());
    }
    let mut inner = std::fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
    inner.sort_by_key(std::fs::DirEntry::path);
    for entry in inner {
        walk(&entry.path(), depth + 1, files)?;
    }
    Ok(())
}
