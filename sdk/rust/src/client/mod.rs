//! The client: connections to a cluster, from which producers, consumers and the admin are made.

mod backoff;
pub(crate) mod call;
mod context;
mod control;
mod link;
mod options;
mod tasks;
pub(crate) mod topic;

use std::sync::Arc;

pub use context::Context;
pub use options::{ClientOptions, DEFAULT_PORT};

pub(crate) use backoff::Backoff;
pub(crate) use link::Link;
pub(crate) use tasks::Tasks;

use crate::{Admin, Consumer, ConsumerOptions, Error, Producer, ProducerOptions};

/// A client of one cluster. Clones share its connection.
///
/// A connection that breaks is made anew when it is next needed. Dropping the last clone, with
/// everything that was made from it, closes the connection.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Arc<ClientOptions>,
    /// For requests and for producers, which always read what they are sent. Consumers have links of
    /// their own: one that is not read would hold up everything else on its connection.
    pub(crate) link: Arc<Link>,
}

impl Client {
    /// Connects to a `tidelog://` URL, or to a bare `host:port` (see [`ClientOptions::from_url`]).
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::with_options(ClientOptions::from_url(url)?).await
    }

    /// Connects to the server of the context that `tidelog dev` left on this machine.
    pub async fn from_context() -> Result<Self, Error> {
        let path = Context::default_path()?;
        let context = Context::load(&path)?.ok_or_else(|| Error::Context {
            path,
            reason: "no such file: start a server with `tidelog dev`, or name one".to_owned(),
        })?;
        Self::with_options(context.options()?).await
    }

    /// Connects; fails when no server can be reached within [`ClientOptions::connect_timeout`] each.
    pub async fn with_options(options: ClientOptions) -> Result<Self, Error> {
        let client = Self::lazy(options);
        client.shared.link.connection().await?;
        Ok(client)
    }

    /// A client that connects with its first request.
    pub fn lazy(options: ClientOptions) -> Self {
        let options = Arc::new(options);
        let link = Arc::new(Link::new(Arc::clone(&options)));
        Self { shared: Arc::new(Shared { options, link }) }
    }

    pub fn options(&self) -> &ClientOptions {
        &self.shared.options
    }

    /// Topics, offsets, storage.
    pub fn admin(&self) -> Admin {
        Admin::new(Arc::clone(&self.shared))
    }

    /// A producer for any number of topics.
    pub async fn producer(&self, options: ProducerOptions) -> Result<Producer, Error> {
        Producer::open(&self.shared, options).await
    }

    /// A consumer of one topic.
    pub async fn consumer(&self, topic: &str, options: ConsumerOptions) -> Result<Consumer, Error> {
        Consumer::open(&self.shared, topic, options).await
    }

    /// Closes the connection that requests and producers use. What is still unacknowledged goes over a
    /// new one; close producers first.
    pub fn close(&self) {
        self.shared.link.close();
    }
}
