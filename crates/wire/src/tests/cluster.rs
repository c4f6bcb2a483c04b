//! The internal port: members of the cluster, and nobody else.

use std::time::Duration;

use tokio::time::timeout;

use super::{Server, within};
use crate::{
    Authority, CertificateRequest, CertificateUse, ClusterFiles, ClusterTls, ConnectOptions, Connection,
    Credentials, Identity, IdentityError, Port, TransportChoice, Trust, WireError, connect,
};

fn request(name: &str, usage: CertificateUse) -> CertificateRequest {
    let hosts = if usage == CertificateUse::Listener { vec!["localhost".to_owned()] } else { Vec::new() };
    CertificateRequest { name: name.to_owned(), hosts, usage, valid_days: 30 }
}

fn authority() -> Authority {
    Authority::create("test cluster", 30).unwrap()
}

fn member(authority: &Authority) -> ClusterTls {
    let identity = authority.issue(&request("store-1", CertificateUse::Member)).unwrap();
    ClusterTls::new(identity, authority.certificate_pem()).unwrap()
}

fn internal(member: &ClusterTls) -> Server {
    Server::with(|config| config.port = Port::Cluster(member.clone()))
}

fn options(server: &Server, trust: Trust) -> ConnectOptions {
    let mut options = ConnectOptions::new(server.listener.local_addr().to_string(), trust);
    options.transport = TransportChoice::Tcp;
    options
}

async fn pair(server: &mut Server, trust: Trust) -> (Connection, Connection) {
    let options = options(server, trust);
    let (client, accepted) = tokio::join!(connect(&options), within(server.listener.accept()));
    (client.unwrap(), accepted.unwrap())
}

/// It cannot connect, and the server hands nobody over.
async fn assert_refused(server: &mut Server, trust: Trust) -> WireError {
    let options = options(server, trust);
    let error = within(connect(&options)).await.unwrap_err();
    let accepted = timeout(Duration::from_millis(20), server.listener.accept()).await;
    assert!(accepted.is_err(), "a stranger was let in");
    error
}

