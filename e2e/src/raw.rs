//! A client that may say anything: frames over TCP + TLS, byte by byte, without the SDK's manners.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use prost::Message;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use tidelog_proto::v1::{self, FrameKind};

/// How long an answer may take. Longer than the server's handshake and frame time-outs in defaults.
const ANSWER_WITHIN: Duration = Duration::from_secs(45);

/// One TLS connection, which the protocol's TCP mapping makes one stream.
#[derive(Debug)]
pub struct RawStream {
    tls: StreamOwned<ClientConnection, TcpStream>,
}

/// A frame as it came.
#[derive(Clone, Debug)]
pub struct RawFrame {
    pub kind: u8,
    pub header: Bytes,
    pub payload: Bytes,
}

impl RawFrame {
    pub fn is(&self, kind: FrameKind) -> bool {
        i32::from(self.kind) == kind as i32
    }

    /// # Panics
    /// When the frame is of another kind or cannot be decoded.
    #[track_caller]
    pub fn decode<M: Message + Default>(&self, kind: FrameKind) -> M {
        assert!(self.is(kind), "frame of kind {:#x} instead of {kind:?}", self.kind);
        M::decode(self.header.clone()).expect("a header that can be decoded")
    }
}

impl RawStream {
    /// Connects and shakes hands in TLS; says nothing yet.
    pub fn connect(port: u16) -> anyhow::Result<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .context("TLS versions")?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
            .with_no_client_auth();
        config.alpn_protocols = vec![tidelog_proto::ALPN.to_vec()];
        let name = ServerName::try_from("localhost").context("a server name")?;
        let session = ClientConnection::new(Arc::new(config), name)?;
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        socket.set_read_timeout(Some(ANSWER_WITHIN))?;
        socket.set_nodelay(true)?;
        let mut tls = StreamOwned::new(session, socket);
        while tls.conn.is_handshaking() {
            tls.conn.complete_io(&mut tls.sock)?;
        }
        Ok(Self { tls })
    }

    /// Opens a session: its first stream, after a correct Hello.
    pub fn session(port: u16) -> anyhow::Result<(Self, v1::HelloReply)> {
        let mut stream = Self::connect(port)?;
        stream.send(FrameKind::Hello, &hello(1, 1), &[])?;
        let reply = stream.recv()?.decode(FrameKind::HelloReply);
        Ok((stream, reply))
    }

    /// A further stream of a session.
    pub fn attach(port: u16, session: &v1::HelloReply) -> anyhow::Result<Self> {
        let mut stream = Self::connect(port)?;
        let attach = v1::Attach { session_token: session.session_token.clone() };
        stream.send(FrameKind::Attach, &attach, &[])?;
        Ok(stream)
    }

    pub fn send(&mut self, kind: FrameKind, header: &impl Message, payload: &[u8]) -> anyhow::Result<()> {
        let header = header.encode_to_vec();
        self.send_claiming(kind as u8, header.len() as u32, payload.len() as u32, &[&header, payload])
    }

    /// Sends a frame whose head claims these lengths, whatever `body` really has.
    pub fn send_claiming(
        &mut self,
        kind: u8,
        header_bytes: u32,
        payload_bytes: u32,
        body: &[&[u8]],
    ) -> anyhow::Result<()> {
        let mut frame = vec![kind];
        frame.extend_from_slice(&header_bytes.to_be_bytes()[1..]);
        frame.extend_from_slice(&payload_bytes.to_be_bytes());
        for part in body {
            frame.extend_from_slice(part);
        }
        self.send_bytes(&frame)
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.tls.write_all(bytes)?;
        self.tls.flush()?;
        Ok(())
    }

    pub fn recv(&mut self) -> anyhow::Result<RawFrame> {
        let mut head = [0; 8];
        self.tls.read_exact(&mut head).context("the head of a frame")?;
        let [kind, h1, h2, h3, p0, p1, p2, p3] = head;
        let mut header = vec![0; u32::from_be_bytes([0, h1, h2, h3]) as usize];
        self.tls.read_exact(&mut header).context("the header of a frame")?;
        let mut payload = vec![0; u32::from_be_bytes([p0, p1, p2, p3]) as usize];
        self.tls.read_exact(&mut payload).context("the payload of a frame")?;
        Ok(RawFrame { kind, header: header.into(), payload: payload.into() })
    }

    /// Every frame until the server closes the stream.
    ///
    /// # Panics
    /// When it does not close it.
    #[track_caller]
    pub fn recv_until_closed(&mut self) -> Vec<RawFrame> {
        let mut frames = Vec::new();
        loop {
            match self.recv() {
                Ok(frame) => frames.push(frame),
                Err(error) => {
                    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
                    let waited = matches!(kind, Some(io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut));
                    assert!(!waited, "the server keeps the stream open; it sent {frames:?}");
                    return frames;
                }
            }
        }
    }
}

/// A Hello that offers these versions.
pub fn hello(version_min: u32, version_max: u32) -> v1::Hello {
    v1::Hello {
        version_min,
        version_max,
        client_id: "e2e".to_owned(),
        software: "tidelog-e2e".to_owned(),
        features: Vec::new(),
        credentials: None,
    }
}

/// Takes every certificate: what is tried here is the server's patience, not its identity.
#[derive(Debug)]
struct AnyServer(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
