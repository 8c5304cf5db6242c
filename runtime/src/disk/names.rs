//! What may be a name in a directory.

use std::io;

/// The name, if it is one component and leads nowhere else.
pub(super) fn checked(name: &str) -> io::Result<&str> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("not a name in a directory: {name:?}"),
        ));
    }
    Ok(name)
}

/// A name that nobody else takes, for a file that should have none.
pub(super) fn stand_in() -> String {
    use std::fmt::Write as _;
    let seed = crate::entropy::seed();
    seed.iter()
        .take(12)
        .fold(String::from(rmail_store::disk::STAND_IN), |mut name, octet| {
            let _ = write!(name, "{octet:02x}");
            name
        })
}
