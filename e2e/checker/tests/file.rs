//! The file format: what version 1 looks like, and what is refused.

use tidelog_checker::{FileError, check, read};

const GOLDEN: &[u8] = include_bytes!("golden/history.v1.jsonl");

#[test]
fn version_one_is_read_as_it_was_written() {
    let history = read(GOLDEN).expect("a history of version 1");
    assert_eq!(history.header.recovery_ms, Some(5_000));
    assert_eq!(history.events.len(), 19);
    let report = check(&history);
    assert!(report.is_clean(), "{report}");
    let again = history.write(Vec::new()).expect("memory takes everything");
    assert_eq!(String::from_utf8_lossy(&again), String::from_utf8_lossy(GOLDEN));
}

#[test]
fn what_is_no_history_is_refused_with_its_line() {
    let said = |text: &str| read(text.as_bytes()).expect_err("no history").to_string();
    assert!(matches!(read(&b""[..]), Err(FileError::Empty)));
    assert!(said("{\"format\":\"other\",\"version\":1}\n").contains("other"));
    assert!(said("{\"format\":\"tidelog-history\",\"version\":2}\n").contains("version 2"));
    assert!(said("garbage\n").contains("line 1"));
    let header = "{\"format\":\"tidelog-history\",\"version\":1}\n";
    assert!(said(&format!("{header}{{\"start\":1}}\n")).contains("line 2"));
    let unknown =
        "{\"start\":1,\"end\":2,\"client\":1,\"process\":0,\"op\":{\"dance\":{}},\"outcome\":\"ok\"}";
    assert!(said(&format!("{header}{unknown}\n")).contains("dance"));
}

#[test]
fn a_history_that_breaks_off_is_refused() {
    let cut = &GOLDEN[..GOLDEN.len() - 20];
    assert!(matches!(read(cut), Err(FileError::Line { line: 20, .. })));
}
