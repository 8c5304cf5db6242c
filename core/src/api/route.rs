//! The table of calls: it routes, and the description of the API (`/openapi.json`) is made from it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

use super::{Access, Answer, Ask, Caller, Failure, query};
use crate::http::{Head, Response};
use crate::machine::SpoolId;

/// A call of the API.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// `GET`.
    pub method: &'static str,
    /// `/folders/{id}/messages`: a segment in braces is a parameter.
    pub path: &'static str,
    /// Its name in the description (`operationId`): `listMessages`.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Who may.
    pub access: Access,
    /// What it wants of a body.
    pub body: BodyRule,
    /// Reads the request: what is asked of the service, or the answer at once.
    pub begin: fn(&Request<'_>) -> Result<Next, Failure>,
    /// Writes the answer.
    pub render: fn(&Request<'_>, Answer) -> Response,
    /// The rest of the operation's description: `parameters`, `requestBody`, `responses` (OpenAPI 3.1). What all have in
    /// common (errors, security) is added: an error's response may be `{}`. `schemas` has, by their names, those that are
    /// then found as `#/components/schemas/NAME`.
    pub describe: fn() -> Value,
}

/// What a call wants of a request's body.
#[derive(Clone, Copy, Debug)]
pub enum BodyRule {
    /// None: what comes is read and dropped.
    None,
    /// JSON, in memory, of at most so many octets; absent is an error unless `optional`.
    Json {
        /// Octets.
        max: u64,
        /// It may be missing.
        optional: bool,
    },
    /// JSON that holds a message, in memory: the bound is made from the bound of messages.
    JsonMessage,
    /// `message/rfc822` goes into a spool that this opens (first look at the request), or JSON as in `JsonMessage`.
    Message(fn(&Request<'_>, SpoolId, u64) -> Result<Ask, Failure>),
    /// Octets of any type in memory, of at most so many.
    Any(u64),
}

/// How it goes on with a request that was read.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Ask, and answer with [`Route::render`].
    Ask(Ask),
    /// Answered without asking.
    Respond(Response),
}

/// A request as a call sees it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its head.
    pub head: &'a Head,
    /// Values of the path's parameters, in their order, decoded.
    pub parameters: &'a [String],
    /// The query's names and values, decoded, in their order.
    pub query: &'a [(String, String)],
    /// The body, if it is in memory and read already.
    pub body: &'a [u8],
    /// The body, if it is in a spool.
    pub spool: Option<SpoolId>,
    /// What the API was told at its start.
    pub settings: &'a super::Settings,
    /// Whose token came with it; good as far as signature and time go, and looked at even where nobody need have one. Only
    /// the service knows whether it still holds.
    pub caller: Option<&'a Caller>,
    /// The connection is encrypted.
    pub secure: bool,
    /// It was made on this host, and not by a proxy for others.
    pub local: bool,
    /// The time.
    pub now: crate::time::Now,
}

impl<'a> Request<'a> {
    /// A request that is nothing but its head: no parameters, no body, nobody's.
    #[must_use]
    pub fn of(head: &'a Head, settings: &'a super::Settings) -> Self {
        Self {
            head,
            parameters: &[],
            query: &[],
            body: &[],
            spool: None,
            settings,
            caller: None,
            secure: false,
            local: false,
            now: crate::time::Now::default(),
        }
    }

    /// A parameter of the path. Empty if the table names none of this number.
    #[must_use]
    pub fn parameter(&self, index: usize) -> &str {
        self.parameters.get(index).map_or("", String::as_str)
    }

    /// The first value of a name of the query.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// All calls, in the order in which the description has them.
pub fn table() -> impl Iterator<Item = &'static Route> {
    let parts: [&'static [Route]; 7] = [
        super::session::ROUTES,
        super::mail::ROUTES,
        super::send::ROUTES,
        super::admin::ROUTES,
        super::state::ROUTES,
        super::docs::ROUTES,
        super::setup::ROUTES,
    ];
    parts.into_iter().flatten()
}

/// The calls by the first segment of their paths, and what is found out of them once.
static FOUND: LazyLock<BTreeMap<&'static str, Vec<Found>>> = LazyLock::new(|| {
    let mut found: BTreeMap<&'static str, Vec<Found>> = BTreeMap::new();
    for route in table() {
        let first = route.path.split('/').nth(1).unwrap_or_default();
        found.entry(first).or_default().push(Found::of(route));
    }
    found
});

/// A call of the table, and what its description says.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) route: &'static Route,
    /// Media types of what it answers when all is well.
    pub(super) produces: Vec<String>,
    /// How many parameters the path has.
    parameters: usize,
}

impl Found {
    fn of(route: &'static Route) -> Self {
        let described = (route.describe)();
        let responses = described.get("responses").and_then(Value::as_object);
        let good = responses
            .into_iter()
            .flatten()
            .filter(|(status, _)| status.starts_with('2'));
        let contents = good.filter_map(|(_, response)| response.get("content")?.as_object());
        let mut produces: Vec<String> = contents.flat_map(|content| content.keys().cloned()).collect();
        produces.sort();
        produces.dedup();
        Self {
            route,
            produces,
            parameters: route
                .path
                .split('/')
                .filter(|segment| segment.starts_with('{'))
                .count(),
        }
    }
}

