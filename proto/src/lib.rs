//! Tidelog's protocol messages, generated from the .proto files.
