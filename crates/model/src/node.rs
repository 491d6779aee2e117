//! Nodes of the network: who they are and at which level they stand.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A node (节点), for its whole life: 128 random bits, 32 hexadecimal digits outside.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(u128);

impl NodeId {
    /// Wraps the bits.
    pub const fn new(bits: u128) -> Self {
        Self(bits)
    }
    /// The bits.
    pub const fn get(self) -> u128 {
        self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a node's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a node's id is 32 hexadecimal digits")]
pub struct NodeIdError;

impl FromStr for NodeId {
    type Err = NodeIdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shaped = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if !shaped {
            return Err(NodeIdError);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| NodeIdError)
    }
}

/// Level of a node, lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeLevel {
    /// 企业: gateway of one enterprise.
    Enterprise,
    /// 乡镇、园区: desk of a township or park.
    Township,
    /// 县(区): a county bureau.
    County,
    /// 市: a city bureau.
    City,
    /// 省.
    Province,
}

impl NodeLevel {
    /// All levels, lowest first.
    pub const ALL: [Self; 5] = [Self::Enterprise, Self::Township, Self::County, Self::City, Self::Province];
    /// The word on the API, in the configuration and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enterprise => "enterprise",
            Self::Township => "township",
            Self::County => "county",
            Self::City => "city",
            Self::Province => "province",
        }
    }
    /// The level named by `word`.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|l| l.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_id_reads_back_what_it_prints() {
        let id = NodeId::new(0x0199_f3c2_7f00_7abc_8def_0123_4567_89ab);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("0199f3c2".parse::<NodeId>().is_err());
        assert!("+199f3c27f007abc8def0123456789ab".parse::<NodeId>().is_err());
    }
}
