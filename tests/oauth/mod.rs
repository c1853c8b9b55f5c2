//! The authorization server from outside: persons, pages, apps.

mod accounts;
mod authorize;
mod browser;
mod launch;
mod pages;
mod sessions;
