//! One call to the store for all who wait for its answer.

use std::sync::Arc;

use futures::FutureExt as _;
use tidelog_peer::Fetch;
use tokio::time::Instant;

use super::Inner;
use super::followed::{Flight, Place, UnderWay};
use super::state::{Asked, Keep, State};

/// How much a flight asks for: what its first passenger wants, within these. What is left over is the
/// ring's, and whoever takes little of much gets a copy.
const FLIGHT_BYTES_MIN: usize = 64 * 1024;
const FLIGHT_BYTES_MAX: usize = 1024 * 1024;

impl Inner {
    /// A flight to where `fetch` points, and until when the store waits.
    pub(super) fn begin(self: &Arc<Self>, state: &mut State, fetch: &Fetch) -> (Flight, Option<Instant>) {
        let place = Place::of(fetch);
        state.follow(fetch.partition);
        let asked = state.ask(fetch.partition, place);
        // Taken down however the flight ends, also when it never began.
        let landing = Landing { inner: Arc::clone(self), asked };
        let max_bytes = fetch.max_bytes.clamp(FLIGHT_BYTES_MIN, FLIGHT_BYTES_MAX);
        let fetch = Fetch { max_bytes, ..*fetch };
        let flight = async move {
            let Landing { inner, asked } = &landing;
            let mut answer = inner.store.fetch(fetch).await;
            inner.state.lock().learn(asked, &mut answer, Keep::Always);
            answer
        };
        let flight = flight.boxed().shared();
        let until = fetch.max_wait.map(|wait| Instant::now() + wait);
        let answer = flight.downgrade().expect("it was not polled yet");
        state.follow(fetch.partition).flights.insert(place, UnderWay { id: asked.id, until, answer });
        (flight, until)
    }
}

struct Landing {
    inner: Arc<Inner>,
    asked: Asked,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.inner.state.lock().land(&self.asked);
    }
}
