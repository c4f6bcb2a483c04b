//! An S3 server that misbehaves: the hot path goes on, what waits for the bucket is bounded and seen, and
//! nothing wrong is ever believed.

use std::time::Duration;

use tidelog_checker::Tier;
use tidelog_e2e::faults::{FaultyS3, S3Fault, S3Rule};
use tidelog_e2e::history::{Recorder, Topic};
use tidelog_e2e::input::short_lines;
use tidelog_e2e::{Seaweed, Server, ServerOptions, Workspace, until};
use tokio::runtime::Runtime;

use crate::recorded::Clients;
use crate::workload::connect;

const WITHIN: Duration = Duration::from_mins(2);

struct World {
    server: Server,
    s3: FaultyS3,
    /// Last: the server stops first.
    _seaweed: Seaweed,
}

/// A server whose bucket is behind the faults.
fn world(workspace: &Workspace, options: ServerOptions) -> World {
    let seaweed = Seaweed::start(workspace);
    let s3 = FaultyS3::start(&seaweed);
    let options = options.seaweed(&seaweed, "faulty").env("AWS_ENDPOINT_URL", &s3.endpoint());
    let server = Server::start(workspace, options);
    World { server, s3, _seaweed: seaweed }
}

/// Whatever writes: single objects, and multipart uploads.
fn spoil_writes(s3: &FaultyS3, fault: S3Fault) {
    s3.inject(S3Rule::always("PUT", "", fault));
    s3.inject(S3Rule::always("POST", "", fault));
}

#[test]
fn a_failing_s3_server_leaves_the_hot_path_alone_and_gets_everything_later() {
    let workspace = Workspace::new();
    let World { server, s3, _seaweed } = world(&workspace, ServerOptions::default());
    let cli = server.cli();
    let topic = Topic::new("waits", 2);
    cli.create_topic("waits", topic.partitions, &["segment.bytes=1048576", "tier.max.age.ms=500"]);
    let runtime = Runtime::new().expect("a runtime");
    let recorder = Recorder::new("a failing S3 server", Duration::from_secs(20));
    let clients = runtime.block_on(Clients::start(&recorder, &server, &topic));
    let progress = |what: &str| {
        let enough = recorder.acknowledged() + 1_000;
        until(WITHIN, what, || (recorder.acknowledged() >= enough).then_some(()));
    };
    let tiered = || cli.storage("waits").partitions.iter().map(|p| p.tiered_end).sum::<u64>();
    until(WITHIN, "an offload before the faults", || (tiered() > 0).then_some(()));

    for (what, fault) in [
        ("503 SlowDown", S3Fault::Status(503)),
        ("500", S3Fault::Status(500)),
        ("resets", S3Fault::Reset),
        ("slow", S3Fault::Delay(Duration::from_secs(3))),
    ] {
        let failing = recorder.fault(what);
        let asked = s3.requests().len();
        spoil_writes(&s3, fault);
        until(WITHIN, what, || s3.requests()[asked..].iter().any(|r| r.fault == Some(fault)).then_some(()));
        let before = tiered();
        progress(&format!("{what}: writes go on"));
        let storage = cli.storage("waits");
        let waiting: u64 = storage.partitions.iter().map(|p| p.untiered_bytes).sum();
        assert!(waiting > 0, "{what}: the backlog is seen: {storage:?}");
        storage.assert_ordered();
        // What was under way when the fault began may still have been committed.
        assert!(storage.partitions.iter().all(|p| p.tiered_end < p.high_watermark), "{what}: from {before}");
        s3.heal();
        failing.heal();
    }
    runtime.block_on(clients.finish());
    until(WITHIN, "the backlog is drained", || {
        (cli.storage("waits").partitions.iter().all(|p| p.untiered_bytes == 0)).then_some(())
    });
    let client = runtime.block_on(connect(&server));
    runtime.block_on(recorder.drain(&client, &topic, None));
    cli.evict("waits");
    cli.storage("waits").assert_only_in_bucket();
    runtime.block_on(recorder.drain(&client, &topic, Some(Tier::Cold)));
    recorder.judge(&workspace);
    let _ = cli.run(&["bucket", "verify", &server.bucket_url()]).ok();
}

