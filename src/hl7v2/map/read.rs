//! From the text of a map to rules: every place, type, table and name in it is checked.

use std::ops::Range;

use thiserror::Error;
use toml_edit::{ImDocument, Item, TableLike, Value};

use crate::fhir::json::Object;
use crate::fhir::schema::Schema;
use crate::hl7v2::er7::SegmentName;
use crate::hl7v2::tables::Tables;
use crate::hl7v2::types::Json;

use super::check::Known;
use super::element::{Element, Slots, resolve};
use super::expr::Expr;
use super::reach::Asked;
use super::rules::{Acts, Each, MessageRule, ResourceRule, Rule, Work};
use super::scope::Group;
use super::site::Mode;

/// What is wrong in a map, and where.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{file}:{line}: {key}: {reason}")]
pub struct MapError {
    /// The file.
    pub file: String,
    /// The line, beginning at 1.
    pub line: usize,
    /// The key, as a path from the top.
    pub key: String,
    /// Why it cannot be.
    pub reason: String,
}

/// A document while it is read, with all faults found so far.
pub(super) struct Reader<'r> {
    pub(super) file: &'r str,
    pub(super) text: &'r str,
    pub(super) schema: &'r Schema,
    pub(super) tables: &'r Tables,
    pub(super) slots: Slots,
    pub(super) resources: Vec<(String, String)>,
    pub(super) groups: Vec<Group>,
    /// What rules lead to by `refs`.
    pub(super) asked: Vec<Asked>,
    pub(super) faults: Vec<MapError>,
    /// What can have no effect, and stops nothing that has one.
    pub(super) idle: Vec<MapError>,
}

/// What one document defines.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) messages: Vec<MessageRule>,
    pub(super) resources: Vec<ResourceRule>,
}

