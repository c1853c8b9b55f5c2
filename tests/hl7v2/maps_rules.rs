//! The maps of the program by single messages, and profiles of sites laid over them.

use kiln::hl7v2::charset::Charset;
use kiln::hl7v2::er7::{Message, Reading};
use kiln::hl7v2::map::{Draft, DraftResource, Maps, bundle};
use kiln::spec::Spec;

const HEAD: &str = "MSH|^~\\&|LAB|STM|KILN|X|20260701120000+0100||";

fn draft(maps: &Maps, kind: &str, segments: &[&str]) -> Draft {
    let text = format!("{HEAD}{kind}|1|P|2.5.1\r{}\r", segments.join("\r"));
    let utf8 = Charset::named("UNICODE UTF-8").unwrap();
    let message = Message::parse(&text, utf8, Reading::Lenient).unwrap();
    maps.draft(&message).unwrap()
}

fn of<'d>(draft: &'d Draft, rule: &str) -> Vec<&'d DraftResource> {
    draft.resources.iter().filter(|resource| resource.rule == rule).collect()
}

fn text(resource: &DraftResource, name: &str) -> String {
    resource.body.get(name).map(kiln::fhir::json::Value::to_text).unwrap_or_default()
}

const PATIENT: &str = "PID|1||77^^^STM^MR~900^^^NAT&1.2.3&ISO^NI||Doe^Ann^B||19800102|F";

#[test]
fn an_admission_makes_patient_and_visit_with_keys_that_do_not_change() {
    let spec = Spec::r4().unwrap();
    let maps = Maps::base(&spec.schema).unwrap();
    let visit = "PV1|1|I|W^1^A||||12^Roe^Rita||||||||||||V5^^^STM";
    let one = draft(&maps, "ADT^A01^ADT_A01", &["EVN||20260701115900", PATIENT, visit]);
    let patient = one.first("patient").unwrap();
    assert_eq!(text(patient, "gender"), "\"female\"");
    assert_eq!(text(patient, "birthDate"), "\"1980-01-02\"");
    assert_eq!(patient.keys.len(), 1);
    assert_eq!(patient.keys[0].value, "77");
    let encounter = one.first("encounter").unwrap();
    assert_eq!(encounter.keys[0].value, "V5");
    assert!(text(encounter, "participant").contains("ATND"));
    assert_eq!(one.effect.as_deref(), Some("encounter-event"));
    // The order of identifiers is of no account.
    let swapped =
        PATIENT.replace("77^^^STM^MR~900^^^NAT&1.2.3&ISO^NI", "900^^^NAT&1.2.3&ISO^NI~77^^^STM^MR");
    let other = draft(&maps, "ADT^A01^ADT_A01", &["EVN||20260701115900", &swapped, visit]);
    assert_eq!(other.first("patient").unwrap().keys, patient.keys);
}

#[test]
fn a_visit_without_a_number_is_not_made_up() {
    let spec = Spec::r4().unwrap();
    let maps = Maps::base(&spec.schema).unwrap();
    let made = draft(&maps, "ADT^A01", &[PATIENT, "PV1|1|I"]);
    assert!(made.first("encounter").is_none());
}

#[test]
fn empty_leaves_and_null_removes() {
    let spec = Spec::r4().unwrap();
    let maps = Maps::base(&spec.schema).unwrap();
    let with = |telecom: &str| {
        let patient = format!("PID|1||77^^^STM^MR||Doe^Ann||||||||{telecom}");
        draft(&maps, "ADT^A08", &[&patient]).first("patient").unwrap().clone()
    };
    assert_eq!(with("").removed, []);
    let gone: Vec<_> = with("\"\"").removed.iter().map(|gone| gone.path.clone()).collect();
    assert!(!gone.is_empty() && gone.iter().all(|path| path == "telecom"), "{gone:?}");
    assert!(with("555").removed.is_empty());
}

