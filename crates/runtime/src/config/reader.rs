//! From layers to values: each key once, every problem noted, nothing left over.

use figment::Figment;
use figment::value::{Num, Value};

use super::layers::{Layers, variable_name};
use super::problem::{ConfigError, Problem};
use super::setting::Setting;

/// A setting as declared.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Dotted: the part before the dot is the section in the file.
    pub name: &'static str,
    pub default: &'static str,
    /// What a value looks like, with its unit.
    pub kind: &'static str,
    /// The smallest and the largest value.
    pub range: Option<(&'static str, &'static str)>,
    pub doc: &'static str,
}

impl Key {
    /// The variable that sets it.
    pub fn variable(&self) -> String {
        variable_name(self.name)
    }
}

/// The settings with their sources, as `config print` shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved(Vec<Row>);

/// One setting, as it is and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub key: &'static str,
    pub value: String,
    /// `default`, or a place such as `flag --quic`.
    pub source: String,
}

impl Resolved {
    pub fn rows(&self) -> &[Row] {
        &self.0
    }
}

/// Takes values out of [`Layers`].
#[derive(Debug)]
pub struct Reader<'a> {
    layers: &'a Layers,
    figment: Figment,
    keys: &'static [Key],
    rows: Vec<Row>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub fn new(layers: &'a Layers, keys: &'static [Key]) -> Self {
        let figment = layers.merged(keys.iter().map(|key| key.name));
        Self { layers, figment, keys, rows: Vec::new(), problems: Vec::new() }
    }

    /// The value of a key; its default when what is written is no such value, which is noted.
    ///
    /// # Panics
    /// When the key is not declared, or its default or range is not valid: those are the program's own.
    pub fn take<T: Setting>(&mut self, name: &'static str) -> T {
        let key = self.keys.iter().find(|key| key.name == name).expect("the key is declared");
        let own = |text: &str| match T::parse(text) {
            Ok(value) => value,
            Err(reason) => panic!("{name}: the program's own value {text:?} is not valid: {reason}"),
        };
        let default = own(key.default);
        let written = self.figment.find_value(name).ok();
        let value = match &written {
            None => default.clone(),
            Some(written) => text_of(written)
                .and_then(|text| T::parse(&text))
                .and_then(|value| match key.range {
                    Some((low, high)) if !value.within(&own(low), &own(high)) => {
                        Err(format!("{} is not between {low} and {high}", value.show()))
                    }
                    _ => Ok(value),
                })
                .unwrap_or_else(|reason| {
                    self.problem(&[name], reason);
                    default.clone()
                }),
        };
        let source = if written.is_some() { self.place(name) } else { "default".to_owned() };
        self.rows.push(Row { key: name, value: value.show(), source });
        value
    }

    /// Notes that something is wrong with these keys (together).
    pub fn problem(&mut self, keys: &[&str], reason: impl Into<String>) {
        let places: Vec<String> = keys.iter().map(|key| self.place(key)).collect();
        self.problems.push(Problem { place: places.join(" and "), reason: reason.into() });
    }

    /// Where a key's value was written.
    fn place(&self, key: &str) -> String {
        match self.figment.find_metadata(key) {
            None => format!("default of {key}"),
            Some(metadata) if metadata.name == self.layers.file_place => {
                format!("{}, key {key}", metadata.name)
            }
            Some(metadata) => metadata.name.to_string(),
        }
    }

    /// What was read, or everything that is wrong, keys and variables that nobody knows included.
    pub fn finish(mut self) -> Result<Resolved, ConfigError> {
        self.find_unknown();
        if self.problems.is_empty() { Ok(Resolved(self.rows)) } else { Err(ConfigError(self.problems)) }
    }

    fn find_unknown(&mut self) {
        let known: Vec<&str> = self.keys.iter().map(|key| key.name).collect();
        for (key, _) in &self.layers.file {
            if !known.contains(&&**key) {
                let place = format!("{}, key {key}", self.layers.file_place);
                self.problems
                    .push(Problem { place, reason: unknown(key, known.iter().map(|k| (*k).to_owned())) });
            }
        }
        for variable in &self.layers.variables {
            let place = format!("variable {}", variable.name);
            let names = || known.iter().map(|key| variable_name(key));
            if !names().any(|name| name == variable.name) {
                self.problems.push(Problem { place, reason: unknown(&variable.name, names()) });
            } else if let Err(reason) = &variable.value {
                self.problems.push(Problem { place, reason: reason.clone() });
            }
        }
    }
}

/// The value as it would be written in a variable. A list is its items with commas.
fn text_of(value: &Value) -> Result<String, String> {
    match value {
        Value::String(_, text) => Ok(text.clone()),
        Value::Char(_, text) => Ok(text.to_string()),
        Value::Bool(_, value) => Ok(value.to_string()),
        Value::Num(_, number) => Ok(number_text(*number)),
        Value::Array(_, items) => {
            items.iter().map(text_of).collect::<Result<Vec<_>, _>>().map(|items| items.join(","))
        }
        Value::Dict(..) => Err("a value is expected, this is a section".to_owned()),
        Value::Empty(..) => Err("it is empty".to_owned()),
    }
}

fn number_text(number: Num) -> String {
    number
        .to_u128()
        .map(|value| value.to_string())
        .or_else(|| number.to_i128().map(|value| value.to_string()))
        .or_else(|| number.to_f64().map(|value| value.to_string()))
        .unwrap_or_default()
}

fn unknown(name: &str, known: impl Iterator<Item = String>) -> String {
    let nearest = known.map(|known| (distance(name, &known), known)).min();
    match nearest {
        Some((distance, known)) if distance <= name.len() / 3 => {
            format!("no such setting; did you mean {known}?")
        }
        _ => "no such setting".to_owned(),
    }
}

/// Levenshtein's edit distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
