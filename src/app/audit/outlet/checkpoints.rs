//! Checkpoints out of reach of who administers the database: to a bucket of an object store, or to a syslog
//! server, each at least once and in their order.
//!
//! How far a place has come stands in the folder of the seal, beside the checkpoints. Each node that seals sends
//! all of them; objects have names of what is in them, so that they are there once, and a record that was
//! sealed anew stands beside the one before, under another name.

use crate::audit::{Signed, hex};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::outbound::{Keys, Outbound, Trust, TrustError};
use crate::store::Store;
use crate::store::maintenance;

use super::super::folder::{Folder, FolderError};
use super::super::sealer::log_name;
use super::syslog::Syslog;
use super::{OutletError, PATIENCE, Pass, Tries, host};

/// Most checkpoints that go out at once.
const PAGE: i64 = 1_000;
/// Where a bucket is unless somebody says otherwise.
const REGION: &str = "us-east-1";
/// Largest answer that is read.
const ANSWER_BYTES: usize = 1 << 20;
/// The object is there already.
const EXISTS: u16 = 412;
/// It does not know how to keep an object from being put over another. Without that nothing is put there: who has
/// the database could have what was sent written over.
const UNABLE: u16 = 501;

/// A bucket of an object store.
struct Bucket {
    outbound: Outbound,
    address: String,
    keys: Option<Keys>,
}

enum Place {
    Bucket(Bucket),
    Syslog(Syslog),
}

/// A place of checkpoints, and how far it has come.
pub(super) struct Checkpoints {
    store: Store,
    folder: Folder,
    log: String,
    name: String,
    place: Place,
}

impl Checkpoints {
    /// Those that `config` names, where this node seals.
    ///
    /// # Errors
    /// [`TrustError`] for files that cannot be used.
    pub(super) fn all(config: &Config, store: &Store) -> Result<Vec<Self>, TrustError> {
        if !config.audit.seal || config.checkpoints.is_empty() {
            return Ok(Vec::new());
        }
        let atna = &config.atna;
        let own = atna.certificate.as_deref().zip(atna.key.as_deref());
        let trust = Trust::open(atna.authorities.as_deref(), own)?;
        let bucket = |address: &str, keys| {
            let networks = config.auth.outbound_networks.clone();
            let outbound = Outbound::new(networks).with(&trust, PATIENCE);
            Place::Bucket(Bucket { outbound, address: address.to_owned(), keys })
        };
        let all = config.checkpoints.iter().filter_map(|(name, it)| {
            let keys = it.key_id.clone().zip(it.secret.clone()).map(|(id, secret)| {
                let region = it.region.clone().unwrap_or_else(|| REGION.to_owned());
                Keys { id, secret, region }
            });
            let syslog = |place: &String| {
                Place::Syslog(Syslog { place: place.clone(), trust: trust.clone(), host: host() })
            };
            let store_place = it.store.as_ref().map(|address| bucket(address, keys));
            let place = store_place.or_else(|| it.syslog.as_ref().map(syslog))?;
            let (folder, log) = (Folder::of(config), log_name(store));
            Some(Self { store: store.clone(), folder, log, name: name.clone(), place })
        });
        Ok(all.collect())
    }

    /// Sends as long as the server runs.
    pub(super) async fn run(self) {
        let mut tries = Tries::of(format!("checkpoints.{}", self.name));
        let mut reached = None;
        loop {
            let outcome = Box::pin(self.pass(&mut reached)).await;
            tokio::time::sleep(tries.after(outcome)).await;
        }
    }

