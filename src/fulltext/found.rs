//! What was found lately: the pages of a search ask for the same words one after the other.
//!
//! A find is good for the commit that it was made of, and forgotten with it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::fhir::ResourceType;

/// Most keys that are remembered, together: 8 MB.
const MOST_KEYS: usize = 1_000_000;
/// Most finds.
const MOST_FINDS: usize = 64;

/// What is asked: how, of which types.
pub(super) type Question = (String, Vec<ResourceType>);

/// Keys by what was asked.
#[derive(Default)]
pub(super) struct Found(Mutex<Lately>);

#[derive(Default)]
struct Lately {
    /// The commit.
    generation: u64,
    finds: VecDeque<(Question, Arc<[i64]>)>,
    keys: usize,
}

impl Found {
    /// What was found, where it was asked of this commit.
    pub(super) fn get(&self, generation: u64, question: &Question) -> Option<Arc<[i64]>> {
        let lately = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_good = lately.generation == generation;
        let mut finds = lately.finds.iter().filter(|_| is_good);
        finds.find(|(known, _)| known == question).map(|(_, keys)| keys.clone())
    }

    /// Remembers what was found; what was found first is forgotten for it.
    pub(super) fn put(&self, generation: u64, question: Question, keys: &[i64]) {
        let mut lately = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lately.generation > generation || keys.len() > MOST_KEYS {
            return;
        }
        if lately.generation < generation {
            *lately = Lately { generation, ..Lately::default() };
        }
        while lately.finds.len() >= MOST_FINDS || lately.keys + keys.len() > MOST_KEYS {
            let Some((_, oldest)) = lately.finds.pop_front() else { break };
            lately.keys -= oldest.len();
        }
        lately.keys += keys.len();
        lately.finds.push_back((question, keys.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(text: &str) -> Question {
        (text.to_owned(), vec![ResourceType::PATIENT])
    }

    #[test]
    fn a_find_is_remembered_until_the_next_commit() {
        let found = Found::default();
        found.put(1, question("a"), &[7, 8]);
        assert_eq!(found.get(1, &question("a")).as_deref(), Some(&[7, 8][..]));
        assert_eq!(found.get(1, &question("b")), None);
        assert_eq!(found.get(2, &question("a")), None, "another commit");
        found.put(2, question("b"), &[9]);
        found.put(1, question("a"), &[7, 8]);
        assert_eq!(found.get(1, &question("a")), None, "nobody asks an old commit again");
        assert_eq!(found.get(2, &question("b")).as_deref(), Some(&[9][..]));
        assert_eq!(found.get(2, &(question("b").0, Vec::new())), None, "other types");
    }

    #[test]
    fn what_was_found_first_makes_room() {
        let found = Found::default();
        let many = vec![1; MOST_KEYS / 2];
        for text in ["a", "b", "c"] {
            found.put(1, question(text), &many);
        }
        let known = |text: &str| found.get(1, &question(text)).is_some();
        assert_eq!([known("a"), known("b"), known("c")], [false, true, true]);
        found.put(1, question("d"), &vec![1; MOST_KEYS + 1]);
        assert!(!known("d") && known("c"));
        for number in 0..=MOST_FINDS {
            found.put(1, question(&number.to_string()), &[1]);
        }
        assert!(!known("c") && !known("0") && known("1"));
    }
}
