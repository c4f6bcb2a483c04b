//! Starting etcd, and clients of it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidelog_e2e::{Etcd as Server, EtcdOptions as ServerOptions, Workspace};
use tidelog_meta::{Etcd, EtcdOptions, Meta, Op, Revision, Txn};

/// How long anything may take that is expected to happen.
const DEADLINE: Duration = Duration::from_secs(30);

/// An etcd with a place for its files.
pub(crate) struct Scene {
    pub(crate) server: Server,
    pub(crate) workspace: Workspace,
}

pub(crate) fn scene(members: usize) -> Scene {
    scene_with(&ServerOptions { members, ..ServerOptions::default() })
}

pub(crate) fn scene_with(options: &ServerOptions) -> Scene {
    let workspace = Workspace::new();
    Scene { server: Server::start(&workspace, options), workspace }
}

impl Scene {
    pub(crate) fn options(&self, prefix: &str) -> EtcdOptions {
        EtcdOptions::new(self.server.url(prefix).parse().unwrap())
    }

    pub(crate) async fn open(&self, prefix: &str) -> Arc<Etcd> {
        Arc::new(Etcd::open(self.options(prefix)).await.unwrap())
    }

    /// A client whose calls give up early.
    pub(crate) async fn open_hasty(&self, prefix: &str) -> Arc<Etcd> {
        let options = EtcdOptions { timeout: Duration::from_secs(1), ..self.options(prefix) };
        Arc::new(Etcd::open(options).await.unwrap())
    }

    /// etcd's own client, for what ours does not do.
    pub(crate) async fn raw(&self) -> etcd_client::Client {
        etcd_client::Client::connect(self.server.endpoints(), None).await.unwrap()
    }
}

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(value) = tokio::time::timeout(DEADLINE, future).await else {
        panic!("{what} did not happen within {DEADLINE:?}");
    };
    value
}

/// Lets real time pass: leases run on it.
pub(crate) async fn pass(time: Duration) {
    let _ = tokio::time::timeout(time, std::future::pending::<()>()).await;
}

pub(crate) fn put(key: &str, value: &str) -> Op {
    Op::Put { key: key.to_owned(), value: Bytes::copy_from_slice(value.as_bytes()), lease: None }
}

pub(crate) fn txn(op: Op) -> Txn {
    Txn { compares: Vec::new(), ops: vec![op] }
}

pub(crate) async fn commit(meta: &dyn Meta, op: Op) -> Revision {
    meta.txn(txn(op)).await.unwrap().committed().unwrap()
}

pub(crate) async fn text(meta: &dyn Meta, key: &str) -> Option<String> {
    let entry = meta.get(key).await.unwrap()?;
    Some(String::from_utf8(entry.value.to_vec()).unwrap())
}
