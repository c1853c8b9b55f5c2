//! What messages do to the store.
//!
//! Spec: v2 S1 to S40, F1 to F3

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::ack::{Condition, Issue};
use super::heading::Heading;
use super::queue::{Done, Task, Work};

/// Applies messages by their maps.
#[derive(Debug, Default)]
pub struct Applier {}

impl Applier {
    /// One that knows the maps of the program.
    pub fn new() -> Self {
        Self {}
    }
}

impl Work for Applier {
    fn knows(&self, _heading: &Heading) -> Result<(), Condition> {
        Err(Condition::UnsupportedType)
    }

    fn run<'a>(&'a self, _task: Task<'a>) -> BoxFuture<'a, Done> {
        let issue = Issue::error(Condition::UnsupportedType);
        async move { Done::Failed(vec![issue]) }.boxed()
    }
}
