use tidelog_meta::{Presence, Txn};

use super::*;

async fn live(site: &Site) -> Option<(u64, bool)> {
    let live = site.meta.read(&keys::live(NodeId(1))).await.unwrap()?.value;
    Some((live.boot, live.draining))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_registered_from_joining_to_closing() {
    let site = Site::new();
    let running = site.open().await;
    assert_eq!(live(&site).await, None, "nobody is sent to a store that does not listen yet");
    within(running.store.join("127.0.0.1:1".to_owned())).await.unwrap();
    assert_eq!(live(&site).await, Some((1, false)));
    until("the lease is told", || running.store.lease().borrow().is_some()).await;
    running.store.drain();
    until("it drains", || running.store.mirror().image().live(NodeId(1)).is_some_and(|live| live.draining))
        .await;
    running.stop().await;
    assert_eq!(live(&site).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_ends_what_is_led_and_another_is_held() {
    let site = Site::new();
    let running = site.open().await;
    within(running.store.join("127.0.0.1:1".to_owned())).await.unwrap();
    site.put_topic(topic(1), &topic_record("t", 1)).await;
    site.put_partition(id(1, 0), &running.led(1, &[])).await;
    running.until_leads(id(1, 0), 1).await;

    let first = { *within(running.store.lease().wait_for(Option::is_some)).await.unwrap() }.unwrap();
    site.meta.revoke(first).await.unwrap();
    let second = {
        let mut lease = running.store.lease();
        *within(lease.wait_for(|lease| lease.is_some_and(|lease| lease != first))).await.unwrap()
    };
    assert!(second.is_some());
    assert_eq!(live(&site).await, Some((1, false)));
    // It gave the leadership up before it said that it holds another lease, and does not resume it.
    assert_eq!(running.role(id(1, 0)), Some(Role::Waiting));
    assert_eq!(running.store.control.resigned.list(), [(id(1, 0), LeaderEpoch(1))]);
    site.put_partition(id(1, 0), &running.led(2, &[])).await;
    running.until_leads(id(1, 0), 2).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_with_one_id_the_older_one_ends_and_never_registers_again() {
    let site = Site::new();
    let older = site.open().await;
    within(older.store.join("127.0.0.1:1".to_owned())).await.unwrap();
    site.put_topic(topic(1), &topic_record("t", 1)).await;
    site.put_partition(id(1, 0), &older.led(1, &[])).await;
    older.until_leads(id(1, 0), 1).await;

    let copy = site.copied();
    let newer = site.try_open(copy.path()).await.unwrap();
    let fatal = within(older.supervisor.fatal()).await;
    assert!(fatal.reason.contains("two processes run as one node"), "{fatal}");
    assert_eq!(older.role(id(1, 0)), Some(Role::Waiting), "it leads nothing any more");
    within(newer.store.join("127.0.0.1:2".to_owned())).await.unwrap();
    assert_eq!(live(&site).await, Some((2, false)));
    // Whatever the older one still puts, it puts no more.
    older.store.drain();
    until("the older one's registration is over", || older.store.lease().borrow().is_none()).await;
    assert_eq!(live(&site).await, Some((2, false)));
    newer.stop().await;
    older.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_place_was_taken_before_it_joined_is_refused() {
    let site = Site::new();
    let older = site.open().await;
    let copy = site.copied();
    let newer = site.try_open(copy.path()).await.unwrap();
    within(newer.store.join("127.0.0.1:2".to_owned())).await.unwrap();
    let refused = within(older.store.join("127.0.0.1:1".to_owned())).await.unwrap_err();
    assert!(matches!(refused, IdentityError::Replaced { boot: 1, found_boot: 2, .. }), "{refused}");
    assert_eq!(live(&site).await, Some((2, false)));
    newer.stop().await;
    older.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_taken_out_of_the_metadata_ends() {
    let site = Site::new();
    let running = site.open().await;
    within(running.store.join("127.0.0.1:1".to_owned())).await.unwrap();
    let shown = running.store.mirror().image().nodes[&NodeId(1)].presence.clone();
    assert!(matches!(shown, Presence::Live(_) | Presence::Absent), "{shown:?}");
    site.put(Txn::new().delete(&keys::node(NodeId(1)))).await;
    let fatal = within(running.supervisor.fatal()).await;
    assert!(fatal.reason.contains("taken out of the metadata store"), "{fatal}");
    running.store.close().await;
}
