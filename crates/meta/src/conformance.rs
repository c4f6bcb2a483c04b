//! What every implementation of [`Meta`] must do, as tests.
//!
//! An implementation calls [`conformance_tests!`](crate::conformance_tests) with an expression that
//! makes a [`Harness`]; each claim becomes a test. Where starting a store is dear, [`check_all`] makes
//! all claims at once on one. Claims use keys of their own, so that one store can serve them all.
//! Failures are panics.

mod elections;
mod faulty;
mod leases;
mod outcomes;
mod transactions;
mod values;
mod watches;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;

use crate::{Compare, Entry, Meta, Op, Revision, SharedMeta, Txn, TxnOutcome};

pub use elections::*;
pub use faulty::{Faulty, TxnFault};
pub use leases::*;
pub use outcomes::*;
pub use transactions::*;
pub use values::*;
pub use watches::*;

/// A store under test, and the things that a test must be able to make happen.
#[async_trait]
pub trait Harness: Send + Sync {
    fn meta(&self) -> SharedMeta;

    /// A short time to live of leases, that the store grants as it is.
    fn ttl(&self) -> Duration {
        Duration::from_secs(2)
    }

    /// Lets time pass for leases.
    async fn advance(&self, by: Duration);

    /// Forgets the changes up to now, so that a watch from an earlier revision cannot be served.
    async fn compact(&self);
}

/// A claim and its name.
pub type Claim = (&'static str, fn(Arc<dyn Harness>) -> BoxFuture<'static, ()>);

/// The list of claims, for one of the two macros below.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_claims {
    ($then:ident $($harness:expr)?) => {
        $crate::$then! {
            @claims $($harness)?;
            a_put_value_is_read_back_with_its_history,
            a_key_that_is_deleted_and_put_again_begins_anew,
            every_comparison_holds_only_when_it_is_true,
            a_conflict_changes_nothing,
            a_transaction_is_one_revision,
            a_transaction_that_changes_nothing_leaves_the_revision,
            a_listing_is_ordered_and_holds_its_prefix_only,
            a_listing_of_many_entries_is_of_one_revision,
            what_breaks_a_limit_is_refused_and_changes_nothing,
            the_largest_transaction_allowed_succeeds,
            concurrent_increments_lose_nothing,
            what_was_seen_and_asked_is_counted,
            a_transaction_of_unknown_outcome_is_settled,
            what_cannot_be_settled_stays_unknown,
            a_conflict_after_a_lost_request_is_a_conflict,
            what_could_be_applied_twice_is_not_repeated,
            a_watch_delivers_each_transaction_once_and_in_order,
            a_watch_from_the_past_begins_there,
            a_watch_waits_for_what_has_not_happened_yet,
            a_watch_delivers_large_transactions_whole,
            a_watch_behind_a_compaction_is_told_to_list_again,
            a_watch_that_is_not_behind_survives_a_compaction,
            listing_and_watching_on_converges_under_load,
            keys_vanish_with_their_lease,
            a_lease_that_is_kept_alive_lives_on,
            a_lease_is_valid_no_longer_than_from_its_request_on,
            a_lease_that_has_ended_cannot_be_used,
            revoking_a_lease_removes_its_keys_at_one_revision,
            a_key_put_without_its_lease_is_freed_from_it,
            the_first_candidate_leads_and_hands_over_when_it_resigns,
            a_dead_leader_is_followed_and_fenced,
            an_observer_sees_each_leader,
            typed_values_come_back_and_unreadable_ones_are_errors,
        }
    };
}

/// Declares one test for each claim; the argument is evaluated in each.
#[macro_export]
macro_rules! conformance_tests {
    (@claims $harness:expr; $($claim:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $claim() {
                $crate::conformance::$claim(&$harness).await;
            }
        )+
    };
    ($harness:expr) => {
        $crate::conformance_claims!(conformance_tests $harness);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! conformance_table {
    (@claims ; $($claim:ident,)+) => {
        /// Every claim.
        pub const CLAIMS: &[Claim] =
            &[$((stringify!($claim), |harness| Box::pin(async move { $claim(&*harness).await }))),+];
    };
}

crate::conformance_claims!(conformance_table);

/// Makes every claim at the same time, each with a harness of its own.
///
/// # Panics
/// With the names of those that do not hold.
pub async fn check_all(harness: impl AsyncFn(&'static str) -> Arc<dyn Harness>) {
    let mut running = Vec::with_capacity(CLAIMS.len());
    for (name, claim) in CLAIMS {
        running.push((name, tokio::spawn(claim(harness(name).await))));
    }
    let mut broken = Vec::new();
    for (name, claim) in running {
        if claim.await.is_err() {
            broken.push(*name);
        }
    }
    assert!(broken.is_empty(), "these claims do not hold: {broken:#?}");
}

/// How long anything may take that is expected to happen.
const DEADLINE: Duration = Duration::from_secs(20);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(value) = tokio::time::timeout(DEADLINE, future).await else {
        panic!("{what} did not happen within {DEADLINE:?}");
    };
    value
}

fn put(key: &str, value: &str) -> Op {
    Op::Put { key: key.to_owned(), value: Bytes::copy_from_slice(value.as_bytes()), lease: None }
}

fn delete(key: &str) -> Op {
    Op::Delete { key: key.to_owned() }
}

fn txn(ops: impl IntoIterator<Item = Op>) -> Txn {
    Txn { compares: Vec::new(), ops: ops.into_iter().collect() }
}

/// Commits operations that have no conditions.
async fn commit(meta: &dyn Meta, ops: impl IntoIterator<Item = Op>) -> Revision {
    meta.txn(txn(ops)).await.unwrap().committed().expect("a transaction without conditions commits")
}

async fn value(meta: &dyn Meta, key: &str) -> Option<String> {
    meta.get(key).await.unwrap().map(|entry| text(&entry))
}

fn text(entry: &Entry) -> String {
    String::from_utf8(entry.value.to_vec()).unwrap()
}

async fn assert_conflict(meta: &dyn Meta, compare: Compare) {
    let attempt = Txn::new().when(compare.clone()).op(put("conflict/loser", "x"));
    assert!(matches!(meta.txn(attempt).await.unwrap(), TxnOutcome::Conflict(_)), "{compare:?}");
}
