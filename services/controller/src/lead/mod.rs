//! Leading: one task that holds the [`Term`], brings it the news, and lets jobs ask and commit as it says.
//!
//! Nothing slow is awaited here but listings after a gap: asking stores, handing over and committing are
//! jobs, whose partitions are left alone by the planner until they are done.

mod commands;
mod errands;
mod jobs;
mod pinger;
mod status;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tidelog_meta::election::Leadership;
use tidelog_meta::image::{Feed, News};
use tidelog_meta::{MetaError, SharedMeta};
use tidelog_model::{NodeId, SharedClock};
use tidelog_runtime::Supervisor;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use self::jobs::Done;
use self::pinger::{BEATS_MAX, Beat, Pingers};
use crate::operator::Command;
use crate::term::Term;
use crate::{Options, Stores};

/// What leading is done with.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) node: NodeId,
    pub(crate) meta: SharedMeta,
    pub(crate) stores: Arc<dyn Stores>,
    pub(crate) clock: SharedClock,
    pub(crate) options: Options,
    pub(crate) leadership: Leadership,
}

/// Why leading ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Stopped,
    LeaseLost,
    /// Someone else was elected.
    Deposed,
    /// Cut off from most of the stores.
    Isolated,
    Failed(MetaError),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("it is stopping"),
            Self::LeaseLost => f.write_str("its lease has ended"),
            Self::Deposed => f.write_str("another one was elected"),
            Self::Isolated => f.write_str("it hears of fewer than half of the stores"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

pub(crate) struct Lead {
    context: Arc<Context>,
    term: Term,
    /// When the term began.
    began: Instant,
    /// `None` after a gap, until the image was built anew.
    feed: Option<Feed>,
    pingers: Pingers,
    jobs: FuturesUnordered<BoxFuture<'static, Done>>,
    end: Option<End>,
}

impl Lead {
    /// Leads until there is a reason not to.
    pub(crate) async fn run(
        context: Context,
        commands: &mut mpsc::Receiver<Command>,
        supervisor: &Supervisor,
    ) -> End {
        let mut term = Term::new(context.options);
        let feed = match Feed::open(&*context.meta, term.image_mut()).await {
            Ok(feed) => feed,
            Err(error) => return End::Failed(error),
        };
        let context = Arc::new(context);
        let (sender, mut beats) = mpsc::channel(BEATS_MAX);
        let mut lead = Self {
            term,
            began: Instant::now(),
            feed: Some(feed),
            pingers: Pingers::new(Arc::clone(&context), supervisor.clone(), sender),
            jobs: FuturesUnordered::new(),
            end: None,
            context,
        };
        lead.jobs.push(jobs::deposed(&lead.context));
        lead.term.listed(Duration::ZERO);
        lead.pingers.follow(lead.term.image());
        lead.serve(commands, &mut beats).await
    }

    async fn serve(
        &mut self,
        commands: &mut mpsc::Receiver<Command>,
        beats: &mut mpsc::Receiver<Beat>,
    ) -> End {
        let mut tick = tokio::time::interval(self.context.options.heartbeat);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                Some(done) = self.jobs.next() => self.on_done(done),
                Some(beat) = beats.recv() => self.on_beat(beat),
                news = next_news(&mut self.feed) => self.on_news(news),
                Some(command) = commands.recv() => self.on_command(command),
                _ = tick.tick() => self.on_tick().await,
                () = due(self.term.pass_at().map(|at| self.began + at)) => self.pass(),
            }
            if let Some(end) = self.end.take() {
                return end;
            }
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn on_news(&mut self, news: News) {
        match news {
            News::Changes(changes) => {
                if self.term.changed(&changes.events, self.now()) {
                    self.pingers.follow(self.term.image());
                }
            }
            News::Gap(error) => {
                tracing::warn!(%error, "changes were missed; everything is listed again");
                self.feed = None;
            }
            News::Closed => self.end = Some(End::Failed(MetaError::Closed)),
        }
    }

    fn on_beat(&mut self, beat: Beat) {
        if self.pingers.is_current(&beat) {
            self.term.looked(beat.node, beat.look, self.now());
        }
    }

    async fn on_tick(&mut self) {
        if self.term.wants_listing(self.now()) {
            self.feed = None;
        }
        if self.feed.is_none() {
            self.list_again().await;
        }
        let now = self.now();
        self.term.tick(now);
        if self.term.should_step_down(now) {
            self.end = Some(End::Isolated);
        }
        self.ask_for_sizes();
        self.pass();
    }

    async fn list_again(&mut self) {
        self.term.listing(self.now());
        let opening = Feed::open(&*self.context.meta, self.term.image_mut());
        let late = || MetaError::Unavailable("the listing took too long".to_owned());
        let opened = tokio::time::timeout(self.context.options.commit_wait, opening).await;
        match opened.unwrap_or_else(|_| Err(late())) {
            Ok(feed) => {
                self.feed = Some(feed);
                self.term.listed(self.now());
                self.pingers.follow(self.term.image());
            }
            Err(error) if error.is_retryable() => tracing::warn!(%error, "the cluster cannot be listed"),
            Err(error) => self.end = Some(End::Failed(error)),
        }
    }
}

async fn next_news(feed: &mut Option<Feed>) -> News {
    match feed {
        Some(feed) => feed.next().await,
        None => std::future::pending().await,
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
