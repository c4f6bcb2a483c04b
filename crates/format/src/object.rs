//! The envelope that every small object shares: state, descriptors, pointers, manifest nodes and
//! the tail of a segment.
//!
//! ```text
//!  0       8        10      12         16                                        length-4
//!  ┌───────┬────────┬───────┬──────────┬──────────┬──────────┬─ … ─┬──────────────┬────────┐
//!  │ magic │version │ flags │ length   │ section  │ section  │     │ section      │ CRC-32C│
//!  │ 8     │ u16    │ u16=0 │ u32      │          │          │     │              │ u32    │
//!  └───────┴────────┴───────┴──────────┴──────────┴──────────┴─ … ─┴──────────────┴────────┘
//!  section:  tag u16 │ flags u16 (bit 0: required) │ length u32 │ payload
//! ```
//!
//! Everything is big-endian. `length` counts the whole object, the checksum covers all before it.
//! Sections stand in ascending order of tags, each tag once. A reader skips a section it does not
//! know, unless the section says that it is required: then it refuses the object. A section of a
//! known tag may be longer than the reader expects (a newer writer added fields); the rest is
//! ignored. So most additions need no new version.

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;
use tidelog_model::{TopicId, TopicPartition};

use crate::checksum::crc32c;
use crate::cursor::Cursor;

/// Bytes before the first section.
pub const HEADER_BYTES: usize = 16;
/// Bytes before a section's payload.
pub const SECTION_HEADER_BYTES: usize = 8;
/// Bytes of the checksum at the end.
pub const CHECKSUM_BYTES: usize = 4;
/// Most sections of one object.
pub const SECTIONS_MAX: usize = 64;

const REQUIRED: u16 = 1;

const _: () = assert!(HEADER_BYTES == 8 + 2 + 2 + 4);

