//! The conditions of a Questionnaire: what they depend on.
//!
//! Spec: <https://hl7.org/fhir/R4/questionnaire-definitions.html#Questionnaire.item.enableWhen.question>

use crate::fhir::json::Value;
use crate::validate::place::Place;

use super::super::walk::Walk;
use super::MAX_DEPTH;

impl<'w> Walk<'w> {
    /// Checks that no item waits for the answer to a question inside it, which nobody is asked.
    pub(in super::super) fn conditions(&mut self, questionnaire: &'w Value<'w>, place: &Place<'_>) {
        self.conditions_in(questionnaire.items_at("item"), &mut Vec::new(), &place.child("item"));
    }

    fn conditions_in(
        &mut self,
        items: &'w [Value<'w>],
        open: &mut Vec<&'w [Value<'w>]>,
        list: &Place<'_>,
    ) {
        if open.len() >= MAX_DEPTH {
            return;
        }
        for (index, item) in items.iter().enumerate() {
            let place = list.at(index);
            open.push(item.items_at("enableWhen"));
            let count: usize = open.iter().map(|conditions| conditions.len()).sum();
            if self.is_over() || !self.pay(1 + count as u64, &place) {
                return;
            }
            let mut waiting = open.iter().copied().flatten();
            let link = item.str_at("linkId");
            if link.is_some() && waiting.any(|condition| condition.str_at("question") == link) {
                self.misfit(&place, "an item waits for the answer to a question inside it");
            }
            self.conditions_in(item.items_at("item"), open, &place.child("item"));
            open.pop();
        }
    }
}
