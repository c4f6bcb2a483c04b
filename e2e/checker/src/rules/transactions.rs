//! Rule 6, its second half: transactions do not depend on each other in a circle.
//!
//! An edge leads from the transaction that wrote a record to the one that read it as committed. Write
//! after write is no edge: transactions interleave in a log legally.

use tidelog_model::Offset;

use super::Case;
use crate::history::{Isolation, Op};
use crate::index::{Index, NONE};
use crate::report::{Findings, Kind};

pub(super) fn check(case: &Case<'_>, findings: &mut Findings<'_>) {
    let index = &case.index;
    let edges: Vec<Vec<u32>> =
        (0..index.transactions.len() as u32).map(|reader| reads_of(index, reader)).collect();
    for circle in circles(&edges) {
        let events: Vec<u32> =
            circle.iter().map(|number| index.transactions[*number as usize].last_event).collect();
        findings.add(Kind::TransactionCycle, &events, || {
            let names: Vec<String> =
                circle.iter().map(|n| index.transactions[*n as usize].id.0.to_string()).collect();
            format!("transactions {} read each other's writes", names.join(", "))
        });
    }
}

/// The transactions whose writes this one read.
fn reads_of(index: &Index<'_>, reader: u32) -> Vec<u32> {
    let mut writers = Vec::new();
    for poll in &index.transactions[reader as usize].polls {
        let Op::Poll(poll) = &index.event(*poll).op else { continue };
        if poll.isolation != Isolation::ReadCommitted {
            continue;
        }
        for (Offset(_), value) in &poll.records {
            let produce = index.writes.get(value).and_then(|write| index.produce(write.event));
            let writer = produce.map_or(NONE, |produce| index.transaction_number(produce.transaction));
            if writer != NONE && writer != reader {
                writers.push(writer);
            }
        }
    }
    writers.sort_unstable();
    writers.dedup();
    writers
}

/// Strongly connected components of more than one node (Tarjan, *Depth-first search and linear graph
/// algorithms*, 1972), without recursion.
fn circles(edges: &[Vec<u32>]) -> Vec<Vec<u32>> {
    let mut walk = Walk {
        order: vec![NONE; edges.len()],
        low: vec![NONE; edges.len()],
        on_stack: vec![false; edges.len()],
        stack: Vec::new(),
        next: 0,
        found: Vec::new(),
    };
    for root in 0..edges.len() as u32 {
        if walk.order[root as usize] == NONE {
            walk.from(root, edges);
        }
    }
    walk.found
}

struct Walk {
    order: Vec<u32>,
    low: Vec<u32>,
    on_stack: Vec<bool>,
    stack: Vec<u32>,
    next: u32,
    found: Vec<Vec<u32>>,
}

impl Walk {
    fn from(&mut self, root: u32, edges: &[Vec<u32>]) {
        self.enter(root);
        // (node, how many of its edges were followed)
        let mut path = vec![(root, 0)];
        while let Some((node, followed)) = path.last_mut() {
            let node = *node;
            if let Some(target) = edges[node as usize].get(*followed).copied() {
                *followed += 1;
                if self.order[target as usize] == NONE {
                    self.enter(target);
                    path.push((target, 0));
                } else if self.on_stack[target as usize] {
                    self.low[node as usize] = self.low[node as usize].min(self.order[target as usize]);
                }
                continue;
            }
            path.pop();
            if let Some((parent, _)) = path.last() {
                self.low[*parent as usize] = self.low[*parent as usize].min(self.low[node as usize]);
            }
            if self.low[node as usize] == self.order[node as usize] {
                self.leave(node);
            }
        }
    }

    fn enter(&mut self, node: u32) {
        self.order[node as usize] = self.next;
        self.low[node as usize] = self.next;
        self.next += 1;
        self.stack.push(node);
        self.on_stack[node as usize] = true;
    }

    fn leave(&mut self, node: u32) {
        let start = self.stack.iter().rposition(|member| *member == node).unwrap_or(0);
        let mut members = self.stack.split_off(start);
        for member in &members {
            self.on_stack[*member as usize] = false;
        }
        if members.len() > 1 {
            members.sort_unstable();
            self.found.push(members);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::circles;

    #[test]
    fn circles_are_found_and_chains_are_not() {
        assert!(circles(&[vec![1], vec![2], vec![], vec![0, 1]]).is_empty());
        assert_eq!(circles(&[vec![1], vec![2], vec![0], vec![0]]), [[0, 1, 2]]);
        assert_eq!(circles(&[vec![1], vec![0], vec![3, 0], vec![2]]), [[0, 1], [2, 3]]);
    }
}
