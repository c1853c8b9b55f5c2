//! The authorization server over HTTP: its routes, forms and answers.
//!
//! Spec: RFC 6749, SMART App Launch 2.2; security sections 1 to 4.

pub mod admin;
mod bearer;
mod documents;
mod endpoints;
mod failure;
pub(super) mod pages;
mod request;
pub mod routes;

pub use bearer::Bearer;