    /// Sends what is new.
    async fn pass(&self, reached: &mut Option<u64>) -> Result<Pass, OutletError> {
        let from = match *reached {
            Some(size) => size,
            None => self.reached_before().await?,
        };
        *reached = Some(from);
        let seals = maintenance::seals(&self.store, &self.log, from, PAGE).await?;
        let is_more = seals.len() as i64 == PAGE;
        let new: Vec<Signed> = seals.into_iter().map(|seal| seal.signed).collect();
        let Some(last) = new.last() else { return Ok(Pass::Nothing) };
        let size = last.checkpoint.size;
        match &self.place {
            Place::Bucket(bucket) => bucket.put(&new).await?,
            Place::Syslog(syslog) => syslog.tell(&new).await?,
        }
        let name = self.name.clone();
        let noted = self.folder.beside(move |folder| folder.note_reached(&name, size)).await;
        noted.map_err(|error| unnoted(&error))?;
        *reached = Some(size);
        Ok(if is_more { Pass::More } else { Pass::Nothing })
    }

    /// How far it was when the server ended; no further than the seal is, where its end is missing.
    async fn reached_before(&self) -> Result<u64, OutletError> {
        let reached = self.folder.reached(&self.name).map_err(|error| unnoted(&error))?;
        let last = maintenance::last_seal(&self.store, &self.log).await?;
        Ok(reached.min(last.map_or(0, |seal| seal.n + 1)))
    }
}

fn unnoted(error: &FolderError) -> OutletError {
    OutletError::Refused(error.to_string())
}

impl Bucket {
    /// Puts checkpoints there as one object.
    async fn put(&self, checkpoints: &[Signed]) -> Result<(), OutletError> {
        let Some(name) = object(checkpoints) else { return Ok(()) };
        let url = format!("{}/{name}", self.address.trim_end_matches('/'));
        let mut lines = String::new();
        for checkpoint in checkpoints {
            lines.push_str(&checkpoint.to_json().to_string());
            lines.push('\n');
        }
        let time = basic_time(&SystemClock.now().to_string());
        let signed = (self.keys.as_ref(), time.as_str());
        let answer = self.outbound.put_new(&url, signed, lines, ANSWER_BYTES).await?;
        match answer.status {
            200..300 | EXISTS => Ok(()),
            status => Err(OutletError::Refused(refusal(status))),
        }
    }
}

/// Why a bucket does not have what was put there.
fn refusal(status: u16) -> String {
    let text = format!("the bucket answered {status}");
    if status == UNABLE {
        let why = "it does not know `If-None-Match` on PUT, so objects could be written over";
        return format!("{text}: {why}; use one that does");
    }
    text
}

/// What an object of these is called: whose they are, from which to which, and the root of the last.
fn object(checkpoints: &[Signed]) -> Option<String> {
    let (first, last) = (&checkpoints.first()?.checkpoint, &checkpoints.last()?.checkpoint);
    let root = hex(&last.root[..8]);
    Some(format!("{}/{:012}-{:012}-{root}.jsonl", last.log, first.size, last.size))
}

/// A time as `20260102T030405Z`, from the usual form.
fn basic_time(text: &str) -> String {
    let seconds = text.get(..19).unwrap_or_default();
    let mut basic: String = seconds.chars().filter(|it| !matches!(it, '-' | ':')).collect();
    basic.push('Z');
    basic
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Checkpoint, SigningKey};
    use crate::fhir::Instant;

    #[test]
    fn a_bucket_that_would_write_over_objects_is_told_of() {
        assert_eq!(refusal(503), "the bucket answered 503");
        let told = refusal(UNABLE);
        assert!(told.contains("501") && told.contains("If-None-Match"), "{told}");
    }

    #[test]
    fn an_object_is_called_by_what_is_in_it() {
        let key = SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap();
        let signed = |size, byte| {
            let (log, at) = ("0123456789abcdef".to_owned(), Instant::from_micros(0));
            key.sign(Checkpoint { log, size, rows: size, at, root: [byte; 32] })
        };
        for (of, expected) in [
            (vec![], None),
            (vec![signed(7, 0xab)], Some("000000000007-000000000007-abababababababab")),
            (vec![signed(7, 1), signed(9, 2)], Some("000000000007-000000000009-0202020202020202")),
        ] {
            let expected = expected.map(|it| format!("0123456789abcdef/{it}.jsonl"));
            assert_eq!(object(&of), expected);
        }
        assert_eq!(basic_time("2026-01-02T03:04:05.678Z"), "20260102T030405Z");
    }
}
