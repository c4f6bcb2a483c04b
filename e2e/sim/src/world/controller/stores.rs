//! What a store answers to a controller, whoever claims to be it.

use tidelog_model::{LeaderEpoch, NodeId, TopicPartition};
use tidelog_peer::{HAND_OVER_HOLD, HandOver, LogReport, LogReports, Pong};
use tidelog_replica::Instance;

use super::super::World;
use super::super::node::{Hosted, NodeEvent};
use crate::agenda::{MS, Micros};
use crate::message::{CallId, Message};
use crate::metadata::{partition_id, partition_number};
use crate::net::Site;

/// A disk whose syncs take so many times the usual is too slow to lead.
const UNFIT_SLOWNESS: u64 = 300;

/// How often a leader that hands over looks whether all is committed.
const LOOK_EVERY: Micros = 3 * MS;

impl World {
    pub(in super::super) fn answer_ping(&mut self, node: usize, from: Site, round: u64) {
        let fit = self.nodes[node].disk.slowness < UNFIT_SLOWNESS;
        let process = self.process(node);
        let Some(me) = process.instance else { return };
        let given_up = |(partition, hosted): (usize, &Hosted)| {
            Some((partition_id(partition), hosted.resigned.max(declined(hosted, me))?))
        };
        let resigned = process.hosted.iter().enumerate().filter_map(given_up).collect();
        let pong = Pong { directory: me.replica.directory, boot: me.boot, fit, resigned };
        self.send(Site::Node(node), from, Message::Pong { round, pong });
    }

    pub(in super::super) fn answer_report(
        &mut self,
        node: usize,
        from: Site,
        call: CallId,
        partitions: &[TopicPartition],
    ) {
        let process = self.process(node);
        let Some(me) = process.instance else { return };
        let report = |partition: &TopicPartition| {
            let report = process.hosted.get(partition_number(*partition))?.replica.report();
            let last_epoch = report.last_epoch.unwrap_or_default();
            Some(LogReport { partition: *partition, last_epoch, log_end: report.log_end })
        };
        let logs = partitions.iter().filter_map(report).collect();
        let reports = LogReports { directory: me.replica.directory, boot: me.boot, logs };
        self.send(Site::Node(node), from, Message::Reports { call, reports });
    }

    /// No more appends, until what was appended is committed and the epoch is raised.
    pub(in super::super) fn let_go(
        &mut self,
        node: usize,
        from: Site,
        call: CallId,
        token: u64,
        requests: &[HandOver],
    ) {
        let held_until = self.local(node) + HAND_OVER_HOLD.as_micros() as Micros;
        let process = self.process(node);
        if token < process.token {
            return;
        }
        process.token = token;
        let mut partitions = Vec::new();
        for request in requests {
            let partition = partition_number(request.partition);
            let Some(hosted) = process.hosted.get_mut(partition) else { continue };
            if hosted.leads == Some(request.epoch) {
                hosted.held_until = held_until;
                partitions.push((partition, request.epoch));
            }
        }
        self.look_whether_quiet(node, from, call, &partitions);
    }

    pub(in super::super) fn look_whether_quiet(
        &mut self,
        node: usize,
        controller: Site,
        call: CallId,
        partitions: &[(usize, LeaderEpoch)],
    ) {
        let now = self.local(node);
        let process = self.process(node);
        let busy = |(partition, epoch): &(usize, LeaderEpoch)| {
            let hosted = &process.hosted[*partition];
            let pending = hosted.high_watermark < hosted.replica.log_end();
            hosted.leads == Some(*epoch) && pending && now < hosted.held_until
        };
        if partitions.iter().any(busy) {
            let partitions = partitions.to_vec();
            self.later(node, LOOK_EVERY, NodeEvent::Quiet { controller, call, partitions });
        } else {
            self.send(Site::Node(node), controller, Message::HandedOver { call });
        }
    }

    pub(in super::super) fn handed_over(&mut self, node: usize, from: Site, call: CallId) {
        if let Site::Node(from) = from {
            self.errand_answered(node, call, NodeId(from as u32));
        }
    }
}

/// The epoch that this process leads by the record and not by itself.
fn declined(hosted: &Hosted, me: Instance) -> Option<LeaderEpoch> {
    let record = hosted.replica.record();
    let named = record.leader == Some(me) && hosted.replica.report().leading != Some(record.epoch);
    named.then_some(record.epoch)
}
