//! Which resources a message makes: one for each segment or group that a rule is about.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;

use crate::hl7v2::er7::{Message, Path, Segment, SegmentName};
use crate::hl7v2::types::{Context, NoteKind, id};

use super::eval::{Eval, Item, NTH, Read};
use super::rules::{Each, MessageRule, ResourceRule};
use super::scope::{self, Group, Scope};
use super::site::Habit;

/// The value of a result.
const VALUE: &str = "OBX-5";
/// The type of a filler's numbers.
const FILLER: &str = "FILL";

/// What a resource is found again by.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Key {
    /// The system of the identifier.
    pub system: String,
    /// Its value.
    pub value: String,
    /// The code of its type; empty when none is told.
    pub kind: String,
    /// Which of those that have this number; empty: the one that has it.
    pub part: String,
    /// Whether it is made of other values, by us.
    pub is_derived: bool,
}

impl Key {
    /// The key of one of several values of a segment, each of which is a resource of its own: they share the
    /// number of their segment.
    fn of_value(self, scope: &Scope) -> Self {
        let at = scope.repetition.filter(|(_, at)| scope.is_alone && *at > 1);
        match at {
            Some((_, at)) if !self.is_derived => {
                Self { value: format!("{}~{at}", self.value), ..self }
            }
            _ => self,
        }
    }

    /// The key of one of several things that may have one number. A filler numbers what it was sent or took, and
    /// may report of all that is done with that under this number; a placer's number is that of one order,
    /// whatever code others have for it.
    fn of_part(self, part: &str) -> Self {
        if self.kind == FILLER { Self { part: part.to_owned(), ..self } } else { self }
    }

    /// `system|value`.
    pub fn text(&self) -> String {
        format!("{}|{}", self.system, self.value)
    }
}

/// A resource that a message makes.
#[derive(Clone, Debug)]
pub(crate) struct Instance<'a> {
    /// By which rule.
    pub rule: &'a ResourceRule,
    /// What its rules see.
    pub scope: Scope,
    /// Where the message tells of it again.
    pub others: Vec<Scope>,
    /// The resource around it, by its place among the instances.
    pub parent: Option<usize>,
    /// What it is found again by.
    pub keys: Vec<Key>,
    /// What it was found again by before.
    pub former: Vec<Key>,
    /// How documents of this message name it.
    pub url: String,
    /// Its name: `observation 3`.
    pub name: String,
}

impl Instance<'_> {
    /// All places where the message tells of it.
    pub(super) fn scopes(&self) -> impl Iterator<Item = &Scope> {
        std::iter::once(&self.scope).chain(&self.others)
    }

    /// Whether the message tells of another one within this one, in the segment that leads it, or, where this one
    /// is of a segment, in the part of the message around that.
    pub(super) fn holds(&self, other: &Instance<'_>) -> bool {
        let is_of_segment = matches!(self.rule.each, Each::Segment(_));
        self.scopes().any(|scope| {
            let around = scope.ranges.get(1).filter(|_| is_of_segment);
            let range = around.cloned().unwrap_or_else(|| scope.inner());
            other.scopes().map(Scope::inner).any(|own| {
                scope.lead == Some(own.start) || (range.start <= own.start && own.end <= range.end)
            })
        })
    }
}

/// Makes instances, one after the other.
pub(super) struct Builder<'a> {
    pub(super) message: &'a Message<'a>,
    pub(super) context: &'a Context<'a>,
    pub(super) groups: &'a [Group],
    /// What is read for keys and conditions; it does not count: what is in a resource is written by its rules.
    pub(super) used: &'a RefCell<Vec<Read>>,
    pub(super) found: Vec<Instance<'a>>,
    pub(super) seen: HashMap<String, usize>,
    pub(super) counts: HashMap<&'a str, usize>,
}

