//! The results: an aligned table for people, JSON for programs.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::figures::{Figure, aligned};
use super::floor::Timing;
use super::load::{Interaction, Measured};
use super::process::Meter;
use super::sharing::Sharing;
use super::{BenchError, Work};

/// All results of one run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    work: &'static str,
    base: String,
    /// Version and durability of the database that the floor was measured on.
    database: Option<String>,
    processors: usize,
    server_pid: Option<u32>,
    postmaster_pid: Option<u32>,
    rows: Vec<Row>,
    /// What one client's costly searches do to others.
    beside: Vec<Sharing>,
    notes: Vec<String>,
    /// What has a bound.
    figures: Vec<Figure>,
    /// What is beyond its budget by more than noise explains.
    refused: Vec<String>,
}

/// One measurement.
#[derive(Debug, Serialize)]
struct Row {
    clients: usize,
    what: String,
    requests: u64,
    failures: u64,
    /// Requests, or resources for an import, per second.
    per_second: f64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    /// Server's processor time for each request (resource), in milliseconds.
    server_cpu_ms: Option<f64>,
    /// PostgreSQL's.
    postgres_cpu_ms: Option<f64>,
    /// Share of all processors that the load generator took.
    generator_share: f64,
    /// What the database alone does, per second.
    floor_per_second: Option<f64>,
    /// `per_second` as a part of the floor.
    ratio: Option<f64>,
    /// What a search is beside its floor.
    #[serde(flatten)]
    search: Option<SearchRow>,
}

/// What only a search has.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct SearchRow {
    /// Resources in an answer, or the total of a count, on average.
    pub(super) found: f64,
    /// Milliseconds that half of the floor's statements took at most.
    pub(super) floor_p50_ms: Option<f64>,
    /// `p50_ms` in units of that.
    pub(super) times_floor: Option<f64>,
    /// What `times_floor` may be at most.
    pub(super) goal: f64,
}

