//! Text forms: modified UTF-7, dates, encoded words.

pub mod date;
pub mod utf7;
