//! Time, as leaders feel it.

use std::sync::Arc;
use std::time::Duration;

use tidelog_replica::Event;
use tidelog_runtime::CancellationToken;
use tokio::time::MissedTickBehavior;

use crate::node::Node;
use crate::partition::step::NoSink;

/// How often leaders of partitions that are written to are told that time passed: followers hear of the
/// high watermark that soon when nothing else is sent to them.
const STIRRED_EVERY: Duration = Duration::from_millis(20);

/// Every leader is told at each so many of these.
const ALL_AT: u32 = 5;

/// Runs until cancelled.
pub(super) async fn run(node: Arc<Node>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(STIRRED_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count: u32 = 0;
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        count = count.wrapping_add(1);
        let all = count.is_multiple_of(ALL_AT);
        for partition in node.catalog.partitions() {
            if partition.take_stirred() || all {
                partition.step(Event::Tick, None, &mut NoSink);
            }
        }
    }
}
