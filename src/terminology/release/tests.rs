use std::io::{self, BufRead, Cursor};

use super::*;
use crate::terminology::CodeSystem;

/// Files in memory.
pub(crate) struct Memory(Vec<(&'static str, Vec<u8>)>);

impl Memory {
    fn of(files: &[(&'static str, &str)]) -> Self {
        Self(files.iter().map(|(name, text)| (*name, text.as_bytes().to_vec())).collect())
    }

    fn read(&self) -> Result<Release, Fault> {
        let kind = Kind::of(&self.names()).ok_or(Fault::UnknownKind)?;
        Ok(read(self, kind, &Options::default())?.remove(0))
    }

    /// The same with `old` in a file replaced by `new`.
    fn but(&self, file: &str, old: &str, new: &str) -> Self {
        let mut files = self.0.clone();
        let one = files.iter_mut().find(|(name, _)| *name == file).expect(file);
        let text = String::from_utf8(one.1.clone()).expect("text");
        assert!(text.contains(old), "{file} has no {old:?}");
        one.1 = text.replacen(old, new, 1).into_bytes();
        Self(files)
    }
}

impl Files for Memory {
    fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| (*name).to_owned()).collect()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn BufRead + '_>> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        let (_, bytes) = found.ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Cursor::new(bytes)))
    }
}

const CONCEPTS: &str = "s/Terminology/sct2_Concept_Snapshot_INT_20240101.txt";
const DESCRIPTIONS: &str = "s/Terminology/sct2_Description_Snapshot-en_INT_20240101.txt";
const DEFINITIONS: &str = "s/Terminology/sct2_TextDefinition_Snapshot-en_INT_20240101.txt";
const RELATIONSHIPS: &str = "s/Terminology/sct2_Relationship_Snapshot_INT_20240101.txt";
const LANGUAGES: &str = "s/Refset/der2_cRefset_LanguageSnapshot-en_INT_20240101.txt";

fn snomed() -> Memory {
    let tabs = |text: &str| text.replace(' ', "\t").replace('_', " ");
    let files = [
        (
            CONCEPTS,
            "id effectiveTime active moduleId definitionStatusId\r\n\
             138875005 20020131 1 900000000000207008 900000000000074008\r\n\
             404684003 20020131 1 900000000000207008 900000000000074008\r\n\
             22298006 20020131 1 900000000000207008 900000000000073002\r\n\
             100000 20020131 0 900000000000207008 900000000000074008\r\n",
        ),
        (
            DESCRIPTIONS,
            "id effectiveTime active moduleId conceptId languageCode typeId term caseSignificanceId\n\
             1 20020131 1 9 138875005 en 900000000000003001 SNOMED_CT_Concept 9\n\
             2 20020131 1 9 404684003 en 900000000000003001 Clinical_finding_(finding) 9\n\
             3 20020131 1 9 404684003 en 900000000000013009 Clinical_finding 9\n\
             4 20020131 1 9 22298006 en 900000000000013009 Heart_attack 9\n\
             5 20020131 1 9 22298006 en 900000000000013009 Myocardial_infarction 9\n\
             6 20020131 0 9 22298006 en 900000000000013009 Cardiac_infarction 9\n\
             7 20020131 1 9 22298006 en 900000000000003001 Myocardial_infarction_(disorder) 9\n\
             8 20020131 1 9 100000 en 900000000000013009 Old 9\n",
        ),
        (
            DEFINITIONS,
            "id effectiveTime active moduleId conceptId languageCode typeId term caseSignificanceId\n\
             9 20020131 1 9 22298006 en 900000000000550004 Necrosis_of_the_myocardium. 9\n",
        ),
        (
            RELATIONSHIPS,
            "id effectiveTime active moduleId sourceId destinationId relationshipGroup typeId \
             characteristicTypeId modifierId\n\
             1 20020131 1 9 404684003 138875005 0 116680003 900000000000011006 9\n\
             2 20020131 1 9 22298006 404684003 0 116680003 900000000000011006 9\n\
             3 20020131 1 9 22298006 100000 1 363698007 900000000000011006 9\n\
             4 20020131 0 9 22298006 138875005 0 116680003 900000000000011006 9\n\
             5 20020131 1 9 22298006 138875005 0 116680003 900000000000010007 9\n",
        ),
        (
            LANGUAGES,
            "id effectiveTime active moduleId refsetId referencedComponentId acceptabilityId\n\
             a 20020131 1 9 900000000000509007 5 900000000000548007\n\
             b 20020131 1 9 900000000000508004 4 900000000000548007\n\
             c 20020131 1 9 900000000000509007 4 900000000000549004\n\
             d 20020131 1 9 900000000000509007 3 900000000000548007\n",
        ),
    ];
    Memory(files.map(|(name, text)| (name, tabs(text).into_bytes())).to_vec())
}

fn properties(concepts: &Concepts, code: &str) -> Vec<String> {
    let at = concepts.find(code).expect(code);
    concepts.properties(at).map(|it| format!("{}={}", it.name, it.value)).collect()
}

fn display<'c>(concepts: &'c Concepts, code: &str) -> &'c str {
    concepts.find(code).and_then(|at| concepts.display(at)).expect(code)
}

