//! Cluster metadata: typed keys, transactions, watches, leases, elections.
