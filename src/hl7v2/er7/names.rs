//! The names of segments in the standard, by which a name alone in its line is told from a word.

use super::place::SegmentName;

/// Those of chapters 2 to 17, in versions 2.1 to 2.9.
const NAMES: &str = "ABS ACC ADD ADJ AFF AIG AIL AIP AIS AL1 APR ARQ ARV AUT BHS BLC BLG BPO BPX BTS BTX BUI CDM CDO \
    CER CM0 CM1 CM2 CNS CON CSP CSR CSS CTD CTI CTR DB1 DEV DG1 DMI DON DPS DRG DSC DSP DST ECD ECR EDU EQL EQP EQU \
    ERQ ERR EVN FAC FHS FT1 FTS GOL GP1 GP2 GT1 IAM IAR IIM ILT IN1 IN2 IN3 INV IPC IPR ISD ITM IVC IVT LAN LCC LCH \
    LDP LOC LRL MCP MFA MFE MFI MRG MSA MSH NCK NCL NDS NK1 NPU NSC NST NTE OBR OBX ODS ODT OH1 OH2 OH3 OH4 OM1 OM2 \
    OM3 OM4 OM5 OM6 OM7 OM8 OMC ORC ORG ORO OVR PAC PCE PCR PD1 PDA PDC PEO PES PID PKG PM1 PMT PR1 PRA PRB PRC PRD \
    PRT PSG PSH PSL PSS PTH PV1 PV2 PYE QAK QID QPD QRD QRF QRI RCP RDF RDT REL RF1 RFI RGS RMI ROL RQ1 RQD RXA RXC \
    RXD RXE RXG RXO RXR RXV SAC SCD SCH SCP SDD SFT SGH SGT SHP SID SLT SPM SPR STF STZ TCC TCD TQ1 TQ2 TXA UAC UB1 \
    UB2 URD URS VAR VND VTQ";

/// Whether there is such a segment, in the standard or of somebody's own.
pub(super) fn is_known(name: SegmentName) -> bool {
    name.as_str().starts_with('Z') || NAMES.split(' ').any(|known| known == name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hl7v2::charset::Charset;
    use crate::hl7v2::er7::{Message, Reading};

    #[test]
    fn a_word_of_three_capitals_in_a_text_is_no_segment() {
        for (rest, names, path, expected) in [
            ("NTE|1||Chest:\rNAD\rPV1|1", "MSH NTE PV1", "NTE-3", "Chest:\nNAD"),
            ("NTE|1||Chest:\rNAD\rand so on", "MSH NTE", "NTE-3", "Chest:\nNAD\nand so on"),
            ("OBX|1|TX|T^T^L||one\rSOB\rno||||||F", "MSH OBX", "OBX-5", "one\nSOB\nno"),
            ("OBX|1|TX|T^T^L||one\rSOB\rno||||||F", "MSH OBX", "OBX-11", "F"),
            // Names of the standard, and those of somebody's own.
            ("NTE|1||x\rSPM", "MSH NTE SPM", "NTE-3", "x"),
            ("NTE|1||x\rZZ1", "MSH NTE ZZ1", "NTE-3", "x"),
            // Behind what is no text a word is kept by itself: no code and no time has it in it.
            ("PV1|1|I\rNAD", "MSH PV1 NAD", "PV1-2", "I"),
            ("OBX|1|TX|T^T^L||one||||||F\rNAD", "MSH OBX NAD", "OBX-11", "F"),
        ] {
            let text = format!("MSH|^~\\&|A\r{rest}");
            let message = Message::parse(&text, Charset::UTF_8, Reading::Lenient).unwrap();
            let found: Vec<_> = message.segments().map(|it| it.name().to_string()).collect();
            assert_eq!(found.join(" "), names, "{rest}");
            assert_eq!(message.get(&path.parse().unwrap()).text(), expected, "{rest}");
        }
    }

    #[test]
    fn names_are_those_of_segments() {
        let all: Vec<_> = NAMES.split(' ').collect();
        assert!(all.iter().all(|name| SegmentName::parse(name).is_some()));
        assert!(all.is_sorted_by(|one, next| one < next), "each once, in their order");
    }
}
