//! What a site has of its own: authorities, codes, units, zone, modes.

use std::collections::BTreeMap;

use crate::hl7v2::dtm::Zones;
use crate::hl7v2::tables::Target;
use crate::hl7v2::types::id::Authority;

/// How the entries of a list of segments change what is stored.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Mode {
    /// Each entry says by its action code what happens to it.
    ActionCode,
    /// The entries are all there is: what is stored and missing among them is ended.
    Snapshot,
    /// Each entry is added or brought up to date; none is ended.
    #[default]
    Upsert,
}

impl Mode {
    /// The mode called so in a map.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "action-code" => Self::ActionCode,
            "snapshot" => Self::Snapshot,
            "upsert" => Self::Upsert,
            _ => return None,
        })
    }

    /// What it is called in a map.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ActionCode => "action-code",
            Self::Snapshot => "snapshot",
            Self::Upsert => "upsert",
        }
    }
}

/// Codes of one system of a sender.
pub type Rows = BTreeMap<String, Target>;

/// A site: one sender, or several that are alike.
#[derive(Clone, Debug)]
pub struct Site {
    /// What it is called.
    pub id: String,
    /// The url that local names of the site begin with, without a slash at the end.
    pub base: String,
    /// By what its times are read that have no offset.
    pub zones: Zones,
    /// Who gives identifiers, by namespace and by universal id.
    pub authorities: BTreeMap<String, Authority>,
    /// Whether an identifier of DNS names a place of the web.
    pub dns_urls: bool,
    /// Whether a comma may stand for the point of a decimal.
    pub decimal_comma: bool,
    /// Whether it lives by the rules of the United States.
    pub is_us: bool,
    /// Code systems by the sender's names for them.
    pub systems: BTreeMap<String, String>,
    /// Codes of the sender by code set and the sender's name for the system.
    pub codes: BTreeMap<(String, String), Rows>,
    /// Units by the sender's words for them.
    pub units: BTreeMap<String, String>,
    /// How lists of segments change what is stored, by segment.
    pub modes: BTreeMap<String, Mode>,
}

impl Default for Site {
    fn default() -> Self {
        Self {
            id: "default".to_owned(),
            base: "urn:kiln".to_owned(),
            zones: Zones::utc(),
            authorities: BTreeMap::new(),
            dns_urls: false,
            decimal_comma: false,
            is_us: true,
            systems: BTreeMap::new(),
            codes: BTreeMap::new(),
            units: BTreeMap::new(),
            modes: BTreeMap::new(),
        }
    }
}
