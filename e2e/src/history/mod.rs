//! Recording: clients of the SDK that write down what they do and what they are told, for the checker.
//!
//! A [`Recorder`] is the clock, the source of unique values and the place where events go. Clients run as
//! tasks until they are told to finish; at the end everything is drained and judged.

mod asker;
mod consumer;
mod drain;
mod producer;
mod value;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufWriter;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tidelog_checker::{
    ClientId, Event, FaultId, Header, History, Op, Outcome, ProcessId, Report, TopicName, check,
};
use tokio::task::JoinHandle;

use crate::Workspace;

pub use consumer::Following;

/// How long a client may take to come to its end.
const FINISH_WITHIN: Duration = Duration::from_mins(2);

/// Records one history. Clones record the same one.
#[derive(Clone, Debug)]
pub struct Recorder {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    began: Instant,
    last: AtomicU64,
    clients: AtomicU32,
    values: AtomicU64,
    faults: AtomicU32,
    acknowledged: AtomicU64,
    header: Header,
    events: Mutex<Vec<Event>>,
}

/// A topic under test.
#[derive(Clone, Debug)]
pub struct Topic {
    pub name: TopicName,
    pub partitions: u32,
}

impl Topic {
    pub fn new(name: &str, partitions: u32) -> Self {
        Self { name: name.into(), partitions }
    }

    fn log(&self, partition: u32) -> tidelog_checker::Log {
        tidelog_checker::Log::new(&self.name, partition)
    }
}

impl Recorder {
    /// `recovery`: how soon after the last fault everything has to work again.
    pub fn new(title: &str, recovery: Duration) -> Self {
        let recovery_ms = Some(recovery.as_millis() as u64);
        let header = Header { title: title.into(), recovery_ms, ..Header::default() };
        let inner = Inner {
            began: Instant::now(),
            last: AtomicU64::new(0),
            clients: AtomicU32::new(0),
            values: AtomicU64::new(0),
            faults: AtomicU32::new(0),
            acknowledged: AtomicU64::new(0),
            header,
            events: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Now, later than every earlier now of whichever client.
    pub fn now(&self) -> u64 {
        let now = self.inner.began.elapsed().as_nanos() as u64;
        let last = self.inner.last.fetch_max(now, Ordering::Relaxed);
        if now > last {
            return now;
        }
        self.inner.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Records acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.inner.acknowledged.load(Ordering::Relaxed)
    }

    /// Partitions of which a record was sent and acknowledged since then.
    pub fn written_since(&self, since: u64) -> BTreeSet<u32> {
        let events = self.inner.events.lock();
        let recent = events.iter().rev().take_while(|event| event.end >= since);
        let written = recent.filter(|event| event.start >= since && event.outcome == Outcome::Ok);
        let partition = |event: &Event| match &event.op {
            Op::Produce(produce) => Some(produce.log.partition.0),
            _ => None,
        };
        written.filter_map(partition).collect()
    }

    /// A fault begins now.
    pub fn fault(&self, what: &str) -> Fault {
        let fault = FaultId(self.inner.faults.fetch_add(1, Ordering::Relaxed));
        let mut identity = self.identity();
        identity.did(self.now(), Op::FaultStart { fault, what: what.into() }, Outcome::Ok, None);
        Fault { identity, fault }
    }

    /// What was recorded so far.
    pub fn history(&self) -> History {
        History { header: self.inner.header.clone(), events: self.inner.events.lock().clone() }
    }

    /// Judges what was recorded.
    ///
    /// # Panics
    /// When there is an anomaly; the history is left in the workspace then.
    #[track_caller]
    pub fn judge(&self, workspace: &Workspace) -> Report {
        let history = self.history();
        let report = check(&history);
        if !report.is_clean() {
            let path = workspace.path().join("history.jsonl");
            let written = File::create(&path).and_then(|file| history.write(BufWriter::new(file)).map(drop));
            panic!("{report}\nthe history ({written:?}): {}", path.display());
        }
        report
    }

    fn value(&self) -> tidelog_checker::Value {
        tidelog_checker::Value(self.inner.values.fetch_add(1, Ordering::Relaxed))
    }

    fn identity(&self) -> Identity {
        let client = ClientId(self.inner.clients.fetch_add(1, Ordering::Relaxed));
        Identity { recorder: self.clone(), client, process: ProcessId(0) }
    }
}

/// A fault that has begun.
#[derive(Debug)]
#[must_use = "a fault that is not healed excuses everything after it"]
pub struct Fault {
    identity: Identity,
    fault: FaultId,
}

impl Fault {
    /// It is over now.
    pub fn heal(mut self) {
        let start = self.identity.recorder.now();
        self.identity.did(start, Op::FaultHeal { fault: self.fault }, Outcome::Ok, None);
    }
}

/// Who records.
#[derive(Debug)]
struct Identity {
    recorder: Recorder,
    client: ClientId,
    process: ProcessId,
}

impl Identity {
    /// Records an operation that ends now; after an unknown outcome the process is another one.
    fn did(&mut self, start: u64, op: Op, outcome: Outcome, note: Option<String>) {
        self.did_as(self.process, start, op, outcome, note);
    }

    /// The same for an operation that an earlier process may have begun.
    fn did_as(&mut self, process: ProcessId, start: u64, op: Op, outcome: Outcome, note: Option<String>) {
        let (client, end, note) = (self.client, self.recorder.now(), note.map(String::into_boxed_str));
        self.recorder.inner.events.lock().push(Event { start, end, client, process, op, outcome, note });
        if outcome == Outcome::Unknown && process == self.process {
            self.process.0 += 1;
        }
    }
}

/// A client that runs until it is told to finish.
#[derive(Debug)]
pub struct Running {
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Running {
    fn spawn<F: Future<Output = ()> + Send + 'static>(run: impl FnOnce(Arc<AtomicBool>) -> F) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(run(stop.clone()));
        Self { stop, task }
    }

    /// Tells it to finish, and waits until it has.
    ///
    /// # Panics
    /// When it panicked, or does not come to its end in time.
    pub async fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        tokio::time::timeout(FINISH_WITHIN, self.task)
            .await
            .expect("a client comes to its end in time")
            .expect("a client does not panic");
    }
}

fn is_stopped(stop: &AtomicBool) -> bool {
    stop.load(Ordering::Relaxed)
}
