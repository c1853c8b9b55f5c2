//! Entries that call an operation which changes no resource: `$validate`, those of terminology, what a
//! patient is told of accesses, `$everything`, `$summary`, `$hl7v2-convert`, `$reindex`.
//!
//! In a batch each is what it is by itself: one reading of parameters, one passage of the gate, one row
//! of the ledger. In a transaction it comes with the entries that read, after all writes: under a permit
//! derived from the transaction's, on the transaction's own view of what is stored. Of definitions that
//! is what was in force before and those that the transaction writes; what it deletes is gone for what
//! asks by id. `$reindex` goes on behind the answer, so it cannot be undone and is for a batch alone. Exports
//! and `$graphql` are for no Bundle.
//!
//! Spec: <https://hl7.org/fhir/R4/operations.html#executing>, <https://hl7.org/fhir/R4/http.html#transaction>

use crate::access::interaction::Kind;
use crate::access::{Attempted, Caller, Disclosed, Interaction, Permit, Unaudited};
use crate::engine::{
    CURSOR, DISCLOSURES_PARAMETERS, Engine, EverythingOf, Operation, Question, ReindexOf,
    VALIDATE_PARAMETERS, Validate, ValidateAt, everything, simple_parameters, summary, terminology,
};
use crate::error::Error;
use crate::fhir::json::{self, Object, Value};
use crate::fhir::query::Query;
use crate::fhir::{Identity, IssueCode, LogicalId, ResourceType, operation_outcome};
use crate::store::WriteTx;

use super::plan::{Action, Entry};
use super::{BundleOptions, EntryResult, Seen, plan};

/// A call of an operation.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// Which, and of what.
    pub called: Called,
    /// The query of its URL.
    pub query: Query,
    /// The resource of its entry.
    pub given: Option<Value<'a>>,
    /// Whether its transaction may write what its URL names.
    pub is_of_new: bool,
}

/// An operation, with what its URL names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Called {
    /// `$export`, what is asked of an export, or `$graphql`: for none of them there is an entry.
    Alone(Interaction),
    /// `$closure`
    Closure,
    /// An operation with codes; of a stored resource where it has an id.
    Codes(Operation, Option<LogicalId>),
    /// `$hl7v2-convert`
    Convert,
    /// `Patient/[id]/$disclosures`
    Disclosures(LogicalId),
    /// `$everything`
    Everything(EverythingOf),
    /// `$reindex` of something; how far it is, or else that it begins.
    Reindex(ReindexOf, bool),
    /// `Patient/[id]/$summary`, `Patient/$summary`
    Summary(Option<LogicalId>),
    /// `[type]/$validate`, `[type]/[id]/$validate`
    Validate(ValidateAt),
}

impl Called {
    /// What `segments` call, where they call an operation at all.
    pub(super) fn by(segments: &[&str], is_get: bool) -> Option<Self> {
        let codes = |operation| Some(Self::Codes(operation, None));
        match segments {
            ["$closure"] if !is_get => Some(Self::Closure),
            ["Patient", "$everything"] => Some(Self::Everything(EverythingOf::Patients)),
            [of, id, "$everything"] => everything_of(of, id.parse().ok()?),
            ["Patient", "$summary"] => Some(Self::Summary(None)),
            ["Patient", id, "$summary"] => Some(Self::Summary(Some(id.parse().ok()?))),
            ["$export"] => Some(Self::Alone(Kind::Export.of_system())),
            ["Patient", "$export"] => Some(Self::Alone(Kind::Export.of(ResourceType::PATIENT))),
            ["Group", _, "$export"] => Some(Self::Alone(Kind::Export.of(ResourceType::GROUP))),
            ["$export", _] if is_get => Some(Self::Alone(Kind::ExportStatus.of_system())),
            ["$export", _, _] if is_get => Some(Self::Alone(Kind::ExportFile.of_system())),
            ["$graphql"] => Some(Self::Alone(Kind::GraphQl.of_system())),
            [of, _, "$graphql"] => Some(Self::Alone(Kind::GraphQl.of(of.parse().ok()?))),
            ["$hl7v2-convert"] if !is_get => Some(Self::Convert),
            ["$reindex"] => Some(Self::Reindex(ReindexOf::System, is_get)),
            [of, "$reindex"] => {
                Some(Self::Reindex(ReindexOf::Types(vec![of.parse().ok()?]), is_get))
            }
            [of, id, "$reindex"] => {
                Some(Self::Reindex(ReindexOf::Instance(named(of, id)?), is_get))
            }
            ["Patient", id, "$disclosures"] if is_get => Some(Self::Disclosures(id.parse().ok()?)),
            ["CodeSystem", "$lookup"] => codes(Operation::Lookup),
            [of, "$validate"] if !is_get => {
                Some(Self::Validate(ValidateAt::Type(of.parse().ok()?)))
            }
            [of, name] => codes(on_instances(of, name)?),
            [of, id, "$validate"] => Some(Self::Validate(ValidateAt::Instance(named(of, id)?))),
            [of, id, name] => {
                let id = id.parse().ok()?;
                Some(Self::Codes(on_instances(of, name)?, Some(id)))
            }
            _ => None,
        }
    }

