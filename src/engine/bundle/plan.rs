//! Reads a batch or transaction Bundle into entries that can be run. Pure.
//!
//! Spec: <https://hl7.org/fhir/R4/bundle.html>, checklist rest 3.4, 3.34 to 3.40

use crate::access::interaction::Kind;
use crate::access::{Attempted, Disclosed, Interaction, named_only};
use crate::engine::condition::{self, Condition, EntityTag};
use crate::engine::{MetaChange, MetaOf, SearchTarget};
use crate::error::Error;
use crate::fhir::json::Value;
use crate::fhir::query::Query;
use crate::fhir::reference::strip_base;
use crate::fhir::{Identity, Instant, IssueCode, ResourceType, VersionId};
use crate::store::HistoryScope;

use super::call::Call;

mod target;

use target::Target;

/// The parameters that mean something to `GET metadata`.
pub const METADATA_PARAMETERS: [&str; 1] = ["mode"];

/// Most characters that go on record of the URL of an entry that is not understood.
const MAX_ADDRESS: usize = 1_000;

/// One entry, understood.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// Its place in the Bundle.
    pub index: usize,
    /// `entry.fullUrl`
    pub full_url: Option<String>,
    /// What it asks for.
    pub action: Action<'a>,
    /// ifMatch and ifNoneMatch.
    pub condition: Condition,
    /// ifModifiedSince.
    pub modified_since: Option<Instant>,
}

