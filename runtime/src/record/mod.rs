//! Sessions are recorded, as transcripts: all of them (`rmail serve --record DIR`), or those of one user or address for a
//! while (`rmail record`).
//!
//! A session that somebody wants has a [`Tape`], on which the driver puts what it hears and says. At its end the tape goes to
//! whoever asked for it, who writes the transcript on a thread of his own. What is kept is bounded, for each session and for
//! all of them; what does not fit is left out, and the session does not notice.

mod before;
mod files;
mod opening;
mod recorder;
mod tape;

pub use recorder::{Filter, Recorded};
pub use tape::{Kept, Tape};

pub(crate) use before::before;
pub(crate) use files::{Files, Shelf, make};
pub(crate) use opening::{http as http_options, imap as imap_options, smtp as smtp_options};
pub(crate) use recorder::{Recorder, Reel};
pub(crate) use tape::Look;
