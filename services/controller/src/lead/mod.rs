//! Leading: one task that owns the image and the judgement on who is alive, plans, and lets jobs ask and
//! commit.
//!
//! Nothing slow is awaited here but listings after a gap: asking stores, handing over and committing are
//! jobs, whose partitions are left alone by the planner until they are done.

mod commands;
mod jobs;
mod passes;
mod pinger;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tidelog_meta::election::Leadership;
use tidelog_meta::image::{Feed, News};
use tidelog_meta::{Image, MetaError, SharedMeta};
use tidelog_model::{NodeId, SharedClock, TopicPartition};
use tidelog_runtime::Supervisor;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use self::jobs::Done;
use self::pinger::{BEATS_MAX, Beat, Look, Pingers};
use crate::health::{Health, Standing};
use crate::operator::Command;
use crate::plan::View;
use crate::{Options, Stores};

/// News that come within this time are planned for together.
const GATHER: Duration = Duration::from_millis(10);

/// Listings after something unexpected are at least so far apart.
const LISTINGS_APART: Duration = Duration::from_secs(1);

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
    image: Image,
    health: Health,
    view: View,
    /// `None` after a gap, until the image was built anew.
    feed: Option<Feed>,
    pingers: Pingers,
    jobs: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Partitions that a job is about.
    busy: BTreeSet<TopicPartition>,
    /// Partitions whose last decision came to nothing, and when to try again.
    patience: BTreeMap<TopicPartition, Duration>,
    /// Partitions whose leader gave up and is leader again, and until when that has to do: one that
    /// gives up again and again causes few elections.
    cooling: BTreeMap<TopicPartition, Duration>,
    began: Instant,
    /// When to plan next.
    pass_at: Option<Instant>,
    timers: Timers,
    /// Something was not as the image says: list everything again.
    stale: bool,
    end: Option<End>,
}

/// When things that are done now and then are due.
#[derive(Debug, Default)]
struct Timers {
    prefer: Duration,
    balance: Duration,
    sizes: Duration,
    listing: Duration,
}

impl Lead {
    /// Leads until there is a reason not to.
    pub(crate) async fn run(
        context: Context,
        commands: &mut mpsc::Receiver<Command>,
        supervisor: &Supervisor,
    ) -> End {
        let mut image = Image::default();
        let feed = match Feed::open(&*context.meta, &mut image).await {
            Ok(feed) => feed,
            Err(error) => return End::Failed(error),
        };
        let context = Arc::new(context);
        let (sender, mut beats) = mpsc::channel(BEATS_MAX);
        let mut lead = Self {
            image,
            health: Health::new(context.options),
            view: View::default(),
            feed: Some(feed),
            pingers: Pingers::new(Arc::clone(&context), supervisor.clone(), sender),
            jobs: FuturesUnordered::new(),
            busy: BTreeSet::new(),
            patience: BTreeMap::new(),
            cooling: BTreeMap::new(),
            began: Instant::now(),
            pass_at: Some(Instant::now()),
            timers: Timers { balance: context.options.balance_every, ..Timers::default() },
            stale: false,
            end: None,
            context,
        };
        lead.jobs.push(jobs::deposed(&lead.context));
        lead.meet_nodes();
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
                () = due(self.pass_at) => self.pass(),
            }
            if let Some(end) = self.end.take() {
                return end;
            }
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Plans soon: news often come in swarms.
    fn plan_soon(&mut self) {
        self.pass_at.get_or_insert(Instant::now() + GATHER);
    }

    fn plan_now(&mut self) {
        self.pass_at = Some(Instant::now());
    }

    fn on_news(&mut self, news: News) {
        match news {
            News::Changes(changes) => {
                changes.events.iter().for_each(|event| self.image.apply(event));
                if changes.events.iter().any(|event| event.key().starts_with("live/")) {
                    self.meet_nodes();
                    self.patience.clear();
                }
                self.plan_soon();
            }
            News::Gap(error) => {
                tracing::warn!(%error, "changes were missed; everything is listed again");
                self.feed = None;
            }
            News::Closed => self.end = Some(End::Failed(MetaError::Closed)),
        }
    }

    /// Begins and ends what is done per live node.
    fn meet_nodes(&mut self) {
        let now = self.now();
        for live in self.image.live_nodes() {
            self.health.leased(live, now);
        }
        let known: Vec<_> = self.view.standings.keys().copied().collect();
        for node in known.into_iter().filter(|node| self.image.live(*node).is_none()) {
            self.health.lease_ended(node);
            self.view.standings.remove(&node);
        }
        self.pingers.follow(&self.image);
        self.judge();
    }

    fn on_beat(&mut self, beat: Beat) {
        if !self.pingers.is_current(&beat) {
            return;
        }
        match beat.look {
            Look::Answered(pong) => self.health.answered(beat.node, pong, self.now()),
            Look::Missed => self.health.missed(beat.node),
            Look::Gone => self.health.gone(beat.node),
        }
        if self.judge() {
            self.patience.clear();
            self.plan_now();
        }
    }

    /// Brings the view up to date. Whether it matters now: somebody died, came back or resigned.
    fn judge(&mut self) -> bool {
        let now = self.now();
        self.health.assess(now);
        let standings: BTreeMap<_, _> =
            self.image.live_nodes().map(|live| (live.node, self.health.standing(live.node, now))).collect();
        let resigned = self.health.resigned().collect();
        for (node, standing) in &standings {
            let before = self.view.standings.get(node);
            match (before, standing) {
                (Some(Standing::Dead) | None, Standing::Dead) => {}
                (_, Standing::Dead) => tracing::warn!(%node, "a store does not answer and is believed dead"),
                (Some(Standing::Dead), _) => tracing::info!(%node, "a store that was believed dead answers"),
                _ => {}
            }
        }
        let changed = standings != self.view.standings || resigned != self.view.resigned;
        self.view.standings = standings;
        self.view.resigned = resigned;
        changed
    }

    async fn on_tick(&mut self) {
        let now = self.now();
        if self.stale && now >= self.timers.listing {
            self.feed = None;
        }
        if self.feed.is_none() {
            self.timers.listing = now + LISTINGS_APART;
            self.list_again().await;
        }
        self.judge();
        if self.health.should_step_down(now) {
            self.end = Some(End::Isolated);
        }
        self.patience.retain(|_, until| *until > now);
        self.cooling.retain(|_, until| *until > now);
        self.ask_for_sizes(now);
        self.pass();
    }

    async fn list_again(&mut self) {
        let opening = Feed::open(&*self.context.meta, &mut self.image);
        let late = || MetaError::Unavailable("the listing took too long".to_owned());
        let opened = tokio::time::timeout(self.context.options.commit_wait, opening).await;
        match opened.unwrap_or_else(|_| Err(late())) {
            Ok(feed) => {
                self.feed = Some(feed);
                self.stale = false;
                self.meet_nodes();
                self.forget_deleted();
            }
            Err(error) if error.is_retryable() => tracing::warn!(%error, "the cluster cannot be listed"),
            Err(error) => self.end = Some(End::Failed(error)),
        }
    }

    fn forget_deleted(&mut self) {
        let image = &self.image;
        self.view.sizes.retain(|partition, _| image.partitions.contains_key(partition));
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
