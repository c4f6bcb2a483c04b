//! What a benchmark found: figures, each beside the limit of the same machine in the same run.

use std::fmt::{Display, Write as _};

use serde::Serialize;

/// The whole answer of one `tidelog bench` command. Its JSON form is stable: fields are added, never
/// renamed.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub bench: &'static str,
    pub machine: Machine,
    /// What was run: sizes, counts, durations, by name.
    pub settings: Vec<Setting>,
    pub figures: Vec<Figure>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Setting {
    pub name: &'static str,
    pub value: String,
}

/// One measured number.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    pub name: String,
    pub value: f64,
    pub unit: Unit,
    /// The raw limit that the figure is held against.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// `value / limit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// What the ratio (or, without a limit, the value) should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goal: Option<Goal>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Limit {
    pub name: String,
    pub value: f64,
}

/// A bound to reach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    pub fn is_met(self, reached: f64) -> bool {
        match self {
            Self::AtLeast(bound) => reached >= bound,
            Self::AtMost(bound) => reached <= bound,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Unit {
    #[serde(rename = "MB/s")]
    MegabytesPerSecond,
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "s")]
    Seconds,
    #[serde(rename = "MiB")]
    Mebibytes,
    #[serde(rename = "records/s")]
    RecordsPerSecond,
    #[serde(rename = "CPU-s/GB")]
    CpuSecondsPerGigabyte,
    #[serde(rename = "x")]
    Ratio,
}

impl Unit {
    pub fn symbol(self) -> &'static str {
        match self {
            Self::MegabytesPerSecond => "MB/s",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::Mebibytes => "MiB",
            Self::RecordsPerSecond => "records/s",
            Self::CpuSecondsPerGigabyte => "CPU-s/GB",
            Self::Ratio => "x",
        }
    }
}

impl Figure {
    pub fn new(name: impl Into<String>, value: f64, unit: Unit) -> Self {
        Self { name: name.into(), value, unit, limit: None, ratio: None, goal: None }
    }

    #[must_use]
    pub fn against(mut self, name: impl Into<String>, value: f64) -> Self {
        self.ratio = (value > 0.0).then(|| self.value / value);
        self.limit = Some(Limit { name: name.into(), value });
        self
    }

    #[must_use]
    pub fn goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    /// Whether the goal is met; `None` without one.
    pub fn is_met(&self) -> Option<bool> {
        self.goal.map(|goal| goal.is_met(self.ratio.unwrap_or(self.value)))
    }
}

/// Where it was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub cores: usize,
    pub cpu: String,
    pub kernel: String,
    pub version: &'static str,
}

impl Machine {
    pub fn this() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| {
                line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_owned())
            })
            .unwrap_or_else(|| "unknown".to_owned());
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

impl Report {
    pub fn new(bench: &'static str) -> Self {
        Self { bench, machine: Machine::this(), settings: Vec::new(), figures: Vec::new() }
    }

    pub fn setting(&mut self, name: &'static str, value: &dyn Display) {
        self.settings.push(Setting { name, value: value.to_string() });
    }

    pub fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// The report as text for people: one aligned line a figure.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let machine = &self.machine;
        let _ = writeln!(
            text,
            "tidelog bench {}, version {}, {} x {}, Linux {}",
            self.bench, machine.version, machine.cores, machine.cpu, machine.kernel
        );
        let settings: Vec<String> = self.settings.iter().map(|s| format!("{}={}", s.name, s.value)).collect();
        if !settings.is_empty() {
            let _ = writeln!(text, "{}", settings.join("  "));
        }
        let rows: Vec<[String; 5]> = self.figures.iter().map(row).collect();
        let head = ["figure", "value", "raw limit", "ratio", "goal"].map(str::to_owned);
        let rows: Vec<&[String; 5]> = std::iter::once(&head).chain(&rows).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 5] = std::array::from_fn(width);
        text.push('\n');
        for row in rows {
            let cells: Vec<String> = row
                .iter()
                .zip(widths)
                .enumerate()
                .map(
                    |(at, (cell, width))| {
                        if at == 1 { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
                    },
                )
                .collect();
            let _ = writeln!(text, "{}", cells.join("  ").trim_end());
        }
        text
    }
}

fn row(figure: &Figure) -> [String; 5] {
    let unit = figure.unit.symbol();
    let goal = match figure.goal {
        None => String::new(),
        Some(goal) => {
            let bound = match goal {
                Goal::AtLeast(bound) => format!(">= {bound}"),
                Goal::AtMost(bound) => format!("<= {bound}"),
            };
            format!("{bound} {}", if figure.is_met() == Some(true) { "met" } else { "MISSED" })
        }
    };
    [
        figure.name.clone(),
        format!("{} {unit}", number(figure.value)),
        figure.limit.as_ref().map_or_else(String::new, |l| format!("{} {unit} {}", number(l.value), l.name)),
        figure.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
        goal,
    ]
}

/// Three significant digits, without an exponent.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The middle of an odd number of rounds, or the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

pub fn megabytes_per_second(bytes: u64, elapsed: std::time::Duration) -> f64 {
    bytes as f64 / 1e6 / elapsed.as_secs_f64().max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_held_against_its_limit() {
        let figure = Figure::new("produce", 350.0, Unit::MegabytesPerSecond)
            .against("disk", 500.0)
            .goal(Goal::AtLeast(0.7));
        assert_eq!(figure.ratio, Some(0.7));
        assert_eq!(figure.is_met(), Some(true));
        let figure =
            Figure::new("p99", 5.0, Unit::Milliseconds).against("fdatasync", 1.0).goal(Goal::AtMost(4.0));
        assert_eq!(figure.is_met(), Some(false));
        assert_eq!(Figure::new("idle", 1.0, Unit::Mebibytes).is_met(), None);
    }

    #[test]
    fn the_median_takes_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
    }

    #[test]
    fn the_text_names_what_was_missed() {
        let mut report = Report::new("latency");
        report.setting("rate", &1000);
        report.add(
            Figure::new("p99", 5.0, Unit::Milliseconds).against("fdatasync", 1.0).goal(Goal::AtMost(4.0)),
        );
        let text = report.to_text();
        assert!(text.contains("5.00 ms") && text.contains("MISSED") && text.contains("rate=1000"), "{text}");
    }
}
