//! Expressions on a message: values, conditions, keys.

use std::cell::RefCell;
use std::collections::HashSet;

use crate::fhir::json::Object;
use crate::hl7v2::er7::{Index, Message, Path, Segment};
use crate::hl7v2::types::{Args, Context, Json, Rep, attach, obx, time};

use super::expr::{Call, Expr, Operator};
use super::func::{self, Gives, Work};
use super::instance::Instance;
use super::scope::{self, Group, Scope};

/// One value of an expression.
#[derive(Clone, Debug)]
pub enum Item<'m> {
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
    pub fn text(&self) -> String {
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
pub const NTH: &str = "\u{0}";

/// What expressions are evaluated on.
pub struct Eval<'a> {
    /// The message.
    pub message: &'a Message<'a>,
    /// What functions may ask.
    pub context: &'a Context<'a>,
    /// The groups of the message.
    pub groups: &'a [Group],
    /// The resources that the message makes, as far as they are known.
    pub instances: &'a [Instance<'a>],
    /// Which fields were read: segment and field.
    pub used: &'a RefCell<HashSet<(usize, u16)>>,
}

impl<'a> Eval<'a> {
    /// The values of an expression. `owner`: the place of the resource at hand among the instances.
    pub fn items(&self, expr: &Expr, scope: &Scope, owner: Option<usize>) -> Vec<Item<'a>> {
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

    fn text(&self, expr: &Expr, scope: &Scope, owner: Option<usize>) -> String {
        self.items(expr, scope, owner).first().map(Item::text).unwrap_or_default()
    }

