//! The seam between hot and cold moves under readers, and they do not notice.

use std::time::Duration;

use tidelog_e2e::{Seaweed, Server, ServerOptions, Workspace, until};
use tidelog_model::Offset;
use tokio::runtime::Runtime;

use crate::workload::{Follower, Load, Placed, check, read_all};

const PARTITIONS: u32 = 2;

/// So many offloads with evictions, while producers write and readers follow, some of them from the
/// start again each time.
pub(crate) fn move_the_seam(workspace: &Workspace, options: ServerOptions, rounds: u64) {
    let server = Server::start(workspace, options);
    let cli = server.cli();
    cli.create_topic("seam", PARTITIONS, &["segment.bytes=1048576", "tier.max.age.ms=500"]);
    let runtime = Runtime::new().expect("a runtime");
    let load = runtime.block_on(Load::start(&server, "seam", 2));
    let mut followers: Vec<(u32, Follower)> = Vec::new();
    for round in 0..rounds {
        for partition in 0..PARTITIONS {
            let follower = runtime.block_on(Follower::start(&server, "seam", partition));
            followers.push((partition, follower));
        }
        let enough = load.acknowledged() + 500;
        until(Duration::from_mins(1), "progress", || (load.acknowledged() >= enough).then_some(()));
        cli.offload("seam");
        cli.evict("seam");
        cli.storage("seam").assert_ordered();
        // Every other round the readers get ahead first, so that some meet the seam at the tail and
        // some far behind it.
        if round % 2 == 0 {
            let (_, newest) = followers.last().expect("a follower");
            let target = cli.storage("seam").partitions[PARTITIONS as usize - 1].tiered_end;
            until(Duration::from_mins(1), "a reader passes the seam", || {
                (newest.position() >= target).then_some(())
            });
        }
    }
    let outcome = runtime.block_on(load.finish());
    let read = runtime.block_on(read_all(&server, "seam"));
    check(&outcome, &read, "after the last move");

    let storage = cli.storage("seam");
    for (partition, follower) in followers {
        let end = Offset(storage.partitions[partition as usize].high_watermark);
        let followed = runtime.block_on(follower.read_up_to(end));
        let wanted: Placed = read
            .range((partition, 0)..(partition + 1, 0))
            .map(|(place, text)| (*place, text.clone()))
            .collect();
        assert!(followed == wanted, "a follower of partition {partition} read something else");
    }
}

#[test]
fn readers_see_every_record_once_while_the_seam_moves_to_a_directory() {
    move_the_seam(&Workspace::new(), ServerOptions::default(), 8);
}

#[test]
fn readers_see_every_record_once_while_the_seam_moves_to_a_real_s3_server() {
    let workspace = Workspace::new();
    let seaweed = Seaweed::start(&workspace);
    move_the_seam(&workspace, ServerOptions::default().seaweed(&seaweed, "seam"), 6);
}
