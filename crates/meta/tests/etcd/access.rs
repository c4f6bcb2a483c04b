//! Users, permissions, certificates.

use std::path::PathBuf;
use std::time::Duration;

use etcd_client::{Client, Permission};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tidelog_e2e::{EtcdOptions as ServerOptions, Workspace};
use tidelog_meta::etcd::{Credentials, Password, TlsFiles};
use tidelog_meta::{Etcd, EtcdOptions, Meta as _, MetaError, Revision, WatchError, election};

use crate::support::{Scene, commit, pass, put, scene, scene_with, soon, text, txn};

const ROOT: &str = "a password for root";
const USER: &str = "a password for tidelog";

/// Makes users: `root`, and `tidelog` who may do everything below `mine/` and nothing else.
async fn enable_users(scene: &Scene) {
    let mut raw = scene.raw().await;
    raw.user_add("root", ROOT, None).await.unwrap();
    raw.role_add("root").await.unwrap();
    raw.user_grant_role("root", "root").await.unwrap();
    raw.user_add("tidelog", USER, None).await.unwrap();
    raw.role_add("tidelog").await.unwrap();
    let all_below = Permission::read_write("mine/").with_prefix();
    raw.role_grant_permission("tidelog", all_below).await.unwrap();
    raw.user_grant_role("tidelog", "tidelog").await.unwrap();
    raw.auth_enable().await.unwrap();
}

fn as_user(options: EtcdOptions, password: &str) -> EtcdOptions {
    let credentials = Credentials { user: "tidelog".to_owned(), password: Password::new(password) };
    EtcdOptions { credentials: Some(credentials), ..options }
}

