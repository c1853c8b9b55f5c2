//! What a search of AuditEvents asks of the rows of the ledger.
//!
//! Spec: <https://hl7.org/fhir/R4/auditevent.html#search>

use uuid::Uuid;

use crate::access::interaction::Kind;
use crate::fhir::{LogicalId, ResourceType};
use crate::search::request::compare::{AskedUri, Comparison, Part};
use crate::search::request::prefix::Prefix;
use crate::search::request::{Filter, Test};
use crate::search::values::date::DateRange;
use crate::search::values::string::fold;

use super::asked::{names_somebody_so, present, uri};
use super::balp::{Entry, first_id, place_of};

/// What must hold for an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// The party is one of these.
    Actor(Vec<String>),
    /// All of them.
    All(Vec<Condition>),
    /// One of them.
    Any(Vec<Condition>),
    /// The client is one of these.
    Client(Vec<String>),
    /// It is one of these events.
    Event(Vec<(Uuid, usize)>),
    /// What consents came down to for a user who asked for one of these organizations, and for no other.
    For(Vec<String>),
    /// It is about a patient.
    HasPatient,
    /// Its request has an id.
    HasRequest,
    /// It is about one resource.
    HasSubject,
    /// It came with a token.
    HasToken,
    /// Its row's id is from the first on and before the second.
    Ids(Uuid, Uuid),
    /// It is of one of these kinds.
    Kinds(Vec<Kind>),
    /// The name of the user: all of it, or its beginning, any part or its end, folded or not.
    Name {
        /// Which part.
        part: Part,
        /// The text.
        text: String,
        /// Whether case and accents count.
        is_exact: bool,
    },
    /// Beside what it is about, it names this resource.
    Names(ResourceType, String, Option<i32>),
    /// Beside what it is about, it names a resource of this type, or of any.
    NamesOf(Option<ResourceType>),
    /// It does not hold.
    Not(Box<Condition>),
    /// It ended so.
    Outcomes(Vec<i16>),
    /// It is about one of these patients.
    Patients(Vec<i64>),
    /// Behind it stands a resource of this type.
    PersonOf(ResourceType),
    /// Behind it stands one of these resources.
    Persons(Vec<String>),
    /// It came from an address of which this is all, or the beginning, a part or the end, folded or not.
    Source {
        /// Which part.
        part: Part,
        /// The text.
        text: String,
        /// Whether case, accents and punctuation count.
        is_exact: bool,
    },
    /// It was for one of these purposes.
    Purposes(Vec<&'static str>),
    /// Its request has one of these ids.
    Requests(Vec<String>),
    /// It is about this resource.
    Subject(ResourceType, String, Option<i32>),
    /// It is about a resource of this type.
    SubjectOf(ResourceType),
    /// It came with this token.
    Token(String),
}

/// What cannot be told of the ledger's events: the name of what was asked by.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Untold(pub String);

/// Who reads a query: the server's address, and the hashes of its patients.
pub struct Reader<'r> {
    /// The server's own address.
    pub base: &'r str,
    /// The hash of a patient.
    pub hash: &'r dyn Fn(&LogicalId) -> i64,
}

impl Condition {
    /// What holds for all.
    pub fn always() -> Self {
        Self::All(Vec::new())
    }

    /// What holds for none.
    pub fn never() -> Self {
        Self::Any(Vec::new())
    }

    /// The same where what names a party by `altid` means the party also in events whose patterns do not let
    /// them name it so.
    #[must_use]
    pub fn of_parties(self) -> Self {
        let each = |parts: Vec<Self>| parts.into_iter().map(Self::of_parties).collect();
        match self {
            Self::All(parts) => match &parts[..] {
                [Self::Actor(names), other] if *other == names_somebody_so() => {
                    Self::Actor(names.clone())
                }
                _ => Self::All(each(parts)),
            },
            Self::Any(parts) => Self::Any(each(parts)),
            Self::Not(part) => Self::Not(Box::new(part.of_parties())),
            other => other,
        }
    }

    /// What holds for all, or for none.
    pub(super) fn constant(holds: bool) -> Self {
        if holds { Self::always() } else { Self::never() }
    }

