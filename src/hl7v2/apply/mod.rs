//! What messages do to the store: one transaction for each, with the message's end in it.
//!
//! The maps say what a message asks to be stored ([`Draft`]); here it is found again by its keys, held
//! against what is stored ([`effect`](super::effect)), and written through the engine like a
//! transaction of a client: same validation, history, index and ledger. What cannot be done leaves no
//! trace but the message's own.
//!
//! | file | does |
//! |---|---|
//! | `change` | accounts and visits that become one, things that move, numbers that change |
//! | `claim` | profiles that are kept to |
//! | `copy` | messages as documents |
//! | `find`, `keys` | keys -> resources; who a patient is |
//! | `lapsed` | keys that lead to a patient who has the number no longer |
//! | `members` | results that belong to another |
//! | `merge`, `pairs` | patients that become one or belong together; what each MRG goes with |
//! | `origin` | the transaction, and which message it is by |
//! | `partial` | what is left out because it is not valid |
//! | `plan` | what is written, by what is stored |
//! | `prune` | what a message made before and makes no longer |
//! | `resolve` | what a message is about, for who only asks |
//! | `settle` | what a merge has left behind |
//! | `snapshot` | what a list of all there is ends |
//! | `stale`, `supply` | news that come late; what a message says nothing of |
//! | `told` | which sender told of which number of a patient |
//! | `unmerge` | merges that are taken back |
//!
//! Spec: v2 S1 to S5, S10, S11, S22, S30 to S33, F1 to F5, M7

mod change;
mod claim;
mod copy;
mod find;
mod keys;
mod lapsed;
mod members;
mod merge;
mod origin;
mod pairs;
mod partial;
mod plan;
mod prune;
mod resolve;
mod settle;
mod snapshot;
mod stale;
mod supply;
mod told;
mod unmerge;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::ack::{Condition, Issue};
use super::dtm::Moment;
use super::er7::{Message, Path};
use super::heading::Heading;
use super::map::{Draft, Maps, Problem, bundle};
use super::merges::{TakeBack, TakenBack};
use super::queue::{Done, Drafted, Resolved, Task, Work};
use super::types::{LocalCode, id};
use crate::access::Caller;
use crate::clock::IdSource;
use crate::engine::{
    BundleOptions, Engine, EntryResult, Import, MakeCompanion, NewIds, WriteOutcome,
};
use crate::error::{Error, root_cause};
use crate::fhir::Instant;
use crate::store::Store;
use crate::store::hl7v2::{
    Companion, Keyed, Looked, Merge, Merging, MessageEffect, MessageEnd, UnmappedCode,
};

use find::Found;
use plan::{Entry, Joined, Plan};

/// Most characters that are kept of a code and what it is called.
const LONGEST_CODE: usize = 200;
/// How often a message is planned anew when others change what it is about.
const TRIES: u32 = 6;
/// How often a patient may have been replaced by another.
const MOST_HOPS: usize = 8;
/// Most resources that a merge moves in its own transaction, unless it is said.
const MOST_MOVED: usize = 10_000;
/// How long before the second time; twice as long before each that follows.
const PAUSE: Duration = Duration::from_millis(5);

/// Why a message was not applied.
#[derive(Debug)]
enum Halt {
    /// It has no effect, and will have none like this.
    Failed(Issue),
    /// Others changed what it is about.
    Again(String),
    /// These drafts, or resources, are not valid; without them there would be no fault.
    Invalid(Vec<String>, Issue),
    /// The database is away, or busy.
    Later(String),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        match error {
            Error::Entry { cause, .. } => Self::from(*cause),
            Error::Busy(_)
            | Error::Unavailable(_)
            | Error::Unconfirmed(_)
            | Error::Throttled(_) => Self::Later("the database is away or busy".to_owned()),
            Error::Conflict(_) | Error::PreconditionFailed(_) | Error::Duplicate(_) => {
                Self::Again("others changed what it is about".to_owned())
            }
            Error::Unprocessable(issues) | Error::Invalid(issues) => {
                // The expressions name elements, never their values.
                let places: Vec<_> =
                    issues.iter().map(|issue| issue.expression.as_str()).take(5).collect();
                Self::Failed(internal("invalid-resource").detailed(places.join(", ")))
            }
            error => {
                tracing::warn!(cause = root_cause(&error), "a message cannot be applied");
                Self::Failed(internal("not-applied"))
            }
        }
    }
}

