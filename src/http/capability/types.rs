//! What a CapabilityStatement says of single types: which are normative, and what is to be said in words.

use crate::fhir::ResourceType;

use super::Options;

/// Resource types whose definitions are normative in R4.
///
/// <https://hl7.org/fhir/R4/ansi.html>
pub(super) const NORMATIVE: [&str; 10] = [
    "Binary",
    "Bundle",
    "CapabilityStatement",
    "CodeSystem",
    "Observation",
    "OperationDefinition",
    "OperationOutcome",
    "Patient",
    "StructureDefinition",
    "ValueSet",
];

/// What is said of Subscriptions where they are served.
const SUBSCRIPTIONS: &str = "Channel rest-hook, with or without a payload. Whoever writes a \
     Subscription is told what that party may see at that moment. Values of channel.header are shown \
     to the party alone that sent them.";

/// The words about a type, if there are any.
pub(super) fn words(of: ResourceType, options: &Options) -> Option<&'static str> {
    (options.has_subscriptions && of == ResourceType::SUBSCRIPTION).then_some(SUBSCRIPTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_served_is_not_told() {
        for (of, has_subscriptions, is_told) in [
            (ResourceType::SUBSCRIPTION, true, true),
            (ResourceType::SUBSCRIPTION, false, false),
            (ResourceType::PATIENT, true, false),
        ] {
            let options = Options { has_subscriptions, ..Options::default() };
            assert_eq!(words(of, &options).is_some(), is_told, "{of} {has_subscriptions}");
        }
    }
}
