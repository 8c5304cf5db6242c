//! DNS: message codec use, the resolver machine, MX look-up.
