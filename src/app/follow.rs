//! Follows the change feed: what is written becomes searchable by its words, and definitions that
//! change are noticed.
//!
//! The index says itself up to where it has the feed, so a node that was away goes on from there;
//! one whose index is lost, of another database or older than the feed builds it from the
//! resources. A file beside the index asks for that, too: `kiln reindex --fulltext` puts it there
//! where a server has the index open.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;

use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::engine::{Engine, Validators, is_definition};
use crate::error::Error;
use crate::fulltext::{Asked, Change, Document, FullText, FullTextError, Options, Position};
use crate::store::Store;
use crate::store::maintenance::{self, Contents, FeedPosition, FeedRow, Horizon};

use super::terminology::{Keeper, resource};
use super::validation::Judges;

/// How often the feed is looked at.
const PAUSE: Duration = Duration::from_millis(50);
/// The same while somebody waits for transactions to end.
const SHORT_PAUSE: Duration = Duration::from_millis(5);
/// Longest time that changes are collected before they are committed: a commit costs the same however
/// little it has.
const COMMIT_AFTER: Duration = Duration::from_millis(150);
/// Shortest time: with a pause more it is the longest. Where it takes long to bring the index up to date,
/// because the machine has much to do, changes are collected longer, so that this takes a quarter of
/// the time; who waits for the index does not wait for that.
const COLLECT: Duration = Duration::from_millis(100);
const COLLECT_MOST: Duration = Duration::from_secs(1);
/// How long after a failure the next try is.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How long after the last commit its memory is given back, and how often: what is freed becomes
/// old by and by.
const GIVE_BACK_AFTER: Duration = Duration::from_millis(1_200);
const GIVE_BACK_TIMES: u32 = 4;
/// Larger than what the allocator keeps for its threads.
const LARGE_BYTES: usize = 8 << 20;
/// Changes that are read at once.
const BATCH: u32 = 500;

/// How much of what is stored is loaded at once; compressed, so some times more in memory.
const GROUP_BYTES: i64 = 1 << 20;

/// Where a node's index of words is.
pub fn folder(config: &Config) -> PathBuf {
    config.node_dir().join("fulltext")
}

/// The file that asks for the index in `folder` to be built anew.
pub fn request(folder: &Path) -> PathBuf {
    folder.with_extension("rebuild")
}

/// Opens the index of words that `config` means; `None` when there is to be none.
///
/// # Errors
/// As [`FullText::open`].
pub fn open(config: &Config, store: &Store) -> Result<Option<FullText>, FullTextError> {
    if !config.fulltext.enabled {
        return Ok(None);
    }
    let options = Options {
        folder: folder(config),
        language: config.fulltext.language.clone(),
        seal: store.hasher().seal(b"full text"),
    };
    FullText::open(options).map(Some)
}

