//! The processes of a cluster, each by itself: what they say and what they refuse.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use tidelog_e2e::{Cli, Cluster, ClusterOptions, Member, Workspace, until};

const SOON: Duration = Duration::from_secs(30);

fn lonely_frontend() -> ClusterOptions {
    ClusterOptions { stores: 0, frontends: 1, ..ClusterOptions::default() }
}

/// Waits until the frontend says this under `/readyz`.
#[track_caller]
fn until_it_misses(cluster: &Cluster, words: &str) {
    until(SOON, &format!("it waits: {words}"), || {
        let answer = cluster.process(Member::Frontend(0)).health("/readyz")?;
        (answer.status == 503 && answer.body.contains(words)).then_some(())
    });
}

#[test]
fn a_frontend_waits_for_its_cluster_says_so_and_ends_when_told() {
    let workspace = Workspace::new();
    let mut cluster = Cluster::prepare(&workspace, lonely_frontend());
    let frontend = Member::Frontend(0);
    cluster.spawn(frontend);
    until_it_misses(&cluster, "there is no cluster in etcd yet: start its first store");
    let process = cluster.process(frontend);
    assert_eq!(process.health("/healthz").map(|answer| answer.status), Some(200), "waiting is no failure");
    assert!(process.metric("tidelog_meta_reads_total").is_some_and(|reads| reads >= 1.0));
    assert!(cluster.terminate(frontend).success(), "{}", cluster.process(frontend).log());
}

#[test]
fn a_frontend_waits_for_etcd_and_finds_it_when_it_comes_back() {
    let workspace = Workspace::new();
    let mut cluster = Cluster::prepare(&workspace, lonely_frontend());
    cluster.etcd().kill_all();
    cluster.spawn(Member::Frontend(0));
    until_it_misses(&cluster, "the metadata store is unavailable");
    cluster.etcd().restart();
    until_it_misses(&cluster, "there is no cluster in etcd yet");
    assert!(cluster.terminate(Member::Frontend(0)).success());
}

#[test]
fn a_process_that_misses_settings_names_them_and_what_makes_them() {
    let workspace = Workspace::new();
    let cli = Cli::new(workspace.path());
    let refused = cli.run(&["store"]).refused(&["node.id", "meta.endpoints", "bucket", "tidelog certs init"]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    let refused = cli.run(&["frontend", "--etcd", "127.0.0.1:2379"]).refused(&["cluster.ca", "certs issue"]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(!refused.stderr.contains("meta.endpoints"), "{}", refused.stderr);
}

#[test]
fn a_certificate_of_nobody_is_refused_at_the_start() {
    let workspace = Workspace::new();
    let mut cluster = Cluster::prepare(&workspace, lonely_frontend());
    let frontend = Member::Frontend(0);
    // An authority of somebody else.
    let other = workspace.path().join("other");
    let directory = other.display().to_string();
    let _ = Cli::new(workspace.path()).run(&["certs", "init", "--dir", &directory]).ok();
    let ca = other.join("ca.pem").display().to_string();
    cluster.set_env(frontend, "TIDELOG_CLUSTER__CA", &ca);
    cluster.spawn(frontend);
    let status = cluster.process_mut(frontend).ended(SOON);
    let said = cluster.process(frontend).log();
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("cluster.ca") && said.contains("certs issue"), "{said}");
}

/// Who leads how many partitions, as the controller says.
fn leaders(cluster: &Cluster) -> BTreeMap<u64, usize> {
    let partitions = cluster.cli().json(&["cluster", "partitions", "-o", "json"]);
    let mut leaders = BTreeMap::new();
    for partition in partitions.as_array().expect("a list of partitions") {
        *leaders.entry(partition["leader"].as_u64().unwrap_or(0)).or_default() += 1;
    }
    leaders
}

/// Waits until every partition has all of its replicas in sync.
#[track_caller]
fn until_whole(cluster: &Cluster) {
    until(SOON, "the cluster is whole", || {
        let finished = cluster.cli().run(&["cluster", "partitions", "--unhealthy"]);
        (finished.code == 0 && finished.stdout.is_empty()).then_some(())
    });
}

#[test]
fn what_goes_in_at_one_frontend_comes_out_at_another_whichever_process_is_killed() {
    let workspace = Workspace::new();
    let options = ClusterOptions { racks: vec!["a".to_owned(), "b".to_owned()], ..ClusterOptions::default() };
    let mut cluster = Cluster::start(&workspace, options);
    cluster.cli_at(0).create_topic("kept", 1, &[]);
    let mut all = Vec::new();
    for (round, member) in cluster.members().into_iter().enumerate() {
        let lines = format!("round {round}\n").repeat(1000).into_bytes();
        cluster.cli().produce("kept", 0, "none", &lines);
        all.extend_from_slice(&lines);
        cluster.kill(member);
        let still_there = usize::from(member == Member::Frontend(0));
        assert!(cluster.cli_at(still_there).consume("kept", 0) == all, "while {member} is dead");
        cluster.restart(member);
        until_whole(&cluster);
    }
    assert!(cluster.cli_at(1).consume("kept", 0) == all);
}

#[test]
fn a_store_that_is_told_to_end_hands_its_leaderships_over_first() {
    let workspace = Workspace::new();
    let mut cluster =
        Cluster::start(&workspace, ClusterOptions { frontends: 1, ..ClusterOptions::default() });
    cluster.cli().create_topic("spread", 12, &[]);
    until_whole(&cluster);
    assert!(leaders(&cluster).contains_key(&1), "{:?}", leaders(&cluster));
    assert!(cluster.terminate(Member::Store(0)).success());
    let said = cluster.process(Member::Store(0)).log();
    assert!(said.contains("leads nothing any more"), "{said}");
    until(SOON, "the others lead everything", || {
        let leaders = leaders(&cluster);
        (!leaders.contains_key(&0) && !leaders.contains_key(&1)).then_some(())
    });
    cluster.cli().produce("spread", 0, "none", b"one\n");
    cluster.restart(Member::Store(0));
    until_whole(&cluster);
}

#[test]
fn a_configuration_is_checked_for_the_process_that_it_is_for() {
    let workspace = Workspace::new();
    let cluster = Cluster::prepare(&workspace, ClusterOptions { stores: 1, ..ClusterOptions::default() });
    let cli = Cli::new(workspace.path()).with_env("TIDELOG_META__PASSWORD", "hunter2");
    let cli = cli.with_env("TIDELOG_META__USER", "tidelog");
    for (member, role, other) in
        [(Member::Store(0), "store", "frontend"), (Member::Frontend(0), "frontend", "store")]
    {
        let config = cluster.home(member).join("tidelog.toml");
        assert!(fs::read_to_string(&config).is_ok_and(|text| text.contains("[cluster]")));
        let config = config.display().to_string();
        let _ = cli.run(&["config", "check", "--config", &config, "--for", role]).ok();
        let shown = cli.run(&["config", "print", "--config", &config, "--for", role]).ok().text();
        assert!(shown.contains("meta.password") && !shown.contains("hunter2"), "{shown}");
        if other == "store" {
            let _ = cli.run(&["config", "check", "--config", &config, "--for", other]).refused(&["node.id"]);
        }
    }
}