impl<'a> Builder<'a> {
    /// The parts of a message that are one patient each, or the whole of it.
    pub(super) fn partitions(&self, rule: &MessageRule) -> Vec<Range<usize>> {
        let all = 0..self.message.segments().len();
        let patients = rule.groups.iter().find(|group| group.name == "patient");
        let found = patients.map(|group| group.find(self.message, &all)).unwrap_or_default();
        // What is made once is of no patient's part: a single patient has all of the message.
        let is_one = found.is_empty() || (found.len() == 1 && !rule.once.is_empty());
        if is_one { vec![all] } else { found }
    }

    pub(super) fn add(
        &mut self,
        rule: &'a ResourceRule,
        is_optional: bool,
        around: &Scope,
        parent: Option<usize>,
    ) {
        for scope in self.scopes(rule, around) {
            let eval = Eval {
                message: self.message,
                context: self.context,
                groups: self.groups,
                instances: &self.found,
                used: self.used,
            };
            let is_wanted = rule.when.as_ref().is_none_or(|when| eval.holds(when, &scope, parent));
            if !is_wanted {
                continue;
            }
            let items = rule.key.as_ref().map(|key| eval.items(key, &scope, parent));
            let keys: Vec<_> = items.into_iter().flatten().collect();
            let was = rule.was.as_ref().map(|was| eval.items(was, &scope, parent));
            let was: Vec<_> = was.into_iter().flatten().collect();
            let part = rule.part.as_ref().map(|part| eval.text(part, &scope, parent));
            let part = part.unwrap_or_default();
            let mut made = |items: &[Item<'_>], counted: &str| -> Vec<Key> {
                let keys = items
                    .iter()
                    .filter_map(|it| key_of(&mut self.seen, self.context, (rule, counted), it));
                keys.map(|key| key.of_value(&scope).of_part(&part)).collect()
            };
            let (keys, mut former) = (made(&keys, "key"), made(&was, "was"));
            former.retain(|key| !keys.contains(key));
            if keys.is_empty() && is_optional {
                continue;
            }
            // What has the same key is the same resource: the first one stands for all of them, and has
            // what is in them.
            let is_known = |own: &Instance<'_>| own.rule.name == rule.name && own.keys == keys;
            let known = self.found.iter().position(is_known).filter(|_| !keys.is_empty());
            let place = match known {
                Some(place) => {
                    self.tell_same(rule, place, &scope);
                    self.found[place].others.push(scope.clone());
                    place
                }
                None => self.push(rule, &scope, parent, (keys, former)),
            };
            for child in &rule.children {
                self.add(child, false, &scope, Some(place));
            }
        }
    }

    /// Takes up a new resource; its place among all.
    fn push(
        &mut self,
        rule: &'a ResourceRule,
        scope: &Scope,
        parent: Option<usize>,
        (keys, former): (Vec<Key>, Vec<Key>),
    ) -> usize {
        let count = self.counts.entry(&rule.name).or_default();
        *count += 1;
        let name = format!("{} {count}", rule.name);
        let url = self.context.url(&name);
        let (scope, others) = (scope.clone(), Vec::new());
        self.found.push(Instance { rule, scope, others, parent, keys, former, url, name });
        self.found.len() - 1
    }

    /// Tells of a resource that is not made because one before it has its key, unless they say the same.
    fn tell_same(&self, rule: &ResourceRule, known: usize, scope: &Scope) {
        let is_group = matches!(rule.each, Each::Group(_));
        let said = |scope: &Scope| {
            // By their places: to walk there from the beginning each time is long where many have the key.
            let segments = scope.inner().filter_map(|at| self.message.segment_at(at));
            let own = segments.filter(|it| !is_group || !(it.is("OBX") || it.is("NTE")));
            // The first field is most often the number in the list.
            own.map(|it| it.fields().skip(1).map(|field| field.raw()).collect::<Vec<_>>())
                .collect::<Vec<_>>()
        };
        // A key made of a part of a group, as that of a subscriber, says all of what is made of it.
        let is_part = is_group && self.found[known].keys.iter().all(|key| key.is_derived);
        if is_part || said(&self.found[known].scope) == said(scope) {
            return;
        }
        let first = self.message.segment_at(scope.inner().start);
        let place = first.map(|segment| segment.name().to_string()).unwrap_or_default();
        self.context.place.replace(place);
        let text = format!("another {} of the message has the same key", rule.name);
        self.context.note(NoteKind::SameKey, text);
    }

