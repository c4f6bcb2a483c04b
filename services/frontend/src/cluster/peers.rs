//! The stores that this frontend speaks to.

use std::collections::HashMap;

use parking_lot::Mutex;
use tidelog_link::{Remote, RemoteOptions};
use tidelog_meta::Image;
use tidelog_model::{ErrorCode, NodeId};
use tidelog_peer::StoreError;
use tidelog_runtime::{CancellationToken, Supervisor};

use super::RouterOptions;
use super::route::Store;

/// One [`Remote`] for each store that is there, as the image has it.
#[derive(Debug)]
pub(super) struct Peers {
    /// With an address for each.
    options: RemoteOptions,
    tasks: Supervisor,
    /// At most one for each node with a lease.
    by_node: Mutex<HashMap<NodeId, Peer>>,
}

/// A store, for as long as it is this start of it at this address.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) store: Store,
    pub(super) remote: Remote,
    gone: CancellationToken,
}

impl Peers {
    pub(super) fn new(options: &RouterOptions, tasks: Supervisor) -> Self {
        let mut remote = RemoteOptions::new("", options.tls.clone(), options.budget.clone());
        remote.client_id.clone_from(&options.client_id);
        remote.connect_timeout = options.connect_timeout;
        remote.call_timeout = options.call_timeout;
        remote.settings = options.settings;
        Self { options: remote, tasks, by_node: Mutex::default() }
    }

    /// The peer of a store that the image shows now. To be called while the image is held, so that an
    /// older image never brings an older start back.
    pub(super) fn of(&self, store: &Store) -> Peer {
        let mut by_node = self.by_node.lock();
        if let Some(peer) = by_node.get(&store.node)
            && peer.store == *store
        {
            return peer.clone();
        }
        let options = RemoteOptions { addr: store.address.clone(), ..self.options.clone() };
        let remote = Remote::new(options, &self.tasks);
        let peer = Peer { store: store.clone(), remote, gone: CancellationToken::new() };
        if let Some(old) = by_node.insert(store.node, peer.clone()) {
            old.gone.cancel();
        }
        peer
    }

    /// Drops who is not there any more: what is asked of them ends.
    pub(super) fn keep_up(&self, image: &Image) {
        self.by_node.lock().retain(|node, peer| {
            let there = image.live(*node).is_some_and(|live| Store::from(live) == peer.store);
            if !there {
                peer.gone.cancel();
            }
            there
        });
    }
}

impl Peer {
    /// Waits for an answer as long as the store is there. One that hangs loses its lease, and whoever
    /// waits for it need not find out by himself.
    pub(super) async fn call<T, E: Into<StoreError>>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, StoreError> {
        tokio::select! {
            biased;
            answer = call => answer.map_err(Into::into),
            () = self.gone.cancelled() => {
                let message = format!("{} left the cluster, or was started again, before it answered", self.store);
                Err(StoreError::new(ErrorCode::RequestTimedOut, message))
            }
        }
    }
}
