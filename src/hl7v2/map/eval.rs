//! Expressions on a message: values, conditions, keys.

use std::cell::RefCell;
use std::iter;

use crate::fhir::json::Object;
use crate::hl7v2::er7::{Index, Message, Path, Segment};
use crate::hl7v2::types::{Args, Context, Json, Rep, time, timing};

use super::expr::{Call, Expr, Operator};
use super::func::{self, Gives, Work};
use super::instance::Instance;
use super::scope::{self, Group, Scope};

/// One value of an expression.
#[derive(Clone, Debug)]
pub(crate) enum Item<'m> {
    /// A value of FHIR and its type.
    Fhir(&'static str, Json),
    /// `""`: what is stored is to go.
    Null,
    /// A resource that a value stands for.
    Resource(&'static str, Object<'static>),
    /// A part of the message, or a text.
    V2(Rep<'m>),
}

impl Item<'_> {
    /// Its text, where it has one.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::V2(rep) => rep.text().to_owned(),
            Self::Fhir(_, value) => {
                let text = value.as_str().or(value.as_number()).or(value.str_at("code"));
                text.or(value.str_at("value")).unwrap_or_default().to_owned()
            }
            Self::Null | Self::Resource(..) => String::new(),
        }
    }
}

/// Stands in a key for the number of the occurrence of the rest of it.
pub(crate) const NTH: &str = "\u{0}";

/// What was read of a message: the place of a segment, a field, and which of its repetitions; 0: all of them.
pub(crate) type Read = (usize, u16, u16);

/// What expressions are evaluated on.
pub(crate) struct Eval<'a> {
    /// The message.
    pub message: &'a Message<'a>,
    /// What functions may ask.
    pub context: &'a Context<'a>,
    /// The groups of the message.
    pub groups: &'a [Group],
    /// The resources that the message makes, as far as they are known.
    pub instances: &'a [Instance<'a>],
    /// Which fields were read, one after the other: those of the rule at hand come last.
    pub used: &'a RefCell<Vec<Read>>,
}

