//! The handle, and what the journal's threads share.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{JoinHandle, ThreadId};

use bytes::Bytes;
use parking_lot::Mutex;
use tidelog_model::{Offset, TimestampMs, TopicId, TopicPartition};
use tokio::sync::{oneshot, watch};

use crate::append::{Append, Done, Reservation};
use crate::config::JournalConfig;
use crate::error::{AppendError, Fatal, OpenError, ReadError};
use crate::extent::ExtentFile;
use crate::files::{Bin, Files};
use crate::index::{Index, Local, Source};
use crate::keeper::{self, Keeper, WakeKeeper};
use crate::read::{READ_BYTES_MAX, Readers};
use crate::recovery::{self, RecoveryReport};
use crate::replay::{Checkpoints, Replay};
use crate::scan::Scan;
use crate::space::Space;
use crate::writer::{Queue, Queued, Writer};

/// What the threads of one journal share.
pub(crate) struct Shared {
    pub(crate) config: JournalConfig,
    pub(crate) files: Files,
    pub(crate) index: Index,
    pub(crate) space: Arc<Space>,
    pub(crate) queue: Queue,
    pub(crate) keeper: Keeper,
    pub(crate) bin: Arc<Bin>,
    pub(crate) extent: ExtentFile,
    pub(crate) readers: Readers,
    pub(crate) checkpoints: Arc<dyn Checkpoints>,
    pub(crate) counters: Counters,
    failed: watch::Sender<Option<Fatal>>,
}

impl Shared {
    /// The disk failed. Everything that waits hears of it, and so does whatever comes later.
    pub(crate) fn fail(&self, fatal: &Fatal) {
        self.failed.send_if_modified(|failed| failed.is_none() && failed.replace(fatal.clone()).is_none());
        let reason = AppendError::Failed(fatal.clone());
        self.space.stop(reason.clone());
        for queued in self.queue.close(reason.clone()) {
            queued.refuse(&reason);
        }
        self.keeper.close();
    }
}

/// What the writer counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) groups: AtomicU64,
    pub(crate) bytes: AtomicU64,
    /// The file that has something beside its checkpoint.
    pub(crate) data_in: AtomicU64,
}

impl Counters {
    pub(crate) fn has_data(&self, sequence: u64) -> bool {
        self.data_in.load(Ordering::Acquire) == sequence
    }
}

/// A journal's state in figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalStats {
    /// Commit groups, and so syncs, since the journal was opened.
    pub groups: u64,
    /// Bytes written since then, headers and padding included.
    pub written_bytes: u64,
    /// Appends that wait for the writer.
    pub queued_appends: usize,
    /// Bytes that are reserved: waiting, or about to be appended.
    pub queued_bytes: usize,
    /// Files that hold data, the open one included.
    pub files: usize,
    /// What all files take up, empty ones included.
    pub disk_bytes: u64,
    pub budget_bytes: u64,
    pub tail_cache_bytes: usize,
    pub index_cache_bytes: usize,
    /// Appends are refused as soon as the open file is full, because the disk is ...
    pub disk_full: bool,
    /// ... or because nothing can leave the budget.
    pub backlog: bool,
}