/// Why a pass over the feed ended early.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The database.
    #[error(transparent)]
    Store(#[from] Error),
    /// The index.
    #[error(transparent)]
    Index(#[from] FullTextError),
}

/// Who keeps what definitions say.
pub struct About {
    /// Code systems and value sets.
    pub keeper: Arc<Keeper>,
    /// Structures, where writes are judged by them.
    pub judges: Option<Arc<Judges>>,
}

/// Follows the feed for one node.
pub struct Follower {
    engine: Arc<Engine>,
    store: Store,
    about: About,
    index: Option<Arc<FullText>>,
    request: PathBuf,
    /// Where the next pass begins; `None` before the first.
    position: Option<FeedPosition>,
    /// The transaction before which the feed was read.
    read_until: u64,
    /// When the feed was last read, and how long changes are collected since.
    read_at: Instant,
    collect: Duration,
    /// The index was emptied and is not whole yet.
    is_building: bool,
    /// When memory was last given back after a commit, and how often it still is.
    given_back: (Instant, u32),
    /// Who waits for the index, with the transaction before which it has to have all.
    waiting: VecDeque<(Asked, u64)>,
    /// Who was told last that it is there.
    called: Asked,
}

impl Follower {
    /// A follower that feeds `index`, when there is one, and tells those who keep definitions.
    pub fn new(
        config: &Config,
        engine: Arc<Engine>,
        store: Store,
        about: About,
        index: Option<Arc<FullText>>,
    ) -> Self {
        let request = request(&folder(config));
        Self {
            engine,
            store,
            about,
            index,
            request,
            position: None,
            read_until: 0,
            read_at: Instant::now(),
            collect: COLLECT,
            is_building: false,
            given_back: (Instant::now(), 0),
            waiting: VecDeque::new(),
            called: Asked::default(),
        }
    }

    /// Follows as long as the server runs.
    pub async fn run(mut self) {
        if let Err(error) = self.about.keeper.image().await {
            tracing::warn!(%error, "cannot load the stored code systems and value sets");
        }
        loop {
            let pause = match self.pass().await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::warn!(%error, "cannot follow the change feed; trying again");
                    self.recover(&error).await;
                    AFTER_FAILURE
                }
            };
            match &self.index {
                Some(index) if pause == PAUSE => {
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = index.woken() => {}
                    }
                }
                _ => tokio::time::sleep(pause).await,
            }
        }
    }

    /// Builds the index anew; how many resources it has.
    ///
    /// # Errors
    /// [`FollowError`]; the index then has no position and is built at the next try.
    pub async fn rebuild(&mut self) -> Result<u64, FollowError> {
        let Some(index) = self.index.clone() else { return Ok(0) };
        metrics::gauge!("kiln_fulltext_building", &self.store.labels()).set(1.0);
        self.is_building = true;
        // What was committed before is seen by the statements below; all else is in the feed.
        let start = maintenance::horizon(&self.store).await?.ended;
        let clearing = index.clone();
        blocking(move || {
            // What a try before this one has left is forgotten.
            clearing.reopen()?;
            clearing.clear()
        })
        .await?;
        let (mut last, mut count) = (i64::MIN, 0);
        loop {
            let found = maintenance::sizes_after(&self.store, last, BATCH).await?;
            let Some((end, _)) = found.last() else { break };
            last = *end;
            // A deletion has no body, so no size.
            let live: Vec<_> = found.into_iter().filter(|(_, size)| *size > 0).collect();
            count += live.len() as u64;
            self.add(&index, &live).await?;
        }
        let position = Position { xid: start, seq: 0 };
        let committing = index.clone();
        blocking(move || committing.commit(position)).await?;
        self.position = Some(FeedPosition { xid: start, seq: 0 });
        (self.read_until, self.is_building) = (0, false);
        self.given_back = (Instant::now(), GIVE_BACK_TIMES);
        metrics::gauge!("kiln_fulltext_building", &self.store.labels()).set(0.0);
        tracing::info!(count, "built the full text index");
        Ok(count)
    }

    /// Brings index and definitions up to date; how long to wait before the next pass.
    async fn pass(&mut self) -> Result<Duration, FollowError> {
        self.find_position().await?;
        let asked = self.index.as_ref().map(|index| index.asked()).unwrap_or_default();
        let horizon = maintenance::horizon(&self.store).await?;
        if self.index.as_ref().is_some_and(|index| !index.is_waited_for()) {
            self.called = asked;
            self.waiting.clear();
        }
        let newest = self.waiting.back().map_or_else(Asked::default, |(newest, _)| *newest);
        if asked > newest.max(self.called) {
            self.waiting.push_back((asked, horizon.next));
        }
        // Below the same horizon there is never anything new.
        let is_due = !self.waiting.is_empty() || self.read_at.elapsed() >= self.collect;
        if horizon.ended != self.read_until && is_due {
            self.read_at = Instant::now();
            let is_done = self.read(horizon).await?;
            self.collect = (self.read_at.elapsed() * 4).clamp(COLLECT, COLLECT_MOST);
            if !is_done {
                return Ok(Duration::ZERO);
            }
            self.read_until = horizon.ended;
        }
        let (last, left) = self.given_back;
        if left > 0 && last.elapsed() > GIVE_BACK_AFTER {
            self.given_back = (Instant::now(), left - 1);
            give_back_memory();
        }
        while let Some((asked, _)) = self.waiting.pop_front_if(|(_, end)| *end <= horizon.ended) {
            self.called = asked;
            if let Some(index) = &self.index {
                index.call(asked);
            }
        }
        Ok(if self.waiting.is_empty() { PAUSE } else { SHORT_PAUSE })
    }

    /// Reads the feed up to the horizon, as long as changes may be collected; whether it got there.
    async fn read(&mut self, horizon: Horizon) -> Result<bool, FollowError> {
        let began = Instant::now();
        let Some(start) = self.position else { return Ok(true) };
        let (mut position, mut last) = (start, None);
        let is_done = loop {
            let rows = maintenance::changes(&self.store, position, horizon.ended, BATCH).await?;
            let is_last = rows.len() < BATCH as usize;
            if let Some(row) = rows.last() {
                (position, last) = (row.position, Some(row.at));
            }
            self.take(&rows).await?;
            if is_last || began.elapsed() > COMMIT_AFTER {
                break is_last;
            }
        };
        if let Some(index) = self.index.clone().filter(|_| position != start) {
            let FeedPosition { xid, seq } = position;
            blocking(move || index.commit(Position { xid, seq })).await?;
            self.given_back = (Instant::now(), GIVE_BACK_TIMES);
        }
        self.position = Some(position);
        let behind = last
            .filter(|_| !is_done)
            .map_or(0, |at| SystemClock.now().as_micros().saturating_sub(at.as_micros()).max(0));
        metrics::gauge!("kiln_fulltext_lag_seconds", &self.store.labels()).set(behind as f64 / 1e6);
        Ok(is_done)
    }

    /// Puts what changed into the index and tells who keeps definitions.
    async fn take(&self, rows: &[FeedRow]) -> Result<(), FollowError> {
        let mut types = rows.iter().filter_map(|row| row.resource_type);
        if types.any(|of| self.about.keeper.is_about(of) || is_definition(of)) {
            self.about.keeper.image().await?;
            if let Some(judges) = &self.about.judges {
                judges.current().await?;
            }
        }
        let Some(index) = self.index.as_ref().filter(|_| !rows.is_empty()) else { return Ok(()) };
        let mut keys: Vec<i64> = rows.iter().map(|row| row.key).collect();
        keys.sort_unstable();
        keys.dedup();
        let found = maintenance::sizes(&self.store, &keys).await?;
        let known: HashSet<i64> = found.iter().map(|(key, _)| *key).collect();
        let gone = keys.into_iter().filter(|key| !known.contains(key));
        let gone: Vec<_> = gone.map(|key| Change { key, document: None }).collect();
        index.add(&gone)?;
        self.add(index, &found).await
    }

    /// Loads resources, given by key and size, and adds them to the index.
    async fn add(&self, index: &Arc<FullText>, sized: &[(i64, i64)]) -> Result<(), FollowError> {
        for keys in groups(sized) {
            let found = maintenance::of_keys(&self.store, &keys).await?;
            let (engine, index) = (self.engine.clone(), index.clone());
            blocking(move || {
                let changes: Vec<_> = found.iter().map(|it| change(&engine, it)).collect();
                index.add(&changes)
            })
            .await?;
        }
        Ok(())
    }

    /// Finds out where to begin, and builds the index where that is what has to be done.
    async fn find_position(&mut self) -> Result<(), FollowError> {
        let Some(index) = &self.index else {
            if self.position.is_none() {
                let ended = maintenance::horizon(&self.store).await?.ended;
                self.position = Some(FeedPosition { xid: ended, seq: 0 });
            }
            return Ok(());
        };
        let is_asked_for = std::fs::remove_file(&self.request).is_ok() || self.is_building;
        if self.position.is_some() && !is_asked_for {
            return Ok(());
        }
        let known = index.position()?.map(|Position { xid, seq }| FeedPosition { xid, seq });
        match known {
            Some(position) if !is_asked_for && self.is_kept(position).await? => {
                self.position = Some(position);
                Ok(())
            }
            _ => self.rebuild().await.map(drop),
        }
    }

    /// Whether the feed goes on from a position: it has it, or nothing that is older was dropped.
    async fn is_kept(&self, position: FeedPosition) -> Result<bool, FollowError> {
        let horizon = maintenance::horizon(&self.store).await?;
        let first = maintenance::first_change(&self.store).await?;
        let is_of_this_database = position.xid <= horizon.next;
        Ok(is_of_this_database && first.is_none_or(|first| first <= position))
    }

    /// After a failure of the index nothing is sure: what it has is found out anew.
    async fn recover(&mut self, error: &FollowError) {
        if let (FollowError::Index(_), Some(index)) = (error, self.index.clone()) {
            (self.position, self.read_until) = (None, 0);
            if let Err(error) = blocking(move || index.reopen()).await {
                tracing::warn!(%error, "cannot open the full text index again");
            }
        }
    }
}