/// What an entry asks for.
#[derive(Clone, Debug)]
pub enum Action<'a> {
    /// An operation that changes no resource.
    Call(Call<'a>),
    /// `POST [type]`
    Create(ResourceType, Value<'a>),
    /// `POST [type]` with `ifNoneExist`
    CreateUnless(ResourceType, Query, Value<'a>),
    /// `DELETE [type]/[id]`
    Delete(Identity),
    /// `DELETE [type]?criteria`
    DeleteBy(ResourceType, Query),
    /// `GET` or `HEAD` of something.
    Get(Get),
    /// `POST [type]/[id]/$meta-add` or `$meta-delete`, of the current or an old version.
    Meta(Identity, Option<VersionId>, Value<'a>, MetaChange),
    /// `PATCH [type]/[id]`
    Patch(Identity, Value<'a>),
    /// `PATCH [type]?criteria`
    PatchBy(ResourceType, Query, Value<'a>),
    /// `PUT [type]/[id]`
    Update(Identity, Value<'a>),
    /// `PUT [type]?criteria`
    UpdateBy(ResourceType, Query, Value<'a>),
}

/// What a GET entry asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Get {
    /// `metadata` and its query.
    CapabilityStatement(Query),
    /// A history and its query.
    History(HistoryScope, Query),
    /// `$meta` of something.
    Meta(MetaOf),
    /// `[type]/[id]`
    Read(Identity),
    /// A search and its query.
    Search(SearchTarget, Query),
    /// `[type]/[id]/_history/[vid]`
    Vread(Identity, VersionId),
}

/// An entry that is not understood.
#[derive(Debug)]
pub struct Unread {
    /// Why.
    pub error: Error,
    /// What it asks for, as far as method and URL tell; without an interaction, as a part of its Bundle.
    asked: Box<(Option<Interaction>, Disclosed)>,
}

impl Unread {
    /// What goes on record of it, where its Bundle is an interaction.
    pub(super) fn attempted(&self, bundle: Interaction) -> Attempted {
        let (own, disclosed) = &*self.asked;
        (own.unwrap_or(bundle), disclosed.clone())
    }
}

impl Action<'_> {
    /// Where the entry stands in the order of processing (rest 3.6).
    pub fn rank(&self) -> u8 {
        match self {
            Self::Delete(_) | Self::DeleteBy(..) => 0,
            Self::Create(..) | Self::CreateUnless(..) => 1,
            Self::Meta(..)
            | Self::Patch(..)
            | Self::PatchBy(..)
            | Self::Update(..)
            | Self::UpdateBy(..) => 2,
            Self::Call(_) | Self::Get(_) => 3,
        }
    }

    /// The resource that the entry writes, when its URL names it.
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Delete(identity)
            | Self::Meta(identity, ..)
            | Self::Patch(identity, _)
            | Self::Update(identity, _) => Some(identity),
            Self::Call(_)
            | Self::Create(..)
            | Self::CreateUnless(..)
            | Self::DeleteBy(..)
            | Self::Get(_)
            | Self::PatchBy(..)
            | Self::UpdateBy(..) => None,
        }
    }

    /// The type and the criteria, when the resource that it writes is found by them.
    pub fn criteria(&self) -> Option<(ResourceType, &Query)> {
        match self {
            Self::CreateUnless(of, criteria, _)
            | Self::DeleteBy(of, criteria)
            | Self::PatchBy(of, criteria, _)
            | Self::UpdateBy(of, criteria, _) => Some((*of, criteria)),
            _ => None,
        }
    }

    /// The resource or patch that the entry brings.
    pub fn resource(&self) -> Option<&Value<'_>> {
        match self {
            Self::Create(_, value)
            | Self::CreateUnless(_, _, value)
            | Self::Meta(_, _, value, _)
            | Self::Patch(_, value)
            | Self::PatchBy(_, _, value)
            | Self::Update(_, value)
            | Self::UpdateBy(_, _, value) => Some(value),
            Self::Call(call) => call.given.as_ref(),
            Self::Delete(_) | Self::DeleteBy(..) | Self::Get(_) => None,
        }
    }

    /// What goes on record of an entry that did not run.
    pub(crate) fn attempted(&self) -> Attempted {
        match self {
            Self::Call(call) => call.attempted(),
            Self::Create(of, _) | Self::CreateUnless(of, ..) => of_type(Kind::Create, *of),
            Self::DeleteBy(of, _) => of_type(Kind::Delete, *of),
            Self::PatchBy(of, ..) => of_type(Kind::Patch, *of),
            Self::UpdateBy(of, ..) => of_type(Kind::Update, *of),
            Self::Delete(identity) => attempted(Kind::Delete, identity),
            Self::Get(get) => get.attempted(),
            Self::Meta(identity, _, _, change) => attempted(change.kind(), identity),
            Self::Patch(identity, _) => attempted(Kind::Patch, identity),
            Self::Update(identity, _) => attempted(Kind::Update, identity),
        }
    }
}

impl Get {
    /// What goes on record of it when it did not run.
    pub(super) fn attempted(&self) -> Attempted {
        let of_system = |kind: Kind| (kind.of_system(), Disclosed::default());
        match self {
            Self::CapabilityStatement(_) => of_system(Kind::Capabilities),
            Self::History(HistoryScope::Instance(identity), _) => {
                attempted(Kind::HistoryInstance, identity)
            }
            Self::History(scope, _) => {
                (crate::engine::history::interaction(scope), Disclosed::default())
            }
            Self::Meta(MetaOf::Instance(identity, _)) => attempted(Kind::Meta, identity),
            Self::Meta(MetaOf::System) => of_system(Kind::Meta),
            Self::Meta(MetaOf::Type(of)) => of_type(Kind::Meta, *of),
            Self::Search(target, query) => {
                let asked = Some(("GET", crate::engine::search::address(target, query)));
                let disclosed = Disclosed { asked, ..Disclosed::default() };
                (crate::engine::search::interaction(target), disclosed)
            }
            Self::Read(identity) => attempted(Kind::Read, identity),
            Self::Vread(identity, _) => attempted(Kind::Vread, identity),
        }
    }
}

/// An interaction with one resource of which no more is known than its name.
pub(super) fn attempted(kind: Kind, identity: &Identity) -> Attempted {
    named_only(kind.of(identity.resource_type), identity)
}

/// An interaction with a type.
fn of_type(kind: Kind, of: ResourceType) -> Attempted {
    (kind.of(of), Disclosed::default())
}

/// Reads every entry; each may fail by itself, as the entries of a batch do.
///
/// `base` is the server's public base; with `is_strict`, parameters that mean nothing are refused.
/// The entries are taken out of `bundle`.
pub fn entries<'a>(
    bundle: &mut Value<'a>,
    base: &str,
    is_strict: bool,
) -> Vec<Result<Entry<'a>, Unread>> {
    let taken = bundle.as_object_mut().and_then(|bundle| bundle.remove("entry"));
    let Some(Value::Array(entries)) = taken else { return Vec::new() };
    let read = |(index, mut entry): (usize, Value<'a>)| {
        self::entry(index, &mut entry, base, is_strict).map_err(|error| {
            let asked = Box::new(asked_for(index, &entry, base));
            Unread { error, asked }
        })
    };
    entries.into_iter().enumerate().map(read).collect()
}

