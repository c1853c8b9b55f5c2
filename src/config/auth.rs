//! The kinds of values in `[auth]`.

use serde::Deserialize;

/// How callers prove who they are.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Every caller may do everything; loopback only.
    Off,
    /// SMART App Launch: bearer tokens with scopes.
    Smart,
}

/// Who may register a client.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Registration {
    /// Nobody.
    Off,
    /// Anybody.
    Open,
    /// Who shows the token of the configuration.
    Token,
}