#[test]
fn what_is_required_and_missing_is_refused_with_its_place() {
    let spec = Spec::r4().unwrap();
    let maps = Maps::base(&spec.schema).unwrap();
    let made = draft(&maps, "ADT^A01", &["PID|1||||Doe^Ann"]);
    assert!(made.is_refused());
    let problem = made.problems.iter().find(|problem| problem.is_error).unwrap();
    assert_eq!((problem.code, problem.place.as_str()), (101, "PID-3"));
    let query = ["PID|1||77^^^STM^MR", "OBR|1||F1|A^B^L|||||||||||||||||||||Y"];
    let made = draft(&maps, "ORU^R01", &query);
    assert!(made.problems.iter().any(|problem| problem.is_error && problem.code == 103));
}

#[test]
fn results_with_the_same_code_stay_apart_and_keep_their_keys() {
    let spec = Spec::r4().unwrap();
    let maps = Maps::base(&spec.schema).unwrap();
    let order = "OBR|1||F1^LAB|P^Panel^L|||20260701||||||||||||||||||F";
    let segments = [
        PATIENT,
        order,
        "OBX|1|NM|718-7^Hb^LN|1|1.0|g/dl|3.5-5.0|N|||F",
        "OBX|2|NM|718-7^Hb^LN|2|<0.5|g/dl||L|||F",
        "OBX|3|NM|718-7^Hb^LN||7|g/dl||L|||P",
        "OBX|4|NM|718-7^Hb^LN||8|g/dl||L|||U",
        "OBX|5|CWE|X^Y^L||A^B^L~C^D^L||||||F",
        "OBX|6|ED|PDF^Report^L||^AP^PDF^Base64^JVBERi0xLjQ=||||||F",
    ];
    let made = draft(&maps, "ORU^R01^ORU_R01", &segments);
    let results = of(&made, "observation");
    assert_eq!(results.len(), 5);
    let mut keys: Vec<_> = results.iter().map(|it| it.keys[0].text()).collect();
    let again = draft(&maps, "ORU^R01^ORU_R01", &segments);
    assert_eq!(
        of(&again, "observation").iter().map(|it| it.keys[0].text()).collect::<Vec<_>>(),
        keys
    );
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 5);
    assert!(text(results[0], "valueQuantity").contains("\"value\":1.0"));
    assert!(text(results[0], "referenceRange").contains("\"value\":3.5"));
    assert_eq!(text(results[2], "status"), "\"preliminary\"");
    assert_eq!(text(results[3], "status"), "\"final\"");
    assert_eq!(text(results[3], "valueQuantity"), "");
    assert_eq!(text(results[4], "component").matches("\"code\":{").count(), 2);
    let report = made.first("report").unwrap();
    assert!(text(report, "presentedForm").contains("application/pdf"));
    assert_eq!(text(report, "result").matches("urn:uuid").count(), 5);
}

/// Covers: v2 S30.
#[test]
fn panels_with_one_number_are_reports_of_their_own() {
    let spec = Spec::r4().unwrap();
    let maps = Maps::base(&spec.schema).unwrap();
    let order = |n: u8, code: &str| {
        format!("OBR|{n}|P1^HIS|ACC1^LAB|{code}^Panel^L|||20260701||||||||||||||||||F")
    };
    let (one, two) = (order(1, "A"), order(2, "B"));
    let result = "OBX|1|NM|718-7^Hb^LN||1|g/dl||N|||F";
    let made = draft(&maps, "ORU^R01^ORU_R01", &[PATIENT, &one, result, &two, result]);
    let results = of(&made, "observation");
    assert_eq!(results.len(), 2);
    assert_ne!(results[0].keys, results[1].keys);
    let reports = of(&made, "report");
    assert_eq!(reports.iter().map(|it| it.keys[0].part.as_str()).collect::<Vec<_>>(), ["A", "B"]);
    for report in reports {
        assert_eq!(text(report, "result").matches("urn:uuid").count(), 1);
    }
    // The number of the placer is that of one order.
    assert_eq!(of(&made, "request").len(), 1);
    let told = |made: &Draft| made.problems.iter().any(|problem| problem.kind == "same-key");
    assert!(told(&made));
    // What says the same again is no other.
    let again = draft(&maps, "ORU^R01^ORU_R01", &[PATIENT, &one, result, &order(2, "A"), result]);
    assert!(!told(&again));
    let numbered =
        |value: u8| format!("OBX|{value}|NM|718-7^Hb^LN||{value}|g/dl||N|||F||||||||||R1^LAB");
    let made = draft(&maps, "ORU^R01^ORU_R01", &[PATIENT, &one, &numbered(1), &numbered(2)]);
    assert_eq!(of(&made, "observation").len(), 1);
    assert!(told(&made));
    // As a transaction a panel is asked for by its code, or by its name where it has no other word.
    for (panel, asked) in
        [("A^Panel^L", "&code=A\""), ("^Blood  Count", "&code:text=blood%20count\"")]
    {
        let made = draft(&maps, "ORU^R01^ORU_R01", &[PATIENT, &one.replace("A^Panel^L", panel)]);
        let transaction = bundle::transaction(&made).to_text();
        assert!(transaction.contains(asked), "{panel}: {transaction}");
    }
}