    /// Whether it holds for the event with a number of a row.
    pub fn holds(&self, entry: &Entry, number: usize) -> bool {
        let patient = entry.patients.get(number);
        let is = |value: &Option<String>, wanted: &String| value.as_ref() == Some(wanted);
        match self {
            Self::Actor(names) => names.contains(&entry.actor),
            Self::All(all) => all.iter().all(|it| it.holds(entry, number)),
            Self::Any(any) => any.iter().any(|it| it.holds(entry, number)),
            Self::Client(ids) => ids.iter().any(|id| is(&entry.client, id)),
            Self::Event(events) => events.contains(&(entry.id, number)),
            Self::For(organizations) => {
                entry.asks_for().is_some_and(|it| organizations.iter().any(|one| one == it))
            }
            Self::HasPatient => patient.is_some(),
            Self::HasRequest => !entry.request_id.is_empty(),
            Self::HasSubject => entry.subject.is_some() && entry.resource_type.is_some(),
            Self::HasToken => entry.token.is_some(),
            Self::Ids(from, to) => (*from..*to).contains(&entry.id),
            Self::Kinds(kinds) => kinds.contains(&entry.kind),
            Self::Name { part, text, is_exact } => {
                let name = entry.actor.strip_prefix("user:");
                name.is_some_and(|name| is_part(name, *part, text, *is_exact))
            }
            Self::Names(of, id, version) => entry.names_besides().any(|it| {
                let (own, kept) = named(it);
                own == format!("{of}/{id}") && (version.is_none() || kept == *version)
            }),
            Self::NamesOf(of) => {
                entry.names_besides().any(|it| of.is_none_or(|of| type_of(it) == Some(of)))
            }
            Self::Not(part) => !part.holds(entry, number),
            Self::Outcomes(outcomes) => outcomes.contains(&entry.outcome),
            Self::Patients(hashes) => patient.is_some_and(|it| hashes.contains(&it.hash)),
            Self::PersonOf(of) => {
                entry.person.as_deref().is_some_and(|person| type_of(person) == Some(*of))
            }
            Self::Persons(persons) => {
                entry.person.as_ref().is_some_and(|person| persons.contains(person))
            }
            Self::Purposes(codes) => entry.purpose.as_deref().is_some_and(|it| codes.contains(&it)),
            Self::Requests(ids) => ids.contains(&entry.request_id),
            Self::Source { part, text, is_exact } => {
                let source = entry.source.as_deref().unwrap_or("unknown");
                is_part(source, *part, text, *is_exact)
            }
            Self::Subject(of, id, version) => {
                let subject = entry.subject.as_ref();
                entry.resource_type == Some(*of)
                    && subject.is_some_and(|(its, current)| {
                        its == id && version.is_none_or(|version| *current == Some(version))
                    })
            }
            Self::SubjectOf(of) => entry.subject.is_some() && entry.resource_type == Some(*of),
            Self::Token(token) => is(&entry.token, token),
        }
    }
}

/// The type of a resource that a text of a row names.
fn type_of(about: &str) -> Option<ResourceType> {
    about.split_once('/')?.0.parse().ok()
}

/// The resource that a text of a row names, and its version.
fn named(about: &str) -> (&str, Option<i32>) {
    match about.split_once("/_history/") {
        Some((resource, version)) => (resource, version.parse().ok()),
        None => (about, None),
    }
}

/// Whether a text is all of a value, or the part of it that is asked for.
pub(super) fn is_part(value: &str, part: Part, text: &str, is_exact: bool) -> bool {
    let folded = fold(value);
    let value = if is_exact { value } else { &*folded };
    match part {
        Part::Any => value.contains(text),
        Part::End => value.ends_with(text),
        Part::Start => value.starts_with(text),
        Part::Whole => value == text,
    }
}

