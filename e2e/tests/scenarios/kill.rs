//! kill -9 under load, again and again: nothing acknowledged is lost, nothing is doubled.

use std::time::Duration;

use tidelog_checker::Tier;
use tidelog_e2e::history::{Recorder, Topic};
use tidelog_e2e::{Server, ServerOptions, Workspace, until};
use tokio::runtime::Runtime;

use crate::recorded::Clients;
use crate::workload::{Follower, Load, check, connect, read_all};

/// A reproducible choice: the seed is printed when a test fails.
pub(crate) struct Choice(u64);

impl Choice {
    #[expect(clippy::print_stdout, reason = "a failed test shows how to repeat it")]
    pub(crate) fn from_environment() -> Self {
        let seed = std::env::var("TIDELOG_SEED").ok().and_then(|text| text.parse().ok());
        let seed = seed.unwrap_or(20_261_121);
        println!("TIDELOG_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// How soon after a restart everything has to work again. The server is there at once; what takes time
/// is two cores that run other scenarios too.
const RECOVERY: Duration = Duration::from_secs(20);

/// So many kills under load, with offloads and evictions among them. Producers, readers and somebody who
/// asks for offsets record what they are told; the checker judges it.
pub(crate) fn survive_kills(rounds: u64) {
    let mut choice = Choice::from_environment();
    let workspace = Workspace::new();
    let mut server = Server::start(&workspace, ServerOptions::default());
    let cli = server.cli();
    let topic = Topic::new("killed", 4);
    cli.create_topic("killed", topic.partitions, &["segment.bytes=1048576"]);
    let runtime = Runtime::new().expect("a runtime");
    let recorder = Recorder::new("kill -9 under load", RECOVERY);
    let clients = runtime.block_on(Clients::start(&recorder, &server, &topic));
    for round in 0..rounds {
        let enough = recorder.acknowledged() + 200 + choice.below(3_000);
        let what = format!("round {round}: {enough} records are acknowledged");
        until(Duration::from_mins(1), &what, || (recorder.acknowledged() >= enough).then_some(()));
        match choice.below(4) {
            0 => cli.offload("killed"),
            1 => {
                cli.offload("killed");
                cli.evict("killed");
            }
            _ => {}
        }
        let kill = recorder.fault("kill -9");
        server.kill_and_restart();
        kill.heal();
    }
    let enough = recorder.acknowledged() + 1_000;
    until(Duration::from_mins(1), "load after the last kill", || {
        (recorder.acknowledged() >= enough).then_some(())
    });
    runtime.block_on(clients.finish());
    let client = runtime.block_on(connect(&server));
    runtime.block_on(recorder.drain(&client, &topic, None));

    cli.offload("killed");
    cli.evict("killed");
    cli.storage("killed").assert_only_in_bucket();
    runtime.block_on(recorder.drain(&client, &topic, Some(Tier::Cold)));
    let report = recorder.judge(&workspace);
    assert!(report.counts.writes_ok > rounds * 100, "hardly any load: {report}");
    let _ = cli.run(&["bucket", "verify", &server.bucket_url()]).ok();
}

#[test]
fn twenty_five_kills_under_load_lose_nothing_acknowledged_and_double_nothing() {
    survive_kills(25);
}

#[test]
fn a_graceful_stop_under_load_loses_nothing_and_doubles_nothing() {
    let workspace = Workspace::new();
    let mut server = Server::start(&workspace, ServerOptions::default());
    server.cli().create_topic("stopped", 2, &[]);
    let runtime = Runtime::new().expect("a runtime");
    let load = runtime.block_on(Load::start(&server, "stopped", 2));
    for _ in 0..3 {
        let enough = load.acknowledged() + 2_000;
        until(Duration::from_mins(1), "progress", || (load.acknowledged() >= enough).then_some(()));
        assert!(server.terminate().success(), "{}", server.log());
        server.restart();
    }
    let outcome = runtime.block_on(load.finish());
    check(&outcome, &runtime.block_on(read_all(&server, "stopped")), "after three stops");
}

#[test]
fn a_waiting_reader_notices_a_restart_long_before_its_idle_timeout() {
    let workspace = Workspace::new();
    let mut server = Server::start(&workspace, ServerOptions::default());
    let cli = server.cli();
    cli.create_topic("waited", 1, &[]);
    cli.produce("waited", 0, "none", b"before\n");
    let runtime = Runtime::new().expect("a runtime");
    let reader = runtime.block_on(Follower::start(&server, "waited", 0));
    let reads = |count| (reader.position() >= count).then_some(());
    until(Duration::from_secs(20), "the reader reads what is there", || reads(1));
    server.kill_and_restart();
    cli.produce("waited", 0, "none", b"after\n");
    // QUIC's idle timeout is 30 s; the restarted server tells the client on its next packet.
    until(Duration::from_secs(20), "the reader reads what came after the restart", || reads(2));
}