impl<'r> Reader<'r> {
    pub(super) fn document(&mut self) -> Option<ImDocument<&'r str>> {
        match ImDocument::parse(self.text) {
            Ok(document) => Some(document),
            Err(error) => {
                let reason = error.message().to_owned();
                self.fault(error.span(), "", reason);
                None
            }
        }
    }

    pub(super) fn fault(&mut self, at: Option<Range<usize>>, key: &str, reason: impl Into<String>) {
        let (file, line, key) = (self.file.to_owned(), self.line(at), key.to_owned());
        self.faults.push(MapError { file, line, key, reason: reason.into() });
    }

    /// Tells of what can have no effect.
    pub(super) fn idle(&mut self, at: Option<Range<usize>>, key: &str, reason: impl Into<String>) {
        let (file, line, key) = (self.file.to_owned(), self.line(at), key.to_owned());
        self.idle.push(MapError { file, line, key, reason: reason.into() });
    }

    fn line(&self, at: Option<Range<usize>>) -> usize {
        let before = at.map_or(0, |at| at.start).min(self.text.len());
        lines(&self.text[..before]) + 1
    }

    /// Refuses keys that are not in `allowed`.
    pub(super) fn only(&mut self, table: &dyn TableLike, at: &str, allowed: &[&str]) {
        for (key, item) in table.iter() {
            if !allowed.contains(&key) {
                let full = if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
                let reason = format!("there is no such key; there are {}", allowed.join(", "));
                self.fault(item.span(), &full, reason);
            }
        }
    }

    /// Slots and extensions of a map.
    pub(super) fn read_slots(&mut self, root: &dyn TableLike) {
        let extensions = root.get("extension").and_then(Item::as_table_like);
        for (word, url) in extensions.into_iter().flat_map(|table| table.iter()) {
            match url.as_str() {
                Some(url) => {
                    self.slots.extensions.insert(word.to_owned(), url.to_owned());
                }
                None => self.fault(url.span(), &format!("extension.{word}"), "a url is wanted"),
            }
        }
        let slots = root.get("slot").and_then(Item::as_table_like);
        for (path, words) in slots.into_iter().flat_map(|table| table.iter()) {
            for (word, preset) in words.as_table_like().into_iter().flat_map(|table| table.iter()) {
                let preset = preset.as_value().and_then(json);
                let preset = preset.and_then(|value| value.as_object().cloned());
                if let Some(preset) = preset {
                    self.slots.presets.insert((path.to_owned(), word.to_owned()), preset);
                } else {
                    let key = format!("slot.{path}.{word}");
                    self.fault(words.span(), &key, "a table of FHIR elements is wanted");
                }
            }
        }
    }

    /// The names and types of all resources of a document.
    pub(super) fn read_names(&mut self, root: &dyn TableLike) {
        let resources = root.get("resource").and_then(Item::as_table_like);
        for (name, item) in resources.into_iter().flat_map(|table| table.iter()) {
            self.name(name, item);
        }
        let messages = root.get("message").and_then(Item::as_table_like);
        for (_, message) in messages.into_iter().flat_map(|table| table.iter()) {
            let groups = message.get("groups").and_then(Item::as_table_like);
            for (name, _) in groups.into_iter().flat_map(|groups| groups.iter()) {
                self.groups.push(Group { name: name.to_owned(), ..Group::default() });
            }
        }
    }

    fn name(&mut self, name: &str, item: &Item) {
        if let Some(kind) = item.get("type").and_then(Item::as_str) {
            self.resources.push((name.to_owned(), kind.to_owned()));
        }
        let children = item.get("child").and_then(Item::as_table_like);
        for (name, child) in children.into_iter().flat_map(|table| table.iter()) {
            self.name(name, child);
        }
    }

    pub(super) fn words(&mut self, table: &dyn TableLike, key: &str, word: &str) -> Vec<String> {
        let Some(item) = table.get(word) else { return Vec::new() };
        let words = item.as_array().map(|all| all.iter().map(|it| it.as_str().map(str::to_owned)));
        let words: Option<Vec<_>> = words.and_then(Iterator::collect);
        if words.is_none() {
            self.fault(item.span(), &format!("{key}.{word}"), "a list of texts is wanted");
        }
        words.unwrap_or_default()
    }

    pub(super) fn read_resource(
        &mut self,
        name: &str,
        item: &Item,
        map: &str,
    ) -> Option<ResourceRule> {
        let key = format!("resource.{name}");
        let Some(table) = item.as_table_like() else {
            self.fault(item.span(), &key, "a table is wanted");
            return None;
        };
        let allowed = [
            "type", "from", "each", "list", "when", "key", "was", "part", "mode", "action",
            "profile", "set", "child",
        ];
        self.only(table, &key, &allowed);
        let word = |word: &str| table.get(word).and_then(Item::as_str);
        let kind = word("type").unwrap_or_default().to_owned();
        if !super::element::is_type(&kind, self.schema) {
            self.fault(item.span(), &format!("{key}.type"), format!("{kind:?} is no resource"));
            return None;
        }
        let each = word("from").or(word("each")).and_then(|text| self.each(text));
        let Some(each) = each.filter(|each| !matches!(each, Each::Repetition(_))) else {
            self.fault(item.span(), &key, "from or each is wanted: a segment or group(name)");
            return None;
        };
        let mode = word("mode").map(Mode::named);
        if mode == Some(None) {
            self.fault(item.span(), &format!("{key}.mode"), "snapshot, action-code or upsert");
        }
        let action = word("action").and_then(|text| text.parse().ok());
        let mut rule = ResourceRule {
            name: name.to_owned(),
            resource_type: kind.clone(),
            each,
            is_single: table.contains_key("from"),
            when: None,
            key: None,
            was: None,
            part: table.get("part").and_then(|item| self.expr(item, &format!("{key}.part"))),
            list: word("list").and_then(SegmentName::parse),
            mode: mode.flatten().unwrap_or_default(),
            action,
            profile: word("profile").map(str::to_owned),
            rules: Vec::new(),
            children: Vec::new(),
            map: map.to_owned(),
        };
        rule.when = table.get("when").and_then(|item| self.condition(item, &format!("{key}.when")));
        rule.key = table.get("key").and_then(|item| self.expr(item, &format!("{key}.key")));
        rule.was = table.get("was").and_then(|item| self.expr(item, &format!("{key}.was")));
        if let Some(set) = table.get("set") {
            rule.rules = self.rules(set, &kind, &format!("{map} {name}"), &format!("{key}.set"));
            self.ask(name, &rule.rules, &key);
        }
        let children = table.get("child").and_then(Item::as_table_like);
        for (name, child) in children.into_iter().flat_map(|table| table.iter()) {
            rule.children.extend(self.read_resource(name, child, map));
        }
        Some(rule)
    }

    fn each(&self, text: &str) -> Option<Each> {
        if let Some(group) = text.strip_prefix("group(").and_then(|rest| rest.strip_suffix(')')) {
            return self.known().has_group(group).then(|| Each::Group(group.to_owned()));
        }
        if let Some(name) = SegmentName::parse(text) {
            return Some(Each::Segment(name));
        }
        text.parse().ok().map(Each::Repetition)
    }

    fn known(&self) -> Known<'_> {
        Known {
            schema: self.schema,
            tables: self.tables,
            resources: &self.resources,
            groups: &self.groups,
        }
    }

    fn expr(&mut self, item: &Item, key: &str) -> Option<Expr> {
        let found = match item.as_str() {
            Some(text) => Expr::parse(text).map_err(|fault| fault.to_string()),
            None => Err("an expression is wanted".to_owned()),
        };
        let found = found.and_then(|expr| self.known().gives(&expr).map(|_| expr));
        found.map_err(|reason| self.fault(item.span(), key, reason)).ok()
    }

    fn condition(&mut self, item: &Item, key: &str) -> Option<Expr> {
        let expr = self.expr(item, key)?;
        if let Err(reason) = self.known().is_condition(&expr) {
            self.fault(item.span(), key, reason);
        }
        Some(expr)
    }

    /// The rules of a `set`: each place with one of them or several.
    pub(super) fn rules(&mut self, set: &Item, owner: &str, id: &str, key: &str) -> Vec<Rule> {
        let mut out = Vec::new();
        let table = set.as_table_like().map(|table| table.iter());
        for (place, item) in table.into_iter().flatten() {
            let key = format!("{key}.{place}");
            let element = match resolve(place, owner, self.schema, &self.slots) {
                Ok(element) => element,
                Err(reason) => {
                    self.fault(item.span(), &key, reason);
                    continue;
                }
            };
            let several: Vec<Item> = match item.as_array() {
                Some(all) => all.iter().map(|value| Item::Value(value.clone())).collect(),
                None => vec![item.clone()],
            };
            let count = several.len();
            for (at, one) in several.iter().enumerate() {
                let number = if count > 1 { format!(" {}", at + 1) } else { String::new() };
                let id = format!("{id} {place}{number}");
                if let Some(mut rule) = self.rule(one, &element, &id, &key) {
                    rule.line = self.line(one.span().or(item.span()));
                    out.push(rule);
                }
            }
        }
        out
    }

    fn rule(
        &mut self,
        item: &Item,
        element: &super::element::Element,
        id: &str,
        key: &str,
    ) -> Option<Rule> {
        let mut rule = Rule {
            id: id.to_owned(),
            line: 0,
            element: element.clone(),
            when: None,
            each: None,
            keeps: Vec::new(),
            acts: None,
            work: Work::Build(Vec::new()),
        };
        let value = match item.as_table_like() {
            None => item,
            Some(table) => {
                self.only(table, key, &["from", "when", "each", "build", "action", "key", "keeps"]);
                // Of values of several fields the use says which field they are of.
                let uses = self.words(table, key, "keeps").into_iter();
                rule.keeps = uses.map(|word| Object::new().with("use", word)).collect();
                rule.acts = self.acts(table, element, key);
                rule.when = table.get("when").and_then(|item| self.condition(item, key));
                if let Some(each) = table.get("each") {
                    rule.each = each.as_str().and_then(|text| self.each(text));
                    if rule.each.is_none() {
                        self.fault(each.span(), key, "each: a segment or group(name) is wanted");
                    }
                }
                if let Some(build) = table.get("build") {
                    let owner = element.types.first().cloned().unwrap_or_default();
                    rule.work = Work::Build(self.rules(build, &owner, id, key));
                    return Some(rule);
                }
                let Some(from) = table.get("from") else {
                    self.fault(item.span(), key, "from or build is missing");
                    return None;
                };
                from
            }
        };
        let expr = self.expr(value, key)?;
        if let Err(reason) = self.known().fits(&expr, element) {
            self.fault(item.span(), key, reason);
            return None;
        }
        rule.work = Work::Value(expr);
        Some(rule)
    }
}

