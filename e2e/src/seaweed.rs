//! A real S3 server: SeaweedFS in one process on loopback.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{Workspace, free_port, http, until};

/// A running server with one empty bucket. Killed when dropped.
#[derive(Debug)]
pub struct Seaweed {
    child: Child,
    ports: Vec<u16>,
    s3_port: u16,
    log: PathBuf,
}

const BUCKET: &str = "tidelog-e2e";

impl Seaweed {
    /// Starts `weed` from `TIDELOG_TOOLS` (see `scripts/install-tools`) or the `PATH`.
    ///
    /// # Panics
    /// When it is missing or does not become ready.
    pub fn start(workspace: &Workspace) -> Self {
        let directory = workspace.directory("seaweed");
        let log = workspace.path().join("seaweed.log");
        let ports: Vec<u16> = (0..8).map(|_| free_port()).collect();
        let file = File::create(&log).expect("a log file");
        let program = program();
        let child = Command::new(&program)
            .arg("server")
            .arg(format!("-dir={}", directory.display()))
            .args(arguments(&ports))
            .current_dir(workspace.path())
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a second handle of the log"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "{}: {error}; set TIDELOG_TOOLS to what scripts/install-tools prints",
                    program.display()
                )
            });
        let mut server = Self { child, s3_port: ports[6], ports, log };
        server.make_bucket();
        server
    }

    fn make_bucket(&mut self) {
        until(Duration::from_secs(90), "SeaweedFS makes a bucket", || {
            if let Ok(Some(status)) = self.child.try_wait() {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                panic!("SeaweedFS ended with {status}:\n{log}");
            }
            let answer = http::request("PUT", self.s3_port, &format!("/{BUCKET}")).ok()?;
            (answer.status == 200 || answer.status == 409).then_some(())
        });
    }

    /// The bucket as `tidelog` names it; `prefix` keeps scenarios apart.
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}")
    }

    /// The standard AWS variables that lead to this server.
    pub fn env(&self) -> Vec<(String, String)> {
        [
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.s3_port)),
            ("AWS_ACCESS_KEY_ID", "any".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "any".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    pub fn port(&self) -> u16 {
        self.s3_port
    }

    /// Stops it for good.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        self.kill();
        // It leaves a socket per service behind, named after the port.
        for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let ours = self.ports.iter().any(|port| name.ends_with(&format!("-{port}.sock")));
            if ours && name.starts_with("seaweedfs-") {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

fn program() -> PathBuf {
    std::env::var_os("TIDELOG_TOOLS")
        .map_or_else(|| PathBuf::from("weed"), |tools| PathBuf::from(tools).join("weed"))
}

fn arguments(ports: &[u16]) -> Vec<String> {
    let named = [
        "master.port",
        "master.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "filer.port",
        "filer.port.grpc",
        "s3.port",
        "s3.port.grpc",
    ];
    let mut arguments: Vec<String> =
        named.iter().zip(ports).map(|(name, port)| format!("-{name}={port}")).collect();
    let fixed = [
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-filer",
        "-s3",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.iam=false",
        "-iam=false",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=1024",
        "-volume.max=0",
    ];
    arguments.extend(fixed.map(str::to_owned));
    arguments
}
