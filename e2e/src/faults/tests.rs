//! The faults themselves: each does what it says, and nothing without being told to.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::until;

const WITHIN: Duration = Duration::from_secs(20);

/// Answers every connection, and every datagram, with what it is sent. Ends with the process.
fn echo() -> u16 {
    let port = crate::free_port();
    let listener = TcpListener::bind(loopback(port)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut reader = stream.try_clone().unwrap();
                let mut writer = stream;
                let _ = std::io::copy(&mut reader, &mut writer);
            });
        }
    });
    let socket = UdpSocket::bind(loopback(port)).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((bytes, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..bytes], from);
        }
    });
    port
}

fn exchange(stream: &mut TcpStream, text: &[u8]) -> Vec<u8> {
    stream.write_all(text).unwrap();
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).unwrap();
    answer
}

fn client(proxy: &NetworkProxy) -> UdpSocket {
    let socket = UdpSocket::bind(loopback(0)).unwrap();
    socket.connect(loopback(proxy.port())).unwrap();
    socket.set_read_timeout(Some(WITHIN)).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> u64 {
    let mut buffer = [0; 8];
    assert_eq!(socket.recv(&mut buffer).unwrap(), 8);
    u64::from_be_bytes(buffer)
}

#[test]
fn streams_pass_unchanged_and_end_at_both_ends() {
    let proxy = NetworkProxy::start(echo(), 1);
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    let text: Vec<u8> = (0..100_000_u32).flat_map(u32::to_be_bytes).collect();
    let sent = text.clone();
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    writing.join().unwrap();
    assert!(answer == text);
}

#[test]
fn a_cut_stream_waits_and_goes_on_when_it_is_healed() {
    let proxy = NetworkProxy::start(echo(), 1);
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    assert_eq!(exchange(&mut stream, b"before"), b"before");
    for way in [Way::ToServer, Way::ToClient] {
        let held = proxy.link().counts().held;
        proxy.link().cut_way(way);
        stream.write_all(b"during").unwrap();
        until(WITHIN, "the bytes wait", || (proxy.link().counts().held > held).then_some(()));
        proxy.link().heal();
        let mut answer = [0; 6];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"during");
    }
}

#[test]
fn a_broken_connection_ends_and_a_new_one_works() {
    let proxy = NetworkProxy::start(echo(), 1);
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    assert_eq!(exchange(&mut stream, b"before"), b"before");
    proxy.link().break_connections();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.is_empty());
    let mut again = TcpStream::connect(proxy.address()).unwrap();
    assert_eq!(exchange(&mut again, b"after"), b"after");
}

#[test]
fn a_delay_is_at_least_as_long_as_it_says() {
    let proxy = NetworkProxy::start(echo(), 1);
    let delay = Duration::from_millis(40);
    proxy.link().set_both(Conditions { delay, loss_per_mille: 500, ..Conditions::default() });
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    let began = Instant::now();
    assert_eq!(exchange(&mut stream, b"slow"), b"slow");
    assert!(began.elapsed() >= 2 * delay);
}

#[test]
fn datagrams_vanish_one_way_and_pass_the_other() {
    let proxy = NetworkProxy::start(echo(), 1);
    let socket = client(&proxy);
    for way in [Way::ToServer, Way::ToClient] {
        let dropped = proxy.link().counts().dropped;
        proxy.link().cut_way(way);
        for number in 0..5_u64 {
            socket.send(&number.to_be_bytes()).unwrap();
        }
        until(WITHIN, "they vanish", || (proxy.link().counts().dropped == dropped + 5).then_some(()));
        proxy.link().heal();
        socket.send(&99_u64.to_be_bytes()).unwrap();
        assert_eq!(receive(&socket), 99);
    }
}

#[test]
fn some_datagrams_are_lost_and_the_others_come_out_of_order() {
    let proxy = NetworkProxy::start(echo(), 7);
    let socket = client(&proxy);
    let late_by = Duration::from_millis(30);
    proxy.link().set(
        Way::ToServer,
        Conditions { loss_per_mille: 200, late_per_mille: 300, late_by, ..Conditions::default() },
    );
    for number in 0..200_u64 {
        socket.send(&number.to_be_bytes()).unwrap();
    }
    // Each that is not lost passes twice. They fit into the socket's buffer: nobody has to read meanwhile.
    let all = |counts: LinkCounts| counts.dropped + counts.passed / 2 == 200;
    until(WITHIN, "the last one is through", || all(proxy.link().counts()).then_some(()));
    let dropped = proxy.link().counts().dropped;
    let came: Vec<_> = (0..200 - dropped).map(|_| receive(&socket)).collect();
    assert!((10..=90).contains(&dropped), "{dropped} of 200 were lost");
    assert!(!came.is_sorted(), "nothing was late");
}

