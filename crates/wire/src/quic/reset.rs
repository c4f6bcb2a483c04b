//! How the clients of a server that was restarted learn that their connections are gone.
//!
//! A server answers packets of a connection that it does not know with a stateless reset, which the
//! client believes when it carries the token that came with the connection id. Tokens are derived from
//! a key; the key is derived from the server's identity, which outlives the process. Without it a
//! client notices a restart only when its idle timeout is over.

use std::sync::Arc;

use aws_lc_rs::{hmac, rand};
use quinn::{ConnectionId, ConnectionIdGenerator, EndpointConfig};

use crate::tls::Identity;

const CONNECTION_ID_BYTES: usize = 8;

/// Makes the resets of this process valid for the connections of its earlier lives.
pub(super) fn outlive_restarts(config: &mut EndpointConfig, identity: &Identity) {
    let secret = identity.derive(b"tidelog stateless reset");
    config.reset_key(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &secret)));
    config.cid_generator(|| Box::new(RandomIds));
}

/// Ids without a mark of the process that gave them: a packet of an unknown connection must be answered.
#[derive(Debug)]
struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; CONNECTION_ID_BYTES];
        rand::fill(&mut id).expect("the system's randomness");
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}
