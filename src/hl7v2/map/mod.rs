//! Maps: what a message asks to be stored, as rules in TOML.
//!
//! [`Maps`] are read and checked once: every place by the definitions of FHIR, every function,
//! table, resource and name. [`Maps::draft`] is a pure function from a message to a [`Draft`]: what
//! to store, what to remove, what is wrong, and which rule wrote which element. What is already
//! stored it does not know; `effect` compares.
//!
//! | file | holds |
//! |---|---|
//! | `built` | functions that look at several values |
//! | `bundle` | a draft as a transaction |
//! | `check` | whether expressions fit their places |
//! | `coverage` | how much of the guide is done |
//! | `draft` | from a message to a draft |
//! | `edit` | profiles with a code more |
//! | `element` | places in resources |
//! | `eval`, `expr`, `func` | the language on the right side |
//! | `explain` | all rules, a line each |
//! | `instance` | which resources a message makes |
//! | `message` | maps as text: messages and their groups |
//! | `overlay` | what a site has of its own |
//! | `reach` | whether a resource can lead to another |
//! | `read`, `rules` | maps as text, and as they are kept |
//! | `scope` | groups of segments |
//! | `site` | a site |
//! | `value` | values as their places take them |
//! | `writing` | a resource while it is written, and lists of which a part is told |
//!
//! Spec: hl7v2.md, section 7

mod built;
pub mod bundle;
mod check;
pub mod coverage;
mod draft;
pub mod edit;
mod element;
mod eval;
mod explain;
mod expr;
mod func;
mod instance;
mod message;
mod overlay;
mod reach;
mod read;
mod rules;
mod scope;
pub mod site;
mod value;
mod writing;

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use toml_edit::TableLike;

use crate::fhir::schema::Schema;
use crate::hl7v2::dtm::{Moment, Zones};
use crate::hl7v2::er7::Message;
use crate::hl7v2::tables::Tables;
#[cfg(test)]
use crate::hl7v2::types::{Args, Rep};
use crate::hl7v2::types::{Context, id};

use draft::Drafting;
use element::Slots;
use read::{Parts, Reader};
use site::Site;

pub use draft::{Draft, DraftResource, Problem, Write};
pub use explain::Explained;
pub use expr::{Expr, ExprError};
pub use instance::{Key, list};
pub use read::MapError;
pub use rules::{Each, MessageRule, ResourceRule, Rule, Work};

/// The maps in the program: name and text.
const BASE: &[(&str, &str)] = &[
    ("slots.toml", include_str!("../../../fhir-profiles/v2/slots.toml")),
    ("messages.toml", include_str!("../../../fhir-profiles/v2/messages.toml")),
    ("patient.toml", include_str!("../../../fhir-profiles/v2/patient.toml")),
    ("visit.toml", include_str!("../../../fhir-profiles/v2/visit.toml")),
    ("clinical.toml", include_str!("../../../fhir-profiles/v2/clinical.toml")),
    ("coverage.toml", include_str!("../../../fhir-profiles/v2/coverage.toml")),
    ("order.toml", include_str!("../../../fhir-profiles/v2/order.toml")),
    ("result.toml", include_str!("../../../fhir-profiles/v2/result.toml")),
    ("medication.toml", include_str!("../../../fhir-profiles/v2/medication.toml")),
    ("document.toml", include_str!("../../../fhir-profiles/v2/document.toml")),
    ("schedule.toml", include_str!("../../../fhir-profiles/v2/schedule.toml")),
    ("header.toml", include_str!("../../../fhir-profiles/v2/header.toml")),
];

/// All rules of a site, checked. They do not change: a new profile makes new ones.
#[derive(Clone, Debug)]
pub struct Maps {
    site: Site,
    tables: Tables,
    slots: Slots,
    messages: Vec<MessageRule>,
    resources: Vec<ResourceRule>,
    hash: String,
    /// The texts they were made of, for a site's own to be laid over.
    texts: Vec<(String, String)>,
}

