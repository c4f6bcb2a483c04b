//! The processes of a benchmark: the server under test, and what `/proc` says of it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

const READY_WITHIN: Duration = Duration::from_mins(2);
const POLL_EVERY: Duration = Duration::from_millis(5);

/// A `tidelog dev` of the same binary, on free ports, with a home of its own. Killed when dropped.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    home: PathBuf,
    data_dir: PathBuf,
    bucket: Option<String>,
    settings: Vec<(String, String)>,
    quic_port: u16,
    http_port: u16,
}

impl ServerProcess {
    pub async fn start(
        directory: &Path,
        bucket: Option<&str>,
        settings: &[(String, String)],
    ) -> anyhow::Result<Self> {
        let home = directory.join("home");
        std::fs::create_dir_all(&home).with_context(|| format!("{}", home.display()))?;
        let (quic_port, http_port) = (free_port()?, free_port()?);
        let data_dir = directory.join("data");
        let child = spawn(&home, &data_dir, bucket, settings, quic_port, http_port)?;
        let bucket = bucket.map(str::to_owned);
        let mut server =
            Self { child, home, data_dir, bucket, settings: settings.to_vec(), quic_port, http_port };
        server.until_ready().await?;
        Ok(server)
    }

    pub fn home(&self) -> &Path {
        &self.home
    }

    pub fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the server has ended")
    }

    /// SIGKILL, and gone.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("killing the server")
    }

    /// Starts again on the same directory and ports; does not wait for it to be ready.
    pub fn spawn_again(&mut self) -> anyhow::Result<()> {
        let bucket = self.bucket.as_deref();
        self.child =
            spawn(&self.home, &self.data_dir, bucket, &self.settings, self.quic_port, self.http_port)?;
        Ok(())
    }

    /// Ends it, removes what it has cached of the bucket, and starts it again.
    pub async fn restart_without_cache(&mut self) -> anyhow::Result<()> {
        self.kill().await?;
        match std::fs::remove_dir_all(self.data_dir.join("cache")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context("removing the cache");
            }
            _ => {}
        }
        self.spawn_again()?;
        self.until_ready().await
    }

    pub async fn until_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "the server ended with {status}; its log is {}",
                    self.home.join("server.log").display()
                );
            }
            if is_ready(self.http_port).await.unwrap_or(false) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the server was not ready within {READY_WITHIN:?}");
            }
            #[expect(clippy::disallowed_methods, reason = "the interval of a poll that has a deadline")]
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    pub fn usage(&self) -> anyhow::Result<Usage> {
        Usage::of(self.pid()?)
    }

    /// A counter of the server, by a part of its name.
    pub async fn counter(&self, name: &str) -> anyhow::Result<f64> {
        let metrics = http_get(self.http_port, "/metrics").await?;
        let line = metrics.lines().find(|line| !line.starts_with('#') && line.contains(name));
        let value = line.and_then(|line| line.split_whitespace().last()?.parse().ok());
        value.with_context(|| format!("the server has no counter {name}"))
    }
}

fn spawn(
    home: &Path,
    data_dir: &Path,
    bucket: Option<&str>,
    settings: &[(String, String)],
    quic_port: u16,
    http_port: u16,
) -> anyhow::Result<Child> {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(home.join("server.log"))
        .context("the server's log")?;
    let mut command = Command::new(std::env::current_exe().context("the path of this program")?);
    command.arg("dev").arg("--data-dir").arg(data_dir);
    command.args(["--quic", &format!("127.0.0.1:{quic_port}"), "--http", &format!("127.0.0.1:{http_port}")]);
    if let Some(url) = bucket {
        command.args(["--bucket", url]);
    }
    command
        .env("HOME", home)
        .env("XDG_CONFIG_HOME", home.join(".config"))
        .env_remove("TIDELOG_BOOTSTRAP")
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .context("starting a server for the benchmark")
}

async fn is_ready(port: u16) -> anyhow::Result<bool> {
    let answer = http_get(port, "/readyz").await?;
    Ok(answer.lines().next().is_some_and(|line| line.contains(" 200")))
}

async fn http_get(port: u16, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A port that is free now, for TCP and UDP.
pub fn free_port() -> anyhow::Result<u16> {
    for _ in 0..100 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        if std::net::UdpSocket::bind(address).is_ok() {
            return Ok(address.port());
        }
    }
    bail!("no free port on loopback")
}

/// What a process has used, from `/proc`.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub resident_mib: f64,
    pub resident_peak_mib: f64,
    pub cpu_seconds: f64,
}

impl Usage {
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the server's memory")?;
        let kibibytes = |key: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse::<f64>().ok())
                .unwrap_or(0.0)
        };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the server's time")?;
        // The command's name, in parentheses, can hold spaces; utime and stime are the 12th and 13th after it.
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
        Ok(Self {
            resident_mib: kibibytes("VmRSS:") / 1024.0,
            resident_peak_mib: kibibytes("VmHWM:") / 1024.0,
            cpu_seconds: (ticks(11) + ticks(12)) / 100.0,
        })
    }
}