    /// The parameters that may stand in its URL.
    pub(super) fn parameters(&self) -> Vec<&'static str> {
        match self {
            Self::Alone(_) | Self::Closure | Self::Convert | Self::Reindex(..) => Vec::new(),
            Self::Codes(operation, _) => operation.parameters().to_vec(),
            Self::Disclosures(_) => [&DISCLOSURES_PARAMETERS[..], &[CURSOR]].concat(),
            Self::Everything(of) => everything::parameters_of(of).to_vec(),
            Self::Summary(_) => summary::PARAMETERS.to_vec(),
            Self::Validate(_) => VALIDATE_PARAMETERS.to_vec(),
        }
    }

    fn interaction(&self) -> Interaction {
        match self {
            Self::Closure => Kind::Closure.of_system(),
            Self::Codes(operation, _) => terminology::interaction(*operation),
            Self::Convert => Kind::ConvertMessage.of_system(),
            Self::Disclosures(_) => Kind::Disclosures.of(ResourceType::PATIENT),
            Self::Everything(of) => everything::interaction(of),
            Self::Alone(interaction) => *interaction,
            Self::Reindex(of, _) => of.interaction(),
            Self::Summary(_) => summary::interaction(),
            Self::Validate(at) => Kind::Validate.of(at.resource_type()),
        }
    }
}

fn named(of: &str, id: &str) -> Option<Identity> {
    Some(Identity { resource_type: of.parse().ok()?, id: id.parse().ok()? })
}

fn everything_of(of: &str, id: LogicalId) -> Option<Called> {
    let of = match of {
        "Encounter" => EverythingOf::Encounter(id),
        "Group" => EverythingOf::Group(id),
        "Patient" => EverythingOf::Patient(id),
        _ => return None,
    };
    Some(Called::Everything(of))
}

/// The operations that a type and its resources have.
fn on_instances(of: &str, name: &str) -> Option<Operation> {
    Some(match (of, name) {
        ("CodeSystem", "$subsumes") => Operation::Subsumes,
        ("CodeSystem", "$validate-code") => Operation::ValidateInSystem,
        ("ConceptMap", "$translate") => Operation::Translate,
        ("ValueSet", "$expand") => Operation::Expand,
        ("ValueSet", "$validate-code") => Operation::ValidateInSet,
        _ => return None,
    })
}

