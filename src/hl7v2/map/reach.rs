//! Whether a resource can lead to others of its message: `refs(name)`.
//!
//! It leads to those inside of it, and from a segment to those of the part of the message around that. What no
//! message makes together, or what stands outside of its group, it never leads to: such a rule has no effect.

use super::expr::Expr;
use super::read::{MapError, Reader};
use super::rules::{Each, MessageRule, ResourceRule, Rule, Work};
use super::scope::Group;

/// A rule that leads to resources by their name.
pub(super) struct Asked {
    file: String,
    line: usize,
    key: String,
    /// The resource that has the rule.
    owner: String,
    /// The name of those that it leads to.
    name: String,
}

impl Reader<'_> {
    /// Takes down what the rules of a resource lead to.
    pub(super) fn ask(&mut self, owner: &str, rules: &[Rule], key: &str) {
        for rule in rules {
            match &rule.work {
                Work::Build(inner) => self.ask(owner, inner, key),
                Work::Value(expr) => {
                    for name in named(expr) {
                        self.asked.push(Asked {
                            file: self.file.to_owned(),
                            line: rule.line,
                            key: format!("{key}.set.{}", rule.element.text),
                            owner: owner.to_owned(),
                            name: name.to_owned(),
                        });
                    }
                }
            }
        }
    }

    /// Finds what no message can give anything for. Of maps with other faults nothing is said: what is wrong
    /// with a resource is no reason why it is not there.
    pub(super) fn judge_asked(&mut self, messages: &[MessageRule], resources: &[ResourceRule]) {
        if !self.faults.is_empty() {
            return;
        }
        for Asked { file, line, key, owner, name } in std::mem::take(&mut self.asked) {
            let gives = |message: &MessageRule| {
                let used = message
                    .uses
                    .iter()
                    .filter_map(|(own, _)| resources.iter().find(|rule| rule.name == *own));
                let used: Vec<_> = used.collect();
                let from = used.iter().find_map(|rule| place(rule, &owner));
                let to = used.iter().find_map(|rule| place(rule, &name));
                from.zip(to).is_some_and(|(from, to)| can_lead(&from, &to, &message.groups))
            };
            if !messages.iter().any(gives) {
                let reason =
                    format!("refs({name}) gives nothing: no message has {name:?} within {owner:?}");
                self.idle.push(MapError { file, line, key, reason });
            }
        }
    }
}

/// The names that an expression leads to.
fn named(expr: &Expr) -> Vec<&str> {
    let mut out = Vec::new();
    expr.walk(&mut |inner| {
        if let Expr::Call(call) = inner
            && call.name == "refs"
            && let Some(Expr::Name(name)) = call.plain.first()
        {
            out.push(name.as_str());
        }
    });
    out
}

/// A resource with those around it, the outermost first.
type Place<'r> = Vec<&'r ResourceRule>;

/// Where a resource is within another.
fn place<'r>(rule: &'r ResourceRule, name: &str) -> Option<Place<'r>> {
    if rule.name == name {
        return Some(vec![rule]);
    }
    let mut found = rule.children.iter().find_map(|child| place(child, name))?;
    found.insert(0, rule);
    Some(found)
}

/// Whether a message with these groups can have one resource within another, or beside the segment that it is of.
fn can_lead(from: &[&ResourceRule], to: &[&ResourceRule], groups: &[Group]) -> bool {
    let (Some((owner, around)), Some((target, parents))) = (from.split_last(), to.split_last())
    else {
        return false;
    };
    if parents.last().is_some_and(|parent| parent.name == owner.name) {
        return true;
    }
    // The group that it is of, or around the segment that it is of; else all of a patient's part is within reach.
    let mut outwards = std::iter::once(owner).chain(around.iter().rev()).copied();
    let within = outwards.find_map(group_of);
    let Some(within) = within else { return true };
    let Some(group) = groups.iter().find(|group| group.name == within) else { return false };
    let leads = || groups.iter().filter(|other| other.leads == group.name);
    let has = |name: &str| {
        group.may_have(name) || leads().any(|leader| leader.start.iter().any(|own| own == name))
    };
    match &target.each {
        Each::Group(name) if name == within => true,
        Each::Group(name) => groups
            .iter()
            .find(|group| group.name == *name)
            .is_some_and(|inner| inner.start.iter().any(|own| has(own))),
        Each::Segment(name) => has(name.as_str()),
        Each::Repetition(_) => false,
    }
}

fn group_of(rule: &ResourceRule) -> Option<&str> {
    match &rule.each {
        Each::Group(name) => Some(name),
        Each::Repetition(_) | Each::Segment(_) => None,
    }
}
