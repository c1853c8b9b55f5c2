//! `$meta`, `$meta-add`, `$meta-delete`: profiles, labels and tags without a new version.
//!
//! Spec: <https://hl7.org/fhir/R4/resource-operations.html>

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::access::interaction::Kind;
use crate::access::labelling;
use crate::access::{Caller, Disclosed, Permit, Unaudited, named_only};
use crate::error::Error;
use crate::fhir::json::{self, Object, Value};
use crate::fhir::{Identity, IssueCode, ResourceType, Version, VersionId};
use crate::store::{MetaList, MetaScope, MetaUse, WriteTx};

use super::patch::list::{self, Element};
use super::prepare::{coding_key, refuse_subsetted, uses};
use super::write::{may_unlabel, refuse_fewer_labels};
use super::{Engine, Wish};

/// The lists of `meta` that these operations are about.
const LISTS: [&str; 3] = ["profile", "security", "tag"];

/// Whose Meta.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MetaOf {
    /// One resource, or one version of it.
    Instance(Identity, Option<VersionId>),
    /// All that is in use.
    System,
    /// All that is in use in one type.
    Type(ResourceType),
}

/// Whether profiles, labels and tags come or go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MetaChange {
    /// `$meta-add`; what is there already is not there twice.
    Add,
    /// `$meta-delete`; what is not there does no harm.
    Delete,
    /// Labels become what the server's rules make of what is stored.
    Label,
}

impl MetaChange {
    /// The interaction that it is.
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Add | Self::Label => Kind::MetaAdd,
            Self::Delete => Kind::MetaDelete,
        }
    }
}

