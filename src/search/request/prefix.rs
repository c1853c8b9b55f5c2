//! The prefixes of numbers, dates and quantities.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#prefix>

/// How a value is compared with what is stored.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Prefix {
    /// About the same.
    Ap,
    /// Ends before.
    Eb,
    /// Equal: what stands there without a prefix.
    #[default]
    Eq,
    /// Greater or equal.
    Ge,
    /// Greater.
    Gt,
    /// Less or equal.
    Le,
    /// Less.
    Lt,
    /// Not equal.
    Ne,
    /// Starts after.
    Sa,
}

impl Prefix {
    /// Every prefix, in the order of their texts.
    pub const ALL: [Self; 9] =
        [Self::Ap, Self::Eb, Self::Eq, Self::Ge, Self::Gt, Self::Le, Self::Lt, Self::Ne, Self::Sa];

    /// The two letters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ap => "ap",
            Self::Eb => "eb",
            Self::Eq => "eq",
            Self::Ge => "ge",
            Self::Gt => "gt",
            Self::Le => "le",
            Self::Lt => "lt",
            Self::Ne => "ne",
            Self::Sa => "sa",
        }
    }

    /// The prefix of a value and what follows it.
    pub fn split(text: &str) -> (Self, &str) {
        let found = Self::ALL.into_iter().find(|prefix| text.starts_with(prefix.as_str()));
        found.map_or((Self::Eq, text), |prefix| (prefix, &text[2..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_prefix_is_told_from_its_value() {
        for prefix in Prefix::ALL {
            assert_eq!(Prefix::split(&format!("{}5", prefix.as_str())), (prefix, "5"));
        }
        for text in ["5", "", "g", "GT5", "xx5", "é5"] {
            assert_eq!(Prefix::split(text), (Prefix::Eq, text));
        }
    }
}
