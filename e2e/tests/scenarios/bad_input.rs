//! What a user can get wrong: each has its own clear error and leaves the server as it was.

use tidelog_e2e::{Server, ServerOptions, Workspace};

fn server() -> (Workspace, Server) {
    let workspace = Workspace::new();
    let server = Server::start(&workspace, ServerOptions::default());
    server.cli().create_topic("real", 2, &[]);
    server.cli().produce("real", 0, "none", b"one\ntwo\nthree\n");
    (workspace, server)
}

#[test]
fn an_unknown_topic_or_partition_is_named() {
    let (_workspace, server) = server();
    let cli = server.cli();
    let _ = cli.run_with(&["produce", "ghost"], b"x\n").refused(&["ghost"]);
    let _ = cli.run(&["consume", "ghost", "-e"]).refused(&["ghost"]);
    let _ = cli.run(&["topic", "describe", "ghost"]).refused(&["ghost"]);
    let _ = cli.run(&["topic", "delete", "ghost"]).refused(&["ghost"]);
    let _ = cli.run(&["storage", "describe", "ghost"]).refused(&["ghost"]);
    let _ = cli.run(&["storage", "offload", "ghost"]).refused(&["ghost"]);
    let _ = cli.run_with(&["produce", "real", "--partition", "2"], b"x\n").refused(&["partition"]);
    let _ = cli.run(&["consume", "real", "--partition", "99", "-e"]).refused(&["partition"]);
    assert_eq!(cli.consume("real", 0), b"one\ntwo\nthree\n");
}

#[test]
fn a_topic_that_cannot_be_is_refused_with_every_reason() {
    let (_workspace, server) = server();
    let cli = server.cli();
    let _ = cli.run(&["topic", "create", "real"]).refused(&["exists"]);
    let _ = cli.run(&["topic", "create", "a b"]).refused(&["' '|letters"]);
    let _ = cli.run(&["topic", "create", "none", "--partitions", "0"]).refused(&["partition"]);
    let many = ["topic", "create", "many", "--partitions", "4000000000"];
    let _ = cli.run(&many).refused(&["partition"]);
    let bad = [
        "topic",
        "create",
        "bad",
        "--config",
        "segment.bytes=12",
        "--config",
        "segmnt.bytes=1048576",
        "--config",
        "retention.ms=1000",
    ];
    let _ = cli.run(&bad).refused(&["segment.bytes", "segmnt.bytes", "retention.ms"]);
    let alter = ["topic", "alter", "real", "--config", "cleanup.policy=compact"];
    let _ = cli.run(&alter).refused(&["cleanup.policy"]);
    let listed = cli.run(&["topic", "list"]).ok().text();
    assert!(listed.contains("real") && !listed.contains("bad"), "{listed}");
}

#[test]
fn an_oversized_record_is_refused_and_its_neighbours_are_not() {
    let (_workspace, server) = server();
    let cli = server.cli();
    cli.create_topic("small", 1, &["max.message.bytes=10000"]);
    let large = "x".repeat(20_000);
    let refused = cli.run_with(&["produce", "small"], format!("{large}\n").as_bytes());
    let _ = refused.refused(&["large|max.message.bytes", "10000|10,000"]);
    cli.produce("small", 0, "none", b"fits\n");
    assert_eq!(cli.consume("small", 0), b"fits\n");
}

#[test]
fn an_offset_out_of_range_names_the_range_on_both_sides() {
    let (_workspace, server) = server();
    let cli = server.cli();
    let read = |offset: &str| cli.run(&["consume", "real", "--partition", "0", "--offset", offset, "-e"]);
    let _ = read("4").refused(&["offset", "3"]);
    let _ = read("99999999").refused(&["offset", "3"]);
    // The end itself is no error: nothing is there yet.
    assert_eq!(read("3").ok().text(), "");
}

#[test]
fn an_unknown_codec_or_flag_is_a_usage_error() {
    let (_workspace, server) = server();
    let cli = server.cli();
    let codec = cli.run_with(&["produce", "real", "--compression", "brotli"], b"x\n").refused(&["brotli"]);
    assert_eq!(codec.code, 2);
    assert_eq!(cli.run(&["consume", "real", "--offset", "soon", "-e"]).refused(&["soon"]).code, 2);
    assert_eq!(cli.run(&["no-such-command"]).refused(&["no-such-command"]).code, 2);
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let (_workspace, mut server) = server();
    let cli = server.cli();
    server.kill();
    let _ = cli.run(&["topic", "list"]).refused(&[&server.quic_port.to_string()]);
    let bootstrap = ["topic", "list", "--bootstrap", "no-such-host.invalid:9440"];
    let _ = cli.run(&bootstrap).refused(&["no-such-host.invalid"]);
}

#[test]
fn a_bucket_that_is_not_one_is_refused_by_every_bucket_command() {
    let workspace = Workspace::new();
    let cli = tidelog_e2e::Cli::new(&workspace.directory("home"));
    for command in ["ls", "verify"] {
        let _ = cli.run(&["bucket", command, "ftp://example/bucket"]).refused(&["ftp"]);
        let _ = cli.run(&["bucket", command, "file:///no/such/directory"]).refused(&["/no/such/directory"]);
    }
}