/// Covers: v2 P1.
#[test]
fn repetitions_that_no_rule_reads_are_listed_each() {
    let spec = Spec::r4().unwrap();
    let maps = Maps::base(&spec.schema).unwrap();
    let order = "OBR|1||F1^LAB|24323-8^Panel^LN|||20260704110000|||||||||||||||||LAB|F";
    let result = |method: &str| format!("OBX|1|NM|718-7^Hb^LN||1~2|g/dl||N~A|||F||||||{method}");
    let unread = |made: &Draft| {
        let all = made.unmapped.iter().filter(|place| !place.starts_with("MSH"));
        all.cloned().collect::<Vec<_>>()
    };
    for (method, expected) in [
        ("M1^One^L", vec![]),
        ("M1^One^L~M2^Two^L", vec!["OBX[1]-17[2]"]),
        ("M1^One^L~~M3^Three^L", vec!["OBX[1]-17[3]"]),
        // Of the first nothing comes, so the field counts as not read.
        ("~M2^Two^L", vec!["OBX[1]-17"]),
    ] {
        let made = draft(&maps, "ORU^R01^ORU_R01", &[PATIENT, order, &result(method)]);
        assert_eq!(unread(&made), expected, "{method}");
    }
    // What is read whole is not listed, what is not read at all is listed once.
    let made = draft(&maps, "ADT^A08", &[&format!("{PATIENT}|||A^Town~B^Town"), "ZZZ|1|A~B"]);
    assert_eq!(unread(&made), ["ZZZ[1]-2"]);
}

