//! The one place where errors become what travels.

use tidelog_model::{ErrorCode, Offset};
use tidelog_peer::StoreError;
use tidelog_proto::v1;

pub(crate) use tidelog_wire::error_message as of;

pub(crate) fn of_store(error: StoreError) -> v1::Error {
    of(error.code, error.message)
}

pub(crate) fn out_of_range(wanted: Offset, log_start: Offset, high_watermark: Offset) -> v1::Error {
    let message =
        format!("offset {wanted} is out of range: the partition has {log_start} to {high_watermark}");
    let bounds = v1::OffsetBounds { log_start: log_start.0, high_watermark: high_watermark.0 };
    v1::Error { detail: Some(v1::error::Detail::Offsets(bounds)), ..of(ErrorCode::OffsetOutOfRange, message) }
}

pub(crate) fn shutting_down() -> v1::Error {
    of(ErrorCode::ShuttingDown, ErrorCode::ShuttingDown.to_string())
}
