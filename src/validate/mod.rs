//! Placeholder: the owner of `validate` replaces this file.
pub mod form;