    fn segments(&self, path: &Path, scope: &Scope) -> Vec<Segment<'a>> {
        let mut found = scope.see(path.segment, self.groups, self.message);
        match path.occurrence {
            Index::First => found.truncate(1),
            Index::At(at) => {
                found = found.into_iter().skip(usize::from(at).saturating_sub(1)).take(1).collect();
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
            let field = segment.field(path.field);
            if !field.is_valued() && !field.is_null() {
                continue;
            }
            if !self.context.quiet.get() {
                self.used.borrow_mut().insert((segment.position(), path.field));
            }
            let own = scope
                .repetition
                .filter(|(own, _)| own.segment == path.segment && own.field == path.field);
            let reps = match path.repetition {
                Index::First => vec![field.repetition(own.map_or(1, |(_, at)| at))],
                Index::At(at) => vec![field.repetition(at)],
                Index::All => field.repetitions().collect(),
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
                }
            }
        }
        out
    }

    fn reps(&self, expr: &Expr, scope: &Scope, owner: Option<usize>) -> Vec<Rep<'a>> {
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

    fn built(
        &self,
        before: Vec<Item<'a>>,
        call: &Call,
        scope: &Scope,
        owner: Option<usize>,
    ) -> Vec<Item<'a>> {
        let first = |name: &str| {
            let value = call.named.iter().find(|(own, _)| own == name);
            value.and_then(|(_, value)| self.reps(value, scope, owner).into_iter().next())
        };
        match &*call.name {
            "or" if before.iter().any(|item| !matches!(item, Item::Null)) => before,
            "or" => {
                let other = call.plain.iter().flat_map(|other| self.items(other, scope, owner));
                let other: Vec<_> = other.collect();
                if other.is_empty() { before } else { other }
            }
            "first" => before.into_iter().take(1).collect(),
            "fail" => before,
            "trusted" => trusted(before, self.context),
            "join" => {
                let between = call.plain.first().map(|it| self.text(it, scope, owner));
                let between = between.unwrap_or_default();
                let texts = before.iter().filter_map(|item| match item {
                    Item::V2(rep) => Some(rep.joined(" ")),
                    Item::Fhir(..) => Some(item.text()),
                    _ => None,
                });
                let joined = texts.collect::<Vec<_>>().join(&between);
                if joined.is_empty() { Vec::new() } else { vec![Item::V2(Rep::of(joined))] }
            }
            "mapped" => self.mapped(&before, call, scope, owner),
            "text" => of_each(before, "string", |rep| {
                Some(rep.joined(" ")).filter(|text| !text.is_empty()).map(Json::from)
            }),
            "yesno" => of_each(before, "boolean", |rep| match rep.c(1) {
                "Y" | "y" | "1" => Some(true.into()),
                "N" | "n" | "0" => Some(false.into()),
                _ => None,
            }),
            "cc" => before.into_iter().filter_map(concept).collect(),
            "code" => of_each(before, "code", |rep| text_of(rep.text())),
            "coding" => {
                let system = call.plain.first().map(|it| self.text(it, scope, owner));
                before.into_iter().filter_map(|item| coded(item, system.as_deref())).collect()
            }
            "dar" => of_each(before, "CodeableConcept", |rep| {
                let coding =
                    Object::new().with("system", DATA_ABSENT).with("code", rep.text().to_owned());
                Some(Object::new().with("coding", vec![coding.into()]).into())
            }),
            "annotation" => {
                let author = first("author").and_then(|rep| self.author(&rep));
                let time = first("time").and_then(|rep| time::datetime(rep.c(1), self.context));
                of_each(before, "Annotation", |rep| {
                    let note = Object::new().with_some("authorReference", author.clone());
                    let note = note.with_some("time", time.clone());
                    Some(note.with("text", rep.joined(" ")).into())
                })
            }
            "ref" => before
                .into_iter()
                .filter_map(|item| match item {
                    Item::Resource(kind, body) => self.context.refer(kind, body),
                    _ => None,
                })
                .map(|reference| Item::Fhir("Reference", reference))
                .collect(),
            "obx_value" => {
                let reps: Vec<_> = raw(&before);
                let kind = first("type").map(|rep| rep.c(1).to_owned()).unwrap_or_default();
                let unit = first("unit");
                let found = obx::values(&reps, &kind, unit.as_ref(), self.context);
                found.into_iter().map(|(kind, value)| Item::Fhir(kind, value)).collect()
            }
            "attachment" => {
                let kind = first("type").map(|rep| rep.c(1).to_owned()).unwrap_or_default();
                let args = Args::default();
                of_each(before, "Attachment", |rep| match &*kind {
                    "RP" => attach::rp(rep, &args, self.context),
                    _ => attach::ed(rep, &args, self.context),
                })
            }
            "plain" => {
                let found = attach::plain(&raw(&before));
                found.into_iter().map(|value| Item::Fhir("Attachment", value)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// `X | mapped('A', 'text', 'B', 'other')`: a text for each of a few words, else nothing.
    fn mapped(
        &self,
        before: &[Item<'a>],
        call: &Call,
        scope: &Scope,
        owner: Option<usize>,
    ) -> Vec<Item<'a>> {
        let word = before.first().map(Item::text).unwrap_or_default();
        let pairs = call.plain.chunks(2).filter(|pair| pair.len() == 2);
        let found = pairs.into_iter().find(|pair| self.text(&pair[0], scope, owner) == word);
        let found = found.map(|pair| self.text(&pair[1], scope, owner));
        found.map(|text| Item::V2(Rep::of(text))).into_iter().collect()
    }

    /// Who wrote a note, by the XCN that says so.
    fn author(&self, rep: &Rep<'_>) -> Option<Json> {
        let body = crate::hl7v2::types::name::xcn(rep, self.context)?;
        self.context.refer("Practitioner", body)
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
                    all.iter().map(joined).collect::<Vec<_>>().join("~")
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
            "lasting" => {
                let unit = call.named.first().map(|(_, it)| self.text(it, scope, owner));
                let unit = vec![("unit", vec![Rep::of(unit.unwrap_or_default())])];
                let args = Args { plain: Vec::new(), named: unit };
                let length = text(1);
                let minutes =
                    crate::hl7v2::types::timing::minutes(&Rep::of(length), &args, self.context);
                let minutes = minutes.and_then(|it| it.as_number().and_then(|it| it.parse().ok()));
                let found = time::lasting(&text(0), minutes, self.context);
                if found.is_empty() { Vec::new() } else { vec![Item::Fhir("Period", found.into())] }
            }
            "count" => number(plain(0).map_or(0, |it| self.reps(it, scope, owner).len())),
            "len" => number(text(0).chars().count()),
            _ => Vec::new(),
        }
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
            if lines.trim().is_empty() || segment.field(3).is_null() {
                continue;
            }
            self.used.borrow_mut().extend([1, 2, 3, 4, 5, 6].map(|field| (at, field)));
            let author = segment.field(5).repetition(1);
            let author = author.is_valued().then(|| self.author(&Rep::of_part(author))).flatten();
            let when = time::datetime(&segment.field(6).text(), self.context);
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
        for range in &scope.ranges {
            let inside = |it: &&Instance<'_>| {
                let own = it.scope.inner();
                range.start <= own.start && own.end <= range.end
            };
            if let Some(found) = all().find(inside) {
                return Some(found);
            }
        }
        let start = scope.inner().start;
        all().filter(|it| it.scope.inner().start <= start).last().or_else(|| all().next())
    }

    /// The resources of this name whose parent is the one at hand, or all when it has none such.
    fn children(&self, name: &str, owner: Option<usize>) -> Vec<&Instance<'a>> {
        let all = self.instances.iter().filter(|instance| instance.rule.name == name);
        let range = owner.and_then(|owner| self.instances.get(owner)).map(|it| it.scope.inner());
        all.filter(|it| {
            let own = it.scope.inner();
            it.parent == owner
                || range
                    .as_ref()
                    .is_some_and(|range| range.start <= own.start && own.end <= range.end)
        })
        .collect()
    }

    /// Whether a condition holds.
    pub fn holds(&self, expr: &Expr, scope: &Scope, owner: Option<usize>) -> bool {
        let was = self.context.quiet.replace(true);
        let found = self.truth(expr, scope, owner);
        self.context.quiet.set(was);
        found
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
                    "valued" => items().iter().any(|item| !matches!(item, Item::Null)),
                    "null" => items().iter().any(|item| matches!(item, Item::Null)),
                    "timed" => items().first().is_some_and(|item| time::has_time(&item.text())),
                    "is_us" => self.context.site.is_us,
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
pub const CODED: &str = "Coded";

fn raw<'r, 'm>(items: &'r [Item<'m>]) -> Vec<&'r Rep<'m>> {
    let reps = items.iter().map(|item| match item {
        Item::V2(rep) => Some(rep),
        _ => None,
    });
    reps.flatten().collect()
}