/// What is read for a key, or read and of no use, is in no resource.
///
/// Covers: v2 F1.
#[test]
fn fields_of_which_nothing_is_made_are_listed() {
    let spec = Spec::r4().unwrap();
    let maps = Maps::base(&spec.schema).unwrap();
    let listed = |kind: &str, segments: &[&str], field: &str| {
        let made = draft(&maps, kind, segments);
        let all = made.unmapped.iter().filter_map(|place| place.strip_prefix(field));
        let own = all.filter(|rest| rest.is_empty() || rest.starts_with('['));
        own.map(str::to_owned).collect::<Vec<_>>()
    };
    let visit = "PV1|1|I|||||||||||||||||V5^^^STM";
    let order = "OBR|1|P1^A|F1^LAB|24323-8^Panel^LN|||20260704110000||||||||||||||||||F";
    let bare = "OBR|1|||24323-8^Panel^LN|||20260704110000";
    let dead = |code: &str| format!("{PATIENT}{}{code}", "|".repeat(22));
    let due_to = |id: &str| format!("DG1|1||I10^Pressure^I10||20260701|A{}{id}", "|".repeat(16));
    let [no_code, yes] = ["NO", "Y"].map(dead);
    let [no_id, parent] = ["^^1.2.3^ISO", "D7^A"].map(due_to);
    let doctor = "PRT||AD||AD^Admitting^HL70912|12^Roe^Rita";
    let nobody = "PRT||AD||AD^Admitting^HL70912";
    let numeric = "OBX|1|NM|718-7^Hb^LN|1.1|5|g/dL|||||F|||||||D1^Lab~D2^Lab";
    let pointer = "OBX|1|RP|S^Scan^L||https://a.test/1^^IM^PNG~https://a.test/2^^IM^PNG||||||F";
    let cases: &[(&str, &[&str], &str, &[&str])] = &[
        ("ADT^A08", &[&no_code], "PID[1]-30", &[""]),
        ("ADT^A08", &[&yes], "PID[1]-30", &[]),
        ("ADT^A08", &[PATIENT, "PD1||||^^^^^^^^^^^^MR"], "PD1[1]-4", &[""]),
        ("ADT^A08", &[PATIENT, "PD1||||12^Roe^Rita"], "PD1[1]-4", &[]),
        ("ADT^A08", &[PATIENT, &no_id], "DG1[1]-22", &[""]),
        ("ADT^A08", &[PATIENT, &parent], "DG1[1]-22", &[]),
        ("ADT^A08", &[PATIENT, "IN1|1|PLAN|C1|Insurer"], "IN1[1]-3", &[""]),
        ("ADT^A08", &[PATIENT, "IN1|1|PLAN|C1"], "IN1[1]-3", &[]),
        ("ADT^A01", &[PATIENT, visit, nobody], "PRT[1]-4", &[""]),
        ("ADT^A01", &[PATIENT, visit, doctor], "PRT[1]-4", &[]),
        ("ORM^O01", &[PATIENT, bare], "OBR[1]-7", &[""]),
        ("ORU^R01", &[PATIENT, order], "OBR[1]-7", &[]),
        ("ORU^R01", &[PATIENT, order, "NTE|1|L|words|RE"], "NTE[1]-2", &[""]),
        ("ORU^R01", &[PATIENT, order, "NTE|1|L|words|RE"], "NTE[1]-3", &[]),
        ("ORU^R01", &[PATIENT, order, "NTE|1|L|words|RE"], "NTE[1]-4", &[""]),
        ("ORU^R01", &[PATIENT, order, numeric], "OBX[1]-4", &[""]),
        ("ORU^R01", &[PATIENT, order, numeric], "OBX[1]-18", &["[2]"]),
        ("ORU^R01", &[PATIENT, order, pointer], "OBX[1]-5", &["[2]"]),
    ];
    for (kind, segments, field, expected) in cases {
        assert_eq!(listed(kind, segments, field), *expected, "{kind} {segments:?} {field}");
    }
    // The number of a diagnosis is in what is made of it, also where an order brings it.
    let diagnosis = format!("DG1|1||I10^Pressure^I10{}D9^A", "|".repeat(17));
    let made = draft(&maps, "ORM^O01", &[PATIENT, bare, &diagnosis]);
    assert!(text(made.first("orderdiagnosis").unwrap(), "identifier").contains("\"D9\""));
}

/// Covers: v2 F1.
#[test]
fn an_appointment_of_several_patients_is_one_and_has_all_of_them() {
    let spec = Spec::r4().unwrap();
    let maps = Maps::base(&spec.schema).unwrap();
    let schedule = "SCH|A1^S|A1^S|||||CHECK|NORMAL|30|min|^^30^20260710090000|||||||||20^Who^A";
    let others = ["PID|2||78^^^STM^MR||Doe^Bob", "DG1|1||D2^Second^L", "RGS|1", "AIS|1||S1^Scan^L"];
    let one = [schedule, PATIENT, "DG1|1||D1^First^L"];
    let made = draft(&maps, "SIU^S12^SIU_S12", &[&one[..], &others[..]].concat());
    let count = |rule: &str| of(&made, rule).len();
    assert_eq!(["patient", "condition", "appointment"].map(count), [2, 2, 1]);
    let appointment = text(made.first("appointment").unwrap(), "participant");
    for (patient, condition) in of(&made, "patient").iter().zip(of(&made, "condition")) {
        assert!(appointment.contains(&patient.url), "{appointment}");
        assert!(text(condition, "subject").contains(&patient.url), "{condition:?}");
    }
    assert!(text(made.first("appointment").unwrap(), "serviceType").contains("S1"));
    // What stands before the patient is seen as before where there is one.
    let site = "[site]\nid = \"a\"\nmatch = { app = \"LAB\" }\n[resource.remark]\ntype = \"Basic\"\n\
        each = \"ZRM\"\nkey = \"ids('ZRM', ZRM-1)\"\n[resource.remark.set]\n\"code.text\" = \"ZRM-1 | text\"\n\
        subject = \"ref(patient)\"\n\
        [message.schedule]\nadd = [\"remark\"]\n";
    let maps = maps.with_site("a.toml", site, &spec.schema).unwrap();
    for patients in [1, 2] {
        let before = [schedule, "ZRM|note", PATIENT];
        let made = draft(&maps, "SIU^S12", &[&before[..], &others[..patients - 1]].concat());
        assert_eq!(of(&made, "remark").len(), 1, "{patients}");
    }
    // What stands with a patient is that patient's.
    let remarked = [schedule, PATIENT, "ZRM|first", others[0], "ZRM|second"];
    let made = draft(&maps, "SIU^S12", &remarked);
    assert_eq!(of(&made, "remark").len(), 2);
    for (patient, remark) in of(&made, "patient").iter().zip(of(&made, "remark")) {
        assert!(text(remark, "subject").contains(&patient.url), "{remark:?}");
    }
}

