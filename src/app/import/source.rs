//! Files, folders and archives, read piece by piece in bounded memory.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use flate2::read::MultiGzDecoder;

use super::ImportError;

/// Largest single document or line, in bytes.
const MAX_DOCUMENT: u64 = 256 << 20;
/// Most lines that make one piece.
const MAX_LINES: usize = 500;
/// A piece of lines ends behind this many bytes.
const MAX_LINES_SIZE: usize = 4 << 20;
/// Deepest nesting of folders.
const MAX_DEPTH: usize = 64;

/// How a file is to be read, by its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Archive,
    Document,
    Lines,
}

/// One file to read.
#[derive(Clone, Debug)]
pub(super) struct SourceFile {
    pub(super) path: PathBuf,
    pub(super) size: u64,
    /// Time of the last change in milliseconds since 1970.
    pub(super) modified: u64,
    pub(super) kind: Kind,
    pub(super) is_gzip: bool,
}

/// Content that is loaded or refused together.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) file: Arc<SourceFile>,
    /// The member of an archive and the lines; empty for a file that is one document.
    pub(super) entry: String,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    /// One JSON document.
    Document(Vec<u8>),
    /// Lines, the first of which has the number `first`.
    Lines { first: u64, text: Vec<u8> },
    /// It could not be read; the reason.
    Unreadable(String),
}

impl Content {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Document(text) | Self::Lines { text, .. } => text.len(),
            Self::Unreadable(_) => 0,
        }
    }
}

/// What the reader does with a piece that it has come to.
pub(super) trait Taker {
    /// Whether the piece need not be read.
    fn is_done(&self, file: &SourceFile, entry: &str) -> bool;

    /// Takes the piece; false ends the reading.
    fn take(&mut self, piece: Piece) -> bool;
}

impl SourceFile {
    /// Whether others refer to what is in it: Synthea's hospitals and practitioners.
    pub(super) fn goes_first(&self) -> bool {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("hospitalInformation") || name.starts_with("practitionerInformation")
    }
}

/// All files under `paths`: those that others refer to first, then by name.
///
/// # Errors
/// [`ImportError::Unreadable`] or [`ImportError::UnknownKind`] for a path that was named.
pub(super) fn discover(paths: &[PathBuf]) -> Result<Vec<SourceFile>, ImportError> {
    let mut files = Vec::new();
    for path in paths {
        let unreadable = |source| ImportError::Unreadable { path: path.clone(), source };
        if fs::metadata(path).map_err(unreadable)?.is_dir() {
            walk(path, 0, &mut files).map_err(unreadable)?;
        } else {
            let kind = kind_of(&path.to_string_lossy())
                .ok_or_else(|| ImportError::UnknownKind(path.clone()))?;
            files.push(source_file(path, kind).map_err(unreadable)?);
        }
    }
    files.sort_by_cached_key(|file| (!file.goes_first(), file.path.clone()));
    files.dedup_by(|one, other| one.path == other.path);
    Ok(files)
}

fn walk(folder: &Path, depth: usize, files: &mut Vec<SourceFile>) -> io::Result<()> {
    for item in fs::read_dir(folder)? {
        let path = item?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            continue;
        }
        if path.is_dir() {
            if depth < MAX_DEPTH {
                walk(&path, depth + 1, files)?;
            }
        } else if let Some(kind) = kind_of(&path.to_string_lossy()) {
            files.push(source_file(&path, kind)?);
        }
    }
    Ok(())
}

fn source_file(path: &Path, (kind, is_gzip): (Kind, bool)) -> io::Result<SourceFile> {
    let path = fs::canonicalize(path)?;
    let metadata = fs::metadata(&path)?;
    let modified = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    Ok(SourceFile {
        path,
        size: metadata.len(),
        modified: modified.map_or(0, |since| since.as_millis() as u64),
        kind,
        is_gzip,
    })
}

/// Kind and compression by the end of the name; `None` for what cannot be imported.
fn kind_of(name: &str) -> Option<(Kind, bool)> {
    let name = name.to_ascii_lowercase();
    let (stem, is_gzip) = name.strip_suffix(".gz").map_or((&*name, false), |stem| (stem, true));
    match stem.rsplit_once('.')?.1 {
        "json" => Some((Kind::Document, is_gzip)),
        "jsonl" | "ndjson" => Some((Kind::Lines, is_gzip)),
        "tar" => Some((Kind::Archive, is_gzip)),
        "tgz" => Some((Kind::Archive, true)),
        _ => None,
    }
}