impl Call<'_> {
    /// What goes on record of it when it did not run.
    pub(super) fn attempted(&self) -> Attempted {
        let interaction = self.called.interaction();
        if let Called::Everything(of) = &self.called
            && let Some(id) = of.id()
        {
            let identity = Identity { resource_type: of.resource_type(), id: id.clone() };
            return plan::attempted(interaction.kind, &identity);
        }
        match (&self.called, interaction.resource_type) {
            (
                Called::Codes(_, Some(id)) | Called::Disclosures(id) | Called::Summary(Some(id)),
                Some(resource_type),
            ) => plan::attempted(interaction.kind, &Identity { resource_type, id: id.clone() }),
            (
                Called::Reindex(ReindexOf::Instance(identity), _)
                | Called::Validate(ValidateAt::Instance(identity)),
                _,
            ) => plan::attempted(interaction.kind, identity),
            _ => (interaction, Disclosed::default()),
        }
    }

    /// The call as it waits for its turn in a transaction.
    pub(super) fn into_owned(self) -> Result<Call<'static>, Error> {
        if let Called::Reindex(..) = &self.called {
            let text = "$reindex goes on behind the answer: send it alone or in a batch";
            return Err(Error::NotSupported(text.to_owned()));
        }
        if let Called::Alone(interaction) = &self.called {
            return Err(alone(*interaction));
        }
        let Self { called, query, given, is_of_new } = self;
        Ok(Call { called, query, given: given.map(Value::into_owned), is_of_new })
    }

    /// The Parameters of an operation with codes.
    fn parameters(&self) -> Result<Value<'_>, Error> {
        Question::parameters(self.given.clone(), &self.query)
    }

    /// The query of its URL, and what it is given as though it stood there.
    fn simple(&self) -> Result<Query, Error> {
        let given = self.given.as_ref().map(simple_parameters).transpose()?;
        Ok(self.query.clone().and(given.unwrap_or_default()))
    }

    /// What an operation is given that needs something.
    fn needed(&self, name: &str) -> Result<&Value<'_>, Error> {
        let missing =
            || Error::invalid(IssueCode::Required, format!("{name} takes a Parameters resource"));
        self.given.as_ref().ok_or_else(missing)
    }
}

/// Why no entry asks for that.
fn alone(interaction: Interaction) -> Error {
    let text = match interaction.kind {
        Kind::GraphQl => "a document of GraphQL is a request of its own: no entry of a Bundle",
        _ => "an export, and what is asked of one, is a request of its own: no entry of a Bundle",
    };
    Error::NotSupported(text.to_owned())
}

/// Most bytes of definitions that a transaction lends to all of its operations together.
const MOST_LENT: usize = 64 << 20;

/// Lets the operations of a transaction know of the definitions that it writes, as though they were
/// brought along, and whether it may write what they are about.
///
/// # Errors
/// [`Error::TooCostly`] where that would be too much: each operation gets all of them.
pub(super) fn lend(entries: &mut [Entry<'_>]) -> Result<(), Error> {
    let is_asked = |entry: &&Entry<'_>| {
        matches!(&entry.action, Action::Call(Call { called: Called::Codes(..), .. }))
    };
    let asked = entries.iter().filter(is_asked).count();
    if asked == 0 {
        return Ok(());
    }
    let lent: Vec<Value<'static>> = entries.iter().filter_map(|it| lent(&it.action)).collect();
    let bytes: usize = lent.iter().map(|it| it.to_text().len()).sum();
    if bytes.saturating_mul(asked) > MOST_LENT {
        let text = format!(
            "{asked} operations about {bytes} bytes of definitions of the same transaction: \
             write the definitions first"
        );
        return Err(Error::TooCostly(text));
    }
    let written: Vec<Identity> =
        entries.iter().filter_map(|it| it.action.identity().cloned()).collect();
    let sought: Vec<ResourceType> =
        entries.iter().filter_map(|it| it.action.criteria().map(|(of, _)| of)).collect();
    for entry in entries {
        let Action::Call(call) = &mut entry.action else { continue };
        let Called::Codes(_, id) = &call.called else { continue };
        if let (Some(id), Some(resource_type)) = (id, call.called.interaction().resource_type) {
            let identity = Identity { resource_type, id: id.clone() };
            call.is_of_new = sought.contains(&resource_type) || written.contains(&identity);
        }
        bring(&mut call.given, lent.iter().cloned());
    }
    Ok(())
}

