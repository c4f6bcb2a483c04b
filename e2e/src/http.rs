//! As much HTTP/1.0 as the harness needs: one request, one answer, connection closed.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};

const CONNECT_WITHIN: Duration = Duration::from_secs(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// An answer's status and body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// Sends one request without a body to a server on loopback.
pub fn request(method: &str, port: u16, path: &str) -> anyhow::Result<Answer> {
    ask(method, SocketAddr::from((Ipv4Addr::LOCALHOST, port)), path, "")
}

/// Posts a body to a server on loopback.
pub fn post(port: u16, path: &str, body: &str) -> anyhow::Result<Answer> {
    ask("POST", SocketAddr::from((Ipv4Addr::LOCALHOST, port)), path, body)
}

fn ask(method: &str, server: SocketAddr, path: &str, body: &str) -> anyhow::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&server, CONNECT_WITHIN)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    let length = body.len();
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: {server}\r\nContent-Length: {length}\r\n\r\n{body}")?;
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw)?;
    let text = String::from_utf8_lossy(&raw);
    let (head, body) = text.split_once("\r\n\r\n").context("an answer without a head")?;
    let Some(status) = head.split(' ').nth(1).and_then(|code| code.parse().ok()) else {
        bail!("an answer without a status: {head:?}");
    };
    Ok(Answer { status, body: body.to_owned() })
}

pub fn get(port: u16, path: &str) -> anyhow::Result<Answer> {
    request("GET", port, path)
}

/// The same from a server anywhere.
pub fn get_from(server: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    ask("GET", server, path, "")
}
