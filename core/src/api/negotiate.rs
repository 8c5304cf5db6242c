//! Media types: what a request's body is, and what its sender takes as an answer.

use super::Failure;
use crate::http::Head;

/// What a body is said to be, without parameters and in lower case; none: it is not said.
pub(super) fn media_type(head: &Head) -> Option<String> {
    let value = head.field("content-type")?;
    let (essence, _) = value.split_once(';').unwrap_or((value, ""));
    Some(essence.trim().to_ascii_lowercase())
}

/// Whether there is a body at all (RFC 9112 §6.3).
pub(super) fn has_body(head: &Head) -> bool {
    let length = head.field("content-length").is_some_and(|length| length != "0");
    length || head.field("transfer-encoding").is_some()
}

/// Octets that the body is said to have.
pub(super) fn announced(head: &Head) -> Option<u64> {
    head.field("content-length")?.parse().ok()
}

/// Whether the body is one of these types. One without a type is taken to be of the first (RFC 9110 §8.3 lets us).
///
/// # Errors
/// 415: it is another, or it is encoded, or text in a character set that is not UTF-8.
pub(super) fn body_type(head: &Head, types: &[&'static str]) -> Result<&'static str, Failure> {
    let refused = |error: String| {
        let mut failure = Failure::new(415, error);
        failure.fields.push(("Accept-Encoding", "identity".to_owned()));
        failure
    };
    if head
        .all("content-encoding")
        .any(|coding| !coding.eq_ignore_ascii_case("identity"))
    {
        return Err(refused(
            "Bodies are taken without Content-Encoding only".to_owned(),
        ));
    }
    let expected = || refused(format!("Expected a body of type {}", types.join(" or ")));
    let first = types.first().copied().unwrap_or_default();
    let Some(given) = media_type(head) else {
        return if head.fields.iter().any(|(name, _)| name == "content-type") {
            Err(expected())
        } else {
            Ok(first)
        };
    };
    let found = types.iter().find(|known| **known == given).copied();
    let found = found.ok_or_else(expected)?;
    if found == "application/json"
        && charset(head).is_some_and(|charset| !charset.eq_ignore_ascii_case("utf-8"))
    {
        return Err(refused("JSON is UTF-8 (RFC 8259 §8.1)".to_owned()));
    }
    Ok(found)
}

fn charset(head: &Head) -> Option<&str> {
    let parameters = head.field("content-type")?.split(';').skip(1);
    let mut named = parameters.filter_map(|parameter| parameter.split_once('='));
    let (_, value) = named.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
    Some(value.trim().trim_matches('"'))
}

/// Whether an answer of one of these types is taken (RFC 9110 §12.5.1). Where there is nothing to send, all is well.
pub(super) fn accepts(head: &Head, types: &[String]) -> bool {
    let mut fields = head.all("accept").peekable();
    if fields.peek().is_none() || types.is_empty() || types.iter().any(|known| known.contains('*')) {
        return true;
    }
    let ranges: Vec<(&str, bool)> = fields
        .flat_map(|field| field.split(','))
        .filter_map(range)
        .collect();
    // A field with nothing in it says nothing.
    ranges.is_empty() || types.iter().any(|known| is_taken(known, &ranges))
}

/// The most specific range that covers the type decides.
fn is_taken(known: &str, ranges: &[(&str, bool)]) -> bool {
    let (kind, _) = known.split_once('/').unwrap_or((known, ""));
    let specific = |range: &str| match range.split_once('/') {
        Some(("*", "*")) => Some(0),
        Some((one, "*")) if one.eq_ignore_ascii_case(kind) => Some(1),
        Some(_) if range.eq_ignore_ascii_case(known) => Some(2),
        _ => None,
    };
    let covering = ranges
        .iter()
        .filter_map(|(range, taken)| Some((specific(range)?, *taken)));
    covering.max().is_some_and(|(_, taken)| taken)
}

/// A range, and whether its weight is not 0.
fn range(text: &str) -> Option<(&str, bool)> {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next().filter(|range| !range.is_empty())?;
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    let taken = weight.is_none_or(|weight| !is_zero(weight));
    Some((range, taken))
}

fn is_zero(weight: &str) -> bool {
    weight.starts_with('0') && weight.bytes().all(|octet| matches!(octet, b'0' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &[(&str, &str)]) -> Head {
        Head {
            fields: fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
                .collect(),
            ..Head::default()
        }
    }

    #[test]
    fn the_most_specific_range_decides() {
        let takes = |accept: &str| accepts(&head(&[("accept", accept)]), &["application/json".to_owned()]);
        for good in [
            "*/*",
            "application/*",
            "application/json",
            "Application/JSON",
            "text/html, application/json;q=0.1",
            "text/html;q=0.9, */*;q=0.1",
            "application/json; charset=utf-8",
            "*/*;q=0, application/json",
            "",
            ", ,",
        ] {
            assert!(takes(good), "{good:?}");
        }
        for bad in [
            "text/html",
            "application/xml",
            "application/json;q=0",
            "*/*, application/json;q=0.000",
            "application/*;q=0, */*",
            "json",
        ] {
            assert!(!takes(bad), "{bad:?}");
        }
        assert!(accepts(&head(&[]), &["application/json".to_owned()]));
        assert!(accepts(&head(&[("accept", "text/html")]), &[]));
        let two = head(&[("accept", "text/html"), ("accept", "application/json")]);
        assert!(accepts(&two, &["application/json".to_owned()]));
    }

    #[test]
    fn a_body_is_what_it_is_said_to_be() {
        let types = &["application/json", "message/rfc822"];
        let of = |fields: &[(&str, &str)]| body_type(&head(fields), types).map_err(|failure| failure.status);
        assert_eq!(of(&[]), Ok("application/json"));
        assert_eq!(of(&[("content-type", "Message/RFC822")]), Ok("message/rfc822"));
        assert_eq!(
            of(&[("content-type", "application/json; Charset=\"UTF-8\"")]),
            Ok("application/json")
        );
        for bad in [
            "text/plain",
            "application/json; charset=latin1",
            "",
            "application/jsonp",
            "application/x-www-form-urlencoded",
        ] {
            assert_eq!(of(&[("content-type", bad)]), Err(415), "{bad:?}");
        }
        assert_eq!(of(&[("content-encoding", "gzip")]), Err(415));
        assert_eq!(of(&[("content-encoding", "identity")]), Ok("application/json"));
        assert!(!has_body(&head(&[("content-length", "0")])) && !has_body(&head(&[])));
        assert!(
            has_body(&head(&[("content-length", "1")]))
                && has_body(&head(&[("transfer-encoding", "chunked")]))
        );
    }
}