#[test]
fn the_same_seed_makes_the_same_choices() {
    let choices = |seed| {
        let mut dice = Dice::new(seed, 3);
        (0..100).map(|_| dice.happens(300)).collect::<Vec<_>>()
    };
    assert_eq!(choices(5), choices(5));
    assert_ne!(choices(5), choices(6));
}

/// Answers every request with ten digits, or the range of them, and counts.
fn digits() -> (u16, Arc<AtomicUsize>) {
    let (port, count) = (crate::free_port(), Arc::<AtomicUsize>::default());
    let (listener, counter) = (TcpListener::bind(loopback(port)).unwrap(), count.clone());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                request.push(byte[0]);
            }
            counter.fetch_add(1, Ordering::Relaxed);
            let text = String::from_utf8_lossy(&request).to_lowercase();
            let first = text
                .split_once("range: bytes=")
                .map_or(0, |(_, rest)| usize::from(rest.as_bytes()[0] - b'0'));
            let body = &"0123456789"[first..];
            let _ = write!(
                stream,
                "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {first}-9/10\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
        }
    });
    (port, count)
}

/// Everything that the proxy answers to a GET of the bytes from 2 on.
fn get(proxy: &FaultyS3) -> String {
    let mut stream = TcpStream::connect(loopback(proxy.port())).unwrap();
    let request =
        "GET /bucket/key?part=1 HTTP/1.1\r\nhost: a\r\nrange: bytes=2-9\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn an_s3_server_fails_as_its_rules_say() {
    let (port, carried_out) = digits();
    let proxy = FaultyS3::before(port);
    assert!(get(&proxy).ends_with("\r\n\r\n23456789"));
    let with = |fault| {
        let rule = proxy.inject(S3Rule::times("GET", "key", 1, fault));
        let answer = get(&proxy);
        assert_eq!(proxy.hits(rule), 1);
        answer
    };
    let slow_down = with(S3Fault::Status(503));
    assert!(slow_down.starts_with("HTTP/1.1 503") && slow_down.contains("SlowDown"), "{slow_down}");
    assert_eq!(with(S3Fault::Reset), "");
    let before = carried_out.load(Ordering::Relaxed);
    assert_eq!(with(S3Fault::LostAnswer), "");
    assert_eq!(carried_out.load(Ordering::Relaxed), before + 1);
    let truncated = with(S3Fault::TruncatedBody(3));
    assert!(truncated.contains("content-length: 8") && truncated.ends_with("\r\n\r\n234"), "{truncated}");
    assert!(!with(S3Fault::CorruptBody(1)).ends_with("23456789"));
    let moved = with(S3Fault::WrongRange(1));
    assert!(moved.contains("bytes 3-9/10") && moved.ends_with("\r\n3456789"), "{moved}");
    let lied = with(S3Fault::OtherBytes(1));
    assert!(lied.contains("bytes 2-9/10") && lied.ends_with("\r\n3456789"), "{lied}");
    assert!(get(&proxy).ends_with("\r\n\r\n23456789"));
    assert_eq!(proxy.requests().len(), 9);
}

#[test]
fn rules_skip_match_and_are_lifted() {
    let (port, _) = digits();
    let proxy = FaultyS3::before(port);
    let ok = |answer: String| answer.starts_with("HTTP/1.1 206");
    let put = proxy.inject(S3Rule::always("PUT", "", S3Fault::Reset));
    let other = proxy.inject(S3Rule::always("GET", "elsewhere", S3Fault::Reset));
    let mut rule = S3Rule::always("GET", "key?part", S3Fault::Status(500));
    rule.skip = 1;
    let third = proxy.inject(rule);
    assert!(ok(get(&proxy)));
    assert!(!ok(get(&proxy)) && !ok(get(&proxy)));
    proxy.heal();
    assert!(ok(get(&proxy)));
    assert_eq!([put, other, third].map(|rule| proxy.hits(rule)), [0, 0, 2]);
}
