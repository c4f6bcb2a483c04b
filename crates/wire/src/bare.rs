//! The raw limits of this machine's transports, for `tidelog bench limits`: the same sockets, windows
//! and ciphers as the product uses, and nothing else. The sender writes zeroes, the receiver drops
//! them and says how many came.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn::{Endpoint, TokioRuntime, VarInt};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsStream};

use crate::connect::ConnectOptions;
use crate::listener::ListenError;
use crate::tls::{self, Credentials, Identity};
use crate::{Limits, Transport, TransportSettings, Trust, WireError, quic, socket, tcp};

const ALPN: &[u8] = b"tidelog-bare/1";

/// One write, and the buffer of one read on TCP.
const WRITE_BYTES: usize = 1024 * 1024;
const READ_BYTES: usize = 256 * 1024;

/// What the receiver answers: how many bytes came, big-endian.
const COUNT_BYTES: usize = 8;

/// A receiver that has a port but does not serve it yet.
#[derive(Debug)]
pub struct BareServer {
    addr: SocketAddr,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Quic(Endpoint),
    Tcp(TcpListener, Arc<rustls::ServerConfig>, TransportSettings),
}

/// What a transfer took.
#[derive(Clone, Copy, Debug)]
pub struct Transferred {
    pub bytes: u64,
    pub elapsed: Duration,
}

impl Transferred {
    pub fn bytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.elapsed.as_secs_f64()
    }
}