/// A journal. Cheap to clone; the threads end when it is closed or the last handle is dropped.
#[derive(Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Journal {
    /// Opens the journal in a directory, which must belong to this process alone
    /// ([`crate::Directory`]), and replays what it holds. Blocks.
    pub fn open(
        config: JournalConfig,
        checkpoints: Arc<dyn Checkpoints>,
        replay: &mut dyn Replay,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        config.check()?;
        let bin = Arc::<Bin>::default();
        let files = Files::default();
        let index = Index::new(config.index_cache_bytes);
        let recovered = recovery::recover(&config, &files, &index, &bin, replay)?;
        let keeper = Keeper::default();
        let space = Space::new(config.queue_bytes_max, config.batch_bytes_max(), config.file_bytes);
        space.set_ready(recovered.ready.len() as u64, None);
        keeper.begin(recovered.ready, recovered.next_sequence, recovered.checkpointed);
        let shared = Arc::new(Shared {
            files,
            index,
            space,
            queue: Queue::default(),
            keeper,
            bin,
            extent: recovered.extent,
            readers: Readers::new(),
            checkpoints,
            counters: Counters::default(),
            failed: watch::Sender::new(None),
            config,
        });
        shared.bin.on_put(Box::new(WakeKeeper(Arc::downgrade(&shared))));
        let inner = Inner { threads: Mutex::default(), shared };
        inner.start(recovered.previous_end).map_err(|source| OpenError::Io {
            what: "starting threads for",
            path: inner.shared.config.dir.clone(),
            source,
        })?;
        Ok((Self { inner: Arc::new(inner) }, recovered.report))
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// Room for one append with a payload of `bytes`. Waits while the queue is full or a file is being
    /// made ready; fails when the disk or the budget stays full. What is granted can be written.
    pub async fn reserve(&self, bytes: usize) -> Result<Reservation, AppendError> {
        self.shared().space.reserve(bytes).await
    }

    /// Appends. Does not block: `done` is called when the entry is durable, and appends are written
    /// and completed in the order of the calls. `reservation` must be good for the payload.
    pub fn append(&self, reservation: Reservation, append: Append, done: Done) {
        assert!(append.payload.len() <= reservation.bytes, "the payload is within what was reserved");
        debug_assert!(append.is_sound(), "a batch is verified before it is appended");
        self.shared().queue.push(Queued::Append { append, done, reservation: Some(reservation) });
    }

    /// Whole batches from the one that contains `from` on, all below `up_to`: at least one if there is
    /// one, then as many as fit into `max_bytes` and lie together. Empty if `from` is not below `up_to`.
    pub async fn read(
        &self,
        partition: TopicPartition,
        from: Offset,
        up_to: Offset,
        max_bytes: usize,
    ) -> Result<Vec<Bytes>, ReadError> {
        let wanted = from..up_to;
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let max_bytes = max_bytes.min(READ_BYTES_MAX);
        let shared = self.shared();
        match shared.index.locate(&shared.files, partition, wanted.clone(), max_bytes) {
            Source::Memory(batches) => Ok(batches),
            Source::NotLocal { start, end } => {
                Err(ReadError::NotLocal { partition, offset: from, start, end })
            }
            Source::Hole => Err(ReadError::Quarantined { partition, offset: from }),
            source => {
                let owner = Arc::clone(shared);
                let read = move |reader: &mut crate::read::FrameReader| {
                    reader.batches(&owner.index.cache, partition, &source, &wanted, max_bytes)
                };
                shared.readers.run(read).await
            }
        }
    }

    /// The first batch within `from..up_to` whose largest timestamp is `timestamp` or later.
    pub async fn find_timestamp(
        &self,
        partition: TopicPartition,
        timestamp: TimestampMs,
        from: Offset,
        up_to: Offset,
    ) -> Result<Option<Bytes>, ReadError> {
        let shared = self.shared();
        let wanted = from..up_to;
        let candidates = shared.index.timestamp_candidates(&shared.files, partition, timestamp, &wanted);
        if candidates.is_empty() {
            return Ok(None);
        }
        let owner = Arc::clone(shared);
        let range = wanted.clone();
        let look = move |reader: &mut crate::read::FrameReader| {
            for source in &candidates {
                let cache = &owner.index.cache;
                let found = reader.candidate(cache, partition, source, timestamp, &range)?;
                if let Some(base) = found {
                    let wanted = base.max(range.start)..range.end;
                    let batches = reader.batches(cache, partition, source, &wanted, 1)?;
                    return Ok(batches.into_iter().next());
                }
            }
            Ok(None)
        };
        shared.readers.run(look).await
    }

    /// Reads what is wanted of many partitions in one pass over the files.
    pub fn scan(&self, wanted: Vec<(TopicPartition, Range<Offset>)>) -> Scan {
        Scan::start(Arc::clone(self.shared()), wanted)
    }

    /// What the hot tier has of a partition; `None` when it has no batch of it.
    pub fn local(&self, partition: TopicPartition) -> Option<Local> {
        self.shared().index.local(partition)
    }

    /// [`Local::start`] alone.
    pub fn local_start(&self, partition: TopicPartition) -> Option<Offset> {
        self.shared().index.local_start(partition)
    }

    /// Everything of the partition below `tiered_end` is in the bucket: it may leave the disk. Only
    /// ever moves up. Not kept over a restart: whoever knows says it again.
    pub fn set_covered(&self, partition: TopicPartition, tiered_end: Offset) {
        self.shared().index.set_covered(partition, tiered_end);
        self.shared().reconsider();
    }

    /// Drops what the hot tier has below `below` and the bucket has too: at once for readers; files go
    /// when nothing in them is wanted any more.
    pub fn evict(&self, partition: TopicPartition, below: Offset) {
        let moved = self.shared().index.evict(partition, below);
        if let Some(local_start) = moved {
            self.shared().checkpoints.local_start_moved(partition, local_start);
        }
        self.shared().reconsider();
    }

    /// Forgets a topic that was deleted. Nothing of it may be appended any more.
    pub fn remove(&self, topic: TopicId) {
        self.shared().index.remove(topic);
        self.shared().reconsider();
    }

    /// Forgets one partition, which moved away. Not kept over a restart, unless the partition was
    /// [cut](Append::truncate) at its beginning before.
    pub fn remove_partition(&self, partition: TopicPartition) {
        self.shared().index.remove_partition(partition);
        self.shared().reconsider();
    }

    /// Goes on in a new file, unless there is no room for that.
    pub async fn roll(&self) -> Result<(), AppendError> {
        self.command(Queued::Roll).await
    }

    /// Resolves when the disk failed under the journal; the process should exit then.
    pub async fn failed(&self) -> Fatal {
        let mut failed = self.shared().failed.subscribe();
        let fatal = failed.wait_for(Option::is_some).await.ok().and_then(|fatal| fatal.clone());
        match fatal {
            Some(fatal) => fatal,
            // The sender lives as long as this handle.
            None => std::future::pending().await,
        }
    }

    /// Writes what is queued, seals the open file and ends the threads. Appends and reads fail from
    /// then on.
    pub async fn close(&self) -> Result<(), AppendError> {
        let outcome = self.command(Queued::Close).await;
        self.shared().end_threads();
        outcome
    }

    async fn command(&self, command: impl FnOnce(oneshot::Sender<()>) -> Queued) -> Result<(), AppendError> {
        let (done, finished) = oneshot::channel();
        self.shared().queue.push(command(done));
        match finished.await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.shared().failed.borrow().clone().map_or(AppendError::Closed, Into::into)),
        }
    }

    /// Bytes of sealed files that cannot go before more gets into the bucket, for each has something
    /// that only the hot tier has. (A file of which that is little may go all the same, after what it
    /// has was copied.) Goes through all partitions: for whoever looks now and then.
    pub fn pinned_bytes(&self) -> u64 {
        let shared = self.shared();
        let pinned = shared.index.pinned_files();
        pinned.into_iter().filter_map(|file| shared.files.get(file)).map(|file| file.bytes()).sum()
    }

    pub fn stats(&self) -> JournalStats {
        let shared = self.shared();
        let blocked = shared.space.blocked();
        JournalStats {
            groups: shared.counters.groups.load(Ordering::Relaxed),
            written_bytes: shared.counters.bytes.load(Ordering::Relaxed),
            queued_appends: shared.queue.len(),
            queued_bytes: shared.space.queued_bytes(),
            files: shared.files.count(),
            disk_bytes: shared.files.bytes() + shared.keeper.ready_bytes() + shared.bin.bytes(),
            budget_bytes: shared.config.budget_bytes,
            tail_cache_bytes: shared.index.tail_bytes(),
            index_cache_bytes: shared.index.cache.bytes(),
            disk_full: blocked == Some(crate::space::Blocked::Full),
            backlog: blocked == Some(crate::space::Blocked::Backlog),
        }
    }
}

