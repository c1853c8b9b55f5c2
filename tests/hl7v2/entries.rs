//! Entries of lists that are changed alone, by their codes.

use super::stories::Story;

const VISIT: &str = "PID|1||12^^^STM^MR||Muster^Anna\nPV1|1|I|W1";

fn visit(attending: &str, referring: &str, rest: &str) -> String {
    format!("{VISIT}||||{attending}|{referring}|||||||||||V1^^^STM^VN{rest}")
}

/// Who takes part in the visit: the code of the role, who, and since when.
async fn participants(story: &Story) -> String {
    let found = story.get("/Encounter?identifier=V1&_include=Encounter:participant").await;
    let mut all = Vec::new();
    for at in 0..8 {
        let one = |rest: &str| {
            found.at(&format!("entry[0].resource.participant[{at}].{rest}")).unwrap_or_default()
        };
        if one("individual.reference").is_empty() {
            break;
        }
        let id = one("individual.reference");
        let name = (0..12).find_map(|at| {
            let of = |rest: &str| found.at(&format!("entry[{at}].resource.{rest}"));
            let is_it = of("id").is_some_and(|own| id == format!("Practitioner/{own}"));
            if is_it { of("name[0].family") } else { None }
        });
        let (code, since) = (one("type[0].coding[0].code"), one("period.start"));
        all.push(format!("{code}:{}{since}", name.unwrap_or_default()));
    }
    all.join(" ")
}

/// v2 S12: a participation is made, brought up to date, left alone or taken out, as PRT-2 or ROL-2 says; all
/// others stay, whatever else is told. `S`: those that are told are all there are.
///
/// Covers: v2 S12.
#[tokio::test(flavor = "multi_thread")]
async fn participations_go_by_their_action_codes() {
    let mut story = Story::begin().await;
    let part = |id: &str, action: &str, who: &str, since: &str| {
        format!("\nPRT|{id}|{action}||AT^Attending^HL70912|{who}||||||{since}")
    };
    let both =
        part("P1^STM", "A", "7^Seven", "20260701") + &part("P2^STM", "A", "8^Eight", "20260702");
    let (seven, eight) = ("AT:Seven2026-07-01", "AT:Eight2026-07-02");
    for (message, expected) in [
        (visit("1^One", "2^Two", &both), format!("ATND:One REF:Two {seven} {eight}")),
        // What is told twice is there once.
        (visit("1^One", "2^Two", &both), format!("ATND:One REF:Two {seven} {eight}")),
        // No other is told of: only the one that is deleted goes.
        (visit("", "", &part("P1^STM", "D", "7^Seven", "")), format!("ATND:One REF:Two {eight}")),
        (visit("", "", &part("P9^STM", "D", "7^Seven", "")), format!("ATND:One REF:Two {eight}")),
        // A field that is empty says nothing of its participants, and another one changes its own alone.
        (visit("3^Three", "", ""), format!("REF:Two {eight} ATND:Three")),
        (visit("\"\"", "", ""), format!("REF:Two {eight}")),
        // What is not told of an entry stays as it was.
        (visit("", "", &part("P2^STM", "U", "9^Nine", "")), "REF:Two AT:Nine2026-07-02".to_owned()),
        (
            visit("", "", &part("P2^STM", "X", "8^Eight", "")),
            "REF:Two AT:Nine2026-07-02".to_owned(),
        ),
        // Without a number of its own it is known by its role and its person.
        (
            visit("", "", &part("", "A", "8^Eight", "")),
            "REF:Two AT:Nine2026-07-02 AT:Eight".to_owned(),
        ),
        (visit("", "", &part("", "D", "8^Eight", "")), "REF:Two AT:Nine2026-07-02".to_owned()),
        // A role has the codes of another table.
        (
            visit("", "", "\nROL|R1^STM|AD|XX^Extra^99STM|5^Five"),
            "REF:Two AT:Nine2026-07-02 XX:Five".to_owned(),
        ),
        (visit("", "", "\nROL|R1^STM|UC|XX|6^Six"), "REF:Two AT:Nine2026-07-02 XX:Five".to_owned()),
        (visit("", "", "\nROL|R1^STM|DE|XX|5^Five"), "REF:Two AT:Nine2026-07-02".to_owned()),
        // All there are of those: what PV1-8 told of is another matter.
        (visit("", "", &part("P3^STM", "S", "4^Four", "")), "REF:Two AT:Four".to_owned()),
    ] {
        let told = story.tell("ADT^A08^ADT_A01", &message).await;
        assert!(told.starts_with("AA"), "{message}: {told}");
        let sorted = |text: &str| {
            let mut all: Vec<_> = text.split(' ').map(str::to_owned).collect();
            all.sort();
            all.join(" ")
        };
        assert_eq!(sorted(&participants(&story).await), sorted(&expected), "{message}");
    }
    let before = story.of("/Encounter?", "meta.versionId").await;
    let again = visit("", "", &part("P3^STM", "S", "4^Four", ""));
    story.tell("ADT^A08^ADT_A01", &again).await;
    assert_eq!(story.of("/Encounter?", "meta.versionId").await, before, "it is known");
}

