//! What an authority sends (RFC 8555 §7.1).

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// Names of one order, at most: as many as `acme.names` may have.
const MAX_AUTHORIZATIONS: usize = 16;
/// Kinds of proofs that an authority may offer for one name.
const MAX_CHALLENGES: usize = 32;

/// §7.1.1
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Directory {
    pub(super) new_nonce: String,
    pub(super) new_account: String,
    pub(super) new_order: String,
    #[serde(default)]
    pub(super) meta: Meta,
}

/// The rest of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Meta {
    pub(super) terms_of_service: Option<String>,
    pub(super) external_account_required: bool,
}

/// How an order, an authorization or a challenge stands (§7.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Pending,
    Ready,
    Processing,
    Valid,
    Invalid,
    Deactivated,
    Expired,
    Revoked,
}

/// §7.1.3
#[derive(Clone, Debug, Deserialize)]
pub(super) struct OrderObject {
    pub(super) status: Status,
    pub(super) authorizations: Vec<String>,
    pub(super) finalize: String,
    pub(super) certificate: Option<String>,
    pub(super) error: Option<Problem>,
}

/// §7.1.4
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Authorization {
    pub(super) status: Status,
    pub(super) identifier: Identifier,
    pub(super) challenges: Vec<Challenge>,
}

/// What is authorized.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Identifier {
    pub(super) value: String,
}

/// §8
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Challenge {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) url: String,
    #[serde(default)]
    pub(super) token: String,
    pub(super) status: Status,
    pub(super) error: Option<Problem>,
}

/// Reads an object; what it should have been is told if it is none.
pub(super) fn read<T: DeserializeOwned + Bounded>(body: &[u8], what: &str) -> Result<T, String> {
    let object: T = serde_json::from_slice(body)
        .map_err(|error| format!("what the authority sends is no {what}: {error}"))?;
    match object.is_sound() {
        true => Ok(object),
        false => Err(format!(
            "what the authority sends is no {what} that could be used"
        )),
    }
}

/// Looks at what serde cannot see: URLs and counts.
pub(super) trait Bounded {
    fn is_sound(&self) -> bool;
}

fn is_url(text: &str) -> bool {
    super::url(text).is_some()
}

impl Bounded for Directory {
    fn is_sound(&self) -> bool {
        [&self.new_nonce, &self.new_account, &self.new_order]
            .into_iter()
            .all(|url| is_url(url))
    }
}

impl Bounded for OrderObject {
    fn is_sound(&self) -> bool {
        (1..=MAX_AUTHORIZATIONS).contains(&self.authorizations.len())
            && self.authorizations.iter().all(|url| is_url(url))
            && is_url(&self.finalize)
            && self.certificate.iter().all(|url| is_url(url))
    }
}

impl Bounded for Authorization {
    fn is_sound(&self) -> bool {
        self.challenges.len() <= MAX_CHALLENGES
            && self.challenges.iter().all(|challenge| is_url(&challenge.url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_bounded() {
        let order = |urls: usize, url: &str| {
            let urls = vec![format!("\"{url}\""); urls].join(",");
            format!(
                "{{\"status\":\"pending\",\"authorizations\":[{urls}],\"finalize\":\"https://ca.test/f\",\"x\":1}}"
            )
        };
        let good = order(16, "https://ca.test/a");
        assert!(read::<OrderObject>(good.as_bytes(), "order").is_ok());
        for bad in [
            order(0, ""),
            order(17, "https://ca.test/a"),
            order(1, "http://ca.test/a"),
            order(1, "https://ca.test/a").replace("pending", "other"),
            String::from("null"),
        ] {
            let error = read::<OrderObject>(bad.as_bytes(), "order").expect_err("not sound");
            assert!(error.contains("no order"), "{error}");
        }
    }
}
