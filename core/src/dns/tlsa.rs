//! TLSA records (RFC 6698).

/// Number of the type (RFC 6698 §7.1).
pub(super) const TYPE: u16 = 52;

/// A TLSA record (RFC 6698 §2.1). The numbers are as they came: which of them mean something is for whoever uses it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tlsa {
    /// Certificate usage.
    pub usage: u8,
    /// Which part of the certificate.
    pub selector: u8,
    /// How it is compared.
    pub matching: u8,
    /// With what.
    pub data: Vec<u8>,
}

impl core::fmt::Display for Tlsa {
    /// The presentation format of RFC 6698 §2.2: `3 1 1 0c72ac70…`.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} {} {} ", self.usage, self.selector, self.matching)?;
        self.data.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl Tlsa {
    /// Reads the data of a record (RFC 6698 §2.1).
    pub(super) fn parse(octets: &[u8]) -> Option<Self> {
        let (&[usage, selector, matching], data) = octets.split_first_chunk()?;
        Some(Self {
            usage,
            selector,
            matching,
            data: data.to_vec(),
        })
    }
}
