//! What a message asks to be stored: resources by their keys, with the rule behind each element.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::fhir::json::Object;
use crate::hl7v2::effect::part::{Part, Removal};
use crate::hl7v2::er7::{self, Message};
use crate::hl7v2::types::{Context, LocalCode, NoteKind};

use super::eval::{Eval, Item};
use super::instance::{Builder, Instance, Key};
use super::rules::{Each, MessageRule, ResourceRule, Rule, Work};
use super::scope::Scope;
use super::site::Mode;
use super::value::value;
use super::writing::{Act, Deed, From, Writing, add_identifier, joined, marked, unmapped};

/// What is wrong with a message, or worth telling about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Whether the message cannot be taken.
    pub is_error: bool,
    /// The code of table 0357: 101 for what is missing, 102, 103, 205; 0 for what is only told.
    pub code: u16,
    /// By which word it is counted: `unmapped-code`, `required`.
    pub kind: &'static str,
    /// Where: `PID-3`.
    pub place: String,
    /// What it is, without patient data.
    pub text: String,
}

/// An element and the rule that wrote it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Write {
    /// The path in the resource: `name[0]`.
    pub path: String,
    /// The rule: `base/patient patient name 1`.
    pub rule: String,
    /// The fields that the rule reads: `PID-5`.
    pub sources: Vec<String>,
    /// The places in the message of the segments that it read, where that was asked for.
    pub segments: Vec<usize>,
}

/// A resource that a message makes.
#[derive(Clone, Debug, PartialEq)]
pub struct DraftResource {
    /// Its name in the message: `observation 3`.
    pub name: String,
    /// The name of its rule: `observation`.
    pub rule: String,
    /// How references of the other drafts name it: `urn:uuid:..`.
    pub url: String,
    /// Its type.
    pub resource_type: String,
    /// What it is found again by; without any it is new each time.
    pub keys: Vec<Key>,
    /// What it was found again by before: what is stored by that is taken over.
    pub former: Vec<Key>,
    /// Its elements.
    pub body: Object<'static>,
    /// Elements that the message says are to go.
    pub removed: Vec<Removal>,
    /// Lists of which it does not tell all.
    pub parts: Vec<Part>,
    /// How the list that it is in changes what is stored.
    pub mode: Mode,
    /// What is to be done with it in the action-code mode: A, D, U, X.
    pub action: Option<String>,
    /// The segment that it is about: `AL1`.
    pub segment: String,
    /// The profile that it should keep to.
    pub profile: Option<String>,
    /// Which rule wrote which element.
    pub writes: Vec<Write>,
    /// Where the first segment that it is about stands in the message.
    pub at: usize,
    /// Whether it stands for a value of another one: the Practitioner of an XCN.
    pub is_spun_off: bool,
}

/// All that a message asks to be stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    /// The resources, what others lead to before them where it can be.
    pub resources: Vec<DraftResource>,
    /// Lists of segments that count as all there is: the segment, and whether it was there.
    pub snapshots: Vec<(String, bool)>,
    /// What is wrong, and what is worth telling.
    pub problems: Vec<Problem>,
    /// Fields with a value, or repetitions of them, of which nothing is made; and names of segments without fields.
    pub unmapped: Vec<String>,
    /// Codes that no map has another one for.
    pub codes: Vec<LocalCode>,
    /// What the message does beyond writing.
    pub effect: Option<String>,
    /// `ADT`, and `A01`.
    pub event: (String, String),
    /// What the maps were when it was made.
    pub map_hash: String,
}

impl Draft {
    /// Whether the message cannot be taken.
    pub fn is_refused(&self) -> bool {
        self.problems.iter().any(|problem| problem.is_error)
    }

    /// The resource that the rule of this name made first.
    pub fn first(&self, rule: &str) -> Option<&DraftResource> {
        self.resources.iter().find(|resource| resource.rule == rule)
    }
}

/// The message and the maps that are used on it.
pub(super) struct Drafting<'a> {
    pub(super) message: &'a Message<'a>,
    pub(super) context: &'a Context<'a>,
    pub(super) rule: &'a MessageRule,
    pub(super) resources: &'a [ResourceRule],
}

