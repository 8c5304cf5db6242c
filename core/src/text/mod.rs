//! Text forms: modified UTF-7, dates, timestamps, encoded words.

pub mod date;
pub mod encoded_word;
pub mod rfc3339;
pub mod utf7;
