//! Messages of HL7 version 2: how they are read, and what they make.

mod maps_messages;
mod maps_rules;
mod oracle;

/// An ADT message.
fn adt(event: &str, control_id: &str, patient: &str) -> String {
    format!(
        "MSH|^~\\&|LAB|STM|KILN|H|20260704120000||ADT^{event}^ADT_A01|{control_id}|P|2.5.1\r\
         EVN||20260704120000\rPID|1||{patient}^^^STM^MR||Muster^Anna\rPV1|1|I\r"
    )
}
