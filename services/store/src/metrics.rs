//! What an operator sees of a store.

use std::sync::{Arc, Weak};

use tidelog_runtime::Metrics;
use tidelog_runtime::metrics::Counter;

use crate::node::Node;

/// Numbers that only grow.
#[derive(Clone, Debug)]
pub(crate) struct StoreMetrics {
    pub(crate) appended_batches: Counter,
    pub(crate) appended_bytes: Counter,
    pub(crate) refused_batches: Counter,
    pub(crate) offloaded_segments: Counter,
    pub(crate) offloaded_bytes: Counter,
    pub(crate) offload_failures: Counter,
}

impl StoreMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        Self {
            appended_batches: metrics.counter("store_appended_batches", "Batches given a place in a log"),
            appended_bytes: metrics.counter("store_appended_bytes", "Bytes of those batches"),
            refused_batches: metrics.counter("store_refused_batches", "Batches refused"),
            offloaded_segments: metrics.counter("store_offloaded_segments", "Segments published"),
            offloaded_bytes: metrics.counter("store_offloaded_bytes", "Bytes of those segments"),
            offload_failures: metrics
                .counter("store_offload_failures", "Offloads of a partition that failed"),
        }
    }
}

/// Numbers that are read when someone asks.
pub(crate) fn observe(metrics: &Metrics, node: &Arc<Node>) {
    let read = |node: &Arc<Node>, read: fn(&Node) -> u64| {
        let node: Weak<Node> = Arc::downgrade(node);
        move || node.upgrade().map_or(0, |node| i64::try_from(read(&node)).unwrap_or(i64::MAX))
    };
    metrics.observe(
        "store_partitions",
        "Partitions led",
        read(node, |node| node.catalog.partitions().len() as u64),
    );
    metrics.observe(
        "store_journal_budget_bytes",
        "What the journal may take up on disk",
        read(node, |node| node.journal.stats().budget_bytes),
    );
    metrics.observe(
        "store_journal_disk_bytes",
        "What the journal's files take up on disk, empty ones included",
        read(node, |node| node.journal.stats().disk_bytes),
    );
    metrics.observe(
        "store_journal_pinned_bytes",
        "Journal files that cannot go before more of what they hold is in the bucket",
        read(node, |node| node.journal.pinned_bytes()),
    );
    metrics.observe(
        "store_untiered_bytes",
        "Bytes that only the hot tier has",
        read(node, |node| {
            let partitions = node.catalog.partitions();
            let locals = partitions.iter().filter_map(|partition| node.journal.local(partition.id));
            locals.map(|local| local.uncovered_bytes).sum()
        }),
    );
}
