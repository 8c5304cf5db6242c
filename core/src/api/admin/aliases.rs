//! `/aliases…`: the rules are those of `rmail alias`.

use serde::Serialize;
use serde_json::{Value, json};

use super::super::{Failure, Next, Request, Route, json as read, query};
use super::users::encoded;
use super::{JSON, LIMIT, MAX_LIMIT, after, answer, body, call, in_path, in_query, limit, plain};
use crate::addr::Domain;
use crate::directory::alias::{Rule, Told};
use crate::http::Response;

/// Targets that one request names.
const MAX_TARGETS: usize = 1_000;
/// Characters of an alias or a target.
const MAX_TEXT: usize = 1_000;

/// What is asked. Aliases are named as operators write them: `sales@example.com`, `/support-(\d+)/@example.com`,
/// `*@example.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Which there are.
    List {
        /// Of this domain; none: of all.
        domain: Option<String>,
        /// Behind this alias.
        after: Option<String>,
        /// So many at most.
        limit: u64,
    },
    /// One.
    Show(String),
    /// Make one.
    Create(String, Box<Change>),
    /// Change one.
    Change(String, Box<Change>),
    /// Remove one.
    Remove(String),
    /// Where mail for an address goes.
    Test(String),
}

/// What an alias is to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// These targets, and no others.
    pub targets: Option<Vec<String>>,
    /// These too.
    pub add: Vec<String>,
    /// These no longer.
    pub remove: Vec<String>,
    /// For people; `Some(None)`: none.
    pub comment: Option<Option<String>>,
    /// Among the expressions, from 1 on.
    pub position: Option<usize>,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A part of the list.
    List(List),
    /// One alias.
    One(Shown),
    /// Where mail for an address goes.
    Test(Box<Told>),
    /// It is done.
    Done,
}

/// A part of the list of aliases, in the order in which they are tried.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct List {
    /// These.
    pub aliases: Vec<Shown>,
    /// How many there are in all.
    pub total: usize,
    /// Where the list goes on.
    pub next: Option<String>,
}

/// An alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// As it is named.
    pub alias: String,
    domain: String,
    kind: &'static str,
    targets: Vec<String>,
    comment: Option<String>,
}

impl Shown {
    /// Of a rule of a domain.
    #[must_use]
    pub fn of(rule: &Rule, domain: &Domain) -> Self {
        Self {
            alias: rule.key.at(domain),
            domain: domain.to_string(),
            kind: rule.key.kind(),
            targets: rule.targets.clone(),
            comment: rule.comment.clone(),
        }
    }
}

fn ask(ask: Ask) -> Result<Next, Failure> {
    Ok(Next::Ask(super::super::Ask::Admin(super::Ask::Aliases(ask))))
}

fn render(request: &Request<'_>, answer: super::super::Answer) -> Response {
    let super::super::Answer::Admin(super::Answer::Aliases(answer)) = answer else {
        return Response::empty(500);
    };
    match answer {
        Answer::List(list) => Response::json(200, &list),
        Answer::One(alias) if request.head.method == "POST" => {
            let location = format!("/aliases/{}", encoded(&alias.alias));
            Response::json(201, &alias).with("Location", location)
        }
        Answer::One(alias) => Response::json(200, &alias),
        Answer::Test(told) => Response::json(200, &*told),
        Answer::Done => Response::empty(204),
    }
}

const ALIAS: Route = call(render);

pub(super) const LIST: Route = Route {
    path: "/aliases",
    name: "listAliases",
    summary: "Lists aliases in the order in which they are tried.",
    begin: |request| {
        let list = query::read(request, |query| Ask::List {
            domain: query.optional("domain", query::text(255)),
            after: query.optional("after", query::text(2_000)),
            limit: query
                .optional("limit", query::integer(1..=MAX_LIMIT))
                .unwrap_or(LIMIT),
        })?;
        ask(list)
    },
    describe: || {
        json!({
            "parameters": [in_query("domain", "Only of this domain.", json!({ "type": "string" })), after(), limit()],
            "responses": { "200": answer("A part of the list.", json!({
                "type": "object", "required": ["aliases", "total", "next"],
                "properties": {
                    "aliases": { "type": "array", "items": schema() },
                    "total": { "type": "integer" },
                    "next": { "type": ["string", "null"] },
                },
            })) },
        })
    },
    ..ALIAS
};

