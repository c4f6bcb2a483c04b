//! What a stream reads next: segment after segment, range after range.

use std::collections::VecDeque;
use std::sync::Arc;

use tidelog_format::pointer::Pointer;
use tidelog_format::segment::SegmentEntry;
use tidelog_model::{Offset, TopicPartition};
use tokio_util::task::AbortOnDropHandle;

use super::Inner;
use super::readahead::Slot;
use super::segment::OpenSegment;
use crate::error::ColdError;

/// Most segments whose index is fetched ahead. Small segments need it: each of them is one range.
const SEGMENTS_AHEAD_MAX: usize = 8;

/// Work that goes on when whoever waits for it is cancelled, and ends with the plan.
type Work<T> = AbortOnDropHandle<Result<T, ColdError>>;

/// The ranges that follow, in order. Every step can be cancelled and begun again.
#[derive(Debug)]
pub(super) struct Plan {
    tp: TopicPartition,
    pointer: Pointer,
    /// The plan begins with the range that holds this offset.
    from: Offset,
    end: Offset,
    /// Where the next segment is looked up; `None` when there are no more.
    next: Option<Offset>,
    looking_up: Option<Work<Option<SegmentEntry>>>,
    opening: VecDeque<Work<Arc<OpenSegment>>>,
    current: Option<(Arc<OpenSegment>, usize)>,
}

impl Plan {
    pub(super) fn new(tp: TopicPartition, pointer: Pointer, from: Offset, end: Offset) -> Self {
        Self {
            tp,
            pointer,
            from,
            end,
            next: Some(from),
            looking_up: None,
            opening: VecDeque::new(),
            current: None,
        }
    }

    /// The next range, or `None` when there is none that can be had without waiting; with `wait`, when
    /// there is none.
    pub(super) async fn next(
        &mut self,
        inner: &Arc<Inner>,
        ahead: usize,
        wait: bool,
    ) -> Result<Option<Arc<Slot>>, ColdError> {
        loop {
            let needed = wait && self.current.is_none() && self.opening.is_empty();
            self.open_ahead(inner, ahead, needed).await?;
            if let Some((segment, range)) = &mut self.current {
                if *range < segment.ranges() && segment.blocks(*range)[0].first_offset < self.end {
                    let slot = Slot::new(segment.clone(), *range);
                    *range += 1;
                    return Ok(Some(slot));
                }
                self.current = None;
            }
            let Some(opening) = self.opening.front_mut() else { return Ok(None) };
            if !wait && !opening.is_finished() {
                return Ok(None);
            }
            let opened = finished(opening).await;
            self.opening.pop_front();
            let segment = opened?;
            if let Some(range) = segment.range_at(self.from) {
                self.current = Some((segment, range));
            }
        }
    }

    /// The range that [`Plan::next`] gave last comes again. Nothing else happened in between.
    pub(super) fn put_back(&mut self) {
        if let Some((_, range)) = &mut self.current {
            *range -= 1;
        }
    }

    /// Looks up and begins to open the segments that follow; waits only for one that is `needed`.
    async fn open_ahead(&mut self, inner: &Arc<Inner>, ahead: usize, needed: bool) -> Result<(), ColdError> {
        while self.opening.len() < ahead.clamp(1, SEGMENTS_AHEAD_MAX) {
            let Some(from) = self.next.filter(|from| *from < self.end) else { return Ok(()) };
            let (tp, pointer) = (self.tp, self.pointer);
            let looking_up = self.looking_up.get_or_insert_with(|| {
                let inner = inner.clone();
                spawn(async move { Ok(inner.manifests.find_offset(tp, &pointer, from).await?) })
            });
            let wait = needed && self.opening.is_empty();
            if !wait && !looking_up.is_finished() {
                return Ok(());
            }
            let found = finished(looking_up).await;
            self.looking_up = None;
            let Some(entry) = found?.filter(|entry| entry.first_offset < self.end) else {
                self.next = None;
                return Ok(());
            };
            self.next = Some(entry.next_offset());
            let inner = inner.clone();
            self.opening.push_back(spawn(async move { inner.fetcher.segment(tp, entry).await }));
        }
        Ok(())
    }
}

fn spawn<T: Send + 'static>(work: impl Future<Output = Result<T, ColdError>> + Send + 'static) -> Work<T> {
    AbortOnDropHandle::new(tokio::spawn(work))
}

async fn finished<T>(work: &mut Work<T>) -> Result<T, ColdError> {
    match work.await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => unreachable!("only dropping the plan aborts it"),
    }
}