    /// A result for each repetition of OBX-5, where the site wants that; else the one.
    fn split(&self, scope: Scope, segment: &Segment<'_>) -> Vec<Scope> {
        let is_text = matches!(&*segment.field(2).text(), "ST" | "TX" | "FT" | "NA" | "MA");
        let count = segment.field(5).repetitions().count();
        let path = VALUE.parse::<Path>().ok().filter(|_| {
            self.context.site.has(Habit::SplitsRepeats)
                && segment.is("OBX")
                && !is_text
                && count > 1
        });
        match path {
            Some(path) => (1..).take(count).map(|at| scope.alone(path, at)).collect(),
            None => vec![scope],
        }
    }

    fn scopes(&self, rule: &ResourceRule, around: &Scope) -> Vec<Scope> {
        let mut scopes: Vec<_> = match &rule.each {
            Each::Group(name) => {
                let found = scope::groups_in(self.groups, name, self.message, &around.inner());
                let found = found.into_iter().zip(1..);
                found
                    .map(|((range, lead), number)| around.group(range, number).led_by(lead))
                    .collect()
            }
            // A resource is about a segment; `read` lets no other through.
            Each::Repetition(_) => Vec::new(),
            Each::Segment(name) => {
                let mut found = around.inside(name.as_str(), self.message);
                if found.is_empty() && rule.is_single {
                    // The header and the event stand before all patients.
                    found = around.see(*name, self.groups, self.message);
                }
                found.retain(|it| !scope::goes_on(it.position(), self.message));
                // A result that stands with a specimen, before the orders of it.
                let heads = scope::heads(self.groups, self.message, &around.inner());
                let lead = |at: usize| {
                    let head = heads.iter().find(|head| head.start < at && at < head.end);
                    head.map(|head| head.start)
                };
                let scope = |(it, number): (Segment<'_>, usize)| {
                    let at = it.position();
                    let own = around.segment(at, number, self.message).led_by(lead(at));
                    self.split(own, &it)
                };
                found.into_iter().zip(1..).flat_map(scope).collect()
            }
        };
        if rule.is_single {
            scopes.truncate(1);
        }
        scopes
    }
}

/// An identifier as it is, or one made of the texts of a key. `counted`: among which of its rule's keys those with
/// the same texts count.
fn key_of(
    seen: &mut HashMap<String, usize>,
    context: &Context<'_>,
    (rule, counted): (&ResourceRule, &str),
    item: &Item<'_>,
) -> Option<Key> {
    match item {
        Item::Fhir(_, value) => Some(Key {
            system: value.str_at("system")?.to_owned(),
            value: value.str_at("value")?.to_owned(),
            kind: kind(value),
            part: String::new(),
            is_derived: false,
        }),
        Item::V2(rep) => {
            let mut text = rep.text().to_owned();
            if text.contains(NTH) {
                let count = seen.entry(format!("{counted} {} {text}", rule.name)).or_default();
                *count += 1;
                text = text.replace(NTH, &count.to_string());
            }
            let digest = id::digest(&[&rule.resource_type, &context.sender, &text]);
            Some(Key {
                system: list(&context.site.base, &context.sender, rule.segment().as_ref()),
                value: id::digits(&digest),
                kind: String::new(),
                part: String::new(),
                is_derived: true,
            })
        }
        Item::Null | Item::Resource(..) => None,
    }
}

