//! Kafka's variable-length integers: zigzag, then seven bits a byte, least significant first (as in
//! Protocol Buffers' `sint32` and `sint64`).

/// Longest encoding of a 64-bit number.
pub(crate) const VARINT_BYTES_MAX: usize = 10;

#[inline]
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// How many bytes `value` takes.
#[inline]
pub(crate) fn size(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Writes `value` at `at` and returns the position after it. The caller has made room.
#[inline]
pub(crate) fn put(out: &mut [u8], mut at: usize, value: i64) -> usize {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out[at] = (rest as u8) | 0x80;
        rest >>= 7;
        at += 1;
    }
    out[at] = rest as u8;
    at + 1
}

/// Reads a number from the front of `bytes` and moves past it; `None` when it is cut short or longer
/// than 64 bits.
#[inline]
pub(crate) fn take(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for (i, &byte) in bytes.iter().take(VARINT_BYTES_MAX).enumerate() {
        let bits = u64::from(byte & 0x7f);
        if i == VARINT_BYTES_MAX - 1 && bits > 1 {
            return None;
        }
        value |= bits << (7 * i);
        if byte & 0x80 == 0 {
            *bytes = &bytes[i + 1..];
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}

/// Reads a number that must fit 32 bits.
#[inline]
pub(crate) fn take_i32(bytes: &mut &[u8]) -> Option<i32> {
    take(bytes).and_then(|value| i32::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Kafka's `ByteUtilsTest.testCorrectnessWriteUnsignedVarlong` and the protobuf documentation.
    #[test]
    fn matches_kafkas_encoding() {
        let vectors: [(i64, &[u8]); 11] = [
            (0, &[0x00]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (-65, &[0x81, 0x01]),
            (8191, &[0xfe, 0x7f]),
            (i64::from(i32::MAX), &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i64::from(i32::MIN), &[0xff, 0xff, 0xff, 0xff, 0x0f]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ];
        for (value, encoded) in vectors {
            let mut out = [0; VARINT_BYTES_MAX];
            let end = put(&mut out, 0, value);
            assert_eq!(&out[..end], encoded, "{value}");
            assert_eq!(size(value), encoded.len(), "{value}");
            let mut rest = encoded;
            assert_eq!(take(&mut rest), Some(value));
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn refuses_numbers_cut_short_or_too_long() {
        assert_eq!(take(&mut &[0x80_u8][..]), None);
        assert_eq!(take(&mut &[][..]), None);
        assert_eq!(take(&mut &[0xff_u8; 11][..]), None);
        let too_wide = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert_eq!(take(&mut &too_wide[..]), None);
        assert_eq!(take_i32(&mut &[0x80, 0x80, 0x80, 0x80, 0x10][..]), None);
    }
}
