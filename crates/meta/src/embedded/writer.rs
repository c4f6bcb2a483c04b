//! The thread that changes the store: applies what is queued, commits once, answers all.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::disk::Disk;
use super::draft::Draft;
use super::image::Image;
use super::queue::{Answer, Command, Taken};
use super::{News, Shared};
use crate::{Lease, MetaError, TxnOutcome};

/// Most commands in one commit.
const GROUP_COMMANDS_MAX: usize = 256;

pub(super) struct Writer {
    shared: Arc<Shared>,
    disk: Disk,
}

/// An answer that waits for the commit.
enum Reply {
    Txn(Answer<TxnOutcome>, Result<TxnOutcome, MetaError>),
    Grant(Answer<Lease>, Lease),
    Revoke(Answer<()>),
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
            let wait = self.shared.leases.next_end(self.shared.clock.elapsed());
            let Taken::Commands(commands) = self.shared.queue.take(GROUP_COMMANDS_MAX, wait) else {
                return None;
            };
            let (draft, replies) = self.draft(commands);
            if !draft.is_empty()
                && let Err(reason) = self.commit(draft)
            {
                refuse(replies, &reason);
                return Some(reason);
            }
            self.answer(replies);
        }
    }

    fn draft(&self, commands: Vec<Command>) -> (Draft, Vec<Reply>) {
        let image = self.shared.image.read();
        let mut draft = Draft::new(&image);
        for lease in self.shared.leases.take_ended(self.shared.clock.elapsed()) {
            tracing::info!(%lease, "a lease ended because it was not kept alive");
            draft.revoke(&image, lease);
        }
        let replies = commands.into_iter().map(|command| self.apply(&mut draft, &image, command)).collect();
        (draft, replies)
    }

    fn apply(&self, draft: &mut Draft, image: &Image, command: Command) -> Reply {
        match command {
            Command::Txn(txn, answer) => Reply::Txn(answer, draft.txn(image, txn)),
            Command::Grant(ttl, answer) => Reply::Grant(answer, draft.grant(ttl)),
            Command::Revoke(lease, answer) => {
                self.shared.leases.end(lease);
                draft.revoke(image, lease);
                Reply::Revoke(answer)
            }
        }
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
                Reply::Grant(answer, lease) => {
                    // Its time begins now: the commit may have taken long.
                    self.shared.leases.begin(lease.id, lease.ttl, self.shared.clock.elapsed());
                    drop(answer.send(Ok(lease)));
                }
                Reply::Revoke(answer) => drop(answer.send(Ok(()))),
            }
        }
    }
}

/// A commit that failed may yet be found on the disk after a restart.
fn refuse(replies: Vec<Reply>, reason: &str) {
    let unknown = || MetaError::OutcomeUnknown(reason.to_owned());
    for reply in replies {
        match reply {
            Reply::Txn(answer, _) => drop(answer.send(Err(unknown()))),
            Reply::Grant(answer, _) => drop(answer.send(Err(unknown()))),
            Reply::Revoke(answer) => drop(answer.send(Err(unknown()))),
        }
    }
}
