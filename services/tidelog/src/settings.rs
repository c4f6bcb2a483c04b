//! Everything that the server can be told. `docs/configuration.md` is checked against this list.

mod args;
mod together;
mod types;

use std::net::SocketAddr;
use std::path::PathBuf;

use tidelog_runtime::LogFormat;
use tidelog_runtime::config::{ByteSize, Span};

pub use args::{Role, SettingsArgs};
pub use types::{BucketUrl, Checksum, DamagePolicy, DirectIo, Endpoint, LogFilter, MetaPrefix, Secret};

/// Variables of the same prefix that are no settings: the command line's, and the repository's own
/// scripts'.
pub const OTHER_VARIABLES: &[&str] = &[
    "TIDELOG_BINARY",
    "TIDELOG_BOOTSTRAP",
    "TIDELOG_CONTEXT",
    "TIDELOG_SOAK_ROUNDS",
    "TIDELOG_TEST_DATA",
    "TIDELOG_TOOLS",
];

tidelog_runtime::settings! {
    /// The server's settings, valid by construction.
    pub struct Settings {
        /// Directory of everything the server keeps locally.
        pub data_dir: PathBuf = "data_dir", "./tidelog-data";
        /// URL of the bucket: `s3://bucket/prefix`, `gs://…`, `az://…` or `file:///directory`. Empty: in `tidelog dev`
        /// a directory below the data directory; the processes of a cluster need one that all of them reach. Credentials come from the environment (for S3 the standard AWS variables).
        pub bucket: Option<BucketUrl> = "bucket", "";
        /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, also by part (`info,tidelog_store=debug`).
        pub log: LogFilter = "log", "info";
        /// How log lines look.
        pub log_format: LogFormat = "log_format", "text";
        /// How long a shutdown may take before what is left is abandoned (and recovered at the next start).
        pub shutdown_timeout: Span = "shutdown_timeout", "30s", "1s" ..= "1h";

        /// The number of a store in its cluster, its own for ever: no other store may have it.
        pub node_id: Option<u32> = "node.id", "", "1" ..= "4294967295";
        /// Where the process stands (a rack, a room, a zone): replicas of a partition are spread over racks.
        pub node_rack: String = "node.rack", "";

        /// Address of a store's internal port, for the other processes of its cluster.
        pub cluster_listen: SocketAddr = "cluster.listen", "127.0.0.1:9441";
        /// `host:port` that the others connect to. Empty: the address that is listened on.
        pub cluster_advertise: Option<Endpoint> = "cluster.advertise", "";
        /// PEM file with the cluster's authority (`tidelog certs init` makes it).
        pub cluster_ca: Option<PathBuf> = "cluster.ca", "";
        /// PEM file with this process's certificate as a member (`tidelog certs issue NAME` makes it); taken up
        /// without a restart when it is renewed.
        pub cluster_certificate: Option<PathBuf> = "cluster.certificate", "";
        /// PEM file with that certificate's private key.
        pub cluster_key: Option<PathBuf> = "cluster.key", "";
        /// How long the cluster waits for a process that etcd does not hear of before it counts as gone. (A store
        /// that died is mostly noticed sooner.)
        pub cluster_lease_ttl: Span = "cluster.lease_ttl", "5s", "1s" ..= "1h";

        /// The members of etcd, `host:port` each; `https://host:port` for TLS.
        pub meta_endpoints: Vec<String> = "meta.endpoints", "";
        /// What all keys of the cluster begin with, so that several clusters can share an etcd.
        pub meta_prefix: MetaPrefix = "meta.prefix", "tidelog/";
        /// PEM file with the authority of etcd's certificates; given, etcd is spoken to over TLS. Empty: the
        /// system's, for members that are named with `https://`.
        pub meta_ca: Option<PathBuf> = "meta.ca", "";
        /// PEM file with the certificate to show to etcd.
        pub meta_certificate: Option<PathBuf> = "meta.certificate", "";
        /// PEM file with that certificate's private key.
        pub meta_key: Option<PathBuf> = "meta.key", "";
        /// A user of etcd with read and write permission on the prefix.
        pub meta_user: String = "meta.user", "";
        /// That user's password. It is shown to nobody; better a variable than a flag.
        pub meta_password: Secret = "meta.password", "";

        /// Address of the native protocol: UDP for QUIC, and TCP with TLS on the same number.
        pub listen_quic: SocketAddr = "listen.quic", "127.0.0.1:9440";
        /// `host:port` that clients are told to connect to. Empty: the address that is listened on.
        pub listen_advertise: Option<Endpoint> = "listen.advertise", "";
        /// Address of health, readiness and metrics.
        pub listen_http: SocketAddr = "listen.http", "127.0.0.1:9444";
        /// Listen beyond loopback although clients are not authenticated: whoever can reach the port can read,
        /// write and delete.
        pub listen_anonymous: bool = "listen.anonymous", "false";
        /// Sessions at once.
        pub listen_connections: usize = "listen.connections", "4096", "1" ..= "100000";
        /// Memory for frames that have been received and not worked off, all connections together.
        pub listen_frame_bytes: ByteSize = "listen.frame_bytes", "128 MiB", "64 MiB" ..= "4095 MiB";
        /// Memory that transport windows may promise to clients, all connections together.
        pub listen_window_bytes: ByteSize = "listen.window_bytes", "96 MiB", "1 MiB" ..= "4095 MiB";
        /// Memory for records on their way to consumers, all connections together.
        pub listen_read_bytes: ByteSize = "listen.read_bytes", "64 MiB", "1 MiB" ..= "4095 MiB";

        /// PEM file with the certificate chain; taken up without a restart when it is renewed. Empty: a certificate signed by itself, made at the first start.
        pub tls_certificate: Option<PathBuf> = "tls.certificate", "";
        /// PEM file with the certificate's private key.
        pub tls_key: Option<PathBuf> = "tls.key", "";
        /// More host names and addresses for the certificate that is made at the first start.
        pub tls_names: Vec<String> = "tls.names", "";

        /// Size of one journal file.
        pub journal_file_bytes: ByteSize = "journal.file_bytes", "256 MiB", "1 MiB" ..= "2 GiB";
        /// What the journal may take up on the local disk. The oldest records leave it once they are in the bucket.
        pub journal_budget_bytes: ByteSize = "journal.budget_bytes", "10 GiB", "4 MiB" ..= "1024 TiB";
        /// About how much one write and sync takes.
        pub journal_group_bytes: ByteSize = "journal.group_bytes", "4 MiB", "64 KiB" ..= "64 MiB";
        /// Batches that may wait for the disk.
        pub journal_queue_bytes: ByteSize = "journal.queue_bytes", "32 MiB", "1 MiB" ..= "1 GiB";
        /// How long a batch may wait for room in the journal before it is refused, with an error after which it can
        /// be sent again. The SDK gives a record two minutes for all of its tries.
        pub journal_room_timeout: Span = "journal.room_timeout", "10s", "10ms" ..= "1m";
        /// Memory for the newest batches, from which readers at the tail are served.
        pub journal_tail_cache_bytes: ByteSize = "journal.tail_cache_bytes", "48 MiB", "0" ..= "64 GiB";
        /// Memory for the indexes of sealed files.
        pub journal_index_cache_bytes: ByteSize = "journal.index_cache_bytes", "16 MiB", "1 MiB" ..= "16 GiB";
        /// Records that are in the bucket leave the disk at this age. Empty: as long as there is room.
        pub journal_local_age: Option<Span> = "journal.local_age", "", "1s" ..= "36500d";
        /// Whether files are written around the page cache: where the file system has it, or never.
        pub journal_direct: DirectIo = "journal.direct", "auto";
        /// What to do when the journal is damaged where records are still wanted, or files of it are missing:
        /// refuse to start, or go on without them (which accepts that acknowledged records are lost). A store
        /// of a cluster always refuses.
        pub journal_on_damage: DamagePolicy = "journal.on_damage", "refuse";
        /// Threads that read journal files.
        pub journal_reader_threads: usize = "journal.reader_threads", "4", "1" ..= "64";

        /// Memory for blocks from the bucket.
        pub cache_memory_bytes: ByteSize = "cache.memory_bytes", "64 MiB", "8 MiB" ..= "1 TiB";
        /// Local disk for blocks from the bucket that were read more than once; 0 for none.
        pub cache_disk_bytes: ByteSize = "cache.disk_bytes", "1 GiB", "0" ..= "1024 TiB";

        /// Memory for batches on their way to the bucket.
        pub offload_memory_bytes: ByteSize = "offload.memory_bytes", "96 MiB", "64 MiB" ..= "16 GiB";
        /// Uploads at a time.
        pub offload_requests: usize = "offload.requests", "8", "1" ..= "256";
        /// What is uploaded in a second, at most. Empty: as fast as it goes.
        pub offload_bytes_per_second: Option<ByteSize> = "offload.bytes_per_second", "", "64 KiB" ..= "1 TiB";

        /// Checksum that is sent along with uploads to S3, for the server to verify.
        pub s3_checksum: Checksum = "s3.checksum", "crc64nvme";
    }
}

#[cfg(test)]
mod tests;
