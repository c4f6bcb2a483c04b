//! The thread that changes the store: applies what is queued, commits once, answers all.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::disk::Disk;
use super::draft::Draft;
use super::image::Image;
use super::queue::{Answer, Command, Taken};
use super::{News, Shared};
use crate::{LeaseId, MetaError, TxnOutcome};

/// Most commands in one commit.
const GROUP_COMMANDS_MAX: usize = 256;

pub(super) struct Writer {
    shared: Arc<Shared>,
    disk: Disk,
}

/// An answer that waits for the commit.
enum Reply {
    Txn(Answer<TxnOutcome>, Result<TxnOutcome, MetaError>),
    Grant(Answer<(LeaseId, Duration)>, LeaseId, Duration),
    Revoke(Answer<()>, LeaseId),
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, disk: Disk) -> Self {
        Self { shared, disk }
    }

    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let ended = catch_unwind(AssertUnwindSafe(|| self.work()));
        if let Some(reason) = ended.unwrap_or_else(|_| Some("its writer panicked".to_owned())) {
            tracing::error!(reason, "the metadata store failed");
            let _ = shared.failed.set(reason.clone());
            shared.queue.close();
            while let Taken::Commands(commands) = shared.queue.take(GROUP_COMMANDS_MAX, None) {
                for command in commands {
                    command.refuse(MetaError::Failed(reason.clone()));
                }
            }
        }
        shared.news.send_modify(|news| news.ended = true);
    }

    /// Works until the queue is closed (`None`) or the disk fails (the reason).
    fn work(&mut self) -> Option<String> {
        loop {
            let wait = self.shared.leases.next_end(self.shared.clock.now());
            let Taken::Commands(commands) = self.shared.queue.take(GROUP_COMMANDS_MAX, wait) else {
                return None;
            };
            let ended = self.shared.leases.take_ended(self.shared.clock.now());
            let (draft, replies) = self.draft(&ended, commands);
            if draft.is_empty() {
                self.answer(replies);
            } else if let Err(reason) = self.disk.reserve(&draft) {
                tracing::warn!(reason, "the metadata cannot be changed now");
                self.shared.leases.put_back(&ended, self.shared.clock.now());
                refuse(replies, &MetaError::Unavailable(reason));
            } else if let Err(reason) = self.commit(draft) {
                refuse(replies, &MetaError::OutcomeUnknown(reason.clone()));
                return Some(reason);
            } else {
                self.answer(replies);
            }
        }
    }

    fn draft(&self, ended: &[LeaseId], commands: Vec<Command>) -> (Draft, Vec<Reply>) {
        let image = self.shared.image.read();
        let mut draft = Draft::new(&image);
        for lease in ended {
            tracing::info!(%lease, "a lease ended because it was not kept alive");
            draft.revoke(&image, *lease);
        }
        let replies = commands.into_iter().map(|command| apply(&mut draft, &image, command)).collect();
        (draft, replies)
    }

    fn commit(&mut self, draft: Draft) -> Result<(), String> {
        self.disk.commit(&draft)?;
        let revision = draft.revision;
        self.shared.image.write().publish(draft);
        self.shared.news.send_replace(News { revision, ended: false });
        Ok(())
    }

    fn answer(&self, replies: Vec<Reply>) {
        for reply in replies {
            // Whoever asked may be gone, which is fine.
            match reply {
                Reply::Txn(answer, outcome) => drop(answer.send(outcome)),
                Reply::Grant(answer, lease, ttl) => {
                    // Its time begins now: the commit may have taken long.
                    self.shared.leases.begin(lease, ttl, self.shared.clock.now());
                    drop(answer.send(Ok((lease, ttl))));
                }
                Reply::Revoke(answer, lease) => {
                    self.shared.leases.end(lease);
                    drop(answer.send(Ok(())));
                }
            }
        }
    }
}

fn apply(draft: &mut Draft, image: &Image, command: Command) -> Reply {
    match command {
        Command::Txn(txn, answer) => Reply::Txn(answer, draft.txn(image, txn)),
        Command::Grant(ttl, answer) => Reply::Grant(answer, draft.grant(ttl), ttl),
        Command::Revoke(lease, answer) => {
            draft.revoke(image, lease);
            Reply::Revoke(answer, lease)
        }
    }
}

/// Answers everyone of a group that was not committed. Conflicts were judged against what the group
/// itself would have changed, so they are no answer either.
fn refuse(replies: Vec<Reply>, error: &MetaError) {
    for reply in replies {
        match reply {
            Reply::Txn(answer, _) => drop(answer.send(Err(error.clone()))),
            Reply::Grant(answer, ..) => drop(answer.send(Err(error.clone()))),
            Reply::Revoke(answer, _) => drop(answer.send(Err(error.clone()))),
        }
    }
}
