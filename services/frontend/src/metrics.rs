//! What an operator sees of a frontend.

use tidelog_runtime::Metrics;
use tidelog_runtime::metrics::{Counter, Gauge};
use tidelog_wire::ByteBudget;

/// The frontend's numbers. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct FrontendMetrics {
    pub connections: Gauge,
    pub streams: Gauge,
    pub produced_batches: Counter,
    pub produced_bytes: Counter,
    pub refused_batches: Counter,
    pub hot_bytes: Counter,
    pub cold_bytes: Counter,
}

impl FrontendMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        Self {
            connections: metrics.gauge("frontend_connections", "Sessions of clients"),
            streams: metrics.gauge("frontend_streams", "Streams that are served"),
            produced_batches: metrics.counter("frontend_produced_batches", "Batches received"),
            produced_bytes: metrics.counter("frontend_produced_bytes", "Bytes of those batches"),
            refused_batches: metrics
                .counter("frontend_refused_batches", "Batches acknowledged with an error"),
            hot_bytes: metrics.counter("frontend_hot_bytes", "Bytes of records sent from stores"),
            cold_bytes: metrics.counter("frontend_cold_bytes", "Bytes of records sent from the bucket"),
        }
    }
}

/// What a shared tail saves. Clones share the numbers.
#[derive(Clone, Debug)]
pub(crate) struct TailMetrics {
    /// Fetches that went on to a store.
    pub asked: Counter,
    /// Fetches that waited for the answer to another one's.
    pub joined: Counter,
    /// Bytes that were served from memory.
    pub served_bytes: Counter,
}

impl TailMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        Self {
            asked: metrics.counter("frontend_tail_asked", "Fetches that stores were asked"),
            joined: metrics.counter("frontend_tail_joined", "Fetches that shared another one's answer"),
            served_bytes: metrics
                .counter("frontend_tail_served_bytes", "Bytes of records served from recent answers"),
        }
    }
}

/// How much of a budget is in use, whenever someone asks.
pub(crate) fn observe(metrics: &Metrics, name: &str, help: &str, budget: &ByteBudget) {
    let budget = budget.clone();
    observe_with(metrics, name, help, move || budget.total_bytes() - budget.free_bytes());
}

/// A gauge that is read whenever someone asks.
pub(crate) fn observe_with(
    metrics: &Metrics,
    name: &str,
    help: &str,
    read: impl Fn() -> usize + Send + Sync + 'static,
) {
    metrics.observe(name, help, move || i64::try_from(read()).unwrap_or(i64::MAX));
}

/// Counts one more as long as it lives.
pub(crate) struct Counted(Gauge);

impl Counted {
    pub(crate) fn one(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
