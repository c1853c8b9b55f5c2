use super::*;
use crate::fhir::json::parse;
use crate::spec::R4_PACK;

const GENDER: &str = "http://hl7.org/fhir/administrative-gender";
