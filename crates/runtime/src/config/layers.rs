//! Where values come from, before anything is known about what they should be.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::problem::{ConfigError, Problem};

/// What names of variables begin with: `journal.file_bytes` is `TIDELOG_JOURNAL__FILE_BYTES`.
pub const ENV_PREFIX: &str = "TIDELOG_";

/// A configuration file is small; this is to stop at something that is none.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A configuration file, variables and flags, one over the other.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    pub(super) figment: Figment,
    /// Every value of the file by its dotted key, for keys that nobody knows.
    pub(super) file: Vec<(String, Value)>,
    pub(super) file_place: String,
    pub(super) variables: Vec<Variable>,
    pub(super) flags: Vec<Flag>,
}

#[derive(Clone, Debug)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: Result<String, String>,
}

#[derive(Clone, Debug)]
pub(super) struct Flag {
    pub(super) key: &'static str,
    pub(super) spelling: &'static str,
    pub(super) value: String,
}

impl Layers {
    /// Defaults only.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a TOML file, which must be there.
    pub fn file(self, path: &Path) -> Result<Self, ConfigError> {
        let place = format!("file {}", path.display());
        let problem = |reason: String| ConfigError(vec![Problem { place: place.clone(), reason }]);
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
        read.map_err(|error| problem(error.to_string()))?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(problem(format!("larger than {FILE_BYTES_MAX} bytes")));
        }
        self.toml(&place, &text)
    }

    /// Adds TOML text that came from `place`.
    pub fn toml(mut self, place: &str, text: &str) -> Result<Self, ConfigError> {
        let parsed = Toml::string(text).data().map_err(|error| {
            let reason = one_line(&error.to_string());
            ConfigError(vec![Problem { place: place.to_owned(), reason }])
        })?;
        let dict = parsed.into_values().next().unwrap_or_default();
        flatten("", &dict, &mut self.file);
        place.clone_into(&mut self.file_place);
        self.figment = self.figment.merge(Layer { place: place.to_owned(), dict });
        Ok(self)
    }

    /// Adds the variables whose names begin with [`ENV_PREFIX`], but for those in `others`, which
    /// belong to someone else.
    #[must_use]
    pub fn variables(
        mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        others: &[&str],
    ) -> Self {
        for (name, value) in variables {
            let Ok(name) = name.into_string() else { continue };
            if name.starts_with(ENV_PREFIX) && !others.contains(&&*name) {
                let value = value.into_string().map_err(|_| "not valid UTF-8".to_owned());
                self.variables.push(Variable { name, value });
            }
        }
        // The environment has no order; problems are reported in one.
        self.variables.sort_by(|a, b| a.name.cmp(&b.name));
        self
    }

    /// Adds the value of a flag of the command line.
    #[must_use]
    pub fn flag(mut self, key: &'static str, flag: &'static str, value: impl Into<String>) -> Self {
        self.flags.push(Flag { key, spelling: flag, value: value.into() });
        self
    }

    /// Puts variables and flags over the file, now that the keys are known.
    pub(super) fn merged<'k>(&self, keys: impl Iterator<Item = &'k str>) -> Figment {
        let mut figment = self.figment.clone();
        for key in keys {
            let name = variable_name(key);
            if let Some(Variable { value: Ok(value), .. }) = self.variables.iter().find(|v| v.name == name) {
                figment = figment.merge(Layer::one(format!("variable {name}"), key, value));
            }
            if let Some(Flag { spelling, value, .. }) = self.flags.iter().find(|flag| flag.key == key) {
                figment = figment.merge(Layer::one(format!("flag {spelling}"), key, value));
            }
        }
        figment
    }
}

/// The variable that sets a key: two underscores stand for the dot, one for itself.
pub(super) fn variable_name(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// Values from one place.
struct Layer {
    place: String,
    dict: Dict,
}

impl Layer {
    fn one(place: String, key: &str, value: &str) -> Self {
        let nest = |inner: Value, part: &str| Value::from(Dict::from([(part.to_owned(), inner)]));
        let nested = key.rsplit('.').fold(Value::from(value), nest);
        Self { place, dict: nested.into_dict().unwrap_or_default() }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.place.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

fn flatten(prefix: &str, dict: &Dict, into: &mut Vec<(String, Value)>) {
    for (name, value) in dict {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Dict(_, inner) => flatten(&key, inner, into),
            value => into.push((key, value.clone())),
        }
    }
}

/// A parser's message with its excerpt, on one line.
fn one_line(message: &str) -> String {
    message.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}
