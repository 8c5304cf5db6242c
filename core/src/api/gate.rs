//! Who may: the token of a request, as far as it says itself whether it is good; and credentials in clear text.

use super::{Access, Caller, Failure, Route, Settings};
use crate::http::Head;
use crate::peer::Peer;
use crate::time::Now;

/// What a request without a token that needs one is told (RFC 6750 §3).
pub(super) const CHALLENGE: &str = "Bearer realm=\"rmail\"";

/// What is known of the connection.
#[derive(Debug)]
pub(super) struct Gate<'a> {
    pub(super) settings: &'a Settings,
    pub(super) peer: Peer,
    pub(super) secure: bool,
}

/// A request that may go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LetIn {
    /// Whose token it has.
    pub(super) caller: Option<Caller>,
    /// What the service still has to see to.
    pub(super) access: Access,
    /// It was made on this host.
    pub(super) local: bool,
}

impl Gate<'_> {
    /// Refuses a request with credentials that everybody on the way could read, whatever it asks for.
    pub(super) fn carried(&self, head: &Head) -> Result<(), Failure> {
        if head.fields.iter().any(|(name, _)| name == "authorization") {
            self.clear_text()?;
        }
        Ok(())
    }

    fn clear_text(&self) -> Result<(), Failure> {
        if self.secure || self.settings.cleartext_auth || self.is_loopback() {
            return Ok(());
        }
        Err(Failure::new(
            403,
            "Passwords and tokens are taken over TLS only (https)",
        ))
    }

    /// Whether the request may go on, as far as can be said without the account.
    pub(super) fn let_in(&self, now: Now, head: &Head, route: &Route) -> Result<LetIn, Failure> {
        let local = self.is_loopback() && !is_forwarded(head);
        let token = self.caller(now, head);
        let access = match route.access {
            Access::Monitor if local => Access::Anybody,
            Access::Monitor => Access::Admin,
            access => access,
        };
        if access == Access::Anybody {
            if route.path.starts_with("/auth/") {
                self.clear_text()?;
            }
            let caller = token.ok();
            return Ok(LetIn {
                caller,
                access,
                local,
            });
        }
        self.clear_text()?;
        Ok(LetIn {
            caller: Some(token?),
            access,
            local,
        })
    }

    fn caller(&self, now: Now, head: &Head) -> Result<Caller, Failure> {
        let mut given = head.fields.iter().filter(|(name, _)| name == "authorization");
        let Some((_, value)) = given.next() else {
            return Err(unauthorized("A token is needed", ""));
        };
        let token = core::str::from_utf8(value).ok().and_then(bearer);
        let (Some(token), None) = (token, given.next()) else {
            return Err(unauthorized(
                "Expected Authorization: Bearer and a token",
                ", error=\"invalid_request\"",
            ));
        };
        let invalid = |why| unauthorized(why, ", error=\"invalid_token\"");
        let key = self.settings.tokens.as_ref();
        let key = key.ok_or_else(|| Failure::new(503, "Nobody can log in at present"))?;
        let claims = key.verify(token, now.unix).map_err(|bad| invalid(bad.text()))?;
        Ok(Caller {
            account: claims.account,
            epoch: claims.epoch,
            tokens: claims.tokens,
            expires: claims.expires,
        })
    }

    fn is_loopback(&self) -> bool {
        self.peer.address.to_canonical().is_loopback()
    }
}

/// The token in `Bearer TOKEN` (RFC 6750 §2.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim_start_matches(' ');
    (scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty()).then_some(token)
}

/// Whether a proxy made the request for somebody else.
fn is_forwarded(head: &Head) -> bool {
    let marks = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];
    head.fields.iter().any(|(name, _)| marks.contains(&name.as_str()))
}

fn unauthorized(error: &str, parameters: &str) -> Failure {
    let mut failure = Failure::new(401, error);
    let challenge = format!("{CHALLENGE}{parameters}");
    failure.fields.push(("WWW-Authenticate", challenge));
    failure
}
