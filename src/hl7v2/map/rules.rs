//! Maps as they are kept: rules with checked places and expressions.

use crate::fhir::json::Object;
use crate::hl7v2::effect::part::Removal;
use crate::hl7v2::er7::{Path, SegmentName};

use super::element::Element;
use super::expr::Expr;
use super::scope::Group;
use super::site::Mode;

/// What a rule or a resource is made of again and again.
#[derive(Clone, Debug, PartialEq)]
pub enum Each {
    /// Each group of this name.
    Group(String),
    /// Each repetition of this field.
    Repetition(Path),
    /// Each segment of this name.
    Segment(SegmentName),
}

/// One rule: a place and what comes there.
#[derive(Clone, Debug)]
pub struct Rule {
    /// How it is called: `base/patient set.telecom 2`.
    pub id: String,
    /// Where its file has it.
    pub line: usize,
    /// The place.
    pub element: Element,
    /// Only then.
    pub when: Option<Expr>,
    /// For each of these, with their segments at hand.
    pub each: Option<Each>,
    /// What entries of its list have that are its own: they stay where its field is empty.
    pub keeps: Vec<Object<'static>>,
    /// Where it is an entry of a list of which a segment says what becomes.
    pub acts: Option<Acts>,
    /// What comes there.
    pub work: Work,
}

/// By what an entry of a list is made, changed and deleted alone.
#[derive(Clone, Debug)]
pub struct Acts {
    /// The code of what is to be done with it.
    pub action: Expr,
    /// The segment whose field that is.
    pub segment: SegmentName,
    /// What it is known by.
    pub key: Expr,
}

impl Rule {
    /// What goes when its value is to go.
    pub fn ended(&self) -> Vec<Removal> {
        if self.keeps.is_empty() {
            return vec![self.element.ended()];
        }
        let path = &self.element.text;
        let own =
            self.keeps.iter().map(|own| Removal { path: path.clone(), slot: Some(own.clone()) });
        own.collect()
    }
}

/// What a rule puts to its place.
#[derive(Clone, Debug)]
pub enum Work {
    /// An element made of rules of its own.
    Build(Vec<Rule>),
    /// The values of an expression.
    Value(Expr),
}

/// A resource of a map.
#[derive(Clone, Debug)]
pub struct ResourceRule {
    /// Its name in the map.
    pub name: String,
    /// Its type.
    pub resource_type: String,
    /// Of what it is made.
    pub each: Each,
    /// Whether there is one at most.
    pub is_single: bool,
    /// Only then.
    pub when: Option<Expr>,
    /// What it is found again by.
    pub key: Option<Expr>,
    /// What it was found again by before: that is asked for too, and taken over.
    pub was: Option<Expr>,
    /// What tells apart those that a filler has given one number: the code of a panel.
    pub part: Option<Expr>,
    /// The segment whose list it is of, where it is about a group.
    pub list: Option<SegmentName>,
    /// How a list of them changes what is stored.
    pub mode: Mode,
    /// The field with the code of what is to be done with it.
    pub action: Option<Path>,
    /// The profile that it should keep to.
    pub profile: Option<String>,
    /// Its elements.
    pub rules: Vec<Rule>,
    /// The resources inside its scope.
    pub children: Vec<ResourceRule>,
    /// The map that has it.
    pub map: String,
}

impl ResourceRule {
    /// The segment that each of them is about, or of whose list it is.
    pub fn segment(&self) -> Option<SegmentName> {
        match &self.each {
            Each::Segment(name) => Some(*name),
            Each::Group(_) | Each::Repetition(_) => self.list,
        }
    }

    /// This one and all inside it.
    pub fn all<'r>(&'r self, visit: &mut dyn FnMut(&'r ResourceRule)) {
        visit(self);
        self.children.iter().for_each(|child| child.all(visit));
    }
}

/// What is done with a kind of message.
#[derive(Clone, Debug)]
pub struct MessageRule {
    /// Its name in the map.
    pub name: String,
    /// `ADT^A01`; `*` for any event.
    pub matches: Vec<String>,
    /// Fields without which it is refused.
    pub require: Vec<Path>,
    /// Its groups.
    pub groups: Vec<Group>,
    /// The resources that it makes; those with `true` only when their key has a value.
    pub uses: Vec<(String, bool)>,
    /// Those of them that are made once, of the whole message, where it tells of several patients.
    pub once: Vec<String>,
    /// What it does to what is stored, beyond writing.
    pub effect: Option<String>,
}

impl MessageRule {
    /// Whether it is the rule of a message of this type and event.
    pub fn is_for(&self, kind: &str, event: &str) -> bool {
        self.matches.iter().any(|own| {
            own.split_once('^').is_some_and(|(own, of)| own == kind && (of == event || of == "*"))
        })
    }
}
