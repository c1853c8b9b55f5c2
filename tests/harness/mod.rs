//! What every black-box test needs: a database, a server, a client, and the shared suites.

pub(crate) mod client;
pub(crate) mod database;
pub(crate) mod endpoint;
pub(crate) mod grants;
pub(crate) mod json;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod seats;
pub(crate) mod server;
pub(crate) mod shared;
pub(crate) mod wire;