impl Reader<'_> {
    /// What `filters` ask, all of which hold.
    ///
    /// # Errors
    /// [`Untold`] names the first that cannot be told.
    pub fn read_all(&self, filters: &[Filter]) -> Result<Condition, Untold> {
        filters.iter().map(|filter| self.read(filter)).collect::<Result<_, _>>().map(Condition::All)
    }

    fn read(&self, filter: &Filter) -> Result<Condition, Untold> {
        let each = |parts: &[Filter]| {
            let parts = parts.iter().map(|part| self.read(part));
            parts.collect::<Result<Vec<_>, _>>()
        };
        Ok(match filter {
            Filter::All(all) => Condition::All(each(all)?),
            Filter::Any(any) => Condition::Any(each(any)?),
            Filter::Not(part) => Condition::Not(Box::new(self.read(part)?)),
            Filter::Id(ids) => Condition::Event(ids.iter().filter_map(|id| place_of(id)).collect()),
            Filter::Type(types) => Condition::constant(types.contains(&ResourceType::AUDIT_EVENT)),
            Filter::LastUpdated(any) => {
                Condition::Any(any.iter().map(|(prefix, range)| at(*prefix, *range)).collect())
            }
            Filter::Compartment { code: ResourceType::PATIENT, id } => self.of_patient(id),
            Filter::Compartment { code, id } => Condition::Persons(vec![format!("{code}/{id}")]),
            Filter::Test(test) => self.test(test)?,
            Filter::Chain { reference, .. } | Filter::Hierarchy { reference, .. } => {
                let name = reference.first().map_or("a chain", |key| &*key.code);
                return Err(Untold(format!("{name} (by what it refers to)")));
            }
            Filter::Has { .. } => return Err(Untold("_has".to_owned())),
            Filter::FullText { .. } => return Err(Untold("words".to_owned())),
            Filter::List(_) => return Err(Untold("_list".to_owned())),
            Filter::Keys(_)
            | Filter::Mentions { .. }
            | Filter::OfPatients(_)
            | Filter::Unshared => {
                return Err(Untold("keys".to_owned()));
            }
        })
    }

    /// A patient is among those whom it is about, or who did it: the index has rows by both.
    pub(super) fn of_patient(&self, id: &LogicalId) -> Condition {
        let person = Condition::Persons(vec![format!("Patient/{id}")]);
        Condition::Any(vec![Condition::Patients(vec![(self.hash)(id)]), person])
    }

    fn test(&self, test: &Test) -> Result<Condition, Untold> {
        let of = |key: &&crate::search::request::ParameterKey| {
            key.resource_type == ResourceType::AUDIT_EVENT
        };
        let untold = || Untold("this parameter".to_owned());
        let code = &*test.parameters.iter().find(of).ok_or_else(untold)?.code;
        let any = test.any.iter().map(|asked| {
            let told = match asked {
                Comparison::Present => present(code),
                Comparison::Date { prefix, range } if code == "date" => Some(at(*prefix, *range)),
                Comparison::Token(asked) => self.token(code, asked),
                Comparison::Reference(asked) => self.reference(code, asked),
                Comparison::String { part, text, is_exact } => {
                    self.text(code, *part, text, *is_exact)
                }
                Comparison::Uri(AskedUri::Is { url, .. }) => uri(code, url),
                // What the events have is no hierarchy.
                Comparison::Uri(_) => uri(code, ""),
                _ => None,
            };
            told.ok_or_else(|| Untold(code.to_owned()))
        });
        any.collect::<Result<_, _>>().map(joined)
    }
}

/// One of them holds: of those who may be many, patients, persons and organizations, one condition each.
fn joined(any: Vec<Condition>) -> Condition {
    let (mut patients, mut persons, mut others) = (Vec::new(), Vec::new(), Vec::new());
    let mut organizations = Vec::new();
    let mut waiting = any;
    while let Some(one) = waiting.pop() {
        match one {
            Condition::Any(parts) => waiting.extend(parts),
            Condition::For(names) => organizations.extend(names),
            Condition::Patients(hashes) => patients.extend(hashes),
            Condition::Persons(names) => persons.extend(names),
            other => others.push(other),
        }
    }
    others.reverse();
    if !patients.is_empty() {
        others.push(Condition::Patients(patients));
    }
    if !persons.is_empty() {
        others.push(Condition::Persons(persons));
    }
    if !organizations.is_empty() {
        others.push(Condition::For(organizations));
    }
    Condition::Any(others)
}

/// The ids of a time. An event is a point in time, on a whole millisecond.
fn at(prefix: Prefix, range: DateRange) -> Condition {
    // The first whole millisecond from a moment on.
    let id = |moment: Option<crate::fhir::Instant>, open: Uuid| {
        moment.map_or(open, |moment| {
            let micros = moment.as_micros();
            first_id(crate::fhir::Instant::from_micros(micros.saturating_add(999)))
        })
    };
    let low = id(range.low, Uuid::nil());
    let is_point = range.low == range.high;
    let high = range.high.map(|high| {
        let after = i64::from(is_point);
        crate::fhir::Instant::from_micros(high.as_micros().saturating_add(after))
    });
    let high = id(high, Uuid::max());
    match prefix {
        Prefix::Eq | Prefix::Ap => Condition::Ids(low, high),
        Prefix::Ne => Condition::Not(Box::new(Condition::Ids(low, high))),
        Prefix::Lt | Prefix::Eb => Condition::Ids(Uuid::nil(), low),
        Prefix::Gt | Prefix::Sa => Condition::Ids(high, Uuid::max()),
        Prefix::Ge => Condition::Ids(low, Uuid::max()),
        Prefix::Le => Condition::Ids(Uuid::nil(), high),
    }
}
