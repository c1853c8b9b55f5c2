//! What one client's costly searches do to those of others, as figures and as sentences.

use serde::Serialize;

/// Searches of some clients alone, and beside a client that asks for what is costly.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Sharing {
    /// Which searches.
    pub(super) what: &'static str,
    /// Clients that ask for them.
    pub(super) clients: usize,
    /// What the costly client asks for.
    pub(super) costly: Vec<String>,
    /// Whether the server can tell it from the others by its address.
    pub(super) is_another_address: bool,
    /// Milliseconds that 99 of a hundred of the searches took at most by themselves.
    pub(super) alone_p99_ms: f64,
    /// The same beside the costly client.
    pub(super) beside_p99_ms: f64,
    /// Searches beside it that were refused or failed: they have no time.
    pub(super) failures: u64,
    /// The latter time in units of the former.
    pub(super) times: f64,
    /// What `times` may be at most.
    pub(super) goal: f64,
}

impl Sharing {
    /// Whether the goal is missed.
    pub(super) fn is_missed(&self) -> bool {
        // What failed was not quick; and without a time nothing was measured.
        self.times > self.goal || self.failures > 0 || self.times == 0.0
    }

    /// The figures in sentences, with a mark where they miss the goal.
    pub(super) fn told(&self) -> String {
        let Self { what, clients, alone_p99_ms, beside_p99_ms, failures, times, goal, .. } = self;
        let mark = if self.is_missed() { " !" } else { "" };
        let costly = self.costly.join("; ");
        let from = if self.is_another_address {
            ""
        } else {
            "it came from the same address as the others: the server's shares of callers were not \
             measured\n"
        };
        format!(
            "\np99 of {what} of {clients} clients: {alone_p99_ms:.2} ms alone, {beside_p99_ms:.2} ms \
             beside a client that asks for: {costly}\nthat is {times:.2} times as long, and may be \
             {goal:.0} times; {failures} failed beside it{mark}\n{from}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_costly_client_does_to_others_is_told() {
        let beside = |times: f64, is_another_address| Sharing {
            what: "the mix",
            clients: 8,
            costly: vec!["a".to_owned(), "b".to_owned()],
            is_another_address,
            alone_p99_ms: 10.0,
            beside_p99_ms: 10.0 * times,
            failures: 0,
            times,
            goal: 2.0,
        };
        let told = beside(1.5, true).told();
        let expected = "\np99 of the mix of 8 clients: 10.00 ms alone, 15.00 ms beside a client that asks \
                        for: a; b\nthat is 1.50 times as long, and may be 2 times; 0 failed beside it\n";
        assert_eq!(told, expected);
        let text = serde_json::to_string(&beside(1.5, true)).unwrap();
        assert!(text.contains("\"beside_p99_ms\":15.0"), "{text}");
        let told = beside(2.5, false).told();
        assert!(told.contains("0 failed beside it !\n") && told.contains("same address"), "{told}");
        // Refusals have no time, and nothing at all is no good time either.
        let failed = Sharing { failures: 3, ..beside(0.5, true) };
        assert!(failed.told().contains("3 failed beside it !\n"));
        assert!(beside(0.0, true).told().contains("0 failed beside it !\n"));
    }
}
