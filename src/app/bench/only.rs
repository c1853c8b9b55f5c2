//! `--only`: the parts of a measurement by their names.

use super::{BenchError, Work};

/// The parts that were asked for: all of them, where none is named.
#[derive(Clone, Debug, Default)]
pub(super) struct Only(Vec<String>);

impl Only {
    /// Of the names that were given, each of which has to be one of `known`.
    ///
    /// # Errors
    /// [`BenchError::Arguments`] for a name that is not known, with those that are.
    pub(super) fn of(given: &[String], known: &[&str]) -> Result<Self, BenchError> {
        match given.iter().find(|name| !known.contains(&name.as_str())) {
            Some(name) => {
                let text = format!("--only {name}: it is one of: {}", known.join("; "));
                Err(BenchError::Arguments(text))
            }
            None => Ok(Self(given.to_vec())),
        }
    }

    /// Whether this part is measured.
    pub(super) fn wants(&self, name: &str) -> bool {
        self.0.is_empty() || self.names(name)
    }

    /// Whether this part was asked for by its name.
    pub(super) fn names(&self, name: &str) -> bool {
        self.0.iter().any(|it| it == name)
    }
}

/// Refuses names where a measurement has no parts.
///
/// # Errors
/// [`BenchError::Arguments`].
pub(super) fn refuse_without_parts(given: &[String], work: Work) -> Result<(), BenchError> {
    match (given, work) {
        ([], _) | (_, Work::Audit | Work::Search | Work::Terminology | Work::V2) => Ok(()),
        ([name, ..], _) => {
            let text = format!("--only {name}: {} is measured as a whole", work.name());
            Err(BenchError::Arguments(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_is_not_named_is_all_and_what_is_not_known_is_refused_with_what_is() {
        let known = ["seal", "who"];
        let all = Only::of(&[], &known).unwrap();
        assert!(all.wants("seal") && all.wants("who") && !all.names("who"));
        let one = Only::of(&given(&["who"]), &known).unwrap();
        assert!(one.wants("who") && one.names("who") && !one.wants("seal"));
        for names in [vec!["TYPO"], vec!["who", "TYPO"], vec![""]] {
            let refused = Only::of(&given(&names), &known).unwrap_err().to_string();
            assert!(refused.ends_with(": it is one of: seal; who"), "{names:?}: {refused}");
        }
    }

    #[test]
    fn a_part_of_what_has_none_is_refused() {
        for (work, is_refused) in
            [(Work::Read, true), (Work::Smart, true), (Work::V2, false), (Work::Audit, false)]
        {
            let refused = refuse_without_parts(&given(&["x"]), work);
            assert_eq!(refused.is_err(), is_refused, "{work:?}");
            assert!(refuse_without_parts(&[], work).is_ok(), "{work:?}");
        }
    }
}
