//! Everything that the server can be told. `docs/configuration.md` is checked against this list.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use tidelog_cold::bucket::UploadChecksum;
use tidelog_journal::{Direct, OnDamage};
use tidelog_runtime::LogFormat;
use tidelog_runtime::config::{ByteSize, Reader, Setting, Span};

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
        /// URL of the bucket: `s3://bucket/prefix`, `gs://…`, `az://…` or `file:///directory`. Empty: a directory
        /// below the data directory. Credentials come from the environment (for S3 the standard AWS variables).
        pub bucket: Option<BucketUrl> = "bucket", "";
        /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, also by part (`info,tidelog_store=debug`).
        pub log: LogFilter = "log", "info";
        /// How log lines look.
        pub log_format: LogFormat = "log_format", "text";
        /// How long a shutdown may take before what is left is abandoned (and recovered at the next start).
        pub shutdown_timeout: Span = "shutdown_timeout", "30s", "1s" ..= "1h";

        /// Address of the native protocol: UDP for QUIC, and TCP with TLS on the same number.
        pub listen_quic: SocketAddr = "listen.quic", "127.0.0.1:9440";
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
        /// refuse to start, or go on without them (which accepts that acknowledged records are lost).
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

/// The smallest journal budget, in files: the open one, one ready, one being read, one with history.
const BUDGET_FILES_MIN: u64 = 4;

impl Settings {
    /// What is wrong with settings that are each valid, taken together.
    pub fn check_together(&self, reader: &mut Reader<'_>) {
        if self.journal_budget_bytes.0 < BUDGET_FILES_MIN * self.journal_file_bytes.0 {
            let reason = format!("the journal's budget must hold at least {BUDGET_FILES_MIN} files");
            reader.problem(&["journal.budget_bytes", "journal.file_bytes"], reason);
        }
        if self.journal_queue_bytes < self.journal_group_bytes {
            let reason = "the queue must hold at least one group";
            reader.problem(&["journal.queue_bytes", "journal.group_bytes"], reason);
        }
        if !self.journal_file_bytes.0.is_multiple_of(4096) {
            reader.problem(&["journal.file_bytes"], "it must be a multiple of 4 KiB");
        }
        if self.tls_certificate.is_some() != self.tls_key.is_some() {
            let reason = "a certificate and its key come together, or not at all";
            reader.problem(&["tls.certificate", "tls.key"], reason);
        }
        for (key, address) in [("listen.quic", self.listen_quic), ("listen.http", self.listen_http)] {
            if !is_loopback(address.ip()) && !self.listen_anonymous {
                let reason = format!(
                    "{address} is beyond loopback, and clients are not authenticated: whoever reaches it could \
                     read and delete everything; set listen.anonymous = true if that is meant"
                );
                reader.problem(&[key], reason);
            }
        }
    }
}

fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => {
            address.is_loopback() || address.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback())
        }
    }
}

/// The URL of a bucket, of a scheme that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketUrl(pub String);

impl Setting for BucketUrl {
    const KIND: &'static str = "URL";

    fn parse(text: &str) -> Result<Self, String> {
        const SCHEMES: [&str; 5] = ["s3", "gs", "az", "file", "memory"];
        match url::Url::parse(text) {
            Ok(url) if SCHEMES.contains(&url.scheme()) => Ok(Self(text.to_owned())),
            _ => Err(format!("{text:?} is not a bucket such as s3://bucket/prefix or file:///directory")),
        }
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// A filter of log lines that can be parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(pub String);

impl Setting for LogFilter {
    const KIND: &'static str = "log filter";

    fn parse(text: &str) -> Result<Self, String> {
        tidelog_runtime::telemetry::check_filter(text).map_err(|error| error.to_string())?;
        Ok(Self(text.to_owned()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

macro_rules! choice {
    ($(#[$meta:meta])* $name:ident($type:ty), $kind:literal, $($text:literal => $value:expr),+) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name(pub $type);

        impl Setting for $name {
            const KIND: &'static str = $kind;

            fn parse(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self($value)),)+
                    _ => Err(format!("{text:?} is not {}", Self::KIND)),
                }
            }

            fn show(&self) -> String {
                let shown = [$(($text, $value)),+].into_iter().find(|(_, value)| *value == self.0);
                shown.map_or("", |(text, _)| text).to_owned()
            }
        }
    };
}

choice! {
    /// `journal.direct`.
    DirectIo(Direct), "auto or off", "auto" => Direct::Auto, "off" => Direct::Off
}
choice! {
    /// `journal.on_damage`.
    DamagePolicy(OnDamage), "refuse or quarantine", "refuse" => OnDamage::Refuse, "quarantine" => OnDamage::Quarantine
}
choice! {
    /// `s3.checksum`.
    Checksum(UploadChecksum), "crc64nvme, sha256 or none",
    "crc64nvme" => UploadChecksum::Crc64Nvme, "sha256" => UploadChecksum::Sha256, "none" => UploadChecksum::None
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use tidelog_runtime::config::{ConfigError, Layers};

    use super::*;

    fn load(layers: &Layers) -> Result<Settings, ConfigError> {
        Settings::load(layers, Settings::check_together).map(|(settings, _)| settings)
    }

    #[test]
    fn the_defaults_are_valid() {
        load(&Layers::new()).unwrap();
    }

    #[test]
    fn beyond_loopback_needs_a_setting() {
        let open = Layers::new().flag("listen.quic", "--quic", "0.0.0.0:9440");
        let error = load(&open).unwrap_err().to_string();
        assert!(error.contains("flag --quic: 0.0.0.0:9440 is beyond loopback"), "{error}");
        assert!(load(&open.toml("file f", "listen.anonymous = true").unwrap()).is_ok());
        assert!(load(&Layers::new().flag("listen.http", "--http", "[::1]:0")).is_ok());
        assert!(load(&Layers::new().flag("listen.http", "--http", "[::]:0")).is_err());
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        let file = "journal = { file_bytes = '1 GiB', budget_bytes = '2 GiB', queue_bytes = '1 MiB' }\ntls.key = 'k'";
        let error = load(&Layers::new().toml("file f", file).unwrap()).unwrap_err();
        assert_eq!(error.0.len(), 3, "{error}");
    }

    /// The table of `docs/configuration.md`, as this list has it.
    fn documented() -> String {
        let mut table = String::from("| key | value | default | what |\n|---|---|---|---|\n");
        for key in Settings::KEYS {
            let default = if key.default.is_empty() { String::new() } else { format!("`{}`", key.default) };
            let range = key.range.map(|(low, high)| format!(", {low} to {high}")).unwrap_or_default();
            let doc = key.doc.split_whitespace().collect::<Vec<_>>().join(" ");
            writeln!(table, "| `{}` | {}{range} | {default} | {doc} |", key.name, key.kind).unwrap();
        }
        table
    }

    #[test]
    fn the_documentation_lists_every_setting_as_it_is() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        let text = std::fs::read_to_string(path).unwrap();
        let expected = documented();
        assert!(text.contains(&expected), "docs/configuration.md should contain this table:\n{expected}");
    }
}