/// Reads one file to its end or until `taker` has enough; true to go on with the next file.
///
/// `position` is moved on by the bytes of the file as they are read.
pub(super) fn read(
    file: &Arc<SourceFile>,
    position: &Arc<AtomicU64>,
    taker: &mut dyn Taker,
) -> bool {
    let start = position.load(Ordering::Relaxed);
    let outcome = open(file, position).and_then(|reader| match file.kind {
        Kind::Archive => read_archive(file, reader, taker),
        Kind::Document => read_document(file, String::new(), reader, taker),
        Kind::Lines => read_lines(file, "", reader, taker),
    });
    position.store(start + file.size, Ordering::Relaxed);
    outcome.unwrap_or_else(|fault| {
        let content = Content::Unreadable(format!("cannot be read: {fault}"));
        taker.take(Piece { file: Arc::clone(file), entry: String::new(), content })
    })
}

fn open(file: &SourceFile, position: &Arc<AtomicU64>) -> io::Result<Box<dyn Read>> {
    let counted = Counted { inner: File::open(&file.path)?, position: Arc::clone(position) };
    let buffered = BufReader::with_capacity(128 << 10, counted);
    Ok(if file.is_gzip { Box::new(MultiGzDecoder::new(buffered)) } else { Box::new(buffered) })
}

fn read_archive(
    file: &Arc<SourceFile>,
    reader: Box<dyn Read>,
    taker: &mut dyn Taker,
) -> io::Result<bool> {
    let mut archive = tar::Archive::new(reader);
    for member in archive.entries()? {
        let mut member = member?;
        let name = String::from_utf8_lossy(&member.path_bytes()).into_owned();
        let is_hidden = name.rsplit('/').next().is_some_and(|last| last.starts_with('.'));
        if !member.header().entry_type().is_file() || is_hidden {
            continue;
        }
        let goes_on = match kind_of(&name) {
            None | Some((Kind::Archive, _)) => true,
            Some((kind, is_gzip)) => {
                let content: Box<dyn Read + '_> = if is_gzip {
                    Box::new(MultiGzDecoder::new(&mut member))
                } else {
                    Box::new(&mut member)
                };
                match kind {
                    Kind::Lines => read_lines(file, &name, content, taker)?,
                    _ => read_document(file, name, content, taker)?,
                }
            }
        };
        if !goes_on {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read_document<'r>(
    file: &Arc<SourceFile>,
    entry: String,
    reader: Box<dyn Read + 'r>,
    taker: &mut dyn Taker,
) -> io::Result<bool> {
    if taker.is_done(file, &entry) {
        return Ok(true);
    }
    let mut text = Vec::new();
    reader.take(MAX_DOCUMENT + 1).read_to_end(&mut text)?;
    let content = if text.len() as u64 > MAX_DOCUMENT {
        Content::Unreadable(format!("larger than {} MiB", MAX_DOCUMENT >> 20))
    } else {
        Content::Document(text)
    };
    Ok(taker.take(Piece { file: Arc::clone(file), entry, content }))
}

fn read_lines<'r>(
    file: &Arc<SourceFile>,
    member: &str,
    reader: Box<dyn Read + 'r>,
    taker: &mut dyn Taker,
) -> io::Result<bool> {
    let mut reader = BufReader::with_capacity(128 << 10, reader);
    let mut first = 1_u64;
    loop {
        let mut text = Vec::new();
        let mut lines = 0;
        while lines < MAX_LINES && text.len() < MAX_LINES_SIZE {
            let before = text.len();
            let read = (&mut reader).take(MAX_DOCUMENT + 1).read_until(b'\n', &mut text)?;
            if read == 0 {
                break;
            }
            if read as u64 > MAX_DOCUMENT {
                text.truncate(before);
                return Err(io::Error::other("a line is too long"));
            }
            lines += 1;
        }
        if lines == 0 {
            return Ok(true);
        }
        let last = first + lines as u64 - 1;
        let separator = if member.is_empty() { "" } else { ":" };
        let entry = format!("{member}{separator}{first}-{last}");
        if !taker.is_done(file, &entry) {
            let content = Content::Lines { first, text };
            if !taker.take(Piece { file: Arc::clone(file), entry, content }) {
                return Ok(false);
            }
        }
        first = last + 1;
    }
}

/// Counts the bytes that pass.
struct Counted<R> {
    inner: R,
    position: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.position.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_tells_how_a_file_is_read() {
        for (name, expected) in [
            ("a/b.json", Some((Kind::Document, false))),
            ("b.JSON.gz", Some((Kind::Document, true))),
            ("b.ndjson", Some((Kind::Lines, false))),
            ("b.jsonl.gz", Some((Kind::Lines, true))),
            ("b.tar", Some((Kind::Archive, false))),
            ("b.tar.gz", Some((Kind::Archive, true))),
            ("b.tgz", Some((Kind::Archive, true))),
            ("b.gz", None),
            ("README.md", None),
            ("json", None),
        ] {
            assert_eq!(kind_of(name), expected, "{name}");
        }
    }
}
