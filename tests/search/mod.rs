//! Searches and what is built on them, as clients see them.

mod composites;
mod conditional;
mod definitions;
mod fulltext;
mod grouped;
mod importing;
mod includes;
mod index;
mod lacking;
mod moving;
mod ordered;
mod overlaps;
mod pages;
mod parameter_races;
mod parameters;
mod profiles;
mod recorded;
mod reindex;
mod spans;
mod us_core;
mod value_sets;
