//! What an operator can set: one typed [`Config`], read once at start. Sources by rank: flag,
//! environment (`KILN_<SECTION>__<KEY>`), file (`kiln.toml`), default; an unknown key is an error.
//! What there is to set stands in `manual`, with its explanation.
//!
//! Layer: 0. Imports nothing of ours; owns `figment`; nothing else reads the environment.

mod auth;
mod check;
mod checkpoints;
mod choice;
mod derived;
mod error;
mod graphql;
mod hl7v2;
mod hours;
mod keeping;
mod manual;
mod named;
mod network;
mod outward;
mod setting;
mod source;
mod tenants;
mod validation;

pub use auth::{AuthMode, Registration};
pub use choice::{ClientSource, Ids, LogFormat, ReadAudit, References, TenancyMode, UpdateMethod};
pub use error::ConfigError;
pub use graphql::Graphql;
pub use hl7v2::{AckWhen, MessageReading, OnFailure};
pub use hours::WorkingHours;
pub use keeping::Erasure;
pub use manual::{
    Admin, Administration, Alerts, Atna, Audit, Auth, Brand, Config, Database, Definitions, Export,
    FullText, Hl7v2, Http, IntegrityRules, Limits, Log, Search, Tenancy, Tls, Upstream, Validation,
};
pub use named::{CheckpointPlace, TenantSettings, Trusted};
pub use network::Network;
pub use outward::{Otel, Subscriptions};
pub use setting::{Preset, Section, Setting};
pub use validation::{ProfilePolicy, ValidationLevel};

#[cfg(test)]
mod tests;
