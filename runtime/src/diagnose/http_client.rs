//! A client of the HTTP API that asks and tells, and judges nothing: one connection for each request.

use rmail_core::diagnose::Service;
use serde_json::Value;

use super::wire::Lost;
use super::{Checked, Run, Trouble};

/// An answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Response {
    pub(super) status: u16,
    head: String,
    pub(super) body: String,
}

impl Response {
    /// A header field's value.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// For people.
    pub(super) fn shown(&self) -> String {
        format!("{} {}", self.status, self.body)
    }

    /// Itself, if it has this status.
    pub(super) fn wanted(self, status: u16, what: &str) -> Checked<Self> {
        if self.status == status {
            return Ok(self);
        }
        Err(Trouble::broken(format!("{status} to {what}"), self.shown()))
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ask<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) token: Option<&'a str>,
    /// Its type, and itself.
    pub(super) body: Option<(&'a str, &'a str)>,
    /// More header fields, each with its line end.
    pub(super) headers: &'a str,
}

impl Ask<'_> {
    pub(super) fn of(self, run: &Run<'_>, service: Service) -> Checked<Response> {
        let mut wire = run.connect(service)?;
        if service.is_secure() {
            wire.encrypt(&run.tls, &run.subject.name)?;
        }
        let mut request = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAccept: */*\r\n{}",
            self.method, self.path, run.subject.name, self.headers
        );
        if let Some(token) = self.token {
            request += &format!("Authorization: Bearer {token}\r\n");
        }
        if let Some((kind, body)) = self.body {
            request += &format!(
                "Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
        } else {
            request += "\r\n";
        }
        wire.send(request.as_bytes())?;
        let octets = wire
            .rest()
            .map_err(|lost: Lost| Trouble::broken("an answer", lost))?;
        parse(&octets).ok_or_else(|| {
            let came = String::from_utf8_lossy(&octets).into_owned();
            Trouble::broken("a response of HTTP/1.1", came)
        })
    }
}

fn parse(octets: &[u8]) -> Option<Response> {
    let text = String::from_utf8_lossy(octets);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let mut response = Response {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    };
    let chunked = |value: &str| value.to_ascii_lowercase().contains("chunked");
    if response.header("Transfer-Encoding").is_some_and(chunked) {
        response.body = unchunked(body);
    }
    Some(response)
}

/// Bodies of texts come in few chunks; what is broken is left out.
fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let count = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16).unwrap_or(0);
        match rest.get(..count) {
            Some(chunk) if count > 0 => whole.push_str(chunk),
            _ => break,
        }
        body = rest
            .get(count..)
            .map_or("", |rest| rest.strip_prefix("\r\n").unwrap_or(rest));
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_read() {
        let response = parse(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhi").expect("a response");
        assert_eq!((response.status, response.body.as_str()), (200, "hi"));
        assert_eq!(response.header("content-type"), Some("text/plain"));
        let chunked =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n3\r\n ho\r\n0\r\n\r\n";
        assert_eq!(
            parse(chunked).map(|response| response.body).as_deref(),
            Some("hi ho")
        );
        assert!(parse(b"SSH-2.0-x\r\n\r\n").is_none());
    }
}
