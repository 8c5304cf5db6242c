//! The configuration: typed, from a string, with every problem and its path.
