//! The primitive types.
