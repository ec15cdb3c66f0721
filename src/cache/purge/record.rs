//! Records of the log as bytes: length, kind, position, a checksum of those, then the payload
//! and a checksum of all. So a damaged length is told from a record that was cut off.

use twox_hash::XxHash3_64;

use super::terms::Class;

/// The first bytes of the file; the last one is the format's version.
pub(super) const MAGIC: &[u8; 8] = b"LARDPRG1";
/// What a record costs besides its payload.
pub(super) const OVERHEAD: usize = HEADER + CHECK;
const HEADER: usize = 20;
const CHECK: usize = 8;

/// One line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) position: u64,
    pub(super) what: Kind<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// What has this name; softly or not.
    Purged(Class, &'a [u8], bool),
    /// All that was fetched before.
    Everything { soft: bool },
    /// Older copies of exactly this key.
    Superseded { key: &'a [u8] },
    /// The superseding copy of this position is on disk: its record is done with.
    Retired,
    /// The log was opened (or rewritten) and goes on from this position.
    Opened,
}

impl<'a> Kind<'a> {
    fn parts(self) -> (u8, &'a [u8]) {
        match self {
            Self::Purged(class, name, soft) => (code(class) + u8::from(soft), name),
            Self::Everything { soft: false } => (3, b""),
            Self::Everything { soft: true } => (4, b""),
            Self::Superseded { key } => (5, key),
            Self::Retired => (6, b""),
            Self::Opened => (7, b""),
        }
    }

    fn of(number: u8, payload: &'a [u8]) -> Option<Self> {
        for class in Class::ALL {
            if let Some(soft @ (0 | 1)) = number.checked_sub(code(class)) {
                return Some(Self::Purged(class, payload, soft == 1));
            }
        }
        Some(match (number, payload) {
            (3, []) => Self::Everything { soft: false },
            (4, []) => Self::Everything { soft: true },
            (5, key) => Self::Superseded { key },
            (6, []) => Self::Retired,
            (7, []) => Self::Opened,
            _ => return None,
        })
    }
}

/// The number of a class's hard records; that of the soft ones follows.
const fn code(class: Class) -> u8 {
    match class {
        Class::Url => 1,
        Class::Host => 8,
        Class::Tag => 10,
        Class::Prefix => 12,
        Class::Glob => 14,
    }
}

/// What stands at the beginning of some bytes of the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read<'a> {
    /// A whole record, and its length in bytes.
    Whole(Record<'a>, usize),
    /// The beginning of a record, whose rest is missing: a write that did not get to its end.
    Torn,
    /// No record.
    Damaged,
}

impl<'a> Record<'a> {
    /// Appends the record's bytes. Payloads over `u32::MAX` bytes are not written by callers.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let (code, payload) = self.what.parts();
        let start = out.len();
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&[code, 0, 0, 0]);
        out.extend_from_slice(&self.position.to_le_bytes());
        let check = header_check(out.get(start..).unwrap_or_default());
        out.extend_from_slice(&check.to_le_bytes());
        out.extend_from_slice(payload);
        let check = XxHash3_64::oneshot(out.get(start..).unwrap_or_default());
        out.extend_from_slice(&check.to_le_bytes());
    }

    /// What the bytes begin with, which are not empty.
    pub(super) fn read(bytes: &'a [u8]) -> Read<'a> {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return Read::Torn };
        let [l0, l1, l2, l3, code, _, _, _, position @ .., c0, c1, c2, c3] = *header;
        let fields = header.get(..HEADER - 4).unwrap_or_default();
        if header_check(fields) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Read::Damaged;
        }
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let Some((payload, rest)) = rest.split_at_checked(length) else { return Read::Torn };
        let Some(check) = rest.first_chunk::<CHECK>() else { return Read::Torn };
        let checked = bytes.get(..HEADER + length).unwrap_or_default();
        if XxHash3_64::oneshot(checked) != u64::from_le_bytes(*check) {
            return Read::Damaged;
        }
        let Some(what) = Kind::of(code, payload) else { return Read::Damaged };
        let record = Self { position: u64::from_le_bytes(position), what };
        Read::Whole(record, OVERHEAD + length)
    }
}

fn header_check(fields: &[u8]) -> u32 {
    XxHash3_64::oneshot(fields) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> [Record<'static>; 10] {
        [
            Kind::Purged(Class::Url, b"http://h/a", false),
            Kind::Purged(Class::Url, b"", true),
            Kind::Purged(Class::Host, b"h", false),
            Kind::Purged(Class::Tag, b"t", true),
            Kind::Purged(Class::Prefix, b"/a", false),
            Kind::Purged(Class::Glob, b"/*", true),
            Kind::Everything { soft: false },
            Kind::Superseded { key: b"http://h/a\0v" },
            Kind::Retired,
            Kind::Opened,
        ]
        .map(|what| Record { position: u64::MAX - 7, what })
    }

    #[test]
    fn records_come_back_as_they_were_written() {
        for record in samples() {
            let mut bytes = Vec::new();
            record.write(&mut bytes);
            let length = bytes.len();
            bytes.extend_from_slice(b"what follows");
            assert_eq!(Record::read(&bytes), Read::Whole(record, length));
        }
    }

    #[test]
    fn a_record_cut_off_is_torn_and_one_with_a_wrong_bit_is_damaged() {
        for record in samples() {
            let mut bytes = Vec::new();
            record.write(&mut bytes);
            for cut in 1..bytes.len() {
                assert_eq!(Record::read(&bytes[..cut]), Read::Torn, "{record:?} cut at {cut}");
            }
            for bit in 0..bytes.len() * 8 {
                let mut wrong = bytes.clone();
                wrong[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Record::read(&wrong), Read::Damaged, "{record:?} bit {bit}");
            }
        }
        assert_eq!(Record::read(&[0; 64]), Read::Damaged, "a hole in the file");
    }
}
