//! Content headers that replace those that lapin must not see.

use super::{UNREADABLE_BODY, UNREADABLE_PROPERTIES};
use crate::broker::header::{FIXED_BYTES, check_content_header};

/// The flag of the table of headers, and those of the two properties in front of it.
const HEADERS_FLAG: u16 = 1 << 13;
const FLAGS_BEFORE_HEADERS: [u16; 2] = [1 << 15, 1 << 14];

/// The sizes of a content header and its body. They are known before the whole header has arrived.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub header_is_too_large: bool,
    pub body: u64,
    pub body_is_too_large: bool,
}

/// The payload that replaces this content header. `None`: lapin can read the header, and the body may
/// pass. The fixed part of `payload` is enough where the header is too large.
pub(super) fn replacement(payload: &[u8], size: Size) -> Option<Vec<u8>> {
    let is_unreadable = size.header_is_too_large || check_content_header(payload).is_err();
    if !is_unreadable && !size.body_is_too_large {
        return None;
    }
    let mut changed = if is_unreadable {
        unreadable([payload[0], payload[1]], size.body)
    } else {
        payload.to_vec()
    };
    if size.body_is_too_large {
        let value = i64::try_from(size.body).unwrap_or(i64::MAX).to_be_bytes();
        let field = field(UNREADABLE_BODY, &[&b"l"[..], &value].concat());
        changed = with_header(&changed, &field);
        changed[4..FIXED_BYTES].fill(0);
    }
    Some(changed)
}

/// A content header of this class, whose only property is the header that says that the properties
/// could not be read.
fn unreadable(class: [u8; 2], body_size: u64) -> Vec<u8> {
    let mut payload = Vec::with_capacity(FIXED_BYTES + 64);
    payload.extend(class);
    payload.extend([0, 0]);
    payload.extend(body_size.to_be_bytes());
    payload.extend([0, 0]);
    with_header(&payload, &field(UNREADABLE_PROPERTIES, &[b't', 1]))
}

/// A field of a table of headers: a name of at most 255 bytes, and an encoded value.
fn field(name: &str, value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
    [&[length], name.as_bytes(), value].concat()
}

/// The same content header with one more header in front of the others. It must have passed
/// [`check_content_header`].
fn with_header(payload: &[u8], field: &[u8]) -> Vec<u8> {
    let flags_at = FIXED_BYTES;
    let flags = u16::from_be_bytes([payload[flags_at], payload[flags_at + 1]]);
    let mut table_at = flags_at + 2;
    for flag in FLAGS_BEFORE_HEADERS {
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
    let mut changed = payload[..table_at].to_vec();
    changed[flags_at..flags_at + 2].copy_from_slice(&(flags | HEADERS_FLAG).to_be_bytes());
    changed.extend(length.to_be_bytes());
    changed.extend(field);
    changed.extend(&payload[fields_at..]);
    changed
}