/// The system of keys that are made here: whose they are, and of which list. Details of an allergy (IAM)
/// are of the list of allergies (AL1).
pub fn list(base: &str, sender: &str, segment: Option<&SegmentName>) -> String {
    match segment.map(SegmentName::as_str) {
        None => format!("{base}/v2/key/{sender}"),
        Some("IAM") => format!("{base}/v2/key/{sender}/AL1"),
        Some(segment) => format!("{base}/v2/key/{sender}/{segment}"),
    }
}

/// The code of an identifier's type.
fn kind(identifier: &crate::hl7v2::types::Json) -> String {
    let coding = identifier.get("type").and_then(|kind| kind.items_at("coding").first());
    coding.and_then(|coding| coding.str_at("code")).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use crate::hl7v2::charset::Charset;
    use crate::hl7v2::er7::{Message, Reading};
    use crate::hl7v2::map::Maps;
    use crate::spec::Spec;

    /// The first keys of what these rules make of a message of a laboratory.
    fn keys<const N: usize>(maps: &Maps, segments: &[&str], rules: [&str; N]) -> [String; N] {
        let head = "MSH|^~\\&|LAB|STM|K|H|20260704||ORU^R01^ORU_R01|1|P|2.5.1";
        let text = [&[head][..], segments].concat().join("\r");
        let message = Message::parse(&text, Charset::UTF_8, Reading::Lenient).unwrap();
        let draft = maps.draft(&message).unwrap();
        rules.map(|rule| draft.first(rule).unwrap().keys[0].text())
    }

    #[test]
    fn results_of_orders_without_a_number_stay_apart() {
        let spec = Spec::r4().unwrap();
        let maps = Maps::base(&spec.schema).unwrap();
        let keys = |number: u8, control: &str, at: &str| {
            let patient = format!("PID|1||{number}^^^STM^MR");
            let order = format!("OBR|1|||P^Panel^L|||{at}||||||||||||||||||F");
            let result = "OBX|1|NM|R^Result^L||1|g/dL|||||F";
            keys(&maps, &[&patient, control, &order, result], ["report", "observation"])
        };
        let known = keys(1, "ORC|RE", "20260704");
        assert_eq!(keys(1, "ORC|RE", "20260704"), known);
        for (number, control, at) in [
            (2, "ORC|RE", "20260704"),
            (1, "ORC|RE||F1^LAB", "20260704"),
            (1, "ORC|RE", "20260705"),
        ] {
            let own = keys(number, control, at);
            assert!(own[0] != known[0] && own[1] != known[1], "{number} {control} {at}");
        }
        // A number says it all, in whichever segment it stands.
        let control = "ORC|RE||F1^LAB";
        assert_eq!(keys(1, control, "20260704"), keys(2, control, "20260705"));
    }

    #[test]
    fn doses_of_orders_without_a_number_are_of_their_patient() {
        let spec = Spec::r4().unwrap();
        let maps = Maps::base(&spec.schema).unwrap();
        let key = |kind: &str, number: u8, control: &str| {
            let head = format!("MSH|^~\\&|PHA|STM|K|H|20260704||{kind}|1|P|2.5.1");
            let rest = "RXD|1|A^Drug^L|20260704|1\rRXA|0|1|20260704|20260704|A^Drug^L|1";
            let text = format!("{head}\rPID|1||{number}^^^STM^MR\r{control}\r{rest}");
            let message = Message::parse(&text, Charset::UTF_8, Reading::Lenient).unwrap();
            let draft = maps.draft(&message).unwrap();
            ["dispense", "administration"].map(|rule| draft.first(rule).unwrap().keys[0].text())
        };
        for kind in ["RDS^O13^RDS_O13", "RAS^O17^RAS_O17"] {
            let numbered = [("ORC|RE", false), ("ORC|RE|P1^A", true), ("ORC|RE||F1^A", true)];
            for (control, are_same) in numbered {
                let (one, other) = (key(kind, 1, control), key(kind, 2, control));
                assert_eq!([one[0] == other[0], one[1] == other[1]], [are_same; 2], "{control}");
            }
        }
    }
}
