//! Tests of the journal format.
