//! The high watermark: what every replica that counts has synced.

use super::{Cx, Leader};

impl Leader {
    /// Raises the high watermark to the least that is durable over the committed ISR and every ISR that
    /// may have been committed. It stands still
    /// - while the predecessor may still answer "latest" (`acks_from`);
    /// - while the committed ISR is below the floor;
    /// - while a member has not acknowledged this very epoch, on the disk that the ISR names.
    pub(super) fn advance(&mut self, cx: &mut Cx<'_>) {
        if cx.now < self.acks_from {
            return;
        }
        if cx.config.faults.hw_from_leader_only {
            cx.log.commit(cx.log.durable, cx.out);
            return;
        }
        let any_disk = cx.config.faults.keep_isr_member_with_new_disk;
        let (mut least, mut committed) = (cx.log.durable, 1);
        for peer in self.peers.iter().filter(|peer| peer.counts()) {
            let Some(durable) = peer.counted_durable(any_disk) else { return };
            least = least.min(durable);
            committed += usize::from(peer.committed.is_some());
        }
        if committed >= cx.floor() {
            cx.log.commit(least, cx.out);
        }
    }
}
