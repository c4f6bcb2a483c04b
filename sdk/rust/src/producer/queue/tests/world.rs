//! A partition's queue, the way to a server and back, and the server.

use std::collections::{HashMap, VecDeque};

use tidelog_format::batch::{Batch, BatchHeader};
use tidelog_model::ErrorCode;

use super::*;

/// What goes wrong with a batch that arrives.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    None,
    /// It is refused before anything happened.
    Refuse(ErrorCode),
    /// It is not stored, and the server does not know that.
    Lose(ErrorCode),
    /// It is stored, and the server does not know that.
    StoreAndSay(ErrorCode),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    Push(usize),
    Send,
    /// The oldest batch on its way arrives.
    Arrive(Fault),
    /// The oldest answer on its way arrives.
    Answer,
    /// So many of the batches on their way still arrive; no answer does.
    Disconnect(usize),
    Wait,
    /// The server forgets its producers. Only while nothing is on its way: a server that forgot that
    /// it has a batch stores it again, and no client can know.
    Forget,
}

/// Takes a batch only if it continues where its producer's last one ended.
#[derive(Default)]
struct Server {
    log: Vec<u64>,
    producers: HashMap<ProducerId, Known>,
}

struct Known {
    next: Sequence,
    /// First sequence, records, base offset.
    recent: VecDeque<(Sequence, u32, u64)>,
}

impl Server {
    fn store(&mut self, header: &BatchHeader, values: &[u64]) -> Result<Acked, Error> {
        let base = self.log.len() as u64;
        let first = header.base_sequence;
        if first != Sequence(0) && !self.producers.contains_key(&header.producer_id) {
            return Err(refusal(ErrorCode::UnknownProducerId));
        }
        let known = self
            .producers
            .entry(header.producer_id)
            .or_insert_with(|| Known { next: Sequence(0), recent: VecDeque::new() });
        if let Some((_, records, base)) = known.recent.iter().find(|recent| recent.0 == first) {
            assert_eq!(*records, header.record_count, "another batch under a sequence that is taken");
            return Ok(acked(*base));
        }
        if known.next != first {
            return Err(refusal(ErrorCode::OutOfOrderSequence));
        }
        known.next = first.advance(header.record_count);
        known.recent.push_back((first, header.record_count, base));
        if known.recent.len() > PRODUCER_BATCHES_REMEMBERED {
            known.recent.pop_front();
        }
        self.log.extend(values);
        Ok(acked(base))
    }

    fn take(&mut self, bytes: &Bytes, fault: Fault) -> Result<Acked, Error> {
        let batch = Batch::parse(bytes.clone()).unwrap();
        batch.verify().unwrap();
        let header = batch.header();
        header.check_produced().unwrap();
        let value = |record: tidelog_format::batch::Record| {
            u64::from_be_bytes(record.value.unwrap()[..].try_into().unwrap())
        };
        let values: Vec<_> = batch.records().unwrap().map(|record| value(record.unwrap())).collect();
        match fault {
            Fault::None => self.store(&header, &values),
            Fault::Refuse(code) | Fault::Lose(code) => Err(refusal(code)),
            Fault::StoreAndSay(code) => {
                self.store(&header, &values)?;
                Err(refusal(code))
            }
        }
    }
}

pub(super) struct World {
    queue: PartitionQueue,
    now: Instant,
    server: Server,
    going: VecDeque<(u64, Bytes)>,
    coming: VecDeque<(u64, Result<Acked, Error>)>,
    /// The records of each batch, by what identifies its state.
    batches: Vec<(Arc<BatchState>, Vec<u64>)>,
    outcomes: HashMap<u64, Result<u64, Error>>,
    pushed: u64,
    identities: i64,
}

