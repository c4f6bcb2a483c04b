use std::path::Path;

use super::*;

crate::settings! {
    /// What the tests set.
    struct Settings {
        /// Where data is kept.
        pub data_dir: std::path::PathBuf = "data_dir", "./data";
        /// How large a journal file is.
        /// More than a few are kept.
        pub file_bytes: ByteSize = "journal.file_bytes", "256 MiB", "1 MiB" ..= "4 GiB";
        /// How long to wait.
        pub wait: Span = "journal.wait", "10m", "1s" ..= "1d";
        /// How many.
        pub workers: u32 = "workers", "4", "1" ..= "64";
        /// Names.
        pub names: Vec<String> = "tls.names", "";
        /// Whether.
        pub remote: bool = "remote", "false";
        /// Maybe.
        pub limit: Option<ByteSize> = "limit", "";
    }
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
    pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

fn load(layers: &Layers) -> Result<(Settings, Resolved), ConfigError> {
    Settings::load(layers, |settings, reader| {
        if settings.workers > 8 && !settings.remote {
            reader.problem(&["workers", "remote"], "more than 8 workers need remote = true");
        }
    })
}

#[test]
fn later_layers_win_and_every_value_knows_its_source() {
    let file = r#"
        data_dir = "/file"
        workers = 7
        remote = true
        [journal]
        file_bytes = 1048576
        wait = "30s"
        [tls]
        names = ["a.example", "b.example"]
    "#;
    let layers = Layers::new()
        .toml("file test.toml", file)
        .unwrap()
        .variables(
            variables(&[("TIDELOG_JOURNAL__WAIT", "40s"), ("TIDELOG_WORKERS", "9"), ("HOME", "/x")]),
            &[],
        )
        .flag("workers", "--workers", "12");
    let (settings, resolved) = load(&layers).unwrap();
    assert_eq!(settings.data_dir, Path::new("/file"));
    assert_eq!(settings.file_bytes, ByteSize(1 << 20));
    assert_eq!(settings.wait.as_ms(), 40_000);
    assert_eq!(settings.workers, 12);
    assert_eq!(settings.names, ["a.example", "b.example"]);
    assert!(settings.remote);
    assert_eq!(settings.limit, None);
    let shown: Vec<_> = resolved.rows().iter().map(|row| (row.key, &*row.value, &*row.source)).collect();
    assert_eq!(
        shown,
        [
            ("data_dir", "/file", "file test.toml, key data_dir"),
            ("journal.file_bytes", "1 MiB", "file test.toml, key journal.file_bytes"),
            ("journal.wait", "40s", "variable TIDELOG_JOURNAL__WAIT"),
            ("workers", "12", "flag --workers"),
            ("tls.names", "a.example,b.example", "file test.toml, key tls.names"),
            ("remote", "true", "file test.toml, key remote"),
            ("limit", "", "default"),
        ]
    );
}

#[test]
fn every_problem_is_reported_at_once_with_its_place() {
    let file = r#"
        workers = "many"
        jurnal.file_bytes = 3
        [journal]
        file_bytes = "12 parsecs"
        [unheard.of]
        thing = 1
    "#;
    let layers = Layers::new()
        .toml("file test.toml", file)
        .unwrap()
        .variables(
            variables(&[("TIDELOG_JOURNAL__WAITS", "1s"), ("TIDELOG_LIMIT", "x"), ("TIDELOG_OTHER", "1")]),
            &["TIDELOG_OTHER"],
        )
        .flag("journal.wait", "--wait", "2d");
    let error = load(&layers).unwrap_err();
    let lines: Vec<String> = error.0.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "file test.toml, key journal.file_bytes: \"12 parsecs\" is not a size such as 4096, 64 KiB or 10 GiB",
            "flag --wait: 2d is not between 1s and 1d",
            "file test.toml, key workers: \"many\" is not a whole number up to 4294967295",
            "variable TIDELOG_LIMIT: \"x\" is not a size such as 4096, 64 KiB or 10 GiB",
            "file test.toml, key jurnal.file_bytes: no such setting; did you mean journal.file_bytes?",
            "file test.toml, key unheard.of.thing: no such setting",
            "variable TIDELOG_JOURNAL__WAITS: no such setting; did you mean TIDELOG_JOURNAL__WAIT?",
        ]
    );
    assert!(error.to_string().starts_with("bad configuration, 7 problems:\n  file test.toml"));
}

#[test]
fn values_that_do_not_fit_together_name_both_places() {
    let layers = Layers::new().flag("workers", "--workers", "9");
    let error = load(&layers).unwrap_err();
    assert_eq!(
        error.to_string(),
        "bad configuration: flag --workers and default of remote: more than 8 workers need remote = true"
    );
}

#[test]
fn a_section_where_a_value_belongs_is_a_problem() {
    let layers = Layers::new().toml("file a", "[workers]\nx = 1\n[journal]\n").unwrap();
    let error = load(&layers).unwrap_err().to_string();
    assert!(error.contains("key workers: a value is expected"), "{error}");
    assert!(error.contains("key workers.x: no such setting"), "{error}");
}

#[test]
fn broken_toml_says_where() {
    let error = Layers::new().toml("file a", "x = \ny = 1").unwrap_err().to_string();
    assert!(error.starts_with("bad configuration: file a: ") && error.contains("line 1"), "{error}");
    assert!(!error.contains('\n'));
}

#[test]
fn a_missing_file_is_an_error() {
    let error = Layers::new().file(Path::new("/nowhere/tidelog.toml")).unwrap_err().to_string();
    assert!(error.starts_with("bad configuration: file /nowhere/tidelog.toml: No such file"), "{error}");
}

#[test]
fn a_declared_key_carries_its_documentation() {
    let key = &Settings::KEYS[1];
    assert_eq!(key.doc, " How large a journal file is.\n More than a few are kept.\n");
    assert_eq!((key.kind, key.range), ("bytes", Some(("1 MiB", "4 GiB"))));
    assert_eq!(key.variable(), "TIDELOG_JOURNAL__FILE_BYTES");
}
