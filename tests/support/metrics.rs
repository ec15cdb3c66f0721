//! `/metrics` as numbers.

use std::collections::BTreeMap;

/// One sample.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// All samples of one scrape.
#[derive(Debug, Clone)]
pub struct Metrics(pub Vec<Sample>);

impl Metrics {
    /// Reads the text format.
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
        Self(samples.map(|l| sample(l).unwrap_or_else(|| panic!("no sample: {l}"))).collect())
    }

    /// The sum of the samples with this name that carry all these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.of(name, labels).map(|s| s.value).sum()
    }

    /// As [`sum`](Self::sum), for what only counts.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.sum(name, labels).round() as u64
    }

    /// True if there is a sample with this name.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|s| s.name == name)
    }

    /// The samples with this name that carry all these labels.
    pub fn of<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&str, &str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |s| {
            let fits = |(k, v): &(&str, &str)| s.labels.get(*k).is_some_and(|have| have == v);
            s.name == name && labels.iter().all(fits)
        })
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (head, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, labels)) = head.split_once('{') else {
        return Some(Sample { name: head.into(), labels: BTreeMap::new(), value });
    };
    let labels = labels.strip_suffix('}')?;
    let labels = labels.split("\",").filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once("=\"")?;
        Some((key.trim().to_owned(), value.trim_end_matches('"').to_owned()))
    });
    Some(Sample { name: name.into(), labels: labels.collect::<Option<_>>()?, value })
}
