//! The folder of the seal: the key, the keys that are trusted, and the checkpoints outside the database.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use thiserror::Error;
use tokio::task::spawn_blocking;

use crate::audit::{PublicKey, Signed, SigningKey};
use crate::config::Config;

const KEY: &str = "checkpoints.key";
const PUBLIC_KEY: &str = "checkpoints.pub";
const CHECKPOINTS: &str = "checkpoints.jsonl";

/// Why the folder cannot be used.
#[derive(Debug, Error)]
pub enum FolderError {
    /// The list of what was erased has what the database does not know of.
    #[error(
        "{}: erasure {number} in it is not known to the database, which was restored without it or is another one: \
         restore with this list, or put it away under another name", path.display()
    )]
    Ahead {
        /// The list.
        path: PathBuf,
        /// The number of the request.
        number: i64,
    },
    /// A file in it cannot be read or written.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The key is not one of ours.
    #[error("{}: this is no key for checkpoints", .0.display())]
    NoKey(PathBuf),
    /// Others may read the key.
    #[error("{}: only its owner may have access to it (chmod 600)", .0.display())]
    OpenKey(PathBuf),
    /// A line of the checkpoints, or a public key, cannot be understood.
    #[error("{}: line {line} cannot be understood", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

/// The folder of the seal.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// The one that `config` means.
    pub fn of(config: &Config) -> Self {
        Self(config.audit_dir())
    }

    /// Has `work` wait for the disk beside what the server does: a thread of its own tasks would stand still for it, and
    /// with it whoever is to be answered by that one.
    ///
    /// # Errors
    /// Those of `work`.
    pub(super) async fn beside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, FolderError> + Send + 'static,
    ) -> Result<T, FolderError> {
        let folder = self.clone();
        let done = spawn_blocking(move || work(&folder)).await;
        done.unwrap_or_else(|failed| {
            Err(FolderError::File { path: self.0.clone(), cause: io::Error::other(failed) })
        })
    }

    /// The key that this node signs with; made, and with it the folder, when there is none.
    ///
    /// # Errors
    /// [`FolderError`], also when others may read the key.
    pub fn signing_key(&self) -> Result<SigningKey, FolderError> {
        let path = self.0.join(KEY);
        let fault = |cause| FolderError::File { path: path.clone(), cause };
        fs::create_dir_all(&self.0).map_err(fault)?;
        if !path.exists() {
            self.make_key(&path)?;
        }
        let mode = fs::metadata(&path).map_err(fault)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(FolderError::OpenKey(path));
        }
        let bytes = fs::read(&path).map_err(fault)?;
        let key = SigningKey::from_pkcs8(&bytes).ok_or(FolderError::NoKey(path))?;
        self.publish(&key)?;
        Ok(key)
    }

    fn make_key(&self, path: &Path) -> Result<(), FolderError> {
        let fault = |cause| FolderError::File { path: path.to_owned(), cause };
        let bytes = SigningKey::generate();
        let bytes = bytes.ok_or_else(|| fault(io::Error::other("the system has no randomness")))?;
        // Whole or not there: a start that is cut off leaves no half of a key.
        let new = self.0.join(format!("{KEY}.{}", std::process::id()));
        let file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new);
        let mut file = file.map_err(fault)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(fault)?;
        // Another process may have made one meanwhile: the first one counts.
        let linked = fs::hard_link(&new, path);
        fs::remove_file(&new).map_err(fault)?;
        match linked {
            Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => Err(fault(cause)),
            _ => Ok(()),
        }
    }

    /// Writes the public key, which verifiers trust, unless it is there.
    fn publish(&self, key: &SigningKey) -> Result<(), FolderError> {
        let path = self.0.join(PUBLIC_KEY);
        if path.exists() {
            return Ok(());
        }
        let text = format!("{}\n", key.public());
        fs::write(&path, text).map_err(|cause| FolderError::File { path, cause })
    }

    /// The keys whose checkpoints count: those in `*.pub`.
    ///
    /// # Errors
    /// [`FolderError`]
    pub fn trusted(&self) -> Result<Vec<PublicKey>, FolderError> {
        let fault = |cause| FolderError::File { path: self.0.clone(), cause };
        let mut keys = Vec::new();
        for entry in fs::read_dir(&self.0).map_err(fault)? {
            let path = entry.map_err(fault)?.path();
            if path.extension().is_some_and(|extension| extension == "pub") {
                keys.push(public_key(&path)?);
            }
        }
        Ok(keys)
    }

    /// The checkpoints that were put here, in their order; none when there is no file.
    ///
    /// # Errors
    /// [`FolderError`]
    pub fn checkpoints(&self) -> Result<Vec<Signed>, FolderError> {
        let path = self.0.join(CHECKPOINTS);
        if path.exists() { checkpoints(&path) } else { Ok(Vec::new()) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The folder of archived months, made when it is not there.
    ///
    /// # Errors
    /// [`FolderError::File`]
    pub fn archive(&self) -> Result<PathBuf, FolderError> {
        let path = self.0.join("archive");
        let made = fs::create_dir_all(&path);
        made.map_err(|cause| FolderError::File { path: path.clone(), cause })?;
        Ok(path)
    }

    /// How far a place of checkpoints has come by what was noted last: the size of the newest that it has.
    ///
    /// # Errors
    /// [`FolderError`], also where the note is no number.
    pub fn reached(&self, place: &str) -> Result<u64, FolderError> {
        let path = self.note_of(place);
        match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map_err(|_| FolderError::Unreadable { path, line: 1 }),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(cause) => Err(FolderError::File { path, cause }),
        }
    }

    /// Notes how far a place has come.
    ///
    /// # Errors
    /// [`FolderError::File`]
    pub fn note_reached(&self, place: &str, size: u64) -> Result<(), FolderError> {
        let path = self.note_of(place);
        // Whole or as it was, whatever is cut off: half a note would keep the place waiting for good.
        let new = self.0.join(format!("checkpoints.new-{place}.{}", std::process::id()));
        let note = || {
            let mut file = File::create(&new)?;
            file.write_all(format!("{size}\n").as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        note().map_err(|cause| FolderError::File { path: path.clone(), cause })
    }

    fn note_of(&self, place: &str) -> PathBuf {
        self.0.join(format!("checkpoints.at-{place}"))
    }

    /// Puts checkpoints behind those that are here, on the disk. What a write that was cut off left of a line goes
    /// first: else it would be one with the next.
    ///
    /// # Errors
    /// [`FolderError::File`]
    pub fn add(&self, checkpoints: &[Signed]) -> Result<(), FolderError> {
        let path = self.0.join(CHECKPOINTS);
        let lines = checkpoints.iter().map(|signed| format!("{}\n", signed.to_json()));
        let text: String = lines.collect();
        let add = || {
            let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
            // Another process may write there too.
            file.lock()?;
            let (whole, mut rest) = (end_of_lines(&mut file)?, Vec::new());
            file.seek(SeekFrom::Start(whole))?;
            file.read_to_end(&mut rest)?;
            if in_line(&rest).is_some() {
                file.write_all(b"\n")?;
            } else {
                file.set_len(whole)?;
            }
            file.write_all(text.as_bytes())?;
            file.sync_data()
        };
        add().map_err(|cause| FolderError::File { path: path.clone(), cause })
    }
}

/// Where the last line that is whole ends.
fn end_of_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut buffer = [0; 4_096];
    while end > 0 {
        let start = end.saturating_sub(buffer.len() as u64);
        let part = &mut buffer[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// The checkpoint in a line.
fn in_line(line: &[u8]) -> Option<Signed> {
    let value = serde_json::from_slice(line).ok();
    value.as_ref().and_then(Signed::from_json)
}

/// The checkpoints in a file, in their order. The rest of a line at the end is none: a write was cut off there.
///
/// # Errors
/// [`FolderError`]
pub fn checkpoints(path: &Path) -> Result<Vec<Signed>, FolderError> {
    let fault = |cause| FolderError::File { path: path.to_owned(), cause };
    let mut lines = BufReader::new(File::open(path).map_err(fault)?);
    let (mut checkpoints, mut text) = (Vec::new(), Vec::new());
    for line in 1.. {
        text.clear();
        lines.read_until(b'\n', &mut text).map_err(fault)?;
        match in_line(&text) {
            Some(signed) => checkpoints.push(signed),
            None if text.ends_with(b"\n") => {
                return Err(FolderError::Unreadable { path: path.to_owned(), line });
            }
            None => break,
        }
    }
    Ok(checkpoints)
}

/// The public key in a file.
///
/// # Errors
/// [`FolderError`]
pub fn public_key(path: &Path) -> Result<PublicKey, FolderError> {
    let fault = |cause| FolderError::File { path: path.to_owned(), cause };
    let text = fs::read_to_string(path).map_err(fault)?;
    let unreadable = || FolderError::Unreadable { path: path.to_owned(), line: 1 };
    PublicKey::parse(&text).ok_or_else(unreadable)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn temporary(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("kiln-seal-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn a_key_is_made_once_and_only_its_owner_may_read_it() {
        let path = temporary("key");
        let folder = Folder(path.clone());
        let key = folder.signing_key().unwrap();
        let mode = fs::metadata(path.join(KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(folder.signing_key().unwrap().public(), key.public());
        assert_eq!(folder.trusted().unwrap(), [key.public()]);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 2);
        fs::set_permissions(path.join(KEY), fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(folder.signing_key(), Err(FolderError::OpenKey(_))));
        fs::write(path.join(KEY), "no key").unwrap();
        fs::set_permissions(path.join(KEY), fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(folder.signing_key(), Err(FolderError::NoKey(_))));
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn how_far_a_place_has_come_is_noted_for_each() {
        let path = temporary("reached");
        fs::create_dir_all(&path).unwrap();
        let folder = Folder(path.clone());
        assert_eq!(folder.reached("a").unwrap(), 0);
        folder.note_reached("a", 7).unwrap();
        folder.note_reached("a", 9).unwrap();
        folder.note_reached("b", 2).unwrap();
        assert_eq!([folder.reached("a").unwrap(), folder.reached("b").unwrap()], [9, 2]);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 2, "nothing is left over");
        fs::write(path.join("checkpoints.at-a"), "x").unwrap();
        assert!(matches!(folder.reached("a"), Err(FolderError::Unreadable { line: 1, .. })));
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn checkpoints_are_added_and_a_line_that_is_none_is_named() {
        let path = temporary("checkpoints");
        let folder = Folder(path.clone());
        assert_eq!(folder.checkpoints().unwrap(), []);
        let key = folder.signing_key().unwrap();
        let signed = |size| {
            key.sign(crate::audit::Checkpoint {
                log: "l".to_owned(),
                size,
                rows: size,
                at: crate::fhir::Instant::from_micros(0),
                root: [0; 32],
            })
        };
        folder.add(&[signed(1)]).unwrap();
        folder.add(&[signed(2), signed(3)]).unwrap();
        assert_eq!(folder.checkpoints().unwrap(), [signed(1), signed(2), signed(3)]);
        // All but its end of a line is as good as the line.
        let mut file = OpenOptions::new().append(true).open(path.join(CHECKPOINTS)).unwrap();
        file.write_all(signed(4).to_json().to_string().as_bytes()).unwrap();
        assert_eq!(folder.checkpoints().unwrap().len(), 4);
        folder.add(&[signed(5)]).unwrap();
        // A write that was cut off, also of a line that is longer than what is read at once.
        for (cut, next) in [("{\"log\":".to_owned(), 6), ("x".repeat(10_000), 7)] {
            let mut file = OpenOptions::new().append(true).open(path.join(CHECKPOINTS)).unwrap();
            file.write_all(cut.as_bytes()).unwrap();
            let before: Vec<Signed> = (1..next).map(signed).collect();
            assert_eq!(folder.checkpoints().unwrap(), before);
            folder.add(&[signed(next)]).unwrap();
            let after: Vec<Signed> = (1..=next).map(signed).collect();
            assert_eq!(folder.checkpoints().unwrap(), after);
        }
        fs::write(path.join(CHECKPOINTS), "{}\n").unwrap();
        assert!(matches!(folder.checkpoints(), Err(FolderError::Unreadable { line: 1, .. })));
        fs::remove_dir_all(path).unwrap();
    }

    /// On one thread: whoever waited for the disk in a task of its own would keep the other one from being heard.
    #[tokio::test]
    async fn others_go_on_while_the_disk_is_waited_for() {
        let (say, heard) = std::sync::mpsc::channel();
        let folder = Folder(PathBuf::new());
        let waiting =
            folder.beside(move |_| Ok(heard.recv_timeout(Duration::from_secs(20)).is_ok()));
        let (was_heard, said) = tokio::join!(waiting, async { say.send(()) });
        assert!(was_heard.unwrap() && said.is_ok());
    }
}
