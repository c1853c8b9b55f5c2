//! What a laboratory finds, given who the patient is and what the other results are.

use super::chart::Chart;
use super::panels::Test;
use super::tables::{ANEMIA, DIABETES, HYPERLIPIDEMIA, HYPOTHYROIDISM, KIDNEY};

const CHOLESTEROL: &str = "2093-3";
const CREATININE: &str = "2160-0";
const ERYTHROCYTES: &str = "789-8";
const GLUCOSE: &str = "2345-7";
const HDL: &str = "2085-9";
const HEMATOCRIT: &str = "4544-3";
const HEMOGLOBIN: &str = "718-7";
const LDL: &str = "13457-7";
const TRIGLYCERIDE: &str = "2571-8";
const TSH: &str = "3016-3";
const VOLUME: &str = "787-2";

/// The value of `test`, scaled as the test is; `before` are the results of the same report.
pub(super) fn value(chart: &mut Chart<'_>, test: &Test, age: i64, before: &[(&str, i64)]) -> i64 {
    let found = |code: &str| before.iter().find(|(of, _)| *of == code).map_or(0, |(_, it)| *it);
    let (is_female, is_child) = (chart.is_female, age < 16);
    let (low, high) = match test.code.1 {
        CHOLESTEROL if chart.has(HYPERLIPIDEMIA) => (205, 280),
        CREATININE if chart.has(KIDNEY) => (140, 205),
        CREATININE if is_female => (55, 108),
        GLUCOSE if chart.has(DIABETES) => (95, 230),
        HEMOGLOBIN if chart.has(ANEMIA) => (85, 118),
        HEMOGLOBIN if is_child => (112, 148),
        HEMOGLOBIN if is_female => (120, 154),
        TSH if chart.has(HYPOTHYROIDISM) => (250, 780),
        VOLUME if chart.has(ANEMIA) => (690, 790),
        VOLUME if is_child => (760, 900),
        // Three times the haemoglobin, what is in the cells, and Friedewald's formula.
        HEMATOCRIT => return found(HEMOGLOBIN) * 3 + chart.random.around(-6, 6),
        ERYTHROCYTES => return found(HEMATOCRIT) * 1_000 / found(VOLUME).max(1),
        LDL => return found(CHOLESTEROL) - found(HDL) - found(TRIGLYCERIDE) / 5,
        _ => test.drawn,
    };
    chart.random.around(low, high)
}

/// The reference range of `test` for a patient.
pub(super) fn normal(test: &Test, age: i64, is_female: bool) -> (Option<i64>, Option<i64>) {
    let range = |low, high| (Some(low), Some(high));
    match test.code.1 {
        HEMOGLOBIN if age < 16 => range(110, 155),
        HEMATOCRIT if age < 16 => range(330, 460),
        ERYTHROCYTES if age < 16 => range(390, 560),
        VOLUME if age < 16 => range(750, 950),
        CREATININE if is_female => range(50, 110),
        HEMOGLOBIN if is_female => range(120, 155),
        HEMATOCRIT if is_female => range(360, 465),
        ERYTHROCYTES if is_female => range(390, 510),
        CREATININE => range(70, 130),
        HEMOGLOBIN => range(135, 175),
        HEMATOCRIT => range(410, 530),
        ERYTHROCYTES => range(430, 570),
        _ => test.normal,
    }
}
