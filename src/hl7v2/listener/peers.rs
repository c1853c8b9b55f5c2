//! Who is connected: so many of an address, and how many there are.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedSemaphorePermit;

/// Connections by address.
#[derive(Clone, Default)]
pub(super) struct Peers(Arc<Mutex<HashMap<IpAddr, u32>>>);

/// One of them, until it is dropped.
pub(super) struct Present {
    peers: Peers,
    address: IpAddr,
    _seat: OwnedSemaphorePermit,
}

impl Peers {
    /// Counts a connection; `None` where its address has `most` already.
    pub(super) fn enter(
        &self,
        address: IpAddr,
        most: u32,
        seat: OwnedSemaphorePermit,
    ) -> Option<Present> {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = peers.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Present { peers: self.clone(), address, _seat: seat })
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut peers = self.peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = peers.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                peers.remove(&self.address);
            }
        }
    }
}

/// A connection among the metrics, until it is dropped, be it by a panic.
pub(super) struct Counted(());

impl Counted {
    /// Counts one more.
    pub(super) fn new() -> Self {
        metrics::gauge!("kiln_v2_connections").increment(1.0);
        Self(())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!("kiln_v2_connections").decrement(1.0);
    }
}