impl World {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            queue: PartitionQueue::new(rules, Some(Identity { id: ProducerId(1), epoch: ProducerEpoch(0) })),
            now: Instant::now(),
            server: Server::default(),
            going: VecDeque::new(),
            coming: VecDeque::new(),
            batches: Vec::new(),
            outcomes: HashMap::new(),
            pushed: 0,
            identities: 1,
        }
    }

    pub(super) fn step(&mut self, op: Op) {
        match op {
            Op::Push(records) => (0..records).for_each(|_| self.push()),
            Op::Send => self.send(),
            Op::Arrive(fault) => {
                if let Some((number, bytes)) = self.going.pop_front() {
                    let answer = self.server.take(&bytes, fault);
                    self.coming.push_back((number, answer));
                }
            }
            Op::Answer => {
                if let Some((number, answer)) = self.coming.pop_front() {
                    let settled = self.queue.answered(number, answer, self.now);
                    self.settled(settled);
                }
            }
            Op::Disconnect(arriving) => {
                for (_, bytes) in self.going.drain(..).take(arriving) {
                    let _ = self.server.take(&bytes, Fault::None);
                }
                self.going.clear();
                self.coming.clear();
                let settled = self.queue.disconnected(&Error::Closed("connection"));
                self.settled(settled);
            }
            Op::Wait => self.now += Duration::from_secs(1),
            Op::Forget if self.queue.unsettled().next().is_none() => self.server.producers.clear(),
            Op::Forget => {}
        }
    }

    fn push(&mut self) {
        let id = self.pushed;
        self.pushed += 1;
        let value = id.to_be_bytes();
        let content = Content::new(TimestampMs(1), None, Some(&value), &[]);
        let (state, place, _) = self.queue.push(&content, 1, || self.now, BytesMut::with_capacity).unwrap();
        match self.batches.last_mut() {
            Some((last, records)) if Arc::ptr_eq(last, &state) => records.push(id),
            _ => self.batches.push((state, vec![id])),
        }
        assert_eq!(self.batches.last().unwrap().1.len(), place as usize + 1);
    }

    fn send(&mut self) {
        match self.queue.next(self.now, true) {
            Next::Send(departure) => {
                let bytes = departure.work.run();
                self.queue.departed(departure.number, bytes.clone());
                self.going.push_back((departure.number, bytes));
            }
            Next::Nothing => {}
            Next::NeedsIdentity(_) => {
                self.identities += 1;
                let identity = Identity { id: ProducerId(self.identities), epoch: ProducerEpoch(0) };
                let settled = self.queue.adopt(identity);
                self.settled(settled);
            }
        }
    }

    fn settled(&mut self, settled: impl IntoIterator<Item = Settled>) {
        for Settled { state, outcome, charge, .. } in settled {
            let (_, records) = self.batches.iter().find(|(known, _)| Arc::ptr_eq(known, &state)).unwrap();
            assert_eq!(charge, records.len());
            for (place, id) in records.iter().enumerate() {
                let outcome = outcome.clone().map(|acked| acked.base_offset.0 + place as u64);
                assert!(self.outcomes.insert(*id, outcome).is_none(), "record {id} has two outcomes");
            }
        }
    }

    /// From here on nothing goes wrong.
    pub(super) fn settle_everything(&mut self) {
        for _ in 0..10_000 {
            if self.queue.unsettled().next().is_none() {
                return;
            }
            for op in [Op::Wait, Op::Send, Op::Arrive(Fault::None), Op::Answer] {
                self.step(op);
            }
        }
        panic!("the queue is stuck: {:#?}", self.queue);
    }

    pub(super) fn check(&self) {
        let log = &self.server.log;
        assert!(log.is_sorted_by(|a, b| a < b), "stored twice or out of order: {log:?}");
        assert_eq!(self.outcomes.len() as u64, self.pushed);
        for (id, outcome) in &self.outcomes {
            match outcome {
                Ok(offset) => assert_eq!(log[*offset as usize], *id, "not where it was said to be"),
                Err(error) if error.has_no_side_effects() => {
                    assert!(!log.contains(id), "record {id} was said to be lost: {error}");
                }
                Err(_) => {}
            }
        }
    }
}
