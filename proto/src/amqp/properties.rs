//! The rules of single message properties: how a body is written, and where a trace comes from.

/// The content type of every body.
pub const CONTENT_TYPE: &str = "application/json";
/// The longest `tracestate` that is kept, in bytes: what W3C asks everyone to be able to pass on.
pub const MAX_TRACESTATE_BYTES: usize = 512;

/// Whether a `content_type` says JSON in UTF-8. Parameters other than `charset` say nothing about
/// how to read the body and are ignored.
pub(crate) fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let is_json = parts
        .next()
        .is_some_and(|media| media.eq_ignore_ascii_case(CONTENT_TYPE));
    is_json && parts.all(|parameter| charset(parameter).is_none_or(is_utf8))
}

/// The value of a parameter that is a charset.
fn charset(parameter: &str) -> Option<&str> {
    let (name, value) = parameter.split_once('=')?;
    name.trim()
        .eq_ignore_ascii_case("charset")
        .then(|| value.trim().trim_matches('"'))
}

fn is_utf8(charset: &str) -> bool {
    charset.eq_ignore_ascii_case("utf-8")
}

/// Whether a `content_encoding` leaves the body as it is.
pub(crate) fn is_unencoded(content_encoding: &str) -> bool {
    let encoding = content_encoding.trim();
    encoding.is_empty() || encoding.eq_ignore_ascii_case("identity")
}

/// Whether a text is a W3C `traceparent`: version, trace, span and flags in lower-case hexadecimal
/// digits, neither of the ids zero.
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
    fn json_in_utf8_is_said_in_many_ways() {
        for said in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=UTF-8",
            "application/json ; Charset = \"utf-8\" ; profile=x",
            "application/json;",
        ] {
            assert!(is_json(said), "{said}");
        }
        for said in [
            "",
            "text/plain",
            "application/json-patch+json",
            "application/json, text/plain",
            "application/json; charset=iso-8859-1",
            "application/json; charset=utf-16",
            "application/json; charset=",
            "application/json; charset=utf-8; charset=latin1",
        ] {
            assert!(!is_json(said), "{said}");
        }
    }

    #[test]
    fn only_identity_leaves_a_body_as_it_is() {
        for none in ["", " ", "identity", "Identity"] {
            assert!(is_unencoded(none), "{none}");
        }
        for other in ["gzip", "deflate", "identity, gzip", "utf-8"] {
            assert!(!is_unencoded(other), "{other}");
        }
    }

    #[test]
    fn a_traceparent_has_the_form_of_w3c_or_is_none() {
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
