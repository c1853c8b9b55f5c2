//! The authorization server.

pub mod cbor;
pub mod handle;
pub mod password;
pub mod seal;
pub mod totp;
pub mod webauthn;
