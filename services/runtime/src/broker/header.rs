//! Checks a content header the way that lapin would parse it, but without recursion, without
//! copying, and with limits.
//!
//! RabbitMQ passes the properties of a message on as they came: it checks neither that short strings
//! are UTF-8 nor how deep tables are nested. lapin closes the connection at the first, and overflows
//! the stack of its thread at the second, which aborts the process.

/// The largest payload of a content header: all properties of a message together.
pub const MAX_HEADER_BYTES: usize = 32 * 1024;
/// How deep tables and arrays may be nested. The table of headers itself is the first level.
pub const MAX_DEPTH: usize = 16;
/// How many values a table of headers may hold, those of tables and arrays inside of it included.
/// Each takes about 100 bytes once it is parsed, and some hundred messages are in memory at once.
pub const MAX_VALUES: usize = 256;
/// Class, weight, and the body's size.
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
    /// More than [`MAX_VALUES`].
    #[error("there are too many headers")]
    TooMany,
    /// More than [`MAX_HEADER_BYTES`], or than fits into a frame.
    #[error("the properties are too large")]
    TooLarge,
}

/// How a property is written. `None` ends the list.
#[derive(Clone, Copy)]
enum Property {
    ShortString,
    Table,
    Bytes(usize),
}

/// The properties, from the flags' highest bit down.
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
/// The flag that says that there is a table of headers, and the two properties in front of it.
const HEADERS_FLAG: u16 = 1 << 13;
const IN_FRONT_OF_HEADERS: [u16; 2] = [1 << 15, 1 << 14];
/// Flags that AMQP 0-9-1 gives no meaning to. The lowest announces more flags.
const UNKNOWN_FLAGS: u16 = 0b11;

/// Checks the payload of a content header frame. What passes, lapin can parse.
///
/// # Errors
/// The first thing that is wrong.
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
    // What is left after each table or array that is open, and whether it is a table.
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
        // Nothing may reach over the end of what it stands in.
        let ends = open.last().map(|(left_after, _)| *left_after);
        if ends.is_some_and(|left_after| bytes.bytes.len() < left_after)
            || bytes.bytes.len() < left_after
        {
            return Err(Unreadable::Malformed);
        }
    }
    Ok(())
}

/// A content header of the same class with a body of this size, whose only property is a header
/// that is `true`.
pub(super) fn marked(class: [u8; 2], body_size: u64, name: &str) -> Vec<u8> {
    let mut payload = Vec::with_capacity(FIXED_BYTES + 64);
    payload.extend(class);
    payload.extend([0, 0]);
    payload.extend(body_size.to_be_bytes());
    payload.extend([0, 0]);
    with_header(&payload, &boolean_field(name))
}

/// A field of a table of headers that is `true`.
pub(super) fn boolean_field(name: &str) -> Vec<u8> {
    field(name, &[b't', 1])
}

/// A field of a table of headers that is a number.
pub(super) fn number_field(name: &str, value: u64) -> Vec<u8> {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    field(name, &[&[b'l'][..], &value.to_be_bytes()].concat())
}

fn field(name: &str, value: &[u8]) -> Vec<u8> {
    // Names are ours, and short.
    let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
    [&[length], name.as_bytes(), value].concat()
}

/// The same content header, which was checked, with one more header in front of the others.
pub(super) fn with_header(payload: &[u8], field: &[u8]) -> Vec<u8> {
    let flags_at = FIXED_BYTES;
    let flags = u16::from_be_bytes([payload[flags_at], payload[flags_at + 1]]);
    let mut table_at = flags_at + 2;
    for flag in IN_FRONT_OF_HEADERS {
        if flags & flag != 0 {
            table_at += 1 + usize::from(payload[table_at]);
        }
    }
    let (mut fields_at, mut length) = (table_at, 0);
    if flags & HEADERS_FLAG != 0 {
        let bytes = &payload[table_at..table_at + 4];
        length = bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        fields_at += 4;
    }
    length += u32::try_from(field.len()).unwrap_or_default();
    let mut with = payload[..table_at].to_vec();
    with[flags_at..flags_at + 2].copy_from_slice(&(flags | HEADERS_FLAG).to_be_bytes());
    with.extend(length.to_be_bytes());
    with.extend(field);
    with.extend(&payload[fields_at..]);
    with
}

/// Reads from the front of some bytes.
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
