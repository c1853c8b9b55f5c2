//! Functions that the evaluator works itself: they look at several values, or at other fields.

use crate::fhir::json::Object;
use crate::hl7v2::types::{Args, Context, Json, NoteKind, Rep, attach, code, name, obx, time};

use super::eval::{CODED, Eval, Item};
use super::expr::Call;
use super::scope::Scope;
use super::site::Habit;

impl<'a> Eval<'a> {
    /// Functions after a bar that the evaluator works itself.
    pub(super) fn built(
        &self,
        before: Vec<Item<'a>>,
        call: &Call,
        scope: &Scope,
        owner: Option<usize>,
    ) -> Vec<Item<'a>> {
        match &*call.name {
            "or" if before.iter().any(|item| !matches!(item, Item::Null)) => before,
            "or" => {
                let other = call.plain.iter().flat_map(|other| self.items(other, scope, owner));
                let other: Vec<_> = other.collect();
                if !before.is_empty() && !other.is_empty() {
                    let what = "it is to go, and something must be there";
                    self.context.note(NoteKind::Kept, what);
                }
                if other.is_empty() { before } else { other }
            }
            "first" => before.into_iter().take(1).collect(),
            "fail" => before,
            "trusted" => trusted(before, self.context),
            "unless" => self.unless(before, call, scope, owner),
            "visit_number" if self.context.site.has(Habit::VisitByAccount) => before,
            "visit_number" => Vec::new(),
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
            "known_as" => before.into_iter().filter_map(known_as).collect(),
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
            _ => self.made(before, call, scope, owner),
        }
    }

    /// `X | unless(Y)`: X where Y has no value.
    fn unless(
        &self,
        before: Vec<Item<'a>>,
        call: &Call,
        scope: &Scope,
        owner: Option<usize>,
    ) -> Vec<Item<'a>> {
        let mut others = call.plain.iter().flat_map(|other| self.items(other, scope, owner));
        let is_there = others.any(|other| !matches!(other, Item::Null));
        if is_there { Vec::new() } else { before }
    }

    /// Those of them that make values of FHIR with the help of other fields.
    fn made(
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
            "annotation" => {
                let author = first("author").and_then(|rep| self.author(&rep));
                let time = first("time").and_then(|rep| time::datetime(rep.c(1), self.context));
                of_each(before, "Annotation", |rep| {
                    let words = rep.joined(" ");
                    if words.trim().is_empty() {
                        return None;
                    }
                    let note = Object::new().with_some("authorReference", author.clone());
                    let note = note.with_some("time", time.clone());
                    Some(note.with("text", words).into())
                })
            }
            "ref" => before
                .into_iter()
                .filter_map(|item| match item {
                    Item::Resource(kind, body) => {
                        let reference = self.context.refer(kind, body);
                        reference.map(|reference| Item::Fhir("Reference", reference))
                    }
                    // Who was referred to is to go.
                    Item::Null => Some(Item::Null),
                    _ => None,
                })
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
        let mut pairs = call.plain.chunks(2).filter(|pair| pair.len() == 2);
        let found = pairs.find(|pair| self.text(&pair[0], scope, owner) == word);
        let found = found.map(|pair| self.text(&pair[1], scope, owner));
        found.map(|text| Item::V2(Rep::of(text))).into_iter().collect()
    }

    /// Who wrote a note, by the XCN that says so.
    pub(super) fn author(&self, rep: &Rep<'_>) -> Option<Json> {
        let body = name::xcn(rep, self.context)?;
        self.context.refer("Practitioner", body)
    }
}

/// By what a thing is known that has this name.
fn known_as(item: Item<'_>) -> Option<Item<'_>> {
    match item {
        Item::V2(rep) => code::known_as(&rep).map(|text| Item::V2(Rep::of(text))),
        Item::Fhir(..) | Item::Null | Item::Resource(..) => None,
    }
}

fn raw<'r, 'm>(items: &'r [Item<'m>]) -> Vec<&'r Rep<'m>> {
    let reps = items.iter().map(|item| match item {
        Item::V2(rep) => Some(rep),
        _ => None,
    });
    reps.flatten().collect()
}

pub(super) fn joined(item: &Item<'_>) -> String {
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
/// type that says who somebody is, and else all, so that their order says nothing. Those of an authority
/// that the site distrusts never count.
fn trusted<'m>(items: Vec<Item<'m>>, context: &Context<'_>) -> Vec<Item<'m>> {
    let is_of = |item: &Item<'_>, trusted: bool| {
        let mut all = context.site.authorities.values().filter(|own| own.trusted == Some(trusted));
        matches!(item, Item::Fhir(_, id)
            if all.any(|own| id.str_at("system") == Some(own.system.as_str())))
    };
    let is_trusted = |item: &Item<'_>| is_of(item, true);
    let items: Vec<_> = items.into_iter().filter(|item| !is_of(item, false)).collect();
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
    items
}
