//! The head of a request: octets until the empty line, then its parts.

use super::Head;

/// Octets of request line and header fields together.
const MAX_HEAD: usize = 16 * 1024;
/// Header fields.
const MAX_FIELDS: usize = 100;

/// A head on its way in.
#[derive(Debug, Default)]
pub(super) struct Unread {
    octets: Vec<u8>,
}

/// Why it is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    Syntax,
    TooLarge,
}

impl Bad {
    pub(super) fn status(self) -> u16 {
        match self {
            Self::Syntax => 400,
            Self::TooLarge => 431,
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Syntax => "Bad request",
            Self::TooLarge => "Request header too large",
        }
    }
}

impl Unread {
    /// Takes octets; the request once the head is whole. What follows the head is not looked at.
    pub(super) fn take(&mut self, octets: &[u8]) -> Result<Option<Head>, Bad> {
        // Where the empty line may begin that these octets end.
        let from = self.octets.len().saturating_sub(3);
        let room = (MAX_HEAD + 1).saturating_sub(self.octets.len());
        self.octets.extend(octets.iter().take(room));
        let tail = self.octets.get(from..).unwrap_or_default();
        match memchr::memmem::find(tail, b"\r\n\r\n") {
            Some(at) if from + at + 4 <= MAX_HEAD => {
                self.octets.truncate(from + at + 4);
                parse(&self.octets).map(Some)
            }
            None if self.octets.len() <= MAX_HEAD => Ok(None),
            _ => Err(Bad::TooLarge),
        }
    }
}

fn parse(head: &[u8]) -> Result<Head, Bad> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Bad::TooLarge),
        Ok(httparse::Status::Partial) | Err(_) => return Err(Bad::Syntax),
    }
    let values = |name: &str| {
        request
            .headers
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
            .collect::<Vec<_>>()
    };
    // RFC 9112 §3.2: exactly one Host in HTTP/1.1.
    let hosts = values("Host").len();
    if hosts > 1 || (hosts == 0 && request.version == Some(1)) {
        return Err(Bad::Syntax);
    }
    // RFC 9112 §6.3: no doubt about where the body ends, or the request is refused.
    let (lengths, coded) = (values("Content-Length"), !values("Transfer-Encoding").is_empty());
    let odd = |value: &&[u8]| value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit);
    if lengths.len() > 1 || lengths.iter().any(odd) || (coded && !lengths.is_empty()) {
        return Err(Bad::Syntax);
    }
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err(Bad::Syntax);
    };
    let (path, query) = split(target);
    Ok(Head {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        fields: request
            .headers
            .iter()
            .map(|field| (field.name.to_ascii_lowercase(), field.value.to_vec()))
            .collect(),
        old: request.version == Some(0),
    })
}

/// The target's path and query, without scheme and authority (RFC 9112 §3.2).
fn split(target: &str) -> (&str, &str) {
    let target = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
        }
        _ => target,
    };
    target.split_once('?').unwrap_or((target, ""))
}