impl<'a> Eval<'a> {
    /// The values of an expression. `owner`: the place of the resource at hand among the instances.
    pub(crate) fn items(&self, expr: &Expr, scope: &Scope, owner: Option<usize>) -> Vec<Item<'a>> {
        match expr {
            Expr::Path(path) => self.path(path, scope),
            Expr::Text(text) => vec![Item::V2(Rep::of(text.clone()))],
            Expr::Number(number) => vec![Item::V2(Rep::of(number.to_string()))],
            Expr::List(items) => {
                items.iter().flat_map(|item| self.items(item, scope, owner)).collect()
            }
            Expr::Name(name) if name == "nth" => vec![Item::V2(Rep::of(NTH))],
            Expr::Name(name) => {
                let key = self.find(name, scope, owner).and_then(|it| it.keys.first());
                key.map(|key| Item::V2(Rep::of(key.text()))).into_iter().collect()
            }
            Expr::Binary(Operator::Plus, left, right) => {
                let left = self.text(left, scope, owner);
                let right = self.text(right, scope, owner);
                vec![Item::V2(Rep::of(format!("{left}{right}")))]
            }
            Expr::Binary(..) | Expr::Not(_) => Vec::new(),
            Expr::Call(call) => self.call(call, scope, owner),
            Expr::Pipe(inner, call) => {
                let before = self.items(inner, scope, owner);
                self.piped(before, call, scope, owner)
            }
        }
    }

    pub(super) fn text(&self, expr: &Expr, scope: &Scope, owner: Option<usize>) -> String {
        self.items(expr, scope, owner).first().map(Item::text).unwrap_or_default()
    }

    /// Takes down that fields were read, unless they are looked at only.
    fn reads(&self, read: impl IntoIterator<Item = Read>) {
        if !self.context.quiet.get() {
            self.used.borrow_mut().extend(read);
        }
    }

    /// How much was read so far.
    pub(super) fn read_so_far(&self) -> usize {
        self.used.borrow().len()
    }

    /// Forgets what was read after that: nothing came of it.
    pub(super) fn forget(&self, read_before: usize) {
        self.used.borrow_mut().truncate(read_before);
    }

    fn segments(&self, path: &Path, scope: &Scope) -> Vec<Segment<'a>> {
        let mut found = scope.see(path.segment, self.groups, self.message);
        let is_all_of_text =
            path.field == 5 && path.repetition == Index::All && path.segment.as_str() == "OBX";
        match path.occurrence {
            // A text in several OBX is one value.
            Index::First if is_all_of_text => {
                let mut next = found.first().map(Segment::position);
                found.retain(|segment| {
                    let is_next = next == Some(segment.position());
                    let after = segment.position() + 1;
                    let is_on = is_next && scope::goes_on(after, self.message);
                    if is_next {
                        next = is_on.then_some(after);
                        // What they have in common is told by the first of them.
                        let read = [2, 3, 11].map(|field| (segment.position(), field, 0));
                        self.reads(read.into_iter().filter(|_| is_on));
                    }
                    is_next
                });
            }
            Index::First => found.truncate(1),
            Index::At(at) => {
                found = found.into_iter().skip(usize::from(at).saturating_sub(1)).take(1).collect();
            }
            // All that is said in words: not what is attached beside it.
            Index::All if is_all_of_text => {
                found.retain(|segment| !matches!(&*segment.field(2).text(), "ED" | "RP"));
            }
            Index::All => {}
        }
        found
    }

    fn path(&self, path: &Path, scope: &Scope) -> Vec<Item<'a>> {
        let mut out = Vec::new();
        for segment in self.segments(path, scope) {
            if path.field == 0 {
                out.push(Item::V2(Rep::of(path.segment.as_str().to_owned())));
                continue;
            }
            let (field, blank) = (segment.field(path.field), Item::V2(Rep::default()));
            let has_lines = scope::has_lines(path, &segment);
            if !field.is_valued() && !field.is_null() {
                let count = if has_lines { field.repetitions().count().max(1) } else { 0 };
                out.extend(iter::repeat_n(blank, count));
                continue;
            }
            let own = scope
                .repetition
                .filter(|(own, _)| own.segment == path.segment && own.field == path.field);
            let at = match path.repetition {
                Index::First => Some(own.map_or(1, |(_, at)| at)),
                Index::At(at) => Some(at),
                Index::All => own.filter(|_| scope.is_alone).map(|(_, at)| at),
            };
            self.reads([(segment.position(), path.field, at.unwrap_or(0))]);
            let reps = match at {
                Some(at) => vec![field.repetition(at)],
                None => field.repetitions().collect(),
            };
            for rep in reps {
                let part = match (path.component, path.subcomponent) {
                    (0, _) => rep,
                    (component, 0) => rep.component(component),
                    (component, sub) => rep.component(component).subcomponent(sub),
                };
                if part.is_null() || (path.component == 0 && field.is_null()) {
                    out.push(Item::Null);
                } else if part.is_valued() {
                    let rep = Rep::of_part(part);
                    out.push(if rep.is_null() { Item::Null } else { Item::V2(rep) });
                } else if has_lines && at.is_none() {
                    out.push(blank.clone());
                }
            }
        }
        // Blank lines alone are no text.
        let is_blank = |item: &Item<'_>| matches!(item, Item::V2(rep) if rep.is_empty());
        if out.iter().all(is_blank) { Vec::new() } else { out }
    }

    pub(super) fn reps(&self, expr: &Expr, scope: &Scope, owner: Option<usize>) -> Vec<Rep<'a>> {
        let items = self.items(expr, scope, owner).into_iter();
        items
            .filter_map(|item| match item {
                Item::V2(rep) => Some(rep),
                Item::Fhir(..) => Some(Rep::of(item.text())),
                Item::Null | Item::Resource(..) => None,
            })
            .collect()
    }

    fn args<'c>(&self, call: &'c Call, scope: &Scope, owner: Option<usize>) -> Args<'c>
    where
        'a: 'c,
    {
        let named = call.named.iter().map(|(name, value)| {
            let reps: Vec<Rep<'c>> = self.reps(value, scope, owner);
            (name.as_str(), reps)
        });
        let plain = call.plain.iter().filter(|value| !matches!(value, Expr::Name(_)));
        let plain = plain.map(|value| self.reps(value, scope, owner));
        Args { plain: plain.collect(), named: named.collect() }
    }

    fn piped(
        &self,
        before: Vec<Item<'a>>,
        call: &Call,
        scope: &Scope,
        owner: Option<usize>,
    ) -> Vec<Item<'a>> {
        let Some(func) = func::find(&call.name) else { return Vec::new() };
        if let Work::Built = func.work {
            return self.built(before, call, scope, owner);
        }
        let args = self.args(call, scope, owner);
        let kind = match func.gives {
            Gives::Fhir(kind) => kind,
            _ => "Coding",
        };
        let mut out = Vec::new();
        for item in before {
            let rep = match item {
                Item::V2(rep) => rep,
                Item::Null => {
                    out.push(Item::Null);
                    continue;
                }
                Item::Fhir(..) => Rep::of(item.text()),
                Item::Resource(..) => continue,
            };
            match func.work {
                Work::Each(work) => {
                    let value = work(&rep, &args, self.context);
                    let kind = if func.gives == Gives::Coded { CODED } else { kind };
                    out.extend(value.map(|value| Item::Fhir(kind, value)));
                }
                Work::Several(work) => {
                    let values = work(&rep, &args, self.context).into_iter();
                    out.extend(values.map(|value| Item::Fhir(kind, value)));
                }
                Work::Text(work) => {
                    out.extend(work(rep.c(1), self.context).map(|it| Item::Fhir(kind, it)));
                }
                Work::Resource(work) => {
                    let Gives::Resource(kind) = func.gives else { continue };
                    out.extend(work(&rep, self.context).map(|body| Item::Resource(kind, body)));
                }
                Work::Built => {}
            }
        }
        out
    }

    fn call(&self, call: &Call, scope: &Scope, owner: Option<usize>) -> Vec<Item<'a>> {
        let number = |count: usize| vec![Item::V2(Rep::of(count.to_string()))];
        let plain = |at: usize| call.plain.get(at);
        let text = |at: usize| plain(at).map(|it| self.text(it, scope, owner)).unwrap_or_default();
        match &*call.name {
            "ref" | "refs" => {
                let Some(Expr::Name(name)) = plain(0) else { return Vec::new() };
                let all: Vec<_> = match &*call.name {
                    "ref" => self.find(name, scope, owner).into_iter().collect(),
                    _ => self.children(name, owner),
                };
                let reference = |it: &Instance<'_>| Object::new().with("reference", it.url.clone());
                all.into_iter().map(|it| Item::Fhir("Reference", reference(it).into())).collect()
            }
            "logical" => {
                let ids = plain(1).map(|it| self.items(it, scope, owner)).unwrap_or_default();
                let kind = text(0);
                let of = |item| match item {
                    Item::Fhir(_, id) => {
                        let body = Object::new().with("type", kind.clone()).with("identifier", id);
                        Some(Item::Fhir("Reference", body.into()))
                    }
                    _ => None,
                };
                ids.into_iter().filter_map(of).collect()
            }
            "ids" => {
                let parts = call.plain.iter().map(|it| {
                    let all = self.items(it, scope, owner);
                    all.iter().map(super::built::joined).collect::<Vec<_>>().join("~")
                });
                let parts: Vec<_> = parts.collect();
                let is_empty = parts.iter().all(|part| part.is_empty() || part == NTH);
                if is_empty { Vec::new() } else { vec![Item::V2(Rep::of(parts.join("\u{1}")))] }
            }
            "notes" => self.notes(scope),
            "period" => {
                let found = time::period_of(&text(0), &text(1), self.context);
                found.map(|value| Item::Fhir("Period", value)).into_iter().collect()
            }
            "lasting" | "ends" => self.lasting(call, scope, owner),
            "count" => number(plain(0).map_or(0, |it| self.reps(it, scope, owner).len())),
            "len" => number(text(0).chars().count()),
            _ => Vec::new(),
        }
    }

    /// From a start and how long it lasts: the Period, or its end.
    fn lasting(&self, call: &Call, scope: &Scope, owner: Option<usize>) -> Vec<Item<'a>> {
        let text = |at: usize| {
            call.plain.get(at).map(|it| self.text(it, scope, owner)).unwrap_or_default()
        };
        let unit = call.named.first().map(|(_, it)| self.text(it, scope, owner));
        let unit = vec![("unit", vec![Rep::of(unit.unwrap_or_default())])];
        let args = Args { plain: Vec::new(), named: unit };
        let (start, length) = (text(0), text(1));
        let minutes = timing::minutes(&Rep::of(length.clone()), &args, self.context);
        let minutes = minutes.and_then(|it| it.as_number().and_then(|it| it.parse().ok()));
        let minutes = minutes.or_else(|| (length == "0").then_some(0));
        let mut found = time::lasting(&start, minutes, self.context);
        if call.name == "ends" {
            let end = found.remove("end");
            return end.map(|end| Item::Fhir("instant", end)).into_iter().collect();
        }
        if found.is_empty() { Vec::new() } else { vec![Item::Fhir("Period", found.into())] }
    }

    /// The notes that hang on the segment at hand, an Annotation for each.
    fn notes(&self, scope: &Scope) -> Vec<Item<'a>> {
        let mut out = Vec::new();
        for segment in scope.inside("NTE", self.message) {
            let at = segment.position();
            if scope.is_group.first() == Some(&true) && scope::owner(at, self.message) {
                continue;
            }
            let lines = segment.field(3).repetitions().map(|part| part.text().into_owned());
            let lines = lines.collect::<Vec<_>>().join("\n");
            if segment.field(3).is_null() {
                // What was noted before is to go.
                out.push(Item::Null);
                continue;
            }
            if lines.trim().is_empty() {
                continue;
            }
            let author = segment.field(5).repetition(1);
            let author = author.is_valued().then(|| self.author(&Rep::of_part(author))).flatten();
            let when = time::datetime(&segment.field(6).text(), self.context);
            let read =
                [((at, 3, 0), true), ((at, 5, 1), author.is_some()), ((at, 6, 0), when.is_some())];
            self.reads(read.into_iter().filter(|(_, is_made)| *is_made).map(|(read, _)| read));
            let note = Object::new().with_some("authorReference", author);
            let note = note.with_some("time", when).with("text", lines);
            out.push(Item::Fhir("Annotation", note.into()));
        }
        out
    }

    /// The resource of this name that the one at hand means: its own, its parent, the one that
    /// shares most of its scope, the first.
    fn find(&self, name: &str, scope: &Scope, owner: Option<usize>) -> Option<&Instance<'a>> {
        let mut next = owner;
        while let Some(at) = next {
            let instance = self.instances.get(at)?;
            if instance.rule.name == name {
                return Some(instance);
            }
            next = instance.parent;
        }
        let all = || self.instances.iter().filter(|instance| instance.rule.name == name);
        // What leads the group at hand is nearer than all else that is not in it.
        let leads = |it: &&Instance<'_>| {
            scope.lead.is_some_and(|lead| it.scopes().any(|own| own.inner().start == lead))
        };
        if let Some(found) = all().find(leads) {
            return Some(found);
        }
        for range in &scope.ranges {
            let inside = |it: &&Instance<'_>| {
                it.scopes()
                    .map(Scope::inner)
                    .any(|own| range.start <= own.start && own.end <= range.end)
            };
            if let Some(found) = all().find(inside) {
                return Some(found);
            }
        }
        let start = scope.inner().start;
        all().rfind(|it| it.scope.inner().start <= start).or_else(|| all().next())
    }

    /// The resources of this name whose parent is the one at hand, and those that it holds.
    fn children(&self, name: &str, owner: Option<usize>) -> Vec<&Instance<'a>> {
        let all = self.instances.iter().filter(|instance| instance.rule.name == name);
        let own = owner.and_then(|owner| self.instances.get(owner));
        all.filter(|it| it.parent == owner || own.is_some_and(|own| own.holds(it))).collect()
    }

    /// Whether a condition holds.
    pub(crate) fn holds(&self, expr: &Expr, scope: &Scope, owner: Option<usize>) -> bool {
        self.quietly(|| self.truth(expr, scope, owner))
    }

    /// What `read` gives, with none of what it reads counted as read.
    pub(crate) fn quietly<T>(&self, read: impl FnOnce() -> T) -> T {
        let was = self.context.quiet.replace(true);
        let found = read();
        self.context.quiet.set(was);
        found
    }

    /// Whether a value that `when` asks for is told to go, so that what is made of it goes.
    pub(crate) fn is_ended(&self, when: &Expr, value: &Expr, scope: &Scope, owner: usize) -> bool {
        if !self.message.has_nulls() {
            return false;
        }
        self.context.counts_nulls.set(true);
        let would_hold = self.holds(when, scope, Some(owner));
        self.context.counts_nulls.set(false);
        let read = self.read_so_far();
        let is_ended =
            would_hold && matches!(&*self.items(value, scope, Some(owner)), [Item::Null, ..]);
        if !is_ended {
            self.forget(read);
        }
        is_ended
    }

    fn truth(&self, expr: &Expr, scope: &Scope, owner: Option<usize>) -> bool {
        match expr {
            Expr::Not(inner) => !self.truth(inner, scope, owner),
            Expr::Binary(Operator::And, left, right) => {
                self.truth(left, scope, owner) && self.truth(right, scope, owner)
            }
            Expr::Binary(Operator::Or, left, right) => {
                self.truth(left, scope, owner) || self.truth(right, scope, owner)
            }
            Expr::Binary(operator, left, right) => {
                self.compare(*operator, left, right, scope, owner)
            }
            Expr::Call(call) => {
                let first = call.plain.first();
                let items = || first.map(|it| self.items(it, scope, owner)).unwrap_or_default();
                match &*call.name {
                    "valued" => {
                        let has_all = self.context.counts_nulls.get();
                        items().iter().any(|item| has_all || !matches!(item, Item::Null))
                    }
                    "null" => items().iter().any(|item| matches!(item, Item::Null)),
                    "timed" => items().first().is_some_and(|item| time::has_time(&item.text())),
                    "led" => scope.lead.is_some(),
                    "is_us" => self.context.site.is_us,
                    "says_us" => self.context.site.says_us,
                    "after" => matches!(first, Some(Expr::Path(path))
                        if scope.is_after(path.segment.as_str(), self.message)),
                    _ => !items().is_empty(),
                }
            }
            _ => !self.items(expr, scope, owner).is_empty(),
        }
    }

    fn compare(
        &self,
        operator: Operator,
        left: &Expr,
        right: &Expr,
        scope: &Scope,
        owner: Option<usize>,
    ) -> bool {
        let one = self.text(left, scope, owner);
        if operator == Operator::In {
            return self.items(right, scope, owner).iter().any(|item| item.text() == one);
        }
        let other = self.text(right, scope, owner);
        let numbers = one.parse::<f64>().ok().zip(other.parse::<f64>().ok());
        match operator {
            Operator::Equal => one == other,
            Operator::Unequal => one != other,
            Operator::Less => numbers.is_some_and(|(one, other)| one < other),
            Operator::LessOrEqual => numbers.is_some_and(|(one, other)| one <= other),
            Operator::More => numbers.is_some_and(|(one, other)| one > other),
            Operator::MoreOrEqual => numbers.is_some_and(|(one, other)| one >= other),
            Operator::And | Operator::In | Operator::Or | Operator::Plus => false,
        }
    }
}

/// The type of a Coding that may stand as its code alone.
pub(crate) const CODED: &str = "Coded";
