//! What is read before a search is compiled: what it names and other tables know.

mod list;
mod profiles;