fn joined(item: &Item<'_>) -> String {
    match item {
        Item::V2(rep) => rep.joined("^"),
        other => other.text(),
    }
}

fn of_each<'m>(
    items: Vec<Item<'m>>,
    kind: &'static str,
    work: impl Fn(&Rep<'m>) -> Option<Json>,
) -> Vec<Item<'m>> {
    let each = |item| match item {
        Item::V2(rep) => work(&rep).map(|value| Item::Fhir(kind, value)),
        Item::Null => Some(Item::Null),
        Item::Fhir(..) | Item::Resource(..) => None,
    };
    items.into_iter().filter_map(each).collect()
}

fn concept(item: Item<'_>) -> Option<Item<'_>> {
    match item {
        Item::Fhir(CODED, coding) => {
            let concept = Object::new().with("coding", vec![coding]);
            Some(Item::Fhir("CodeableConcept", concept.into()))
        }
        Item::V2(rep) => {
            let text = Object::new().with("text", rep.joined(" "));
            Some(Item::Fhir("CodeableConcept", text.into()))
        }
        Item::Null => Some(Item::Null),
        Item::Fhir(..) | Item::Resource(..) => None,
    }
}

fn coded<'m>(item: Item<'m>, system: Option<&str>) -> Option<Item<'m>> {
    match item {
        Item::Fhir(CODED, coding) => Some(Item::Fhir("Coding", coding)),
        Item::V2(rep) => {
            let coding = Object::new().with_some("system", system.map(str::to_owned));
            let coding = coding.with("code", rep.text().to_owned());
            Some(Item::Fhir("Coding", coding.into()))
        }
        Item::Null => Some(Item::Null),
        Item::Fhir(..) | Item::Resource(..) => None,
    }
}

const DATA_ABSENT: &str = "http://terminology.hl7.org/CodeSystem/data-absent-reason";

fn text_of(text: &str) -> Option<Json> {
    Some(text).filter(|text| !text.is_empty()).map(|text| text.to_owned().into())
}

/// Types of identifiers that say who somebody is.
const PERSONAL: [&str; 5] = ["MR", "PI", "EPI", "PT", "MPI"];

/// The identifiers of authorities that are trusted; where the site trusts none of them, those of a
/// type that says who somebody is, and else the first.
fn trusted<'m>(items: Vec<Item<'m>>, context: &Context<'_>) -> Vec<Item<'m>> {
    let systems = || context.site.authorities.values();
    let is_trusted = |item: &Item<'_>| {
        matches!(item, Item::Fhir(_, id) if systems().any(|own| {
            own.trusted && id.str_at("system") == Some(own.system.as_str())
        }))
    };
    let is_personal = |item: &Item<'_>| {
        let Item::Fhir(_, id) = item else { return false };
        let coding = id.get("type").and_then(|kind| kind.items_at("coding").first());
        coding.and_then(|it| it.str_at("code")).is_some_and(|code| PERSONAL.contains(&code))
    };
    if items.iter().any(is_trusted) {
        return items.into_iter().filter(is_trusted).collect();
    }
    if items.iter().any(is_personal) {
        return items.into_iter().filter(is_personal).collect();
    }
    items.into_iter().take(1).collect()
}