impl BareServer {
    pub fn bind(
        transport: Transport,
        addr: SocketAddr,
        identity: &Identity,
        settings: &TransportSettings,
    ) -> Result<Self, ListenError> {
        let failed = |error| ListenError::bind(addr, error);
        let kind = match transport {
            Transport::Quic => {
                let mut config = quic::server_config(
                    &Credentials::new(identity.clone())?,
                    ALPN,
                    &Limits::default(),
                    settings,
                )?;
                let windows = quic::full_windows(settings, Limits::default().streams);
                config.transport_config(Arc::new(windows));
                let socket = socket::udp(addr, settings).map_err(failed)?;
                let endpoint = quic::endpoint_config(settings);
                Kind::Quic(
                    Endpoint::new(endpoint, Some(config), socket, Arc::new(TokioRuntime)).map_err(failed)?,
                )
            }
            Transport::Tcp => {
                let listener = TcpListener::from_std(socket::tcp_listener(addr).map_err(failed)?);
                let config = Arc::new(tls::server_config(&Credentials::new(identity.clone())?, ALPN)?);
                Kind::Tcp(listener.map_err(failed)?, config, *settings)
            }
        };
        let addr = match &kind {
            Kind::Quic(endpoint) => endpoint.local_addr(),
            Kind::Tcp(listener, ..) => listener.local_addr(),
        };
        Ok(Self { addr: addr.map_err(failed)?, kind })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Receives for ever; the caller ends it by dropping the future.
    pub async fn serve(self) {
        let mut tasks = JoinSet::new();
        match self.kind {
            Kind::Quic(endpoint) => {
                while let Some(incoming) = endpoint.accept().await {
                    tasks.spawn(async move {
                        let Ok(connection) = incoming.await else { return };
                        let mut streams = JoinSet::new();
                        while let Ok((send, recv)) = connection.accept_bi().await {
                            streams.spawn(receive_quic(send, recv));
                        }
                    });
                }
            }
            Kind::Tcp(listener, config, settings) => {
                let acceptor = TlsAcceptor::from(config);
                while let Ok((tcp, _)) = listener.accept().await {
                    let acceptor = acceptor.clone();
                    tasks.spawn(async move {
                        if socket::tune_tcp(&tcp, &settings).is_err() {
                            return;
                        }
                        if let Ok(mut tls) = acceptor.accept(tcp).await {
                            tls.get_mut().1.set_buffer_limit(Some(settings.tls_buffer_bytes));
                            let _ = receive_tcp(tls.into()).await;
                        }
                    });
                }
            }
        }
    }
}

async fn receive_quic(mut send: quinn::SendStream, mut recv: quinn::RecvStream) {
    let mut count = 0_u64;
    while let Ok(Some(chunk)) = recv.read_chunk(WRITE_BYTES, true).await {
        count += chunk.bytes.len() as u64;
    }
    if send.write_all(&count.to_be_bytes()).await.is_ok() && send.finish().is_ok() {
        let _ = send.stopped().await;
    }
}

/// TLS has no half-close that every peer honours, so the count comes first.
async fn receive_tcp(mut tls: TlsStream<TcpStream>) -> std::io::Result<()> {
    let expected = tls.read_u64().await?;
    let mut buffer = vec![0; READ_BYTES];
    let mut count = 0_u64;
    while count < expected {
        match tls.read(&mut buffer).await? {
            0 => break,
            read => count += read as u64,
        }
    }
    tls.write_all(&count.to_be_bytes()).await?;
    tls.shutdown().await
}

/// Sends `bytes` over so many streams at once (on TCP: connections), and waits until all have arrived.
pub async fn transfer(
    transport: Transport,
    addr: SocketAddr,
    trust: &Trust,
    settings: &TransportSettings,
    streams: usize,
    bytes: u64,
) -> Result<Transferred, WireError> {
    let mut options = ConnectOptions::new(addr.to_string(), trust.clone());
    options.settings = *settings;
    options.server_name = Some("localhost".to_owned());
    let each = bytes / streams.max(1) as u64;
    let mut tasks = JoinSet::new();
    let began;
    match transport {
        Transport::Quic => {
            let endpoint = quic::client_endpoint(&options, addr)?;
            let config =
                quic::client_config(trust, ALPN, settings).map_err(|error| options.tls_error(&error))?;
            let connection = endpoint
                .connect_with(config, addr, options.name())
                .map_err(|error| options.connect_error(&error))?
                .await
                .map_err(|error| WireError::from_quic(&error))?;
            began = Instant::now();
            for _ in 0..streams {
                let halves = connection.open_bi().await.map_err(|error| WireError::from_quic(&error))?;
                tasks.spawn(send_quic(halves, each));
            }
            let sent = join(tasks).await?;
            let elapsed = began.elapsed();
            connection.close(VarInt::from_u32(0), b"");
            endpoint.wait_idle().await;
            Ok(Transferred { bytes: sent, elapsed })
        }
        Transport::Tcp => {
            let config =
                Arc::new(tls::client_config(trust, ALPN).map_err(|error| options.tls_error(&error))?);
            let name =
                ServerName::try_from(options.name().to_owned()).map_err(|error| options.tls_error(&error))?;
            let mut connections = Vec::new();
            for _ in 0..streams {
                let tls = tcp::tls_connect(addr, &options.addr, name.clone(), &config, settings).await?;
                connections.push(tls);
            }
            began = Instant::now();
            for tls in connections {
                tasks.spawn(send_tcp(tls, each));
            }
            let sent = join(tasks).await?;
            Ok(Transferred { bytes: sent, elapsed: began.elapsed() })
        }
    }
}

async fn join(mut tasks: JoinSet<Result<u64, WireError>>) -> Result<u64, WireError> {
    let mut sent = 0;
    while let Some(result) = tasks.join_next().await {
        sent += result.map_err(|error| WireError::Lost(error.to_string()))??;
    }
    Ok(sent)
}

async fn send_quic(
    (mut send, mut recv): (quinn::SendStream, quinn::RecvStream),
    bytes: u64,
) -> Result<u64, WireError> {
    let zeroes = Bytes::from(vec![0; WRITE_BYTES]);
    let mut left = bytes;
    while left > 0 {
        let chunk = zeroes.slice(..left.min(WRITE_BYTES as u64) as usize);
        left -= chunk.len() as u64;
        send.write_chunk(chunk).await.map_err(|error| WireError::from_write(&error))?;
    }
    send.finish().map_err(|_| WireError::Finished)?;
    let mut count = [0; COUNT_BYTES];
    recv.read_exact(&mut count).await.map_err(|error| WireError::Lost(error.to_string()))?;
    Ok(u64::from_be_bytes(count))
}

async fn send_tcp(mut tls: TlsStream<TcpStream>, bytes: u64) -> Result<u64, WireError> {
    let lost = |error: std::io::Error| WireError::from_io(&error);
    let zeroes = vec![0; WRITE_BYTES];
    tls.write_u64(bytes).await.map_err(lost)?;
    let mut left = bytes;
    while left > 0 {
        let chunk = &zeroes[..left.min(WRITE_BYTES as u64) as usize];
        left -= chunk.len() as u64;
        tls.write_all(chunk).await.map_err(lost)?;
    }
    tls.flush().await.map_err(lost)?;
    tls.read_u64().await.map_err(lost)
}
