use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("kiln-fulltext-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&folder);
        Self(folder)
    }

    fn options(&self) -> Options {
        Options { folder: self.0.clone(), language: None, seal: 7 }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const HERE: Position = Position { xid: 10, seq: 3 };

fn document(resource_type: ResourceType, narrative: &str, content: &[&str]) -> Document {
    Document {
        resource_type,
        narrative: Some(narrative.to_owned()),
        content: content.iter().map(|text| (*text).to_owned()).collect(),
        texts: vec![
            ("code".to_owned(), content.first().copied().unwrap_or_default().to_lowercase()),
            ("status".to_owned(), "final".to_owned()),
        ],
    }
}

fn change(key: i64, resource_type: ResourceType, narrative: &str, content: &[&str]) -> Change {
    Change { key, document: Some(document(resource_type, narrative, content)) }
}

fn samples() -> Vec<Change> {
    vec![
        change(1, ResourceType::PATIENT, "Anna O'Brien", &["Anna", "O'Brien", "Main Street"]),
        change(2, ResourceType::OBSERVATION, "Acute heart failure", &["Heart failure, acute"]),
        change(3, ResourceType::OBSERVATION, "Chronic heart disease", &["Heart disease", "Anna"]),
        change(4, ResourceType::OBSERVATION, "Type-2 diabetes", &["Type-2 diabetes", "糖尿病"]),
    ]
}

fn found(index: &FullText, field: &FullTextField, query: &str) -> Vec<i64> {
    let hits = index.search(field, query, &[], 100).unwrap_or_else(|e| panic!("{query}: {e}"));
    let mut keys: Vec<_> = hits.into_iter().map(|(key, _)| key).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn queries_find_what_they_ask_for() {
    let folder = Folder::new("queries");
    let index = FullText::open(folder.options()).unwrap();
    index.apply(&samples(), HERE).unwrap();
    index.apply(&[change(5, ResourceType::PATIENT, "", &["Mary O'Brien Smith"])], HERE).unwrap();
    for (query, expected) in [
        ("anna", &[1, 3][..]),
        ("ANNA", &[1, 3]),
        ("heart", &[2, 3]),
        ("heart failure", &[2]),
        ("heart OR anna", &[1, 2, 3]),
        ("heart -acute", &[3]),
        ("-heart", &[1, 4, 5]),
        ("(heart OR anna) NOT street", &[2, 3]),
        ("\"heart failure\"", &[2]),
        ("\"failure heart\"", &[]),
        // Side by side in one string only.
        ("\"disease anna\"", &[]),
        ("dia*", &[4]),
        ("d*", &[3, 4]),
        ("o'brien", &[1, 5]),
        ("obrien", &[1, 5]),
        ("brien", &[1, 5]),
        ("type-2", &[4]),
        ("\"type-2 diabetes\"", &[4]),
        ("\"type 2 diabetes\"", &[4]),
        ("type-2 dia*", &[4]),
        ("\"obrien smith\"", &[5]),
        ("\"o'brien smith\"", &[5]),
        ("\"mary obrien\"", &[5]),
        ("尿病", &[4]),
        ("病尿", &[]),
        ("nothing", &[]),
    ] {
        assert_eq!(found(&index, &FullTextField::Content, query), expected, "{query}");
    }
}

#[test]
fn each_field_has_its_own_words() {
    let folder = Folder::new("fields");
    let index = FullText::open(folder.options()).unwrap();
    index.apply(&samples(), HERE).unwrap();
    let parameter = |code: &str| FullTextField::Parameter(code.into());
    for (field, query, expected) in [
        (FullTextField::Narrative, "heart", &[2, 3][..]),
        (FullTextField::Narrative, "chronic", &[3]),
        // The narrative is content too, and a query may be spread over both.
        (FullTextField::Content, "chronic", &[3]),
        (FullTextField::Content, "chronic anna", &[3]),
        (FullTextField::Content, "\"chronic heart\"", &[3]),
        // Side by side in one of both only.
        (FullTextField::Content, "\"chronic anna\"", &[]),
        (FullTextField::Content, "anna -chronic", &[1]),
        (FullTextField::Content, "-chronic", &[1, 2, 4]),
        (FullTextField::Content, "chron* OR street", &[1, 3]),
        (FullTextField::Narrative, "street", &[]),
        (parameter("code"), "heart -failure", &[3]),
        (parameter("code"), "hea*", &[2, 3]),
        (parameter("code"), "\"heart failure\"", &[2]),
        (parameter("code"), "final", &[]),
        (parameter("status"), "final", &[1, 2, 3, 4]),
        (parameter("status"), "fin* -heart", &[1, 2, 3, 4]),
        (parameter("cod"), "heart", &[]),
        (parameter("other"), "heart", &[]),
    ] {
        assert_eq!(found(&index, &field, query), expected, "{field:?} {query}");
    }
}

#[test]
fn types_and_limit_narrow_and_the_best_comes_first() {
    let folder = Folder::new("types");
    let index = FullText::open(folder.options()).unwrap();
    let mut changes = samples();
    let hearts = "heart heart heart";
    changes.push(change(5, ResourceType::OBSERVATION, hearts, &[hearts]));
    index.apply(&changes, HERE).unwrap();
    let content = FullTextField::Content;
    let patients = index.search(&content, "anna", &[ResourceType::PATIENT], 10).unwrap();
    assert_eq!(patients.len(), 1);
    assert_eq!(patients[0].0, 1);
    let hearts = index.search(&content, "heart", &[ResourceType::OBSERVATION], 10).unwrap();
    assert_eq!(hearts[0], (5, 1.0));
    assert!(hearts[1..].iter().all(|(_, score)| (0.0..1.0).contains(score)), "{hearts:?}");
    assert_eq!(index.search(&content, "heart", &[], 2).unwrap().len(), 2);
}

#[test]
fn a_narrative_that_repeats_the_rest_makes_nothing_fit_better() {
    let folder = Folder::new("repeats");
    let index = FullText::open(folder.options()).unwrap();
    let of = ResourceType::OBSERVATION;
    let heart = &["Heart failure"];
    let changes = [
        change(1, of, "Heart failure", heart),
        change(2, of, "Acute failure", heart),
        change(3, of, "Heart failure", &["Acute failure"]),
    ];
    index.apply(&changes, HERE).unwrap();
    let hits = index.search(&FullTextField::Content, "heart", &[], 10).unwrap();
    assert_eq!(hits.len(), 3);
    assert!(hits.iter().all(|(_, score)| *score > 0.999), "{hits:?}");
}

#[test]
fn the_last_change_of_a_key_counts() {
    let folder = Folder::new("changes");
    let index = FullText::open(folder.options()).unwrap();
    let content = FullTextField::Content;
    index.apply(&samples(), HERE).unwrap();
    let changes = [
        change(1, ResourceType::PATIENT, "", &["Berta"]),
        change(1, ResourceType::PATIENT, "", &["Carla"]),
        Change { key: 2, document: None },
        Change { key: 99, document: None },
    ];
    index.apply(&changes, Position { xid: 11, seq: 1 }).unwrap();
    assert_eq!(found(&index, &content, "carla"), [1]);
    assert_eq!(found(&index, &content, "anna OR berta"), [3]);
    assert_eq!(found(&index, &content, "failure"), [] as [i64; 0]);
    assert_eq!(index.position().unwrap(), Some(Position { xid: 11, seq: 1 }));
}

#[test]
fn an_index_is_known_again_and_only_by_its_own_database() {
    let folder = Folder::new("again");
    let index = FullText::open(folder.options()).unwrap();
    assert_eq!(index.position().unwrap(), None);
    let query = || index.search(&FullTextField::Content, "anna", &[], 10);
    assert!(matches!(query(), Err(FullTextError::NotReady)));
    index.apply(&samples(), HERE).unwrap();
    assert!(matches!(FullText::open(folder.options()), Err(FullTextError::Locked)));
    drop(index);

    let again = FullText::open(folder.options()).unwrap();
    assert_eq!(again.position().unwrap(), Some(HERE));
    assert_eq!(found(&again, &FullTextField::Content, "anna"), [1, 3]);
    drop(again);

    let english = Options { language: Some("english".to_owned()), ..folder.options() };
    for other in [Options { seal: 8, ..folder.options() }, english] {
        let other = FullText::open(other).unwrap();
        assert_eq!(other.position().unwrap(), None);
        assert!(!other.is_ready());
    }
    let unknown = Options { language: Some("klingon".to_owned()), ..folder.options() };
    let refused = FullText::open(unknown).err().map(|error| error.to_string());
    assert!(refused.is_some_and(|text| text.contains("klingon") && text.contains("english")));
}

#[test]
fn files_that_are_lost_or_damaged_make_an_empty_index() {
    let folder = Folder::new("damage");
    let index = FullText::open(folder.options()).unwrap();
    index.apply(&samples(), HERE).unwrap();
    std::fs::remove_dir_all(&folder.0).unwrap();
    assert!(index.apply(&samples(), HERE).is_err());
    index.reopen().unwrap();
    assert_eq!(index.position().unwrap(), None);
    assert!(!index.is_ready());
    index.apply(&samples(), HERE).unwrap();
    assert_eq!(found(&index, &FullTextField::Content, "anna"), [1, 3]);
    drop(index);

    std::fs::write(folder.0.join("meta.json"), b"{").unwrap();
    let index = FullText::open(folder.options()).unwrap();
    assert_eq!(index.position().unwrap(), None);
}

#[test]
fn files_that_cannot_be_read_now_stay_and_answer_nothing() {
    let folder = Folder::new("unreadable");
    let index = FullText::open(folder.options()).unwrap();
    index.apply(&samples(), HERE).unwrap();
    let meta = folder.0.join("meta.json");
    let aside = folder.0.join("aside");
    std::fs::rename(&meta, &aside).unwrap();
    // Reading a folder is no sign of damage.
    std::fs::create_dir(&meta).unwrap();
    let failed = index.reopen();
    assert!(matches!(failed, Err(FullTextError::Broken(_))), "{failed:?}");
    assert!(!index.is_ready());

    std::fs::remove_dir(&meta).unwrap();
    std::fs::rename(&aside, &meta).unwrap();
    index.reopen().unwrap();
    assert_eq!(index.position().unwrap(), Some(HERE));
    assert_eq!(found(&index, &FullTextField::Content, "anna"), [1, 3]);
}

#[test]
fn a_damaged_index_that_another_process_writes_stays() {
    let folder = Folder::new("locked");
    let index = FullText::open(folder.options()).unwrap();
    index.apply(&samples(), HERE).unwrap();
    std::fs::write(folder.0.join("meta.json"), b"{").unwrap();
    let count = || std::fs::read_dir(&folder.0).unwrap().count();
    let before = count();
    assert!(matches!(FullText::open(folder.options()), Err(FullTextError::Locked)));
    assert_eq!(count(), before);
}

#[test]
fn what_is_rebuilt_is_hidden_until_it_is_whole() {
    let folder = Folder::new("rebuild");
    let index = FullText::open(folder.options()).unwrap();
    index.apply(&samples(), HERE).unwrap();
    index.clear().unwrap();
    index.add(&[change(9, ResourceType::PATIENT, "", &["Anna"])]).unwrap();
    let query = || index.search(&FullTextField::Content, "anna", &[], 10);
    assert!(matches!(query(), Err(FullTextError::NotReady)));
    index.commit(Position { xid: 12, seq: 0 }).unwrap();
    assert_eq!(found(&index, &FullTextField::Content, "anna"), [9]);
}

#[test]
fn stems_are_found_where_the_language_is_set() {
    let folder = Folder::new("stems");
    let options = Options { language: Some("english".to_owned()), ..folder.options() };
    let index = FullText::open(options).unwrap();
    let changes = [change(1, ResourceType::OBSERVATION, "", &["Fractures of the bones"])];
    index.apply(&changes, HERE).unwrap();
    for (query, expected) in [
        ("fracture", &[1][..]),
        ("fractures", &[1]),
        ("fracturing", &[1]),
        ("\"fractures of\"", &[1]),
        // A phrase means its very words.
        ("\"fracturing of\"", &[]),
        ("bone*", &[1]),
    ] {
        assert_eq!(found(&index, &FullTextField::Content, query), expected, "{query}");
    }
}

#[test]
fn a_beginning_at_the_end_of_several_words_stands_for_all_of_them_or_is_refused() {
    let folder = Folder::new("ends");
    let index = FullText::open(folder.options()).unwrap();
    let words = |from: u32, to: u32| {
        let words: Vec<String> = (from..to).map(|it| format!("big-w{it:04}")).collect();
        words.join(" ")
    };
    let of = ResourceType::OBSERVATION;
    // The last word is beyond the thousandth of those that begin with w, and the others hide none.
    let changes = [change(1, of, &words(0, 999), &[]), change(2, of, "big-w9999", &[])];
    index.apply(&changes, HERE).unwrap();
    let narrative = FullTextField::Narrative;
    assert_eq!(found(&index, &narrative, "big-w*"), [1, 2]);
    index.apply(&[change(3, of, &words(1_000, 2_000), &[])], HERE).unwrap();
    index.apply(&[change(4, of, &words(0, 2_000), &[])], HERE).unwrap();
    for query in ["big-w*", "acute -big-w*"] {
        let refused = index.search(&narrative, query, &[], 10);
        assert!(matches!(refused, Err(FullTextError::TooCostly(_))), "{query}: {refused:?}");
        for field in [&narrative, &FullTextField::Content] {
            let refused = index.keys(field, query, &[], 10);
            assert!(matches!(refused, Err(FullTextError::TooCostly(_))), "{query}: {refused:?}");
        }
    }
    assert_eq!(found(&index, &narrative, "big-w99*"), [2]);
    // One word alone stands for however many.
    assert_eq!(found(&index, &narrative, "w*"), [1, 2, 3, 4]);
}

#[test]
fn the_words_are_for_nobody_else_on_the_machine() {
    let folder = Folder::new("closed");
    std::fs::create_dir_all(&folder.0).unwrap();
    std::fs::set_permissions(&folder.0, Permissions::from_mode(0o755)).unwrap();
    for _ in ["one of an older version", "again"] {
        drop(FullText::open(folder.options()).unwrap());
        let mode = std::fs::metadata(&folder.0).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
