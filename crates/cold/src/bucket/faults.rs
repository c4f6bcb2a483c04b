//! A bucket that fails on demand, for tests.
//!
//! [`Bucket::with_faults`] puts itself between a bucket and its store. Rules say which calls go wrong
//! and how; every call is counted. Nothing here sleeps: a call that is to be late waits for a [`Gate`].

use std::fmt;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, UploadPart,
};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use super::Bucket;

/// A request to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    Get,
    Head,
    Put,
    Begin,
    Part,
    Complete,
    Abort,
    List,
    Delete,
}

/// Holds calls up until it is opened.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Semaphore>);

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }
}

impl Gate {
    /// Lets every call through that waits or comes later.
    pub fn open(&self) {
        self.0.close();
    }

    async fn pass(&self) {
        // It never has permits, so this ends only when it is closed.
        let _ = self.0.acquire().await;
    }
}

/// How a call goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// An HTTP status that is no success.
    Status(u16),
    NotFound,
    Denied,
    /// The connection breaks before the request arrives.
    Unreachable,
    Full,
    ReadOnly,
    /// The request is carried out, and its answer is lost.
    LostAnswer,
    /// The body ends this many bytes early.
    ShortBody(usize),
    /// Another range comes, this many bytes further on.
    WrongRange(u64),
    /// This byte of the body is inverted.
    FlipByte(usize),
    /// The call waits.
    Hold(Gate),
}

#[derive(Debug)]
struct Rule {
    call: Call,
    key_part: String,
    skip: usize,
    times: usize,
    fault: Fault,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    calls: Vec<(Call, String)>,
}

/// Steers a bucket's faults and counts its calls. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Faults {
    state: Arc<Mutex<State>>,
    called: watch::Sender<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { state: Arc::default(), called: watch::Sender::new(0) }
    }
}

impl Faults {
    /// The next `times` calls of this kind, whose key contains `key_part`, go wrong.
    pub fn fail(&self, call: Call, key_part: &str, times: usize, fault: Fault) {
        self.fail_after(call, key_part, 0, times, fault);
    }

    /// Lets `skip` such calls go by first.
    pub fn fail_after(&self, call: Call, key_part: &str, skip: usize, times: usize, fault: Fault) {
        let key_part = key_part.to_owned();
        self.state.lock().rules.push(Rule { call, key_part, skip, times, fault });
    }

    /// Forgets all rules.
    pub fn heal(&self) {
        self.state.lock().rules.clear();
    }

    /// How many such calls there were.
    pub fn count(&self, call: Call, key_part: &str) -> usize {
        let state = self.state.lock();
        state.calls.iter().filter(|(made, key)| *made == call && key.contains(key_part)).count()
    }

    /// Waits until there were `count` such calls.
    pub async fn reached(&self, call: Call, key_part: &str, count: usize) {
        let mut called = self.called.subscribe();
        while self.count(call, key_part) < count {
            called.changed().await.expect("the sender is in self");
        }
    }

    async fn before(&self, call: Call, key: &Path) -> object_store::Result<Option<Fault>> {
        let fault = self.next(call, key.as_ref());
        self.called.send_modify(|calls| *calls += 1);
        match fault {
            Some(Fault::Hold(gate)) => {
                gate.pass().await;
                Ok(None)
            }
            Some(fault) => match fault.error(key) {
                Some(error) => Err(error),
                None => Ok(Some(fault)),
            },
            None => Ok(None),
        }
    }

    fn next(&self, call: Call, key: &str) -> Option<Fault> {
        let mut state = self.state.lock();
        state.calls.push((call, key.to_owned()));
        let matching = |rule: &&mut Rule| rule.call == call && rule.times > 0 && key.contains(&rule.key_part);
        let rule = state.rules.iter_mut().find(matching)?;
        if rule.skip > 0 {
            rule.skip -= 1;
            return None;
        }
        rule.times -= 1;
        Some(rule.fault.clone())
    }
}

impl Fault {
    /// The error of a fault that prevents the request.
    fn error(&self, key: &Path) -> Option<object_store::Error> {
        let path = key.to_string();
        let io = |kind: io::ErrorKind| generic(io::Error::new(kind, "injected"));
        match self {
            Self::Status(status) => {
                let text = format!("Server returned non-2xx status code: {status} Injected: ");
                Some(generic(io::Error::other(text)))
            }
            Self::NotFound => Some(object_store::Error::NotFound { path, source: "injected".into() }),
            Self::Denied => Some(object_store::Error::PermissionDenied { path, source: "injected".into() }),
            Self::Unreachable => Some(io(io::ErrorKind::ConnectionRefused)),
            Self::Full => Some(io(io::ErrorKind::StorageFull)),
            Self::ReadOnly => Some(io(io::ErrorKind::ReadOnlyFilesystem)),
            _ => None,
        }
    }
}

