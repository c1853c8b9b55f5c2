//! What the codes of a value set come from, where they are too many to be told apart one by one.

use std::collections::BTreeSet;
use std::hash::{Hash as _, Hasher};

use super::Image;
use super::expand::implicit;
use super::value_set::Part;

impl Image {
    /// Hashes the definition of a value set, of those that it names and of the code systems of all of them: while
    /// these stay as they are, its codes do. Supplements and what a request brings along do not count.
    pub fn trace(&self, value_set: &str, into: &mut impl Hasher) {
        let (mut ahead, mut seen) = (vec![value_set.to_owned()], BTreeSet::new());
        let mut systems = BTreeSet::new();
        while let Some(name) = ahead.pop() {
            if !seen.insert(name.clone()) {
                continue;
            }
            name.hash(into);
            let Some(known) = self.value_set(&name) else {
                let part = implicit(&name).ok().flatten();
                let all = || self.system_of_value_set(&name).map(|it| it.url.to_string());
                systems.extend(part.and_then(|it| it.system).map(String::from).or_else(all));
                continue;
            };
            known.has_inactive.hash(into);
            for parts in [&known.include, &known.exclude, &known.listed] {
                parts.len().hash(into);
                for Part { system, codes, filters, value_sets, .. } in parts {
                    (system, value_sets).hash(into);
                    for listing in codes {
                        listing.code.hash(into);
                    }
                    for filter in filters {
                        (&filter.property, &filter.op, &filter.value).hash(into);
                    }
                    systems.extend(system.as_deref().map(str::to_owned));
                    ahead.extend(value_sets.iter().map(ToString::to_string));
                }
            }
        }
        for system in systems {
            system.hash(into);
            if let Some(known) = self.system(&system) {
                (&known.version, known.content).hash(into);
                known.concepts.hash(into);
            }
        }
    }
}
