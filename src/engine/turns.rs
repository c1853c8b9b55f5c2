//! Turns: writers of one resource on this node go one after the other.
//!
//! The database decides who wins (a version guards every write); taking turns only spares writers
//! of the same node from losing to each other again and again.

use std::hash::{DefaultHasher, Hash, Hasher};

use tokio::sync::{Mutex, MutexGuard};

use crate::fhir::Identity;

/// How many resources can be told apart: two that share a turn only wait a little.
const TURNS: usize = 1024;

/// The turns of one node.
pub(super) struct Turns(Vec<Mutex<()>>);

impl Default for Turns {
    fn default() -> Self {
        Self((0..TURNS).map(|_| Mutex::default()).collect())
    }
}

impl Turns {
    /// Waits for the turn of one resource.
    pub(super) async fn of(&self, identity: &Identity) -> MutexGuard<'_, ()> {
        self.0[turn(identity)].lock().await
    }

    /// Waits for the turns of many, always in the same order, so that nobody waits in a circle.
    pub(super) async fn of_all(
        &self,
        identities: impl Iterator<Item = &Identity>,
    ) -> Vec<MutexGuard<'_, ()>> {
        self.in_order(identities.map(turn).collect()).await
    }

    /// The same for what is known by a number, such as the lock of criteria.
    pub(super) async fn of_numbers(&self, numbers: &[i64]) -> Vec<MutexGuard<'_, ()>> {
        let place = |number: &i64| number.cast_unsigned() as usize % TURNS;
        self.in_order(numbers.iter().map(place).collect()).await
    }

    async fn in_order(&self, mut wanted: Vec<usize>) -> Vec<MutexGuard<'_, ()>> {
        wanted.sort_unstable();
        wanted.dedup();
        let mut turns = Vec::with_capacity(wanted.len());
        for turn in wanted {
            turns.push(self.0[turn].lock().await);
        }
        turns
    }
}

fn turn(identity: &Identity) -> usize {
    let mut hasher = DefaultHasher::new();
    identity.hash(&mut hasher);
    hasher.finish() as usize % TURNS
}
