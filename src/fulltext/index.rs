//! The index itself: its files, who writes and who searches.

use std::fs::Permissions;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tantivy::collector::TopDocs;
use tantivy::columnar::Column;
use tantivy::directory::error::OpenReadError;
use tantivy::directory::{Directory, INDEX_WRITER_LOCK, MmapDirectory};
use tantivy::indexer::{IndexWriterOptions, LogMergePolicy};
use tantivy::query::Query;
use tantivy::schema::{
    FAST, Field, INDEXED, IndexRecordOption, Schema, TextFieldIndexing, TextOptions,
};
use tantivy::tokenizer::TokenizerManager;
use tantivy::{
    Index, IndexReader, IndexSettings, IndexWriter, ReloadPolicy, Searcher, TantivyDocument,
    TantivyError, Term,
};

use crate::fhir::ResourceType;
use crate::search::request::FullTextField;

use super::FullTextError;
use super::analyze::{Analyzer, named};
use super::collect::{KEY, Keys};
use super::compile::{Target, of_types};
use super::document::{Change, Document};
use super::found::{Found, Question};
use super::query;
use super::wait::{Asked, Waiting};

/// The layout of the index and the making of words: another number, another index.
const FORMAT: u32 = 4;
/// Memory for documents that are not in a file yet, the least that the library takes.
const WRITER_BYTES: usize = 15_000_000;

/// A resource that was found: its key, and how well it fits, from 0 to 1 for the best.
pub type Hit = (i64, f32);

/// Where an index is and what it belongs to.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its folder, for nothing else.
    pub folder: PathBuf,
    /// The language whose stems are found too.
    pub language: Option<String>,
    /// What tells its database from others.
    pub seal: u64,
}

/// A place in the change feed: all before it and it itself are in the index.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Position {
    /// The transaction.
    pub xid: u64,
    /// The row.
    pub seq: i64,
}

/// The full text index of this node. Shared; one writes, all search.
pub struct FullText {
    options: Options,
    analyzer: Analyzer,
    files: RwLock<Arc<Files>>,
    ready: AtomicBool,
    waiting: Waiting,
}

/// An open index.
struct Files {
    index: Index,
    reader: IndexReader,
    /// `None` once another one is opened in its place.
    writer: Mutex<Option<IndexWriter>>,
    fields: Fields,
    found: Found,
}

#[derive(Clone, Copy)]
struct Fields {
    key: Field,
    kind: Field,
    narrative: Field,
    content: Field,
    texts: Field,
}

impl FullText {
    /// Opens the index, or makes an empty one where there is none that can be read.
    ///
    /// # Errors
    /// [`FullTextError::Locked`] when another process writes it; [`FullTextError::Language`].
    pub fn open(options: Options) -> Result<Self, FullTextError> {
        let analyzer = Analyzer::new(options.language.as_deref());
        let analyzer = analyzer
            .ok_or_else(|| FullTextError::Language(options.language.clone().unwrap_or_default()))?;
        let files = open(&options.folder, analyzer)?;
        let ready = AtomicBool::new(position(&files, &options)?.is_some());
        let files = RwLock::new(Arc::new(files));
        Ok(Self { options, analyzer, files, ready, waiting: Waiting::default() })
    }

    /// Opens it anew after a failure: with what is still there, or empty.
    ///
    /// # Errors
    /// As [`FullText::open`].
    pub fn reopen(&self) -> Result<(), FullTextError> {
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        self.ready.store(false, Ordering::SeqCst);
        files.close();
        *files = Arc::new(open(&self.options.folder, self.analyzer)?);
        let is_ready = position(&files, &self.options)?.is_some();
        self.ready.store(is_ready, Ordering::SeqCst);
        Ok(())
    }

    /// Ends writing: another process may open the index. What was not committed is lost.
    pub fn close(&self) {
        self.files().close();
    }

    /// Up to where in the change feed the index is; `None` when it has to be built.
    ///
    /// # Errors
    /// [`FullTextError::Broken`]
    pub fn position(&self) -> Result<Option<Position>, FullTextError> {
        position(&self.files(), &self.options)
    }