/// What a resource leads to by a name is what stands within it, or beside the segment that it is of.
#[test]
fn resources_of_a_segment_lead_to_those_beside_it() {
    let spec = Spec::r4().unwrap();
    let maps = Maps::base(&spec.schema).unwrap();
    let leads = |made: &Draft, rule: &str, element: &str| {
        let all =
            made.resources.iter().filter(|it| text(of(made, rule)[0], element).contains(&it.url));
        all.map(|it| it.name.as_str()).collect::<Vec<_>>().join(" ")
    };
    let schedule = "SCH|A1^S|A1^S|||||CHECK|NORMAL|30|min|^^30^20260710090000|||||||||20^Who^A";
    let diagnoses = ["DG1|1||D1^First^L", "DG1|2||D2^Second^L"];
    let made = draft(&maps, "SIU^S12", &[&[schedule, PATIENT][..], &diagnoses[..]].concat());
    assert_eq!(leads(&made, "appointment", "reasonReference"), "condition 1 condition 2");
    let orders = ["ORC|RE|P1^A", "OBR|1|P1^A||T^Test^L", "ORC|RE|P2^A", "OBR|2|P2^A||U^Test^L"];
    let text = "TXA|1|CN|TX|20260701||||||||D1^DOC";
    let made = draft(&maps, "MDM^T02", &[&[PATIENT][..], &orders[..], &[text][..]].concat());
    assert_eq!(leads(&made, "document", "context"), "request 1 request 2");
    let providers = [
        "PRD|RP|Doctor^Dora|||||D1^^^STM",
        "PRD|RT|Clinic^Carl|||||D2^^^STM",
        "PRD|PP|House^Hedda|||||D3^^^STM",
    ];
    let referral = "RF1|A|R|CON||O|R1^REF|20260704";
    let made = draft(&maps, "REF^I12", &[&[referral][..], &providers[..], &[PATIENT][..]].concat());
    assert_eq!(leads(&made, "referral", "requester"), "provider 1");
    assert_eq!(leads(&made, "referral", "performer"), "provider 2");
    // The reason of an order is its own.
    let [first, second] = diagnoses;
    let ordered = [PATIENT, orders[0], orders[1], first, orders[2], orders[3], second];
    let made = draft(&maps, "ORM^O01", &ordered);
    assert_eq!(leads(&made, "request", "reasonReference"), "orderdiagnosis 1");
}

