//! Keyed 64-bit hashes: what compartments and search tokens are stored as.
//!
//! The key belongs to the deployment, so nobody outside can craft values that collide.

use std::hash::Hasher as _;

use sha2::{Digest as _, Sha256};
use siphasher::sip::SipHasher13;

use crate::error::Error;
use crate::fhir::{LogicalId, ResourceType};

use super::TENANT;
use super::connection::Pipelines;
use super::failure;

/// The hashes of one deployment.
#[derive(Clone, Debug)]
pub struct Hasher {
    key: [u8; 16],
}

impl Hasher {
    pub(super) async fn load(readers: &Pipelines) -> Result<Self, Error> {
        let pipeline = readers.pipeline().await?;
        let sql = "SELECT value FROM deployment WHERE name = 'hash_key'";
        let row = pipeline.client().query_one(sql, &[]).await.map_err(failure::error)?;
        let key: &[u8] = row.try_get(0).map_err(failure::error)?;
        let key = key.try_into().map_err(|_| Error::internal("the hash key has 16 bytes"))?;
        Ok(Self::with_key(key))
    }

    /// The hashes of the deployment with this key.
    pub fn with_key(key: [u8; 16]) -> Self {
        Self { key }
    }

    /// The identity of a resource, whether it exists or not.
    pub fn identity(&self, resource_type: ResourceType, id: &LogicalId) -> i64 {
        let mut hasher = self.start(b'i');
        hasher.write_i16(resource_type.code());
        hasher.write(id.as_str().as_bytes());
        hasher.finish().cast_signed()
    }

    /// A patient, as compartments name it.
    pub fn patient(&self, id: &LogicalId) -> i64 {
        self.identity(ResourceType::PATIENT, id)
    }

    /// The line of an identifier of a patient, in which messages wait for each other.
    pub fn line(&self, identifier: &str) -> i64 {
        let mut hasher = self.start(b'v');
        hasher.write(identifier.as_bytes());
        hasher.finish().cast_signed()
    }

    /// A short proof that this deployment wrote `bytes`: what makes a cursor opaque.
    pub fn seal(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.start(b's');
        hasher.write(bytes);
        hasher.finish()
    }

    /// A secret of the deployment for one purpose, of which the hashes tell nothing.
    pub(super) fn secret(&self, purpose: &str) -> [u8; 32] {
        Sha256::new_with_prefix(self.key).chain_update(purpose).finalize().into()
    }

    pub(super) fn start(&self, domain: u8) -> SipHasher13 {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write_u8(domain);
        hasher.write_i32(TENANT);
        hasher
    }
}