fn internal(name: &'static str) -> Issue {
    Issue::error(Condition::ApplicationError).named(name)
}

/// Applies messages by their maps.
pub struct Applier {
    engine: Arc<Engine>,
    store: Store,
    ids: Arc<dyn IdSource>,
    maps: Arc<Maps>,
    most_moved: usize,
}

/// A message and what is known of it.
struct Case<'a> {
    message: &'a Message<'a>,
    maps: &'a Maps,
    draft: &'a Draft,
    caller: &'a Caller,
    /// When what it tells happened.
    at: Instant,
    /// The same as a dateTime.
    at_text: String,
    /// The patients that were looked at, each with the number of messages before this one.
    lines: Mutex<BTreeMap<String, i64>>,
    /// What was known of it when it was looked at.
    looked: Mutex<Arc<Looked>>,
    /// Keys that lead to a patient who has the number no longer, with the id of that one.
    lapsed: Mutex<Vec<Keyed>>,
    /// What is left out: the urls of drafts, or the names of resources.
    skipped: Mutex<BTreeSet<String>>,
}

impl<'a> Case<'a> {
    fn new(
        (message, maps): (&'a Message<'a>, &'a Maps),
        draft: &'a Draft,
        caller: &'a Caller,
        (at, at_text): (Instant, String),
    ) -> Self {
        Self {
            message,
            maps,
            draft,
            caller,
            at,
            at_text,
            lines: Mutex::default(),
            looked: Mutex::default(),
            lapsed: Mutex::default(),
            skipped: Mutex::default(),
        }
    }
}

impl Case<'_> {
    /// Who sends, by a word that can stand in a url.
    fn sender(&self) -> String {
        sender(self.message)
    }