/// The definition that an entry writes, where it says itself what it is.
fn lent(action: &Action<'_>) -> Option<Value<'static>> {
    let (Action::Create(_, value) | Action::Update(_, value) | Action::UpdateBy(_, _, value)) =
        action
    else {
        return None;
    };
    let is_lent = match value.str_at("resourceType") {
        // One without codes does not stand for those of a release.
        Some("CodeSystem") => value.get("concept").is_some(),
        Some("ConceptMap" | "ValueSet") => true,
        _ => false,
    };
    is_lent.then(|| value.clone().into_owned())
}

/// Adds resources that come along to what an operation is given.
fn bring<'a>(given: &mut Option<Value<'a>>, resources: impl Iterator<Item = Value<'static>>) {
    let resource = |it| Value::from(Object::new().with("name", "tx-resource").with("resource", it));
    let more: Vec<Value<'a>> = resources.map(resource).collect();
    if more.is_empty() {
        return;
    }
    let given =
        given.get_or_insert_with(|| Object::new().with("resourceType", "Parameters").into());
    let Value::Object(parameters) = given else { return };
    match parameters.get_mut("parameter").and_then(Value::as_array_mut) {
        Some(known) => known.extend(more),
        None => parameters.set("parameter", more),
    }
}

impl Engine {
    /// Runs an operation for an entry of a batch.
    pub(super) async fn call(
        &self,
        call: Call<'_>,
        options: &BundleOptions,
        caller: &Caller,
    ) -> Result<EntryResult, Error> {
        let interaction = call.called.interaction();
        let denied = async |error| self.gate.denied(interaction, caller, error).await;
        let answer = match &call.called {
            Called::Closure => match call.needed("$closure") {
                Ok(parameters) => self.closure(parameters, caller).await?,
                Err(error) => return denied(error).await,
            },
            Called::Codes(operation, id) => {
                let parameters = match call.parameters() {
                    Ok(parameters) => parameters,
                    Err(error) => return denied(error).await,
                };
                let (id, languages) = (id.as_ref(), options.languages.as_deref());
                let (operation, parameters) = (*operation, &parameters);
                let question = Question { operation, id, parameters, languages };
                self.terminology(&question, caller).await?
            }
            // Who may not have it done has nothing done.
            Called::Convert => {
                let convert = async |_: &Permit<'_>| {
                    Ok(Unaudited::nothing().with(converted(&call, options)?).map(|((), it)| it))
                };
                self.gate.run(interaction, caller, convert).await?
            }
            Called::Disclosures(id) => {
                let found = self.disclosures(id, &call.query, caller).await?;
                return Ok(EntryResult::Told(Box::new(found), call.query));
            }
            Called::Everything(of) => match call.simple() {
                Ok(query) => return self.everything_called(of, query, options, caller).await,
                Err(error) => return denied(error).await,
            },
            Called::Alone(_) => return denied(alone(interaction)).await,
            Called::Reindex(of, true) => self.reindexing(of, caller).await?.parameters,
            Called::Reindex(of, false) => {
                let given = call.given.as_ref();
                match given.map_or_else(|| Ok(of.clone()), |it| of.clone().narrowed(it)) {
                    Ok(of) => self.reindex(&of, caller).await?.parameters,
                    Err(error) => return denied(error).await,
                }
            }
            Called::Summary(id) => match call.simple() {
                Ok(query) => {
                    return self.summary_called(id.as_ref(), &query, options, caller).await;
                }
                Err(error) => return denied(error).await,
            },
            Called::Validate(at) => {
                let (at, given) = (at.clone(), call.given.clone());
                match Validate::read(at, &call.query, given, options.is_strict) {
                    Ok((asked, _)) => operation_outcome(&self.validate(asked, caller).await?),
                    Err(error) => return denied(error).await,
                }
            }
        };
        Ok(EntryResult::Answered(answer))
    }

    /// Runs an operation for an entry of a transaction, under a permit derived for it.
    pub(super) async fn call_within(
        &self,
        call: &Call<'static>,
        options: &BundleOptions,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<EntryResult, Error> {
        let interaction = call.called.interaction();
        let permit = match interaction.resource_type {
            Some(of) => permit.derive(interaction.kind, of)?,
            None => permit.derive_system(interaction.kind)?,
        };
        let answer = match &call.called {
            Called::Closure => {
                let parameters = call.needed("$closure")?;
                let closed = self.enclose(parameters, &mut Seen::Within(tx), &permit).await?;
                closed.within(interaction, tx)
            }
            Called::Codes(operation, id) => {
                let mut given = call.given.clone();
                if let Some(id) = id.as_ref().filter(|_| call.is_of_new)
                    && let Ok((version, _)) = tx.read(id, &permit).await
                {
                    let text = version.to_json();
                    let new = json::parse(&text).map_err(Error::internal)?.into_owned();
                    bring(&mut given, std::iter::once(new));
                }
                let parameters = Question::parameters(given, &call.query)?;
                let (id, languages) = (id.as_ref(), options.languages.as_deref());
                let (operation, parameters) = (*operation, &parameters);
                let question = Question { operation, id, parameters, languages };
                let told = self.answer(&question, &mut Seen::Within(tx), &permit).await?;
                told.within(interaction, tx)
            }
            Called::Convert => {
                tx.entry(interaction, Disclosed::default());
                converted(call, options)?
            }
            Called::Disclosures(id) => {
                let found = self.disclosures_within(id, &call.query, &permit, tx).await?;
                return Ok(EntryResult::Told(Box::new(found), call.query.clone()));
            }
            Called::Everything(of) => {
                return self
                    .everything_called_within(of, call.simple()?, options, (&permit, tx))
                    .await;
            }
            Called::Alone(_) => return Err(alone(interaction)),
            Called::Reindex(..) => return Err(Error::internal("a transaction builds no index")),
            Called::Summary(id) => {
                let (id, query) = (id.as_ref(), call.simple()?);
                return self.summary_called_within(id, &query, options, (&permit, tx)).await;
            }
            Called::Validate(at) => {
                let (at, given) = (at.clone(), call.given.clone());
                let (asked, _) = Validate::read(at, &call.query, given, options.is_strict)?;
                operation_outcome(&self.validate_within(&asked, &permit, tx).await?)
            }
        };
        Ok(EntryResult::Answered(answer))
    }
}

