//! Which pages of browsers may call the API (the CORS protocol of the Fetch standard).
//!
//! A token comes in a field that a page has to set itself: a browser adds none on its own, so `*` gives nobody anything that
//! it could not fetch without a browser. Credentials that browsers do add (cookies) are never allowed.

use crate::http::{Head, Response};

/// Seconds for which a browser need not ask again. Browsers keep it for less.
const MAX_AGE: &str = "86400";

/// Fields that pages may read beside the few that they always may.
const EXPOSED: &str =
    "Location, Retry-After, Content-Disposition, Allow, WWW-Authenticate, Idempotency-Replayed";

/// Fields that pages may set.
const ALLOWED: &str = "Authorization, Content-Type, Accept, Idempotency-Key, Last-Event-ID";

/// Methods of the API.
const METHODS: &str = "GET, POST, PATCH, DELETE, OPTIONS";

/// `exchange_api.cors_origins`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// `*`
    Any,
    /// These: `https://mail.example.com`.
    These(Vec<String>),
}

/// What is told about one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing: the page's origin is not one of these.
    #[default]
    Nothing,
    /// All may.
    Any,
    /// This one may.
    One(String),
}

impl Origins {
    /// From the values of the key.
    #[must_use]
    pub fn new(origins: &[String]) -> Self {
        if origins.iter().any(|origin| origin == "*") {
            Self::Any
        } else {
            Self::These(origins.to_vec())
        }
    }

    pub(super) fn told(&self, head: &Head) -> Told {
        match self {
            Self::Any => Told::Any,
            Self::These(origins) => {
                let origin = head.field("origin");
                let known =
                    origin.filter(|origin| origins.iter().any(|known| known.eq_ignore_ascii_case(origin)));
                known.map_or(Told::Nothing, |origin| Told::One(origin.to_owned()))
            }
        }
    }
}

impl Told {
    /// Puts it into a response.
    pub(super) fn add(&self, response: &mut Response) {
        match self {
            Self::Nothing => return response.fields.push(("Vary", "Origin".to_owned())),
            Self::Any => response
                .fields
                .push(("Access-Control-Allow-Origin", "*".to_owned())),
            Self::One(origin) => {
                response
                    .fields
                    .push(("Access-Control-Allow-Origin", origin.clone()));
                response.fields.push(("Vary", "Origin".to_owned()));
            }
        }
        response
            .fields
            .push(("Access-Control-Allow-Methods", METHODS.to_owned()));
        response
            .fields
            .push(("Access-Control-Allow-Headers", ALLOWED.to_owned()));
        response
            .fields
            .push(("Access-Control-Expose-Headers", EXPOSED.to_owned()));
    }
}

/// Whether a browser asks if it may ask.
pub(super) fn is_preflight(head: &Head) -> bool {
    head.method == "OPTIONS"
        && head.field("origin").is_some()
        && head.field("access-control-request-method").is_some()
}

/// The answer to it; the rest is added as to all.
pub(super) fn preflight() -> Response {
    Response::empty(204).with("Access-Control-Max-Age", MAX_AGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(origin: &str) -> Head {
        Head {
            fields: vec![("origin".to_owned(), origin.as_bytes().to_vec())],
            ..Head::default()
        }
    }

    #[test]
    fn only_origins_of_the_list_are_told_that_they_may() {
        let these = Origins::new(&["https://a.example".to_owned(), "http://localhost:8080".to_owned()]);
        assert_eq!(
            these.told(&from("https://a.example")),
            Told::One("https://a.example".to_owned())
        );
        for other in [
            "https://a.example.evil",
            "http://a.example",
            "https://a.example:444",
            "null",
            "",
        ] {
            assert_eq!(these.told(&from(other)), Told::Nothing, "{other}");
        }
        assert_eq!(these.told(&Head::default()), Told::Nothing);
        let any = Origins::new(&["https://a.example".to_owned(), "*".to_owned()]);
        assert_eq!(any.told(&from("https://b.example")), Told::Any);
        assert_eq!(Origins::new(&[]).told(&from("null")), Told::Nothing);
    }

    #[test]
    fn what_is_told_depends_on_the_origin_only_where_it_does() {
        let names = |told: &Told| {
            let mut response = Response::empty(204);
            told.add(&mut response);
            let names: Vec<&str> = response.fields.iter().map(|(name, _)| *name).collect();
            names.join(" ")
        };
        assert_eq!(names(&Told::Nothing), "Vary");
        assert!(!names(&Told::Any).contains("Vary"));
        assert!(names(&Told::One("x".to_owned())).starts_with("Access-Control-Allow-Origin Vary"));
        for told in [Told::Any, Told::One("x".to_owned())] {
            assert!(!names(&told).contains("Credentials"), "cookies are for nobody");
        }
    }
}
