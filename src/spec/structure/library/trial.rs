//! Whether a definition could be used beside the others, before it is stored.
//!
//! Spec: <https://hl7.org/fhir/R4/structuredefinition.html>, rest 7.74

use crate::fhir::Canonical;
use crate::fhir::json::Value;

use super::super::super::package::reduced_structure;
use super::super::{Derivation, Structure, StructureFault, read};
use super::Library;

impl Library {
    /// Why a StructureDefinition resource could not be used beside the others, where it could not.
    pub fn fault(&self, resource: &Value<'_>) -> Option<StructureFault> {
        self.try_out(resource).err()
    }

    fn try_out(&self, resource: &Value<'_>) -> Result<(), StructureFault> {
        let Some(record) = reduced_structure(resource) else { return Ok(()) };
        let definition = read::definition(&record, &[])?;
        let Structure { url, type_name, derivation, .. } = &definition.structure;
        self.check_chain(&definition.structure)?;
        if definition.structure.elements.is_empty() {
            self.snapshot(&definition, None, &mut Vec::new())?;
        }
        let base = definition.structure.base.as_deref().map(|base| self.structure(base));
        match base.transpose()? {
            Some(base) if *derivation == Derivation::Constraint && base.type_name != *type_name => {
                let of = &base.type_name;
                let reason = format!("it constrains {type_name}, and its base is of {of}");
                Err(StructureFault::Malformed { url: url.to_string(), reason })
            }
            _ => Ok(()),
        }
    }

    /// Refuses a structure whose bases lead back to it. What is stored under its url does not count: it
    /// will be replaced, or be another version.
    fn check_chain(&self, structure: &Structure) -> Result<(), StructureFault> {
        let is_own = |canonical: &str| Canonical::parse(canonical).url == &*structure.url;
        let circle = || StructureFault::Circular(structure.url.to_string());
        let mut from = structure.url.to_string();
        let mut next = structure.base.clone();
        while let Some(base) = next {
            if is_own(&base) {
                return Err(circle());
            }
            next = match self.structure(&base) {
                Ok(known) => known.base.clone(),
                Err(StructureFault::UnknownBase { base, .. }) if is_own(&base) => {
                    return Err(circle());
                }
                Err(StructureFault::Unknown(base)) => {
                    return Err(StructureFault::UnknownBase { url: from, base });
                }
                Err(other) => return Err(other),
            };
            from = base.into();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json::parse;

    fn definition(name: &str, base: &str, of: &str, elements: &str) -> Value<'static> {
        let text = format!(
            r#"{{"resourceType":"StructureDefinition","url":"http://x/{name}","name":"{name}",
            "status":"active","kind":"resource","abstract":false,"type":"{of}",
            "baseDefinition":"{base}","derivation":"constraint",
            "differential":{{"element":[{{"id":"{of}","path":"{of}"}}{elements}]}}}}"#
        );
        parse(text.as_bytes()).expect("JSON").into_owned()
    }

    #[test]
    fn a_definition_is_tried_out_beside_the_others() {
        let core = "http://hl7.org/fhir/StructureDefinition/Patient";
        let name = r#",{"id":"Patient.name","path":"Patient.name","min":1}"#;
        let odd = r#",{"id":"Patient.nope","path":"Patient.nope","min":1}"#;
        let less = r#",{"id":"Patient.name","path":"Patient.name","min":2,"max":"1"}"#;
        let stored = [
            definition("a", core, "Patient", ""),
            definition("b", "http://x/c", "Patient", ""),
            definition("d", "http://x/a", "Patient", ""),
        ];
        let library = Library::r4().with_resources(stored);
        for (tried, expected) in [
            (definition("n", core, "Patient", name), None),
            (definition("n", "http://x/d", "Patient", name), None),
            (definition("n", core, "Patient", odd), Some("Patient.nope, which is no element")),
            (definition("n", core, "Patient", less), Some("has min 2 and max 1")),
            (definition("n", core, "Group", ""), Some("constrains Group, and its base is of Pat")),
            (definition("n", "http://x/n", "Patient", ""), Some("http://x/n builds on itself")),
            (
                definition("n", "http://x/none", "Patient", ""),
                Some("builds on http://x/none, which"),
            ),
            // Of those that are stored, one waits for this one, and one already builds on it.
            (definition("c", "http://x/b", "Patient", ""), Some("http://x/c builds on itself")),
            (definition("a", "http://x/d", "Patient", ""), Some("http://x/a builds on itself")),
            (definition("a", core, "Patient", name), None),
        ] {
            let told = library.fault(&tried).map(|fault| fault.to_string());
            let is_it = match (&told, expected) {
                (Some(told), Some(expected)) => told.contains(expected),
                (told, expected) => told.is_none() && expected.is_none(),
            };
            assert!(is_it, "{expected:?}: {told:?}");
        }
    }
}