impl Engine {
    /// The Meta of a resource, or the profiles, labels and tags in use.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Deleted`] for an instance.
    pub async fn meta(&self, of: &MetaOf, caller: &Caller) -> Result<Value<'static>, Error> {
        match of {
            MetaOf::Instance(identity, version) => {
                let interaction = Kind::Meta.of(identity.resource_type);
                self.gate
                    .run(interaction, caller, async |permit| {
                        let found = match version {
                            Some(version) => {
                                self.store.version(&identity.id, *version, permit).await
                            }
                            None => self.store.current(&identity.id, permit).await,
                        };
                        let found = self.or_defined(found, (identity, *version), permit)?;
                        Ok(found.map(|version| meta_of(&version)))
                    })
                    .await?
            }
            MetaOf::System => self.meta_in_use(MetaScope::System, caller).await,
            MetaOf::Type(resource_type) => {
                self.meta_in_use(MetaScope::Type(*resource_type), caller).await
            }
        }
    }

    async fn meta_in_use(
        &self,
        scope: MetaScope,
        caller: &Caller,
    ) -> Result<Value<'static>, Error> {
        let interaction = match scope {
            MetaScope::System => Kind::Meta.of_system(),
            MetaScope::Type(resource_type) => Kind::Meta.of(resource_type),
        };
        self.gate
            .run(interaction, caller, async |permit| {
                Ok(self.store.meta_in_use(scope, permit).await?.map(meta_of_uses))
            })
            .await
    }

    /// The Meta that `$meta-add` and `$meta-delete` take: parameter `meta` of a Parameters resource.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is none, or what is there is no sound FHIR.
    pub fn meta_of_parameters(&self, parameters: &Value<'_>) -> Result<Value<'static>, Error> {
        if parameters.str_at("resourceType") != Some("Parameters") {
            let text = "this operation takes a Parameters resource";
            return Err(Error::invalid(IssueCode::Invalid, text));
        }
        self.check(parameters)?;
        let named = parameters.items_at("parameter").iter();
        let mut metas = named.filter(|part| part.str_at("name") == Some("meta"));
        match (metas.next().and_then(|part| part.get("valueMeta")), metas.next()) {
            (Some(meta), None) => Ok(meta.clone().into_owned()),
            (Some(_), Some(_)) => {
                let text = "the parameter meta is given twice";
                Err(Error::invalid_at(IssueCode::Invalid, text, "Parameters.parameter"))
            }
            (None, _) => {
                let text = "the parameter meta with a valueMeta is missing";
                Err(Error::invalid_at(IssueCode::Required, text, "Parameters.parameter"))
            }
        }
    }

    /// Adds the profiles, labels and tags of `meta` to the current version or to an old one, or takes
    /// them away; the Meta that results.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Deleted`].
    pub async fn change_meta(
        &self,
        identity: &Identity,
        version: Option<VersionId>,
        meta: &Value<'_>,
        change: MetaChange,
        caller: &Caller,
    ) -> Result<Value<'static>, Error> {
        let _turn = self.turns.of(identity).await;
        let interaction = change.kind().of(identity.resource_type);
        if let Err(error) = self.validation.ready().await {
            let attempted = vec![named_only(interaction, identity)];
            return self.gate.denied_each(attempted, caller, error).await;
        }
        let mut attempts = self.gate.attempts(interaction, caller).about(identity);
        loop {
            let attempt = attempts.write(async |permit, tx| {
                let (meta, disclosed) =
                    self.stage_meta(identity, version, meta, change, permit, tx).await?;
                Ok(Unaudited::new(meta, disclosed))
            });
            if let Some(done) = attempt.await? {
                return Ok(done);
            }
        }
    }

    /// The same inside the unit of work of a transaction. Who claims a profile is held to it.
    pub(super) async fn stage_meta(
        &self,
        identity: &Identity,
        version: Option<VersionId>,
        meta: &Value<'_>,
        change: MetaChange,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<(Value<'static>, Disclosed), Error> {
        let found = tx.meta_target(&identity.id, version, permit).await?;
        let mut now = stored_meta(&found.version)?;
        let said = change_lists(&mut now, meta, change);
        self.label_in_place(&found.version, &said, &mut now)?;
        let uses = uses(&now);
        match change {
            MetaChange::Add => refuse_subsetted(identity.resource_type, &uses)?,
            MetaChange::Label => {}
            MetaChange::Delete if may_unlabel(permit) => {}
            MetaChange::Delete => {
                // Those of rules stay as long as a rule asks for them, whoever wants what.
                refuse_fewer_labels(&self.labels_of_people(&found.version)?, &uses)?;
            }
        }
        let text = (!now.is_empty()).then(|| Bytes::from(Value::Object(now).to_text()));
        let Identity { resource_type, id } = identity.clone();
        let disclosed = Disclosed {
            subject: Some((resource_type, id, Some(found.version.version))),
            patients: found.patients.clone(),
            entities: Vec::new(),
            ..Disclosed::default()
        };
        let changed = Version { meta: text.clone(), is_relabeled: true, ..found.version.clone() };
        let claims = change == MetaChange::Add && !meta.items_at("profile").is_empty();
        // A version that is named may be the current one.
        if claims {
            let whole = changed.to_json();
            let whole = json::parse(&whole).map_err(Error::internal)?;
            self.judge(&whole, Kind::Update, Wish::default())?;
        }
        if text != found.version.meta {
            let found = (found, version.is_some());
            tx.set_meta(found, text, uses, self.clock.now(), permit)?;
        }
        Ok((meta_of(&changed)?, disclosed))
    }
}

/// The whole Meta of a version, with versionId and lastUpdated.
pub(super) fn meta_of(version: &Version) -> Result<Value<'static>, Error> {
    let mut meta = stored_meta(version)?;
    meta.set_first("lastUpdated", version.last_updated.to_string());
    meta.set_first("versionId", version.version.to_string());
    Ok(Value::Object(meta))
}

pub(super) fn stored_meta(version: &Version) -> Result<Object<'static>, Error> {
    let Some(text) = &version.meta else { return Ok(Object::new()) };
    match json::parse(text).map_err(Error::internal)?.into_owned() {
        Value::Object(meta) => Ok(meta),
        _ => Err(Error::internal("a stored meta is an object")),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "`Unaudited::map` hands the value over")]
pub(super) fn meta_of_uses(uses: Vec<MetaUse>) -> Value<'static> {
    let mut meta = Object::new();
    for (name, list) in
        [("profile", MetaList::Profile), ("security", MetaList::Security), ("tag", MetaList::Tag)]
    {
        let of_list = uses.iter().filter(|used| used.list == list);
        let items: Vec<Value<'static>> = of_list.map(use_value).collect();
        if !items.is_empty() {
            meta.set(name, items);
        }
    }
    Value::Object(meta)
}

