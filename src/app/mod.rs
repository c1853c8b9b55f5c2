//! `app`.

pub mod demo;
pub mod postgres;
pub mod telemetry;
