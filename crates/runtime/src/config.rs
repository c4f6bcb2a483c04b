//! Configuration in layers: defaults, then a TOML file, then variables, then flags.
//!
//! A process lists its settings once, with [`settings!`](crate::settings): key, type, default, range and
//! a sentence. From that come the validated struct, the errors (all of them at once, each with the place
//! it came from), what `config print` shows, and the table in the documentation.

mod layers;
mod problem;
mod reader;
mod setting;
mod units;

pub use layers::{ENV_PREFIX, Layers};
pub use problem::{ConfigError, Problem};
pub use reader::{Key, Reader, Resolved, Row};
pub use setting::Setting;
pub use units::{ByteSize, Span};

/// Declares a struct of settings.
///
/// ```
/// use tidelog_runtime::config::{ByteSize, Layers};
///
/// tidelog_runtime::settings! {
///     /// What the example can be told.
///     pub struct Settings {
///         /// How much the cache holds.
///         pub cache_bytes: ByteSize = "cache.bytes", "64 MiB", "1 MiB" ..= "1 GiB";
///         /// Who to greet.
///         pub name: String = "name", "world";
///     }
/// }
///
/// let layers = Layers::new().flag("name", "--name", "moon");
/// let (settings, resolved) = Settings::load(&layers, |_, _| ()).unwrap();
/// assert_eq!(settings.cache_bytes.bytes(), 64 << 20);
/// assert_eq!(resolved.rows()[1].source, "flag --name");
/// ```
#[macro_export]
macro_rules! settings {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $doc:literal])*
                pub $field:ident: $type:ty = $key:literal, $default:literal $(, $low:literal ..= $high:literal)?;
            )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug)]
        $vis struct $name {
            $( $(#[doc = $doc])* pub $field: $type, )+
        }

        impl $name {
            /// Every setting, in the order of the documentation.
            $vis const KEYS: &'static [$crate::config::Key] = &[
                $( $crate::config::Key {
                    name: $key,
                    default: $default,
                    kind: <$type as $crate::config::Setting>::KIND,
                    range: $crate::settings!(@range $($low, $high)?),
                    doc: concat!($($doc, "\n"),*),
                }, )+
            ];

            /// Reads the settings; `check` adds what is wrong with them together. Every problem at once.
            $vis fn load(
                layers: &$crate::config::Layers,
                check: impl FnOnce(&Self, &mut $crate::config::Reader<'_>),
            ) -> Result<(Self, $crate::config::Resolved), $crate::config::ConfigError> {
                let mut reader = $crate::config::Reader::new(layers, Self::KEYS);
                let settings = Self { $( $field: reader.take::<$type>($key), )+ };
                check(&settings, &mut reader);
                Ok((settings, reader.finish()?))
            }
        }
    };
    (@range) => { None };
    (@range $low:literal, $high:literal) => { Some(($low, $high)) };
}

#[cfg(test)]
mod tests;
