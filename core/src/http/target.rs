//! The target of a request, and the host that it names (RFC 9112 §3.2).

/// A target in its parts, as they were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    /// Of the absolute form: it counts in the place of Host (RFC 9112 §3.2.2).
    pub(super) authority: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// origin-form, absolute-form, or for OPTIONS asterisk-form. Nothing else is a target for us: the authority-form is for
    /// proxies.
    pub(super) fn parse(method: &str, target: &'a str) -> Option<Self> {
        // No fragment (RFC 9112 §3.2), no white space, nothing that is not ASCII.
        if !target
            .bytes()
            .all(|octet| octet.is_ascii_graphic() && octet != b'#')
        {
            return None;
        }
        if target == "*" {
            return (method == "OPTIONS").then_some(Self {
                path: target,
                query: "",
                authority: None,
            });
        }
        let (authority, rest) = match target.as_bytes().first() {
            Some(b'/') => (None, target),
            _ => absolute(target).map(|(authority, rest)| (Some(authority), rest))?,
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = match path {
            // RFC 9112 §3.2.4: what a proxy would make of it.
            "" if method == "OPTIONS" && !rest.starts_with('?') => "*",
            "" => "/",
            path => path,
        };
        Some(Self {
            path,
            query,
            authority,
        })
    }
}

/// The authority of `http://authority/path?query`, and what follows it.
fn absolute(target: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at_checked(end)?;
    (!authority.is_empty() && is_host(authority.as_bytes())).then_some((authority, rest))
}

/// `Host = uri-host [ ":" port ]` (RFC 9110 §7.2); it may be empty. No user information, and no comma: two fields that
/// somebody has joined name no host.
pub(super) fn is_host(value: &[u8]) -> bool {
    let (host, rest) = match value.first() {
        Some(b'[') => match memchr::memchr(b']', value) {
            Some(end) => value.split_at(end + 1),
            None => return false,
        },
        _ => value.split_at(memchr::memchr(b':', value).unwrap_or(value.len())),
    };
    let good_host = match host {
        [b'[', inner @ .., b']'] => {
            !inner.is_empty()
                && inner
                    .iter()
                    .all(|octet| octet.is_ascii_alphanumeric() || b":.-_~".contains(octet))
        }
        name => name
            .iter()
            .all(|octet| octet.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=".contains(octet)),
    };
    let good_port = match rest {
        [] => true,
        [b':', port @ ..] => port.len() <= 5 && port.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    good_host && good_port && (rest.is_empty() || !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts<'a>(method: &str, target: &'a str) -> Option<(&'a str, &'a str, Option<&'a str>)> {
        Target::parse(method, target).map(|target| (target.path, target.query, target.authority))
    }

    #[test]
    fn each_form_is_taken_apart() {
        assert_eq!(parts("GET", "/where?q=now"), Some(("/where", "q=now", None)));
        assert_eq!(
            parts("GET", "http://www.example.org/pub/x.html"),
            Some(("/pub/x.html", "", Some("www.example.org")))
        );
        assert_eq!(
            parts("GET", "HTTPS://x:9003?a?b"),
            Some(("/", "a?b", Some("x:9003")))
        );
        assert_eq!(parts("OPTIONS", "*"), Some(("*", "", None)));
        assert_eq!(
            parts("OPTIONS", "http://www.example.org:8001"),
            Some(("*", "", Some("www.example.org:8001")))
        );
        assert_eq!(parts("GET", "//x/y"), Some(("//x/y", "", None)));
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for target in [
            "",
            "*",
            "x",
            "www.example.com:80",
            "/a#b",
            "/\u{e9}",
            "/a\tb",
            "ftp://x/",
            "http:///x",
            "http://user@x/",
            "http://x:port/",
            "://x/",
        ] {
            assert_eq!(parts("GET", target), None, "{target:?}");
        }
    }

    #[test]
    fn hosts_are_names_and_addresses() {
        for good in [
            "",
            "x",
            "mail.example.com",
            "x:9002",
            "x:",
            "127.0.0.1:80",
            "[::1]:80",
            "[2001:db8::1]",
        ] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "a b", "a,b", "a/b", "u@x", "x:y", "x:123456", "[::1", "[]", "[::1]x", ":80", "a:1:2", "\u{e9}",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }
}
