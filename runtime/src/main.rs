//! The rmail program.
fn main() {}