impl Reader<'_> {
    /// By which code and key an entry of a list is changed alone.
    fn acts(&mut self, table: &dyn TableLike, element: &Element, key: &str) -> Option<Acts> {
        let action = table.get("action")?;
        let is_list = matches!(element.steps.as_slice(), [step] if step.is_list);
        let code = self.expr(action, key);
        let segment = code.as_ref().and_then(|code| code.paths().first().map(|it| it.segment));
        let known_by = table.get("key").and_then(|item| self.expr(item, key));
        match (code.zip(segment), known_by) {
            (Some((action, segment)), Some(key)) if is_list => Some(Acts { action, segment, key }),
            _ => {
                let reason =
                    "action: a field is wanted, a key beside it, and a list of the resource";
                self.fault(action.span(), key, reason);
                None
            }
        }
    }
}

/// A value of TOML as JSON.
pub(super) fn json(value: &Value) -> Option<Json> {
    Some(match value {
        Value::String(text) => Json::from(text.value().clone()),
        Value::Boolean(value) => Json::from(*value.value()),
        Value::Integer(number) => Json::Number(number.value().to_string().into()),
        Value::Array(items) => {
            let items: Option<Vec<_>> = items.iter().map(json).collect();
            Json::from(items?)
        }
        Value::InlineTable(table) => {
            let mut object = Object::new();
            for (name, value) in table {
                object.set(name.to_owned(), json(value)?);
            }
            object.into()
        }
        Value::Float(_) | Value::Datetime(_) => return None,
    })
}

/// How many lines end in a text.
fn lines(text: &str) -> usize {
    memchr::memchr_iter(b'\n', text.as_bytes()).count()
}
