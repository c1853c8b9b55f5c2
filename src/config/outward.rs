//! The settings of what goes out besides the ledger, and their rules. The doc comments are the reference manual, as
//! those of [`super::manual`] are.

use std::num::NonZeroU32;

use super::Preset::{Flag, List, Number, Text, Unset};
use super::check::is_sent_to;
use super::setting::section;
use super::{Config, ConfigError, Network, Section, Setting, UpdateMethod};

section! {
    false
    /// OpenTelemetry, in a binary built with the feature `otel`.
    [otel] Otel {
        /// OTLP collector (HTTP) that gets the spans. Default: none is sent.
        endpoint: Option<String> = Unset("http://localhost:4318"),
    }
}

section! {
    false
    /// Subscriptions (channel rest-hook): whoever may write one is told of what changes, as far as that party may
    /// see it then.
    [subscriptions] Subscriptions {
        /// Whether they are served. Else they are stored, and stay as they were asked for.
        enabled: bool = Flag(true),
        /// The addresses that may be told, each with all below it, such as `https://hook.example.org/fhir`.
        /// Default: any that is https and public, or in subscriptions.networks.
        endpoints: Vec<String> = List,
        /// Private networks of which addresses may be told too: `10.0.0.0/8`. Whoever may write a Subscription can have
        /// the server call what is there. A loopback address on this list may be called without TLS.
        networks: Vec<Network> = List,
        /// How a resource is sent: "put", to its type and id below the endpoint, as R4 has it, or "post", to the
        /// endpoint.
        update_method: UpdateMethod = Text("put"),
        /// How many of one user or client may be open: one more is refused (429).
        max_open: NonZeroU32 = Number(100),
        /// How many this node works on at a time. 0: it leaves them to other nodes.
        workers: u32 = Number(2),
        /// How often in a row something is tried to be delivered before the status is error.
        max_tries: NonZeroU32 = Number(12),
        /// The pause after the first failure, in milliseconds. Each one after that is twice as long, up to five minutes.
        retry_ms: NonZeroU32 = Number(1_000),
        /// Longest time for one delivery, in seconds.
        timeout_s: NonZeroU32 = Number(10),
    }
}

impl Config {
    /// Each place that may be told is one.
    pub(super) fn check_subscriptions(&self) -> Result<(), ConfigError> {
        match self.subscriptions.endpoints.iter().find(|place| !is_sent_to(place)) {
            Some(place) => Err(ConfigError::Rule {
                key: "subscriptions.endpoints",
                reason: format!("{place:?} does not begin with https://"),
            }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::with;

    #[test]
    fn places_that_may_be_told_are_addresses() {
        for (places, is_fit) in [
            ("", true),
            ("https://hook.example.org", true),
            ("https://hook.example.org/fhir,https://other.example.org:8443", true),
            ("hook.example.org", false),
            ("https://hook.example.org,ftp://other.example.org", false),
        ] {
            let config = with(&[("subscriptions.endpoints", places)]);
            assert_eq!(config.check_subscriptions().is_ok(), is_fit, "{places}");
        }
    }
}