impl<'a> Drafting<'a> {
    pub(super) fn run(&self, draft: &mut Draft) {
        let (used, used_for_keys) = (RefCell::default(), RefCell::default());
        self.require(draft);
        let mut builder = Builder {
            message: self.message,
            context: self.context,
            groups: &self.rule.groups,
            used: &used_for_keys,
            found: Vec::new(),
            seen: HashMap::new(),
            counts: HashMap::new(),
        };
        let partitions = builder.partitions(self.rule);
        let head = 0..partitions.first().map_or(0, |first| first.start);
        if !self.rule.once.is_empty() {
            // Of no patient's part; of a single one the part is all.
            self.add(&mut builder, &Scope::whole(head.clone(), 0..0), false);
        }
        for range in partitions {
            self.add(&mut builder, &Scope::whole(range, head.clone()), false);
        }
        self.add(&mut builder, &Scope::whole(0..self.message.segments().len(), 0..0), true);
        let instances = builder.found;
        let eval = Eval {
            message: self.message,
            context: self.context,
            groups: &self.rule.groups,
            instances: &instances,
            used: &used,
        };
        for (at, instance) in instances.iter().enumerate() {
            let made = self.resource(&eval, at, instance, draft);
            draft.resources.push(made);
        }
        self.spun_off(draft);
        self.snapshots(draft);
        self.told(draft);
        draft.problems.extend(joined(self.message));
        draft.unmapped = unmapped(self.message, &used.borrow());
    }

    /// What is made of a part of the message, or what is made once of all of it.
    fn add(&self, builder: &mut Builder<'a>, scope: &Scope, is_once: bool) {
        for (name, is_optional) in &self.rule.uses {
            let rule = self.resources.iter().find(|rule| rule.name == *name);
            if let Some(rule) = rule.filter(|_| self.rule.once.contains(name) == is_once) {
                builder.add(rule, *is_optional, scope, None);
            }
        }
    }

    fn require(&self, draft: &mut Draft) {
        for path in &self.rule.require {
            if !self.message.get(path).is_valued() {
                draft.problems.push(Problem {
                    is_error: true,
                    code: 101,
                    kind: "required",
                    place: path.to_string(),
                    text: "a field that is required is missing".to_owned(),
                });
            }
        }
    }

    fn resource(
        &self,
        eval: &Eval<'a>,
        at: usize,
        instance: &Instance<'a>,
        draft: &mut Draft,
    ) -> DraftResource {
        let rule = instance.rule;
        let mut writing = Writing::default();
        for inner in &rule.rules {
            self.apply(eval, inner, &instance.scope, at, &mut writing, draft);
        }
        writing.note_silent(&rule.rules);
        let mut body = writing.writer.body;
        for key in instance.keys.iter().filter(|key| key.is_derived) {
            add_identifier(&mut body, key);
        }
        let items = rule
            .action
            .map(|path| eval.items(&super::expr::Expr::Path(path), &instance.scope, Some(at)));
        let action = items.into_iter().flatten().next().map(|item| Deed::word(item.text()));
        let segment = rule.segment().map(|name| name.to_string()).unwrap_or_default();
        let mode = self.context.site.modes.get(&segment).copied().unwrap_or(rule.mode);
        // An entry may say that its list is all there is.
        let is_all = mode == Mode::ActionCode && action.as_deref() == Some("S");
        let mode = if is_all { Mode::Snapshot } else { mode };
        DraftResource {
            name: instance.name.clone(),
            rule: rule.name.clone(),
            url: instance.url.clone(),
            resource_type: rule.resource_type.clone(),
            keys: instance.keys.clone(),
            former: instance.former.clone(),
            body,
            removed: writing.removed,
            parts: writing.parts,
            mode,
            action,
            segment,
            profile: rule.profile.clone(),
            writes: writing.writes,
            at: instance.scope.inner().start,
            is_spun_off: false,
        }
    }

