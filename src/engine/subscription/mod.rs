//! Subscriptions: whoever writes one is told over its channel of what matches its criteria.
//!
//! | file | does |
//! |---|---|
//! | `asked` | what a version means for the work; headers are sealed, and shown to their party alone |
//! | `notify` | one change on its way to an endpoint |
//! | `work` | one subscription from being asked for to its end |
//!
//! A client asks (`requested`, whatever it says of `active` and `error`); the server moves a Subscription on, by
//! versions of its own: `active` once it can be served, `error` when it could not be delivered too often, `off`
//! when its end is over or its party may do nothing any more.
//!
//! Each change of the feed, in its order, is weighed under what the party is granted at that moment: whether the
//! version matches, and whether it may be seen. A change that was followed by another before it was weighed is
//! judged by its own version; where a document alone does not tell (chains and their like), by what is current. What
//! was deleted before it was weighed is not told.
//! Nothing is on record of what is only weighed. What is delivered passes the gate as a disclosure to the party,
//! before it leaves; that it could not be delivered is on record too.
//!
//! Spec: <https://hl7.org/fhir/R4/subscription.html>, rest 8.1 to 8.14, security E17, A7

mod asked;
mod notify;
mod work;

use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::access::Principal;
use crate::error::Error;
use crate::outbound::{Endpoints, Outbound};

pub use crate::store::SubscriptionOwner;
pub(super) use asked::ask;

/// The name of the service that moves Subscriptions on.
pub const SERVICE: &str = "subscriptions";

/// The bounds of subscriptions.
#[derive(Clone, Debug)]
pub struct SubscriptionRules {
    /// Whether they are served.
    pub is_on: bool,
    /// What may be told.
    pub endpoints: Endpoints,
    /// Whether a resource replaces what is at its type and id below the endpoint (PUT).
    pub is_put: bool,
    /// How many of one party may be open.
    pub most_open: u32,
    /// How often in a row something is tried to be delivered.
    pub most_tries: u32,
    /// The pause after the first failure.
    pub retry: Duration,
    /// Longest time for one delivery.
    pub patience: Duration,
}

/// Who says what a party may do at this moment.
pub trait Owners: Send + Sync {
    /// The principal that stands behind a subscription; `None`: it may do nothing any more.
    fn principal<'a>(
        &'a self,
        owner: &'a SubscriptionOwner,
    ) -> BoxFuture<'a, Result<Option<Principal>, Error>>;
}

/// What a node works on subscriptions with.
pub struct Desk {
    /// The service [`SERVICE`].
    pub service: Principal,
    /// Who asks for them.
    pub owners: Box<dyn Owners>,
    /// How they are told.
    pub outbound: Outbound,
}
