//! A resource while it is written: its elements, and what a message says of lists beside their entries.

use std::collections::HashSet;

use crate::fhir::json::Object;
use crate::hl7v2::effect::part::{Part, Removal, has, mark};
use crate::hl7v2::er7::{Message, Part as Field};
use crate::hl7v2::types::{Json, id};

use super::draft::{Drafting, Problem, Write};
use super::element::{Element, Select, Step, Writer};
use super::eval::{Eval, Read};
use super::instance::Key;
use super::rules::{Acts, Rule};
use super::scope::Scope;

/// Of what an element is made.
pub(super) struct From {
    pub(super) sources: Vec<String>,
    pub(super) segments: Vec<usize>,
    /// The id of its entry, where a code says what becomes of it.
    pub(super) mark: Option<String>,
}

impl From {
    /// The value with its id; values after the first have a number behind it.
    pub(super) fn marked(&self, at: usize, value: Json) -> Json {
        match (&self.mark, value) {
            (Some(mark), Json::Object(mut value)) => {
                let number = if at == 0 { String::new() } else { format!("-{}", at + 1) };
                value.set_first("id", format!("{mark}{number}"));
                Json::Object(value)
            }
            (_, value) => value,
        }
    }
}

/// What a code asks for: of table 0206, or of 0287 for problems and goals.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Deed {
    /// It is new.
    Add,
    /// It is one of all there are.
    All,
    /// It is brought up to date.
    Change,
    /// It is deleted.
    Delete,
    /// Nothing.
    Leave,
    /// It is told of for the sake of others.
    Unchanged,
    /// It is there no longer, where it was with others.
    Unlink,
}

impl Deed {
    /// What is asked for; `None`: no code of the tables.
    fn of(code: &str) -> Option<Self> {
        Some(match code {
            "A" | "AD" | "LI" => Self::Add,
            "CO" | "U" | "UP" => Self::Change,
            "D" | "DE" | "DEL" => Self::Delete,
            "S" => Self::All,
            "UC" => Self::Unchanged,
            "UN" => Self::Unlink,
            "X" => Self::Leave,
            _ => return None,
        })
    }

    /// The same for a whole resource, in a code of table 0206. What is linked to nothing any more is itself as it
    /// was, and what is told of for the sake of others is made where it is not known.
    pub(super) fn word(code: String) -> String {
        let word = match Self::of(&code) {
            Some(Self::Add) => "A",
            Some(Self::All) => "S",
            Some(Self::Change) => "U",
            Some(Self::Delete) => "D",
            Some(Self::Leave) => "X",
            Some(Self::Unchanged | Self::Unlink) | None => return code,
        };
        word.to_owned()
    }
}

/// What becomes of an entry of a list.
pub(super) enum Act {
    /// It is deleted.
    Gone(String),
    /// Nothing.
    Kept,
    /// It is made, or brought up to date.
    Told(String),
    /// It is one of all there are.
    All(Option<String>),
    /// No code says so.
    Plain,
}

/// A resource while it is written.
#[derive(Default)]
pub(super) struct Writing {
    pub(super) writer: Writer,
    pub(super) writes: Vec<Write>,
    pub(super) removed: Vec<Removal>,
    pub(super) parts: Vec<Part>,
    /// The ids of entries so far.
    marks: Vec<String>,
}

impl Writing {
    pub(super) fn remove(&mut self, removal: Removal) {
        if !self.removed.contains(&removal) {
            self.removed.push(removal);
        }
    }

    /// The extension of which nothing is left but its url, for its value is to go.
    pub(super) fn ended_extension(&self) -> Option<Removal> {
        let url = self.writer.body.get("url").and_then(Json::as_str)?;
        (self.writer.body.len() == 1 && !self.removed.is_empty())
            .then(|| Removal::from(format!("extension[{url}]").as_str()))
    }

    /// What is said of the list that an element is an entry of.
    pub(super) fn part(&mut self, element: &Element) -> &mut Part {
        let name = element.steps.first().map_or("", |step| step.key.as_str());
        let known = self.parts.iter().position(|part| part.element == name);
        let at = known.unwrap_or_else(|| {
            self.parts.push(Part { element: name.to_owned(), ..Part::default() });
            self.parts.len() - 1
        });
        &mut self.parts[at]
    }

    /// Whether an entry is made, by what is to become of it.
    pub(super) fn enters(&mut self, element: &Element, act: &Act) -> bool {
        match act {
            Act::Gone(mark) => self.part(element).gone.push(mark.clone()),
            Act::Kept => {
                self.part(element);
            }
            Act::All(_) | Act::Plain | Act::Told(_) => return true,
        }
        false
    }