/// Those calls whose path is of the form of the given one; where several forms fit, of the one with the fewest parameters.
/// On a `public` port there are only the documents.
fn of_path(path: &str, public: bool) -> impl Iterator<Item = (&'static Found, Vec<&str>)> + Clone {
    let first = path.split('/').nth(1).unwrap_or_default();
    let named = FOUND.get(first).map_or(&[][..], Vec::as_slice);
    let fitting = move |found: &'static Found| {
        let is_here = !public || super::setup::is_document(found.route);
        Some((found, matches(found.route.path, path).filter(|_| is_here)?))
    };
    let fewest = named
        .iter()
        .filter_map(fitting)
        .map(|(found, _)| found.parameters)
        .min();
    let fitting = named.iter().filter_map(fitting);
    fitting.filter(move |(found, _)| Some(found.parameters) == fewest)
}

/// The call that a head means, and the values of the path's parameters, decoded.
///
/// # Errors
/// 404, 405, or 400 for a parameter that does not decode.
pub(super) fn find(head: &Head, public: bool) -> Result<(&'static Found, Vec<String>), Failure> {
    let mut fitting = of_path(&head.path, public);
    let Some((found, parameters)) = fitting
        .clone()
        .find(|(found, _)| found.route.method == head.method)
    else {
        return Err(match fitting.next() {
            None => Failure::not_found(),
            Some(_) => {
                let mut failure = Failure::new(405, "This is not done here; the field Allow says what is");
                failure.fields.push(("Allow", allowed(&head.path, public)));
                failure
            }
        });
    };
    let decoded: Option<Vec<String>> = parameters.into_iter().map(query::decode).collect();
    let decoded =
        decoded.ok_or_else(|| Failure::field("path", "expected percent-encoded UTF-8 without NUL"))?;
    Ok((found, decoded))
}

/// The methods that a path has: for the field Allow. Empty if there is no such path.
pub(super) fn allowed(path: &str, public: bool) -> String {
    let mut methods: Vec<&str> = of_path(path, public)
        .map(|(found, _)| found.route.method)
        .collect();
    if methods.is_empty() {
        return String::new();
    }
    if let Some(at) = methods.iter().position(|method| *method == "GET") {
        methods.insert(at + 1, "HEAD");
    }
    methods.push("OPTIONS");
    methods.join(", ")
}

/// The parameters, if the path is of this form. None of them is empty.
fn matches<'a>(form: &str, path: &'a str) -> Option<Vec<&'a str>> {
    let mut parameters = Vec::new();
    let (mut form, mut path) = (form.split('/'), path.split('/'));
    loop {
        match (form.next(), path.next()) {
            (None, None) => return Some(parameters),
            (Some(wanted), Some(given)) if wanted.starts_with('{') && !given.is_empty() => {
                parameters.push(given)
            }
            (Some(wanted), Some(given)) if wanted == given => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_well_formed() {
        let mut names = std::collections::BTreeSet::new();
        let mut forms = std::collections::BTreeSet::new();
        for route in table() {
            assert!(names.insert(route.name), "{} is there twice", route.name);
            let shape: Vec<&str> = route
                .path
                .split('/')
                .map(|segment| if segment.starts_with('{') { "{}" } else { segment })
                .collect();
            assert!(
                forms.insert((route.method, shape.join("/"))),
                "{} twice",
                route.path
            );
            assert!(
                route.path.starts_with('/') && !route.path.starts_with("/{"),
                "{}",
                route.path
            );
            assert!(
                ["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&route.method),
                "{}",
                route.method
            );
            assert!(route.summary.ends_with('.'), "{}: {}", route.name, route.summary);
        }
    }

    #[test]
    fn a_path_is_what_it_looks_like() {
        assert_eq!(matches("/a/{b}/c", "/a/x%2Fy/c"), Some(vec!["x%2Fy"]));
        for other in [
            "/a//c", "/a/x/c/", "/a/x", "//a/x/c", "/A/x/c", "a/x/c", "/a/x/%63", "",
        ] {
            assert_eq!(matches("/a/{b}/c", other), None, "{other}");
        }
    }

    #[test]
    fn another_method_is_told_which_there_are() {
        let head = |method: &str, path: &str| Head {
            method: method.to_owned(),
            path: path.to_owned(),
            ..Head::default()
        };
        assert!(find(&head("GET", "/health"), false).is_ok());
        let failure = find(&head("POST", "/health"), false).expect_err("405");
        assert_eq!(
            (failure.status, failure.fields),
            (405, vec![("Allow", "GET, HEAD, OPTIONS".to_owned())])
        );
        assert_eq!(
            find(&head("get", "/health"), false)
                .expect_err("case counts")
                .status,
            405
        );
        assert_eq!(
            find(&head("GET", "/healthy"), false)
                .expect_err("no such path")
                .status,
            404
        );
        assert_eq!(allowed("/auth/login", false), "POST, OPTIONS");
        assert_eq!(allowed("/nothing", false), "");
        for path in ["/health", "/auth/login", "/folders"] {
            for method in ["GET", "POST"] {
                assert_eq!(
                    find(&head(method, path), true).expect_err("not there").status,
                    404
                );
            }
        }
        assert!(find(&head("GET", "/mail/config-v1.1.xml"), true).is_ok());
    }
}
