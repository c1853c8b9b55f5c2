//! What a message is about: resources by their keys, and who a patient is.
//!
//! Spec: v2 S1, S2, S5

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use futures_util::future::try_join_all;

use super::change::all_keys;
use super::keys::{former_of, is_former, is_of_code, is_same, numbers_of};
use super::{Applier, Case, Halt, MOST_HOPS};
use super::{members, told};
use crate::access::Caller;
use crate::engine::SearchTarget;
use crate::error::Error;
use crate::fhir::json::{Object, Value, parse};
use crate::fhir::query::Query;
use crate::fhir::{Identity, LogicalId, ResourceType, VersionId};
use crate::hl7v2::ack::{Condition, Issue};
use crate::hl7v2::effect::person;
use crate::hl7v2::map::DraftResource;
use crate::store::hl7v2::Keyed;

/// A resource that a message is about.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Its name, new or known.
    pub(super) identity: Identity,
    /// What is stored, with its version; `None`: nothing yet.
    pub(super) stored: Option<(Object<'static>, VersionId)>,
}

impl Applier {
    /// The resource of each draft.
    pub(super) async fn find(&self, case: &Case<'_>) -> Result<Vec<Found>, Halt> {
        let drafts = &case.draft.resources;
        let wanted = drafts.iter().flat_map(|draft| {
            let keys = all_keys(case, draft).into_iter();
            keys.chain(numbers_of(draft)).chain(former_of(draft))
        });
        let places = members::places_of_results(case);
        let of_places = places.iter().map(|place| members::keyed(place, ""));
        let wanted: Vec<_> = wanted.chain(told::wanted(case)).chain(of_places).collect();
        let looked = self.engine.look_for_message(&wanted, &places, case.caller).await?;
        let looked = Arc::new(looked);
        case.lines().extend(looked.lines.iter().cloned());
        case.looked.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&looked);
        let known = &looked.known;
        let found = drafts.iter().map(|draft| self.find_one(draft, known, case));
        let mut found = try_join_all(found).await?;
        // One after the other: what results are of an order says that of which they are.
        for (at, draft) in drafts.iter().enumerate().filter(|(_, draft)| !draft.former.is_empty()) {
            if found.get(at).is_some_and(|one| one.stored.is_none())
                && let Some(one) = self.by_former(draft, known, &found, case).await?
                && let Some(place) = found.get_mut(at)
            {
                *place = one;
            }
        }
        Ok(found)
    }

    async fn find_one(
        &self,
        draft: &DraftResource,
        known: &[Keyed],
        case: &Case<'_>,
    ) -> Result<Found, Halt> {
        let of: ResourceType =
            draft.resource_type.parse().map_err(|_| Halt::Failed(super::internal("map")))?;
        let is_patient = of == ResourceType::PATIENT;
        let keys = all_keys(case, draft);
        let own = keys.iter().filter_map(|key| known.iter().find(|known| is_same(known, key)));
        let mut found = self.led(of, &own.collect::<Vec<_>>(), case).await?;
        if found.is_empty() && (is_patient || draft.resource_type == "Encounter") {
            found = self.carrying(of, &keys, case).await?;
        }
        if found.is_empty() {
            found.extend(self.by_number(of, draft, known, case).await?);
        }
        let distrusts = || {
            let mut all = case.maps.site().authorities.values();
            draft.rule == "patient" && all.any(|one| one.trusted == Some(false))
        };
        // What is known by no number that counts would be another patient with each message.
        let is_nobody = is_patient && keys.is_empty() && distrusts();
        if is_nobody || (is_patient && found.len() > 1) {
            let place = case
                .message
                .get(&"PID-3".parse().map_err(|_| Halt::Failed(super::internal("map")))?)
                .place();
            let name = if is_nobody { "no-trusted-number" } else { "identity-conflict" };
            let issue = Issue::error(Condition::UnknownKey).at(place).named(name);
            return Err(Halt::Failed(issue));
        }
        Ok(found.into_iter().next().unwrap_or_else(|| {
            let identity = Identity { resource_type: of, id: self.ids.logical_id() };
            Found { identity, stored: None }
        }))
    }

    /// What has the number of a draft without a word of which of several things it is of, or is the first that
    /// has it: it is what the draft is of where it has the same code, or none.
    async fn by_number(
        &self,
        of: ResourceType,
        draft: &DraftResource,
        known: &[Keyed],
        case: &Case<'_>,
    ) -> Result<Option<Found>, Halt> {
        for number in numbers_of(draft) {
            let id = known.iter().find(|known| is_same(known, &number));
            let Some(id) = id.and_then(|known| known.id.parse().ok()) else { continue };
            let one = self.current(Identity { resource_type: of, id }, case).await?;
            let is_it = |one: &Found| {
                one.stored.as_ref().is_some_and(|(stored, _)| is_of_code(stored, draft))
            };
            if let Some(one) = one.filter(is_it) {
                return Ok(Some(one));
            }
        }
        Ok(None)
    }

    /// What is stored by a key that drafts had before, is what the draft is of, and no other draft's.
    async fn by_former(
        &self,
        draft: &DraftResource,
        known: &[Keyed],
        found: &[Found],
        case: &Case<'_>,
    ) -> Result<Option<Found>, Halt> {
        let drafts = &case.draft.resources;
        let name = |url: &str| {
            let at = drafts.iter().position(|draft| draft.url == url)?;
            found.get(at).map(|found| found.identity.to_string())
        };
        for key in former_of(draft) {
            let known = known.iter().find(|known| is_same(known, &key));
            let of = draft.resource_type.parse().ok();
            let Some((of, id)) = of.zip(known.and_then(|known| known.id.parse().ok())) else {
                continue;
            };
            let one = self.current(Identity { resource_type: of, id }, case).await?;
            let is_it = |one: &Found| {
                let stored = one.stored.as_ref().map(|(stored, _)| stored);
                let is_free = !found.iter().any(|other| other.identity == one.identity);
                is_free && stored.is_some_and(|stored| is_former(stored, &key, draft, &name))
            };
            if let Some(one) = one.filter(is_it) {
                return Ok(Some(one));
            }
        }
        Ok(None)
    }

    /// Takes note of how many messages each of `patients` has had. What is read of them after this counts
    /// only if the number is the same when the effect is committed.
    async fn watch(&self, patients: &[&str], case: &Case<'_>) -> Result<(), Halt> {
        let new: Vec<_> = {
            let lines = case.lines();
            patients.iter().copied().filter(|id| !lines.contains_key(*id)).collect()
        };
        if new.is_empty() {
            return Ok(());
        }
        let found = self.store.message_lines(&new).await?;
        let mut lines = case.lines();
        for id in new {
            let number = found.iter().find(|(known, _)| known == id).map_or(0, |(_, n)| *n);
            // Who was noted first counts: something may have been read since.
            lines.entry(id.to_owned()).or_insert(number);
        }
        Ok(())
    }

    /// The resource as it is now; of a patient that another has replaced, the other one.
    pub(super) async fn current(
        &self,
        identity: Identity,
        case: &Case<'_>,
    ) -> Result<Option<Found>, Halt> {
        Ok(self.followed(identity, case).await?.pop())
    }

    /// A resource, and of a patient whoever has replaced it, one after the other: the last is the one of now.
    /// Nothing, where one of them is gone.
    pub(super) async fn followed(
        &self,
        identity: Identity,
        case: &Case<'_>,
    ) -> Result<Vec<Found>, Halt> {
        let (mut all, mut identity) = (Vec::new(), identity);
        for _ in 0..MOST_HOPS {
            if identity.resource_type == ResourceType::PATIENT {
                self.watch(&[identity.id.as_str()], case).await?;
            }
            let looked = case.looked();
            let version = match looked.current(&identity) {
                Some(current) => current.version.clone(),
                None => match self.engine.read(&identity, case.caller).await {
                    Ok(version) => version,
                    Err(Error::NotFound(_) | Error::Deleted { .. }) => {
                        // What it was known by may be another's from now on.
                        self.store.forget_message_keys(&identity).await?;
                        return Ok(Vec::new());
                    }
                    Err(error) => return Err(error.into()),
                },
            };
            let text = version.to_json();
            let stored = parse(&text).map_err(|_| Halt::Failed(super::internal("stored")))?;
            let Value::Object(stored) = stored.into_owned() else { return Ok(Vec::new()) };
            let survivor = person::replaced_by(&stored)
                .filter(|_| identity.resource_type == ResourceType::PATIENT)
                .and_then(|id| id.parse::<LogicalId>().ok());
            let resource_type = identity.resource_type;
            all.push(Found { identity, stored: Some((stored, version.version)) });
            match survivor {
                Some(id) => identity = Identity { resource_type, id },
                None => return Ok(all),
            }
        }
        Ok(Vec::new())
    }

    /// What `keys` lead to, else what carries them as identifiers.
    pub(super) async fn known_by(
        &self,
        of: ResourceType,
        keys: &[Keyed],
        case: &Case<'_>,
    ) -> Result<Vec<Found>, Halt> {
        let known = self.store.message_keys(keys).await?;
        let found = self.led(of, &known.iter().collect::<Vec<_>>(), case).await?;
        if found.is_empty() { self.carrying(of, keys, case).await } else { Ok(found) }
    }

    /// What keys lead to, each once.
    async fn led(
        &self,
        of: ResourceType,
        known: &[&Keyed],
        case: &Case<'_>,
    ) -> Result<Vec<Found>, Halt> {
        let mut by_id: BTreeMap<&str, Vec<&Keyed>> = BTreeMap::new();
        for key in known {
            by_id.entry(key.id.as_str()).or_default().push(key);
        }
        let mut found = Vec::new();
        for (id, keys) in by_id {
            let Ok(id) = id.parse() else { continue };
            let one = self.held(Identity { resource_type: of, id }, &keys, case).await?;
            add(&mut found, one);
        }
        Ok(found)
    }

    /// What carries one of `keys` as an identifier, whoever stored it.
    async fn carrying(
        &self,
        of: ResourceType,
        keys: &[Keyed],
        case: &Case<'_>,
    ) -> Result<Vec<Found>, Halt> {
        let mut ids = BTreeSet::new();
        for key in keys {
            ids.extend(self.by_identifier(of, key, case.caller).await?);
        }
        let mut found = Vec::new();
        for id in ids {
            let Ok(id) = id.parse() else { continue };
            let one = self.current(Identity { resource_type: of, id }, case).await?;
            add(&mut found, one);
        }
        Ok(found)
    }

    /// The ids of resources that carry an identifier, whoever stored them.
    async fn by_identifier(
        &self,
        of: ResourceType,
        key: &Keyed,
        caller: &Caller,
    ) -> Result<Vec<String>, Halt> {
        let encode = |text: &str| {
            let plain = text
                .replace('\\', "\\\\")
                .replace(',', "\\,")
                .replace('|', "\\|")
                .replace('$', "\\$");
            percent_encoding::utf8_percent_encode(&plain, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
        };
        let query = format!("identifier={}%7C{}&_count=5", encode(&key.system), encode(&key.value));
        let Ok(query) = Query::parse(&query) else { return Ok(Vec::new()) };
        let searched = self.engine.search(&SearchTarget::Type(of), &query, true, caller).await?;
        let ids = searched.page.matches.into_iter().map(|one| one.version.identity.id.to_string());
        Ok(ids.collect())
    }
}

/// Adds what was found, once.
fn add(found: &mut Vec<Found>, one: Option<Found>) {
    let one = one.filter(|one| !found.iter().any(|other| other.identity == one.identity));
    found.extend(one);
}