    /// The id of an entry that is made.
    pub(super) fn mark(&mut self, element: &Element, act: Act) -> Option<String> {
        match act {
            Act::Told(mark) => {
                self.part(element);
                Some(self.fresh(mark))
            }
            Act::All(mark) => {
                self.part(element).is_all = true;
                mark.map(|mark| self.fresh(mark))
            }
            Act::Gone(_) | Act::Kept | Act::Plain => None,
        }
    }

    /// The id of an entry, with a number behind it where the message tells of it more than once.
    fn fresh(&mut self, mark: String) -> String {
        let before = self.marks.iter().filter(|known| **known == mark).count();
        self.marks.push(mark.clone());
        if before == 0 { mark } else { format!("{mark}-{}", before + 1) }
    }

    /// Notes of which slots of lists nothing is said: their fields are empty.
    pub(super) fn note_silent(&mut self, rules: &[Rule]) {
        for rule in rules {
            let Some(Step { key, is_list: true, select }) = rule.element.steps.first() else {
                continue;
            };
            // Lists of which each entry says whose it is.
            if matches!(key.as_str(), "extension" | "identifier" | "modifierExtension") {
                continue;
            }
            let own = match select {
                Select::Slot(_, slot) => std::slice::from_ref(slot),
                Select::Any | Select::At(_) => rule.keeps.as_slice(),
            };
            let is_told = !rule.keeps.is_empty() && self.writes.iter().any(|it| it.rule == rule.id);
            for slot in own.iter().filter(|_| !is_told) {
                if self.is_silent(key, slot) {
                    self.part(&rule.element).silent.push(slot.clone());
                }
            }
            if !own.is_empty() {
                self.part(&rule.element);
            }
        }
    }

    /// Whether nothing is said of the entries of a list that have this.
    fn is_silent(&self, key: &str, slot: &Object<'static>) -> bool {
        let entries = self.writer.body.get(key).and_then(Json::as_array).unwrap_or_default();
        let mut entries = entries.iter().filter_map(Json::as_object);
        let is_ended = |one: &Removal| {
            let element = one.path.split(['[', '.']).next();
            element == Some(key) && one.slot.as_ref() == Some(slot)
        };
        let known = self.parts.iter().find(|part| part.element == key);
        !entries.any(|entry| has(entry, slot))
            && !self.removed.iter().any(is_ended)
            && !known.is_some_and(|part| part.silent.contains(slot))
    }
}

impl<'a> Drafting<'a> {
    /// What becomes of the entry that a rule makes of the segment at hand.
    pub(super) fn act(&self, eval: &Eval<'a>, acts: &Acts, scope: &Scope, owner: usize) -> Act {
        let code = eval.quietly(|| eval.text(&acts.action, scope, Some(owner)));
        let known_by = || {
            let read = eval.read_so_far();
            let text = eval.text(&acts.key, scope, Some(owner));
            // A key says which entry it is; what is in that is written by rules.
            eval.forget(read);
            let is_known = text.chars().any(|c| !c.is_control() && c != '^' && c != '~');
            is_known.then(|| mark(&id::digest(&[&self.context.sender, &text])))
        };
        let act = match Deed::of(&code) {
            Some(Deed::Add | Deed::Change) => known_by().map(Act::Told),
            Some(Deed::Delete | Deed::Unlink) => Some(known_by().map_or(Act::Kept, Act::Gone)),
            Some(Deed::Leave | Deed::Unchanged) => Some(Act::Kept),
            Some(Deed::All) => Some(Act::All(known_by())),
            None => None,
        };
        let act = act.unwrap_or(Act::Plain);
        if let Act::Gone(_) | Act::Kept = act {
            // What else it says needs no rule.
            let segments = scope.see(acts.segment, &self.rule.groups, self.message);
            if let Some(segment) = segments.first() {
                let fields =
                    segment.fields().map(|part| (segment.position(), part.place().field, 0));
                eval.used.borrow_mut().extend(fields);
            }
        }
        act
    }

    /// Notes that the code of an entry that was made has had its effect.
    pub(super) fn acted(&self, eval: &Eval<'a>, acts: &Acts, scope: &Scope, writes: &mut [Write]) {
        let seen = scope.see(acts.segment, &self.rule.groups, self.message);
        let Some(segment) = seen.first() else { return };
        let own = acts.action.paths().into_iter().filter(|path| path.segment == acts.segment);
        for path in own.filter(|path| segment.field(path.field).is_valued()) {
            eval.used.borrow_mut().push((segment.position(), path.field, 0));
            for write in &mut *writes {
                write.sources.push(path.to_string());
            }
        }
    }
}

/// The body of an entry with its id.
pub(super) fn marked(body: Object<'static>, mark: Option<&String>) -> Json {
    let mut body = body;
    if let Some(mark) = mark {
        body.set_first("id", mark.clone());
    }
    body.into()
}

