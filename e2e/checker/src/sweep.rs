//! "What was known before that began": one sorted walk instead of a comparison of all with all.

/// Values with the moment from which they hold; asked for the largest that held before a moment.
#[derive(Debug, Default)]
pub(crate) struct Floors {
    /// (from when, value, event), sorted by the first once sealed.
    held: Vec<(u64, u64, u32)>,
    next: usize,
    largest: Option<(u64, u32)>,
}

impl Floors {
    pub(crate) fn push(&mut self, end: u64, value: u64, event: u32) {
        self.held.push((end, value, event));
    }

    /// To be called once, after the last push.
    pub(crate) fn seal(&mut self) {
        self.held.sort_unstable();
    }

    /// The largest value that held before `start`, and its event. Moments must not go back from call
    /// to call.
    pub(crate) fn before(&mut self, start: u64) -> Option<(u64, u32)> {
        while let Some((end, value, event)) = self.held.get(self.next).copied()
            && end < start
        {
            if self.largest.is_none_or(|(largest, _)| value > largest) {
                self.largest = Some((value, event));
            }
            self.next += 1;
        }
        self.largest
    }
}

#[cfg(test)]
mod tests {
    use super::Floors;

    #[test]
    fn the_largest_value_that_ended_strictly_before_counts() {
        let mut floors = Floors::default();
        for (end, value) in [(30, 5), (10, 7), (20, 6)] {
            floors.push(end, value, end as u32);
        }
        floors.seal();
        assert_eq!(floors.before(10), None);
        assert_eq!(floors.before(11), Some((7, 10)));
        assert_eq!(floors.before(100), Some((7, 10)));
    }
}