fn generic(source: io::Error) -> object_store::Error {
    object_store::Error::Generic { store: "faulty", source: Box::new(source) }
}

/// What the caller is told of a request whose answer is lost.
fn lost<T>(fault: Option<&Fault>, done: object_store::Result<T>) -> object_store::Result<T> {
    match fault {
        Some(Fault::LostAnswer) => done.and(Err(generic(io::ErrorKind::ConnectionReset.into()))),
        _ => done,
    }
}

impl Bucket {
    /// The same bucket, with faults under the control of the handle.
    pub fn with_faults(&self) -> (Self, Faults) {
        let faults = Faults::default();
        let store = Arc::new(FaultyStore { inner: self.store.clone(), faults: faults.clone() });
        (Self { store, ..self.clone() }, faults)
    }
}

#[derive(Debug)]
struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    faults: Faults,
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        let fault = self.faults.before(Call::Put, location).await?;
        lost(fault.as_ref(), self.inner.put_opts(location, payload, options).await)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.faults.before(Call::Begin, location).await?;
        let inner = self.inner.put_multipart_opts(location, options).await?;
        Ok(Box::new(FaultyUpload { inner, location: location.clone(), faults: self.faults.clone() }))
    }

    async fn get_opts(&self, location: &Path, mut options: GetOptions) -> object_store::Result<GetResult> {
        let call = if options.head { Call::Head } else { Call::Get };
        let fault = self.faults.before(call, location).await?;
        if let (Some(Fault::WrongRange(by)), Some(object_store::GetRange::Bounded(range))) =
            (&fault, &mut options.range)
        {
            *range = range.start + by..range.end + by;
        }
        let result = lost(fault.as_ref(), self.inner.get_opts(location, options).await)?;
        match fault {
            Some(fault @ (Fault::ShortBody(_) | Fault::FlipByte(_))) => spoil(result, &fault).await,
            _ => Ok(result),
        }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        let faults = self.faults.clone();
        let checked = locations.then(move |location| {
            let faults = faults.clone();
            async move {
                let location = location?;
                faults.before(Call::Delete, &location).await?;
                Ok(location)
            }
        });
        self.inner.delete_stream(checked.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        let prefix = prefix.cloned();
        let (inner, faults) = (self.inner.clone(), self.faults.clone());
        stream::once(async move {
            let checked = faults.before(Call::List, &prefix.clone().unwrap_or_default()).await;
            match checked {
                Ok(_) => inner.list(prefix.as_ref()),
                Err(error) => stream::once(async { Err(error) }).boxed(),
            }
        })
        .flatten()
        .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.faults.before(Call::List, &prefix.cloned().unwrap_or_default()).await?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A body that is not what was stored.
async fn spoil(result: GetResult, fault: &Fault) -> object_store::Result<GetResult> {
    let (meta, range, attributes) = (result.meta.clone(), result.range.clone(), result.attributes.clone());
    let extensions = result.extensions.clone();
    let mut bytes = BytesMut::from(result.bytes().await?);
    match fault {
        Fault::ShortBody(by) => bytes.truncate(bytes.len().saturating_sub(*by)),
        Fault::FlipByte(at) => {
            let at = at % bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = !*byte;
            }
        }
        _ => {}
    }
    let body = stream::once(async move { Ok(Bytes::from(bytes)) }).boxed();
    Ok(GetResult { payload: GetResultPayload::Stream(body), meta, range, attributes, extensions })
}

#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    location: Path,
    faults: Faults,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let part = self.inner.put_part(data);
        let (faults, location) = (self.faults.clone(), self.location.clone());
        Box::pin(async move {
            let fault = faults.before(Call::Part, &location).await?;
            lost(fault.as_ref(), part.await)
        })
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        let fault = self.faults.before(Call::Complete, &self.location).await?;
        lost(fault.as_ref(), self.inner.complete().await)
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        self.faults.before(Call::Abort, &self.location).await?;
        self.inner.abort().await
    }
}
