//! How one sees the server run: log lines, metrics, and spans for a collector.
//!
//! The log goes to standard error and the spans go where `otel.endpoint` says; neither may hold
//! patient data, which is the duty of who writes them (style.md, Tracing). Metrics are kept in
//! memory and rendered when `/metrics` is asked.
//!
//! Layer: 8. Imports `config`.

mod lines;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal as _;
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use thiserror::Error;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::{Config, LogFormat};

use lines::{Lines, Outlet};

/// The version of this binary.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Upper bounds of the buckets of every histogram, in seconds: from a read out of memory to the
/// longest transaction.
const BUCKETS_S: [f64; 15] =
    [0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// How often observed values are moved into their buckets, so that their memory stays bounded
/// when nobody asks for the metrics.
const UPKEEP: Duration = Duration::from_secs(5);

/// Why the log or the spans cannot be set up.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The filter does not parse.
    #[error("`log.filter`: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The thread that writes the log cannot be had.
    #[error("the log cannot be written: {0}")]
    Thread(#[from] std::io::Error),
    /// A subscriber is set already.
    #[error("the log is set up already: {0}")]
    Installed(#[from] tracing_subscriber::util::TryInitError),
    /// The exporter of spans cannot be built.
    #[cfg(feature = "otel")]
    #[error("`otel.endpoint`: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// The log and the spans of this process; dropping it sends what is still held back.
#[derive(Debug)]
pub struct Telemetry {
    is_pretty: bool,
    _log: Outlet,
    #[cfg(feature = "otel")]
    spans: Option<opentelemetry_sdk::trace::SdkTracerProvider>,
}

impl Telemetry {
    /// Sets up the log as `config` says, and the spans when there is a collector.
    ///
    /// # Errors
    /// [`TelemetryError`] for a filter or a collector that cannot be, or on a second call.
    pub fn start(config: &Config) -> Result<Self, TelemetryError> {
        let filter = EnvFilter::try_new(&config.log.filter)?;
        let is_terminal = std::io::stderr().is_terminal();
        let is_pretty = match config.log.format {
            LogFormat::Auto => is_terminal,
            LogFormat::Json => false,
            LogFormat::Pretty => true,
        };
        let (queue, log) = lines::to(std::io::stderr())?;
        let lines = layer(queue, is_pretty, is_terminal);
        let registry = tracing_subscriber::registry();
        #[cfg(not(feature = "otel"))]
        {
            // Not a filter of the one layer: such a one takes the next line for refused as well,
            // when a library asks whether it would log and then does not.
            registry.with(lines).with(filter).try_init()?;
            std::panic::set_hook(Box::new(log_panic));
            Ok(Self { is_pretty, _log: log })
        }
        #[cfg(feature = "otel")]
        {
            use opentelemetry::trace::TracerProvider as _;
            let spans = config.otel.endpoint.as_deref().map(exporter).transpose()?;
            let layer = spans.as_ref().map(|provider| {
                // Spans have a target of their own, so that they cost nothing without a collector.
                let filter = tracing_subscriber::filter::Targets::new()
                    .with_target("kiln::span", tracing::Level::DEBUG);
                tracing_opentelemetry::layer()
                    .with_tracer(provider.tracer("kiln"))
                    .with_filter(filter)
            });
            registry.with(lines.with_filter(filter)).with(layer).try_init()?;
            std::panic::set_hook(Box::new(log_panic));
            Ok(Self { is_pretty, _log: log, spans })
        }
    }

    /// Whether the log is for people, who may be told other things in between.
    pub fn is_pretty(&self) -> bool {
        self.is_pretty
    }
}

#[cfg(feature = "otel")]
impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(spans) = &self.spans
            && let Err(error) = spans.shutdown()
        {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// The layer that makes log lines.
fn layer(
    queue: Lines,
    is_pretty: bool,
    is_terminal: bool,
) -> Box<dyn Layer<Registry> + Send + Sync> {
    let layer = tracing_subscriber::fmt::layer().with_writer(queue);
    if !is_pretty {
        return layer.json().flatten_event(true).with_span_list(false).boxed();
    }
    let layer = layer.with_target(false);
    // A terminal gets colours unless NO_COLOR is set, which the library looks at.
    if is_terminal { layer.boxed() } else { layer.with_ansi(false).boxed() }
}

/// Makes a log line of a panic.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    let thread = std::thread::current();
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
    tracing::error!(
        place,
        thread = thread.name(),
        backtrace = backtrace.map(tracing::field::display),
        "panicked: {}",
        told(panic.payload())
    );
}

/// What a panic says, when that is a text of the program: another one may quote a document.
fn told(payload: &dyn std::any::Any) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("(what it says may quote data)")
}

#[cfg(feature = "otel")]
fn exporter(
    endpoint: &str,
) -> Result<opentelemetry_sdk::trace::SdkTracerProvider, opentelemetry_otlp::ExporterBuildError> {
    use opentelemetry_otlp::WithExportConfig as _;
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .build()?;
    let about = opentelemetry_sdk::Resource::builder()
        .with_service_name("kiln")
        .with_attribute(opentelemetry::KeyValue::new("service.version", VERSION))
        .build();
    Ok(opentelemetry_sdk::trace::SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(about)
        .build())
}

/// The metrics of this process in the format that Prometheus reads.
///
/// Made on the first call; from then on `metrics::counter!` and its like are kept.
pub fn render_metrics() -> String {
    let recorder = recorder();
    for (name, bytes) in memory() {
        metrics::gauge!(name).set(bytes as f64);
    }
    recorder.render()
}

/// Starts to keep metrics. A later call changes nothing.
pub fn keep_metrics() {
    recorder();
}

/// Lets the metrics tell the version: for listeners that the public does not reach.
pub fn tell_version() {
    metrics::gauge!("kiln_build_info", "version" => VERSION).set(1.0);
}

fn recorder() -> &'static PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER.get_or_init(|| {
        let builder = PrometheusBuilder::new();
        let recorder = builder
            .set_buckets(&BUCKETS_S)
            .expect("there is at least one bucket, the one thing that is checked")
            .build_recorder();
        let handle = recorder.handle();
        // Another one can only be there when a test brought its own; ours then stays empty.
        let _ = metrics::set_global_recorder(recorder);
        let upkeep = handle.clone();
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(UPKEEP);
                upkeep.run_upkeep();
            }
        });
        handle
    })
}

