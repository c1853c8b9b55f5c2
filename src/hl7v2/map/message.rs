//! From the text of a map to its messages: which they are, of what groups, and which resources they make.
//!
//! Spec: hl7v2.md, section 7

use toml_edit::{Item, TableLike};

use crate::hl7v2::er7::{Path, SegmentName};

use super::read::Reader;
use super::rules::MessageRule;
use super::scope::Group;

/// What a message of a map may have.
const KEYS: &[&str] = &["match", "require", "groups", "use", "once", "effect"];

impl Reader<'_> {
    /// The messages of a document.
    pub(super) fn read_messages(&mut self, root: &dyn TableLike) -> Vec<MessageRule> {
        let mut out = Vec::new();
        let messages = root.get("message").and_then(Item::as_table_like);
        for (name, item) in messages.into_iter().flat_map(|table| table.iter()) {
            let key = format!("message.{name}");
            let Some(table) = item.as_table_like() else {
                self.fault(item.span(), &key, "a table is wanted");
                continue;
            };
            self.only(table, &key, KEYS);
            let uses = self.uses(table, &key);
            out.push(MessageRule {
                name: name.to_owned(),
                once: self.once(table, &key, &uses),
                uses,
                groups: self.groups(table, &key),
                matches: self.words(table, &key, "match"),
                require: self.required(table, &key),
                effect: table.get("effect").and_then(Item::as_str).map(str::to_owned),
            });
        }
        out
    }

    /// The fields without which a message is refused.
    fn required(&mut self, table: &dyn TableLike, key: &str) -> Vec<Path> {
        let mut paths = Vec::new();
        for text in self.words(table, key, "require") {
            if let Ok(path) = text.parse() {
                paths.push(path);
            } else {
                let at = table.get("require").and_then(Item::span);
                self.fault(at, &format!("{key}.require"), format!("{text:?} is no path"));
            }
        }
        paths
    }

    /// The resources that a message makes; with `true` those that it makes only when their key has a value.
    fn uses(&mut self, table: &dyn TableLike, key: &str) -> Vec<(String, bool)> {
        let words = self.words(table, key, "use").into_iter();
        let uses: Vec<_> = words
            .map(|word| match word.strip_suffix('?') {
                Some(name) => (name.to_owned(), true),
                None => (word, false),
            })
            .collect();
        for (name, _) in &uses {
            if !self.resources.iter().any(|(own, _)| own == name) {
                let at = table.get("use").and_then(Item::span);
                self.fault(at, &format!("{key}.use"), format!("there is no resource {name:?}"));
            }
        }
        uses
    }

    /// Those of them that are made once, of the whole message.
    fn once(&mut self, table: &dyn TableLike, key: &str, uses: &[(String, bool)]) -> Vec<String> {
        let once = self.words(table, key, "once");
        for name in &once {
            if !uses.iter().any(|(own, _)| own == name) {
                let at = table.get("once").and_then(Item::span);
                let reason = format!("the message makes no resource {name:?}");
                self.fault(at, &format!("{key}.once"), reason);
            }
        }
        once
    }

    /// The groups of a message.
    fn groups(&mut self, message: &dyn TableLike, key: &str) -> Vec<Group> {
        let Some(item) = message.get("groups") else { return Vec::new() };
        let key = format!("{key}.groups");
        let Some(groups) = item.as_table_like() else {
            self.fault(item.span(), &key, "a table is wanted");
            return Vec::new();
        };
        let mut out = Vec::new();
        for (name, group) in groups.iter() {
            let key = format!("{key}.{name}");
            let Some(table) = group.as_table_like() else {
                self.fault(group.span(), &key, "a table is wanted");
                continue;
            };
            self.only(table, &key, &["start", "has", "leads"]);
            let (start, has) =
                (self.segments(table, &key, "start"), self.segments(table, &key, "has"));
            if start.is_empty() {
                self.fault(group.span(), &key, "start: the segments that begin one are wanted");
            }
            let mut leads = String::new();
            if let Some(item) = table.get("leads") {
                let known = item.as_str().filter(|led| *led != name && groups.contains_key(led));
                if let Some(led) = known {
                    led.clone_into(&mut leads);
                } else {
                    let reason = "the name of another group of the message is wanted";
                    self.fault(item.span(), &format!("{key}.leads"), reason);
                }
            }
            out.push(Group { name: name.to_owned(), start, has, leads });
        }
        out
    }

    /// Names of segments.
    fn segments(&mut self, table: &dyn TableLike, key: &str, word: &str) -> Vec<String> {
        let words = self.words(table, key, word);
        for name in words.iter().filter(|name| SegmentName::parse(name).is_none()) {
            let at = table.get(word).and_then(Item::span);
            self.fault(at, &format!("{key}.{word}"), format!("{name:?} is no segment"));
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use crate::hl7v2::map::Maps;
    use crate::spec::Spec;

    /// What is wrong with a map of one resource and these messages.
    fn faults(messages: &str) -> Vec<String> {
        let spec = Spec::r4().unwrap();
        let text = format!(
            "format = 1\nid = \"m\"\n{messages}\n[resource.remark]\ntype = \"Basic\"\neach = \"ZRM\"\n\
             [resource.other]\ntype = \"Basic\"\neach = \"ZRN\"\n"
        );
        let found = Maps::of(vec![("m.toml".to_owned(), text)], &spec.schema);
        found.err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_a_message_names_is_there() {
        let fine = "[message.a]\nmatch = [\"ADT^A01\"]\nuse = [\"remark?\", \"other\"]\nonce = [\"other\"]\n\
            groups = { order = { start = [\"OBR\"], has = [\"OBX\"] }, specimen = { start = [\"SPM\"], leads = \"order\" } }";
        assert_eq!(faults(fine), [""; 0]);
        for (from, to, told) in [
            (
                "leads = \"order\"",
                "leads = \"oder\"",
                "m.toml:7: message.a.groups.specimen.leads: ",
            ),
            (
                "leads = \"order\"",
                "leads = \"specimen\"",
                "m.toml:7: message.a.groups.specimen.leads: ",
            ),
            ("leads = \"order\"", "leads = 1", "m.toml:7: message.a.groups.specimen.leads: "),
            ("leads = \"order\"", "lead = \"order\"", "m.toml:7: message.a.groups.specimen.lead: "),
            ("start = [\"SPM\"], ", "", "m.toml:7: message.a.groups.specimen: start"),
            ("start = [\"SPM\"]", "start = \"SPM\"", "m.toml:7: message.a.groups.specimen.start: "),
            (
                "has = [\"OBX\"]",
                "has = [\"OBX1\"]",
                "m.toml:7: message.a.groups.order.has: \"OBX1\"",
            ),
            (
                "once = [\"other\"]",
                "once = [\"othe\"]",
                "m.toml:6: message.a.once: the message makes no resource \"othe\"",
            ),
            (
                "\"other\"]\nonce",
                "]\nonce",
                "m.toml:6: message.a.once: the message makes no resource \"other\"",
            ),
            (
                "\"remark?\"",
                "\"remak?\"",
                "m.toml:5: message.a.use: there is no resource \"remak\"",
            ),
            ("use =", "require = [\"P\"]\nuse =", "m.toml:5: message.a.require: \"P\""),
        ] {
            assert!(fine.contains(from), "{from}");
            let found = faults(&fine.replace(from, to));
            assert!(found.iter().any(|fault| fault.starts_with(told)), "{to}: {found:#?}");
        }
    }
}