fn entry<'a>(
    index: usize,
    entry: &mut Value<'a>,
    base: &str,
    is_strict: bool,
) -> Result<Entry<'a>, Error> {
    let place = |element: &str| format!("Bundle.entry[{index}]{element}");
    let Value::Object(entry) = entry else {
        let text = "an entry is an object";
        return Err(Error::invalid_at(IssueCode::Structure, text, place("")));
    };
    let resource = entry.remove("resource");
    let full_url = entry.get("fullUrl").and_then(Value::as_str).map(str::to_owned);
    let Some(request) = entry.get("request") else {
        let text = "every entry of a batch or transaction needs a request";
        return Err(Error::invalid_at(IssueCode::Required, text, place(".request")));
    };
    let required = |name: &'static str| {
        request.str_at(name).ok_or_else(|| {
            let text = format!("the request of an entry needs {name}");
            Error::invalid_at(IssueCode::Required, text, place(&format!(".request.{name}")))
        })
    };
    let (method, url) = (required("method")?, required("url")?);
    let target = Target { index, url, base };
    let action = target.action(method, resource)?;
    if is_strict {
        target.check_known(&action)?;
    }
    let action = match (request.str_at("ifNoneExist"), action) {
        (Some(text), Action::Create(of, value)) => {
            let criteria = condition::criteria(text, of).map_err(|text| {
                Error::invalid_at(IssueCode::Invalid, text, place(".request.ifNoneExist"))
            })?;
            Action::CreateUnless(of, criteria, value)
        }
        (_, action) => action,
    };
    let tags = |name: &str| -> Result<Vec<EntityTag>, Error> {
        request.str_at(name).map_or(Ok(Vec::new()), |text| {
            EntityTag::parse_list(text).map_err(|text| {
                Error::invalid_at(IssueCode::Invalid, text, place(&format!(".request.{name}")))
            })
        })
    };
    let condition = Condition {
        if_match: tags("ifMatch")?,
        if_none_match: tags("ifNoneMatch")?,
        unmodified_since: None,
    };
    if matches!(action, Action::Create(..) | Action::CreateUnless(..)) {
        // What is new has no version that could match.
        condition.check(None)?;
    }
    let modified_since = request.str_at("ifModifiedSince").and_then(Instant::parse);
    Ok(Entry { index, full_url, action, condition, modified_since })
}

/// What an entry asks for that is not understood. What is wrong may stand beside its URL, which names something all the
/// same; else it is told as it stands.
fn asked_for(index: usize, entry: &Value<'_>, base: &str) -> (Option<Interaction>, Disclosed) {
    let request = entry.get("request");
    let method = request.and_then(|request| request.str_at("method")).unwrap_or_default();
    let url = request.and_then(|request| request.str_at("url"));
    let target = url.map(|url| Target { index, url, base });
    if let Some(Ok(action)) = target.map(|it| it.action(method, Some(Value::Null))) {
        let (interaction, disclosed) = action.attempted();
        return (Some(interaction), disclosed);
    }
    let mut known = ["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"].into_iter();
    let method = known.find(|known| *known == method).unwrap_or("OTHER");
    let asked = Some((method, address(url.unwrap_or_default(), base)));
    (None, Disclosed { asked, ..Disclosed::default() })
}

/// A URL as the ledger keeps it, below the base.
fn address(url: &str, base: &str) -> String {
    let local = strip_base(url, base).unwrap_or(url).trim_start_matches('/');
    let kept = local.chars().take(MAX_ADDRESS);
    kept.map(|it| if it == '\0' { '\u{fffd}' } else { it }).collect()
}

#[cfg(test)]
mod tests;
