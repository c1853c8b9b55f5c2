//! The operators between two collections.
//!
//! Spec: <https://hl7.org/fhirpath/N1/#operations>

use std::borrow::Cow;
use std::cmp::Ordering;

use super::ast::{Binary, Node as Tree};
use super::compare;
use super::decimal::Decimal;
use super::eval::{Evaluator, Frame, Outcome, operand};
use super::item::{Item, System};
use super::quantity::Quantity;
use super::temporal::Temporal;

/// Bytes of a text, made or looked at, that cost one step of the budget.
pub(super) const BYTES_A_STEP: usize = 16;

/// The item that `left operator right` gives; `None` for an empty collection.
pub(super) fn binary<'v>(
    evaluator: &mut Evaluator<'_, 'v>,
    operator: Binary,
    left: &'v Tree,
    right: &'v Tree,
    frame: Frame<'_, 'v>,
    start: u32,
) -> Outcome<Option<Item<'v>>> {
    match operator {
        Binary::And | Binary::Implies | Binary::Or | Binary::Xor => {
            let logical = logical(evaluator, operator, left, right, frame)?;
            Ok(logical.map(Item::from))
        }
        Binary::Equal
        | Binary::Equivalent
        | Binary::NotEqual
        | Binary::NotEquivalent
        | Binary::Contains
        | Binary::In => {
            let left = evaluator.items(left, frame)?;
            let right = evaluator.items(right, frame)?;
            let result = match operator {
                Binary::Equal => equal(evaluator, &left, &right, start)?,
                Binary::NotEqual => equal(evaluator, &left, &right, start)?.map(|equal| !equal),
                Binary::Equivalent => Some(equivalent(evaluator, left, right, start)?),
                Binary::NotEquivalent => Some(!equivalent(evaluator, left, right, start)?),
                Binary::Contains => member(evaluator, &right, &left, start)?,
                _ => member(evaluator, &left, &right, start)?,
            };
            Ok(result.map(Item::from))
        }
        Binary::Concatenate => {
            let left = evaluator.single(left, frame)?;
            let right = evaluator.single(right, frame)?;
            let text = |item: Option<Item<'v>>| match item {
                None => Ok(Cow::Borrowed("")),
                Some(item) => match item.system(evaluator.schema()) {
                    Some(System::String(text)) => Ok(text),
                    _ => operand(start, "& joins texts only"),
                },
            };
            let joined = format!("{}{}", text(left)?, text(right)?);
            evaluator.spend(joined.len() / BYTES_A_STEP, start)?;
            Ok(Some(Item::from(joined)))
        }
        _ => {
            let Some(left) = evaluator.single(left, frame)? else { return Ok(None) };
            let Some(right) = evaluator.single(right, frame)? else { return Ok(None) };
            scalar(evaluator, operator, &left, &right, start)
        }
    }
}

/// `-` or `+` before an operand.
pub(super) fn signed<'v>(
    evaluator: &Evaluator<'_, 'v>,
    negative: bool,
    mut items: Vec<Item<'v>>,
    start: u32,
) -> Outcome<Option<Item<'v>>> {
    if items.len() > 1 {
        return operand(start, "a sign belongs to one number, not several");
    }
    let Some(item) = items.pop() else { return Ok(None) };
    let value = match item.system(evaluator.schema()) {
        Some(value) if !negative => value,
        Some(System::Integer(value)) => match value.checked_neg() {
            Some(value) => System::Integer(value),
            None => return Ok(None),
        },
        Some(System::Decimal(value)) => System::Decimal(value.negated()),
        Some(System::Quantity(Quantity { value, unit })) => {
            System::Quantity(Quantity { value: value.negated(), unit })
        }
        _ => return operand(start, "a sign belongs to a number"),
    };
    match value {
        System::Decimal(_) | System::Integer(_) | System::Quantity(_) => {
            Ok(Some(Item::Value(value)))
        }
        _ => operand(start, "a sign belongs to a number"),
    }
}

/// Three-valued logic; the right side is not evaluated where the left one decides.
fn logical<'v>(
    evaluator: &mut Evaluator<'_, 'v>,
    operator: Binary,
    left: &'v Tree,
    right: &'v Tree,
    frame: Frame<'_, 'v>,
) -> Outcome<Option<bool>> {
    let left = evaluator.condition(left, frame)?;
    match (operator, left) {
        (Binary::And, Some(false)) => return Ok(Some(false)),
        (Binary::Or, Some(true)) | (Binary::Implies, Some(false)) => return Ok(Some(true)),
        _ => {}
    }
    let right = evaluator.condition(right, frame)?;
    Ok(match (operator, left, right) {
        (Binary::And, _, Some(false)) => Some(false),
        (Binary::Or | Binary::Implies, _, Some(true)) => Some(true),
        (Binary::Xor, Some(left), Some(right)) => Some(left != right),
        (_, Some(_), right) => right,
        _ => None,
    })
}

fn equal<'v>(
    evaluator: &mut Evaluator<'_, 'v>,
    left: &[Item<'v>],
    right: &[Item<'v>],
    start: u32,
) -> Outcome<Option<bool>> {
    if left.is_empty() || right.is_empty() {
        return Ok(None);
    }
    if left.len() != right.len() {
        return Ok(Some(false));
    }
    let mut all = Some(true);
    for (left, right) in left.iter().zip(right) {
        match evaluator.equal(left, right, start)? {
            Some(true) => {}
            Some(false) => return Ok(Some(false)),
            None => all = None,
        }
    }
    Ok(all)
}

/// The same items in whatever order.
fn equivalent<'v>(
    evaluator: &mut Evaluator<'_, 'v>,
    left: Vec<Item<'v>>,
    mut right: Vec<Item<'v>>,
    start: u32,
) -> Outcome<bool> {
    if left.len() != right.len() {
        return Ok(false);
    }
    for item in left {
        let mut found = None;
        for (at, there) in right.iter().enumerate() {
            if evaluator.equivalent(&item, there, start)? {
                found = Some(at);
                break;
            }
        }
        match found {
            Some(at) => right.swap_remove(at),
            None => return Ok(false),
        };
    }
    Ok(true)
}

