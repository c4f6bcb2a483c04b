//! What goes wrong at an S3 server, when, and how often.

use std::time::Duration;

use parking_lot::Mutex;

/// How a request goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum S3Fault {
    /// This status in place of an answer, with the error document that S3 sends; 503 is `SlowDown`.
    Status(u16),
    /// The request is passed on so much later.
    Delay(Duration),
    /// The connection ends before the request is carried out.
    Reset,
    /// The request is carried out, and the connection ends in place of its answer.
    LostAnswer,
    /// The connection ends after so many bytes of the body.
    TruncatedBody(usize),
    /// This byte of the body (or the last) is inverted.
    CorruptBody(usize),
    /// The bytes so much further on are sent, and the answer says so.
    WrongRange(u64),
    /// The same, and the answer says that they are what was asked for.
    OtherBytes(u64),
}

/// Which requests go wrong, and how.
#[derive(Clone, Debug)]
pub struct S3Rule {
    /// `None`: every method.
    pub method: Option<&'static str>,
    /// Part of the path with its query.
    pub path_part: String,
    /// So many matching requests go by first.
    pub skip: usize,
    /// So many go wrong then.
    pub times: usize,
    pub fault: S3Fault,
}

impl S3Rule {
    /// Every request of a method whose path contains `path_part`, until the rule is lifted.
    pub fn always(method: &'static str, path_part: &str, fault: S3Fault) -> Self {
        Self::times(method, path_part, usize::MAX, fault)
    }

    /// The next `times` of them.
    pub fn times(method: &'static str, path_part: &str, times: usize, fault: S3Fault) -> Self {
        Self { method: Some(method), path_part: path_part.to_owned(), skip: 0, times, fault }
    }

    fn matches(&self, request: &S3Request) -> bool {
        self.method.is_none_or(|method| method == request.method) && request.path.contains(&self.path_part)
    }
}

/// Names a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleId(usize);

/// A request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Request {
    pub method: String,
    /// With its query.
    pub path: String,
    pub fault: Option<S3Fault>,
}

/// Requests that are remembered; older ones are forgotten.
const REQUESTS_MAX: usize = 100_000;

#[derive(Debug)]
struct Active {
    rule: S3Rule,
    hits: usize,
}

/// The rules in force, and what came.
#[derive(Debug, Default)]
pub(super) struct Rules {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Active>,
    requests: std::collections::VecDeque<S3Request>,
}

impl Rules {
    pub(super) fn add(&self, rule: S3Rule) -> RuleId {
        let rules = &mut self.state.lock().rules;
        rules.push(Active { rule, hits: 0 });
        RuleId(rules.len() - 1)
    }

    /// No rule that there is applies any longer; what each did is still known.
    pub(super) fn lift(&self) {
        for active in &mut self.state.lock().rules {
            active.rule.times = 0;
        }
    }

    pub(super) fn hits(&self, id: RuleId) -> usize {
        self.state.lock().rules[id.0].hits
    }

    pub(super) fn requests(&self) -> Vec<S3Request> {
        self.state.lock().requests.iter().cloned().collect()
    }

    /// What is to go wrong with this request: the first rule that applies says.
    pub(super) fn pick(&self, method: &str, path: &str) -> Option<S3Fault> {
        let State { rules, requests } = &mut *self.state.lock();
        let mut request = S3Request { method: method.to_owned(), path: path.to_owned(), fault: None };
        for active in rules.iter_mut().filter(|active| active.rule.matches(&request)) {
            if active.rule.times == 0 {
                continue;
            }
            if active.rule.skip > 0 {
                active.rule.skip -= 1;
                continue;
            }
            if active.rule.times != usize::MAX {
                active.rule.times -= 1;
            }
            active.hits += 1;
            request.fault = Some(active.rule.fault);
            break;
        }
        let fault = request.fault;
        if requests.len() == REQUESTS_MAX {
            requests.pop_front();
        }
        requests.push_back(request);
        fault
    }
}
