//! What a hostile client, sender, package or address may try, and what becomes of it.

mod attacks;
mod canaries;
mod components;
mod files;
mod injection;
mod lines;
mod markup;
mod outbound;
mod panics;
mod payloads;
mod senders;
mod sleeps;
pub(crate) mod transport;
