//! Servers that must not start, or must not stay: each says why, and nothing is lost.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tidelog_e2e::input::short_lines;
use tidelog_e2e::{LoopDisk, Server, ServerOptions, Workspace, free_port, until};

#[test]
fn a_data_directory_in_use_is_refused_and_its_owner_goes_on() {
    let workspace = Workspace::new();
    let owner = Server::start(&workspace, ServerOptions::default());
    let cli = owner.cli();
    cli.create_topic("owned", 1, &[]);
    cli.produce("owned", 0, "none", b"still here\n");

    let second = Workspace::new();
    let refusal = Server::refused(&second, ServerOptions::default().data_dir(owner.data_dir()));
    refusal.says(&["in use|another process|locked", &owner.data_dir().display().to_string()]);
    assert_eq!(cli.consume("owned", 0), b"still here\n");
}

#[test]
fn a_data_directory_of_a_newer_format_is_refused_and_left_alone() {
    let workspace = Workspace::new();
    let mut server = Server::start(&workspace, ServerOptions::default());
    assert!(server.terminate().success(), "{}", server.log());
    let identity = server.data_dir().join("tidelog.json");
    let text = fs::read_to_string(&identity).expect("the directory's identity");
    let mut value: serde_json::Value = serde_json::from_str(&text).expect("the identity is JSON");
    let version = value
        .as_object_mut()
        .and_then(|fields| fields.iter_mut().find(|(name, _)| name.contains("version")))
        .map(|(_, version)| version)
        .expect("the identity has a version");
    *version = serde_json::json!(version.as_u64().expect("a number") + 41);
    fs::write(&identity, value.to_string()).expect("the changed identity");

    server.try_restart().expect_err("a newer format must be refused").says(&["newer|version", "42|format"]);
    assert_eq!(fs::read_to_string(&identity).unwrap(), value.to_string(), "the directory was changed");
    fs::write(&identity, text).expect("the old identity");
    server.restart();
}

#[test]
fn a_port_in_use_is_named() {
    let workspace = Workspace::new();
    let (quic, http) = (free_port(), free_port());
    let taken = UdpSocket::bind(("127.0.0.1", quic)).expect("a free port");
    let refusal = Server::try_start(&workspace, ServerOptions::default(), quic, http)
        .expect_err("the UDP port is taken");
    refusal.says(&["in use", &quic.to_string()]);
    drop(taken);
    let taken = TcpListener::bind(("127.0.0.1", http)).expect("a free port");
    let refusal = Server::try_start(&workspace, ServerOptions::default(), quic, http)
        .expect_err("the HTTP port is taken");
    refusal.says(&["in use", &http.to_string()]);
    drop(taken);
    Server::try_start(&workspace, ServerOptions::default(), quic, http).expect("both ports are free now");
}

#[test]
fn a_bad_config_is_refused_with_every_problem_and_its_place() {
    let workspace = Workspace::new();
    let file = workspace.path().join("tidelog.toml");
    fs::write(&file, "no_such_key = 1\n\n[journal]\nfile_bytes = \"twelve\"\n").unwrap();
    let options = ServerOptions::default().argument("--config").argument(&file.display().to_string());
    let options = options.env("TIDELOG_NO_SUCH_SECTION__KEY", "1");
    let mut options = options;
    options.env.retain(|(name, _)| name != "TIDELOG_JOURNAL__FILE_BYTES");
    let refusal = Server::refused(&workspace, options);
    refusal.says(&["no_such_key", "file_bytes", "tidelog.toml", "no_such_section"]);
}

#[test]
fn an_unreadable_config_file_is_named() {
    let workspace = Workspace::new();
    let options = ServerOptions::default().argument("--config").argument("/no/such/tidelog.toml");
    Server::refused(&workspace, options).says(&["/no/such/tidelog.toml"]);
}

#[test]
fn a_listener_beyond_loopback_without_authentication_is_refused() {
    let workspace = Workspace::new();
    let cli = tidelog_e2e::Cli::new(&workspace.directory("home"));
    let data = workspace.path().join("data").display().to_string();
    let quic = format!("0.0.0.0:{}", free_port());
    let http = format!("127.0.0.1:{}", free_port());
    let refused = cli.run(&["dev", "--data-dir", &data, "--quic", &quic, "--http", &http]);
    let _ = refused.refused(&["0.0.0.0", "authentication|anonymous"]);
}

