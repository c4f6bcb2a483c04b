//! Sizes and durations with their units.

use std::fmt;
use std::time::Duration;

use super::setting::Setting;

/// A number of bytes, written `4096`, `64 KiB` or `10 GiB` (and `64 kB` for thousands).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

impl ByteSize {
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// As a size in memory; a size past what the machine can address is as good as that.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// The factor of each unit; of several names for one factor, the first is the one shown.
const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// A length of time, written `500ms`, `30s`, `10m`, `2h` or `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub Duration);

impl Span {
    pub fn duration(self) -> Duration {
        self.0
    }

    pub fn as_ms(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

const TIMES: &[(&str, u64)] =
    &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 60 * 60_000), ("d", 24 * 60 * 60_000)];

impl Setting for ByteSize {
    const KIND: &'static str = "bytes";

    fn parse(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text);
        let factor = if unit.is_empty() { Some(1) } else { factor(SIZES, unit) };
        product(number, factor)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not a size such as 4096, 64 KiB or 10 GiB"))
    }

    fn show(&self) -> String {
        let binary = &SIZES[..5];
        let (unit, factor) = largest_exact(binary, self.0);
        format!("{} {unit}", self.0 / factor)
    }

    fn within(&self, low: &Self, high: &Self) -> bool {
        (low..=high).contains(&self)
    }
}

impl Setting for Span {
    const KIND: &'static str = "duration";

    fn parse(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text);
        product(number, factor(TIMES, unit))
            .map(|ms| Self(Duration::from_millis(ms)))
            .ok_or_else(|| format!("{text:?} is not a duration such as 500ms, 30s, 10m, 2h or 7d"))
    }

    fn show(&self) -> String {
        let (unit, factor) = largest_exact(TIMES, self.as_ms());
        format!("{}{unit}", self.as_ms() / factor)
    }

    fn within(&self, low: &Self, high: &Self) -> bool {
        (low..=high).contains(&self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.show())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.show())
    }
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

fn factor(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, factor)| *factor)
}

fn product(number: &str, factor: Option<u64>) -> Option<u64> {
    number.parse::<u64>().ok()?.checked_mul(factor?)
}

fn largest_exact(units: &[(&'static str, u64)], value: u64) -> (&'static str, u64) {
    let exact = units.iter().rev().find(|(_, factor)| value > 0 && value.is_multiple_of(*factor));
    *exact.unwrap_or(&units[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes, shown) in [
            ("4096", 4096, "4 KiB"),
            ("256 MiB", 256 << 20, "256 MiB"),
            ("10gib", 10 << 30, "10 GiB"),
            ("1500 kB", 1_500_000, "1500000 B"),
            ("0", 0, "0 B"),
        ] {
            assert_eq!(ByteSize::parse(text), Ok(ByteSize(bytes)));
            assert_eq!(ByteSize(bytes).show(), shown);
            assert_eq!(ByteSize::parse(shown), Ok(ByteSize(bytes)));
        }
        for text in ["", "MiB", "1.5 GiB", "-1", "1 XB", "99999999999 GiB", "1 GiB 2"] {
            assert!(ByteSize::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_read_and_shown() {
        for (text, ms, shown) in [
            ("500ms", 500, "500ms"),
            ("90 s", 90_000, "90s"),
            ("10m", 600_000, "10m"),
            ("48h", 172_800_000, "2d"),
        ] {
            assert_eq!(Span::parse(text).unwrap().as_ms(), ms);
            assert_eq!(Span::parse(text).unwrap().show(), shown);
        }
        for text in ["", "10", "m", "1.5h", "-3s", "1 year"] {
            assert!(Span::parse(text).is_err(), "{text}");
        }
    }
}