    /// What was known of what it is about when it was looked at.
    fn looked(&self) -> Arc<Looked> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn skipped(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.skipped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lines(&self) -> MutexGuard<'_, BTreeMap<String, i64>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Applier {
    /// One that knows which messages there are by `maps`, those of who has no profile.
    pub fn new(engine: Arc<Engine>, store: Store, ids: Arc<dyn IdSource>, maps: Arc<Maps>) -> Self {
        Self { engine, store, ids, maps, most_moved: MOST_MOVED }
    }

    /// The same that moves at most so many resources in the transaction of a merge.
    #[must_use]
    pub fn moving_at_most(self, most_moved: usize) -> Self {
        Self { most_moved, ..self }
    }

    async fn apply(&self, task: Task<'_>) -> Done {
        let Some(draft) = task.maps.draft(task.message) else {
            return Done::Failed(vec![Issue::error(Condition::UnsupportedEvent)]);
        };
        let mut issues: Vec<_> =
            draft.problems.iter().map(|problem| issue(problem, task.message)).collect();
        if task.heading.version().is_some_and(|version| !version.is_published()) {
            let place = task.message.header(12).place();
            issues.push(Issue::warning(Condition::UnsupportedVersion).at(place).named("version"));
        }
        if draft.is_refused() {
            return Done::Failed(issues);
        }
        let (at, at_text) = happened(task.message, task.maps, task.received_at);
        let case = Case::new((task.message, task.maps), &draft, task.caller, (at, at_text));
        self.attempts(&case, &task, issues).await
    }

    /// What a message does beyond writing what its maps make.
    async fn act(&self, case: &Case<'_>, found: &[Found], plan: &mut Plan) -> Result<(), Halt> {
        match case.draft.effect.as_deref() {
            Some("merge") => {
                self.merge(case, found, plan).await?;
                self.rearrange(case, found, plan).await?;
            }
            Some("results") => self.gather(case, found, plan).await?,
            Some("document") => self.supersede(case, plan).await?,
            Some("link") => merge::link(case, found, plan),
            Some("encounter-event") => plan.refuse_unexpected(case)?,
            _ => {}
        }
        Ok(())
    }

    async fn attempt(
        &self,
        case: &Case<'_>,
        task: &Task<'_>,
        issues: &[Issue],
    ) -> Result<Done, Halt> {
        let found = self.find(case).await?;
        let mut plan = Plan::new(self, case, &found).await?;
        self.act(case, &found, &mut plan).await?;
        self.end_missing(case, &found, &mut plan).await?;
        let drafts = &case.draft.resources;
        let skipped = case.skipped().clone();
        plan.leave_out(&skipped, (drafts, &found), &self.engine.spec().schema);
        self.keep_copy(case, task, &found, &mut plan).await?;
        let pruned = self.prune(case, task, &found, &mut plan).await?;
        self.claim(case, &found, &mut plan);
        plan.settle();
        let issues: Vec<_> = issues.iter().chain(&plan.told).cloned().collect();
        let hash = Some(case.draft.map_hash.clone());
        let mut end = task.end(&issues, Vec::new(), hash);
        end.unmapped = case.draft.codes.iter().map(unmapped).collect();
        let Plan { entries, keys, merges, marks, waiting, .. } = plan;
        let merges: Vec<_> = merges.into_iter().map(|one| made(one, &end)).collect();
        let looked = case.looked();
        // Those that are known to lead there need not be written.
        let keys: Vec<_> = keys.into_iter().filter(|key| !looked.known.contains(key)).collect();
        let taken = case.taken(&keys);
        let known = entries.iter().filter_map(|entry| looked.current(&entry.identity));
        let known: Vec<_> = known.cloned().collect();
        let rules: Vec<_> =
            entries.iter().map(|entry| (entry.action, entry.rule.clone())).collect();
        let ended = end.clone();
        let lines: Vec<_> = case.lines().clone().into_iter().collect();
        let gone = pruned.effects;
        let companion = move |results: &[EntryResult]| {
            let mut end = ended.clone();
            end.effects = effects(results, &rules);
            end.effects.extend(gone.iter().cloned());
            Companion {
                end: Some(end),
                keys: keys.clone(),
                taken: taken.clone(),
                merges: merges.clone(),
                marks: marks.clone(),
                lines: lines.clone(),
                waiting: waiting.clone(),
            }
        };
        let (companion, new_ids) =
            (Some(Arc::new(companion) as Arc<MakeCompanion>), Some(self.new_ids(&entries)));
        let patients = case.lines().keys().filter_map(|id| id.parse().ok()).collect();
        let import = Some(Import { message: task.id, patients });
        let options =
            BundleOptions { new_ids, companion, import, known, ..BundleOptions::default() };
        let transaction = origin::transaction(&entries, pruned.entries, task);
        let done = self.engine.bundle(transaction.into(), &options, task.caller).await;
        done.map_err(|error| partial::halted(error, &entries, drafts, &found))?;
        Ok(Done::Applied(end))
    }
}

/// A merge as it is kept.
fn made(joined: Joined, end: &MessageEnd) -> Merging {
    let Joined { source, target, moves, keys } = joined;
    let merge = Merge {
        message: end.id,
        resource_type: source.resource_type.to_string(),
        source: source.id.to_string(),
        target: target.id.to_string(),
        at: end.at,
        is_undone: false,
    };
    Merging::Made(merge, moves, keys)
}

impl Applier {
    /// The ids that were chosen for what is new.
    fn new_ids(&self, entries: &[Entry]) -> NewIds {
        let ids: Vec<_> = entries.iter().map(|entry| entry.identity.id.clone()).collect();
        let spare = self.ids.logical_id();
        Arc::new(move |index| ids.get(index).cloned().unwrap_or_else(|| spare.clone()))
    }
}

impl Work for Applier {
    fn knows(&self, heading: &Heading) -> Result<(), Condition> {
        let (kind, event) = (heading.kind.as_str(), heading.event.as_str());
        if self.maps.rule(kind, event).is_some() || event.is_empty() {
            return Ok(());
        }
        let of_kind = format!("{kind}^");
        let rules = self.maps.messages().iter();
        let mut all = rules.flat_map(|rule| &rule.matches);
        let is_kind = all.any(|name| name.starts_with(&of_kind));
        Err(if is_kind { Condition::UnsupportedEvent } else { Condition::UnsupportedType })
    }

