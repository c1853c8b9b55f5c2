//! Merges that are taken back: what a merge moved goes back, where it is still as the merge left it.
//!
//! What came since by the numbers of either is with the one that had stayed, and nobody can say whose it
//! is: that is told, not guessed.
//!
//! Spec: v2 S5

use super::Applier;
use super::find::Found;
use super::merge::found_of;
use super::plan::Entry;
use super::settle::{both, by_resource, entry, source_of};
use crate::access::Caller;
use crate::engine::SearchTarget;
use crate::error::Error;
use crate::fhir::json::{Object, Value};
use crate::fhir::query::Query;
use crate::fhir::{Identity, ResourceType, VersionId};
use crate::hl7v2::effect::person;
use crate::hl7v2::merges::{TakeBack, TakenBack};
use crate::store::hl7v2::{Companion, Merging, Moved};

/// Resources that one transaction puts back.
const AT_ONCE: usize = 2_000;
/// Most resources that are told to have come since.
const MOST_TOLD: usize = 500;

impl Applier {
    pub(super) async fn unmerge(&self, wish: TakeBack<'_>) -> Result<TakenBack, Error> {
        let TakeBack { merge, moves, caller, .. } = wish;
        let gone = || Error::Conflict("the two are no longer there".to_owned());
        let (source, target) = both(merge).ok_or_else(gone)?;
        let lines =
            self.store.message_lines(&[merge.source.as_str(), merge.target.as_str()]).await?;
        let lines = [&merge.source, &merge.target].map(|id| {
            let known = lines.iter().find(|(known, _)| known == id);
            (id.clone(), known.map_or(0, |(_, number)| *number))
        });
        let source = self.stored(&source, caller).await?.ok_or_else(gone)?;
        let target = self.stored(&target, caller).await?.ok_or_else(gone)?;
        if target.stored.as_ref().is_some_and(|(stored, _)| person::replaced_by(stored).is_some()) {
            let text = "another replaced the one that had stayed: that merge is taken back first";
            return Err(Error::Conflict(text.to_owned()));
        }
        let mut back = TakenBack {
            source: source.identity.to_string(),
            target: target.identity.to_string(),
            restored: 0,
            left: Vec::new(),
            since: self.since(&wish, &target.identity).await?,
        };
        let mut entries = self.put_back(&wish, &mut back).await?;
        let is_in_parts = back.restored > entries.len();
        entries.extend([
            apart(&source, &back.target, moves),
            left_alone(&target, &source.identity, moves),
        ]);
        let undone = Merging::Undone {
            merge: merge.clone(),
            at: wish.at,
            by: caller.principal.actor().to_owned(),
            reason: wish.reason.to_owned(),
            moves: moves.len(),
        };
        let lines = if source.identity.resource_type == ResourceType::PATIENT {
            lines.to_vec()
        } else {
            Vec::new()
        };
        let companion = Companion { merges: vec![undone], lines, ..Companion::default() };
        self.write(written(&entries, &wish), companion, caller).await?;
        if is_in_parts {
            // The merge stood until now: what was put back first may have been moved once more.
            let mut again = TakenBack { left: Vec::new(), since: Vec::new(), ..back.clone() };
            let rest = self.put_back(&wish, &mut again).await?;
            if !rest.is_empty() {
                self.write(written(&rest, &wish), Companion::default(), caller).await?;
            }
        }
        Ok(back)
    }

