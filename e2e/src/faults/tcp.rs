//! Streams through a proxy: bytes come late, or wait while the way is cut; never out of order.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::link::{RETRANSMIT, count};
use super::{Dice, Link, Way};

/// Connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 1024;

/// What waits in one direction of one connection: so many pieces of so many bytes.
const PIECES_MAX: usize = 64;
const PIECE_BYTES: usize = 16 * 1024;

pub(super) async fn serve(listener: TcpListener, server: SocketAddr, link: Link, seed: u64) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    for number in 0_u64.. {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let Ok((client, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let link = link.clone();
        connections.spawn(async move {
            tokio::select! {
                () = link.broken() => {}
                () = connect(client, server, &link, seed, number) => {}
            }
            drop(permit);
        });
    }
}

async fn connect(client: TcpStream, server: SocketAddr, link: &Link, seed: u64, number: u64) {
    link.open(Way::ToServer).await;
    let Ok(server) = TcpStream::connect(server).await else { return };
    // Delays are ours to make, not the kernel's.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(
        pump(from_client, to_server, link, Way::ToServer, Dice::new(seed, 2 * number)),
        pump(from_server, to_client, link, Way::ToClient, Dice::new(seed, 2 * number + 1)),
    );
}

async fn pump(from: OwnedReadHalf, to: OwnedWriteHalf, link: &Link, way: Way, dice: Dice) {
    let (pieces, queue) = mpsc::channel(PIECES_MAX);
    tokio::join!(take(from, pieces, link, way, dice), give(to, queue, link, way));
}

async fn take(
    mut from: OwnedReadHalf,
    pieces: mpsc::Sender<(Instant, Bytes)>,
    link: &Link,
    way: Way,
    mut dice: Dice,
) {
    let mut buffer = BytesMut::new();
    let mut last = Instant::now();
    loop {
        buffer.reserve(PIECE_BYTES);
        let read = tokio::select! {
            read = from.read_buf(&mut buffer) => read,
            // The other side is gone; nobody wants the rest.
            () = pieces.closed() => return,
        };
        if !read.is_ok_and(|bytes| bytes > 0) {
            return;
        }
        let conditions = link.conditions(way);
        let mut due = conditions.due(&mut dice);
        if dice.happens(conditions.loss_per_mille) {
            due += RETRANSMIT;
        }
        last = last.max(due);
        if pieces.send((last, buffer.split().freeze())).await.is_err() {
            return;
        }
    }
}

async fn give(mut to: OwnedWriteHalf, mut queue: mpsc::Receiver<(Instant, Bytes)>, link: &Link, way: Way) {
    while let Some((due, piece)) = queue.recv().await {
        sleep_until(due).await;
        if link.conditions(way).cut {
            count(&link.counters.held);
            link.open(way).await;
        }
        if to.write_all(&piece).await.is_err() {
            return;
        }
        count(&link.counters.passed);
    }
    let _ = to.shutdown().await;
}