fn member<'v>(
    evaluator: &mut Evaluator<'_, 'v>,
    wanted: &[Item<'v>],
    items: &[Item<'v>],
    start: u32,
) -> Outcome<Option<bool>> {
    match wanted {
        [] => Ok(None),
        [wanted] => evaluator.contains(items, wanted, start).map(Some),
        _ => operand(start, "one item is looked for, not several"),
    }
}

fn scalar<'v>(
    evaluator: &mut Evaluator<'_, 'v>,
    operator: Binary,
    left: &Item<'v>,
    right: &Item<'v>,
    start: u32,
) -> Outcome<Option<Item<'v>>> {
    let schema = evaluator.schema();
    let values = (left.system(schema), right.system(schema));
    let holds: fn(Ordering) -> bool = match operator {
        Binary::Greater => Ordering::is_gt,
        Binary::GreaterOrEqual => Ordering::is_ge,
        Binary::Less => Ordering::is_lt,
        Binary::LessOrEqual => Ordering::is_le,
        _ => {
            let (Some(left), Some(right)) = values else {
                return operand(start, "the operator needs numbers or texts");
            };
            if let (System::String(left), System::String(right)) = (&left, &right) {
                evaluator.spend((left.len() + right.len()) / BYTES_A_STEP, start)?;
            }
            return arithmetic(operator, &left, &right, start);
        }
    };
    let order = match &values {
        (Some(left), Some(right)) => {
            evaluator.spend(compare::shared_bytes(left, right) / BYTES_A_STEP, start)?;
            compare::order(left, right)
        }
        _ => Err(()),
    };
    let Ok(order) = order else {
        let (left, right) = (left.type_name(schema), right.type_name(schema));
        return operand(start, format!("{left} and {right} have no order"));
    };
    Ok(order.map(holds).map(Item::from))
}

fn arithmetic<'v>(
    operator: Binary,
    left: &System<'v>,
    right: &System<'v>,
    start: u32,
) -> Outcome<Option<Item<'v>>> {
    use System::{Integer, Quantity as Measured, String as Text};
    let result = match (operator, left, right) {
        (Binary::Add, Text(left), Text(right)) => {
            return Ok(Some(Item::from(format!("{left}{right}"))));
        }
        (Binary::Add, Integer(left), Integer(right)) => left.checked_add(*right).map(Item::from),
        (Binary::Subtract, Integer(left), Integer(right)) => {
            left.checked_sub(*right).map(Item::from)
        }
        (Binary::Multiply, Integer(left), Integer(right)) => {
            left.checked_mul(*right).map(Item::from)
        }
        (Binary::WholeQuotient, Integer(left), Integer(right)) => {
            left.checked_div(*right).map(Item::from)
        }
        (Binary::Remainder, Integer(left), Integer(right)) => {
            left.checked_rem(*right).map(Item::from)
        }
        (Binary::Add | Binary::Subtract, System::Temporal(when), Measured(duration)) => {
            return moved(operator, when, duration, start);
        }
        (_, Measured(_), _) | (_, _, Measured(_)) => {
            return measured(operator, left, right, start);
        }
        _ => {
            let (Some(left), Some(right)) = (left.to_decimal(), right.to_decimal()) else {
                let (left, right) = (left.type_name(), right.type_name());
                return operand(start, format!("the operator does not take {left} and {right}"));
            };
            decimals(operator, left, right)
        }
    };
    Ok(result)
}

/// A date or time plus or minus a duration.
fn moved<'v>(
    operator: Binary,
    when: &Temporal<'v>,
    duration: &Quantity<'v>,
    start: u32,
) -> Outcome<Option<Item<'v>>> {
    let Some(step) = duration.step() else {
        let unit = &duration.unit;
        return operand(start, format!("dates and times are not moved by {unit}"));
    };
    let step = if operator == Binary::Add { Some(step) } else { step.reversed() };
    let moved = step.and_then(|step| when.plus(step));
    Ok(moved.map(|moved| Item::Value(System::Temporal(moved))))
}

/// Two quantities, or one and a number.
fn measured<'v>(
    operator: Binary,
    left: &System<'v>,
    right: &System<'v>,
    start: u32,
) -> Outcome<Option<Item<'v>>> {
    let (Some(left), Some(right)) = (left.to_quantity(), right.to_quantity()) else {
        let (left, right) = (left.type_name(), right.type_name());
        return operand(start, format!("the operator does not take {left} and {right}"));
    };
    let Ok(result) = left.computed(operator, &right) else {
        let (left, right) = (left.unit, right.unit);
        return operand(start, format!("the operator does not take {left} and {right}"));
    };
    let owned = |Quantity { value, unit }: Quantity<'_>| Quantity {
        value,
        unit: Cow::Owned(unit.into_owned()),
    };
    Ok(result.map(|result| Item::Value(System::Quantity(owned(result)))))
}

fn decimals<'v>(operator: Binary, left: Decimal, right: Decimal) -> Option<Item<'v>> {
    let result = match operator {
        Binary::Add => left.plus(right),
        Binary::Subtract => left.minus(right),
        Binary::Multiply => left.times(right),
        Binary::Divide => left.over(right),
        Binary::Remainder => left.remainder(right),
        Binary::WholeQuotient => {
            return left.whole_quotient(right)?.to_integer().map(Item::from);
        }
        _ => None,
    };
    result.map(Item::from)
}