impl Report {
    pub(super) fn new(work: Work, base: &str, database: Option<String>, meter: &Meter) -> Self {
        let mut notes = Vec::new();
        if database.is_none() {
            notes.push("no --database: no floor was measured".to_owned());
        }
        if meter.server.is_none() {
            notes.push("the server's process was not found: name it with --pid".to_owned());
        }
        if meter.postmaster.is_none() {
            notes.push("PostgreSQL's process was not found: name its --database".to_owned());
        }
        Self {
            work: work.name(),
            base: base.to_owned(),
            database,
            processors: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            server_pid: meter.server,
            postmaster_pid: meter.postmaster,
            rows: Vec::new(),
            beside: Vec::new(),
            notes,
            figures: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// Adds the row of all requests of one measurement, or of one interaction in it.
    pub(super) fn add(
        &mut self,
        clients: usize,
        what: &str,
        of: Option<Interaction>,
        measured: &Measured,
        floor: Option<f64>,
    ) {
        let requests = measured.notes.count(of);
        self.push(clients, what, of, measured, requests, floor);
    }

    /// Adds the row of a search that gives `found` resources beside its floor, of which it may take
    /// `goal` times as long.
    pub(super) fn add_search(
        &mut self,
        clients: usize,
        what: &str,
        measured: &Measured,
        (found, goal): (f64, f64),
        floor: Option<Timing>,
    ) {
        self.add(clients, what, None, measured, floor.map(|floor| floor.per_second));
        if let Some(row) = self.rows.last_mut() {
            let floor_p50_ms = floor.map(|floor| floor.p50_ms);
            let has_both = |floor: &f64| *floor > 0.0 && row.p50_ms > 0.0;
            let times_floor = floor_p50_ms.filter(has_both).map(|floor| row.p50_ms / floor);
            row.search = Some(SearchRow { found, floor_p50_ms, times_floor, goal });
            let who = format!("{what}, {clients} clients");
            if let Some(times) = times_floor.filter(|times| *times > goal) {
                self.refused.push(format!("{who}: {times:.2} times the floor, at most {goal:.0}"));
            }
            // What failed has no time.
            if row.failures > 0 {
                self.refused.push(format!("{who}: {} failed", row.failures));
            }
        }
    }

    /// Adds the row of an import, counted in resources.
    pub(super) fn add_import(&mut self, clients: usize, measured: &Measured, floor: Option<f64>) {
        self.push(clients, "resources", None, measured, measured.notes.resources, floor);
    }

    fn push(
        &mut self,
        clients: usize,
        what: &str,
        of: Option<Interaction>,
        measured: &Measured,
        counted: u64,
        floor: Option<f64>,
    ) {
        let seconds = measured.elapsed.as_secs_f64().max(0.001);
        let per_second = counted as f64 / seconds;
        let [p50_ms, p95_ms, p99_ms] = measured.notes.percentiles(of);
        // Processor time is known for the whole measurement only, so a part of it gets no share.
        let each = |used: Option<std::time::Duration>| {
            used.filter(|_| of.is_none() && counted > 0)
                .map(|used| used.as_secs_f64() * 1_000.0 / counted as f64)
        };
        if let Some(reason) = &measured.notes.first_failure {
            let note = format!("{clients} clients, {what}: a request failed: {reason}");
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
        self.rows.push(Row {
            clients,
            what: what.to_owned(),
            requests: measured.notes.count(of),
            failures: if of.is_none() { measured.notes.failures } else { 0 },
            per_second,
            p50_ms,
            p95_ms,
            p99_ms,
            server_cpu_ms: each(measured.used.server),
            postgres_cpu_ms: each(measured.used.postgres),
            generator_share: measured.used.own.as_secs_f64() / seconds / self.processors as f64,
            floor_per_second: floor,
            ratio: floor.filter(|floor| *floor > 0.0).map(|floor| per_second / floor),
            search: None,
        });
    }

    /// Tells what one client's costly searches do to others.
    pub(super) fn add_beside(&mut self, beside: Sharing) {
        if beside.is_missed() {
            let Sharing { what, times, goal, failures, .. } = &beside;
            self.refused.push(format!(
                "{what} beside a costly client: {times:.2} times as long, at most {goal:.0}; {failures} failed"
            ));
        }
        self.beside.push(beside);
    }

    /// Adds a sentence below the table.
    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Adds what has a bound.
    pub(super) fn figure(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// Adds what has a bound, and refuses it where that is missed.
    pub(super) fn bind(&mut self, figure: Figure) {
        self.refused.extend(figure.missed());
        self.figures.push(figure);
    }

    /// Adds what is beyond its budget.
    pub(super) fn refuse(&mut self, text: String) {
        self.refused.push(text);
    }

    /// Refuses what is beyond its budget.
    ///
    /// # Errors
    /// [`BenchError::Over`] says what.
    pub(super) fn refuse_over(&self) -> Result<(), BenchError> {
        if self.refused.is_empty() {
            return Ok(());
        }
        Err(BenchError::Over(self.refused.join("; ")))
    }

    /// Prints the table, and the JSON to `json`; `-` prints the JSON alone.
    ///
    /// # Errors
    /// [`BenchError::Io`] when the file cannot be written.
    pub(super) fn print(&self, json: Option<&Path>) -> Result<(), BenchError> {
        let text = || {
            serde_json::to_string_pretty(self)
                .map_err(|fault| BenchError::io("the results")(fault.into()))
        };
        match json {
            Some(path) if path == Path::new("-") => println!("{}", text()?),
            Some(path) => {
                std::fs::write(path, text()?)
                    .map_err(BenchError::io(path.display().to_string()))?;
                print!("{}", self.table());
            }
            None => print!("{}", self.table()),
        }
        Ok(())
    }

    fn table(&self) -> String {
        let mut header: Vec<&str> = HEADER.to_vec();
        if self.rows.iter().any(|row| row.search.is_some()) {
            header.extend(["found", "floor p50", "p50 / floor"]);
        }
        let mut lines = vec![header.into_iter().map(str::to_owned).collect::<Vec<_>>()];
        lines.extend(self.rows.iter().map(Row::cells));
        let mut text = format!("kiln bench {} on {}\n", self.work, self.base);
        if let Some(facts) = &self.database {
            // Writing to a String cannot fail, here and below.
            let _ = writeln!(text, "{facts}");
        }
        text.push_str(&aligned(&lines, 1));
        for note in &self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        let figures: Vec<_> = self.figures.iter().map(Figure::cells).collect();
        text.push_str(&aligned(&figures, 0));
        text.extend(self.beside.iter().map(Sharing::told));
        if self.rows.iter().any(|row| row.search.is_some()) {
            text.push_str("\np50 in units of the floor's, at each number of clients\n");
            text.push_str(&aligned(&self.ratios(), 0));
        }
        text
    }

    /// The searches, what each may take, and what it takes, with a mark where that is more.
    fn ratios(&self) -> Vec<Vec<String>> {
        let mut clients: Vec<usize> = self.rows.iter().map(|row| row.clients).collect();
        clients.sort_unstable();
        clients.dedup();
        let mut header = vec!["what".to_owned(), "at most".to_owned()];
        header.extend(clients.iter().map(|count| format!("{count}  ")));
        let mut lines = vec![header];
        for row in &self.rows {
            let Some(SearchRow { goal, .. }) = row.search else { continue };
            if lines.iter().any(|line| line[0] == row.what) {
                continue;
            }
            let mut line = vec![row.what.clone(), format!("{goal:.0}")];
            for count in &clients {
                let same = |it: &&Row| it.what == row.what && it.clients == *count;
                let search = self.rows.iter().find(same).and_then(|it| it.search);
                let ratio = search.and_then(|search| search.times_floor);
                let mark = if ratio.is_some_and(|ratio| ratio > goal) { " !" } else { "  " };
                line.push(ratio.map_or("-  ".to_owned(), |ratio| format!("{ratio:.2}{mark}")));
            }
            lines.push(line);
        }
        lines
    }
}

/// The columns of every row.
const HEADER: [&str; 13] = [
    "clients",
    "what",
    "requests",
    "failed",
    "per s",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "server ms",
    "postgres ms",
    "generator %",
    "floor per s",
    "ratio",
];

impl Row {
    fn cells(&self) -> Vec<String> {
        let optional = |value: Option<f64>, places: usize| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.places$}"))
        };
        let mut cells = vec![
            self.clients.to_string(),
            self.what.clone(),
            self.requests.to_string(),
            self.failures.to_string(),
            format!("{:.0}", self.per_second),
            format!("{:.2}", self.p50_ms),
            format!("{:.2}", self.p95_ms),
            format!("{:.2}", self.p99_ms),
            optional(self.server_cpu_ms, 3),
            optional(self.postgres_cpu_ms, 3),
            format!("{:.0}", self.generator_share * 100.0),
            optional(self.floor_per_second, 0),
            optional(self.ratio, 2),
        ];
        if let Some(search) = self.search {
            cells.push(format!("{:.0}", search.found));
            cells.push(optional(search.floor_p50_ms, 2));
            cells.push(optional(search.times_floor, 2));
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::figures::Bound;
    use super::super::load::Notes;
    use super::super::process::Used;
    use super::*;

    #[test]
    fn a_row_has_rate_share_and_ratio() {
        let mut notes = Notes::default();
        for _ in 0..1_000 {
            notes.success(Interaction::Read, Duration::from_micros(500));
        }
        let used = Used {
            own: Duration::from_millis(200),
            server: Some(Duration::from_millis(100)),
            postgres: None,
        };
        let measured = Measured { notes, elapsed: Duration::from_secs(2), used };
        let meter = Meter { server: Some(1), postmaster: None };
        let mut report = Report::new(Work::Read, "http://x", None, &meter);
        report.processors = 2;
        report.add(8, "read", None, &measured, Some(1_000.0));
        let row = &report.rows[0];
        assert_eq!((row.requests, row.per_second, row.ratio), (1_000, 500.0, Some(0.5)));
        assert_eq!((row.server_cpu_ms, row.postgres_cpu_ms), (Some(0.1), None));
        assert!((row.generator_share - 0.05).abs() < 1e-9);
        let table = report.table();
        assert!(table.contains("8  read      1000       0    500    0.50"), "{table}");
        assert!(serde_json::to_string(&report).unwrap().contains("\"ratio\":0.5"));
    }

    #[test]
    fn searches_end_in_one_table_of_ratios() {
        let mut report =
            Report::new(Work::Search, "http://x", None, &Meter { server: None, postmaster: None });
        for clients in [1, 8] {
            for (what, ms, goal) in [("token", 1, 3.0), ("chain", 5, 10.0)] {
                let mut notes = Notes::default();
                notes.success(Interaction::Search, Duration::from_millis(ms * clients));
                let (elapsed, used) = (Duration::from_secs(1), Used::default());
                let measured = Measured { notes, elapsed, used };
                let floor = Timing { per_second: 1.0, p50_ms: 1.0 };
                let count = usize::try_from(clients).unwrap();
                report.add_search(count, what, &measured, (20.0, goal), Some(floor));
            }
        }
        // A measurement of another kind stands among them, with fewer cells.
        let (notes, elapsed, used) = Default::default();
        report.add(1, "reads", None, &Measured { notes, elapsed, used }, None);
        let table = report.table();
        let (_, ratios) = table.split_once("p50 in units").unwrap();
        let lines: Vec<Vec<&str>> =
            ratios.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["what", "at", "most", "1", "8"]);
        assert_eq!(lines[1], ["token", "3", "1.00", "8.00", "!"]);
        assert_eq!(lines[2], ["chain", "10", "5.00", "40.00", "!"]);
        let refused = report.refuse_over().unwrap_err().to_string();
        let expected = "more than it may be: token, 8 clients: 8.00 times the floor, at most 3; \
                        chain, 8 clients: 40.00 times the floor, at most 10";
        assert_eq!(refused, expected);
    }

    type Bind = fn(&mut Report);

    #[test]
    fn what_a_search_may_be_counts_and_what_it_keeps_does_not() {
        let report = || {
            Report::new(Work::Search, "http://x", None, &Meter { server: None, postmaster: None })
        };
        let cases: [(Bind, &str); 6] = [
            (|it| it.bind(Figure::new("room", 1.5, "times", Bound::AtMost(1.5))), ""),
            (
                |it| it.bind(Figure::new("room", 2.5, "times", Bound::AtMost(1.5))),
                "room: 2.50 times, at most 1.5",
            ),
            (|it| it.figure(Figure::new("told", 2.5, "times", Bound::AtMost(1.5))), ""),
            (|it| it.add_beside(sharing(1.5)), ""),
            (
                |it| it.add_beside(sharing(2.5)),
                "the mix beside a costly client: 2.50 times as long, at most 2; 0 failed",
            ),
            (
                |it| it.add_search(1, "token", &Measured::nothing(failed()), (0.0, 3.0), None),
                "token, 1 clients: 1 failed",
            ),
        ];
        for (add, expected) in cases {
            let mut report = report();
            add(&mut report);
            let refused = report.refuse_over().err().map(|error| error.to_string());
            let refused = refused.unwrap_or_default();
            assert_eq!(refused.trim_start_matches("more than it may be: "), expected);
        }
    }

    fn failed() -> Notes {
        let mut notes = Notes::default();
        notes.failure("GET /x: 500".to_owned());
        notes
    }

    fn sharing(times: f64) -> Sharing {
        Sharing {
            what: "the mix",
            clients: 8,
            costly: Vec::new(),
            is_another_address: true,
            alone_p99_ms: 10.0,
            beside_p99_ms: 10.0 * times,
            failures: 0,
            times,
            goal: 2.0,
        }
    }
}
