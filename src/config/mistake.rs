//! What was wrong with a configuration, where, and what would be right.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: the built-in default holds.
    Default,
    /// In the configuration file.
    File(FilePlace),
    /// In the environment variable of this name.
    Environment(String),
    /// By the command-line flag of this name (`--listen`).
    Flag(&'static str),
}

/// A position in the configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePlace {
    /// The file as it was named.
    pub path: Arc<PathBuf>,
    /// Line, from 1; 0: the file as a whole.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(FilePlace { path, line: 0, .. }) => write!(f, "{}", path.display()),
            Self::File(at) => write!(f, "{}:{}:{}", at.path.display(), at.line, at.column),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// One mistake: `config.toml:3:1: unknown key …, did you mean …?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where it is.
    pub place: Place,
    /// What is wrong and what would be right, in one line.
    pub what: String,
    /// The line of the file with a mark below it; never of a line that may hold a secret.
    pub excerpt: Option<String>,
}

impl Mistake {
    /// A mistake at `place`.
    pub fn new(place: Place, what: impl Into<String>) -> Self {
        Self { place, what: what.into(), excerpt: None }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Default => f.write_str(&self.what),
            place => write!(f, "{place}: {}", self.what),
        }
    }
}

/// Why a configuration was refused: all of its mistakes, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one.
    pub mistakes: Vec<Mistake>,
}

impl ConfigError {
    /// A refusal for a single reason.
    pub fn one(mistake: Mistake) -> Self {
        Self { mistakes: vec![mistake] }
    }
}

impl fmt::Display for ConfigError {
    /// A line for each mistake, followed by the line of the file that it is in.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
            if let Some(excerpt) = &mistake.excerpt {
                write!(f, "\n{excerpt}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// A configuration file's text, able to say on which line a byte is.
#[derive(Debug, Clone)]
pub struct SourceText {
    path: Arc<PathBuf>,
    text: Arc<str>,
}

impl SourceText {
    /// `text` as it stood in the file `path`.
    pub fn new(path: &Path, text: &str) -> Self {
        Self { path: Arc::new(path.to_owned()), text: text.into() }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The file as a whole.
    pub fn whole(&self) -> Place {
        Place::File(FilePlace { path: Arc::clone(&self.path), line: 0, column: 0 })
    }

    /// The place of the byte at `offset`.
    pub fn place(&self, offset: usize) -> Place {
        let (line, column, _) = self.locate(offset);
        Place::File(FilePlace { path: Arc::clone(&self.path), line, column })
    }

    /// A mistake at the bytes of `span`, with the line shown unless it may hold a secret.
    pub fn mistake(&self, span: Range<usize>, what: impl Into<String>) -> Mistake {
        let (line, column, content) = self.locate(span.start);
        let marked = self.text.get(span).and_then(|text| text.lines().next());
        let excerpt = excerpt(content, line, column, marked.map_or(1, |m| m.chars().count()));
        Mistake { place: self.place_at(line, column), what: what.into(), excerpt }
    }

    /// A mistake at `place`, which may be in this text.
    pub fn mistake_at(&self, place: &Place, what: impl Into<String>) -> Mistake {
        let excerpt = match place {
            Place::File(FilePlace { line, column, .. }) if *line > 0 => {
                let content = self.text.lines().nth(line - 1).unwrap_or("");
                let rest = content.chars().skip(column - 1).collect::<String>();
                let value = rest.split(" #").next().unwrap_or("").trim_end();
                excerpt(content, *line, *column, value.chars().count())
            }
            _ => None,
        };
        Mistake { place: place.clone(), what: what.into(), excerpt }
    }

    fn place_at(&self, line: usize, column: usize) -> Place {
        Place::File(FilePlace { path: Arc::clone(&self.path), line, column })
    }

    /// Line and column from 1, and the line without its end.
    fn locate(&self, offset: usize) -> (usize, usize, &str) {
        let before = self.text.get(..offset.min(self.text.len())).unwrap_or("");
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.matches('\n').count() + 1;
        let column = before.get(line_start..).unwrap_or("").chars().count() + 1;
        let content = self.text.get(line_start..).unwrap_or("").lines().next().unwrap_or("");
        (line, column, content)
    }
}

/// The line with a mark of `width` characters below it; `None` where it may hold a secret.
fn excerpt(content: &str, line: usize, column: usize, width: usize) -> Option<String> {
    let secret = ["token", "secret", "password", "@"].iter().any(|sign| content.contains(sign));
    if secret || content.trim().is_empty() {
        return None;
    }
    let margin = line.to_string();
    let room = (content.chars().count() + 1).saturating_sub(column).max(1);
    let (pad, marks) = (" ".repeat(column.saturating_sub(1)), "^".repeat(width.clamp(1, room)));
    Some(format!("  {margin} | {content}\n  {} | {pad}{marks}", " ".repeat(margin.len())))
}

/// The name among `known` that `name` was probably meant to be.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&name.to_lowercase(), &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 5)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_shows_line_column_and_mark() {
        let source = SourceText::new(Path::new("c.toml"), "a = 1\nbad = 2 # é\n");
        let mistake = source.mistake(6..9, "unknown key `bad`");
        assert_eq!(mistake.to_string(), "c.toml:2:1: unknown key `bad`");
        assert_eq!(mistake.excerpt.as_deref(), Some("  2 | bad = 2 # é\n    | ^^^"));
    }

    #[test]
    fn an_offset_outside_the_text_or_inside_a_character_is_no_panic() {
        let source = SourceText::new(Path::new("c.toml"), "é");
        for span in [0..1, 1..2, 7..9, 2..2] {
            let _ = source.mistake(span, "x").to_string();
        }
        let _ = SourceText::new(Path::new("c.toml"), "").mistake(0..0, "x");
    }

    #[test]
    fn a_line_that_may_hold_a_secret_is_not_shown() {
        let source = SourceText::new(Path::new("c.toml"), "token = hunter2\n");
        assert_eq!(source.mistake(8..15, "x").excerpt, None);
    }

    #[test]
    fn only_a_near_name_is_proposed() {
        let known = ["memory", "disk", "dir", "listen"];
        for (name, want) in [
            ("memroy", Some("memory")),
            ("Memory", Some("memory")),
            ("lisen", Some("listen")),
            ("port", None),
            ("zzz", None),
        ] {
            assert_eq!(nearest(name, known), want, "{name}");
        }
    }
}
