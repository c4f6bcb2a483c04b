//! Real text to send: `TIDELOG_TEST_DATA`, by default `../shared/data` beside the repository.

use std::path::{Path, PathBuf};

/// One file of lines, every line ended by a newline.
#[derive(Clone, Debug)]
pub struct Input {
    pub name: String,
    pub bytes: Vec<u8>,
}

impl Input {
    /// Lines without their newlines.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let body = self.bytes.strip_suffix(b"\n").unwrap_or(&self.bytes);
        body.split(|byte| *byte == b'\n')
    }

    pub fn line_count(&self) -> u64 {
        self.lines().count() as u64
    }

    /// The input whose lines are every `of`-th of this one, from `part` on.
    #[must_use]
    pub fn share(&self, part: usize, of: usize) -> Self {
        let mut bytes = Vec::with_capacity(self.bytes.len() / of + 1024);
        for line in self.lines().skip(part).step_by(of) {
            bytes.extend_from_slice(line);
            bytes.push(b'\n');
        }
        Self { name: format!("{}[{part}/{of}]", self.name), bytes }
    }

    /// The first lines, as many as fit into `bytes_max`.
    #[must_use]
    pub fn head(&self, bytes_max: usize) -> Self {
        if self.bytes.len() <= bytes_max {
            return self.clone();
        }
        let end = self.bytes[..bytes_max].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        Self { name: self.name.clone(), bytes: self.bytes[..end].to_vec() }
    }
}

/// Ten thousand short lines: an access log where the data is at hand.
pub fn short_lines() -> Input {
    load("apache_access.log")
}

/// Few long lines: JSON records of several kilobytes where the data is at hand.
pub fn long_lines() -> Input {
    load("nginx_json.log")
}

fn load(name: &str) -> Input {
    let path = directory().join(name);
    let mut bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) => {
            say_fallback(&path, &error);
            repository_text()
        }
    };
    if bytes.last() != Some(&b'\n') {
        bytes.push(b'\n');
    }
    Input { name: name.to_owned(), bytes }
}

fn directory() -> PathBuf {
    std::env::var_os("TIDELOG_TEST_DATA").map_or_else(|| repository().join("../shared/data"), PathBuf::from)
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("e2e/ lies in the repository")
}

/// The dependency list and the licence, over and over: real text of a size like the real data's.
fn repository_text() -> Vec<u8> {
    let mut once = Vec::new();
    for file in ["Cargo.lock", "LICENSE"] {
        once.extend(std::fs::read(repository().join(file)).expect("the repository's own files"));
    }
    let mut text = Vec::new();
    while text.len() < 2 * 1024 * 1024 {
        text.extend_from_slice(&once);
    }
    text
}

#[expect(clippy::print_stderr, reason = "a test says what it ran with")]
fn say_fallback(path: &Path, error: &std::io::Error) {
    eprintln!(
        "{}: {error}; the repository's own text is used instead (set TIDELOG_TEST_DATA to use other files)",
        path.display()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(text: &str) -> Input {
        Input { name: "text".to_owned(), bytes: text.as_bytes().to_vec() }
    }

    #[test]
    fn shares_together_are_the_whole() {
        let whole = input("a\nb\n\nd\ne\n");
        assert_eq!(whole.line_count(), 5);
        assert_eq!(whole.share(0, 2).bytes, b"a\n\ne\n");
        assert_eq!(whole.share(1, 2).bytes, b"b\nd\n");
        assert_eq!((0..3).map(|part| whole.share(part, 3).line_count()).sum::<u64>(), 5);
    }

    #[test]
    fn a_head_ends_with_a_line() {
        assert_eq!(input("aaa\nbbb\nccc\n").head(9).bytes, b"aaa\nbbb\n");
        assert_eq!(input("aaa\n").head(100).bytes, b"aaa\n");
    }
}
