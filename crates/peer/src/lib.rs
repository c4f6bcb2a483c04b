//! The calls that the processes of a cluster make to each other, as traits.