    /// Whether searches are answered.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst)
    }

    /// Puts changes into the index; searches see them, and the position, when it returns.
    ///
    /// # Errors
    /// [`FullTextError::Broken`]: what was not committed is lost, [`FullText::reopen`] it.
    pub fn apply(&self, changes: &[Change], position: Position) -> Result<(), FullTextError> {
        self.add(changes)?;
        self.commit(position)
    }

    /// Takes everything out, to be filled by [`FullText::add`]; searches are refused until
    /// [`FullText::commit`].
    ///
    /// # Errors
    /// [`FullTextError::Broken`]
    pub fn clear(&self) -> Result<(), FullTextError> {
        self.ready.store(false, Ordering::SeqCst);
        self.files().write(|writer, _| writer.delete_all_documents().map(drop))
    }

    /// Puts changes into the index without showing them; the last for a key counts.
    ///
    /// # Errors
    /// [`FullTextError::Broken`]
    pub fn add(&self, changes: &[Change]) -> Result<(), FullTextError> {
        self.files().write(|writer, fields| {
            for change in changes {
                writer.delete_term(Term::from_field_i64(fields.key, change.key));
                if let Some(document) = &change.document {
                    writer.add_document(stored(change.key, document, fields))?;
                }
            }
            Ok(())
        })
    }

    /// Makes what was added durable and visible, together with the position.
    ///
    /// # Errors
    /// [`FullTextError::Broken`]
    pub fn commit(&self, position: Position) -> Result<(), FullTextError> {
        let files = self.files();
        let payload = payload(&self.options, position);
        files.write(|writer, _| {
            let mut commit = writer.prepare_commit()?;
            commit.set_payload(&payload);
            commit.commit().map(drop)
        })?;
        files.reader.reload()?;
        self.ready.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// The best `limit` resources of these types (none: of any) that `query` finds in `field`.
    ///
    /// # Errors
    /// [`FullTextError::Query`] with the column; [`FullTextError::NotReady`]; [`FullTextError::TooCostly`].
    pub fn search(
        &self,
        field: &FullTextField,
        query: &str,
        types: &[ResourceType],
        limit: usize,
    ) -> Result<Vec<Hit>, FullTextError> {
        let node = query::parse(query)?;
        let (searcher, query) =
            self.asked_of(&self.files(), field, types, |target| target.asked(&node))?;
        let found =
            searcher.search(&*query, &TopDocs::with_limit(limit.max(1)).order_by_score())?;
        let best = found.first().map_or(0.0, |(score, _)| *score);
        let keys = keys(&searcher)?;
        let hits = found.into_iter().filter_map(|(score, address)| {
            let key = keys.get(address.segment_ord as usize)?.first(address.doc_id)?;
            Some((key, if best > 0.0 { (score / best).clamp(0.0, 1.0) } else { 1.0 }))
        });
        Ok(hits.collect())
    }

    /// At most `limit` keys of what [`FullText::search`] finds, in no order.
    ///
    /// # Errors
    /// As [`FullText::search`].
    pub fn keys(
        &self,
        field: &FullTextField,
        query: &str,
        types: &[ResourceType],
        limit: usize,
    ) -> Result<Vec<i64>, FullTextError> {
        let node = query::parse(query)?;
        let what = format!("{field:?} {query}");
        self.all_keys((what, types.to_vec()), field, limit, |target| target.asked(&node))
    }

    /// At most `limit` keys of resources of these types with a text of the parameter that begins so, case,
    /// accents and punctuation aside; in no order.
    ///
    /// # Errors
    /// [`FullTextError::NotReady`]
    pub fn beginning(
        &self,
        parameter: &str,
        text: &str,
        types: &[ResourceType],
        limit: usize,
    ) -> Result<Vec<i64>, FullTextError> {
        let field = FullTextField::Parameter(parameter.into());
        let what = format!("beginning of {field:?} {text}");
        self.all_keys((what, types.to_vec()), &field, limit, |target| Ok(target.beginning(text)))
    }

    /// At most `limit` keys of what a query finds; `question` tells it from others.
    fn all_keys(
        &self,
        question: Question,
        field: &FullTextField,
        limit: usize,
        query: impl FnOnce(&Target<'_>) -> Result<Box<dyn Query>, FullTextError>,
    ) -> Result<Vec<i64>, FullTextError> {
        let files = self.files();
        let (searcher, query) = self.asked_of(&files, field, &question.1, query)?;
        let (generation, found) = (searcher.generation().generation_id(), &files.found);
        if let Some(known) = found.get(generation, &question) {
            return Ok(known[..known.len().min(limit)].to_vec());
        }
        let keys = searcher.search(&*query, &Keys { limit })?;
        // What was cut is refused: it is not asked for again.
        if keys.len() < limit {
            found.put(generation, question, &keys);
        }
        Ok(keys)
    }

    /// The index as it is now, and what it is asked for.
    fn asked_of(
        &self,
        files: &Files,
        field: &FullTextField,
        types: &[ResourceType],
        query: impl FnOnce(&Target<'_>) -> Result<Box<dyn Query>, FullTextError>,
    ) -> Result<(Searcher, Box<dyn Query>), FullTextError> {
        if !self.is_ready() {
            return Err(FullTextError::NotReady);
        }
        let Fields { content, narrative, texts, .. } = files.fields;
        let (fields, parameter) = match field {
            FullTextField::Content => (vec![content, narrative], None),
            FullTextField::Narrative => (vec![narrative], None),
            FullTextField::Parameter(code) => (vec![texts], Some(&**code)),
        };
        let (searcher, analyzer) = (files.reader.searcher(), self.analyzer);
        let target = Target { fields, parameter, analyzer, searcher: &searcher };
        let query = of_types(query(&target)?, files.fields.kind, types);
        Ok((searcher, query))
    }

    /// Waits until everything that is committed now is found, at most this long; whether it is.
    pub async fn caught_up(&self, timeout: Duration) -> bool {
        self.waiting.wait(timeout).await
    }

    /// For the feeder: the last ticket that somebody waits with.
    pub fn asked(&self) -> Asked {
        self.waiting.asked()
    }

    /// For the feeder: whether somebody waits at all, with whatever ticket.
    pub fn is_waited_for(&self) -> bool {
        self.waiting.has_somebody()
    }

    /// For the feeder: all is in the index that was committed when this ticket was drawn.
    pub fn call(&self, ticket: Asked) {
        self.waiting.call(ticket);
    }

    /// For the feeder: waits until somebody waits.
    pub async fn woken(&self) {
        self.waiting.woken().await;
    }

    fn files(&self) -> Arc<Files> {
        self.files.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl std::fmt::Debug for FullText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FullText").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Files {
    /// Lets the writer go, and with it the lock on the folder.
    fn close(&self) {
        drop(self.writer.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn write<T>(
        &self,
        work: impl FnOnce(&mut IndexWriter, Fields) -> Result<T, TantivyError>,
    ) -> Result<T, FullTextError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let writer = writer.as_mut().ok_or_else(|| broken("the index was closed"))?;
        Ok(work(writer, self.fields)?)
    }
}

impl From<TantivyError> for FullTextError {
    fn from(error: TantivyError) -> Self {
        match error {
            TantivyError::LockFailure(..) => Self::Locked,
            other => broken(other),
        }
    }
}

fn broken(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> FullTextError {
    FullTextError::Broken(cause.into())
}

/// The index in `folder`; one that is damaged or of another making makes room for an empty one.
/// Whatever else goes wrong says nothing about its files: they stay.
fn open(folder: &Path, analyzer: Analyzer) -> Result<Files, FullTextError> {
    match open_once(folder, analyzer) {
        Err(cause) if is_damage(&cause) => {
            tracing::warn!(%cause, "the full text index cannot be read and is made anew");
            clear_away(folder)?;
            Ok(open_once(folder, analyzer)?)
        }
        outcome => Ok(outcome?),
    }
}

fn is_damage(error: &TantivyError) -> bool {
    let is_of_content = |error: &io::Error| {
        matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
    };
    match error {
        TantivyError::DataCorruption(_)
        | TantivyError::IncompatibleIndex(_)
        | TantivyError::SchemaError(_)
        | TantivyError::OpenReadError(
            OpenReadError::FileDoesNotExist(_) | OpenReadError::IncompatibleIndex(_),
        ) => true,
        TantivyError::IoError(error) => is_of_content(error),
        TantivyError::OpenReadError(OpenReadError::IoError { io_error, .. }) => {
            is_of_content(io_error)
        }
        _ => false,
    }
}

/// Removes the files of an index that no other process writes.
fn clear_away(folder: &Path) -> Result<(), FullTextError> {
    let directory = MmapDirectory::open(folder).map_err(TantivyError::from)?;
    let lock = directory.acquire_lock(&INDEX_WRITER_LOCK);
    let _lock = lock.map_err(|_| FullTextError::Locked)?;
    std::fs::remove_dir_all(folder).map_err(broken)
}

fn open_once(folder: &Path, analyzer: Analyzer) -> Result<Files, TantivyError> {
    std::fs::create_dir_all(folder)?;
    // The words of all records: the files in it are made as open as the user's mask says.
    std::fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    let (schema, fields) = schema();
    let words = TokenizerManager::default();
    words.register("words", analyzer);
    words.register("named", analyzer.of_named());
    // Nothing is kept beside the words, so a thread that compresses it would only wait.
    let settings =
        IndexSettings { docstore_compress_dedicated_thread: false, ..IndexSettings::default() };
    let directory = MmapDirectory::open(folder)?;
    let builder = Index::builder().schema(schema).settings(settings).tokenizers(words);
    let index = builder.open_or_create(directory)?;
    let options = IndexWriterOptions::builder()
        .memory_budget_per_thread(WRITER_BYTES)
        .num_worker_threads(1)
        .num_merge_threads(1)
        .build();
    let writer = index.writer_with_options(options)?;
    writer.set_merge_policy(Box::new(merging()));
    let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
    let (writer, found) = (Mutex::new(Some(writer)), Found::default());
    Ok(Files { index, reader, writer, fields, found })
}

/// Merges eight parts of about the same size into one.
///
/// A commit has few resources while few are written. By default all parts below 10,000 are of one
/// size, so that every eight commits would write all of them again.
fn merging() -> LogMergePolicy {
    let mut merging = LogMergePolicy::default();
    merging.set_min_num_segments(8);
    merging.set_min_layer_size(64);
    // Eightfold, as the power of two.
    merging.set_level_log_size(3.0);
    merging
}

fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let text = |tokenizer| {
        let indexing = TextFieldIndexing::default()
            .set_tokenizer(tokenizer)
            .set_index_option(IndexRecordOption::WithFreqsAndPositions);
        TextOptions::default().set_indexing_options(indexing)
    };
    let fields = Fields {
        key: schema.add_i64_field(KEY, INDEXED | FAST),
        kind: schema.add_i64_field("type", INDEXED),
        narrative: schema.add_text_field("narrative", text("words")),
        content: schema.add_text_field("content", text("words")),
        texts: schema.add_text_field("texts", text("named")),
    };
    (schema.build(), fields)
}

fn stored(key: i64, document: &Document, fields: Fields) -> TantivyDocument {
    let mut stored = TantivyDocument::new();
    stored.add_i64(fields.key, key);
    stored.add_i64(fields.kind, i64::from(document.resource_type.code()));
    if let Some(text) = &document.narrative {
        stored.add_text(fields.narrative, text);
    }
    for text in &document.content {
        stored.add_text(fields.content, text);
    }
    for (parameter, text) in &document.texts {
        stored.add_text(fields.texts, named(parameter, text));
    }
    stored
}

fn keys(searcher: &Searcher) -> Result<Vec<Column<i64>>, FullTextError> {
    let segments = searcher.segment_readers().iter();
    Ok(segments.map(|segment| segment.fast_fields().i64(KEY)).collect::<Result<_, _>>()?)
}

/// What the last commit says of itself, when it is one of this database and this making of words.
fn position(files: &Files, options: &Options) -> Result<Option<Position>, FullTextError> {
    let payload = files.index.load_metas()?.payload.unwrap_or_default();
    let Some(numbers) = payload.strip_prefix(&heading(options)) else { return Ok(None) };
    let mut numbers = numbers.split(' ');
    let mut next = || numbers.next();
    let xid = next().and_then(|text| text.parse().ok());
    let seq = next().and_then(|text| text.parse().ok());
    Ok(xid.zip(seq).map(|(xid, seq)| Position { xid, seq }))
}

fn payload(options: &Options, position: Position) -> String {
    format!("{}{} {}", heading(options), position.xid, position.seq)
}

fn heading(options: &Options) -> String {
    let language = options.language.as_deref().unwrap_or("-");
    format!("kiln {FORMAT} {:016x} {language} ", options.seal)
}

#[cfg(test)]
mod tests;
