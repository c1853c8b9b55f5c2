//! `app`.

pub mod postgres;