#[test]
fn a_backlog_that_fills_the_journals_budget_rejects_writes_until_the_bucket_takes_it() {
    let workspace = Workspace::new();
    let options = ServerOptions::default()
        .env("TIDELOG_JOURNAL__FILE_BYTES", "4MiB")
        .env("TIDELOG_JOURNAL__BUDGET_BYTES", "32MiB");
    let World { server, s3, _seaweed } = world(&workspace, options);
    let cli = server.cli();
    let input = short_lines().head(4_000_000);
    cli.create_topic("bounded", 1, &[]);
    spoil_writes(&s3, S3Fault::Status(503));
    let produce = ["produce", "bounded", "--partition", "0", "--timeout", "5s"];
    let mut accepted = Vec::new();
    let refused = (0..20).find_map(|_| {
        let finished = cli.run_with(&produce, &input.bytes);
        if finished.code == 0 {
            accepted.extend_from_slice(&input.bytes);
        }
        (finished.code != 0).then_some(finished)
    });
    let _ = refused.expect("the backlog is bounded").refused(&["full|backlog|bucket|budget|space"]);
    assert!(cli.consume("bounded", 0).starts_with(&accepted), "reads go on while writes are refused");
    let waiting = cli.storage("bounded").partitions[0].untiered_bytes;
    assert!((1..=32 << 20).contains(&waiting), "{waiting} bytes wait for the bucket");

    s3.heal();
    until(WITHIN, "writes are taken again", || (cli.run_with(&produce, b"after\n").code == 0).then_some(()));
    cli.offload("bounded");
    cli.evict("bounded");
    let all = cli.consume("bounded", 0);
    assert!(all.starts_with(&accepted) && all.ends_with(b"after\n"));
}

#[test]
fn a_write_whose_answer_is_lost_is_repeated_without_a_second_segment() {
    let workspace = Workspace::new();
    let World { server, s3, _seaweed } = world(&workspace, ServerOptions::default());
    let cli = server.cli();
    let input = short_lines();
    for (round, key) in ["/segment/", "/state/", "/root/"].into_iter().enumerate() {
        let topic = format!("repeated-{round}");
        cli.create_topic(&topic, 1, &[]);
        cli.produce(&topic, 0, "none", &input.bytes);
        let lost = [
            // An object that is small is one PUT; a large one is begun and completed by a POST.
            s3.inject(S3Rule::times("PUT", key, 2, S3Fault::LostAnswer)),
            s3.inject(S3Rule::times("POST", key, 2, S3Fault::LostAnswer)),
        ];
        until(WITHIN, "an offload succeeds", || {
            (cli.run(&["storage", "offload", &topic]).code == 0).then_some(())
        });
        assert!(lost.map(|rule| s3.hits(rule)).iter().sum::<usize>() > 0, "{key}: no answer was lost");
        s3.heal();
        cli.evict(&topic);
        let storage = cli.storage(&topic);
        storage.assert_only_in_bucket();
        assert_eq!(storage.partitions[0].segments, 1, "{key}: {storage:?}");
        assert!(cli.consume(&topic, 0) == input.bytes, "{key}: what comes back differs");
    }
    let _ = cli.run(&["bucket", "verify", &server.bucket_url()]).ok();
}

#[test]
fn wrong_bodies_are_noticed_and_asked_for_again() {
    let workspace = Workspace::new();
    // Nothing is kept: every read asks the bucket.
    let options = ServerOptions::default().env("TIDELOG_CACHE__DISK_BYTES", "0");
    let World { mut server, s3, _seaweed } = world(&workspace, options);
    let cli = server.cli();
    let input = short_lines();
    cli.create_topic("spoilt", 1, &[]);
    cli.produce("spoilt", 0, "none", &input.bytes);
    cli.offload("spoilt");
    for fault in [
        S3Fault::TruncatedBody(100),
        S3Fault::CorruptBody(1_000),
        S3Fault::WrongRange(7),
        S3Fault::OtherBytes(7),
        S3Fault::Status(500),
        S3Fault::Reset,
    ] {
        // What is in memory is forgotten, so that the root is read again; whoever reads it first is spoilt.
        server.kill();
        let rules = ["/root/", "/segment/"].map(|key| s3.inject(S3Rule::times("GET", key, 1, fault)));
        server.restart();
        cli.evict("spoilt");
        cli.storage("spoilt").assert_only_in_bucket();
        assert!(cli.consume("spoilt", 0) == input.bytes, "{fault:?}: what comes back differs");
        assert_eq!(rules.map(|rule| s3.hits(rule)), [1, 1], "{fault:?}: not everything was spoilt");
        s3.heal();
    }
}
