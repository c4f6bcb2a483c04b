//! What went wrong with a call to etcd, in the one respect that matters: may it have had an effect, and is
//! there a point in trying again.

use std::error::Error as StdError;

use etcd_client::Error;
use tonic::{Code, ConnectError, Status};

use crate::MetaError;

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It will be refused every time.
    Refused(MetaError),
    /// The lease that it needs has ended.
    NoLease,
    /// The revision that it reads at is gone.
    Compacted,
    /// The answer is larger than what is taken.
    TooLarge(String),
    /// It had no effect. The member works, and is overloaded or full.
    Busy(String),
    /// It had no effect. Another member, or the same one over a new connection, may do it.
    NotDone(String),
    /// It was sent, and there is no telling what became of it.
    Lost(String),
}

impl Fault {
    pub(super) fn of(error: Error) -> Self {
        match error {
            Error::GRpcStatus(status) => of_status(&status),
            Error::TransportError(error) => of_transport(&error),
            Error::LeaseKeepAliveError(reason) if reason == "lease not found" => Self::NoLease,
            Error::InvalidArgs(reason) => Self::Refused(MetaError::Invalid(reason)),
            error @ (Error::InvalidUri(_) | Error::InvalidMetadataValue(_)) => {
                Self::Refused(MetaError::Invalid(error.to_string()))
            }
            error => Self::Lost(error.to_string()),
        }
    }

    /// The connection is not worth keeping.
    pub(super) fn blames_connection(&self) -> bool {
        matches!(self, Self::NotDone(_) | Self::Lost(_))
    }

    /// There is a point in trying again, provided that the call may be made twice.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::NotDone(_) | Self::Lost(_))
    }

    pub(super) fn is_untrusted(&self) -> bool {
        matches!(self, Self::Refused(MetaError::Untrusted(_)))
    }

    pub(super) fn reason(self) -> String {
        match self {
            Self::Busy(reason) | Self::NotDone(reason) | Self::Lost(reason) => reason,
            other => other.into_error().to_string(),
        }
    }

    /// For calls that may be made twice.
    pub(super) fn into_error(self) -> MetaError {
        match self {
            Self::Refused(error) => error,
            Self::NoLease => MetaError::Failed("etcd knows no lease where none was named".to_owned()),
            Self::Compacted => MetaError::Unavailable("the revision was compacted".to_owned()),
            Self::TooLarge(reason) => MetaError::Failed(reason),
            Self::Busy(reason) | Self::NotDone(reason) | Self::Lost(reason) => MetaError::Unavailable(reason),
        }
    }
}

/// etcd's own words are matched where its codes are used for several things; they have not changed since
/// 3.0 (`api/v3rpc/rpctypes/error.go`).
fn of_status(status: &Status) -> Fault {
    let reason = status.message().to_owned();
    let refused = |error: fn(String) -> MetaError| Fault::Refused(error(reason.clone()));
    match (status.code(), status.message().trim_start_matches("etcdserver: ")) {
        (_, "requested lease not found") => Fault::NoLease,
        (_, "mvcc: required revision has been compacted") => Fault::Compacted,
        // Or the token has expired, or was made before users and roles changed.
        (
            _,
            "no leader" | "not capable" | "rpc not supported for learner" | "revision of auth store is old",
        )
        | (Code::Unauthenticated, _) => Fault::NotDone(reason),
        (_, "authentication failed, invalid user ID or password" | "user name is empty") => {
            refused(MetaError::Unauthenticated)
        }
        (Code::PermissionDenied, _) => refused(MetaError::Denied),
        (_, "too many requests" | "mvcc: database space exceeded") => Fault::Busy(reason),
        (Code::OutOfRange | Code::ResourceExhausted, message)
            if message.contains("message length too large") =>
        {
            Fault::TooLarge(reason)
        }
        (
            Code::InvalidArgument | Code::FailedPrecondition | Code::Unimplemented | Code::ResourceExhausted,
            _,
        ) => refused(MetaError::Invalid),
        _ => of_source(status).unwrap_or(Fault::Lost(reason)),
    }
}

/// What a connection that could not be made means.
pub(super) fn of_transport(error: &tonic::transport::Error) -> Fault {
    of_source(error).unwrap_or_else(|| Fault::NotDone(chain(error)))
}

/// Looks for a TLS error, or for one that says that nothing was sent.
fn of_source(error: &(dyn StdError + 'static)) -> Option<Fault> {
    let mut not_sent = false;
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(tls) = of_tls(cause) {
            return Some(Fault::Refused(MetaError::Untrusted(tls)));
        }
        not_sent |= cause.is::<ConnectError>();
        next = cause.source();
    }
    not_sent.then(|| Fault::NotDone(chain(error)))
}

pub(super) fn of_tls(cause: &(dyn StdError + 'static)) -> Option<String> {
    // An I/O error hides what it carries from `source`.
    let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    let tls = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
    tls.or_else(|| cause.downcast_ref()).map(ToString::to_string)
}

/// An error with all that it was caused by, in one line.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(code: Code, message: &str) -> Fault {
        Fault::of(Error::GRpcStatus(Status::new(code, message)))
    }

    #[test]
    fn only_what_etcd_certainly_did_not_do_is_called_undone() {
        for (code, message) in [
            (Code::Unavailable, "etcdserver: no leader"),
            (Code::Unauthenticated, "etcdserver: invalid auth token"),
            (Code::InvalidArgument, "etcdserver: revision of auth store is old"),
        ] {
            assert!(matches!(fault(code, message), Fault::NotDone(_)), "{message}");
        }
        for (code, message) in [
            (Code::Unavailable, "etcdserver: request timed out"),
            (Code::Unavailable, "etcdserver: request timed out, possibly due to previous leader failure"),
            (Code::Unavailable, "etcdserver: leader changed"),
            (Code::Unavailable, "etcdserver: server stopped"),
            (Code::DeadlineExceeded, ""),
            (Code::Cancelled, "etcdserver: request is cancelled"),
            (Code::Unknown, "transport error"),
            (Code::Internal, "stream closed"),
        ] {
            assert!(matches!(fault(code, message), Fault::Lost(_)), "{message}");
        }
    }

    #[test]
    fn what_repeating_does_not_change_is_refused() {
        let refused = |code, message| match fault(code, message) {
            Fault::Refused(error) => error,
            other => panic!("{message}: {other:?}"),
        };
        for error in [
            refused(Code::InvalidArgument, "etcdserver: authentication failed, invalid user ID or password"),
            refused(Code::InvalidArgument, "etcdserver: user name is empty"),
        ] {
            assert!(matches!(error, MetaError::Unauthenticated(_)));
            assert!(!error.is_retryable() && error.has_no_side_effects());
        }
        let denied = refused(Code::PermissionDenied, "etcdserver: permission denied");
        assert!(matches!(denied, MetaError::Denied(_)));
        let large = refused(Code::InvalidArgument, "etcdserver: request is too large");
        assert!(matches!(large, MetaError::Invalid(_)));
    }

    #[test]
    fn a_full_or_busy_etcd_is_asked_again_on_the_same_connection() {
        for message in ["etcdserver: mvcc: database space exceeded", "etcdserver: too many requests"] {
            let fault = fault(Code::ResourceExhausted, message);
            assert!(fault.may_pass() && !fault.blames_connection());
            assert!(fault.into_error().is_retryable());
        }
    }
}
