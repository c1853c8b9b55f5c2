//! How much room the search index takes, beside the bodies that it is of.

use super::super::BenchError;
use super::super::floor::Floor;
use crate::store::maintenance::ROOM_OF_BODIES;

/// Its name for `--only`.
pub(super) const NAME: &str = "room of the index";
/// What is bound of it.
pub(super) const WHAT: &str = "bytes of the index for each byte of a body";
/// How many times the text of the bodies the index may be at most.
pub(super) const MOST: f64 = 1.5;

/// The tables of the index with their indexes: name, bytes of the table, name and bytes of an index. None
/// in a database of another server.
const ROOMS: &str = "SELECT t.relname, pg_table_size(t.oid), i.relname, pg_relation_size(i.oid) \
     FROM pg_class t LEFT JOIN pg_index x ON x.indrelid = t.oid LEFT JOIN pg_class i ON i.oid = x.indexrelid \
     WHERE t.oid IN (SELECT to_regclass(n) FROM unnest('{comp,dat,meta_use,num,srow,str,tok,token_code}'::text[]) n) \
     ORDER BY t.relname, i.relname;";

/// A table and its indexes, in bytes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Room {
    table: String,
    bytes: u64,
    indexes: Vec<(String, u64)>,
}

/// The resources that the index is of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Bodies {
    count: u64,
    text: u64,
    stored: u64,
}

/// What is to be told of the index, and how many times the text of the bodies it is; nothing where the
/// database is no server's of this kind, or is empty.
///
/// # Errors
/// [`BenchError::Database`]
pub(super) async fn told(floor: &Floor) -> Result<(Vec<String>, Option<f64>), BenchError> {
    let rooms = rooms(&floor.sql(ROOMS).await?);
    if rooms.is_empty() {
        return Ok((Vec::new(), None));
    }
    let bodies = bodies(&floor.sql(ROOM_OF_BODIES).await?);
    let told = bodies.map(|bodies| (lines(&rooms, bodies), Some(times(&rooms, bodies))));
    Ok(told.unwrap_or_default())
}

fn rooms(answer: &str) -> Vec<Room> {
    let mut all: Vec<Room> = Vec::new();
    for line in answer.lines() {
        let parts: Vec<&str> = line.split('|').collect();
        let [table, bytes, index, of_index] = parts[..] else { continue };
        let number = |text: &str| text.parse::<u64>().unwrap_or_default();
        if all.last().is_none_or(|last| last.table != table) {
            let (table, bytes) = (table.to_owned(), number(bytes));
            all.push(Room { table, bytes, indexes: Vec::new() });
        }
        if let Some(last) = all.last_mut().filter(|_| !index.is_empty()) {
            last.indexes.push((index.to_owned(), number(of_index)));
        }
    }
    all
}

fn bodies(answer: &str) -> Option<Bodies> {
    let mut numbers = answer.trim().split('|').map(|number| number.parse::<u64>().ok());
    let mut next = || numbers.next().flatten().filter(|number| *number > 0);
    Some(Bodies { count: next()?, text: next()?, stored: next()? })
}

impl Room {
    fn total(&self) -> u64 {
        self.bytes + self.indexes.iter().map(|(_, bytes)| bytes).sum::<u64>()
    }
}

/// How many times the text of the bodies the index is.
fn times(rooms: &[Room], Bodies { count, text, .. }: Bodies) -> f64 {
    let all: u64 = rooms.iter().map(Room::total).sum();
    all as f64 / count as f64 / text as f64
}

fn lines(rooms: &[Room], Bodies { count, text, stored }: Bodies) -> Vec<String> {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let mut lines = Vec::with_capacity(rooms.len() + 1);
    for room in rooms {
        let total = room.total();
        let indexes: Vec<String> =
            room.indexes.iter().map(|(name, bytes)| format!("{name} {:.1}", mib(*bytes))).collect();
        lines.push(format!(
            "index, {}: {:.1} MiB, {} bytes a resource (table {:.1}; {})",
            room.table,
            mib(total),
            total / count,
            mib(room.bytes),
            indexes.join(", ")
        ));
    }
    let all: u64 = rooms.iter().map(Room::total).sum();
    let each = all as f64 / count as f64;
    lines.push(format!(
        "index in all: {:.1} MiB for {count} resources, {each:.0} bytes each: {:.2} times the text of a \
         body ({text} bytes), {:.2} times what is stored of it ({stored})",
        mib(all),
        each / text as f64,
        each / stored as f64
    ));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_table_and_index_is_told_with_its_share() {
        let answer = "dat|1048576||\ntok|2097152|tok_pkey|1048576\ntok|2097152|tok_s|524288\n";
        let found = rooms(answer);
        assert_eq!(found.iter().map(Room::total).collect::<Vec<_>>(), [1 << 20, 3_670_016]);
        let of = bodies("2048|1152|576\n").expect("numbers");
        assert_eq!(of, Bodies { count: 2_048, text: 1_152, stored: 576 });
        let told = lines(&found, of);
        assert_eq!(told[0], "index, dat: 1.0 MiB, 512 bytes a resource (table 1.0; )");
        let tok = "index, tok: 3.5 MiB, 1792 bytes a resource (table 2.0; tok_pkey 1.0, tok_s 0.5)";
        assert_eq!(told[1], tok);
        let all = "index in all: 4.5 MiB for 2048 resources, 2304 bytes each: 2.00 times the text of a \
                   body (1152 bytes), 4.00 times what is stored of it (576)";
        assert_eq!(told[2], all);
        assert!((times(&found, of) - 2.0).abs() < 1e-9);
        assert_eq!(rooms(""), []);
        for empty in ["", "0||", "5||\n"] {
            assert_eq!(bodies(empty), None, "{empty:?}");
        }
    }
}