    fn apply(
        &self,
        eval: &Eval<'a>,
        rule: &'a Rule,
        scope: &Scope,
        owner: usize,
        out: &mut Writing,
        draft: &mut Draft,
    ) {
        for scope in self.scopes(rule, scope) {
            let act = rule.acts.as_ref().map(|acts| self.act(eval, acts, &scope, owner));
            let act = act.unwrap_or(Act::Plain);
            if !out.enters(&rule.element, &act) {
                continue;
            }
            let is_wanted =
                rule.when.as_ref().is_none_or(|when| eval.holds(when, &scope, Some(owner)));
            if !is_wanted {
                if let (Some(when), Work::Value(value)) = (&rule.when, &rule.work)
                    && eval.is_ended(when, value, &scope, owner)
                {
                    rule.ended().into_iter().for_each(|gone| out.remove(gone));
                }
                continue;
            }
            let is_coded = !matches!(act, Act::Plain);
            let mark = out.mark(&rule.element, act);
            let (read, written) = (eval.read_so_far(), out.writes.len());
            let is_made = match &rule.work {
                Work::Build(rules) => {
                    let mut inner = Writing::default();
                    for rule in rules {
                        self.apply(eval, rule, &scope, owner, &mut inner, draft);
                    }
                    build(rule, inner, mark.as_ref(), out)
                }
                Work::Value(expr) => {
                    let sources: Vec<_> = expr.paths().iter().map(ToString::to_string).collect();
                    let place = sources.first().map(|path| plain_place(path)).unwrap_or_default();
                    self.context.place.replace(place.clone());
                    let items = eval.items(expr, &scope, Some(owner));
                    let from = From { sources, segments: self.traced(expr, &scope), mark };
                    self.write(rule, items, &from, out, &place, draft)
                }
            };
            if !is_made {
                eval.forget(read);
            } else if let Some(acts) = rule.acts.as_ref().filter(|_| is_coded) {
                self.acted(eval, acts, &scope, &mut out.writes[written..]);
            }
        }
    }

    /// Writes values to their place; whether anything came of them, be it that what is stored is to go.
    fn write(
        &self,
        rule: &Rule,
        items: Vec<Item<'_>>,
        from: &From,
        out: &mut Writing,
        place: &str,
        draft: &mut Draft,
    ) -> bool {
        // An entry with an id of its own goes by its code alone.
        let is_null = from.mark.is_none() && items.iter().any(|item| matches!(item, Item::Null));
        let values = items.into_iter().filter_map(|item| value(item, &rule.element));
        let values: Vec<_> =
            (0..).zip(values).map(|(at, (kind, value))| (kind, from.marked(at, value))).collect();
        if values.is_empty() {
            if is_null {
                rule.ended().into_iter().for_each(|gone| out.remove(gone));
            }
            if let Some(code) = fails(rule).filter(|_| !is_null) {
                draft.problems.push(Problem {
                    is_error: true,
                    code,
                    kind: "required",
                    place: place.to_owned(),
                    text: format!("{} has no value that it may have", rule.element.text),
                });
            }
            return is_null;
        }
        let (paths, is_whole) = out.writer.put(&rule.element, values);
        if !is_whole {
            self.context.note(NoteKind::Kept, "there is room for the first of its values only");
        }
        let From { sources, segments, mark: _ } = from;
        let write = |path| Write {
            path,
            rule: rule.id.clone(),
            sources: sources.clone(),
            segments: segments.clone(),
        };
        let is_made = !paths.is_empty();
        out.writes.extend(paths.into_iter().map(write));
        is_made
    }

