//! New messages.

use super::Route;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {}

/// The calls.
pub(super) const ROUTES: &[Route] = &[];
