//! `erasures.jsonl`: what was erased, in a file beside the checkpoints, which no backup of the database brings back to what it
//! was before.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::app::audit::folder::{Folder, FolderError};
use crate::audit::SignedErased;
use crate::fhir::Instant;
use crate::store::maintenance::Eraser;

/// The name of the file.
const FILE: &str = "erasures.jsonl";

/// Where the list is, beside the checkpoints.
pub(in crate::app) fn path(folder: &Folder) -> PathBuf {
    folder.path().join(FILE)
}

/// The erasures in a file; `None` where there is no file. The rest of a line at its end is none: a write was cut off there.
///
/// # Errors
/// [`FolderError`]
pub(in crate::app) fn read(path: &Path) -> Result<Option<Vec<SignedErased>>, FolderError> {
    let fault = |cause| FolderError::File { path: path.to_owned(), cause };
    match File::open(path) {
        Ok(mut file) => in_file(&mut file, path).map(Some),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(fault(cause)),
    }
}

fn in_file(file: &mut File, path: &Path) -> Result<Vec<SignedErased>, FolderError> {
    let mut text = String::new();
    let read = file.read_to_string(&mut text);
    read.map_err(|cause| FolderError::File { path: path.to_owned(), cause })?;
    let mut all = Vec::new();
    for (at, line) in text.split_inclusive('\n').enumerate() {
        match in_line(line) {
            Some(signed) => all.push(signed),
            None if line.ends_with('\n') => {
                return Err(FolderError::Unreadable { path: path.to_owned(), line: at + 1 });
            }
            None => {}
        }
    }
    Ok(all)
}

/// Has the file have all erasures that were executed of the data of `log`; it is there from then on.
///
/// # Errors
/// What the database or the file system says; and where the file has more of these data than the database knows.
pub(in crate::app) async fn complete_from(
    eraser: &Eraser,
    folder: &Folder,
    log: &str,
) -> Result<(), Box<dyn Error>> {
    let done = complete(folder, &executed(eraser).await?, log);
    if matches!(done, Err(FolderError::Ahead { .. })) {
        // Another command may have executed one, and written it, after the database was read.
        return Ok(complete(folder, &executed(eraser).await?, log)?);
    }
    Ok(done?)
}

/// The lines of what was executed.
async fn executed(eraser: &Eraser) -> Result<Vec<String>, Box<dyn Error>> {
    Ok(eraser.requests().await?.into_iter().filter_map(|it| it.line).collect())
}

/// Has the file have all of `lines`, which are those of a log, on the disk, behind what it has; it is made where there is
/// none. Only its owner may read it.
///
/// # Errors
/// [`FolderError`], [`FolderError::Ahead`] where the file has other lines of that log: with both in it, it would say
/// nothing for certain.
fn complete(folder: &Folder, lines: &[String], log: &str) -> Result<(), FolderError> {
    let path = path(folder);
    let fault = |cause| FolderError::File { path: path.clone(), cause };
    std::fs::create_dir_all(folder.path()).map_err(fault)?;
    let mut options = OpenOptions::new();
    let file = options.read(true).append(true).create(true).mode(0o600).open(&path);
    let mut file = file.map_err(fault)?;
    // Another command may write there too.
    file.lock().map_err(fault)?;
    let known = in_file(&mut file, &path)?;
    let all: Vec<Option<SignedErased>> = lines.iter().map(|line| in_line(line)).collect();
    let is_ahead = |line: &&SignedErased| {
        line.erased.log == log && !all.iter().flatten().any(|it| it.erased == line.erased)
    };
    if let Some(line) = known.iter().find(is_ahead) {
        return Err(FolderError::Ahead { path, number: line.erased.number });
    }
    let is_cut_off = {
        let text = std::fs::read(&path).map_err(fault)?;
        !text.is_empty() && !text.ends_with(b"\n")
    };
    let mut more = String::new();
    if is_cut_off {
        // As good as a line, or nothing: the next one is not to be a part of it.
        file.set_len(0).map_err(fault)?;
        for line in &known {
            more.push_str(&line.to_json().to_string());
            more.push('\n');
        }
    }
    for (line, signed) in lines.iter().zip(&all) {
        if !signed.as_ref().is_some_and(|it| known.contains(it)) {
            more.push_str(line);
            more.push('\n');
        }
    }
    file.write_all(more.as_bytes()).and_then(|()| file.sync_all()).map_err(fault)?;
    File::open(folder.path()).and_then(|it| it.sync_all()).map_err(fault)
}

