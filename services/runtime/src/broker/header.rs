//! Checks whether lapin can parse a content header, without recursion, without copying, and with limits.
//!
//! RabbitMQ passes on the properties of a message unchanged. It does not check that short strings are
//! UTF-8, and it does not limit how deep tables are nested. lapin closes the connection at a short
//! string that is not UTF-8. At deeply nested tables it overflows its stack, which aborts the process.

/// The largest payload of a content header: all properties of a message together.
pub const MAX_HEADER_BYTES: usize = 32 * 1024;
/// The deepest nesting of tables and arrays. The table of headers itself is the first level.
pub const MAX_DEPTH: usize = 16;
/// The most values in a table of headers, including those of nested tables and arrays. Each takes about
/// 100 bytes after parsing, and several hundred messages are in memory at once.
pub const MAX_VALUES: usize = 256;
/// The length of the fixed part: class, weight, and the size of the body.
pub(super) const FIXED_BYTES: usize = 12;

const TABLE: u8 = b'F';
const ARRAY: u8 = b'A';

/// Why the properties of a message can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A length or a type is wrong.
    #[error("the content header is malformed")]
    Malformed,
    /// A property or the name of a header is not UTF-8.
    #[error("a short string is not UTF-8")]
    NotUtf8,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("the headers are nested too deep")]
    TooDeep,
    /// More values than [`MAX_VALUES`].
    #[error("there are too many headers")]
    TooMany,
    /// Larger than [`MAX_HEADER_BYTES`], or than a frame.
    #[error("the properties are too large")]
    TooLarge,
}

/// How a property is encoded.
#[derive(Clone, Copy)]
enum Property {
    ShortString,
    Table,
    Bytes(usize),
}

/// The properties, from the highest bit of the flags down.
const PROPERTIES: [Property; 14] = {
    use Property::{Bytes, ShortString, Table};
    [
        ShortString, // content_type
        ShortString, // content_encoding
        Table,       // headers
        Bytes(1),    // delivery_mode
        Bytes(1),    // priority
        ShortString, // correlation_id
        ShortString, // reply_to
        ShortString, // expiration
        ShortString, // message_id
        Bytes(8),    // timestamp
        ShortString, // type
        ShortString, // user_id
        ShortString, // app_id
        ShortString, // cluster_id
    ]
};
/// Flags without a meaning in AMQP 0-9-1. If the lowest one is set, another word of flags follows.
const UNKNOWN_FLAGS: u16 = 0b11;

/// Checks the payload of a content header frame. lapin can parse every payload that passes.
///
/// # Errors
/// The first reason why it does not pass.
pub fn check_content_header(payload: &[u8]) -> Result<(), Unreadable> {
    if payload.len() > MAX_HEADER_BYTES {
        return Err(Unreadable::TooLarge);
    }
    let mut bytes = Bytes { bytes: payload };
    bytes.skip(FIXED_BYTES)?;
    let flags = bytes.number::<2>()?;
    if flags & usize::from(UNKNOWN_FLAGS) != 0 {
        return Err(Unreadable::Malformed);
    }
    for (bit, property) in (0..16).rev().zip(PROPERTIES) {
        if flags & (1 << bit) == 0 {
            continue;
        }
        match property {
            Property::ShortString => bytes.short_string()?,
            Property::Bytes(count) => bytes.skip(count)?,
            Property::Table => {
                let length = bytes.number::<4>()?;
                check_table(bytes.take(length)?)?;
            }
        }
    }
    if bytes.bytes.is_empty() {
        Ok(())
    } else {
        Err(Unreadable::Malformed)
    }
}

/// Checks the fields of a table, without its length.
fn check_table(fields: &[u8]) -> Result<(), Unreadable> {
    let mut bytes = Bytes { bytes: fields };
    // For each open table or array: how many bytes are left after its end, and whether it is a table.
    let mut open: Vec<(usize, bool)> = vec![(0, true)];
    let mut values = 0;
    while let Some(&(left_after, is_table)) = open.last() {
        if bytes.bytes.len() == left_after {
            open.pop();
            continue;
        }
        values += 1;
        if values > MAX_VALUES {
            return Err(Unreadable::TooMany);
        }
        if is_table {
            bytes.short_string()?;
        }
        let tag = bytes.number::<1>()?;
        match u8::try_from(tag).unwrap_or_default() {
            b'V' => {}
            b't' | b'b' | b'B' => bytes.skip(1)?,
            b's' | b'U' | b'u' => bytes.skip(2)?,
            b'I' | b'i' | b'f' => bytes.skip(4)?,
            b'D' => bytes.skip(5)?,
            b'l' | b'L' | b'd' | b'T' => bytes.skip(8)?,
            b'S' | b'x' => {
                let length = bytes.number::<4>()?;
                bytes.skip(length)?;
            }
            tag @ (TABLE | ARRAY) => {
                let length = bytes.number::<4>()?;
                let left = bytes.bytes.len().checked_sub(length);
                let left = left.ok_or(Unreadable::Malformed)?;
                if open.len() == MAX_DEPTH {
                    return Err(Unreadable::TooDeep);
                }
                open.push((left, tag == TABLE));
            }
            _ => return Err(Unreadable::Malformed),
        }
        // A value must not reach over the end of the table or array that holds it.
        let ends = open.last().map(|(left_after, _)| *left_after);
        if ends.is_some_and(|left_after| bytes.bytes.len() < left_after)
            || bytes.bytes.len() < left_after
        {
            return Err(Unreadable::Malformed);
        }
    }
    Ok(())
}

/// Bytes that are read from the front.
struct Bytes<'a> {
    bytes: &'a [u8],
}

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Unreadable> {
        let (front, rest) = self
            .bytes
            .split_at_checked(count)
            .ok_or(Unreadable::Malformed)?;
        self.bytes = rest;
        Ok(front)
    }

    fn skip(&mut self, count: usize) -> Result<(), Unreadable> {
        self.take(count).map(drop)
    }

    fn number<const BYTES: usize>(&mut self) -> Result<usize, Unreadable> {
        let bytes = self.take(BYTES)?;
        Ok(bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    }

    fn short_string(&mut self) -> Result<(), Unreadable> {
        let length = self.number::<1>()?;
        let text = self.take(length)?;
        match str::from_utf8(text) {
            Ok(_) => Ok(()),
            Err(_) => Err(Unreadable::NotUtf8),
        }
    }
}
