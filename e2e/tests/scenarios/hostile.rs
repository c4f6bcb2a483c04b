//! What arrives from a network can be anything: each is refused by name, and others are served on.

use std::net::UdpSocket;

use bytes::Bytes;
use tidelog_e2e::raw::{RawStream, hello};
use tidelog_e2e::{Server, ServerOptions, Workspace};
use tidelog_format::batch::{BatchBuilder, BatchOptions};
use tidelog_model::{Compression, ErrorCode, ProducerEpoch, ProducerId, Sequence, TimestampMs};
use tidelog_proto::v1::{self, FrameKind};

fn server() -> (Workspace, Server) {
    let workspace = Workspace::new();
    let server = Server::start(&workspace, ServerOptions::default());
    server.cli().create_topic("victim", 1, &["max.message.bytes=100000"]);
    server.cli().produce("victim", 0, "none", b"before\n");
    (workspace, server)
}

/// The server runs, serves what it had, and takes more.
#[track_caller]
fn assert_unharmed(server: &mut Server) {
    assert!(server.is_running(), "the server is gone:\n{}", server.log());
    let cli = server.cli();
    let before = cli.consume("victim", 0);
    assert!(before.starts_with(b"before\n"));
    cli.produce("victim", 0, "none", b"after\n");
    assert_eq!(cli.consume("victim", 0), [before.as_slice(), b"after\n"].concat());
    assert!(!server.log().contains("panicked"), "something panicked:\n{}", server.log());
}

/// One batch of one record; the producer id is left out when it is `None`.
fn batch(value: &[u8], producer: Option<(i64, i32)>) -> Vec<u8> {
    let mut builder =
        BatchBuilder::new(BatchOptions { compression: Compression::None, ..BatchOptions::default() });
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    builder.push(TimestampMs(now as i64), None, Some(value), &[]).expect("a record that fits");
    if let Some((id, first)) = producer {
        builder.set_producer(ProducerId(id), ProducerEpoch(0), Sequence(first));
    }
    builder.finish().to_vec()
}

/// A producer session of its own, speaking raw frames.
struct Session {
    _first: RawStream,
    stream: RawStream,
    topic_id: Bytes,
    sent: u64,
}

impl Session {
    fn open(server: &Server) -> Self {
        let (mut first, hello) = RawStream::session(server.quic_port).expect("a session");
        let mut control = RawStream::attach(server.quic_port, &hello).expect("a control stream");
        let by = Some(v1::topic_ref::By::Name("victim".to_owned()));
        let body =
            v1::request::Body::DescribeTopic(v1::DescribeTopicRequest { topic: Some(v1::TopicRef { by }) });
        let request = v1::Request { timeout_ms: 0, body: Some(body) };
        control.send(FrameKind::Request, &request, &[]).expect("a request");
        let response: v1::Response = control.recv().expect("a response").decode(FrameKind::Response);
        let Some(v1::response::Body::DescribeTopic(described)) = response.body else {
            panic!("no description: {response:?}");
        };
        let topic_id = described.topic.expect("a topic").id;
        let mut stream = RawStream::attach(server.quic_port, &hello).expect("a producer session");
        stream.send(FrameKind::OpenProducer, &v1::OpenProducer::default(), &[]).expect("an opening");
        let _: v1::ProducerOpened = stream.recv().expect("an answer").decode(FrameKind::ProducerOpened);
        // The session's first stream stays open as long as the session.
        let _ = &mut first;
        Self { _first: first, stream, topic_id, sent: 0 }
    }

    fn produce(&mut self, partition: u32, batch: &[u8]) -> v1::ProduceAck {
        let sequence = self.sent;
        self.sent += 1;
        let header = v1::Produce { topic_id: self.topic_id.clone(), partition, sequence };
        self.stream.send(FrameKind::Produce, &header, batch).expect("a produce frame");
        let ack: v1::ProduceAck =
            self.stream.recv().expect("an acknowledgement").decode(FrameKind::ProduceAck);
        assert_eq!(ack.sequence, sequence);
        ack
    }

    #[track_caller]
    fn refused(&mut self, partition: u32, batch: &[u8], code: ErrorCode) {
        let ack = self.produce(partition, batch);
        let error = ack.error.unwrap_or_else(|| panic!("should be refused with {code:?}"));
        assert_eq!(ErrorCode::from_code(error.code), Some(code), "{error:?}");
        assert!(error.no_side_effects, "{error:?}");
    }

    #[track_caller]
    fn accepted(&mut self, batch: &[u8]) -> v1::ProduceAck {
        let ack = self.produce(0, batch);
        assert!(ack.error.is_none(), "{ack:?}");
        ack
    }
}

#[test]
fn a_bad_batch_is_refused_alone_and_the_session_goes_on() {
    let (_workspace, mut server) = server();
    let mut session = Session::open(&server);
    session.accepted(&batch(b"good", None));

    let mut flipped = batch(b"flipped", None);
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    session.refused(0, &flipped, ErrorCode::CorruptMessage);

    let whole = batch(b"cut", None);
    session.refused(0, &whole[..whole.len() - 3], ErrorCode::CorruptMessage);
    session.refused(0, b"no batch at all", ErrorCode::CorruptMessage);
    session.refused(0, b"", ErrorCode::CorruptMessage);

    // The codec is in the attributes' low bits, which the CRC covers: byte 21 on is what it covers.
    let mut codec = batch(b"codec", None);
    codec[22] = 6;
    let crc = tidelog_format::checksum::crc32c(&codec[21..]);
    codec[17..21].copy_from_slice(&crc.to_be_bytes());
    session.refused(0, &codec, ErrorCode::UnsupportedCompressionType);

    session.refused(0, &batch(&vec![7; 200_000], None), ErrorCode::MessageTooLarge);
    session.refused(1, &batch(b"elsewhere", None), ErrorCode::UnknownTopicOrPartition);
    session.accepted(&batch(b"good again", None));
    assert_unharmed(&mut server);
}