fn use_value(used: &MetaUse) -> Value<'static> {
    if used.list == MetaList::Profile {
        return Value::from(used.code.clone());
    }
    let system = (!used.system.is_empty()).then(|| used.system.clone());
    Object::new().with_some("system", system).with("code", used.code.clone()).into()
}

fn is_same(one: &Value<'_>, other: &Value<'_>) -> bool {
    match (one, other) {
        (Value::Object(_), Value::Object(_)) => coding_key(one) == coding_key(other),
        _ => one == other,
    }
}

/// Adds to the lists of `now` what `meta` has, or takes it away; the labels that were said to be there.
fn change_lists(
    now: &mut Object<'static>,
    meta: &Value<'_>,
    change: MetaChange,
) -> BTreeSet<labelling::Code> {
    for key in LISTS {
        match change {
            MetaChange::Add => add(now, key, meta.items_at(key)),
            MetaChange::Delete => remove(now, key, meta.items_at(key)),
            MetaChange::Label => {}
        }
    }
    match (change, meta.as_object()) {
        (MetaChange::Add, Some(added)) => labelling::labels(added),
        _ => BTreeSet::new(),
    }
}

fn add(meta: &mut Object<'static>, key: &str, items: &[Value<'_>]) {
    for item in items.iter().filter(|item| **item != Value::Null) {
        if place(meta, key, item).is_none() {
            let element = Element { value: Some(item.clone().into_owned()), sibling: None };
            list::push(meta, key, element);
        }
    }
}

fn remove(meta: &mut Object<'static>, key: &str, items: &[Value<'_>]) {
    for item in items.iter().filter(|item| **item != Value::Null) {
        while let Some(place) = place(meta, key, item) {
            list::remove(meta, key, place);
        }
    }
}

fn place(meta: &Object<'_>, key: &str, item: &Value<'_>) -> Option<usize> {
    let present = meta.get(key).and_then(Value::as_array)?;
    present.iter().position(|there| is_same(there, item))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Object<'static> {
        match json::parse(text.as_bytes()).expect(text).into_owned() {
            Value::Object(object) => object,
            other => panic!("{other:?} is no object"),
        }
    }

    #[test]
    fn adding_twice_adds_once_and_deleting_ignores_the_display() {
        let mut meta = object(r#"{"source":"s","tag":[{"system":"a","code":"b"}]}"#);
        let more = json::parse(br#"[{"system":"a","code":"b"},{"code":"b"}]"#).expect("array");
        add(&mut meta, "tag", more.as_array().expect("array"));
        add(&mut meta, "tag", more.as_array().expect("array"));
        let text = Value::Object(meta.clone()).to_text();
        assert_eq!(text, r#"{"source":"s","tag":[{"system":"a","code":"b"},{"code":"b"}]}"#);
        let gone = json::parse(br#"[{"system":"a","code":"b","display":"x"},{"code":"zz"}]"#);
        remove(&mut meta, "tag", gone.expect("array").as_array().expect("array"));
        assert_eq!(Value::Object(meta.clone()).to_text(), r#"{"source":"s","tag":[{"code":"b"}]}"#);
        remove(&mut meta, "tag", more.as_array().expect("array"));
        assert_eq!(Value::Object(meta).to_text(), r#"{"source":"s"}"#);
    }

    #[test]
    fn extensions_of_profiles_stay_beside_their_profiles() {
        let mut meta = object(r#"{"profile":["a","b"],"_profile":[null,{"id":"of-b"}]}"#);
        add(&mut meta, "profile", &[Value::from("c"), Value::from("a"), Value::Null]);
        let text = Value::Object(meta.clone()).to_text();
        let expected = r#"{"profile":["a","b","c"],"_profile":[null,{"id":"of-b"},null]}"#;
        assert_eq!(text, expected);
        remove(&mut meta, "profile", &[Value::from("a"), Value::Null]);
        let text = Value::Object(meta).to_text();
        assert_eq!(text, r#"{"profile":["b","c"],"_profile":[{"id":"of-b"},null]}"#);
    }
}
