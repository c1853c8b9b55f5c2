//! The floor of a feed: bare INSERTs of the same bytes, by as many clients, in the same database and run.

use super::super::{Bench, BenchError};
use super::{Kind, Numbers, message};

/// Different messages of the floor: a statement of pgbench has few variables.
const TEXTS: u64 = 9;

/// INSERTs a second of messages of a kind; `None` without a database.
///
/// # Errors
/// [`BenchError::Database`]
pub(super) async fn floor(
    bench: &Bench,
    (kind, mode): (Kind, &str),
    clients: usize,
    seconds: u64,
    numbers: &Numbers,
) -> Result<Option<f64>, BenchError> {
    let Some(floor) = &bench.floor else { return Ok(None) };
    let texts = texts(kind, mode, numbers);
    floor.texts(&texts, clients, seconds).await.map(Some)
}

fn texts(kind: Kind, mode: &str, numbers: &Numbers) -> Vec<String> {
    let text =
        |patient| String::from_utf8_lossy(&message(kind, mode, "b", patient, numbers)).into_owned();
    (0..TEXTS).map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::floor::Floor;
    use super::*;
    use crate::app::postgres::Private;
    use crate::config::Config;

    fn hex(text: &str) -> String {
        text.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
    }

    #[tokio::test]
    async fn the_floor_inserts_the_bytes_of_messages() {
        let folder = std::env::temp_dir().join(format!("kiln-v2-floor-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let flags = [("data_dir".to_owned(), folder.display().to_string())];
        let postgres = Private::start(&Config::load(None, &flags).unwrap()).unwrap();
        let floor = Floor::new(&postgres.owner_url(), None).await.unwrap();
        for kind in [Kind::Visit, Kind::Result] {
            let texts = texts(kind, "AL|NE", &Numbers::new(1));
            let rate = floor.texts(&texts, 2, 1).await.unwrap();
            assert!(rate > 0.0, "{kind:?}: {rate}");
            let sql =
                "SELECT DISTINCT encode(convert_to(body, 'UTF8'), 'hex') FROM kiln_bench.message;";
            let stored = floor.sql(sql).await.unwrap();
            let sent: Vec<String> = texts.iter().map(|text| hex(text)).collect();
            let is_sent = |line: &str| sent.iter().any(|text| text == line);
            assert!(
                stored.lines().count() > 0 && stored.lines().all(is_sent),
                "{kind:?}: {stored}"
            );
        }
        floor.remove().await.unwrap();
        postgres.stop();
        let _ = std::fs::remove_dir_all(&folder);
    }
}
