//! `app`.

pub mod demo;
pub mod postgres;
