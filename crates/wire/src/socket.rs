//! Sockets with the options that a log service wants.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;
use tracing::warn;

use crate::TransportSettings;

/// Connections that wait to be accepted.
const TCP_BACKLOG: i32 = 1024;

pub(crate) fn udp(addr: SocketAddr, settings: &TransportSettings) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    dual_stack(&socket, addr)?;
    socket.set_nonblocking(true)?;
    raise_buffers(&socket, settings.udp_buffer_bytes);
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

pub(crate) fn tcp_listener(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    dual_stack(&socket, addr)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(TCP_BACKLOG)?;
    Ok(socket.into())
}

/// No delay for small frames; a peer that is gone is noticed. Buffers are left to the kernel, which
/// sizes them by what the path can carry.
pub(crate) fn tune_tcp(stream: &TcpStream, settings: &TransportSettings) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    // The kernel counts whole seconds.
    let every = settings.keep_alive.max(Duration::from_secs(1));
    let keep_alive = TcpKeepalive::new().with_time(every).with_interval(every).with_retries(3);
    socket.set_tcp_keepalive(&keep_alive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(settings.idle_timeout))?;
    Ok(())
}

fn dual_stack(socket: &Socket, addr: SocketAddr) -> io::Result<()> {
    if addr.is_ipv6() { socket.set_only_v6(false) } else { Ok(()) }
}

/// Asks for larger buffers. A kernel that gives less is worth a warning, not a failure: bursts then
/// lose packets, which QUIC repairs at a cost.
fn raise_buffers(socket: &Socket, wanted: usize) {
    let asked = socket.set_recv_buffer_size(wanted).and_then(|()| socket.set_send_buffer_size(wanted));
    // Linux reports twice what it grants, for its own bookkeeping.
    let doubling = if cfg!(target_os = "linux") { 2 } else { 1 };
    let granted = |size: io::Result<usize>| size.unwrap_or(0) / doubling;
    let receive = granted(socket.recv_buffer_size());
    let send = granted(socket.send_buffer_size());
    if asked.is_err() || receive < wanted || send < wanted {
        warn!(
            wanted_bytes = wanted,
            receive_bytes = receive,
            send_bytes = send,
            "the kernel clamps UDP socket buffers, so QUIC may lose packets in bursts; \
             raise net.core.rmem_max and net.core.wmem_max"
        );
    }
}
