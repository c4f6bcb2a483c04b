use tidelog_model::FrontendId;

use super::*;
use crate::conformance::{Faulty, TxnFault};
use crate::{Creation, Embedded, Frontend, Meta as _, TypedMeta as _, keys};

/// Reached only by a test that fails.
const DEADLINE: Duration = Duration::from_secs(20);

fn id() -> FrontendId {
    FrontendId::from_bytes([7; 16])
}

struct Scene {
    meta: Arc<Faulty>,
    _directory: tempfile::TempDir,
}

fn scene() -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let meta = Embedded::open(directory.path(), Creation::IfMissing).unwrap();
    Scene { meta: Arc::new(Faulty::new(Arc::new(meta))), _directory: directory }
}

fn frontend(address: &str) -> Frontend {
    let (address, http) = (address.to_owned(), "127.0.0.1:9444".to_owned());
    Frontend { address, http, rack: None, software: "tests".to_owned() }
}

impl Scene {
    fn register(&self, ttl: Duration) -> Registration<Frontend> {
        let (registration, task) =
            register(Arc::clone(&self.meta) as SharedMeta, ttl, keys::frontend(id()), frontend("a:1"));
        tokio::spawn(task);
        registration
    }

    async fn address(&self) -> Option<String> {
        Some(self.meta.read(&keys::frontend(id())).await.unwrap()?.value.address)
    }

    /// Waits until the key holds this address, or is gone.
    async fn until(&self, address: Option<&str>) {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        let waiting = async {
            while self.address().await.as_deref() != address {
                tick.tick().await;
            }
        };
        within(waiting).await;
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("nothing happened within the deadline")
}

/// The lease, once there is one that is none of these.
async fn leased(registration: &Registration<Frontend>, other_than: Option<LeaseId>) -> LeaseId {
    let mut lease = registration.lease();
    let found = within(lease.wait_for(|lease| lease.is_some() && *lease != other_than)).await.unwrap();
    found.expect("it was waited for")
}

#[tokio::test]
async fn a_key_is_there_until_its_registration_ends() {
    let scene = scene();
    let registration = scene.register(Duration::from_mins(1));
    leased(&registration, None).await;
    assert!(registration.is_held());
    assert_eq!(scene.address().await.as_deref(), Some("a:1"));
    registration.replace(|known| Frontend { address: "b:2".to_owned(), ..known.clone() });
    scene.until(Some("b:2")).await;
    within(registration.end()).await;
    assert_eq!((scene.address().await, registration.is_held()), (None, false));
}

#[tokio::test]
async fn a_lost_lease_is_followed_by_another_with_the_newest_value() {
    let scene = scene();
    let registration = scene.register(Duration::from_secs(1));
    let first = leased(&registration, None).await;
    registration.replace(|known| Frontend { address: "b:2".to_owned(), ..known.clone() });
    scene.until(Some("b:2")).await;
    scene.meta.revoke(first).await.unwrap();
    assert_eq!(scene.address().await, None);
    let second = leased(&registration, Some(first)).await;
    assert_ne!(first, second);
    scene.until(Some("b:2")).await;
}

#[tokio::test]
async fn answers_that_are_lost_and_refusals_are_tried_again() {
    let scene = scene();
    scene.meta.fail_txns([TxnFault::Refuse, TxnFault::LoseRequest, TxnFault::LoseAnswer]);
    let registration = scene.register(Duration::from_mins(1));
    leased(&registration, None).await;
    assert_eq!(scene.address().await.as_deref(), Some("a:1"));
}

#[tokio::test]
async fn a_key_whose_handle_is_dropped_goes() {
    let scene = scene();
    let registration = scene.register(Duration::from_mins(1));
    leased(&registration, None).await;
    drop(registration);
    scene.until(None).await;
}

#[tokio::test]
async fn a_key_whose_conditions_hold_no_more_is_not_put_again() {
    let scene = scene();
    let condition = keys::topic_name(&tidelog_model::TopicName::new("condition").unwrap());
    let owner = |n: u8| crate::TopicNameOwner { topic: tidelog_model::TopicId::from_bytes([n; 16]) };
    let put = scene.meta.txn(Txn::new().put(&condition, &owner(1))).await.unwrap().committed().unwrap();
    let conditions = vec![Compare::ModRevision { key: condition.to_string(), revision: put }];
    let register = || {
        let meta = Arc::clone(&scene.meta) as SharedMeta;
        let key = keys::frontend(id());
        register_while(meta, Duration::from_mins(1), key, frontend("a:1"), conditions.clone())
    };
    let (registration, task) = register();
    let task = tokio::spawn(task);
    leased(&registration, None).await;
    // A later put finds the conditions changed: it puts nothing, and the key goes with its lease.
    let _ = scene.meta.txn(Txn::new().put(&condition, &owner(2))).await.unwrap();
    registration.replace(|known| Frontend { address: "b:2".to_owned(), ..known.clone() });
    let superseded = within(task).await.unwrap().unwrap_err();
    assert_eq!(superseded.key, keys::frontend(id()).to_string());
    assert_eq!((scene.address().await, registration.is_held()), (None, false));
    // Another start of the same finds no place at all.
    let (_registration, task) = register();
    assert!(within(task).await.is_err());
    assert_eq!(scene.address().await, None);
}
