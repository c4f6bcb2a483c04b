//! What is awaited beside the task: asking stores, handing over, committing. Each job is bounded in time.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _, join_all};
use tidelog_meta::{Live, election};
use tidelog_model::TopicPartition;
use tidelog_peer::{HandOver, PartitionBytes};
use tokio::time::Instant;

use super::{Context, Lead};
use crate::ELECTION;
use crate::commit::{Committed, commit};
use crate::plan::Change;
use crate::plan::election::Reports;
use crate::plan::leadership::Move;

/// Most partitions named in one call to a store.
const PARTITIONS_PER_CALL: usize = 4096;

/// How long to wait after the election could not be observed.
const OBSERVE_AGAIN: Duration = Duration::from_secs(2);

/// What a job came to.
pub(super) enum Done {
    /// The stores that could be asked have told about these partitions.
    Reported {
        partitions: Vec<TopicPartition>,
        reports: Reports,
    },
    /// The leaders have let go, or had their time to.
    HandedOver(Vec<Move>),
    Committed(Committed),
    Sizes(Vec<PartitionBytes>),
    Deposed,
    /// The rest of an operator's command.
    Then(Box<dyn FnOnce(&mut Lead) + Send>),
}

/// Resolves when someone else leads.
pub(super) fn deposed(context: &Arc<Context>) -> BoxFuture<'static, Done> {
    let context = Arc::clone(context);
    async move {
        let own = context.leadership.token();
        loop {
            let mut observer = election::observe(&*context.meta, ELECTION);
            // An error is dealt with by whoever commits or lists next.
            while let Ok(leader) = observer.next().await {
                if leader.is_none_or(|leader| leader.token != own) {
                    return Done::Deposed;
                }
            }
            tokio::time::sleep_until(Instant::now() + OBSERVE_AGAIN).await;
        }
    }
    .boxed()
}

/// Asks every node named how far its logs reach.
pub(super) async fn ask(context: &Context, stores: Vec<(Live, Vec<TopicPartition>)>) -> Reports {
    let calls = stores.iter().flat_map(|(live, partitions)| {
        partitions.chunks(PARTITIONS_PER_CALL).map(move |chunk| async move {
            let answer = context.stores.report(live, chunk.to_vec());
            match tokio::time::timeout(context.options.report_wait, answer).await {
                Ok(Ok(reports)) => Some((live.node, reports)),
                Ok(Err(error)) => {
                    tracing::warn!(node = %live.node, %error, "a store did not tell of its logs");
                    None
                }
                Err(_) => {
                    tracing::warn!(node = %live.node, "a store did not tell of its logs in time");
                    None
                }
            }
        })
    });
    let mut reports = Reports::default();
    for (node, answer) in join_all(calls).await.into_iter().flatten() {
        reports.add(node, &answer);
    }
    reports
}

/// Asks the stores of an errand.
pub(super) fn asking(
    context: &Arc<Context>,
    partitions: Vec<TopicPartition>,
    stores: Vec<(Live, Vec<TopicPartition>)>,
) -> BoxFuture<'static, Done> {
    let context = Arc::clone(context);
    async move {
        let reports = ask(&context, stores).await;
        Done::Reported { partitions, reports }
    }
    .boxed()
}

/// Tells leaders to let what is under way finish.
pub(super) fn hand_over(
    context: &Arc<Context>,
    moves: Vec<Move>,
    told: Vec<(Live, Vec<HandOver>)>,
) -> BoxFuture<'static, Done> {
    let context = Arc::clone(context);
    async move {
        let context = &*context;
        let token = context.leadership.token().0;
        let calls = told.iter().flat_map(|(live, requests)| {
            requests.chunks(PARTITIONS_PER_CALL).map(move |chunk| {
                let call = context.stores.hand_over(live, token, chunk.to_vec());
                tokio::time::timeout(context.options.hand_over_wait, call)
            })
        });
        // A leader that does not answer loses its leaderships all the same.
        join_all(calls).await;
        Done::HandedOver(moves)
    }
    .boxed()
}

pub(super) fn committing(context: &Arc<Context>, changes: Vec<Change>) -> BoxFuture<'static, Done> {
    let context = Arc::clone(context);
    async move { Done::Committed(committed(&context, changes).await) }.boxed()
}

pub(super) async fn committed(context: &Context, changes: Vec<Change>) -> Committed {
    commit(&*context.meta, &context.leadership, changes, context.options.commit_wait).await
}

/// Asks stores for the sizes of what they lead.
pub(super) fn sizes(context: &Arc<Context>, stores: Vec<Live>) -> BoxFuture<'static, Done> {
    let context = Arc::clone(context);
    async move {
        let calls = stores
            .iter()
            .map(|live| tokio::time::timeout(context.options.commit_wait, context.stores.sizes(live)));
        let answers = join_all(calls).await.into_iter().filter_map(|answer| answer.ok()?.ok());
        Done::Sizes(answers.flatten().collect())
    }
    .boxed()
}