    /// Puts all back but what goes with the end of the merge, which is given.
    async fn put_back(
        &self,
        wish: &TakeBack<'_>,
        back: &mut TakenBack,
    ) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        for of_one in by_resource(wish.moves) {
            let name = format!("{}/{}", of_one[0].resource_type, of_one[0].id);
            if name == back.source || name == back.target {
                continue;
            }
            entries.extend(self.returned(of_one, &name, back, wish.caller).await?);
            if entries.len() >= AT_ONCE {
                back.restored += entries.len();
                let all = std::mem::take(&mut entries);
                self.write(written(&all, wish), Companion::default(), wish.caller).await?;
            }
        }
        back.restored += entries.len();
        Ok(entries)
    }

    pub(super) async fn stored(
        &self,
        identity: &Identity,
        caller: &Caller,
    ) -> Result<Option<Found>, Error> {
        match self.engine.read(identity, caller).await {
            Ok(version) => Ok(found_of(&version)),
            Err(Error::NotFound(_) | Error::Deleted { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A resource with its references as before; `None`: there is nothing to be changed.
    async fn returned(
        &self,
        moves: &[Moved],
        name: &str,
        back: &mut TakenBack,
        caller: &Caller,
    ) -> Result<Option<Entry>, Error> {
        let of = moves[0].resource_type.parse::<ResourceType>().ok();
        let identity = of.zip(moves[0].id.parse().ok());
        let identity = identity.map(|(resource_type, id)| Identity { resource_type, id });
        let found = match &identity {
            Some(identity) => self.stored(identity, caller).await?,
            None => None,
        };
        let body = found.as_ref().and_then(|found| found.stored.as_ref());
        let Some((found, (body, _))) = found.as_ref().zip(body) else {
            back.left.extend(moves.iter().map(|one| (name.to_owned(), one.path.clone())));
            return Ok(None);
        };
        let (mut value, mut is_changed) = (Value::Object(body.clone()), false);
        for one in moves {
            match person::put_back(&mut value, &one.path, &back.target, &back.source) {
                Some(is_new) => is_changed |= is_new,
                None => back.left.push((name.to_owned(), one.path.clone())),
            }
        }
        let Value::Object(body) = value else { return Ok(None) };
        Ok(is_changed.then(|| entry(found, &body, "unmerge")))
    }

    /// What was made since the merge and leads to the one that had stayed.
    async fn since(&self, wish: &TakeBack<'_>, target: &Identity) -> Result<Vec<String>, Error> {
        if target.resource_type != ResourceType::PATIENT {
            return Ok(Vec::new());
        }
        let (code, id) = (target.resource_type, target.id.clone());
        let of = SearchTarget::Compartment { code, id, resource_type: None };
        let text = format!("_lastUpdated=gt{}&_count={MOST_TOLD}", wish.merge.at);
        let query = Query::parse(&text).map_err(|_| Error::internal("a query of a merge"))?;
        let searched = self.engine.search(&of, &query, true, wish.caller).await?;
        let new = searched.page.matches.into_iter().map(|one| one.version).filter(|version| {
            let is_new = version.version == VersionId(1) && version.identity != *target;
            is_new && version.identity.resource_type.to_string() != "Provenance"
        });
        Ok(new.map(|version| version.identity.to_string()).collect())
    }
}

/// The one that had ended, as it was.
fn apart(source: &Found, target: &str, moves: &[Moved]) -> Entry {
    let mut body = source.stored.as_ref().map(|(body, _)| body.clone()).unwrap_or_default();
    let id = target.split('/').next_back().unwrap_or_default();
    body = person::unlinked(&body, id, "replaced-by");
    let own = moves.iter().filter(|one| one.id == source.identity.id.as_str());
    for state in own.map(|one| one.path.as_str()) {
        if let Some(status) = state.strip_prefix("status:") {
            body.set("status", status.to_owned());
        } else if let Some(active) = state.strip_prefix("active:") {
            body.set("active", active == "true");
        }
    }
    entry(source, &body, "unmerge")
}

/// The one that had stayed, without what the other one gave it.
fn left_alone(target: &Found, source: &Identity, moves: &[Moved]) -> Entry {
    let body = target.stored.as_ref().map(|(body, _)| body.clone()).unwrap_or_default();
    let own = moves.iter().filter(|one| one.id == target.identity.id.as_str());
    let numbers: Vec<_> = own.filter_map(|one| one.path.strip_prefix("identifier:")).collect();
    entry(target, &person::separated(&body, source.id.as_str(), &numbers), "unmerge")
}

/// Entries with the Provenance that says why.
fn written(entries: &[Entry], wish: &TakeBack<'_>) -> Vec<Value<'static>> {
    let source = source_of(wish.merge);
    let mut all: Vec<_> = entries.iter().map(|entry| entry.value_from(source.clone())).collect();
    let target = entries
        .iter()
        .map(|entry| Value::Object(Object::new().with("reference", entry.identity.to_string())));
    let who = Object::new().with("display", wish.caller.principal.actor().to_owned());
    let message = Object::new()
        .with("system", "urn:kiln:v2-message")
        .with("value", wish.merge.message.to_string());
    let what = Object::new().with("identifier", message);
    let entity = Object::new().with("role", "revision").with("what", what);
    let reason = Object::new().with("text", wish.reason.to_owned());
    let activity = Object::new().with("text", "merge taken back");
    let resource = Object::new()
        .with("resourceType", "Provenance")
        .with("target", target.collect::<Vec<_>>())
        .with("recorded", wish.at.to_string())
        .with("reason", vec![Value::Object(reason)])
        .with("activity", activity)
        .with("agent", vec![Value::Object(Object::new().with("who", who))])
        .with("entity", vec![Value::Object(entity)]);
    let request = Object::new().with("method", "POST").with("url", "Provenance");
    all.push(Value::Object(Object::new().with("resource", resource).with("request", request)));
    all
}