/// v2 S12: who cares for a patient is told likewise, and nothing is made in order to be deleted or left alone.
///
/// Covers: v2 S12.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_not_made_by_a_code() {
    let mut story = Story::begin().await;
    let own = |code: &str, who: &str| {
        let (person, visit) = VISIT.split_once('\n').unwrap();
        format!(
            "{person}\nPRT||{code}||PP^Primary^HL70912|{who}\n{visit}||||||||||||||||V1^^^STM^VN"
        )
    };
    for (code, who, count) in
        [("D", "7^Seven", 0), ("A", "7^Seven", 1), ("A", "8^Eight", 2), ("D", "7^Seven", 1)]
    {
        let told = story.tell("ADT^A08^ADT_A01", &own(code, who)).await;
        assert!(told.starts_with("AA"), "{code} {who}: {told}");
        let found = story.get("/Patient?").await;
        let all = (0..4).map_while(|at| {
            found.at(&format!("entry[0].resource.generalPractitioner[{at}].reference"))
        });
        assert_eq!(all.count(), count, "{code} {who}: {found:?}");
    }
    let coded = "[site]\nid = \"lab\"\nmatch = { app = \"LAB\", facility = \"STM\" }\n[mode]\nDG1 = \"action-code\"";
    super::sites::install(&story.server, "lab", Some(coded)).await;
    for code in ["D", "X"] {
        let diagnosis =
            format!("{VISIT}||||||||||||||||V1^^^STM^VN\nDG1|1||B^B^L|||A|||||||||||||||{code}");
        let told = story.tell("ADT^A08^ADT_A01", &diagnosis).await;
        assert!(told.starts_with("AA"), "{code}: {told}");
        assert_eq!(story.count("/Condition?").await, "0", "{code}");
        assert_eq!(story.of("/Encounter?", "diagnosis[0].condition.reference").await, "", "{code}");
    }
}

/// v2 S12: procedures (PR1-20) and coverages (IN1-55) go by their codes where the parties want that.
///
/// Covers: v2 S12.
#[tokio::test(flavor = "multi_thread")]
async fn procedures_and_coverages_go_by_their_action_codes() {
    let mut story = Story::begin().await;
    let coded = "[site]\nid = \"lab\"\nmatch = { app = \"LAB\", facility = \"STM\" }\n[mode]\n\
                 PR1 = \"action-code\"\nIN1 = \"action-code\"";
    super::sites::install(&story.server, "lab", Some(coded)).await;
    let message = |code: &str, plan: &str| {
        format!(
            "{VISIT}||||||||||||||||V1^^^STM^VN\nPR1|1||44950^Appendectomy^C4||20260703{}PX1^STM|{code}\n\
             IN1|1|{plan}|C1|Company{}POL1{}{code}",
            "|".repeat(14),
            "|".repeat(32),
            "|".repeat(19),
        )
    };
    for (code, procedure, coverage) in [
        ("X", "", ""),
        ("A", "completed", "active"),
        ("U", "completed", "active"),
        ("X", "completed", "active"),
        ("D", "entered-in-error", "cancelled"),
    ] {
        let told = story.tell("ADT^A08^ADT_A01", &message(code, "PL^Plan")).await;
        assert!(told.starts_with("AA"), "{code}: {told}");
        for (url, expected) in [("/Procedure?", procedure), ("/Coverage?", coverage)] {
            let count = story.count(url).await;
            assert_eq!(count, if expected.is_empty() { "0" } else { "1" }, "{code} {url}");
            if !expected.is_empty() {
                assert_eq!(story.of(url, "status").await, expected, "{code}");
            }
        }
    }
}

/// v2 S10: a field that is empty says nothing of what it told of before, and one that is told to go takes along
/// its own alone, where several fields make one list.
///
/// Covers: v2 S10.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_field_keeps_what_is_its_own_in_a_list() {
    let mut story = Story::begin().await;
    let person = |home: &str, work: &str, alias: &str| {
        format!("PID|1||12^^^STM^MR||Muster^Anna||||{alias}||||{home}|{work}")
    };
    for (home, work, alias, expected) in [
        ("1", "2", "Alt^Anna", "home:1 old:Alt work:2"),
        ("3", "", "", "home:3 old:Alt work:2"),
        ("", "4", "", "home:3 old:Alt work:4"),
        ("", "", "Neu^Anna", "home:3 old:Neu work:4"),
        ("\"\"", "", "", "old:Neu work:4"),
        ("", "", "\"\"", "work:4"),
        ("5^PRN^CP", "\"\"", "", "mobile:5"),
    ] {
        let told = story.tell("ADT^A31^ADT_A05", &person(home, work, alias)).await;
        assert!(told.starts_with("AA"), "{home} {work} {alias}: {told}");
        let found = story.get("/Patient?").await;
        let of = |list: &str, value: &str| -> Vec<String> {
            let at =
                |at: u32, rest: &str| found.at(&format!("entry[0].resource.{list}[{at}].{rest}"));
            (0..4)
                .filter_map(|number| Some(format!("{}:{}", at(number, "use")?, at(number, value)?)))
                .collect()
        };
        let mut all = of("telecom", "value");
        all.extend(of("name", "family").into_iter().filter(|name| name.starts_with("old")));
        all.sort();
        assert_eq!(all.join(" "), expected, "{home} {work} {alias}");
    }
}
