//! What clients read to set themselves up: autoconfig, autodiscover, profiles, the MTA-STS policy.

use super::Route;

/// The documents.
pub(super) const ROUTES: &[Route] = &[];
