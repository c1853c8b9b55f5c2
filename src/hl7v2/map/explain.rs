//! All rules of maps, a line each: which field goes where, and by which rule.

use super::Maps;
use super::expr::Expr;
use super::rules::{Each, ResourceRule, Rule, Work};

/// One rule: what it reads and where it writes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Explained {
    /// The resource's name in the map.
    pub resource: String,
    /// Its type.
    pub resource_type: String,
    /// The place that is written.
    pub path: String,
    /// What is read, conditions included: `PID-3[*]`.
    pub sources: Vec<String>,
    /// The rule.
    pub rule: String,
}

impl Maps {
    /// All rules, in their order.
    pub fn explained(&self) -> Vec<Explained> {
        let mut out = Vec::new();
        for rule in &self.resources {
            rule.all(&mut |resource| {
                for rule in &resource.rules {
                    one(resource, rule, "", &mut Vec::new(), &mut out);
                }
            });
        }
        out
    }
}

fn one(
    resource: &ResourceRule,
    rule: &Rule,
    before: &str,
    around: &mut Vec<String>,
    out: &mut Vec<Explained>,
) {
    let text = &rule.element.text;
    let path = if before.is_empty() { text.clone() } else { format!("{before}.{text}") };
    let count = around.len();
    around.extend(rule.when.iter().flat_map(reads));
    if let Some(acts) = &rule.acts {
        around.extend(reads(&acts.action));
        around.extend(reads(&acts.key));
    }
    if let Some(Each::Segment(name)) = rule.each {
        around.push(name.to_string());
    }
    match &rule.work {
        Work::Build(rules) => {
            for inner in rules {
                one(resource, inner, &path, around, out);
            }
        }
        Work::Value(expr) => {
            let sources = reads(expr).into_iter().chain(around.iter().cloned()).collect();
            out.push(Explained {
                resource: resource.name.clone(),
                resource_type: resource.resource_type.clone(),
                path,
                sources,
                rule: rule.id.clone(),
            });
        }
    }
    around.truncate(count);
}

/// What an expression reads; of notes the fields that they are made of.
fn reads(expr: &Expr) -> Vec<String> {
    let mut out = Vec::new();
    expr.walk(&mut |expr| match expr {
        Expr::Path(path) => out.push(path.to_string()),
        Expr::Call(call) if call.name == "notes" => {
            out.extend(["NTE-3", "NTE-5", "NTE-6"].map(str::to_owned));
        }
        _ => {}
    });
    out
}