#[test]
fn snomed_ct_has_preferred_terms_hierarchy_and_attributes() {
    let release = snomed().read().expect("sound");
    assert_eq!(&*release.url, "http://snomed.info/sct");
    let version = "http://snomed.info/sct/900000000000207008/version/20240101";
    assert_eq!((&*release.version, release.is_complete), (version, true));
    let concepts = &release.concepts;
    assert_eq!(concepts.len(), 4);
    assert_eq!(display(concepts, "22298006"), "Myocardial infarction");
    assert_eq!(display(concepts, "404684003"), "Clinical finding");
    assert_eq!(display(concepts, "138875005"), "SNOMED CT Concept");
    let place = |code| concepts.find(code).expect("known");
    let (heart, root) = (place("22298006"), place("138875005"));
    assert_eq!(concepts.definition(heart), Some("Necrosis of the myocardium."));
    let terms: Vec<_> = concepts.designations(heart).map(|it| it.value).collect();
    let expected = ["Heart attack", "Myocardial infarction", "Myocardial infarction (disorder)"];
    assert_eq!(terms, expected);
    assert!(concepts.subsumes(root, heart) && !concepts.subsumes(heart, root));
    assert_eq!(concepts.parents(heart), [place("404684003")], "stated and inactive ones are none");
    assert_eq!(
        properties(concepts, "22298006"),
        ["sufficientlyDefined=true", "moduleId=900000000000207008", "363698007=100000"]
    );
    assert!(concepts.is_inactive(place("100000")) && !concepts.is_inactive(heart));

    let options = Options {
        language_refset: Some("900000000000508004".to_owned()),
        version: Some("v".to_owned()),
    };
    let british = read(&snomed(), Kind::Snomed, &options).expect("sound").remove(0);
    assert_eq!(display(&british.concepts, "22298006"), "Heart attack");
    assert_eq!(&*british.version, "v");
    let options = Options { language_refset: Some("1".to_owned()), ..options };
    let fault = read(&snomed(), Kind::Snomed, &options).expect_err("no such set");
    assert!(fault.to_string().contains("reference set 1"), "{fault}");
}

#[test]
fn what_rf2_cannot_mean_is_refused_with_its_place() {
    for (file, old, new, expected) in [
        (CONCEPTS, "\t0\t9", "\tno\t9", "line 5, column 3: \"no\" is neither 0 nor 1"),
        (CONCEPTS, "\t900000000000073002", "", "line 4, column 5: is missing: the line has 4"),
        (CONCEPTS, "moduleId", "module", "line 1: the header lacks \"moduleId\""),
        (CONCEPTS, "100000\t", "\t", "line 5, column 1: is empty"),
        (CONCEPTS, "100000\t", "1  0\t", "line 5, column 1: \"1  0\" is no code"),
        (DESCRIPTIONS, "9\t22298006", "9\t7", "line 5, column 5: there is no concept 7"),
        (DESCRIPTIONS, "Heart attack", "", "line 5, column 8: is empty"),
        (
            RELATIONSHIPS,
            "\t404684003\t138875005",
            "\t404684003\t5",
            "line 2, column 6: there is no",
        ),
        (LANGUAGES, "\t1\t9", "\t2\t9", "line 2, column 3: \"2\" is neither"),
    ] {
        let fault = snomed().but(file, old, new).read().expect_err(expected).to_string();
        assert!(fault.starts_with(file) && fault.contains(expected), "{fault}, not {expected}");
    }
    for left_out in [CONCEPTS, DESCRIPTIONS, RELATIONSHIPS] {
        let mut files = snomed();
        files.0.retain(|(name, _)| *name != left_out);
        let fault = read(&files, Kind::Snomed, &Options::default()).expect_err(left_out);
        assert!(matches!(fault, Fault::Missing(_)), "{left_out}: {fault}");
    }
    let national = Memory(vec![("sct2_Concept_Snapshot_US_20240101.txt", b"id\n".to_vec())]);
    assert!(matches!(national.read(), Err(Fault::Version(_))));
}

