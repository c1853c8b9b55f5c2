//! Surrogate keys, taken from the sequence a thousand at a time.

use deadpool_postgres::Object;
use tokio::sync::Mutex;

use crate::error::Error;
use crate::store::failure;

/// Keys in a block: the increment of the sequence.
const BLOCK: i64 = 1_000;

/// The block that keys are taken from. What is left of one at the end is never used.
#[derive(Debug, Default)]
pub(in crate::store) struct Rids(Mutex<Block>);

#[derive(Debug, Default)]
struct Block {
    next: i64,
    end: i64,
}

impl Rids {
    pub(super) async fn next(&self, connection: &Object) -> Result<i64, Error> {
        let mut block = self.0.lock().await;
        if block.next == block.end {
            let sql = "SELECT nextval('rid_seq')";
            let row = connection.query_one(sql, &[]).await.map_err(failure::error)?;
            block.next = row.try_get(0).map_err(failure::error)?;
            block.end = block.next + BLOCK;
        }
        block.next += 1;
        Ok(block.next - 1)
    }
}
