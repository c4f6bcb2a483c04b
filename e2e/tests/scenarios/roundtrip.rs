//! What goes in comes out byte for byte: hot, after a kill, from the bucket.

use tidelog_e2e::input::{Input, long_lines, short_lines};
use tidelog_e2e::{Cli, Seaweed, Server, ServerOptions, Workspace};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const MANY: usize = 7;

/// One topic of the matrix: its name, and what each partition was given.
struct Loaded {
    topic: String,
    parts: Vec<Input>,
}

fn load(cli: &Cli) -> Vec<Loaded> {
    let whole = short_lines();
    let long = long_lines().head(1_000_000);
    let mut loaded = Vec::new();
    for codec in CODECS {
        let one = format!("one-{codec}");
        cli.create_topic(&one, 1, &[]);
        cli.produce(&one, 0, codec, &whole.bytes);
        loaded.push(Loaded { topic: one, parts: vec![whole.clone()] });

        let many = format!("many-{codec}");
        cli.create_topic(&many, MANY as u32, &[]);
        let mut parts = Vec::new();
        for partition in 0..MANY {
            let part = if partition == 0 { long.clone() } else { whole.share(partition, MANY) };
            cli.produce(&many, partition as u32, codec, &part.bytes);
            parts.push(part);
        }
        loaded.push(Loaded { topic: many, parts });
    }
    loaded
}

#[track_caller]
fn assert_identical(cli: &Cli, loaded: &[Loaded], when: &str) {
    for topic in loaded {
        for (partition, input) in topic.parts.iter().enumerate() {
            let output = cli.consume(&topic.topic, partition as u32);
            let same = output == input.bytes;
            assert!(
                same,
                "{when}: {}/{partition} differs: {} bytes of {}",
                topic.topic,
                output.len(),
                input.bytes.len()
            );
        }
        let storage = cli.storage(&topic.topic);
        storage.assert_ordered();
        let records: u64 = topic.parts.iter().map(Input::line_count).sum();
        assert_eq!(storage.records(), records, "{when}: {}", topic.topic);
    }
}

fn survives_all_phases(workspace: &Workspace, options: ServerOptions) {
    let mut server = Server::start(workspace, options);
    let cli = server.cli();
    let loaded = load(&cli);
    assert_identical(&cli, &loaded, "hot");

    server.kill_and_restart();
    assert_identical(&cli, &loaded, "after kill -9");

    for topic in &loaded {
        cli.offload(&topic.topic);
        cli.evict(&topic.topic);
        cli.storage(&topic.topic).assert_only_in_bucket();
    }
    assert_identical(&cli, &loaded, "from the bucket");

    server.kill_and_restart();
    assert_identical(&cli, &loaded, "from the bucket after kill -9");
    assert!(server.terminate().success(), "SIGTERM ends it cleanly:\n{}", server.log());

    let _ = cli.run(&["bucket", "verify", &server.bucket_url()]).ok();
    let listed = cli.run(&["bucket", "ls", &server.bucket_url()]).ok().text();
    assert!(!listed.trim().is_empty(), "bucket ls lists something");
}

#[test]
fn every_codec_and_partition_count_comes_back_identical_with_a_directory_as_bucket() {
    survives_all_phases(&Workspace::new(), ServerOptions::default());
}

#[test]
fn every_codec_and_partition_count_comes_back_identical_with_a_real_s3_server() {
    let workspace = Workspace::new();
    let seaweed = Seaweed::start(&workspace);
    survives_all_phases(&workspace, ServerOptions::default().seaweed(&seaweed, "roundtrip"));
}

#[test]
fn lines_without_a_partition_keep_their_order_within_each() {
    let workspace = Workspace::new();
    let server = Server::start(&workspace, ServerOptions::default());
    let cli = server.cli();
    let input = short_lines();
    cli.create_topic("spread", 3, &[]);
    let _ = cli.run_with(&["produce", "spread"], &input.bytes).ok();

    let mut all: Vec<Vec<u8>> = Vec::new();
    for partition in 0..3 {
        let output = Input { name: String::new(), bytes: cli.consume("spread", partition) };
        if output.bytes.is_empty() {
            continue;
        }
        let mut rest = input.lines();
        for line in output.lines() {
            assert!(rest.any(|candidate| candidate == line), "partition {partition} is out of order");
            all.push(line.to_vec());
        }
    }
    let mut wanted: Vec<Vec<u8>> = input.lines().map(<[u8]>::to_vec).collect();
    wanted.sort();
    all.sort();
    assert!(all == wanted, "the partitions together are not the input");
}

#[test]
fn every_start_of_a_consume_finds_its_place_in_both_tiers() {
    let workspace = Workspace::new();
    let server = Server::start(&workspace, ServerOptions::default());
    let cli = server.cli();
    let lines = (0..1000).map(|number| format!("line {number}\n")).collect::<Vec<_>>().concat();
    cli.create_topic("places", 1, &[]);
    cli.produce("places", 0, "none", lines.as_bytes());
    let read = |offset: &str, more: &[&str]| {
        let mut arguments = vec!["consume", "places", "--partition", "0", "--offset", offset, "-e"];
        arguments.extend(more);
        cli.run(&arguments).ok().text()
    };
    for tier in ["hot", "cold"] {
        assert_eq!(read("start", &["--max", "2"]), "line 0\nline 1\n", "{tier}");
        assert_eq!(read("500", &["--max", "1"]), "line 500\n", "{tier}");
        assert_eq!(read("+998", &[]), "line 998\nline 999\n", "{tier}");
        assert_eq!(read("-1", &[]), "line 999\n", "{tier}");
        assert_eq!(read("end", &[]), "", "{tier}");
        assert_eq!(read("@2020-01-01T00:00:00Z", &["--max", "1"]), "line 0\n", "{tier}");
        assert_eq!(read("@2100-01-01T00:00:00Z", &[]), "", "{tier}");
        cli.offload("places");
        cli.evict("places");
    }
}

#[test]
fn keys_headers_and_timestamps_come_back_in_json() {
    let workspace = Workspace::new();
    let server = Server::start(&workspace, ServerOptions::default());
    let cli = server.cli();
    cli.create_topic("keyed", 1, &[]);
    let produced = ["produce", "keyed", "--key-separator", ":", "--header", "origin=test"];
    let _ = cli.run_with(&produced, b"a:first\nb:second\n").ok();
    let text = cli.run(&["consume", "keyed", "-e", "--offset", "start", "-o", "json"]).ok().text();
    let records: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("a record a line")).collect();
    assert_eq!(records.len(), 2);
    assert_eq!(records[0]["key"], "a");
    assert_eq!(records[0]["value"], "first");
    assert_eq!(records[1]["offset"], 1);
    assert!(records[1]["timestamp"].is_i64() || records[1]["timestamp_ms"].is_i64(), "{text}");
    assert!(text.contains("origin"), "{text}");
}
