//! Against a server that answers as told: what statuses and broken connections become, and that
//! requests are tried again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;

/// Answers each request with the next of its answers, and the last one for ever.
struct Server {
    endpoint: String,
    requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(answers: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let answers: Vec<String> = answers.iter().map(|&answer| answer.to_owned()).collect();
        let seen = requests.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = seen.lock().len();
                let request = answer(stream, &answers[number.min(answers.len() - 1)]).await;
                seen.lock().push(request);
            }
        });
        Self { endpoint, requests, task }
    }

    async fn bucket(&self, retries: usize) -> Bucket {
        let options = BucketOptions {
            endpoint: Some(self.endpoint.clone()),
            region: Some("test".to_owned()),
            anonymous: true,
            retries,
            retry_backoff: Duration::from_millis(1),
            request_timeout: Duration::from_secs(10),
            ..BucketOptions::default()
        };
        Bucket::open("s3://bucket/prefix", &options).await.unwrap()
    }
}

async fn answer(mut stream: TcpStream, answer: &str) -> String {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await.unwrap();
        request.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            break;
        }
    }
    stream.write_all(answer.as_bytes()).await.unwrap();
    String::from_utf8_lossy(&request).into_owned()
}

fn status(line: &str, body: &str) -> String {
    format!("HTTP/1.1 {line}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn range(range: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 206 Partial Content\r\ncontent-length: {}\r\ncontent-range: bytes {range}\r\netag: \"e\"\r\n\
         last-modified: Mon, 02 Jan 2023 03:04:05 GMT\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn statuses_become_errors_that_say_what_the_server_said() {
    let document = "<Error><Code>AccessDenied</Code><Message>No way.</Message></Error>";
    let server = Server::start(&[&status("403 Forbidden", document)]).await;
    let error = server.bucket(0).await.get_range("key", 0..4).await.unwrap_err();
    assert!(matches!(error, BucketError::Denied(_)), "{error:?}");
    assert_eq!(error.to_string(), "cannot read key: not authorised: AccessDenied: No way.");

    let server = Server::start(&[&status("404 Not Found", "<Error><Code>NoSuchBucket</Code></Error>")]).await;
    let error = server.bucket(0).await.put("key", Bytes::from_static(b"x")).await.unwrap_err();
    assert!(matches!(error, BucketError::NoBucket(_)), "{error:?}");

    let server = Server::start(&[&status("503 Slow Down", "<Error><Code>SlowDown</Code></Error>")]).await;
    let error = server.bucket(2).await.get_range("key", 0..4).await.unwrap_err();
    assert!(matches!(error, BucketError::Throttled(_)), "{error:?}");
    assert_eq!(server.requests.lock().len(), 3, "one attempt and two more");

    let server = Server::start(&[&status("301 Moved Permanently", "")]).await;
    let error = server.bucket(0).await.get_range("key", 0..4).await.unwrap_err();
    assert!(matches!(error, BucketError::Invalid(_)), "{error:?}");
}

#[tokio::test]
async fn a_throttled_request_is_tried_again() {
    let slow = status("503 Slow Down", "");
    let server = Server::start(&[&slow, &slow, &range("0-3/10", "data")]).await;
    assert_eq!(server.bucket(5).await.get_range("key", 0..4).await.unwrap(), "data");
    let requests = server.requests.lock();
    assert_eq!(requests.len(), 3);
    assert!(requests[2].starts_with("GET /bucket/prefix/key "), "{}", requests[2]);
}

#[tokio::test]
async fn another_range_than_asked_for_is_refused() {
    for answer in [range("1-4/10", "data"), status("200 OK", "0123456789")] {
        let server = Server::start(&[&answer]).await;
        let error = server.bucket(0).await.get_range("key", 0..4).await.unwrap_err();
        assert!(matches!(error, BucketError::Corrupt(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_continued_where_it_broke() {
    let cut = range("0-9/10", "0123456789").replace("\r\n\r\n0123456789", "\r\n\r\n01234");
    let server = Server::start(&[&cut, &range("5-9/10", "56789")]).await;
    assert_eq!(server.bucket(3).await.get_range("key", 0..10).await.unwrap(), "0123456789");

    let server = Server::start(&[&cut]).await;
    let error = server.bucket(0).await.get_range("key", 0..10).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let options = BucketOptions {
        endpoint: Some(endpoint),
        region: Some("test".to_owned()),
        anonymous: true,
        retries: 1,
        retry_backoff: Duration::from_millis(1),
        ..BucketOptions::default()
    };
    let error = Bucket::open("s3://bucket", &options).await.unwrap().probe().await.unwrap_err();
    assert!(matches!(error.source, BucketError::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn writes_carry_a_checksum_for_the_server_to_verify() {
    let server =
        Server::start(&[&status("200 OK", "").replace("connection", "etag: \"e\"\r\nconnection")]).await;
    server.bucket(0).await.put("key", Bytes::from_static(b"hello")).await.unwrap();
    let requests = server.requests.lock();
    assert!(requests[0].to_lowercase().contains("x-amz-checksum-crc64nvme: "), "{}", requests[0]);
    assert!(requests[0].to_lowercase().contains("user-agent: tidelog/"), "{}", requests[0]);
}
