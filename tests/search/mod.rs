//! Searches and what is built on them, as clients see them.

mod conditional;
mod definitions;
mod fulltext;
mod includes;
mod index;
mod pages;
mod parameters;
mod us_core;
