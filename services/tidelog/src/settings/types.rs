//! What values of the server's own kinds look like.

use std::fmt;
use std::net::IpAddr;

use tidelog_cold::bucket::UploadChecksum;
use tidelog_journal::{Direct, OnDamage};
use tidelog_meta::etcd::Password;
use tidelog_runtime::config::Setting;

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

/// `host:port`, to be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(pub String);

impl Endpoint {
    /// Whether it is an address that stands for all of a machine's, which nobody can connect to.
    pub fn is_wildcard(&self) -> bool {
        self.host().parse::<IpAddr>().is_ok_and(|address| address.is_unspecified())
    }

    /// Without brackets.
    pub fn host(&self) -> &str {
        let host = self.0.rsplit_once(':').map_or(&*self.0, |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }
}

impl Setting for Endpoint {
    const KIND: &'static str = "host:port";

    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not host:port, such as store-1.example:9441");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host_is_fine = match bracketed {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty()
                    && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
            }
        };
        match port.parse::<u16>() {
            Ok(1..) if host_is_fine => Ok(Self(text.to_owned())),
            _ => Err(wrong()),
        }
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// What the keys of a cluster begin with, without the slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaPrefix(pub String);

impl Setting for MetaPrefix {
    const KIND: &'static str = "text";

    fn parse(text: &str) -> Result<Self, String> {
        let name = text.strip_suffix('/').unwrap_or(text);
        let url = format!("etcd://localhost/{name}").parse::<tidelog_meta::etcd::EtcdUrl>();
        match url {
            Ok(_) if !name.is_empty() => Ok(Self(name.to_owned())),
            Ok(_) => Err("a prefix must not be empty".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn show(&self) -> String {
        format!("{}/", self.0)
    }
}

/// A text that shows itself to nobody who merely prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn password(&self) -> Password {
        Password::new(self.0.clone())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.show())
    }
}

impl Setting for Secret {
    const KIND: &'static str = "secret text";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }

    /// Whether there is one, and no more than that.
    fn show(&self) -> String {
        if self.0.is_empty() { String::new() } else { "(set)".to_owned() }
    }
}
