//! End-to-end tests: real processes, real clients, a real S3 server.
