//! Independent opinions.