/// Puts the file away under a name with a time in it, where there is one: a list begins anew.
///
/// # Errors
/// [`FolderError`]
pub(in crate::app) fn put_away(folder: &Folder, now: Instant) -> Result<(), FolderError> {
    let path = path(folder);
    let away = folder.path().join(format!("erasures.{}.jsonl", now.to_string().replace(':', "")));
    match std::fs::rename(&path, away) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(FolderError::File { path, cause })
        }
        _ => Ok(()),
    }
}

fn in_line(line: &str) -> Option<SignedErased> {
    let value = serde_json::from_str(line).ok();
    value.as_ref().and_then(SignedErased::from_json)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::audit::{Erased, SigningKey};
    use crate::config::Config;

    fn folder(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("kiln-list-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        let flags = [("audit.folder".to_owned(), path.display().to_string())];
        Folder::of(&Config::load(None, &flags).unwrap())
    }

    fn line(ordinal: i64) -> SignedErased {
        let key = SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap();
        let erased = Erased {
            log: "l".to_owned(),
            number: ordinal,
            ordinal,
            patient: "p".parse().unwrap(),
            at: Instant::from_micros(0),
        };
        SignedErased::new(erased, &key)
    }

    #[test]
    fn lines_are_added_once_and_one_that_is_none_is_named() {
        let folder = folder("once");
        let path = path(&folder);
        assert_eq!(read(&path).unwrap(), None);
        complete(&folder, &[], "l").unwrap();
        assert_eq!(read(&path).unwrap(), Some(vec![]));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (one, two) = (line(1), line(2));
        let text = |signed: &SignedErased| signed.to_json().to_string();
        complete(&folder, &[text(&one)], "l").unwrap();
        complete(&folder, &[text(&one), text(&two)], "l").unwrap();
        complete(&folder, &[text(&one), text(&two)], "l").unwrap();
        assert_eq!(read(&path).unwrap(), Some(vec![one.clone(), two.clone()]));
        // A write that was cut off.
        let whole = std::fs::read_to_string(&path).unwrap();
        for cut in [whole.len() - 5, whole.len() - 1] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            complete(&folder, &[text(&one), text(&two)], "l").unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), whole, "{cut}");
        }
        std::fs::write(&path, "{}\n").unwrap();
        assert!(matches!(read(&path), Err(FolderError::Unreadable { line: 1, .. })));
        std::fs::remove_dir_all(folder.path()).unwrap();
    }

    /// A database that was restored without the list begins to count anew.
    #[test]
    fn a_list_that_has_more_than_the_database_is_left_as_it_is() {
        let folder = folder("ahead");
        let path = path(&folder);
        let text = |signed: &SignedErased| signed.to_json().to_string();
        let (one, two, other) = (line(1), line(2), line(1));
        let all = [text(&one), text(&two)];
        complete(&folder, &all, "l").unwrap();
        let whole = std::fs::read_to_string(&path).unwrap();
        for lines in [&all[..1], &[], &[text(&two)]] {
            let refused = complete(&folder, lines, "l");
            assert!(matches!(refused, Err(FolderError::Ahead { .. })), "{lines:?}");
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
        // What is of other data stands beside.
        let elsewhere =
            SignedErased { erased: Erased { log: "m".to_owned(), ..one.erased }, ..other };
        complete(&folder, &[text(&elsewhere)], "m").unwrap();
        assert_eq!(read(&path).unwrap().map(|it| it.len()), Some(3));

        put_away(&folder, Instant::from_micros(0)).unwrap();
        put_away(&folder, Instant::from_micros(0)).unwrap();
        assert_eq!(read(&path).unwrap(), None);
        let away = folder.path().join("erasures.1970-01-01T000000.000Z.jsonl");
        assert_eq!(std::fs::read_to_string(away).unwrap().lines().count(), 3);
        complete(&folder, &[], "l").unwrap();
        std::fs::remove_dir_all(folder.path()).unwrap();
    }
}
