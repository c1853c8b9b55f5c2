//! The values that settings choose from, where no section has a file of its own.

use serde::Deserialize;

/// What becomes of `meta.source` of what clients write.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum ClientSource {
    /// It is not taken: what is stored stays, and what is new has none.
    Ignore,
    /// It is stored.
    Keep,
}

/// What a read waits for before it is answered.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum ReadAudit {
    /// Its ledger row is committed.
    Committed,
    /// Its ledger row is on the disk.
    Flushed,
}

/// What becomes of references to what is not there.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum References {
    /// They are refused, and what others refer to cannot be deleted.
    Enforced,
    /// They are stored as they are.
    Off,
}

/// Whether a server has tenants, and how a request says whose it is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum TenancyMode {
    /// A header of a proxy names the tenant.
    Header,
    /// There are none.
    Off,
    /// The path begins with `/t/` and the tenant.
    Path,
}

/// How the server makes logical ids.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Ids {
    /// Random ones where callers need tokens, else those that tell the time.
    Auto,
    /// UUID version 4.
    Random,
    /// UUID version 7, which tells the time of creation.
    Time,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Pretty on a terminal, JSON otherwise.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

/// How a resource is sent to who subscribed to it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum UpdateMethod {
    /// By POST to the endpoint itself.
    Post,
    /// By PUT to its type and id below the endpoint, as R4 has it.
    Put,
}
