//! Text forms: modified UTF-7, dates, encoded words.