/// Resident memory, now and at its highest; empty where the system does not tell.
fn memory() -> Vec<(&'static str, u64)> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    [("VmRSS:", "process_resident_memory_bytes"), ("VmHWM:", "kiln_resident_memory_peak_bytes")]
        .into_iter()
        .filter_map(|(field, name)| {
            let line = status.lines().find_map(|line| line.strip_prefix(field))?;
            let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
            Some((name, kib * 1024))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_rendered_with_their_buckets_and_the_build() {
        keep_metrics();
        tell_version();
        metrics::histogram!("kiln_test_seconds", "route" => "/x").record(0.003);
        let text = render_metrics();
        for expected in [
            "kiln_test_seconds_bucket{route=\"/x\",le=\"0.002\"} 0",
            "kiln_test_seconds_bucket{route=\"/x\",le=\"0.004\"} 1",
            "kiln_test_seconds_count{route=\"/x\"} 1",
            &format!("kiln_build_info{{version=\"{VERSION}\"}} 1"),
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
    }

    #[test]
    fn a_panic_is_told_unless_it_may_quote_data() {
        let panicked = |panics: fn()| told(&*std::panic::catch_unwind(panics).unwrap_err());
        assert_eq!(panicked(|| panic!("planted")), "planted");
        let name = "Peter";
        assert!(!told(&format!("{name} is no number")).contains(name));
    }

    #[test]
    fn a_filter_that_does_not_parse_is_named() {
        let flags = [("log.filter".to_owned(), "info,kiln=loud".to_owned())];
        let error = Telemetry::start(&Config::load(None, &flags).unwrap()).unwrap_err();
        assert!(error.to_string().starts_with("`log.filter`"), "{error}");
    }
}