pub(super) const CREATE: Route = Route {
    method: "POST",
    path: "/aliases",
    name: "createAlias",
    summary: "Makes an alias.",
    body: JSON,
    begin: |request| {
        let (alias, change) = read::read(request, |body| {
            let alias = body.required("alias", read::line(MAX_TEXT));
            let targets = body.list("targets", MAX_TARGETS, read::line(MAX_TEXT));
            if !body.has("targets") || targets.as_ref().is_some_and(Vec::is_empty) {
                body.wrong("targets", "expected at least one target");
            }
            let comment = body.nullable("comment", read::text(MAX_TEXT));
            let position = body.optional("position", read::integer(1..=10_000));
            let change = Change {
                targets,
                comment,
                position: position.and_then(|position| usize::try_from(position).ok()),
                ..Change::default()
            };
            Some((alias?, change))
        })?;
        ask(Ask::Create(alias, Box::new(change)))
    },
    describe: || {
        json!({
            "description": "`alias` is NAME@DOMAIN, /EXPRESSION/@DOMAIN, or *@DOMAIN for all that is left. Targets are addresses, or \
                names in the same domain; for an expression $1 or ${name} stand for its groups.",
            "requestBody": body(
                json!({
                    "type": "object", "additionalProperties": false, "required": ["alias", "targets"],
                    "properties": {
                        "alias": { "type": "string", "minLength": 1, "maxLength": MAX_TEXT },
                        "targets": targets(1), "comment": comment(), "position": position(),
                    },
                }),
                json!({ "alias": "sales@example.com", "targets": ["alice", "bob@example.com"] }),
            ),
            "responses": { "201": answer("The alias.", schema()), "409": plain("There is such an alias.") },
        })
    },
    ..ALIAS
};

pub(super) const TEST: Route = Route {
    method: "POST",
    path: "/aliases/test",
    name: "testAlias",
    summary: "Tells where mail for an address goes, and by which way.",
    body: JSON,
    begin: |request| {
        let address = read::read(request, |body| body.required("address", read::line(MAX_TEXT)))?;
        ask(Ask::Test(address))
    },
    describe: || {
        json!({
            "requestBody": body(
                json!({
                    "type": "object", "additionalProperties": false, "required": ["address"],
                    "properties": { "address": { "type": "string", "minLength": 1, "maxLength": MAX_TEXT } },
                }),
                json!({ "address": "sales@example.com" }),
            ),
            "responses": { "200": answer("Every address on the way.", json!({
                "type": "object", "required": ["address", "accepted", "reply", "too_many", "may_send_as_it", "path"],
                "properties": {
                    "address": { "type": "string" }, "accepted": { "type": "boolean" },
                    "reply": { "type": ["string", "null"] }, "too_many": { "type": "boolean" },
                    "may_send_as_it": { "type": ["string", "null"] },
                    "path": { "type": "array", "items": { "type": "object" } },
                },
            })) },
        })
    },
    ..ALIAS
};

pub(super) const SHOW: Route = Route {
    path: "/aliases/{alias}",
    name: "showAlias",
    summary: "Shows an alias.",
    begin: |request| ask(Ask::Show(request.parameter(0).to_owned())),
    describe: || {
        json!({
            "parameters": [in_path("alias", "The alias.")],
            "responses": { "200": answer("The alias.", schema()), "404": plain("There is no such alias.") },
        })
    },
    ..ALIAS
};

