use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

async fn request(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn fetch(address: SocketAddr, path: &str) -> String {
    request(address, &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await
}

async fn start(supervisor: &Supervisor, readiness: &Readiness) -> SocketAddr {
    let routes = routes(Metrics::of_process(), readiness.clone(), supervisor);
    serve(supervisor, "127.0.0.1:0".parse().unwrap(), routes).await.unwrap()
}

#[tokio::test]
async fn health_and_metrics_are_served_until_shutdown() {
    let (supervisor, readiness) = (Supervisor::new(), Readiness::default());
    let address = start(&supervisor, &readiness).await;
    assert!(fetch(address, "/livez").await.starts_with("HTTP/1.1 200"));
    assert!(fetch(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    readiness.not_ready("store", "recovering");
    let answer = fetch(address, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("store: recovering\n"), "{answer}");
    readiness.ready("store");
    assert!(fetch(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    readiness.require("lease", || Some("it has ended".to_owned()));
    assert!(fetch(address, "/readyz").await.ends_with("lease: it has ended\n"));
    readiness.require("lease", || None);
    assert!(fetch(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(fetch(address, "/metrics").await.contains("tidelog_process_resident_bytes"));
    assert!(fetch(address, "/nothing").await.starts_with("HTTP/1.1 404"));
    assert!(!request(address, "\x16\x03\x01 not http\r\n\r\n").await.contains("200"));

    // An idle connection does not hold up the end.
    let _idle = TcpStream::connect(address).await.unwrap();
    assert_eq!(supervisor.shut_down(Duration::from_secs(10)).await, Ok(()));
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_process_is_healthy_until_a_task_of_it_has_failed() {
    let supervisor = Supervisor::new();
    let address = start(&supervisor, &Readiness::default()).await;
    assert!(fetch(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    supervisor.fail("journal", "the disk is gone");
    for path in ["/healthz", "/livez"] {
        let answer = fetch(address, path).await;
        assert!(
            answer.starts_with("HTTP/1.1 503") && answer.ends_with("journal: the disk is gone\n"),
            "{answer}"
        );
    }
    supervisor.shut_down(Duration::from_secs(10)).await.unwrap();
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let supervisor = Supervisor::new();
    let address = start(&supervisor, &Readiness::default()).await;
    let error = serve(&supervisor, address, Router::new()).await.unwrap_err();
    assert!(matches!(error, HttpError::InUse { address: named } if named == address), "{error}");
    supervisor.shut_down(Duration::from_secs(10)).await.unwrap();
}
