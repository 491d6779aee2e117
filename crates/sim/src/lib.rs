//! Placeholder until the first room stands.