#[test]
fn a_repeated_batch_gets_its_old_offset_and_a_gap_is_an_error_even_after_a_kill() {
    let (_workspace, mut server) = server();
    let mut session = Session::open(&server);
    let id = 7_000_001;
    let first = session.accepted(&batch(b"first", Some((id, 0))));
    let second = session.accepted(&batch(b"second", Some((id, 1))));
    assert_eq!(second.base_offset, first.base_offset + 1);
    let again = session.accepted(&batch(b"second", Some((id, 1))));
    assert_eq!(again.base_offset, second.base_offset);
    session.refused(0, &batch(b"gap", Some((id, 3))), ErrorCode::OutOfOrderSequence);

    server.kill_and_restart();
    let mut session = Session::open(&server);
    let again = session.accepted(&batch(b"first", Some((id, 0))));
    assert_eq!(again.base_offset, first.base_offset, "forgotten by the kill");

    let cli = server.cli();
    cli.offload("victim");
    cli.evict("victim");
    server.kill_and_restart();
    let mut session = Session::open(&server);
    let again = session.accepted(&batch(b"second", Some((id, 1))));
    assert_eq!(again.base_offset, second.base_offset, "forgotten by the offload");
    session.refused(0, &batch(b"gap", Some((id, 3))), ErrorCode::OutOfOrderSequence);
    session.accepted(&batch(b"third", Some((id, 2))));
    assert_eq!(cli.consume("victim", 0), b"before\nfirst\nsecond\nthird\n");
}

#[test]
fn a_frame_that_claims_two_gigabytes_is_refused_before_anything_is_allocated() {
    let (_workspace, mut server) = server();
    let resident = resident_kib(&server);
    for claim in [2_147_483_648, u32::MAX] {
        // Before any Hello.
        let mut stream = RawStream::connect(server.quic_port).expect("a connection");
        stream.send_claiming(FrameKind::Hello as u8, 20, claim, &[&[0; 20]]).expect("a claim");
        stream.recv_until_closed();
        // On a producer session; the others of the connection live on.
        let mut session = Session::open(&server);
        let mut other = Session::open(&server);
        session.stream.send_claiming(FrameKind::Produce as u8, 20, claim, &[&[0; 20]]).expect("a claim");
        let frames = session.stream.recv_until_closed();
        let said = frames.iter().any(|frame| frame.is(FrameKind::Error) || frame.is(FrameKind::Reset));
        assert!(said, "the reset has a reason: {frames:?}");
        other.accepted(&batch(b"unharmed", None));
    }
    let header = RawStream::connect(server.quic_port).and_then(|mut stream| {
        stream.send_claiming(FrameKind::Hello as u8, (1 << 24) - 1, 0, &[])?;
        stream.recv_until_closed();
        Ok(())
    });
    header.expect("a connection");
    let grown = resident_kib(&server).saturating_sub(resident);
    assert!(grown < 64 * 1024, "the claims made the server {grown} KiB larger");
    assert_unharmed(&mut server);
}

fn resident_kib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("a live server");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a resident size");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn a_wrong_protocol_version_is_answered_with_the_ones_spoken() {
    let (_workspace, mut server) = server();
    let mut stream = RawStream::connect(server.quic_port).expect("a connection");
    stream.send(FrameKind::Hello, &hello(98, 99), &[]).expect("a hello");
    let frames = stream.recv_until_closed();
    let error = frames.iter().find(|frame| frame.is(FrameKind::Error)).expect("an error frame");
    let error: v1::Error = error.decode(FrameKind::Error);
    assert_eq!(ErrorCode::from_code(error.code), Some(ErrorCode::UnsupportedVersion));
    let spoken = v1::VersionRange { min: tidelog_proto::VERSION_MIN, max: tidelog_proto::VERSION_MAX };
    assert_eq!(error.detail, Some(v1::error::Detail::Versions(spoken)));
    assert_unharmed(&mut server);
}

#[test]
fn garbage_on_the_port_harms_nobody() {
    let (_workspace, mut server) = server();
    let target = ("127.0.0.1", server.quic_port);
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a UDP socket");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = |length: usize| -> Vec<u8> {
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        (0..length).map(|_| next()).collect()
    };
    for round in 0..2000 {
        let mut datagram = noise(1 + (round * 7) % 1400);
        if round % 3 == 0 {
            // The looks of a QUIC long header, version 1.
            datagram.splice(0..0, [0xc3, 0, 0, 0, 1]);
        }
        udp.send_to(&datagram, target).expect("a datagram to loopback");
    }
    for round in 0..20 {
        let mut tcp = std::net::TcpStream::connect(target).expect("a TCP connection");
        let _ = std::io::Write::write_all(&mut tcp, &noise(1 + round * 500));
    }
    for round in 0..20 {
        let mut stream = RawStream::connect(server.quic_port).expect("a TLS connection");
        stream.send_bytes(&noise(8 + round * 100)).expect("garbage within TLS");
    }
    // Frames that are well-formed and out of place.
    for kind in
        [FrameKind::Produce, FrameKind::Records, FrameKind::Attach, FrameKind::Request, FrameKind::Pong]
    {
        let mut stream = RawStream::connect(server.quic_port).expect("a TLS connection");
        stream.send(kind, &v1::Ping { nonce: 1 }, &[]).expect("a frame out of place");
        stream.recv_until_closed();
    }
    assert_unharmed(&mut server);
}
