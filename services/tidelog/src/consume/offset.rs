//! Where to begin: `start`, `end`, `N`, `+N`, `-N` or `@TIME`.

use std::str::FromStr;

use tidelog::StartAt;
use tidelog_model::{Offset, TimestampMs};

/// `--offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OffsetArg(pub StartAt);

impl FromStr for OffsetArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| {
            let parsed = digits.parse::<u64>().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()));
            parsed.filter(|value| *value <= Offset::MAX.0).ok_or_else(|| format!("{text:?} is not an offset"))
        };
        let start = match (text, text.as_bytes().first()) {
            ("start", _) => StartAt::Start,
            ("end", _) => StartAt::End,
            (_, Some(b'+')) => StartAt::AfterStart(number(&text[1..])?),
            (_, Some(b'-')) => StartAt::BeforeEnd(number(&text[1..])?),
            (_, Some(b'@')) => StartAt::Timestamp(timestamp(&text[1..])?),
            (_, Some(b'0'..=b'9')) => StartAt::Offset(Offset(number(text)?)),
            _ => {
                return Err(format!(
                    "{text:?} is none of start, end, N (an offset), +N (after the start), -N (before the end), \
                     @TIME (RFC 3339, or milliseconds since 1970)"
                ));
            }
        };
        Ok(Self(start))
    }
}

fn timestamp(text: &str) -> Result<TimestampMs, String> {
    if let Ok(ms) = text.parse::<i64>() {
        return Ok(TimestampMs(ms));
    }
    match chrono::DateTime::parse_from_rfc3339(text) {
        Ok(time) => Ok(TimestampMs(time.timestamp_millis())),
        Err(_) => Err(format!(
            "{text:?} is neither a time such as 2026-01-31T12:00:00Z nor milliseconds since 1970"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_understood() {
        for (text, start) in [
            ("start", StartAt::Start),
            ("end", StartAt::End),
            ("0", StartAt::Offset(Offset(0))),
            ("42", StartAt::Offset(Offset(42))),
            ("+3", StartAt::AfterStart(3)),
            ("-10", StartAt::BeforeEnd(10)),
            ("@1700000000000", StartAt::Timestamp(TimestampMs(1_700_000_000_000))),
            ("@2023-11-14T22:13:20Z", StartAt::Timestamp(TimestampMs(1_700_000_000_000))),
            ("@2023-11-14T23:13:20.5+01:00", StartAt::Timestamp(TimestampMs(1_700_000_000_500))),
        ] {
            assert_eq!(text.parse(), Ok(OffsetArg(start)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_and_named() {
        for text in ["", "soon", "+", "-", "--1", "+-1", "1x", "@", "@yesterday", "99999999999999999999"] {
            let error = text.parse::<OffsetArg>().unwrap_err();
            assert!(error.contains(text.trim_start_matches('@')), "{text}: {error}");
        }
    }
}