fn converted(call: &Call<'_>, options: &BundleOptions) -> Result<Value<'static>, Error> {
    let missing = || Error::NotSupported("messages are not converted here".to_owned());
    options.convert.as_ref().ok_or_else(missing)?(call.needed("$hl7v2-convert")?)
}

#[cfg(test)]
mod tests {
    use crate::fhir::ResourceType;

    use super::*;

    #[test]
    fn urls_call_what_the_routes_of_their_method_do() {
        let id = || Some("a".parse().expect("an id"));
        let validated = |text: &str| {
            let of = ResourceType::PATIENT;
            Some(Called::Validate(match text.parse() {
                Ok(id) => ValidateAt::Instance(Identity { resource_type: of, id }),
                Err(_) => ValidateAt::Type(of),
            }))
        };
        let codes = |operation, id| Some(Called::Codes(operation, id));
        for (url, by_get, by_post) in [
            ("$closure", None, Some(Called::Closure)),
            ("Patient/$validate", None, validated("")),
            ("Patient/a/$validate", validated("a"), validated("a")),
            ("Nobody/$validate", None, None),
            ("CodeSystem/a/$lookup", None, None),
            ("Patient/$expand", None, None),
            ("Patient/a/$meta", None, None),
            ("Patient/a", None, None),
        ] {
            let segments: Vec<&str> = url.split('/').collect();
            assert_eq!(Called::by(&segments, true), by_get, "GET {url}");
            assert_eq!(Called::by(&segments, false), by_post, "POST {url}");
        }
        for (url, expected) in [
            ("CodeSystem/$lookup", codes(Operation::Lookup, None)),
            ("CodeSystem/a/$subsumes", codes(Operation::Subsumes, id())),
            ("CodeSystem/$validate-code", codes(Operation::ValidateInSystem, None)),
            ("Patient/$summary", Some(Called::Summary(None))),
            ("Patient/a/$summary", Some(Called::Summary(id()))),
            ("Encounter/a/$summary", None),
            ("ConceptMap/a/$translate", codes(Operation::Translate, id())),
            ("ValueSet/$expand", codes(Operation::Expand, None)),
            ("ValueSet/a/$validate-code", codes(Operation::ValidateInSet, id())),
        ] {
            let segments: Vec<&str> = url.split('/').collect();
            assert_eq!(Called::by(&segments, true), expected, "GET {url}");
            assert_eq!(Called::by(&segments, false), expected, "POST {url}");
        }
    }
}
