//! Types that a setting can have.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::LogFormat;

/// A type that can be read from a line of configuration and written back.
pub trait Setting: Sized + Clone {
    /// What a value looks like, with its unit, for the documentation.
    const KIND: &'static str;

    fn parse(text: &str) -> Result<Self, String>;
    fn show(&self) -> String;

    /// Whether it lies in a range, ends included; types without an order have no ranges.
    fn within(&self, _low: &Self, _high: &Self) -> bool {
        true
    }
}

impl Setting for String {
    const KIND: &'static str = "text";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Setting for PathBuf {
    const KIND: &'static str = "path";

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("a path must not be empty".to_owned()) } else { Ok(text.into()) }
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Setting for bool {
    const KIND: &'static str = "true or false";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(format!("{text:?} is not true or false")),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for SocketAddr {
    const KIND: &'static str = "address and port";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("{text:?} is not an IP address with a port, such as 127.0.0.1:9440"))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A list, its items separated by commas (in the file, an array).
impl Setting for Vec<String> {
    const KIND: &'static str = "list of texts";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
    }

    fn show(&self) -> String {
        self.join(",")
    }
}

/// A value that may be left out: the empty text is none.
impl<T: Setting> Setting for Option<T> {
    const KIND: &'static str = T::KIND;

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(None) } else { T::parse(text).map(Some) }
    }

    fn show(&self) -> String {
        self.as_ref().map(T::show).unwrap_or_default()
    }

    fn within(&self, low: &Self, high: &Self) -> bool {
        match (self, low, high) {
            (Some(value), Some(low), Some(high)) => value.within(low, high),
            _ => true,
        }
    }
}

impl Setting for LogFormat {
    const KIND: &'static str = "text or json";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }

    fn show(&self) -> String {
        self.name().to_owned()
    }
}

macro_rules! whole_number {
    ($($type:ty),+) => {$(
        impl Setting for $type {
            const KIND: &'static str = "whole number";

            fn parse(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| format!("{text:?} is not a whole number up to {}", Self::MAX))
            }

            fn show(&self) -> String {
                self.to_string()
            }

            fn within(&self, low: &Self, high: &Self) -> bool {
                (low..=high).contains(&self)
            }
        }
    )+};
}

whole_number!(u16, u32, u64, usize);
