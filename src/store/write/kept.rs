//! What was read for a unit of work before it is asked for.

use crate::access::Permit;
use crate::fhir::Identity;
use crate::store::resource::Current;

use super::WriteTx;

impl WriteTx {
    /// Keeps what [`WriteTx::current`] will be asked for; `None`: there is no such resource.
    pub(in crate::store) fn keep(&mut self, identity: Identity, current: Option<Current>) {
        self.prefetched.insert(identity, current);
    }

    /// Keeps versions that its caller has read before, which saves it a look; what has changed since is
    /// found when it is committed.
    pub fn expect(&mut self, known: Vec<Current>, permit: &Permit<'_>) {
        if !permit.is_restricted() {
            for current in known {
                self.keep(current.version.identity.clone(), Some(current));
            }
        }
    }

    /// Whether `WriteTx::take_kept` knows about `identity`.
    pub fn is_kept(&self, identity: &Identity) -> bool {
        self.prefetched.contains_key(identity)
    }

    /// What was kept of `identity`, once.
    pub(in crate::store) fn take_kept(&mut self, identity: &Identity) -> Option<Current> {
        self.prefetched.remove(identity).flatten()
    }
}
