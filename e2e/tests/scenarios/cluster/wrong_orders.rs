//! What must not be done to a cluster is refused in words, and does nothing.

use tidelog_e2e::{Cli, Cluster, ClusterOptions, Workspace};

use super::site::{SOON, STORES, Site};

#[test]
fn orders_that_would_lose_records_or_cannot_be_carried_out_are_refused() {
    let mut site = Site::start("wrong orders", ClusterOptions::default());
    let cli = site.cluster.cli();
    let lonely = ["topic", "create", "lonely", "--partitions", "1", "--replication-factor", "1"];
    let _ = cli.run(&lonely).ok();
    cli.produce("lonely", 0, "none", b"alone\n");
    site.begin();

    let too_many = ["topic", "create", "many", "--partitions", "1", "--replication-factor", "4"];
    let _ = cli.run(&too_many).refused(&["4 replicas are wanted, and 3 stores can take them"]);
    let _ = cli
        .run(&["topic", "alter", "site", "--replication-factor", "4"])
        .refused(&["3 stores can take them"]);
    let _ = cli.run(&["cluster", "drain", "1", "--decommission"]).refused(&["2 stores can take them"]);
    let lonely = cli.json(&["cluster", "partitions", "lonely", "-o", "json"]);
    let holder = lonely[0]["leader"].to_string();
    let last = "has the last in-sync replica that is alive of";
    let _ = cli.run(&["cluster", "drain", &holder]).refused(&[last, "raise the replication factor"]);
    let _ = cli.run(&["cluster", "drain", "9"]).refused(&["there is no node 9"]);
    let unclean = ["cluster", "elect-unclean", "site", "0", "--yes-lose-acknowledged-records"];
    let _ = cli.run(&unclean).refused(&["has a leader that works|no record needs to be lost"]);
    let unsure = cli.run(&["cluster", "elect-unclean", "site", "0"]);
    let _ = unsure.refused(&["lost with this, for good"]);
    let onto_nobody = ["cluster", "reassign", "site", "0", "--replicas", "1,2,7"];
    let _ = cli.run(&onto_nobody).refused(&["there is no node 7"]);
    let twice = ["cluster", "reassign", "site", "0", "--replicas", "1,2,2"];
    let _ = cli.run(&twice).refused(&["named twice"]);

    assert_eq!(cli.consume("lonely", 0), b"alone\n");
    site.judge();
}

#[test]
fn a_client_on_the_internal_port_is_refused() {
    let mut site = Site::start("a client on the internal port", ClusterOptions::default());
    site.begin();
    let internal = site.cluster.address(STORES[0]);
    let authority = site.cluster.url().split_once('?').expect("an authority").1.to_owned();
    let url = format!("tidelog://{internal}?{authority}&transport=tcp");
    let home = site.workspace.directory("intruder");
    let intruder = Cli::new(&home).with_env("TIDELOG_BOOTSTRAP", &url);
    let _ = intruder.run(&["topic", "list"]).refused(&["does not speak tidelog/1"]);
    site.judge();
}

#[test]
fn a_store_with_another_clusters_certificates_is_refused_at_its_start() {
    let workspace = Workspace::new();
    let mut cluster = Cluster::prepare(&workspace, ClusterOptions::default());
    let other = workspace.path().join("other");
    let directory = other.display().to_string();
    let _ = Cli::new(workspace.path()).run(&["certs", "init", "--dir", &directory]).ok();
    cluster.set_env(STORES[0], "TIDELOG_CLUSTER__CA", &other.join("ca.pem").display().to_string());
    cluster.spawn(STORES[0]);
    let status = cluster.process_mut(STORES[0]).ended(SOON);
    let said = cluster.process(STORES[0]).log();
    assert!(!status.success() && said.contains("cluster.ca") && said.contains("certs issue"), "{said}");
}

#[test]
fn a_store_of_one_cluster_is_not_taken_in_by_another() {
    let workspace = Workspace::new();
    let one = ClusterOptions { stores: 1, frontends: 0, ..ClusterOptions::default() };
    let mut first = Cluster::start(&workspace, one.clone());
    assert!(first.terminate(STORES[0]).success());
    let elsewhere = Workspace::new();
    let mut second = Cluster::start(&elsewhere, one);
    second.kill(STORES[0]);
    // The first cluster's disk under the second cluster's configuration.
    let data_dir = first.data_dir(STORES[0]).display().to_string();
    second.set_env(STORES[0], "TIDELOG_DATA_DIR", &data_dir);
    let refusal = second.process_mut(STORES[0]).try_restart().expect_err("another cluster's disk");
    refusal.says(&["belongs to cluster", "its own cluster"]);
    first.restart(STORES[0]);
}