    fn draft(&self, message: &Message<'_>, maps: &Maps) -> Option<Drafted> {
        let draft = maps.draft(message)?;
        let mut issues: Vec<_> =
            draft.problems.iter().map(|problem| issue(problem, message)).collect();
        let bundle = (!draft.is_refused()).then(|| bundle::transaction(&draft));
        issues.extend(bundle.iter().flat_map(|_| self.invalid(&draft, maps)));
        Some(Drafted { bundle, issues, unmapped: draft.unmapped })
    }

    fn run<'a>(&'a self, task: Task<'a>) -> BoxFuture<'a, Done> {
        self.apply(task).boxed()
    }

    fn resolve<'a>(
        &'a self,
        message: &'a Message<'a>,
        maps: &'a Maps,
        caller: &'a Caller,
    ) -> BoxFuture<'a, Result<Result<Vec<Resolved>, Issue>, Error>> {
        self.identities(message, maps, caller).boxed()
    }

    fn patients<'a>(
        &'a self,
        message: &'a Message<'a>,
        maps: &'a Maps,
    ) -> BoxFuture<'a, Result<Vec<String>, Error>> {
        self.patients_of(message, maps).boxed()
    }

    fn settle<'a>(
        &'a self,
        merge: &'a Merge,
        caller: &'a Caller,
    ) -> BoxFuture<'a, Result<usize, Error>> {
        self.move_what_is_left(merge, caller).boxed()
    }

    fn take_back<'a>(&'a self, wish: TakeBack<'a>) -> BoxFuture<'a, Result<TakenBack, Error>> {
        self.unmerge(wish).boxed()
    }
}

/// Who sends a message, by a word that can stand in a url.
fn sender(message: &Message<'_>) -> String {
    let word = |field: u16| message.header(field).component(1).text().into_owned();
    let names = [word(3), word(4)];
    let names = names.iter().filter(|name| !name.is_empty()).map(|name| id::slug(name));
    names.collect::<Vec<_>>().join(".")
}

/// What was done, by which rule.
fn effects(results: &[EntryResult], rules: &[(&'static str, String)]) -> Vec<MessageEffect> {
    let written = results.iter().zip(rules).filter_map(|(result, (action, rule))| {
        let EntryResult::Written(written) = result else { return None };
        let version = &written.version;
        (!matches!(written.outcome, WriteOutcome::Unchanged)).then(|| MessageEffect {
            action: (*action).to_owned(),
            resource_type: version.identity.resource_type.to_string(),
            id: version.identity.id.to_string(),
            version: version.version.0,
            rule: rule.clone(),
        })
    });
    written.collect()
}

/// When what a message tells of persons and visits happened: EVN-6, EVN-2, else when it was sent, else when
/// it came: without any time it is no older than what came before it.
fn happened(message: &Message<'_>, maps: &Maps, received: Instant) -> (Instant, String) {
    let zones = maps.site().zones.of_message(&message.header(7).component(1).text());
    for path in ["EVN-6.1", "EVN-2.1", "MSH-7.1"] {
        let Ok(path) = path.parse::<Path>() else { continue };
        let text = message.get(&path).text();
        if let Ok(moment) = Moment::parse(&text) {
            return (moment.start(&zones), moment.date_time(&zones).0);
        }
    }
    (received, received.to_string())
}

/// A code that no map has another one for, as it is counted.
fn unmapped(code: &LocalCode) -> UnmappedCode {
    let LocalCode { set, system, code, display } = code;
    let kept = |text: &str| text.chars().filter(|c| *c != '\0').take(LONGEST_CODE).collect();
    UnmappedCode { set: kept(set), system: kept(system), code: kept(code), display: kept(display) }
}

/// A problem of the maps as an issue of the answer.
fn issue(problem: &Problem, message: &Message<'_>) -> Issue {
    let condition = Condition::of_number(problem.code).unwrap_or(Condition::TableValue);
    let issue = match (problem.is_error, problem.code) {
        (true, _) => Issue::error(condition),
        (false, 0) => Issue::information(Condition::Accepted),
        (false, _) => Issue::warning(condition),
    };
    let issue = issue.named(problem.kind);
    let place = problem.place.parse::<Path>().ok();
    match place {
        Some(path) => issue.at(message.get(&path).place()),
        None => issue,
    }
}