const LOINC: &str = "\u{feff}\"LOINC_NUM\",\"COMPONENT\",\"PROPERTY\",\"TIME_ASPCT\",\"SYSTEM\",\
    \"SCALE_TYP\",\"METHOD_TYP\",\"CLASS\",\"VersionLastChanged\",\"STATUS\",\"CLASSTYPE\",\
    \"SHORTNAME\",\"ORDER_OBS\",\"LONG_COMMON_NAME\"\r\n\
    \"8480-6\",\"Intravascular systolic\",\"Pres\",\"Pt\",\"Arterial system\",\"Qn\",,\"BP.ATOM\",\
    \"2.9\",\"ACTIVE\",\"2\",\"BP sys\",\"Both\",\"Systolic \"\"blood\"\" pressure,\nsitting\"\r\n\
    1-8,Acyclovir,Susc,Pt,Isolate,OrdQn,,ABXBACT,2.73,DEPRECATED,1,,Both,Acyclovir [Susceptibility]\r\n";

fn loinc() -> Memory {
    Memory::of(&[
        ("LoincTable/Loinc.csv", LOINC),
        (
            "AccessoryFiles/PartFile/Part.csv",
            "PartNumber,PartTypeName,PartName,PartDisplayName,Status\n\
             LP7000-1,COMPONENT,Systolic,Systolic pressure,ACTIVE\n",
        ),
        (
            "ComponentHierarchyBySystem.csv",
            "PATH_TO_ROOT,SEQUENCE,IMMEDIATE_PARENT,CODE,CODE_TEXT\n,1,,LP1-1,All\n\
             LP1-1,2,LP1-1,LP7000-1,x\nLP1-1.LP7000-1,1,LP7000-1,8480-6,Systolic\n",
        ),
        (
            "AnswerFile/AnswerList.csv",
            "AnswerListId,AnswerStringId,DisplayText\nLL1-1,LA6576-8,Positive\nLL2-2,,\n",
        ),
    ])
}

#[test]
fn loinc_has_names_properties_parts_and_hierarchy() {
    let release = loinc().read().expect("sound");
    assert_eq!((&*release.url, &*release.version), ("http://loinc.org", "2.73"));
    let concepts = &release.concepts;
    assert_eq!(display(concepts, "8480-6"), "Systolic \"blood\" pressure,\nsitting");
    assert_eq!(display(concepts, "LP7000-1"), "Systolic pressure");
    assert_eq!(display(concepts, "LA6576-8"), "Positive");
    let found = properties(concepts, "8480-6");
    assert!(
        found.contains(&"SCALE_TYP=Qn".to_owned()) && found.contains(&"CLASSTYPE=2".to_owned())
    );
    assert!(!found.iter().any(|it| it.starts_with("METHOD_TYP")), "it has none");
    let place = |code| concepts.find(code).expect("known");
    assert!(concepts.is_inactive(place("1-8")) && !concepts.is_inactive(place("8480-6")));
    assert!(concepts.subsumes(place("LP1-1"), place("8480-6")));
    for (file, old, new, expected) in [
        (
            "LoincTable/Loinc.csv",
            "Acyclovir [",
            "\"Acyclovir [",
            "line 4, column 14: a quote is not",
        ),
        ("LoincTable/Loinc.csv", "\"2\",", "\"2\"x,", "line 2, column 11: something follows"),
        ("LoincTable/Loinc.csv", "\"SHORTNAME\",", "", "line 1: the header lacks \"SHORTNAME\""),
        (
            "ComponentHierarchyBySystem.csv",
            ",LP7000-1,8480-6",
            ",LP9,8480-6",
            "line 4, column 3: LP9",
        ),
    ] {
        let fault = loinc().but(file, old, new).read().expect_err(expected).to_string();
        assert!(fault.starts_with(file) && fault.contains(expected), "{fault}, not {expected}");
    }
}

const ORDER: &str = "00001 A00     0 Cholera                                                      Cholera\n\
    00002 A000    1 Cholera due to Vibrio cholerae 01, biovar cholerae           Cholera due to \
    Vibrio cholerae 01, biovar cholerae\n\
    00003 A00012A 1 Made up                                                      Made up, long\n";

