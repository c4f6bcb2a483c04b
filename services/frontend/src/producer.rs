//! Producer sessions: what a client's may take up. How one is served is the same wherever batches are
//! on their way to a leader: [`tidelog_link::forward`].

use std::sync::Arc;

use tidelog_link::forward::{self, SessionCounters, SessionRules};
use tidelog_wire::{Frame, SessionWindow, Stream};

use crate::edge::Edge;
use crate::metrics::FrontendMetrics;

/// `window` is the session's for as long as it is served.
pub(crate) async fn serve(stream: Stream, first: &Frame, window: SessionWindow, edge: &Edge) {
    let options = &edge.options;
    let rules = SessionRules {
        in_flight_bytes: options.producer_in_flight_bytes,
        in_flight_batches: options.producer_in_flight_batches,
        timeout: options.produce_timeout,
        // What a session with a window of its own leaves unread takes nothing from others.
        stall_timeout: (!window.is_own()).then_some(options.stall_timeout),
        drain: edge.drain.clone(),
        counters: Arc::new(edge.metrics.clone()),
    };
    forward::serve(stream, first, edge.store.as_ref(), &rules).await;
}

impl SessionCounters for FrontendMetrics {
    fn received(&self, bytes: usize) {
        self.produced_batches.inc();
        self.produced_bytes.inc_by(bytes as u64);
    }

    fn refused(&self) {
        self.refused_batches.inc();
    }
}