/// Adds a key to the identifiers of a resource.
pub(super) fn add_identifier(body: &mut Object<'static>, key: &Key) {
    let (system, value) = (key.system.clone(), key.value.clone());
    let identifier = Object::new().with("system", system).with("value", value);
    match body.get_mut("identifier") {
        // In a QuestionnaireResponse or a Bundle there is one at most.
        Some(Json::Array(all)) => all.push(identifier.into()),
        Some(_) => {}
        None => body.set("identifier", vec![identifier.into()]),
    }
}

/// That lines of a message are no segments, by the fields that have them: each once.
pub(super) fn joined(message: &Message<'_>) -> impl Iterator<Item = Problem> {
    let mut places = message.joined().to_vec();
    places.dedup();
    places.into_iter().map(|place| {
        let segment = format!("{}[{}]", place.segment, place.sequence);
        Problem {
            is_error: false,
            code: 100,
            kind: "no-segment",
            place: if place.field == 0 { segment } else { format!("{segment}-{}", place.field) },
            text: "a line that is no segment belongs to what stands before it".to_owned(),
        }
    })
}

/// The fields with a value of which nothing came, and of those of which something came of some repetitions only
/// the others; numbers of segments among their kind do not count. A segment without fields is a name alone, which
/// may have been meant as a word.
pub(super) fn unmapped(message: &Message<'_>, used: &[Read]) -> Vec<String> {
    let used: HashSet<_> = used.iter().copied().collect();
    let mut out = Vec::new();
    for segment in message.segments() {
        let at = segment.position();
        let is_header = segment.is("MSH");
        if segment.is_empty() {
            let place = segment.place();
            out.push(format!("{}[{}]", place.segment, place.sequence));
            continue;
        }
        for part in segment.fields().filter(Field::is_valued) {
            let place = part.place();
            let field = place.field;
            let is_number = field == 1 && part.text().bytes().all(|byte| byte.is_ascii_digit());
            let is_read = |repetition: u16| used.contains(&(at, field, repetition));
            if is_number || is_read(0) || (is_header && field <= 2) {
                continue;
            }
            let name = format!("{}[{}]-{field}", place.segment, place.sequence);
            let is_begun = numbered(part).any(|(number, _)| is_read(number));
            if is_begun {
                let valued = numbered(part).filter(|(_, repetition)| repetition.is_valued());
                let unread = valued.map(|(number, _)| number).filter(|number| !is_read(*number));
                out.extend(unread.map(|number| format!("{name}[{number}]")));
            } else {
                out.push(name);
            }
        }
    }
    out
}

/// The repetitions of a field, each with its number.
fn numbered(field: Field<'_>) -> impl Iterator<Item = (u16, Field<'_>)> {
    (1..=u16::MAX).zip(field.repetitions())
}

#[cfg(test)]
mod tests {
    use crate::hl7v2::charset::Charset;
    use crate::hl7v2::er7::Reading;

    use super::*;

    #[test]
    fn what_is_no_segment_and_a_name_alone_are_told_of() {
        let text = "MSH|^~\\&|A\rPD1\rrest\rNTE|1||Chest:\rNAD\rand\rPV1|1|I\rNAD\r";
        let message = Message::parse(text, Charset::UTF_8, Reading::Lenient).unwrap();
        assert_eq!(
            unmapped(&message, &[]),
            ["MSH[1]-3", "PD1[1]", "NTE[1]-3", "PV1[1]-2", "NAD[1]"]
        );
        let told: Vec<_> = joined(&message).map(|it| (it.place, it.code, it.is_error)).collect();
        let told: Vec<_> =
            told.iter().map(|(place, code, error)| (&**place, *code, *error)).collect();
        assert_eq!(told, [("PD1[1]", 100, false), ("NTE[1]-3", 100, false)]);
    }

    #[test]
    fn codes_of_both_tables_say_what_is_to_be_done() {
        for (code, deed, word) in [
            ("A", Some(Deed::Add), "A"),
            ("AD", Some(Deed::Add), "A"),
            ("LI", Some(Deed::Add), "A"),
            ("U", Some(Deed::Change), "U"),
            ("UP", Some(Deed::Change), "U"),
            ("CO", Some(Deed::Change), "U"),
            ("D", Some(Deed::Delete), "D"),
            ("DE", Some(Deed::Delete), "D"),
            ("DEL", Some(Deed::Delete), "D"),
            ("S", Some(Deed::All), "S"),
            ("X", Some(Deed::Leave), "X"),
            // A problem that is linked to a goal no longer is one all the same.
            ("UN", Some(Deed::Unlink), "UN"),
            ("UC", Some(Deed::Unchanged), "UC"),
            ("", None, ""),
            ("Q", None, "Q"),
        ] {
            assert_eq!(Deed::of(code), deed, "{code}");
            assert_eq!(Deed::word(code.to_owned()), word, "{code}");
        }
    }
}