#[test]
fn icd_10_cm_has_a_hierarchy_by_its_codes() {
    let files = Memory::of(&[("icd10cm_order_2024.txt", ORDER)]);
    let release = files.read().expect("sound");
    assert_eq!((&*release.url, &*release.version), ("http://hl7.org/fhir/sid/icd-10-cm", "2024"));
    let concepts = &release.concepts;
    let place = |code| concepts.find(code).expect("known");
    assert_eq!(concepts.parents(place("A00.0")), [place("A00")]);
    assert_eq!(concepts.parents(place("A00.012A")), [place("A00.0")]);
    assert_eq!(display(concepts, "A00.012A"), "Made up, long");
    assert_eq!(properties(concepts, "A00"), ["billable=false"]);
    for (old, new, expected) in [
        ("A00     0", "A00     7", "line 1, column 15: \"7\" is neither 0 nor 1"),
        ("A000 ", "A0:0 ", "line 2, column 7: \"A0:0\" is no code"),
        (", long", "", ""),
        ("A00012A 1 Made up", "A00012A 1        ", "line 3, column 17: there is no short"),
        ("00001 A00 ", "1 A ", "line 1"),
    ] {
        let changed = files.but("icd10cm_order_2024.txt", old, new).read();
        match (changed, expected) {
            (Ok(_), "") => {}
            (Ok(_), _) => panic!("not refused: {expected}"),
            (Err(fault), _) => {
                assert!(fault.to_string().contains(expected), "{fault}, not {expected}");
            }
        }
    }
}

const CONSO: &str = "\
    161|ENG|P|L1|PF|S1|N|1||161||RXNORM|IN|161|acetaminophen||N|4096|\n\
    161|ENG|P|L1|PF|S1|N|2||161||RXNORM|SY|161|paracetamol||N||\n\
    161|ENG|P|L1|PF|S1|N|3||161||MTHSPL|SU|161|APAP||N||\n\
    313782|ENG|P|L1|PF|S1|N|4||313782||RXNORM|SCD|313782|acetaminophen 325 MG Oral Tablet||N||\n\
    5|ENG|P|L1|PF|S1|N|5||5||RXNORM|IN|5|withdrawn||O||\n";

#[test]
fn rxnorm_has_its_own_names_and_relationships() {
    let files = Memory::of(&[
        ("rrf/RXNCONSO.RRF", CONSO),
        (
            "rrf/RXNREL.RRF",
            "161||CUI|RO|313782||CUI|has_ingredient|1||RXNORM|RXNORM|||N||\n\
             |8|AUI|RO||9|AUI|x|1||RXNORM|RXNORM|||||\n",
        ),
        ("rrf/RXNSAB.RRF", "C1|C2|RXNORM_20AA|RXNORM|RxNorm|RXNORM|20AA_240102F|||\n"),
    ]);
    let release = files.read().expect("sound");
    assert_eq!(&*release.version, "20AA_240102F");
    let concepts = &release.concepts;
    assert_eq!((concepts.len(), display(concepts, "161")), (3, "acetaminophen"));
    let expected = ["TTY=SCD", "has_ingredient=161"];
    assert_eq!(properties(concepts, "313782"), expected);
    let acetaminophen = concepts.find("161").expect("known");
    let names: Vec<_> = concepts.designations(acetaminophen).map(|it| it.value).collect();
    assert_eq!(names, ["paracetamol"]);
    assert!(concepts.is_inactive(concepts.find("5").expect("known")));
    let short = files.but("rrf/RXNCONSO.RRF", "|withdrawn||O||", "");
    let fault = short.read().expect_err("short").to_string();
    assert!(fault.contains("line 5, column 15: is missing"), "{fault}");
}