/// Why bytes are not what they should be. All but [`DecodeError::Version`],
/// [`DecodeError::Flags`] and [`DecodeError::RequiredSection`] (which ask for newer software) mean
/// damage, or another object in the place of the expected one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    #[error("not a {what}: it begins with {found:02x?}")]
    Magic { what: &'static str, found: [u8; 8] },
    #[error("{what} of version {found}; this software reads version {supported}")]
    Version { what: &'static str, found: u16, supported: u16 },
    #[error("{what} with flags {found:#06x} that this software does not know")]
    Flags { what: &'static str, found: u16 },
    #[error("{what} with a required section {tag} that this software does not know")]
    RequiredSection { what: &'static str, tag: u16 },
    #[error("{what} is cut short: {needed} bytes needed, {have} there")]
    Truncated { what: &'static str, needed: usize, have: usize },
    #[error("{what} says it has {stated} bytes and has {have}")]
    Length { what: &'static str, stated: u64, have: u64 },
    #[error("{what} is damaged: its checksum is {stored:08x} and its bytes give {computed:08x}")]
    Checksum { what: &'static str, stored: u32, computed: u32 },
    #[error("{what} lacks its section {tag}")]
    MissingSection { what: &'static str, tag: u16 },
    #[error("{what}: {field} {reason}")]
    Invalid { what: &'static str, field: &'static str, reason: &'static str },
    #[error("{what} belongs to partition {found}, not to {expected}")]
    OtherPartition { what: &'static str, expected: TopicPartition, found: TopicPartition },
    #[error("{what} belongs to topic {found}, not to {expected}")]
    OtherTopic { what: &'static str, expected: TopicId, found: TopicId },
}

impl DecodeError {
    /// The bytes are sound but written by newer software.
    pub fn needs_newer_software(&self) -> bool {
        matches!(self, Self::Version { .. } | Self::Flags { .. } | Self::RequiredSection { .. })
    }
}

/// One of the formats that use the envelope.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) what: &'static str,
    pub(crate) magic: [u8; 8],
    pub(crate) version: u16,
}

/// A section that this software does not know, kept so that rewriting an object loses nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    pub tag: u16,
    pub bytes: Bytes,
}

/// Writes an object section by section.
#[derive(Debug)]
pub(crate) struct ObjectWriter {
    out: BytesMut,
    last_tag: Option<u16>,
}

impl ObjectWriter {
    pub(crate) fn new(kind: Kind, capacity: usize) -> Self {
        let mut out = BytesMut::with_capacity(HEADER_BYTES + capacity + CHECKSUM_BYTES);
        out.put_slice(&kind.magic);
        out.put_u16(kind.version);
        out.put_u16(0);
        out.put_u32(0);
        Self { out, last_tag: None }
    }

    /// A section that a reader must understand.
    pub(crate) fn required(&mut self, tag: u16, write: impl FnOnce(&mut BytesMut)) {
        self.section(tag, REQUIRED, write);
    }

    /// A section that a reader may skip.
    pub(crate) fn optional(&mut self, tag: u16, write: impl FnOnce(&mut BytesMut)) {
        self.section(tag, 0, write);
    }

    /// Sections of newer software, carried along. Their tags are above all known ones.
    pub(crate) fn extra(&mut self, sections: &[Section]) {
        for section in sections {
            self.optional(section.tag, |out| out.put_slice(&section.bytes));
        }
    }

    fn section(&mut self, tag: u16, flags: u16, write: impl FnOnce(&mut BytesMut)) {
        assert!(self.last_tag.is_none_or(|last| last < tag), "sections are written in order of tags");
        self.last_tag = Some(tag);
        self.out.put_u16(tag);
        self.out.put_u16(flags);
        let length_at = self.out.len();
        self.out.put_u32(0);
        write(&mut self.out);
        let length = u32::try_from(self.out.len() - length_at - 4).expect("a section is smaller than 4 GiB");
        self.out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
    }

    pub(crate) fn finish(mut self) -> Bytes {
        let length = u32::try_from(self.out.len() + CHECKSUM_BYTES).expect("an object is smaller than 4 GiB");
        self.out[12..16].copy_from_slice(&length.to_be_bytes());
        let checksum = crc32c(&self.out);
        self.out.put_u32(checksum);
        self.out.freeze()
    }
}

/// An object whose envelope is sound.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    what: &'static str,
    sections: Vec<RawSection<'a>>,
}

#[derive(Clone, Copy, Debug)]
struct RawSection<'a> {
    tag: u16,
    bytes: &'a [u8],
}

impl<'a> Object<'a> {
    /// Checks magic, version, flags, length and checksum, and finds the sections. `known` lists the
    /// tags that the caller understands.
    pub(crate) fn open(kind: Kind, bytes: &'a [u8], known: &[u16]) -> Result<Self, DecodeError> {
        let what = kind.what;
        let mut header = Cursor::new(what, bytes);
        let magic = header.array::<8>()?;
        if magic != kind.magic {
            return Err(DecodeError::Magic { what, found: magic });
        }
        let version = header.u16()?;
        let flags = header.u16()?;
        let stated = header.u32()?;
        if stated as usize != bytes.len() {
            return Err(DecodeError::Length { what, stated: stated.into(), have: bytes.len() as u64 });
        }
        let Some((covered, stored)) = bytes.split_last_chunk::<CHECKSUM_BYTES>() else {
            return Err(DecodeError::Truncated { what, needed: CHECKSUM_BYTES, have: bytes.len() });
        };
        let (stored, computed) = (u32::from_be_bytes(*stored), crc32c(covered));
        if stored != computed {
            return Err(DecodeError::Checksum { what, stored, computed });
        }
        if version != kind.version {
            return Err(DecodeError::Version { what, found: version, supported: kind.version });
        }
        if flags != 0 {
            return Err(DecodeError::Flags { what, found: flags });
        }
        let body = covered.get(HEADER_BYTES..).unwrap_or_default();
        Ok(Self { what, sections: sections(what, body, known)? })
    }

    pub(crate) fn optional(&self, tag: u16) -> Option<Cursor<'a>> {
        let section = self.sections.iter().find(|section| section.tag == tag)?;
        Some(Cursor::new(self.what, section.bytes))
    }

    pub(crate) fn required(&self, tag: u16) -> Result<Cursor<'a>, DecodeError> {
        self.optional(tag).ok_or(DecodeError::MissingSection { what: self.what, tag })
    }

    /// The sections that are not in `known`, to be carried along when the object is rewritten.
    pub(crate) fn extra(&self, known: &[u16]) -> Vec<Section> {
        self.sections
            .iter()
            .filter(|section| !known.contains(&section.tag))
            .map(|section| Section { tag: section.tag, bytes: Bytes::copy_from_slice(section.bytes) })
            .collect()
    }
}

fn sections<'a>(
    what: &'static str,
    body: &'a [u8],
    known: &[u16],
) -> Result<Vec<RawSection<'a>>, DecodeError> {
    let mut found: Vec<RawSection<'a>> = Vec::new();
    let mut rest = Cursor::new(what, body);
    while rest.remaining() > 0 {
        if found.len() == SECTIONS_MAX {
            return Err(rest.invalid("the list of sections", "is longer than 64"));
        }
        let tag = rest.u16()?;
        let flags = rest.u16()?;
        let length = rest.u32()? as usize;
        let bytes = rest.take(length)?;
        if found.last().is_some_and(|last| last.tag >= tag) {
            return Err(rest.invalid("the list of sections", "is not in order"));
        }
        let is_known = known.contains(&tag);
        if flags & REQUIRED != 0 && !is_known {
            return Err(DecodeError::RequiredSection { what, tag });
        }
        // Newer software adds tags above the old ones; only so can they be carried along.
        if !is_known && known.iter().any(|known| *known > tag) {
            return Err(rest.invalid("the list of sections", "has an unknown one among the known"));
        }
        found.push(RawSection { tag, bytes });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind { what: "test object", magic: *b"TIDETEST", version: 3 };

    fn sample(required: bool) -> Bytes {
        let mut writer = ObjectWriter::new(KIND, 0);
        writer.required(1, |out| out.put_slice(b"one"));
        if required {
            writer.required(9, |out| out.put_slice(b"nine"));
        } else {
            writer.optional(9, |out| out.put_slice(b"nine"));
        }
        writer.finish()
    }

    #[test]
    fn unknown_optional_section_is_skipped_and_kept() {
        let bytes = sample(false);
        let object = Object::open(KIND, &bytes, &[1]).unwrap();
        assert_eq!(object.required(1).unwrap().take(3).unwrap(), b"one");
        assert_eq!(object.extra(&[1]), vec![Section { tag: 9, bytes: Bytes::from_static(b"nine") }]);
        let missing = DecodeError::MissingSection { what: "test object", tag: 2 };
        assert_eq!(object.required(2).unwrap_err(), missing);
    }

    #[test]
    fn an_unknown_section_among_the_known_is_refused() {
        let mut writer = ObjectWriter::new(KIND, 0);
        writer.optional(0, |out| out.put_u8(1));
        writer.required(1, |out| out.put_u8(2));
        let bytes = writer.finish();
        assert!(matches!(Object::open(KIND, &bytes, &[1]), Err(DecodeError::Invalid { .. })));
        assert!(Object::open(KIND, &bytes, &[0, 1]).is_ok());
    }

    #[test]
    fn unknown_required_section_is_refused() {
        let error = Object::open(KIND, &sample(true), &[1]).unwrap_err();
        assert_eq!(error, DecodeError::RequiredSection { what: "test object", tag: 9 });
        assert!(error.needs_newer_software());
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_detected() {
        let bytes = sample(false);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.to_vec();
                damaged[at] ^= 1 << bit;
                let error = Object::open(KIND, &damaged, &[1, 9]).unwrap_err();
                assert!(error.to_string().contains("test object"), "{error}");
            }
            Object::open(KIND, &bytes[..at], &[1, 9]).unwrap_err();
        }
    }

    #[test]
    fn newer_version_is_refused_as_such() {
        let newer = Kind { version: 4, ..KIND };
        let error = Object::open(newer, &sample(false), &[1]).unwrap_err();
        assert_eq!(error, DecodeError::Version { what: "test object", found: 3, supported: 4 });
    }
}
