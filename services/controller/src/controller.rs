//! Standing for election, and leading while elected.

use std::sync::Arc;
use std::time::Duration;

use tidelog_meta::election::{self, Incumbent, Leadership};
use tidelog_meta::{LeaseId, MetaError, SharedMeta};
use tidelog_model::{NodeId, SharedClock};
use tidelog_runtime::{CancellationToken, Supervisor};
use tokio::sync::{mpsc, watch};

use crate::lead::{Context, End, Lead};
use crate::operator::{COMMANDS_MAX, Command};
use crate::{ELECTION, Operator, Options, Refusal, Stores, standby};

/// How long one who was controller and could not go on waits before it stands again.
const PAUSE: Duration = Duration::from_millis(500);

/// The same, for one that could not even stand.
const PAUSE_REFUSED: Duration = Duration::from_secs(2);

/// The same, for one that was cut off from the stores: others should have their chance.
const PAUSE_ISOLATED: Duration = Duration::from_secs(5);

/// What a controller is made of.
#[derive(Debug)]
pub struct Parts {
    /// The store that it runs in.
    pub node: NodeId,
    pub boot: u64,
    pub meta: SharedMeta,
    pub stores: Arc<dyn Stores>,
    /// The store's lease, while it has one. The controller leads under it and ends with it.
    pub lease: watch::Receiver<Option<LeaseId>>,
    pub clock: SharedClock,
    pub options: Options,
}

/// A candidate for the cluster's controller.
#[derive(Debug)]
pub struct Controller {
    parts: Parts,
    commands: mpsc::Receiver<Command>,
    supervisor: Supervisor,
}

impl Controller {
    /// Stands for election, and leads when elected, until the supervisor is cancelled. Commands are
    /// answered wherever they are given; one who is not the controller says who is.
    pub fn start(parts: Parts, supervisor: &Supervisor) -> Operator {
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let controller = Self { parts, commands, supervisor: supervisor.clone() };
        supervisor.spawn("controller", controller.run());
        Operator::new(sender)
    }

    async fn run(mut self) {
        let token = self.supervisor.token();
        while !token.is_cancelled() {
            let pause = self.term(&token).await;
            self.refuse_for(pause, &token).await;
        }
    }

    /// One candidacy and what follows from it. Answers how long to wait before the next.
    async fn term(&mut self, token: &CancellationToken) -> Duration {
        let Some((lease, leadership)) = self.elected(token).await else { return PAUSE_REFUSED };
        let context = Context {
            node: self.parts.node,
            meta: Arc::clone(&self.parts.meta),
            stores: Arc::clone(&self.parts.stores),
            clock: Arc::clone(&self.parts.clock),
            options: self.parts.options,
            leadership: leadership.clone(),
        };
        tracing::info!(node = %self.parts.node, token = %leadership.token(), "this store is the controller now");
        let mut lost = self.parts.lease.clone();
        let end = tokio::select! {
            biased;
            () = token.cancelled() => End::Stopped,
            () = lease_is_other(&mut lost, Some(lease)) => End::LeaseLost,
            end = Lead::run(context, &mut self.commands, &self.supervisor) => end,
        };
        tracing::info!(node = %self.parts.node, %end, "this store is not the controller any more");
        if matches!(end, End::Stopped | End::Isolated | End::Failed(_)) {
            self.resign(&leadership).await;
        }
        if matches!(end, End::Isolated) { PAUSE_ISOLATED } else { PAUSE }
    }

    /// Waits for a lease and for the election to be won under it.
    async fn elected(&mut self, token: &CancellationToken) -> Option<(LeaseId, Leadership)> {
        loop {
            let mut lease_changes = self.parts.lease.clone();
            let lease = *lease_changes.borrow_and_update();
            let incumbent = Incumbent { node: self.parts.node, boot: self.parts.boot };
            let value = incumbent.encode();
            let meta = Arc::clone(&self.parts.meta);
            let campaign = async move {
                match lease {
                    Some(lease) => election::campaign(&*meta, ELECTION, lease, value).await,
                    None => std::future::pending().await,
                }
            };
            tokio::pin!(campaign);
            let standing_by = standby::replace_dead(&self.parts, incumbent);
            tokio::pin!(standing_by);
            loop {
                tokio::select! {
                    biased;
                    () = token.cancelled() => return None,
                    won = &mut campaign => match won {
                        Ok(leadership) => return lease.map(|lease| (lease, leadership)),
                        Err(error) => {
                            tracing::warn!(%error, "cannot stand for election as controller");
                            return None;
                        }
                    },
                    () = lease_is_other(&mut lease_changes, lease) => break,
                    never = &mut standing_by, if lease.is_some() => match never {},
                    Some(command) = self.commands.recv() => refuse(&self.parts.meta, command).await,
                }
            }
        }
    }

    async fn resign(&self, leadership: &Leadership) {
        let resigned = election::resign(&*self.parts.meta, leadership);
        let resigned = tokio::time::timeout(self.parts.options.commit_wait, resigned).await;
        if !matches!(resigned, Ok(Ok(()))) {
            tracing::warn!("could not give up the election; the lease will end it");
        }
    }

    /// Waits, and answers meanwhile that others have to be asked.
    async fn refuse_for(&mut self, pause: Duration, token: &CancellationToken) {
        let until = tokio::time::Instant::now() + pause;
        loop {
            tokio::select! {
                biased;
                () = token.cancelled() => return,
                () = tokio::time::sleep_until(until) => return,
                Some(command) = self.commands.recv() => refuse(&self.parts.meta, command).await,
            }
        }
    }
}

/// Resolves when the store's lease is not this one any more.
async fn lease_is_other(lease: &mut watch::Receiver<Option<LeaseId>>, own: Option<LeaseId>) {
    if lease.wait_for(|lease| *lease != own).await.is_err() {
        // The store is stopping, and so will the supervisor.
        std::future::pending::<()>().await;
    }
}

async fn refuse(meta: &SharedMeta, command: Command) {
    let incumbent = incumbent(meta).await.ok().flatten();
    command.refuse(Refusal::NotController { controller: incumbent });
}

/// The node whose store is controller.
async fn incumbent(meta: &SharedMeta) -> Result<Option<NodeId>, MetaError> {
    Ok(election::controller(&**meta).await?.map(|incumbent| incumbent.node))
}