#[test]
fn what_can_never_lead_anywhere_is_refused() {
    let spec = Spec::r4().unwrap();
    let maps = Maps::base(&spec.schema).unwrap();
    let to = |owner: &str, name: &str| {
        format!("[resource.{owner}.set]\n'extension[x].valueReference' = 'refs({name})'\n")
    };
    let remark = "[resource.remark]\ntype = 'Basic'\neach = 'ZRM'\n";
    for (profile, line) in [
        // No message makes both.
        (to("report", "immunization"), 2),
        // An order has no allergies in it.
        (to("request", "allergy"), 2),
        // No message makes it.
        (format!("{remark}{}", to("remark", "patient")), 5),
    ] {
        let faults = maps.with_site("p.toml", &profile, &spec.schema).unwrap_err();
        let told = faults[0].to_string();
        assert!(told.starts_with(&format!("p.toml:{line}:")) && told.contains("refs("), "{told}");
        // One that is installed stays in use.
        let text = format!("[site]\nid = 'old'\n{profile}");
        let (laid, idle) = maps.with_installed("p.toml", &text, &spec.schema).unwrap();
        assert_eq!((laid.site().id.as_str(), idle.len()), ("old", 1), "{profile}");
    }
    for profile in [
        to("encounter", "condition"),
        to("request", "specimen"),
        to("report", "observation"),
        to("observation", "specimen"),
        format!("{remark}{}[message.adt]\nadd = ['remark']\n", to("remark", "patient")),
    ] {
        let laid = maps.with_site("p.toml", &profile, &spec.schema);
        assert!(laid.is_ok(), "{profile}: {:?}", laid.err());
    }
    // What is no table is told too.
    let faults = maps.with_site("p.toml", "[message]\nadt = 'remark'\n", &spec.schema).unwrap_err();
    assert!(faults[0].to_string().starts_with("p.toml:2: message.adt"), "{faults:?}");
    // What is wrong otherwise is wrong in one that is installed too.
    let faults = maps.with_installed("p.toml", "[message.nobody]\nadd = []\n", &spec.schema);
    assert!(faults.is_err());
}

/// Covers: v2 S11.
#[test]
fn allergies_with_one_code_of_two_systems_stay_apart() {
    let spec = Spec::r4().unwrap();
    let maps = Maps::base(&spec.schema).unwrap();
    let allergies = ["AL1|1|DA|P1^Penicillin^RXN", "AL1|2|FA|P1^Peanut^L"];
    let made = draft(&maps, "ADT^A08", &[PATIENT, allergies[0], allergies[1]]);
    let found: Vec<_> =
        made.resources.iter().filter(|it| it.resource_type == "AllergyIntolerance").collect();
    assert_eq!(found.len(), 2);
    assert_ne!(found[0].keys, found[1].keys);
}

/// Covers: v2 B34, v2 S36.
/// Covers: v2 P1.
/// Covers: v2 S1.
#[test]
fn a_profile_sets_and_takes_away_and_may_not_touch_keys() {
    let spec = Spec::r4().unwrap();
    let maps = Maps::base(&spec.schema).unwrap();
    let site = r#"
[site]
id = "stmary"
base = "https://stmary.test"
zone = "Europe/Dublin"
[authority]
STM = { system = "https://stmary.test/mrn", trusted = true, type = "MR" }
[codes.lab-test."99STM"]
HB = { code = "718-7", system = "http://loinc.org", display = "Hemoglobin" }
[units]
wdg = "g/dL"
[mode]
AL1 = "action-code"
[resource.patient]
unset = ["telecom"]
[resource.patient.set]
"extension[note].valueString" = "ZPD-4"
"#;
    let laid = maps.with_site("stmary.toml", site, &spec.schema).unwrap();
    assert_ne!(laid.hash(), maps.hash());
    let segments = [
        "PID|1||77^^^STM^MR||Doe^Ann||19800102|F|||||555",
        "ZPD|1|||kept",
        "OBR|1||F1|P^Panel^L|||202607011200||||||||||||||||||F",
        "OBX|1|NM|HB^Hb^99STM||5|wdg|||||F",
    ];
    let made = draft(&laid, "ORU^R01", &segments);
    let patient = made.first("patient").unwrap();
    assert_eq!(patient.keys[0].system, "https://stmary.test/mrn");
    assert_eq!(text(patient, "telecom"), "");
    let extension = text(patient, "extension");
    assert!(extension.contains("https://stmary.test/v2/extension/note"), "{extension}");
    let result = of(&made, "observation")[0];
    assert!(text(result, "code").contains("718-7"));
    assert!(text(result, "valueQuantity").contains("\"code\":\"g/dL\""));
    for (profile, line, part) in [
        ("[resource.patient]\nkey = 'PID-2 | cx'", 2, "key"),
        ("[resource.patient.set]\nnoSuch = 'PID-5'", 2, "noSuch"),
        ("[resource.patient.set]\nbirthDate = 'PID-7 | cx'", 2, "birthDate"),
        ("[resource.patient.set]\ngender = \"PID-8 | table('Nothing')\"", 2, "Nothing"),
        ("[resource.patient.set]\ngender = \"PID-8 | nothing\"", 2, "nothing"),
        ("[resource.patient.set]\n'name.nothing' = 'PID-5'", 2, "nothing"),
        ("[message.adt]\nmatch = ['ADT^A01']", 2, "match"),
        ("[units]\nx = 'no unit'", 2, "no unit"),
        ("[site]\nzone = 'Nowhere'", 2, "zone"),
        ("not toml", 1, ""),
    ] {
        let faults = maps.with_site("p.toml", profile, &spec.schema).unwrap_err();
        let told = faults[0].to_string();
        assert!(told.starts_with(&format!("p.toml:{line}:")) && told.contains(part), "{told}");
    }
}

