//! Metrics of requests, by route template: how many by status, and how long they took.

use std::sync::OnceLock;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use metrics::{Counter, Histogram};

use super::table::Table;

/// Statuses that are counted one by one; others under `0`.
const STATUSES: [u16; 23] = [
    200, 201, 202, 204, 304, 400, 401, 403, 404, 405, 406, 409, 410, 412, 413, 414, 415, 422, 429,
    431, 500, 503, 504,
];

/// What stands for the method and the route of requests that found no row.
const OTHER: &str = "other";
const NO_ROUTE: &str = "none";

/// The meters of each row, and of requests that found none.
pub(super) struct Meters(Vec<Row>);

struct Row {
    method: String,
    path: &'static str,
    latency: OnceLock<Histogram>,
    counts: [OnceLock<Counter>; STATUSES.len() + 1],
}

impl Meters {
    pub(super) fn new(table: &Table) -> Self {
        let row = |method: &Method, path| Row {
            method: method.to_string(),
            path,
            latency: OnceLock::new(),
            counts: [const { OnceLock::new() }; STATUSES.len() + 1],
        };
        let mut rows: Vec<Row> =
            table.routes().iter().map(|route| row(&route.method, route.path)).collect();
        rows.push(Row { method: OTHER.to_owned(), ..row(&Method::GET, NO_ROUTE) });
        Self(rows)
    }

    /// Counts an answer; `None` is a request that found no row.
    pub(super) fn count(&self, row: Option<usize>, status: StatusCode, latency: Duration) {
        let Some(row) = row.map_or_else(|| self.0.last(), |row| self.0.get(row)) else { return };
        let known = STATUSES.iter().position(|known| *known == status.as_u16());
        let (at, label) = match known {
            Some(at) => (at, STATUSES[at]),
            None => (STATUSES.len(), 0),
        };
        // Handles are made on first use: the recorder is there by then, and hot routes pay no look-up.
        let counter = row.counts[at].get_or_init(|| {
            let (method, status) = (row.method.clone(), label.to_string());
            metrics::counter!(
                "kiln_http_requests_total",
                "method" => method, "route" => row.path, "status" => status
            )
        });
        counter.increment(1);
        let histogram = row.latency.get_or_init(|| {
            let method = row.method.clone();
            metrics::histogram!(
                "kiln_http_request_duration_seconds", "method" => method, "route" => row.path
            )
        });
        histogram.record(latency.as_secs_f64());
    }
}

/// Counts an answer that no endpoint gave, as one to a request that found no row.
pub(super) fn count_lost(status: StatusCode, latency: Duration) {
    let label = if STATUSES.contains(&status.as_u16()) { status.as_u16() } else { 0 };
    metrics::counter!(
        "kiln_http_requests_total",
        "method" => OTHER, "route" => NO_ROUTE, "status" => label.to_string()
    )
    .increment(1);
    metrics::histogram!(
        "kiln_http_request_duration_seconds", "method" => OTHER, "route" => NO_ROUTE
    )
    .record(latency.as_secs_f64());
}
