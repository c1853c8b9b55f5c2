//! Patients that become one, or belong together.
//!
//! Spec: v2 merge family, B18 to B20

use super::change::belongings;
use super::find::Found;
use super::keys::{is_same, keyed};
use super::pairs::{Pair, pairs};
use super::plan::{Joined, Plan, told};
use super::{Applier, Case, Halt};
use crate::access::Caller;
use crate::engine::SearchTarget;
use crate::error::Error;
use crate::fhir::json::{Value, parse};
use crate::fhir::query::Query;
use crate::fhir::{Identity, ResourceType, Version};
use crate::hl7v2::ack::{Condition, Issue};
use crate::hl7v2::effect::{Json, person};
use crate::hl7v2::er7::{Part, Segment};
use crate::hl7v2::map::DraftResource;
use crate::hl7v2::map::site::Habit;
use crate::hl7v2::types::{Args, Context, Rep, id, name};
use crate::store::hl7v2::{Keyed, Moved};

/// The events by which one patient replaces another.
const MERGES: &[&str] = &["A18", "A30", "A34", "A36", "A39", "A40"];
/// Resources that are looked at at once.
const PAGE: usize = 200;

impl Applier {
    /// Merges the patients of each MRG into that of the PID before it: all or nothing.
    pub(super) async fn merge(
        &self,
        case: &Case<'_>,
        found: &[Found],
        plan: &mut Plan,
    ) -> Result<(), Halt> {
        if !MERGES.contains(&case.draft.event.1.as_str()) {
            return Ok(());
        }
        for pair in pairs(case.message) {
            let target = pair.target("patient", case, found).ok_or_else(|| nameless(&pair))?;
            self.merge_one(case, pair.merge, target, plan).await?;
        }
        Ok(())
    }

    async fn merge_one(
        &self,
        case: &Case<'_>,
        segment: Segment<'_>,
        target: &Found,
        plan: &mut Plan,
    ) -> Result<(), Halt> {
        let field = segment.field(1);
        let unknown = || Issue::error(Condition::UnknownKey).at(field.place());
        let parts = field.repetitions();
        let keys: Vec<_> = parts.filter_map(|part| key(part, case, "Patient")).collect();
        let sources = self.known_by(ResourceType::PATIENT, &keys, case).await?;
        let made = || self.unknown(case, segment, &keys);
        let (source, stored) = match sources.as_slice() {
            [] if keys.iter().any(|key| plan.keys.iter().any(|known| is_same(known, key))) => {
                // This message has made it before.
                return Ok(());
            }
            [] => made().ok_or_else(|| Halt::Failed(unknown().named("unknown-patient")))?,
            // What the message has done to it by now counts: one may end in it, before it ends itself.
            [one] => (one.clone(), plan.body_of(one)),
            _ => return Err(Halt::Failed(unknown().named("identity-conflict"))),
        };
        if source.identity == target.identity {
            // It was merged before.
            return Ok(());
        }
        let id = source.identity.id.to_string();
        if source.stored.is_none() {
            let target = target.identity.id.to_string();
            plan.keys.extend(keys.iter().map(|key| Keyed { id: target.clone(), ..key.clone() }));
        }
        let now = plan.body_of(target);
        let (gone, kept) = person::merged(&stored, &now, (&id, &target.identity.id.to_string()));
        let action = |one: &Found| if one.stored.is_some() { "merge" } else { "create" };
        plan.put(&source, &gone, action(&source), "effect merge");
        plan.put(target, &kept, action(target), "effect merge");
        let was = if stored.get("active") == Some(&Value::Bool(false)) { "false" } else { "true" };
        let moves = given((&source, &format!("active:{was}")), (target, &now, &kept));
        self.join(case, &source, target, (moves, keys), plan).await
    }

    /// A patient of whom nothing is known but what MRG says, where the sender's profile wants it to be made.
    fn unknown(
        &self,
        case: &Case<'_>,
        segment: Segment<'_>,
        keys: &[Keyed],
    ) -> Option<(Found, Json)> {
        if keys.is_empty() || !case.maps.site().has(Habit::MakesLosing) {
            return None;
        }
        let context = Context::new(case.maps.site(), case.maps.tables(), &case.sender(), "");
        let args = Args::default();
        let numbers = segment.field(1).repetitions().map(Rep::of_part);
        let numbers: Vec<_> = numbers.filter_map(|rep| id::cx(&rep, &args, &context)).collect();
        let names = segment.field(7).repetitions().map(Rep::of_part);
        let names: Vec<_> = names.flat_map(|rep| name::xpn(&rep, &args, &context)).collect();
        let mut body = Json::new().with("identifier", numbers).with("gender", "unknown");
        if !names.is_empty() {
            body.set("name", names);
        }
        let identity = Identity { resource_type: ResourceType::PATIENT, id: self.ids.logical_id() };
        Some((Found { identity, stored: None }, body))
    }

    /// Has what belonged to `source` belong to `target`, as much of it as one transaction takes; the
    /// others follow.
    pub(super) async fn join(
        &self,
        case: &Case<'_>,
        source: &Found,
        target: &Found,
        (moves, keys): (Vec<Moved>, Vec<Keyed>),
        plan: &mut Plan,
    ) -> Result<(), Halt> {
        let mut moves = moves;
        let (from, to) = (source.identity.to_string(), target.identity.to_string());
        for (of, query) in belongings(&source.identity) {
            let most = self.most_moved;
            moves.extend(self.repoint(case, &of, &query, (&from, &to, most), plan).await?);
        }
        let (source, target) = (source.identity.clone(), target.identity.clone());
        plan.merges.push(Joined { source, target, moves, keys });
        Ok(())
    }