/// Covers: v2 S1.
#[test]
fn a_site_says_where_it_is_and_what_names_are_addresses() {
    let spec = Spec::r4().unwrap();
    let maps = Maps::base(&spec.schema).unwrap();
    let person = format!("PID|1||1^^^&a.test&DNS~2^^^LOC||Doe{}123", "|".repeat(14));
    let identifiers = |maps: &Maps| {
        text(draft(maps, "ADT^A28", &[&person]).first("patient").unwrap(), "identifier")
    };
    let known = identifiers(&maps);
    assert!(!known.contains("us-ssn") && known.contains("123"), "{known}");
    let us = maps.with_site("us.toml", "[site]\nid = 'u'\nus = true\n", &spec.schema).unwrap();
    let told = identifiers(&us);
    assert!(told.contains("http://hl7.org/fhir/sid/us-ssn"), "{told}");
    assert!(!known.contains("https://a.test"), "{known}");
    let site = "[site]\nid = 'x'\nbase = 'https://x.test'\nus = false\ndns_urls = true\n";
    let told = identifiers(&maps.with_site("x.toml", site, &spec.schema).unwrap());
    assert!(told.contains("https://a.test") && told.contains("https://x.test/v2/aa/"), "{told}");
    assert!(!told.contains("us-ssn"), "{told}");
}

/// Each message that is asked for has a map, and what none is for has none.
#[test]
fn each_message_that_is_asked_for_has_a_map() {
    let spec = Spec::r4().unwrap();
    let maps = Maps::base(&spec.schema).unwrap();
    let of = |kind: &str, events: std::ops::RangeInclusive<u8>, but: &[u8]| {
        let letter = kind.chars().last().unwrap();
        let numbers = events.filter(|n| !but.contains(n));
        numbers.map(|n| (kind[..3].to_owned(), format!("{letter}{n:02}"))).collect::<Vec<_>>()
    };
    let one = |word: &str| {
        let (kind, event) = word.split_once('^').unwrap();
        (kind.to_owned(), event.to_owned())
    };
    let single = [
        "ORU^R30", "ORU^R31", "ORU^R32", "OUL^R22", "OUL^R23", "OUL^R24", "ORM^O01", "OML^O21",
        "OMG^O19", "OMP^O09", "RDE^O11", "RDE^O25", "RDS^O13", "RAS^O17", "VXU^V04", "DFT^P03",
        "DFT^P11", "BAR^P01", "BAR^P02", "BAR^P05", "PPR^PC1", "PPR^PC2", "PPR^PC3", "ORU^R01",
    ];
    // A19 asks, by QRY, and is refused; A56 to A59 were never used.
    let adt = of("ADTA", 1..=62, &[19, 56, 57, 58, 59]);
    let ranges = [of("SIUS", 12..=26, &[25]), of("MDMT", 1..=11, &[]), of("REFI", 12..=15, &[])];
    let wanted = adt.into_iter().chain(ranges.into_iter().flatten());
    let missing: Vec<_> = wanted
        .chain(single.map(one))
        .filter(|(kind, event)| maps.rule(kind, event).is_none())
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    for (kind, event) in ["ADT^A19", "ADT^A99", "MDM^T12", "ORU^R99", "QRY^A19", "XYZ^Q01"].map(one)
    {
        assert!(maps.rule(&kind, &event).is_none(), "{kind}^{event}");
    }
}
