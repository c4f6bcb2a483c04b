//! What goes into a cluster comes out byte for byte: hot, and from the bucket after every store was killed.

use tidelog_e2e::input::{Input, long_lines, short_lines};
use tidelog_e2e::{Cli, Cluster, ClusterOptions, Member, Workspace};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const PARTITIONS: usize = 3;

/// A topic of one codec, and what each partition was given.
struct Loaded {
    topic: String,
    parts: Vec<Input>,
}

fn load(cluster: &Cluster) -> Vec<Loaded> {
    let lines = short_lines().head(300_000);
    let long = long_lines().head(200_000);
    let mut loaded = Vec::new();
    for (number, codec) in CODECS.into_iter().enumerate() {
        let (cli, topic) = (cluster.cli_at(number % 2), format!("tiers-{codec}"));
        cli.create_topic(&topic, PARTITIONS as u32, &[]);
        let mut parts = vec![long.clone()];
        parts.extend((1..PARTITIONS).map(|part| lines.share(part, PARTITIONS)));
        for (partition, part) in parts.iter().enumerate() {
            cli.produce(&topic, partition as u32, codec, &part.bytes);
        }
        loaded.push(Loaded { topic, parts });
    }
    loaded
}

/// Reads as many records as there were lines, without asking for the end of anything.
#[track_caller]
fn assert_identical(cli: &Cli, loaded: &[Loaded], when: &str) {
    for topic in loaded {
        for (partition, part) in topic.parts.iter().enumerate() {
            let (number, count) = (partition.to_string(), part.line_count().to_string());
            let place = ["consume", &topic.topic, "--partition", &number, "--offset", "start"];
            let read = cli.run(&[&place[..], &["--max", &count]].concat()).ok().stdout;
            assert!(read == part.bytes, "{when}: {}/{partition}: {} bytes", topic.topic, read.len());
        }
    }
}

#[test]
fn every_codec_comes_back_from_the_replicas_and_from_the_bucket_after_every_store_was_killed() {
    let workspace = Workspace::new();
    let mut cluster = Cluster::start(&workspace, ClusterOptions::default());
    let loaded = load(&cluster);
    assert_identical(&cluster.cli_at(1), &loaded, "hot");
    let cli = cluster.cli();
    for topic in &loaded {
        cli.offload(&topic.topic);
        cli.evict(&topic.topic);
        cli.storage(&topic.topic).assert_only_in_bucket();
    }
    let stores = [0, 1, 2].map(Member::Store);
    for store in stores {
        cluster.kill(store);
    }
    for store in stores {
        cluster.spawn(store);
    }
    cluster.until_ready();
    assert_identical(&cluster.cli_at(0), &loaded, "from the bucket, every store was killed");
    let _ = cli.run(&["bucket", "verify", cluster.bucket_url()]).ok();
    for member in cluster.members().into_iter().rev() {
        assert!(cluster.terminate(member).success(), "{}", cluster.process(member).log());
    }
}