    /// Has what a search finds refer to another resource where it refers to one, until so many are
    /// planned; where it did.
    pub(super) async fn repoint(
        &self,
        case: &Case<'_>,
        of: &SearchTarget,
        query: &str,
        (from, to, most): (&str, &str, usize),
        plan: &mut Plan,
    ) -> Result<Vec<Moved>, Halt> {
        let mut moves = Vec::new();
        let mut cursor = None;
        while plan.entries.len() < most {
            let (all, next) =
                self.leading(of, query, cursor.as_deref(), (from, to), case.caller).await?;
            for found in all {
                let mut value = Value::Object(plan.body_of(&found));
                let paths = person::repointed(&mut value, from, to);
                if let Value::Object(body) = value
                    && !paths.is_empty()
                    && plan.entries.len() < most
                {
                    moves.extend(paths.into_iter().filter_map(|path| moved(&found, path)));
                    plan.put(&found, &body, "repoint", "effect merge");
                }
            }
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        Ok(moves)
    }

    /// A page of what a search finds, but for the two themselves; and where the next page begins.
    pub(super) async fn leading(
        &self,
        of: &SearchTarget,
        query: &str,
        cursor: Option<&str>,
        (from, to): (&str, &str),
        caller: &Caller,
    ) -> Result<(Vec<Found>, Option<String>), Error> {
        let and = if query.is_empty() { "" } else { "&" };
        let cursor = cursor.map(|cursor| format!("&_cursor={}", encoded(cursor)));
        let text = format!("{query}{and}_count={PAGE}{}", cursor.unwrap_or_default());
        let query = Query::parse(&text).map_err(|_| Error::internal("a query of a merge"))?;
        let searched = self.engine.search(of, &query, true, caller).await?;
        let found = searched.page.matches.into_iter().filter_map(|one| {
            let version = one.version;
            let name = version.identity.to_string();
            // A Provenance says what was true then.
            let is_left = version.identity.resource_type.to_string() == "Provenance";
            if is_left || name == from || name == to {
                return None;
            }
            found_of(&version)
        });
        Ok((found.collect(), searched.page.next))
    }
}

/// A version as what is stored of its resource.
pub(super) fn found_of(version: &Version) -> Option<Found> {
    let text = version.to_json();
    let Value::Object(stored) = parse(&text).ok()?.into_owned() else { return None };
    Some(Found { identity: version.identity.clone(), stored: Some((stored, version.version)) })
}

/// That something of a stored resource was changed.
pub(super) fn moved(found: &Found, path: String) -> Option<Moved> {
    let (_, version) = found.stored.as_ref()?;
    Some(Moved {
        resource_type: found.identity.resource_type.to_string(),
        id: found.identity.id.to_string(),
        path,
        version: version.0,
    })
}

/// What a merge changes of the two themselves: the state of the source, and the numbers that the target
/// gets.
pub(super) fn given(
    (source, state): (&Found, &str),
    (target, before, after): (&Found, &Json, &Json),
) -> Vec<Moved> {
    let numbers = person::given(before, after).into_iter();
    let numbers = numbers.map(|number| Moved {
        resource_type: target.identity.resource_type.to_string(),
        id: target.identity.id.to_string(),
        path: format!("identifier:{number}"),
        version: target.stored.as_ref().map_or(0, |(_, version)| version.0),
    });
    let state = Moved {
        resource_type: source.identity.resource_type.to_string(),
        id: source.identity.id.to_string(),
        path: state.to_owned(),
        version: source.stored.as_ref().map_or(0, |(_, version)| version.0),
    };
    std::iter::once(state).chain(numbers).collect()
}

/// Nothing says which patient, account or visit an MRG goes with.
pub(super) fn nameless(pair: &Pair<'_>) -> Halt {
    let place = pair.merge.field(1).place();
    Halt::Failed(Issue::error(Condition::UnknownKey).at(place).named("unknown-patient"))
}

/// The key that an identifier of a resource is kept by.
pub(super) fn key(part: Part<'_>, case: &Case<'_>, of: &str) -> Option<Keyed> {
    let rep = Rep::of_part(part);
    let value = rep.some(1)?.to_owned();
    let context = Context::new(case.maps.site(), case.maps.tables(), &case.sender(), "");
    let system = id::authority(&rep.component(4), &context).system;
    Some(keyed(of, system, value))
}

/// Links the two patients of A24 both ways, or takes these links away (A37).
pub(super) fn link(case: &Case<'_>, found: &[Found], plan: &mut Plan) {
    let both: Vec<_> = patients(case, found).map(|(_, found)| found).collect();
    let [one, other] = both.as_slice() else {
        plan.told.push(told("nothing-to-link"));
        return;
    };
    if one.identity == other.identity {
        plan.told.push(told("nothing-to-link"));
        return;
    }
    let is_link = case.draft.event.1 == "A24";
    for (from, to) in [(one, other), (other, one)] {
        let (body, id) = (plan.body_of(from), to.identity.id.to_string());
        let now = if is_link {
            person::linked(&body, &id, "seealso")
        } else {
            person::unlinked(&body, &id, "seealso")
        };
        let action = if from.stored.is_some() { "update" } else { "create" };
        plan.put(from, &now, action, "effect link");
    }
}

/// The patients that a message is about, with their drafts.
fn patients<'a>(
    case: &'a Case<'_>,
    found: &'a [Found],
) -> impl Iterator<Item = (&'a DraftResource, &'a Found)> {
    case.draft.resources.iter().zip(found).filter(|(draft, _)| draft.rule == "patient")
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
