use std::fmt::Write as _;

use tidelog_runtime::config::{ConfigError, Layers};

use super::*;

fn load(layers: &Layers) -> Result<Settings, ConfigError> {
    load_as(Role::Dev, layers)
}

fn load_as(role: Role, layers: &Layers) -> Result<Settings, ConfigError> {
    Settings::load(layers, |settings, reader| settings.check(role, reader)).map(|(settings, _)| settings)
}

/// What every process of a cluster is told.
const MEMBER: &str = "
    bucket = 's3://logs'
    [meta]
    endpoints = ['a:2379', 'b:2379']
    [cluster]
    ca = 'ca.pem'
    certificate = 'store-1.pem'
    key = 'store-1.key'
";

fn with(more: &str) -> Layers {
    Layers::new().toml("file f", &format!("{MEMBER}\n{more}")).unwrap()
}

#[test]
fn the_defaults_are_valid() {
    load(&Layers::new()).unwrap();
}

#[test]
fn beyond_loopback_needs_a_setting() {
    let open = Layers::new().flag("listen.quic", "--quic", "0.0.0.0:9440");
    let error = load(&open).unwrap_err().to_string();
    assert!(error.contains("flag --quic: 0.0.0.0:9440 is beyond loopback"), "{error}");
    assert!(load(&open.toml("file f", "listen.anonymous = true").unwrap()).is_ok());
    assert!(load(&Layers::new().flag("listen.http", "--http", "[::1]:0")).is_ok());
    assert!(load(&Layers::new().flag("listen.http", "--http", "[::]:0")).is_err());
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let file =
        "journal = { file_bytes = '1 GiB', budget_bytes = '2 GiB', queue_bytes = '1 MiB' }\ntls.key = 'k'";
    let error = load(&Layers::new().toml("file f", file).unwrap()).unwrap_err();
    assert_eq!(error.0.len(), 3, "{error}");
}

/// The table of `docs/configuration.md`, as this list has it.
fn documented() -> String {
    let mut table = String::from("| key | value | default | what |\n|---|---|---|---|\n");
    for key in Settings::KEYS {
        let default = if key.default.is_empty() { String::new() } else { format!("`{}`", key.default) };
        let range = key.range.map(|(low, high)| format!(", {low} to {high}")).unwrap_or_default();
        let doc = key.doc.split_whitespace().collect::<Vec<_>>().join(" ");
        writeln!(table, "| `{}` | {}{range} | {default} | {doc} |", key.name, key.kind).unwrap();
    }
    table
}

#[test]
fn the_documentation_lists_every_setting_as_it_is() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let text = std::fs::read_to_string(path).unwrap();
    let expected = documented();
    assert!(text.contains(&expected), "docs/configuration.md should contain this table:\n{expected}");
}

#[test]
fn each_role_is_told_what_it_misses_and_what_makes_it() {
    let error = load_as(Role::Store, &Layers::new()).unwrap_err().to_string();
    for key in ["node.id", "meta.endpoints", "bucket", "cluster.ca", "cluster.certificate", "cluster.key"] {
        assert!(error.contains(&format!("default of {key}: ")), "{key}: {error}");
    }
    assert!(error.contains("tidelog certs init") && error.contains("tidelog certs issue"), "{error}");
    let error = load_as(Role::Frontend, &Layers::new()).unwrap_err();
    assert_eq!(error.0.len(), 5, "{error}");
    load_as(Role::Frontend, &with("")).unwrap();
    load_as(Role::Store, &with("[node]\nid = 3")).unwrap();
}

#[test]
fn what_others_cannot_connect_to_is_refused() {
    let store = |more: &str| load_as(Role::Store, &with(&format!("[node]\nid = 3\n{more}")));
    let listening = |more: &str| {
        let more = more.to_owned();
        let file = MEMBER.replace("[cluster]", &format!("[cluster]\n{more}"));
        load_as(Role::Store, &Layers::new().toml("file f", &format!("{file}\n[node]\nid = 3")).unwrap())
    };
    store("").unwrap();
    let error = listening("listen = '0.0.0.0:9441'").unwrap_err().to_string();
    assert!(error.contains("cluster.listen") && error.contains("cluster.advertise"), "{error}");
    listening("listen = '0.0.0.0:9441'\nadvertise = 'store-3.example:9441'").unwrap();
    let error = listening("advertise = '[::]:9441'").unwrap_err().to_string();
    assert!(error.contains("cluster.advertise"), "{error}");
    for wrong in ["store-3", "store-3:0", ":9441", "a b:1", "[::x]:1", "store-3:99999"] {
        let error = listening(&format!("advertise = '{wrong}'")).unwrap_err().to_string();
        assert!(error.contains("host:port"), "{wrong}: {error}");
    }
    let open = with("[listen]\nanonymous = true\nquic = '0.0.0.0:9440'");
    assert!(load_as(Role::Frontend, &open).unwrap_err().to_string().contains("listen.advertise"));
}

#[test]
fn etcd_is_named_in_one_way() {
    let meta = |more: &str| Layers::new().toml("file f", &format!("[meta]\n{more}")).unwrap();
    load(&meta("endpoints = ['a', '[::1]:1']\nprefix = 'blue'\nuser = 'u'\npassword = 'p'")).unwrap();
    for (more, reason) in [
        ("endpoints = ['a b']", "host:port"),
        ("endpoints = ['https://a', 'http://b']", "over TLS or not"),
        ("prefix = 'a/b'", "prefix"),
        ("prefix = ''", "prefix"),
        ("user = 'u'", "password"),
        ("key = 'k'", "certificate"),
    ] {
        let error = load(&meta(more)).unwrap_err().to_string();
        assert!(error.contains(reason), "{more}: {error}");
    }
}

#[test]
fn a_password_is_shown_to_nobody() {
    let file = "[meta]\nuser = 'u'\npassword = 'hunter2'";
    let layers = Layers::new().toml("file f", file).unwrap();
    let (settings, resolved) = Settings::load(&layers, |_, _| ()).unwrap();
    let shown = format!("{settings:?} {resolved:?}");
    assert!(!shown.contains("hunter2") && shown.contains("(set)"), "{shown}");
}
