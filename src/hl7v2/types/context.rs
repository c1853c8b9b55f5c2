//! What functions on data types may ask: the site, the tables, whose message it is.

use std::cell::{Cell, RefCell};

use crate::fhir::json::Object;
use crate::hl7v2::dtm::Zones;
use crate::hl7v2::map::site::Site;
use crate::hl7v2::tables::Tables;

use super::{Json, Rep};

/// What kind of thing a [`Note`] tells.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum NoteKind {
    /// A document that is not what it is said to be: the message cannot be taken, ERR-3 102.
    Damaged,
    /// A value is not what its type says: ERR-3 102.
    DataType,
    /// A value was kept in another form than the map asks for.
    Kept,
    /// Two parts of the message say different things of one resource: the first counts.
    SameKey,
    /// A code without a row in its table or code set.
    UnmappedCode,
    /// A unit that is none of UCUM and has no alias.
    UnmappedUnit,
}

impl NoteKind {
    /// The word by which it is counted.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::DataType => "data-type",
            Self::Kept => "kept",
            Self::SameKey => "same-key",
            Self::UnmappedCode => "unmapped-code",
            Self::UnmappedUnit => "unmapped-unit",
        }
    }
}

/// Something to tell about a value. Its text has no patient data.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    /// What kind of thing.
    pub kind: NoteKind,
    /// Where: `PID-7`, the field that the rule reads.
    pub place: String,
    /// What is wrong.
    pub text: String,
}

/// A code of a sender that no map has another one for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LocalCode {
    /// The code set of the maps.
    pub set: String,
    /// The sender's name for the code system.
    pub system: String,
    /// The code.
    pub code: String,
    /// What the sender calls it.
    pub display: String,
}

/// A resource that a value stands for: the Practitioner of an XCN, the Location of a PL.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// Its type.
    pub resource_type: &'static str,
    /// `system|value` of the identifier by which it is found again.
    pub key: String,
    /// Its elements.
    pub body: Object<'static>,
    /// By which field it came first.
    pub place: String,
}

/// The arguments of a function in a map: `xtn(use='home')`.
#[derive(Clone, Debug, Default)]
pub struct Args<'m> {
    /// Those without a name, in order.
    pub plain: Vec<Vec<Rep<'m>>>,
    /// Those with one.
    pub named: Vec<(&'m str, Vec<Rep<'m>>)>,
}

impl<'m> Args<'m> {
    /// The first value of the argument `name`.
    pub fn rep(&self, name: &str) -> Option<&Rep<'m>> {
        self.named.iter().find(|(own, _)| *own == name)?.1.first()
    }

    /// The text of the argument `name`; empty when absent.
    pub fn text(&self, name: &str) -> &str {
        self.rep(name).map_or("", Rep::text)
    }

    /// The text of the argument at `at`, from 0; empty when absent.
    pub fn at(&self, at: usize) -> &str {
        self.plain.get(at).and_then(|values| values.first()).map_or("", Rep::text)
    }
}

/// What functions on data types may ask, and where they tell what they find.
#[derive(Debug)]
pub struct Context<'a> {
    /// The site that the message is of.
    pub site: &'a Site,
    /// The code tables, those of the site laid over the guide's.
    pub tables: &'a Tables,
    /// Who sends, by a word that can stand in a url: MSH-3 and MSH-4.
    pub sender: String,
    /// By what a time without an offset of its own is read.
    pub zones: Zones,
    /// What made urls of this message's resources differ from those of others.
    pub seed: String,
    /// The field that the rule reads.
    pub place: RefCell<String>,
    /// What was told so far.
    pub notes: RefCell<Vec<Note>>,
    /// The codes that no map has another one for, each once.
    pub unmapped: RefCell<Vec<LocalCode>>,
    /// The resources that values stand for, each once.
    pub made: RefCell<Vec<Made>>,
    /// Whether the values of this rule are looked at only, so that nothing is told.
    pub quiet: Cell<bool>,
    /// Whether what is to go counts as a value in conditions.
    pub counts_nulls: Cell<bool>,
    /// Whether it is told of which segments each element was made.
    pub is_traced: bool,
}

impl<'a> Context<'a> {
    /// A context with nothing told yet.
    pub fn new(site: &'a Site, tables: &'a Tables, sender: &str, seed: &str) -> Self {
        Self {
            site,
            tables,
            sender: sender.to_owned(),
            zones: site.zones.clone(),
            seed: seed.to_owned(),
            place: RefCell::default(),
            notes: RefCell::default(),
            unmapped: RefCell::default(),
            made: RefCell::default(),
            quiet: Cell::new(false),
            counts_nulls: Cell::new(false),
            is_traced: false,
        }
    }

    /// Tells something about the value at hand, once for each place.
    pub fn note(&self, kind: NoteKind, text: impl Into<String>) {
        if self.quiet.get() {
            return;
        }
        let note = Note { kind, place: self.place.borrow().clone(), text: text.into() };
        let mut notes = self.notes.borrow_mut();
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    /// Tells that no map has another code for this one.
    pub fn lacks(&self, code: LocalCode, text: String) {
        self.note(NoteKind::UnmappedCode, text);
        let mut all = self.unmapped.borrow_mut();
        if !self.quiet.get() && !all.contains(&code) {
            all.push(code);
        }
    }

    /// The url by which this message's own documents name a resource: the same each time.
    pub fn url(&self, name: &str) -> String {
        let digest = super::id::digest(&[&self.seed, name]);
        format!("urn:uuid:{}", uuid::Builder::from_custom_bytes(digest).into_uuid())
    }

    /// A Reference to a resource that a value stands for, which is made with it.
    ///
    /// Without an identifier nobody could find it again: only what it is called is kept then.
    pub fn refer(&self, resource_type: &'static str, body: Object<'static>) -> Option<Json> {
        let display = display(&body);
        let Some(key) = key(&body) else {
            return display.map(|display| Object::new().with("display", display).into());
        };
        let url = self.url(&format!("{resource_type}?{key}"));
        let mut made = self.made.borrow_mut();
        let known = made.iter_mut().find(|it| it.resource_type == resource_type && it.key == key);
        if let Some(known) = known {
            for (name, value) in body {
                if !known.body.contains(&name) {
                    known.body.set(name, value);
                }
            }
        } else {
            let place = self.place.borrow().clone();
            made.push(Made { resource_type, key, body, place });
        }
        Some(Object::new().with("reference", url).with_some("display", display).into())
    }
}

/// `system|value` of the first identifier.
fn key(body: &Object<'_>) -> Option<String> {
    let first = body.get("identifier")?.as_array()?.first()?;
    Some(format!("{}|{}", first.str_at("system")?, first.str_at("value")?))
}

/// What a resource is called: its name as text.
fn display(body: &Object<'_>) -> Option<String> {
    let name = body.get("name")?;
    if let Some(text) = name.as_str() {
        return Some(text.to_owned());
    }
    let name = name.as_array()?.first()?;
    if let Some(text) = name.str_at("text") {
        return Some(text.to_owned());
    }
    let words = ["prefix", "given"].into_iter().flat_map(|key| name.items_at(key));
    let words = words.filter_map(|word| word.as_str()).chain(name.str_at("family"));
    let words = words.chain(name.items_at("suffix").iter().filter_map(|word| word.as_str()));
    Some(words.collect::<Vec<_>>().join(" ")).filter(|text| !text.is_empty())
}