#[test]
fn cvx_and_ucum_are_read() {
    let cvx = Memory::of(&[(
        "cvx.txt",
        "03 |MMR|measles, mumps and rubella virus vaccine||Active|0|2010/05/28\n\
         13 |TIG|tetanus immune globulin|old|Inactive|0|2020/01/02\n",
    )]);
    let release = cvx.read().expect("sound");
    assert_eq!(&*release.version, "20200102");
    assert_eq!(display(&release.concepts, "03"), "MMR");
    let tig = release.concepts.find("13").expect("known");
    assert!(release.concepts.is_inactive(tig));
    assert_eq!(release.concepts.definition(tig), Some("old"));
    assert_eq!(release.concepts.definition(release.concepts.find("03").expect("known")), None);
    let fault = cvx.but("cvx.txt", "13 |", "x |").read().expect_err("no code").to_string();
    assert!(fault.contains("cvx.txt, line 2, column 1: \"x\" is no code"), "{fault}");

    let ucum = Memory::of(&[(
        "ucum-essence.xml",
        "<?xml version=\"1.0\" encoding=\"ascii\"?>\
         <root xmlns=\"http://unitsofmeasure.org/ucum-essence\" version=\"2.2\">\
         <prefix Code=\"c\"><name>centi</name></prefix>\
         <base-unit Code=\"d\"><name>day</name><property>time</property></base-unit>\
         <unit Code=\"cd\" isMetric=\"no\"><name>candela</name></unit>\
         <unit Code=\"m\" isMetric=\"yes\"><name>meter</name></unit></root>",
    )]);
    let release = ucum.read().expect("sound");
    assert!(!release.is_complete, "its grammar makes more");
    for (code, expected) in [("m", "meter"), ("cm", "centimeter"), ("cd", "candela"), ("d", "day")]
    {
        assert_eq!(display(&release.concepts, code), expected);
    }
    assert_eq!(release.concepts.len(), 4);
    let fault = ucum.but("ucum-essence.xml", "</name>", "").read().expect_err("broken");
    assert!(fault.to_string().starts_with("ucum-essence.xml, line 1, column"), "{fault}");
}

#[test]
fn code_systems_of_fhir_are_read() {
    let text = r#"{"resourceType":"CodeSystem","url":"http://x/s","version":"1","content":"complete",
        "caseSensitive":false,"concept":[{"code":"b","display":"B","concept":[{"code":"A"}]}]}"#;
    let files = Memory::of(&[("s.json", text), ("v.json", r#"{"resourceType":"ValueSet"}"#)]);
    let release = files.read().expect("sound");
    assert_eq!((&*release.url, release.concepts.len()), ("http://x/s", 2));
    let system = CodeSystem::released(release);
    assert_eq!(system.concepts.find("a"), Some(1));
    assert_eq!(system.concepts.parents(1), [0]);
    let fault = Memory::of(&[("s.json", "{")]).read().expect_err("no JSON").to_string();
    assert!(fault.starts_with("s.json: "), "{fault}");
    let none = Memory::of(&[("v.json", r#"{"resourceType":"ValueSet"}"#)]).read();
    assert!(matches!(none, Err(Fault::Missing(_))));
}

#[test]
fn code_systems_of_a_package_are_read() {
    use flate2::{Compression, write::GzEncoder};

    let package = |files: &[(&str, &str)]| {
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, text.as_bytes()).expect("in memory");
        }
        let bytes = archive.into_inner().and_then(GzEncoder::finish).expect("in memory");
        Memory(vec![("x.tgz", bytes)])
    };
    let system = |url: &str, content: &str| {
        format!(
            r#"{{"resourceType":"CodeSystem","url":"{url}","content":"{content}","concept":[{{"code":"a"}}]}}"#
        )
    };
    let files = package(&[
        ("package/package.json", "{}"),
        ("package/CodeSystem-b.json", &system("http://x/b", "complete")),
        ("package/CodeSystem-c.json", &system("http://x/c", "fragment")),
        ("package/CodeSystem-d.json", &system("http://x/d", "supplement")),
        ("package/example/CodeSystem-e.json", &system("http://x/e", "complete")),
    ]);
    let found = read(&files, Kind::Fhir, &Options::default()).expect("sound");
    let found: Vec<_> = found.iter().map(|it| (&*it.url, it.is_complete)).collect();
    assert_eq!(found, [("http://x/b", true), ("http://x/c", false)]);
    let fault = package(&[("package/CodeSystem-b.json", "{")]).read().expect_err("no JSON");
    assert!(fault.to_string().starts_with("x.tgz/CodeSystem-b.json: "), "{fault}");
    let fault = Memory(vec![("x.tgz", b"no archive".to_vec())]).read().expect_err("no archive");
    assert!(matches!(fault, Fault::Unreadable { .. }), "{fault}");
}

#[test]
fn what_is_no_text_or_too_long_is_refused() {
    let with = |bytes: &[u8]| {
        let mut line = b"1|a|b|c|Active|0|2010/05/28\n2|".to_vec();
        line.extend(bytes);
        Memory(vec![("cvx.txt", line)]).read().expect_err("refused").to_string()
    };
    let fault = with(b"\xff|");
    assert!(fault.contains("line 2, column 2: is not UTF-8"), "{fault}");
    let fault = with(&vec![b'x'; 2 << 20]);
    assert!(fault.contains("line 2: is longer than"), "{fault}");
    assert!(matches!(Memory::of(&[("readme.md", "")]).read(), Err(Fault::UnknownKind)));
}
