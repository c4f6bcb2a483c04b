//! "Latest", linearizably: only while nobody else can have acknowledged anything.

use super::{Cx, Leader};
use crate::Latest;

impl Leader {
    /// The high watermark, when it is surely the newest: everything that earlier leaders told is below
    /// it, and everyone who counts confirmed this epoch within the lease. A successor comes from among
    /// those; it stops confirming when it takes over, and then waits longer than the lease lasts.
    pub(crate) fn latest(&mut self, cx: &mut Cx<'_>) -> Latest {
        if cx.config.faults.answer_unconfirmed {
            return Latest::At(cx.log.high_watermark);
        }
        let mut confirmed = cx.log.high_watermark >= self.start;
        for peer in self.peers.iter_mut().filter(|peer| peer.counts()) {
            let fresh = peer.confirmed.is_some_and(|at| cx.now.since(at) <= cx.config.read_lease);
            if fresh && peer.counted_durable(false).is_some() {
                continue;
            }
            confirmed = false;
            if peer.is_streaming() && !peer.was_just_asked(cx) {
                peer.beat(cx, self.epoch);
            }
        }
        if confirmed { Latest::At(cx.log.high_watermark) } else { Latest::Unconfirmed }
    }
}
