//! The transport alone: the same sockets, windows and ciphers, between two processes, without Tidelog.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;

use anyhow::{Context, bail};
use tidelog_wire::bare::{BareServer, transfer};
use tidelog_wire::{Fingerprint, Identity, TransportSettings, Trust};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use super::Transport;

#[derive(Clone, Debug, clap::Args)]
pub struct PeerArgs {
    #[arg(long, value_enum)]
    transport: Transport,
}

impl From<Transport> for tidelog_wire::Transport {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Quic => Self::Quic,
            Transport::Tcp => Self::Tcp,
        }
    }
}

/// The receiving process: says where it listens and who it is, and goes when its stdin closes.
pub async fn serve(args: &PeerArgs) -> anyhow::Result<()> {
    let identity = Identity::self_signed(&["localhost".to_owned()])?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let settings = TransportSettings::default();
    let server = BareServer::bind(args.transport.into(), address, &identity, &settings)?;
    let line = format!("{} {}\n", server.local_addr(), identity.fingerprint());
    std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes())?;
    let mut stdin = tokio::io::stdin();
    let mut rest = Vec::new();
    tokio::select! {
        () = server.serve() => bail!("the bare listener ended"),
        _ = stdin.read_to_end(&mut rest) => Ok(()),
    }
}

/// A receiving process and how to reach it. Killed when dropped.
#[derive(Debug)]
pub struct Peer {
    _child: Child,
    transport: Transport,
    address: SocketAddr,
    trust: Trust,
}

impl Peer {
    pub async fn start(transport: Transport) -> anyhow::Result<Self> {
        let name = match transport {
            Transport::Quic => "quic",
            Transport::Tcp => "tcp",
        };
        let mut child = Command::new(std::env::current_exe().context("the path of this program")?)
            .args(["bench", "bare-peer", "--transport", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting the other end of a bare transport")?;
        let stdout = child.stdout.take().context("the other end's output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).await.context("the other end's address")?;
        let Some((address, fingerprint)) = line.trim().split_once(' ') else {
            bail!("the other end said {line:?}");
        };
        let fingerprint: Fingerprint = fingerprint.parse()?;
        let (address, trust) = (address.parse()?, Trust::Pinned(fingerprint));
        Ok(Self { _child: child, transport, address, trust })
    }

    /// Bytes per second over so many streams.
    pub async fn bytes_per_second(&self, streams: usize, bytes: u64) -> anyhow::Result<f64> {
        let settings = TransportSettings::default();
        let moved =
            transfer(self.transport.into(), self.address, &self.trust, &settings, streams, bytes).await?;
        Ok(moved.bytes_per_second())
    }

    /// Megabytes per second for about so long, after finding out how many bytes that is.
    pub async fn megabytes_per_second(&self, seconds: u64) -> anyhow::Result<f64> {
        const STREAMS: usize = 2;
        let guess = self.bytes_per_second(STREAMS, 128 * 1024 * 1024).await?;
        let bytes = (guess * seconds as f64) as u64;
        Ok(self.bytes_per_second(STREAMS, bytes).await? / 1e6)
    }
}
