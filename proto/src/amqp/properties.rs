//! The rules of single properties: `content_type`, `content_encoding` and `traceparent`.

/// The content type of every body.
pub const CONTENT_TYPE: &str = "application/json";
/// A longer `tracestate` is dropped. W3C Trace Context asks to pass on at least 512 characters.
pub const MAX_TRACESTATE_BYTES: usize = 512;

/// Whether a `content_type` means JSON in UTF-8. Parameters other than `charset` are ignored: they don't change
/// how the body is read.
pub(crate) fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let is_json = parts
        .next()
        .is_some_and(|media| media.eq_ignore_ascii_case(CONTENT_TYPE));
    is_json && parts.all(|parameter| charset(parameter).is_none_or(is_utf8))
}

/// The value of the parameter, if its name is `charset`.
fn charset(parameter: &str) -> Option<&str> {
    let (name, value) = parameter.split_once('=')?;
    name.trim()
        .eq_ignore_ascii_case("charset")
        .then(|| value.trim().trim_matches('"'))
}

fn is_utf8(charset: &str) -> bool {
    charset.eq_ignore_ascii_case("utf-8")
}

/// Whether a `content_encoding` means that the body is not encoded.
pub(crate) fn is_unencoded(content_encoding: &str) -> bool {
    let encoding = content_encoding.trim();
    encoding.is_empty() || encoding.eq_ignore_ascii_case("identity")
}

/// Whether a text is a W3C `traceparent`: version, trace id, span id and flags in lower-case hexadecimal digits,
/// and no id of zeros.
pub(crate) fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, span, flags] = parts[..] else {
        return false;
    };
    let is_hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_id = |part: &str, length| is_hex(part, length) && part.bytes().any(|b| b != b'0');
    is_hex(version, 2) && version != "ff" && is_id(trace, 32) && is_id(span, 16) && is_hex(flags, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_spelling_of_json_in_utf8_is_accepted() {
        for content_type in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=UTF-8",
            "application/json ; Charset = \"utf-8\" ; profile=x",
            "application/json;",
        ] {
            assert!(is_json(content_type), "{content_type}");
        }
        for content_type in [
            "",
            "text/plain",
            "application/json-patch+json",
            "application/json, text/plain",
            "application/json; charset=iso-8859-1",
            "application/json; charset=utf-16",
            "application/json; charset=",
            "application/json; charset=utf-8; charset=latin1",
        ] {
            assert!(!is_json(content_type), "{content_type}");
        }
    }

    #[test]
    fn only_identity_means_a_plain_body() {
        for none in ["", " ", "identity", "Identity"] {
            assert!(is_unencoded(none), "{none}");
        }
        for other in ["gzip", "deflate", "identity, gzip", "utf-8"] {
            assert!(!is_unencoded(other), "{other}");
        }
    }

    #[test]
    fn only_the_w3c_form_is_a_traceparent() {
        let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        assert!(is_traceparent(&format!("00-{trace}-{span}-01")));
        for other in [
            String::new(),
            "00-abc".to_owned(),
            format!("ff-{trace}-{span}-01"),
            format!("00-{}-{span}-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("00-{}-{span}-01", trace.to_uppercase()),
            format!("00-{trace}-{span}-01-more"),
            format!(" 00-{trace}-{span}-01"),
            format!("00-{trace}-{span}-1"),
        ] {
            assert!(!is_traceparent(&other), "{other}");
        }
    }
}
