//! Secrets of the mail_root, shared by every process on it:
//!
//! ```text
//! secrets/{name}      64 hexadecimal digits and LF, made once, mode 0600
//! ```

use std::io;

use super::{Accounts, is_missing};
use crate::disk::{Disk, Mode};

const SECRETS: &str = "secrets";

impl<D: Disk> Accounts<D> {
    /// The secret of this name. It is made if it is not there; of two processes that make it, both get the same.
    ///
    /// # Errors
    /// It cannot be read or made, or the file holds something else.
    pub async fn secret(&self, name: &str) -> io::Result<[u8; 32]> {
        let dir = self.make_path(&[SECRETS]).await?;
        match self.read_secret(&dir, name).await {
            Err(error) if is_missing(&error) => {}
            read => return read,
        }
        let text: String = self.seed().iter().map(|octet| format!("{octet:02x}")).collect();
        let file = self.disk.create_unnamed(&dir).await?;
        self.disk
            .write_at(&file, format!("{text}\n").as_bytes(), 0)
            .await?;
        self.disk.sync(&file).await?;
        match self.disk.link_unnamed(&file, &dir, name).await {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => self.disk.sync_dir(&dir).await?,
        }
        self.read_secret(&dir, name).await
    }

    async fn read_secret(&self, dir: &D::Dir, name: &str) -> io::Result<[u8; 32]> {
        let file = self.disk.open(dir, name, Mode::Read).await?;
        let mut text = [0; 66];
        let mut read = 0;
        while let Some(rest) = text.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match self.disk.read_at(&file, rest, read as u64).await? {
                0 => break,
                n => read += n,
            }
        }
        parse(text.get(..read).unwrap_or_default())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "expected 64 hexadecimal digits"))
    }
}

fn parse(text: &[u8]) -> Option<[u8; 32]> {
    let digits = text.strip_suffix(b"\n").unwrap_or(text);
    let mut secret = [0; 32];
    if digits.len() != 2 * secret.len() {
        return None;
    }
    for (octet, pair) in secret.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(*pair.get(at)?).to_digit(16);
        *octet = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_64_digits_are_a_secret() {
        let text = "0aFF".repeat(16);
        let secret = parse(text.as_bytes()).expect("a secret");
        assert_eq!(secret.get(..3), Some(&[0x0a, 0xff, 0x0a][..]));
        assert_eq!(parse(format!("{text}\n").as_bytes()), Some(secret));
        for bad in [&text[..63], &format!("{text}0"), &text.replace('F', "g"), ""] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