pub(super) const CHANGE: Route = Route {
    method: "PATCH",
    path: "/aliases/{alias}",
    name: "changeAlias",
    summary: "Changes an alias: its targets, comment or place.",
    body: JSON,
    begin: |request| {
        let change = read::read(request, |body| {
            let list = || read::line(MAX_TEXT);
            let targets = body.list("targets", MAX_TARGETS, list());
            let add = body.list("add", MAX_TARGETS, list()).unwrap_or_default();
            let remove = body.list("remove", MAX_TARGETS, list()).unwrap_or_default();
            if body.has("targets") && (body.has("add") || body.has("remove")) {
                body.wrong(
                    "targets",
                    "expected either all targets, or some to add and remove",
                );
            }
            if targets.as_ref().is_some_and(Vec::is_empty) {
                body.wrong("targets", "expected at least one target");
            }
            let comment = body.nullable("comment", read::text(MAX_TEXT));
            let position = body.optional("position", read::integer(1..=10_000));
            Some(Change {
                targets,
                add,
                remove,
                comment,
                position: position.and_then(|position| usize::try_from(position).ok()),
            })
        })?;
        ask(Ask::Change(request.parameter(0).to_owned(), Box::new(change)))
    },
    describe: || {
        json!({
            "parameters": [in_path("alias", "The alias.")],
            "requestBody": body(
                json!({
                    "type": "object", "additionalProperties": false,
                    "properties": {
                        "targets": targets(1), "add": targets(0), "remove": targets(0), "comment": comment(),
                        "position": position(),
                    },
                    "not": { "anyOf": [{ "required": ["targets", "add"] }, { "required": ["targets", "remove"] }] },
                }),
                json!({ "add": ["carol@example.org"] }),
            ),
            "responses": {
                "200": answer("The alias as it is now.", schema()),
                "204": plain("No target is left: the alias is gone."),
                "404": plain("There is no such alias, or no such target."),
            },
        })
    },
    ..ALIAS
};

pub(super) const REMOVE: Route = Route {
    method: "DELETE",
    path: "/aliases/{alias}",
    name: "removeAlias",
    summary: "Removes an alias.",
    begin: |request| ask(Ask::Remove(request.parameter(0).to_owned())),
    describe: || {
        json!({
            "parameters": [in_path("alias", "The alias.")],
            "responses": { "204": plain("It is gone."), "404": plain("There is no such alias.") },
        })
    },
    ..ALIAS
};

fn targets(least: usize) -> Value {
    json!({
        "type": "array", "minItems": least, "maxItems": MAX_TARGETS,
        "items": { "type": "string", "minLength": 1, "maxLength": MAX_TEXT },
    })
}

fn comment() -> Value {
    json!({ "type": ["string", "null"], "maxLength": MAX_TEXT })
}

fn position() -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": 10_000, "description": "Of an expression among the others." })
}

fn schema() -> Value {
    json!({
        "type": "object", "required": ["alias", "domain", "kind", "targets", "comment"],
        "properties": {
            "alias": { "type": "string" }, "domain": { "type": "string" },
            "kind": { "enum": ["exact", "pattern", "catch_all"] },
            "targets": { "type": "array", "items": { "type": "string" } },
            "comment": { "type": ["string", "null"] },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Settings;
    use crate::http::Head;

    fn begin(route: &Route, text: &str) -> Result<Ask, Vec<String>> {
        let (head, settings) = (Head::default(), Settings::default());
        let parameters = ["a@x.y".to_owned()];
        let request = Request {
            parameters: &parameters,
            body: text.as_bytes(),
            ..Request::of(&head, &settings)
        };
        match (route.begin)(&request) {
            Ok(Next::Ask(super::super::super::Ask::Admin(super::super::Ask::Aliases(ask)))) => Ok(ask),
            Ok(other) => panic!("{other:?}"),
            Err(failure) => Err(failure.details.into_iter().map(|detail| detail.path).collect()),
        }
    }

    #[test]
    fn an_alias_has_targets() {
        assert!(
            begin(
                &CREATE,
                r#"{"alias":"a@x.y","targets":["b"],"comment":"c","position":2}"#
            )
            .is_ok()
        );
        for bad in [r#"{"alias":"a@x.y"}"#, r#"{"alias":"a@x.y","targets":[]}"#] {
            assert_eq!(begin(&CREATE, bad), Err(vec!["$.targets".to_owned()]), "{bad}");
        }
        assert_eq!(
            begin(&CREATE, r#"{"targets":["b",1],"position":0}"#),
            Err(vec![
                "$.alias".to_owned(),
                "$.targets[1]".to_owned(),
                "$.position".to_owned()
            ])
        );
    }

    #[test]
    fn a_change_names_all_targets_or_some() {
        let change = |text: &str| match begin(&CHANGE, text) {
            Ok(Ask::Change(_, change)) => Some(*change),
            _ => None,
        };
        assert_eq!(change("{}"), Some(Change::default()));
        assert_eq!(
            change(r#"{"comment":null}"#).and_then(|change| change.comment),
            Some(None)
        );
        assert!(change(r#"{"add":["a"],"remove":["b"]}"#).is_some());
        assert!(
            change(r#"{"targets":["a"],"add":["b"]}"#).is_none() && change(r#"{"targets":[]}"#).is_none()
        );
    }
}
