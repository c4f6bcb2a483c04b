//! Pauses between attempts: growing, bounded, and never the same for two clients.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(1);

/// The pauses of one series of attempts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: FIRST }
    }

    /// The next pause: half of it certain, half of it chance, so that clients that failed together do
    /// not return together. At least what the server asked for.
    pub(crate) fn pause(&mut self, asked: Option<Duration>) -> Duration {
        let half = self.next / 2;
        let pause = half + half.mul_f64(rand::random::<f64>());
        self.next = (self.next * 2).min(LONGEST);
        asked.map_or(pause, |asked| pause.max(asked))
    }

    pub(crate) async fn wait(&mut self, asked: Option<Duration>) {
        let pause = self.pause(asked);
        #[expect(clippy::disallowed_methods, reason = "back-off")]
        tokio::time::sleep(pause).await;
    }

    pub(crate) fn reset(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_honour_what_was_asked() {
        let mut backoff = Backoff::new();
        let pauses: Vec<_> = (0..12).map(|_| backoff.pause(None)).collect();
        assert!(pauses[0] >= FIRST / 2 && pauses[0] <= FIRST);
        assert!(pauses[11] >= LONGEST / 2 && pauses[11] <= LONGEST);
        assert!(backoff.pause(Some(Duration::from_secs(9))) >= Duration::from_secs(9));
        backoff.reset();
        assert!(backoff.pause(None) <= FIRST);
    }
}
