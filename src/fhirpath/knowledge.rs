//! What an expression may ask that the document and the element table do not tell.
//!
//! Spec: <https://hl7.org/fhir/R4/fhirpath.html#functions>

use std::fmt::Debug;

use super::item::Item;

/// Yes, no, nothing (the question does not apply to the item), or that it cannot be told.
pub type Answer = Result<Option<bool>, Ignorance>;

/// Why there is no answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ignorance {
    /// Nothing is known of such questions: the function is refused by name.
    Unsupported,
    /// The value set, code system or profile of this address is not known.
    Unknown(String),
    /// What is known does not tell, for this reason.
    Untold(String),
}

/// Answers that the caller supplies: terminology, profiles, narratives. What is not implemented is
/// refused.
pub trait Knowledge: Debug + Sync {
    /// Whether the resource or element conforms to the profile.
    ///
    /// # Errors
    /// [`Ignorance`].
    fn conforms_to(&self, item: &Item<'_>, profile: &str) -> Answer {
        let _ = (item, profile);
        Err(Ignorance::Unsupported)
    }

    /// Whether the text is a narrative that R4 allows.
    ///
    /// # Errors
    /// [`Ignorance`].
    fn html_checks(&self, text: &str) -> Answer {
        let _ = text;
        Err(Ignorance::Unsupported)
    }

    /// Whether the code, Coding or CodeableConcept is in the value set; one with no code is in none.
    ///
    /// # Errors
    /// [`Ignorance`].
    fn member_of(&self, item: &Item<'_>, value_set: &str) -> Answer {
        let _ = (item, value_set);
        Err(Ignorance::Unsupported)
    }

    /// Whether the first code subsumes the second: it is the same or one of its ancestors.
    ///
    /// # Errors
    /// [`Ignorance`].
    fn subsumes(&self, ancestor: &Item<'_>, code: &Item<'_>) -> Answer {
        let _ = (ancestor, code);
        Err(Ignorance::Unsupported)
    }
}