impl Shared {
    /// Less is wanted than before. The keeper is woken first: a verdict of it that comes between is
    /// taken back.
    fn reconsider(&self) {
        self.keeper.wake();
        self.space.reconsider();
    }

    fn end_threads(&self) {
        self.queue.push(Queued::Abandon);
        self.keeper.close();
        self.readers.close();
    }
}

impl Inner {
    fn start(&self, previous_end: u64) -> std::io::Result<()> {
        let mut threads = self.threads.lock();
        threads.extend(self.shared.readers.start(self.shared.config.reader_threads)?);
        let shared = Arc::clone(&self.shared);
        let keep = move || {
            let _guard = FailOnPanic(Arc::clone(&shared));
            keeper::run(&shared);
        };
        threads.push(std::thread::Builder::new().name("journal-keep".to_owned()).spawn(keep)?);
        let writer = Writer::new(Arc::clone(&self.shared), previous_end);
        let guard = FailOnPanic(Arc::clone(&self.shared));
        let write = move || {
            let _guard = guard;
            writer.run();
        };
        threads.push(std::thread::Builder::new().name("journal-write".to_owned()).spawn(write)?);
        Ok(())
    }
}

/// A thread that panics, be it in somebody's completion, must not leave the others waiting.
struct FailOnPanic(Arc<Shared>);

impl Drop for FailOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let source = Arc::new(std::io::Error::other("a thread of the journal panicked"));
            self.0.fail(&Fatal { what: "working", path: self.0.config.dir.clone(), source });
        }
    }
}

impl Drop for Inner {
    /// What is queued is refused; what is durable stays. The threads have ended when this returns,
    /// so that the directory can be opened again.
    fn drop(&mut self) {
        self.shared.end_threads();
        let me: ThreadId = std::thread::current().id();
        for thread in self.threads.lock().drain(..) {
            // The last handle may go in a completion, on the writer's own thread.
            if thread.thread().id() != me && thread.join().is_err() {
                tracing::error!("a thread of the journal panicked");
            }
        }
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("dir", &self.inner.shared.config.dir).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("config", &self.config).finish_non_exhaustive()
    }
}
