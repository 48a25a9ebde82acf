//! Cursors and page sizes, for the pages of records and of their history.

use async_graphql::connection::PageInfo;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use proto::CommandError;
use serde::{Serialize, de::DeserializeOwned};

use super::errors::ApiError;
use crate::records::{PAGE, PAGE_MOST, Position};

/// The number of records in a page.
///
/// # Errors
/// `first` is out of its range.
pub(super) fn page_size(first: Option<i32>) -> Result<u32, ApiError> {
    match first.map(u32::try_from) {
        None => Ok(PAGE),
        Some(Ok(count @ 1..=PAGE_MOST)) => Ok(count),
        Some(_) => Err(ApiError::Invalid(vec![CommandError::value(
            "first",
            "must be from 1 to 100",
        )])),
    }
}

/// Encodes a position in base64, because clients must treat cursors as opaque.
///
/// # Errors
/// The position can't be serialised, which its types do not allow.
pub(super) fn encode_cursor(position: &impl Serialize) -> Result<String, ApiError> {
    let json = serde_json::to_vec(position).map_err(|_| ApiError::Internal)?;
    Ok(URL_SAFE_NO_PAD.encode(json))
}

/// # Errors
/// The text is not a cursor of a page of this type.
pub(super) fn decode_cursor<T: DeserializeOwned>(cursor: &str) -> Result<T, ApiError> {
    let json = URL_SAFE_NO_PAD.decode(cursor).ok();
    json.and_then(|json| serde_json::from_slice(&json).ok())
        .ok_or_else(not_a_cursor)
}

/// Whether a text is a cursor of a page of records, or of a page of changes.
pub(crate) fn is_cursor(text: &str) -> bool {
    decode_cursor::<Position>(text).is_ok() || decode_cursor::<i64>(text).is_ok()
}

pub(super) fn not_a_cursor() -> ApiError {
    ApiError::Invalid(vec![CommandError::value(
        "after",
        "must be a cursor of an earlier page",
    )])
}

pub(super) fn page_info<'a>(
    mut cursors: impl DoubleEndedIterator<Item = &'a String>,
    has_previous_page: bool,
    has_next_page: bool,
) -> PageInfo {
    let start_cursor = cursors.next().cloned();
    let end_cursor = cursors.next_back().or(start_cursor.as_ref()).cloned();
    PageInfo {
        has_previous_page,
        has_next_page,
        start_cursor,
        end_cursor,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_can_be_read_back_as_the_same_position() {
        let position: Position = ["a", "", "\u{e9}", "\"d\""].map(ToOwned::to_owned);
        let cursor = encode_cursor(&position).ok();
        let decoded = cursor.and_then(|cursor| decode_cursor::<Position>(&cursor).ok());
        assert_eq!(decoded, Some(position));
    }

    #[test]
    fn a_cursor_of_another_kind_of_page_is_rejected() {
        for text in ["", "?", "bm9uc2Vuc2U", "MQ==", "W10"] {
            assert!(!is_cursor(text), "{text}");
        }
        let revision = encode_cursor(&7_i64).unwrap_or_default();
        assert!(is_cursor(&revision));
        assert!(decode_cursor::<Position>(&revision).is_err());
    }

    #[test]
    fn a_page_has_from_1_to_100_records_and_20_by_default() {
        let size = |first| page_size(first).ok();
        assert_eq!(size(None), Some(20));
        assert_eq!(size(Some(1)), Some(1));
        assert_eq!(size(Some(100)), Some(100));
        for first in [0, 101, -1, i32::MIN, i32::MAX] {
            assert_eq!(size(Some(first)), None, "{first}");
        }
    }

    #[test]
    fn the_page_info_has_the_first_and_the_last_cursor() {
        let cursors = ["a", "b", "c"].map(ToOwned::to_owned);
        let of = |cursors: &[String]| {
            let info = page_info(cursors.iter(), false, true);
            (info.start_cursor, info.end_cursor)
        };
        assert_eq!(of(&cursors), (Some("a".to_owned()), Some("c".to_owned())));
        assert_eq!(
            of(&cursors[..1]),
            (Some("a".to_owned()), Some("a".to_owned()))
        );
        assert_eq!(of(&[]), (None, None));
    }
}