#[test]
fn an_unreachable_bucket_leaves_the_hot_path_alone_and_is_named() {
    let workspace = Workspace::new();
    let options = ServerOptions::default()
        .bucket("s3://nowhere/at-all")
        .env("AWS_ENDPOINT_URL", &format!("http://127.0.0.1:{}", free_port()))
        .env("AWS_ALLOW_HTTP", "true")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "any")
        .env("AWS_SECRET_ACCESS_KEY", "any");
    match Server::try_start(&workspace, options, free_port(), free_port()) {
        Err(refusal) => refusal.says(&["bucket"]),
        Ok(mut server) => {
            let cli = server.cli();
            let input = short_lines().head(200_000);
            cli.create_topic("hot", 1, &[]);
            cli.produce("hot", 0, "none", &input.bytes);
            let _ = cli.run(&["storage", "offload", "hot"]).refused(&["bucket"]);
            assert!(cli.consume("hot", 0) == input.bytes);
            server.kill_and_restart();
            assert!(cli.consume("hot", 0) == input.bytes);
        }
    }
}

#[test]
fn a_read_only_bucket_loses_nothing_and_works_again_when_it_can_be_written() {
    let workspace = Workspace::new();
    let server = Server::start(&workspace, ServerOptions::default());
    let cli = server.cli();
    let input = short_lines().head(200_000);
    cli.create_topic("kept", 1, &[]);
    cli.produce("kept", 0, "none", &input.bytes);
    // A file where a directory must be refuses writes to root too, whom permissions do not stop.
    let bucket = server.bucket_dir();
    let aside = workspace.path().join("aside");
    fs::rename(&bucket, &aside).expect("the bucket moves aside");
    fs::write(&bucket, b"not a directory").expect("a file in its place");
    fs::set_permissions(&bucket, fs::Permissions::from_mode(0o400)).expect("read-only");

    let _ = cli.run(&["storage", "offload", "kept"]).refused(&["bucket|directory"]);
    assert!(cli.consume("kept", 0) == input.bytes, "records are served although the bucket refuses");
    cli.produce("kept", 0, "none", b"one more\n");

    fs::remove_file(&bucket).expect("the file goes");
    fs::rename(&aside, &bucket).expect("the bucket comes back");
    until(Duration::from_mins(1), "the offload works again", || {
        (cli.run(&["storage", "offload", "kept"]).code == 0).then_some(())
    });
    cli.evict("kept");
    let mut all = input.bytes;
    all.extend_from_slice(b"one more\n");
    assert!(cli.consume("kept", 0) == all);
}

#[test]
fn a_full_disk_rejects_writes_serves_reads_and_recovers_by_itself() {
    let workspace = Workspace::new();
    let Some(disk) = LoopDisk::mount(&workspace, 256 * 1024 * 1024) else { return };
    // The bucket is on the same disk: nothing can be moved out of the way.
    let options = ServerOptions::default().data_dir(&disk.path().join("data"));
    let mut server = Server::start(&workspace, options);
    let cli = server.cli();
    let input = short_lines();
    cli.create_topic("full", 1, &[]);
    cli.produce("full", 0, "none", &input.bytes);
    let filler = disk.fill();

    // Journal files that are allocated already take some more; then it must say that the disk is full.
    let mut accepted = input.bytes.clone();
    let refused = (0..40).find_map(|_| {
        let finished = cli.run_within(
            &["produce", "full", "--partition", "0", "--timeout", "5s"],
            Some(&input.bytes),
            Duration::from_mins(1),
        );
        if finished.code == 0 {
            accepted.extend_from_slice(&input.bytes);
            return None;
        }
        Some(finished)
    });
    let _ = refused.expect("a full disk must be noticed").refused(&["full|space"]);
    assert!(server.is_running(), "a full disk does not end the server:\n{}", server.log());
    let served = cli.consume("full", 0);
    assert!(served.starts_with(&accepted), "what was acknowledged is served while the disk is full");

    fs::remove_file(filler).expect("room again");
    until(Duration::from_mins(1), "writes are accepted again", || {
        (cli.run_with(&["produce", "full", "--partition", "0"], b"after\n").code == 0).then_some(())
    });
    server.kill_and_restart();
    let served = cli.consume("full", 0);
    assert!(served.starts_with(&accepted) && served.ends_with(b"after\n"));
    drop(server);
}

#[test]
fn a_disk_smaller_than_the_journals_budget_takes_everything_while_the_bucket_takes_it_over() {
    let workspace = Workspace::new();
    let Some(disk) = LoopDisk::mount(&workspace, 160 * 1024 * 1024) else { return };
    let options = ServerOptions::default()
        .data_dir(&disk.path().join("data"))
        .bucket(&format!("file://{}", workspace.directory("bucket").display()));
    let mut server = Server::start(&workspace, options);
    let cli = server.cli();
    let input = short_lines();
    cli.create_topic("small", 1, &[]);
    let mut accepted = Vec::new();
    while accepted.len() < 200_000_000 {
        let once = input.bytes.repeat(10);
        cli.produce("small", 0, "none", &once);
        accepted.extend_from_slice(&once);
    }
    server.kill_and_restart();
    assert!(cli.consume("small", 0) == accepted);
    drop(server);
}
