//! `pointer/{topic}/{number}`: which manifest root in the bucket is a partition's current one, in the
//! bytes that the bucket's format defines.

use bytes::Bytes;
use tidelog_format::pointer::Pointer;

use super::{Value, ValueError};

impl Value for Pointer {
    const KIND: &'static str = "cold pointer";

    fn encode(&self) -> Bytes {
        Self::encode(self)
    }

    fn decode(bytes: &[u8]) -> Result<Self, ValueError> {
        Self::decode(bytes).map_err(|error| ValueError::damaged(<Self as Value>::KIND, error))
    }
}
