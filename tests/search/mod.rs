//! Searches and what is built on them, as clients see them.

mod conditional;
mod fulltext;
mod includes;
mod index;
mod parameter_races;
mod parameters;
mod reindex;