async fn refusal(options: EtcdOptions) -> MetaError {
    let error = Etcd::open(options).await.unwrap_err();
    assert!(!error.is_retryable() && error.has_no_side_effects(), "{error:?}");
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_and_permissions_are_obeyed_and_refusals_are_final() {
    let scene = scene(1);
    // Before etcd asks for users, having one does no harm.
    let early = Etcd::open(as_user(scene.options("mine"), USER)).await.unwrap();
    commit(&early, put("k", "early")).await;
    enable_users(&scene).await;

    let wrong = refusal(as_user(scene.options("mine"), "wrong")).await;
    assert!(matches!(&wrong, MetaError::Unauthenticated(_)), "{wrong:?}");
    assert!(!wrong.to_string().contains("wrong\""), "{wrong}");
    let nobody = refusal(scene.options("mine")).await;
    assert!(matches!(&nobody, MetaError::Unauthenticated(_)), "{nobody:?}");
    let elsewhere = refusal(as_user(scene.options("theirs"), USER)).await;
    assert!(matches!(&elsewhere, MetaError::Denied(_)), "{elsewhere:?}");

    assert_eq!(soon("a read", text(&early, "k")).await.as_deref(), Some("early"));
    let meta = Etcd::open(as_user(scene.options("mine"), USER)).await.unwrap();
    let revision = commit(&meta, put("k", "1")).await;
    let mut watch = meta.watch("", revision).await.unwrap();
    assert_eq!(soon("a change", watch.next()).await.unwrap().revision, revision);
    let lease = meta.grant(Duration::from_secs(5)).await.unwrap().id;
    election::campaign(&meta, "e", lease, "me".into()).await.unwrap();
    meta.keep_alive(lease).await.unwrap();
    meta.revoke(lease).await.unwrap();
    assert_eq!(meta.list("").await.unwrap().entries.len(), 1);

    // The right is taken away from one who is connected.
    let options = etcd_client::ConnectOptions::new().with_user("root", ROOT);
    let mut root = Client::connect(scene.server.endpoints(), Some(options)).await.unwrap();
    root.user_revoke_role("tidelog", "tidelog").await.unwrap();
    for denied in [meta.get("k").await.map(drop), meta.txn(txn(put("k", "2"))).await.map(drop)] {
        let denied = denied.unwrap_err();
        assert!(matches!(&denied, MetaError::Denied(_)), "{denied:?}");
        assert!(!denied.is_retryable() && denied.has_no_side_effects());
    }
    let mut watch = meta.watch("", Revision(1)).await.unwrap();
    let ended = soon("the refusal of the watch", watch.next()).await;
    assert!(matches!(ended, Err(WatchError::Failed(MetaError::Denied(_)))), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_expires_is_renewed_in_calls_and_watches() {
    let workspace = Workspace::new();
    let key = workspace.path().join("token.key");
    std::fs::write(&key, "a secret that only etcd knows, and not short").unwrap();
    let token = format!("--auth-token=jwt,sign-method=HS256,ttl=1s,priv-key={}", key.display());
    let scene = scene_with(&ServerOptions { arguments: vec![token], ..ServerOptions::default() });
    enable_users(&scene).await;
    let calls = Etcd::open(as_user(scene.options("mine"), USER)).await.unwrap();
    let watches = Etcd::open(as_user(scene.options("mine"), USER)).await.unwrap();
    let start = commit(&calls, put("k", "0")).await;
    pass(Duration::from_millis(2100)).await;
    // Each finds out by itself.
    let mut watch = watches.watch("k", start).await.unwrap();
    assert_eq!(soon("a change", watch.next()).await.unwrap().revision, start);
    let next = commit(&calls, put("k", "1")).await;
    assert_eq!(soon("a change", watch.next()).await.unwrap().revision, next);
}

/// An authority with a certificate for 127.0.0.1, in PEM files.
struct Authority {
    root: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

fn authority(workspace: &Workspace, name: &str) -> Authority {
    let file = |what: &str, text: String| {
        let path = workspace.path().join(format!("{name}-{what}.pem"));
        std::fs::write(&path, text).unwrap();
        path
    };
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = Issuer::from_params(&params, &authority_key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    Authority {
        root: file("ca", authority.pem()),
        certificate: file("cert", certificate.pem()),
        key: file("key", key.serialize_pem()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_checked_both_ways() {
    let workspace = Workspace::new();
    let (ours, others) = (authority(&workspace, "ours"), authority(&workspace, "others"));
    let tls = Some((ours.root.clone(), ours.certificate.clone(), ours.key.clone()));
    let scene = scene_with(&ServerOptions { tls, ..ServerOptions::default() });
    let with = |authority: &Authority, identity: Option<&Authority>| {
        let identity = identity.map(|a| (a.certificate.clone(), a.key.clone()));
        let files = TlsFiles { authorities: Some(authority.root.clone()), identity };
        EtcdOptions { tls: Some(files), ..scene.options("a") }
    };
    let meta = Etcd::open(with(&ours, Some(&ours))).await.unwrap();
    commit(&meta, put("k", "1")).await;
    assert_eq!(text(&meta, "k").await.as_deref(), Some("1"));

    let missing = Authority { root: workspace.path().join("nowhere"), ..authority(&workspace, "third") };
    let empty = Authority { root: ours.key.clone(), ..authority(&workspace, "fourth") };
    for (options, says) in [
        (with(&others, Some(&ours)), "invalid peer certificate"),
        (with(&ours, None), "ertificate"),
        (with(&ours, Some(&others)), "ertificate"),
        (with(&missing, Some(&ours)), "nowhere"),
        (with(&empty, Some(&ours)), "no certificate"),
        (EtcdOptions { tls: Some(TlsFiles::default()), ..scene.options("a") }, ""),
    ] {
        let error = refusal(options).await;
        assert!(matches!(&error, MetaError::Untrusted(_)), "{error:?}");
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_speaks_something_else_is_named() {
    let workspace = Workspace::new();
    let ours = authority(&workspace, "ours");
    let tls = Some((ours.root.clone(), ours.certificate.clone(), ours.key.clone()));
    let (plain, secret) = (scene(1), scene_with(&ServerOptions { tls, ..ServerOptions::default() }));
    let files = TlsFiles { authorities: Some(ours.root), identity: None };
    for options in [
        EtcdOptions { tls: Some(files), ..plain.options("a") },
        EtcdOptions { tls: None, ..secret.options("a") },
    ] {
        let options = EtcdOptions { timeout: Duration::from_secs(1), ..options };
        let endpoint = options.endpoints[0].clone();
        // It cannot be told from one that is just being restarted.
        let error = Etcd::open(options).await.unwrap_err();
        assert!(error.is_retryable() && error.to_string().contains(&endpoint), "{error:?}");
    }
}
