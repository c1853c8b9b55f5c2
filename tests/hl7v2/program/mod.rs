//! Feeds and messages by the settings and commands of the program.

mod commands;
mod door;
mod meters;
mod send;