#[tokio::test]
async fn members_of_one_cluster_speak_to_each_other() {
    let authority = authority();
    let mut server = internal(&member(&authority));
    let (client, accepted) = pair(&mut server, Trust::Cluster(member(&authority))).await;
    let (_ours, mut theirs) = super::streams(&client, &accepted, super::lifecycle::request).await;
    within(theirs.recv.expect()).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn strangers_are_refused() {
    let (ours, theirs) = (authority(), authority());
    let mut server = internal(&member(&ours));
    let other_cluster = assert_refused(&mut server, Trust::Cluster(member(&theirs))).await;
    assert!(matches!(other_cluster, WireError::Tls { .. }), "{other_cluster}");
    assert_refused(&mut server, Trust::Insecure).await;
    assert_refused(&mut server, Trust::Authorities(ours.certificate_pem().to_owned())).await;
    server.stop().await;
}

#[tokio::test]
async fn a_member_does_not_take_a_port_for_clients_for_a_peer() {
    let authority = authority();
    let mut server = Server::start();
    assert_refused(&mut server, Trust::Cluster(member(&authority))).await;
    server.stop().await;
}

#[test]
fn a_listeners_certificate_makes_no_member() {
    let authority = authority();
    let listener = authority.issue(&request("frontend-1", CertificateUse::Listener)).unwrap();
    let error = ClusterTls::new(listener, authority.certificate_pem()).unwrap_err();
    assert!(matches!(error, IdentityError::Unusable(_)), "{error}");
    let mut disguised = request("x", CertificateUse::Listener);
    disguised.hosts.push(crate::MEMBER_NAME.to_uppercase());
    assert!(authority.issue(&disguised).is_err());
}

#[test]
fn an_expired_certificate_is_refused_where_it_would_be_shown() {
    let authority = authority();
    let an_hour_ago = time::OffsetDateTime::now_utc() - time::Duration::hours(1);
    let identity = authority.issue_until(&request("store-1", CertificateUse::Member), an_hour_ago).unwrap();
    let error = ClusterTls::new(identity, authority.certificate_pem()).unwrap_err();
    assert!(error.to_string().to_lowercase().contains("expired"), "{error}");
}

#[tokio::test]
async fn certificates_change_while_connections_stay() {
    let (old, new) = (authority(), authority());
    let (server_member, client_member) = (member(&old), member(&old));
    let mut server = internal(&server_member);
    let (client, accepted) = pair(&mut server, Trust::Cluster(client_member.clone())).await;

    // Both believe both authorities while certificates move from the old one to the new one.
    let both = format!("{}{}", old.certificate_pem(), new.certificate_pem());
    let next = || new.issue(&request("store-1", CertificateUse::Member)).unwrap();
    client_member.replace(old.issue(&request("s", CertificateUse::Member)).unwrap(), &both).unwrap();
    server_member.replace(next(), &both).unwrap();
    let (again, _accepted_again) = pair(&mut server, Trust::Cluster(client_member.clone())).await;
    client_member.replace(next(), new.certificate_pem()).unwrap();
    server_member.replace(next(), new.certificate_pem()).unwrap();
    let (_third, _accepted_third) = pair(&mut server, Trust::Cluster(client_member)).await;

    assert_refused(&mut server, Trust::Cluster(member(&old))).await;
    assert!(!again.is_closed() && !client.is_closed());
    let (_ours, mut theirs) = super::streams(&client, &accepted, super::lifecycle::request).await;
    within(theirs.recv.expect()).await.unwrap();
    server.stop().await;
}

#[test]
fn files_are_read_again_and_bad_ones_change_nothing() {
    let authority = authority();
    let dir = tempfile::tempdir().unwrap();
    let files = ClusterFiles {
        authorities: dir.path().join("ca.pem"),
        certificate: dir.path().join("store.pem"),
        key: dir.path().join("store.key"),
    };
    let write = |identity: &Identity| {
        std::fs::write(&files.authorities, authority.certificate_pem()).unwrap();
        std::fs::write(&files.certificate, identity.certificate_pem()).unwrap();
        std::fs::write(&files.key, identity.key_pem()).unwrap();
    };
    let issue = || authority.issue(&request("store-1", CertificateUse::Member)).unwrap();
    write(&issue());
    let member = ClusterTls::from_files(&files).unwrap();
    assert!(!member.reload(&files).unwrap());
    write(&issue());
    assert!(member.reload(&files).unwrap());
    // The key was replaced and the certificate not yet.
    std::fs::write(&files.key, issue().key_pem()).unwrap();
    assert!(member.reload(&files).is_err());
    write(&issue());
    assert!(member.reload(&files).unwrap());
}

#[tokio::test]
async fn clients_see_a_new_certificate_without_a_restart() {
    let first = Identity::self_signed(&["localhost".to_owned()]).unwrap();
    let next = Identity::self_signed(&["localhost".to_owned()]).unwrap();
    let credentials = Credentials::new(first.clone()).unwrap();
    let mut server = Server::with(|config| config.port = Port::Clients(credentials.clone()));
    let old = Trust::Pinned(first.fingerprint());
    credentials.replace(next.clone()).unwrap();
    for transport in super::BOTH {
        let mut options = options(&server, Trust::Pinned(next.fingerprint()));
        options.transport = transport;
        let (client, _accepted) = tokio::join!(connect(&options), within(server.listener.accept()));
        client.unwrap();
        options.trust = old.clone();
        within(connect(&options)).await.unwrap_err();
    }
    server.stop().await;
}

#[test]
fn an_authority_survives_its_files_and_hides_its_key() {
    let made = authority();
    let read = Authority::from_pem(made.certificate_pem(), made.key_pem()).unwrap();
    ClusterTls::new(read.issue(&request("s", CertificateUse::Member)).unwrap(), made.certificate_pem())
        .unwrap();
    assert!(!format!("{read:?}").contains("PRIVATE"));
    let other = authority();
    assert!(matches!(Authority::from_pem("", other.key_pem()), Err(IdentityError::Unusable(_))));
}