impl Maps {
    /// The maps in the program, for a site without anything of its own.
    ///
    /// # Errors
    /// All faults of the maps, each with file, line and key; a test proves that there is none.
    pub fn base(schema: &Schema) -> Result<Self, Vec<MapError>> {
        let texts = BASE.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Self::of(texts.collect(), schema)
    }

    /// Maps of these files: name and text.
    ///
    /// # Errors
    /// All faults, each with file, line and key.
    pub fn of(texts: Vec<(String, String)>, schema: &Schema) -> Result<Self, Vec<MapError>> {
        let tables = Tables::standard().map_err(|error| {
            let (file, key) = ("tables.toml".to_owned(), String::new());
            vec![MapError { file, line: 1, key, reason: error.to_string() }]
        })?;
        let mut faults = Vec::new();
        let mut known = Reader {
            file: "",
            text: "",
            schema,
            tables: &tables,
            slots: Slots::default(),
            resources: Vec::new(),
            groups: Vec::new(),
            asked: Vec::new(),
            faults: Vec::new(),
            idle: Vec::new(),
        };
        for (file, text) in &texts {
            (known.file, known.text) = (file, text);
            if let Some(document) = known.document() {
                let root: &dyn TableLike = document.as_table();
                known.read_slots(root);
                known.read_names(root);
            }
        }
        faults.append(&mut known.faults);
        let mut parts = Parts::default();
        for (file, text) in &texts {
            (known.file, known.text) = (file, text);
            let Some(document) = known.document() else { continue };
            let root: &dyn TableLike = document.as_table();
            known.only(root, "", &["format", "id", "message", "resource", "extension", "slot"]);
            let id = document.get("id").and_then(toml_edit::Item::as_str).unwrap_or(file);
            parts.messages.append(&mut known.read_messages(root));
            let resources = root.get("resource").and_then(toml_edit::Item::as_table_like);
            for (name, item) in resources.into_iter().flat_map(|table| table.iter()) {
                parts.resources.extend(known.read_resource(name, item, id));
            }
        }
        known.judge_asked(&parts.messages, &parts.resources);
        faults.append(&mut known.faults);
        faults.append(&mut known.idle);
        let slots = known.slots;
        if !faults.is_empty() {
            faults.sort_by(|one, other| (&one.file, one.line).cmp(&(&other.file, other.line)));
            faults.dedup();
            return Err(faults);
        }
        let Parts { messages, resources } = parts;
        let hash = hash_of(&texts);
        Ok(Self { site: Site::default(), tables, slots, messages, resources, hash, texts })
    }

    /// These maps with another zone for times that have no offset, where no profile says one.
    #[must_use]
    pub fn in_zone(mut self, zones: Zones) -> Self {
        self.site.zones = zones;
        self
    }

    /// These maps with the profile of a site laid over them.
    ///
    /// # Errors
    /// All faults of the profile, each with file, line and key.
    pub fn with_site(
        &self,
        file: &str,
        text: &str,
        schema: &Schema,
    ) -> Result<Arc<Self>, Vec<MapError>> {
        let (maps, idle) = self.with_installed(file, text, schema)?;
        if idle.is_empty() { Ok(maps) } else { Err(idle) }
    }

    /// The same of a profile that is installed, and what in it can have no effect: an earlier program may have taken
    /// that without a word, and it is no reason to do without the rest.
    ///
    /// # Errors
    /// All other faults of the profile, each with file, line and key.
    pub fn with_installed(
        &self,
        file: &str,
        text: &str,
        schema: &Schema,
    ) -> Result<(Arc<Self>, Vec<MapError>), Vec<MapError>> {
        let (maps, idle) = overlay::lay(self, file, text, schema)?;
        Ok((Arc::new(maps), idle))
    }

    /// The site.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// What says which maps these are: the same texts give the same hash.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The tables.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The rules of messages.
    pub fn messages(&self) -> &[MessageRule] {
        &self.messages
    }

