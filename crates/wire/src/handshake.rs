//! Hello and its reply: who speaks, in which version, within which limits.

use bytes::Bytes;
use tidelog_model::{ErrorCode, SharedClock};
use tidelog_proto::{VERSION_MAX, VERSION_MIN, v1};

use crate::error::error_message;
use crate::limits::NAME_BYTES_MAX;
use crate::{Frame, FrameKind, Stream, WireError};

/// What a server says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub software: String,
    pub cluster_id: Bytes,
    pub limits: v1::Limits,
    pub clock: SharedClock,
}

/// What a client says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Introduction {
    pub client_id: String,
    pub software: String,
}

/// A hello that was accepted.
#[derive(Clone, Debug)]
pub(crate) struct Greeted {
    pub version: u32,
    pub client_id: String,
    pub software: String,
}

/// The highest version that both speak.
fn common_version(min: u32, max: u32) -> Option<u32> {
    let version = max.min(VERSION_MAX);
    (version >= min.max(VERSION_MIN)).then_some(version)
}

/// Judges a client's hello.
pub(crate) fn judge(frame: &Frame) -> Result<Greeted, v1::Error> {
    let hello: v1::Hello = frame.decode(FrameKind::Hello).map_err(|error| error.to_error_frame())?;
    let Some(version) = common_version(hello.version_min, hello.version_max) else {
        return Err(refusal(
            ErrorCode::UnsupportedVersion,
            format!(
                "the client speaks protocol versions {} to {}, this server {VERSION_MIN} to {VERSION_MAX}",
                hello.version_min, hello.version_max
            ),
            Some(v1::error::Detail::Versions(v1::VersionRange { min: VERSION_MIN, max: VERSION_MAX })),
        ));
    };
    if hello.client_id.len() > NAME_BYTES_MAX || hello.software.len() > NAME_BYTES_MAX {
        let message = format!("client id and software name have at most {NAME_BYTES_MAX} bytes");
        return Err(refusal(ErrorCode::InvalidRequest, message, None));
    }
    Ok(Greeted { version, client_id: hello.client_id, software: hello.software })
}

/// Sends the reply that opens the connection.
pub(crate) async fn welcome(
    stream: &mut Stream,
    offer: &Offer,
    version: u32,
    session_token: Bytes,
) -> Result<(), WireError> {
    let reply = v1::HelloReply {
        version,
        session_token,
        cluster_id: offer.cluster_id.clone(),
        software: offer.software.clone(),
        features: Vec::new(),
        limits: Some(offer.limits),
        server_time_ms: offer.clock.now().0,
    };
    stream.send.send(FrameKind::HelloReply, &reply, &[]).await
}

/// The client's side: says hello, waits for the reply.
pub(crate) async fn introduce(
    stream: &mut Stream,
    introduction: &Introduction,
) -> Result<v1::HelloReply, WireError> {
    let hello = v1::Hello {
        version_min: VERSION_MIN,
        version_max: VERSION_MAX,
        client_id: introduction.client_id.clone(),
        software: introduction.software.clone(),
        features: Vec::new(),
        credentials: Some(v1::hello::Credentials::Anonymous(v1::hello::Anonymous {})),
    };
    stream.send.send(FrameKind::Hello, &hello, &[]).await?;
    let reply: v1::HelloReply = stream.recv.expect().await?.decode(FrameKind::HelloReply)?;
    match common_version(reply.version, reply.version) {
        Some(_) => Ok(reply),
        None => Err(WireError::Version { min: reply.version, max: reply.version }),
    }
}

pub(crate) fn refusal(code: ErrorCode, message: String, detail: Option<v1::error::Detail>) -> v1::Error {
    v1::Error { detail, ..error_message(code, message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_is_chosen() {
        assert_eq!(common_version(1, 1), Some(1));
        assert_eq!(common_version(0, 9), Some(VERSION_MAX));
        assert_eq!(common_version(2, 9), None);
        assert_eq!(common_version(0, 0), None);
    }
}
