//! Datagrams through a proxy: they vanish, come late and out of order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::link::count;
use super::{Dice, Link, Way, loopback};

/// Senders at once; what others send is dropped.
const FLOWS_MAX: usize = 1024;

/// Datagrams that wait in one direction of one flow; more are dropped, as a router would.
const DATAGRAMS_MAX: usize = 1024;

const DATAGRAM_BYTES_MAX: usize = 64 * 1024;

pub(super) async fn serve(socket: UdpSocket, server: SocketAddr, link: Link, seed: u64) {
    let socket = Arc::new(socket);
    let mut flows: BTreeMap<SocketAddr, mpsc::Sender<Bytes>> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    let mut number = 0;
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            () = link.broken() => {
                flows.clear();
                continue;
            }
        };
        // An ICMP answer to something sent earlier; the next datagram is none the worse for it.
        let Ok((bytes, client)) = received else { continue };
        while tasks.try_join_next().is_some() {}
        let datagram = Bytes::copy_from_slice(&buffer[..bytes]);
        let datagram = match flows.get(&client).map(|flow| flow.try_send(datagram.clone())) {
            Some(Ok(())) => continue,
            Some(Err(TrySendError::Full(_))) => {
                count(&link.counters.dropped);
                continue;
            }
            Some(Err(TrySendError::Closed(_))) | None => datagram,
        };
        if flows.len() >= FLOWS_MAX {
            count(&link.counters.dropped);
            continue;
        }
        let (flow, queue) = mpsc::channel(DATAGRAMS_MAX);
        let _ = flow.try_send(datagram);
        flows.insert(client, flow);
        let (socket, link) = (socket.clone(), link.clone());
        tasks.spawn(async move { run(socket, client, server, queue, link, seed, number).await });
        number += 1;
    }
}

/// One client's datagrams, both ways, until the flow is forgotten.
async fn run(
    socket: Arc<UdpSocket>,
    client: SocketAddr,
    server: SocketAddr,
    mut queue: mpsc::Receiver<Bytes>,
    link: Link,
    seed: u64,
    number: u64,
) {
    let Ok(upstream) = UdpSocket::bind(loopback(0)).await else { return };
    if upstream.connect(server).await.is_err() {
        return;
    }
    let mut to_server = Waiting::new(Way::ToServer, Dice::new(seed, 2 * number));
    let mut to_client = Waiting::new(Way::ToClient, Dice::new(seed, 2 * number + 1));
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        tokio::select! {
            datagram = queue.recv() => match datagram {
                Some(datagram) => to_server.offer(&link, datagram),
                None => return,
            },
            received = upstream.recv(&mut buffer) => {
                if let Ok(bytes) = received {
                    to_client.offer(&link, Bytes::copy_from_slice(&buffer[..bytes]));
                }
            }
            datagram = to_server.next() => {
                let _ = upstream.send(&datagram).await;
                count(&link.counters.passed);
            }
            datagram = to_client.next() => {
                let _ = socket.send_to(&datagram, client).await;
                count(&link.counters.passed);
            }
        }
    }
}

/// Datagrams on their way, the next due first.
struct Waiting {
    way: Way,
    dice: Dice,
    heap: BinaryHeap<Reverse<(Instant, u64, Bytes)>>,
    taken: u64,
}

impl Waiting {
    fn new(way: Way, dice: Dice) -> Self {
        Self { way, dice, heap: BinaryHeap::new(), taken: 0 }
    }

    fn offer(&mut self, link: &Link, datagram: Bytes) {
        let conditions = link.conditions(self.way);
        let lost = self.dice.happens(conditions.loss_per_mille);
        if conditions.cut || lost || self.heap.len() >= DATAGRAMS_MAX {
            count(&link.counters.dropped);
            return;
        }
        let mut due = conditions.due(&mut self.dice);
        if self.dice.happens(conditions.late_per_mille) {
            due += conditions.late_by;
        }
        self.taken += 1;
        self.heap.push(Reverse((due, self.taken, datagram)));
    }

    /// Waits for the next datagram that is due; for ever when none is on its way. Cancel-safe.
    async fn next(&mut self) -> Bytes {
        if let Some(Reverse((due, _, _))) = self.heap.peek() {
            sleep_until(*due).await;
            if let Some(Reverse((_, _, datagram))) = self.heap.pop() {
                return datagram;
            }
        }
        std::future::pending().await
    }
}
