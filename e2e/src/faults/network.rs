//! A proxy for one server's port, TCP and UDP alike.

use tokio::net::{TcpListener, UdpSocket};

use super::{Background, Link, loopback, tcp, udp};
use crate::free_port;

/// Passes on what comes to its port to a server's port, under the conditions that its [`Link`] sets.
/// Ends when dropped.
#[derive(Debug)]
pub struct NetworkProxy {
    port: u16,
    link: Link,
    /// Last: it ends the tasks.
    _background: Background,
}

impl NetworkProxy {
    /// A proxy before `127.0.0.1:server_port`. What is left to chance follows `seed`.
    ///
    /// # Panics
    /// When its port cannot be bound.
    pub fn start(server_port: u16, seed: u64) -> Self {
        let (port, link, background) = (free_port(), Link::new(), Background::new("network-proxy"));
        let (address, server) = (loopback(port), loopback(server_port));
        let runtime = background.runtime();
        let (listener, socket) = runtime.block_on(async {
            let listener = TcpListener::bind(address).await.expect("the proxy's TCP port");
            (listener, UdpSocket::bind(address).await.expect("the proxy's UDP port"))
        });
        runtime.spawn(tcp::serve(listener, server, link.clone(), seed));
        runtime.spawn(udp::serve(socket, server, link.clone(), seed));
        Self { port, link, _background: background }
    }

    /// The port that clients are to use.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn address(&self) -> String {
        loopback(self.port).to_string()
    }

    /// The handle.
    pub fn link(&self) -> &Link {
        &self.link
    }
}
