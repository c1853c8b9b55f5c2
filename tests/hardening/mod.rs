//! What a hostile client, sender, package or address may try, and what becomes of it.

mod attacks;
mod canaries;
mod components;
mod files;
mod lines;
mod markup;
mod outbound;
mod panics;
mod senders;
pub(crate) mod transport;
