//! JSON Schemas (draft 2020-12) of the files of a register: what an editor can check while somebody types. What words mean to each other only
//! [`super::Kind::parse`] and the cases know; a test holds the schemas to what is read.

/// Of `register.toml`.
pub const REGISTER: &str = include_str!("../../../../docs/reference/register.schema.json");
/// Of `cases.toml`.
pub const CASES: &str = include_str!("../../../../docs/reference/cases.schema.json");