/// The keys in groups that may be in memory together; what is too large comes alone.
fn groups(sized: &[(i64, i64)]) -> Vec<Vec<i64>> {
    let mut groups: Vec<Vec<i64>> = Vec::new();
    let mut bytes = 0;
    for (key, size) in sized {
        bytes += size;
        match groups.last_mut() {
            Some(group) if bytes <= GROUP_BYTES => group.push(*key),
            _ => {
                groups.push(vec![*key]);
                bytes = *size;
            }
        }
    }
    groups
}

fn change(engine: &Engine, contents: &Contents) -> Change {
    let document = resource(contents).and_then(|value| {
        Some(Document::of(&engine.extractor(), contents.resource_type()?, &value))
    });
    Change { key: contents.key, document }
}

/// Has the allocator give unused memory back to the system.
///
/// A commit's threads end and leave some 20 MB behind. The allocator returns them a while later,
/// but it looks for such only when something large is freed, and an idle server frees nothing.
fn give_back_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGE_BYTES)));
}

/// Runs what blocks beside the server's own work.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FullTextError> + Send + 'static,
) -> Result<T, FollowError> {
    match spawn_blocking(work).await {
        Ok(outcome) => Ok(outcome?),
        Err(failed) => Err(FollowError::Store(Error::internal(failed))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_loaded_together_is_bounded() {
        let large = GROUP_BYTES + 1;
        let half = GROUP_BYTES / 2;
        for (sized, expected) in [
            (&[][..], &[][..]),
            (&[(1, 5), (2, 5), (3, 0)], &[&[1, 2, 3][..]]),
            (&[(1, half), (2, half), (3, 1)], &[&[1, 2], &[3]]),
            (&[(1, 1), (2, large), (3, 1)], &[&[1], &[2], &[3]]),
            (&[(1, large), (2, large)], &[&[1], &[2]]),
        ] {
            assert_eq!(groups(sized), expected, "{sized:?}");
        }
    }
}