    /// The segments that an expression reads.
    fn traced(&self, expr: &super::expr::Expr, scope: &Scope) -> Vec<usize> {
        if !self.context.is_traced {
            return Vec::new();
        }
        let paths = expr.paths();
        let seen = paths
            .iter()
            .flat_map(|path| scope.see(path.segment, &self.rule.groups, self.message).into_iter());
        let mut places: Vec<_> = seen.map(|segment| segment.position()).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    fn scopes(&self, rule: &Rule, scope: &Scope) -> Vec<Scope> {
        match &rule.each {
            None => vec![scope.clone()],
            Some(Each::Repetition(path)) => {
                let seen = scope.see(path.segment, &self.rule.groups, self.message);
                let field =
                    seen.first().map(|it| it.field(path.field)).filter(er7::Part::is_valued);
                let count = field.map_or(0, |field| field.repetitions().count());
                (1..).take(count).map(|at| scope.repeat(*path, at)).collect()
            }
            Some(Each::Segment(name)) => {
                let found = scope.repeats(*name, &self.rule.groups, self.message);
                let found = found.into_iter().zip(1..);
                found.map(|(it, at)| scope.segment(it.position(), at, self.message)).collect()
            }
            Some(Each::Group(name)) => {
                let group = self.rule.groups.iter().find(|group| group.name == *name);
                let found = group.map(|group| group.find(self.message, &scope.inner()));
                let found = found.unwrap_or_default().into_iter().zip(1..);
                found.map(|(range, at)| scope.group(range, at)).collect()
            }
        }
    }

    /// The resources that values stand for, as drafts of their own, before all others.
    fn spun_off(&self, draft: &mut Draft) {
        let made = self.context.made.take();
        let drafts = made.into_iter().map(|made| {
            let (system, value) = made.key.split_once('|').unwrap_or_default();
            let key = Key {
                system: system.to_owned(),
                value: value.to_owned(),
                kind: String::new(),
                part: String::new(),
                is_derived: false,
            };
            let rule = made.resource_type.to_ascii_lowercase();
            let writes = made.body.iter().map(|(path, _)| Write {
                path: path.to_owned(),
                rule: format!("type {rule}"),
                sources: vec![made.place.clone()],
                segments: Vec::new(),
            });
            DraftResource {
                name: format!("{rule} {}", made.key),
                url: self.context.url(&format!("{}?{}", made.resource_type, made.key)),
                resource_type: made.resource_type.to_owned(),
                keys: vec![key],
                former: Vec::new(),
                writes: writes.collect(),
                body: made.body,
                rule,
                removed: Vec::new(),
                parts: Vec::new(),
                mode: Mode::Upsert,
                action: None,
                segment: String::new(),
                profile: None,
                at: 0,
                is_spun_off: true,
            }
        });
        let mut all: Vec<_> = drafts.collect();
        all.append(&mut draft.resources);
        draft.resources = all;
    }

    /// Which lists count as all there is, and whether the message has any of their segments.
    fn snapshots(&self, draft: &mut Draft) {
        let used = self
            .resources
            .iter()
            .filter(|rule| self.rule.uses.iter().any(|(name, _)| *name == rule.name));
        for rule in used {
            let Some(name) = rule.segment() else { continue };
            let segment = name.to_string();
            let mode = self.context.site.modes.get(&segment).copied().unwrap_or(rule.mode);
            let is_known = draft.snapshots.iter().any(|(own, _)| *own == segment);
            let says_so =
                |one: &DraftResource| one.segment == segment && one.mode == Mode::Snapshot;
            let is_all = mode == Mode::Snapshot || draft.resources.iter().any(says_so);
            if is_all && !is_known {
                let is_there = self.message.named(&segment).next().is_some();
                draft.snapshots.push((segment, is_there));
            }
        }
    }

    fn told(&self, draft: &mut Draft) {
        draft.codes = self.context.unmapped.take();
        let notes = self.context.notes.take();
        draft.problems.extend(notes.into_iter().map(|note| Problem {
            is_error: note.kind == NoteKind::Damaged,
            code: match note.kind {
                NoteKind::Damaged | NoteKind::DataType => 102,
                NoteKind::SameKey => 205,
                NoteKind::Kept | NoteKind::UnmappedCode | NoteKind::UnmappedUnit => 0,
            },
            kind: note.kind.as_str(),
            place: note.place,
            text: note.text,
        }));
    }
}

/// Puts an element to its place that is made of rules of its own; whether anything came of it.
fn build(rule: &Rule, inner: Writing, mark: Option<&String>, out: &mut Writing) -> bool {
    if inner.writer.body.is_empty() {
        return false;
    }
    if let Some(gone) = inner.ended_extension() {
        out.remove(gone);
        return true;
    }
    let entry = marked(inner.writer.body, mark);
    let (paths, _) = out.writer.put(&rule.element, vec![("", entry)]);
    let Some(place) = paths.first() else { return false };
    out.writes.extend(
        inner
            .writes
            .into_iter()
            .map(|write| Write { path: format!("{place}.{}", write.path), ..write }),
    );
    true
}

/// The code of the error that a rule asks for when it has no value.
fn fails(rule: &Rule) -> Option<u16> {
    let Work::Value(super::expr::Expr::Pipe(_, call)) = &rule.work else { return None };
    let Some(super::expr::Expr::Number(code)) = call.plain.first() else { return None };
    u16::try_from(*code).ok().filter(|_| call.name == "fail")
}

/// `PID-3` of `PID-3[*].1`.
fn plain_place(path: &str) -> String {
    let (segment, rest) = path.split_once('-').unwrap_or((path, ""));
    let segment = segment.split('[').next().unwrap_or_default();
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    if digits.is_empty() { segment.to_owned() } else { format!("{segment}-{digits}") }
}
