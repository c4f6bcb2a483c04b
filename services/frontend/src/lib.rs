//! The frontend: the protocol's server side, stateless.
