//! Text forms: modified UTF-7, dates, encoded words.

pub mod date;
pub mod encoded_word;
pub mod utf7;
