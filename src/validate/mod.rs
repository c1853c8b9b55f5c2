//! `validate`.
