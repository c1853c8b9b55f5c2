//! `engine`.
