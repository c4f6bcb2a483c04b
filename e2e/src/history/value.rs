//! Values as bytes: sixteen digits and a tail that is the same for all, so that nothing but a whole value
//! is taken for one.

use std::hash::{DefaultHasher, Hash, Hasher};

use tidelog_checker::Value;

const DIGITS: usize = 16;

/// As long as a log line is.
const TAIL: &str = " the quick brown fox jumps over the lazy dog, and the lazy dog lets it; \
                    the quick brown fox jumps over the lazy dog, and the lazy dog lets it";

pub(super) fn encode(value: Value) -> String {
    format!("{:016x}{TAIL}", value.0)
}

pub(super) fn decode(bytes: Option<&[u8]>) -> Value {
    let bytes = bytes.unwrap_or_default();
    let digits = bytes.strip_suffix(TAIL.as_bytes()).filter(|digits| {
        digits.len() == DIGITS && digits.iter().all(|d| matches!(d, b'0'..=b'9' | b'a'..=b'f'))
    });
    let number = digits
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .map(Value)
        .filter(|value| !value.is_foreign());
    number.unwrap_or_else(|| {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        Value::foreign(hasher.finish())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_values_are_taken_for_values() {
        let text = encode(Value(77));
        assert_eq!(decode(Some(text.as_bytes())), Value(77));
        for i in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[i] ^= 0x80;
            assert!(decode(Some(&bytes)).is_foreign());
            assert!(decode(Some(&text.as_bytes()[..i])).is_foreign());
        }
        assert!(decode(None).is_foreign());
        assert!(decode(Some(text.to_uppercase().as_bytes())).is_foreign());
    }
}
