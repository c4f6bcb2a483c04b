//! Metrics of the process, in Prometheus' text format.
//!
//! Parts register counters, gauges and histograms once, at start, and keep the cheap handles they get.
//! Every name begins with `tidelog_`. What already has a number somewhere is better read when it is
//! asked for: [`Metrics::observe`].

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::MetricConstructor;
use prometheus_client::metrics::gauge::ConstGauge;
pub use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram};
use prometheus_client::registry::{Metric, Registry};

pub use prometheus_client::encoding::EncodeLabelSet as LabelSet;

/// The content type of [`Metrics::encode`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The process's metrics. Cheap to clone; every clone is the same registry.
#[derive(Clone)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Default for Metrics {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Registry::with_prefix("tidelog"))))
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Metrics with the process's own: resident memory, open files, processor time.
    pub fn of_process() -> Self {
        let metrics = Self::default();
        metrics.observe("process_resident_bytes", "Memory of the process that is in RAM", resident_bytes);
        metrics.observe("process_open_files", "Open file descriptors", open_files);
        metrics
    }

    /// A number that only grows; its name gets the suffix `_total`.
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        self.add(name, help, Counter::default())
    }

    /// A number that goes up and down.
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.add(name, help, Gauge::default())
    }

    /// A distribution over these upper bounds.
    pub fn histogram(&self, name: &str, help: &str, bounds: impl IntoIterator<Item = f64>) -> Histogram {
        self.add(name, help, Histogram::new(bounds))
    }

    /// Counters or gauges that differ in their labels. Keep labels to what is few: not one per
    /// partition or client.
    pub fn family<L, M>(&self, name: &str, help: &str) -> Family<L, M>
    where
        L: LabelSet + Clone + std::hash::Hash + Eq + fmt::Debug + Send + Sync + 'static,
        M: Default + Metric,
        Family<L, M, fn() -> M>: Metric,
        fn() -> M: MetricConstructor<M>,
    {
        self.add(name, help, Family::default())
    }

    /// A gauge that is read when it is asked for.
    pub fn observe(&self, name: &str, help: &str, read: impl Fn() -> i64 + Send + Sync + 'static) {
        self.collect(name, help, Read::Gauge(Box::new(read)));
    }

    /// A number that only grows and is counted elsewhere, read when it is asked for.
    pub fn observe_counter(&self, name: &str, help: &str, read: impl Fn() -> u64 + Send + Sync + 'static) {
        self.collect(name, help, Read::Counter(Box::new(read)));
    }

    fn collect(&self, name: &str, help: &str, read: Read) {
        let observed = Observed { name: name.to_owned(), help: format!("{help}."), read };
        self.0.lock().register_collector(Box::new(observed));
    }

    /// Everything, as text.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.0.lock())?;
        Ok(text)
    }

    fn add<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        self.0.lock().register(name, help, metric.clone());
        metric
    }
}

struct Observed {
    name: String,
    help: String,
    read: Read,
}

enum Read {
    Gauge(Box<dyn Fn() -> i64 + Send + Sync>),
    Counter(Box<dyn Fn() -> u64 + Send + Sync>),
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observed").field(&self.name).finish()
    }
}

impl Collector for Observed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        match &self.read {
            Read::Gauge(read) => {
                let gauge = ConstGauge::new(read());
                let metric = encoder.encode_descriptor(&self.name, &self.help, None, gauge.metric_type())?;
                gauge.encode(metric)
            }
            Read::Counter(read) => {
                let counter = ConstCounter::new(read());
                let metric =
                    encoder.encode_descriptor(&self.name, &self.help, None, counter.metric_type())?;
                counter.encode(metric)
            }
        }
    }
}

/// 0 where the operating system does not say.
fn resident_bytes() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse::<i64>().ok()).unwrap_or(0) * 1024
}

/// 0 where the operating system does not say.
fn open_files() -> i64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| i64::try_from(entries.count()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, Hash, PartialEq, Eq, LabelSet)]
    struct Transport {
        transport: &'static str,
    }

    #[test]
    fn what_is_registered_is_shown_with_its_value() {
        let metrics = Metrics::of_process();
        metrics.counter("appends", "Batches appended").inc_by(3);
        metrics.gauge("sessions", "Open sessions").set(-2);
        metrics.histogram("sync_seconds", "Time of a sync", [0.001, 0.01]).observe(0.002);
        let connections: Family<Transport, Gauge> = metrics.family("connections", "Open connections");
        connections.get_or_create(&Transport { transport: "quic" }).set(5);
        metrics.observe("backlog_bytes", "Bytes that wait", || 42);
        metrics.observe_counter("reads", "Reads made", || 7);
        let text = metrics.encode().unwrap();
        for line in [
            "# HELP tidelog_appends Batches appended.",
            "tidelog_appends_total 3",
            "tidelog_sessions -2",
            "tidelog_sync_seconds_bucket{le=\"0.01\"} 1",
            "tidelog_connections{transport=\"quic\"} 5",
            "# HELP tidelog_backlog_bytes Bytes that wait.",
            "tidelog_backlog_bytes 42",
            "tidelog_reads_total 7",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        assert!(!text.contains("tidelog_process_resident_bytes 0"));
    }
}
