//! FHIRPath Patch.
//!
//! Spec: <https://hl7.org/fhir/R4/fhirpatch.html>, rest 2.62-2.67

use super::bounds::Bounds;
use super::list::{self, Element};
use super::operation::Operation;
use super::place;
use super::{MAX_OPERATIONS, Step, check_writable, element, invalid};
use crate::error::Error;
use crate::fhir::IssueCode;
use crate::fhir::json::Value;
use crate::fhir::schema::Schema;
use crate::fhirpath::{Expression, Step as Stride};

/// Applies the operations in order.
pub(super) fn apply(
    parameters: &Value<'_>,
    target: Value<'_>,
    schema: &Schema,
) -> Result<Value<'static>, Error> {
    let malformed = |text: &str| Error::invalid(IssueCode::Invalid, text);
    if parameters.str_at("resourceType") != Some("Parameters") {
        return Err(malformed("a FHIRPath Patch is a Parameters resource"));
    }
    let operations = parameters.items_at("parameter");
    if operations.len() > MAX_OPERATIONS {
        return Err(malformed("the patch has too many operations"));
    }
    let mut run = Run { document: target.into_owned(), schema, bounds: Bounds::new() };
    for (index, parameter) in operations.iter().enumerate() {
        let done = Operation::read(parameter).and_then(|operation| run.operation(&operation));
        done.map_err(|fault| fault.at(index))?;
    }
    Ok(run.document)
}

/// A patch at work.
struct Run<'s> {
    document: Value<'static>,
    schema: &'s Schema,
    bounds: Bounds,
}

/// A list: the way to its object, and its key.
struct List {
    holder: Vec<Stride>,
    key: String,
}

impl Run<'_> {
    fn operation(&mut self, operation: &Operation<'_>) -> Step<()> {
        match operation {
            Operation::Add { path, name, value } => self.add(path, name, value),
            Operation::Delete { path } => self.delete(path),
            Operation::Insert { path, index, value } => self.insert(path, *index, value),
            Operation::Move { path, source, destination } => {
                let list = self.list(path)?;
                let object = place::object_at(&mut self.document, &list.holder)?;
                list::relocate(object, &list.key, *source, *destination)
            }
            Operation::Replace { path, value } => self.replace(path, value),
        }
    }

    fn charge(&mut self, element: &Element, depth: usize) -> Step<()> {
        let parts = [&element.value, &element.sibling];
        parts.into_iter().flatten().try_for_each(|value| self.bounds.charge(value, depth))
    }

    fn add(&mut self, path: &Expression, name: &str, value: &Value<'_>) -> Step<()> {
        let parent = place::single(path, &self.document, self.schema)?;
        let (field, variant) = element::field(self.schema, parent.type_id, name)?;
        check_writable(&parent.names().chain([&*field.name]))?;
        let (key, element) = element::read(self.schema, field, variant, value)?;
        self.charge(&element, parent.strides.len() + 2)?;
        let object = place::object_at(&mut self.document, &parent.strides)?;
        if field.is_array() {
            let end = list::len(object, key);
            return list::insert(object, key, end, element);
        }
        if element::is_present(object, field) {
            return invalid(format!("{} is there already and does not repeat", field.name));
        }
        list::set(object, key, element);
        Ok(())
    }

    fn delete(&mut self, path: &Expression) -> Step<()> {
        let Some(place) = place::optional(path, &self.document, self.schema)? else {
            return Ok(());
        };
        check_writable(&place.names())?;
        place::remove(&mut self.document, place.slot()?)
    }

    fn insert(&mut self, path: &Expression, index: usize, value: &Value<'_>) -> Step<()> {
        let list = self.list(path)?;
        let slot = place::Slot { holder: &list.holder, key: &list.key, index: None };
        let field = place::definition(slot, &self.document, self.schema)?;
        let (key, element) = element::read(self.schema, field, None, value)?;
        self.charge(&element, list.holder.len() + 2)?;
        let object = place::object_at(&mut self.document, &list.holder)?;
        list::insert(object, key, index, element)
    }

    fn replace(&mut self, path: &Expression, value: &Value<'_>) -> Step<()> {
        let place = place::single(path, &self.document, self.schema)?;
        check_writable(&place.names())?;
        let slot = place.slot()?;
        let field = place::definition(slot, &self.document, self.schema)?;
        let (key, element) = element::read(self.schema, field, None, value)?;
        self.charge(&element, place.strides.len() + 1)?;
        let object = place::object_at(&mut self.document, slot.holder)?;
        if let Some(index) = slot.index {
            list::replace(object, key, index, element);
            return Ok(());
        }
        if key != slot.key {
            list::unset(object, slot.key);
        }
        list::set(object, key, element);
        Ok(())
    }

    /// The list that `path` names: all items of one list, or one that is not there yet.
    fn list(&self, path: &Expression) -> Step<List> {
        let Some(first) = place::list(path, &self.document, self.schema)? else {
            return self.new_list(path);
        };
        let slot = first.slot()?;
        Ok(List { holder: slot.holder.to_vec(), key: slot.key.to_owned() })
    }

    fn new_list(&self, path: &Expression) -> Step<List> {
        let missing = || invalid(format!("nothing is found at {}", path.text()));
        let Some((before, name)) = path.parent() else { return missing() };
        let parent = place::single(&before, &self.document, self.schema)?;
        let (field, variant) = element::field(self.schema, parent.type_id, name)?;
        let is_list = field.is_array() && variant.is_none();
        match field.types.first() {
            Some(one) if is_list => Ok(List { holder: parent.strides, key: one.key.to_string() }),
            _ => invalid(format!("{name} is no list")),
        }
    }
}