    /// The rules of resources.
    pub fn resources(&self) -> &[ResourceRule] {
        &self.resources
    }

    /// The rule of messages of this type and event.
    pub fn rule(&self, kind: &str, event: &str) -> Option<&MessageRule> {
        let exact =
            |rule: &&MessageRule| rule.matches.iter().any(|own| *own == format!("{kind}^{event}"));
        let mut all = self.messages.iter();
        all.find(exact).or_else(|| self.messages.iter().find(|rule| rule.is_for(kind, event)))
    }

    /// What a message asks to be stored; `None` when no map is for its type and event.
    pub fn draft(&self, message: &Message<'_>) -> Option<Draft> {
        self.draft_with(message, false)
    }

    /// The same, with the segments of which each element was made.
    pub fn traced(&self, message: &Message<'_>) -> Option<Draft> {
        self.draft_with(message, true)
    }

    fn draft_with(&self, message: &Message<'_>, is_traced: bool) -> Option<Draft> {
        let header = message.header(9).repetition(1);
        let kind = header.component(1).text().into_owned();
        let event = header.component(2).text().into_owned();
        let event = match event.as_str() {
            "" => header_event(message).unwrap_or_else(|| usual(&kind).to_owned()),
            _ => event,
        };
        let rule = self.rule(&kind, &event)?;
        let word = |field: u16| message.header(field).component(1).text().into_owned();
        let names = [word(3), word(4)];
        let names = names.iter().filter(|name| !name.is_empty()).map(|name| id::slug(name));
        let sender = names.collect::<Vec<_>>().join(".");
        let seed = format!("{sender} {} {}", word(10), word(7));
        let mut context = Context::new(&self.site, &self.tables, &sender, &seed);
        context.is_traced = is_traced;
        context.zones.message = Moment::parse(&word(7)).ok().and_then(|sent| sent.offset());
        let mut draft = Draft {
            effect: rule.effect.clone(),
            event: (kind, event),
            map_hash: self.hash.clone(),
            ..Draft::default()
        };
        Drafting { message, context: &context, rule, resources: &self.resources }.run(&mut draft);
        Some(draft)
    }
}

/// A function of the language as one that can be called.
#[cfg(test)]
pub(crate) type Called = Box<dyn Fn(&Rep<'_>, &Args<'_>, &Context<'_>)>;

/// All functions of the language that work on one repetition.
#[cfg(test)]
pub(crate) fn functions() -> Vec<Called> {
    let call = |func: &func::Func| -> Option<Called> {
        Some(match func.work {
            func::Work::Each(work) => Box::new(move |rep, args, it| drop(work(rep, args, it))),
            func::Work::Several(work) => Box::new(move |rep, args, it| drop(work(rep, args, it))),
            func::Work::Text(work) => Box::new(move |rep, _, it| drop(work(rep.c(1), it))),
            func::Work::Resource(work) => Box::new(move |rep, _, it| drop(work(rep, it))),
            func::Work::Built => return None,
        })
    };
    func::FUNCS.iter().filter_map(call).collect()
}

/// EVN-1, where MSH-9 has no event.
fn header_event(message: &Message<'_>) -> Option<String> {
    let event = message.named("EVN").next()?.field(1).text().into_owned();
    Some(event).filter(|event| !event.is_empty())
}

/// The event of types of which there was one only, in the oldest versions.
fn usual(kind: &str) -> &'static str {
    match kind {
        "ORU" => "R01",
        "ORM" => "O01",
        "VXU" => "V04",
        _ => "",
    }
}

fn hash_of(texts: &[(String, String)]) -> String {
    let mut hash = Sha256::new();
    for (name, text) in texts {
        hash.update(name.as_bytes());
        hash.update([0]);
        hash.update(text.as_bytes());
        hash.update([0]);
    }
    id::digits(&hash.finalize()[..16])
}
