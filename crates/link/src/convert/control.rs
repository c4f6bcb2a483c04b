//! What the controller asks of stores.

use tidelog_model::{LeaderEpoch, NodeId, Offset, TopicPartition};
use tidelog_peer::{HandOver, LogReport, LogReports, PartitionBytes, Ping, Pong};
use tidelog_proto::v1;

use super::{Converted, directory, directory_bytes, partition, partition_message};

pub(crate) fn ping_call(ping: Ping) -> v1::PingCall {
    v1::PingCall { controller: ping.controller.0, token: ping.token }
}

pub(crate) fn ping(call: v1::PingCall) -> Ping {
    Ping { controller: NodeId(call.controller), token: call.token }
}

pub(crate) fn pong_reply(pong: &Pong) -> v1::PongReply {
    let resigned = pong.resigned.iter().map(|(partition, epoch)| v1::Leadership {
        partition: Some(partition_message(*partition)),
        epoch: epoch.0,
    });
    v1::PongReply {
        directory: directory_bytes(pong.directory),
        boot: pong.boot,
        fit: pong.fit,
        resigned: resigned.collect(),
    }
}

pub(crate) fn pong(reply: v1::PongReply) -> Converted<Pong> {
    let resigned = reply
        .resigned
        .into_iter()
        .map(|leadership| Ok((partition(leadership.partition)?, LeaderEpoch(leadership.epoch))));
    Ok(Pong {
        directory: directory(&reply.directory)?,
        boot: reply.boot,
        fit: reply.fit,
        resigned: resigned.collect::<Converted<_>>()?,
    })
}

pub(crate) fn partitions_call(partitions: Vec<TopicPartition>) -> v1::PartitionsCall {
    v1::PartitionsCall { partitions: partitions.into_iter().map(partition_message).collect() }
}

pub(crate) fn partitions(call: v1::PartitionsCall) -> Converted<Vec<TopicPartition>> {
    call.partitions.into_iter().map(|message| partition(Some(message))).collect()
}

pub(crate) fn reports_reply(reports: &LogReports) -> v1::LogReportsReply {
    let logs = reports.logs.iter().map(|log| v1::LogReport {
        partition: Some(partition_message(log.partition)),
        last_epoch: log.last_epoch.0,
        log_end: log.log_end.0,
    });
    v1::LogReportsReply {
        directory: directory_bytes(reports.directory),
        boot: reports.boot,
        logs: logs.collect(),
    }
}

pub(crate) fn reports(reply: v1::LogReportsReply) -> Converted<LogReports> {
    let logs = reply.logs.into_iter().map(|log| {
        Ok(LogReport {
            partition: partition(log.partition)?,
            last_epoch: LeaderEpoch(log.last_epoch),
            log_end: Offset(log.log_end),
        })
    });
    Ok(LogReports {
        directory: directory(&reply.directory)?,
        boot: reply.boot,
        logs: logs.collect::<Converted<_>>()?,
    })
}

pub(crate) fn hand_over_call(token: u64, partitions: &[HandOver]) -> v1::HandOverCall {
    let partitions = partitions.iter().map(|hand_over| v1::HandOver {
        partition: Some(partition_message(hand_over.partition)),
        epoch: hand_over.epoch.0,
        to: hand_over.to.0,
    });
    v1::HandOverCall { token, partitions: partitions.collect() }
}

pub(crate) fn hand_over(call: v1::HandOverCall) -> Converted<(u64, Vec<HandOver>)> {
    let partitions = call.partitions.into_iter().map(|message| {
        Ok(HandOver {
            partition: partition(message.partition)?,
            epoch: LeaderEpoch(message.epoch),
            to: NodeId(message.to),
        })
    });
    Ok((call.token, partitions.collect::<Converted<_>>()?))
}

pub(crate) fn sizes_reply(sizes: &[PartitionBytes]) -> v1::PartitionSizesReply {
    let partitions = sizes.iter().map(|size| v1::PartitionSize {
        partition: Some(partition_message(size.partition)),
        bytes: size.bytes,
    });
    v1::PartitionSizesReply { partitions: partitions.collect() }
}

pub(crate) fn sizes(reply: v1::PartitionSizesReply) -> Converted<Vec<PartitionBytes>> {
    let sizes = reply.partitions.into_iter();
    sizes
        .map(|size| Ok(PartitionBytes { partition: partition(size.partition)?, bytes: size.bytes }))
        .collect()
}
