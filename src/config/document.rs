//! The walk through the file: each key to its setting, each mistake with its span.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::file::{File, SECTIONS, Section, Upstream};
use crate::config::load::Reader;
use crate::config::mistake::{Place, SourceText, nearest};
use crate::config::value::Raw;

/// Tables that the design names and a later version brings.
const LATER: [&str; 1] = ["redis"];

impl Reader<'_> {
    pub(super) fn file(&mut self, source: &SourceText, written: &mut File) {
        let (table, errors) = DeTable::parse_recoverable(source.text());
        let mut last_line = None;
        for error in &errors {
            let mistake = source.mistake(error.span().unwrap_or(0..0), error.message().trim());
            let line = match &mistake.place {
                Place::File(at) => Some(at.line),
                _ => None,
            };
            // What follows on the same line is the same mistake once more.
            if line != last_line {
                self.mistakes.push(mistake);
            }
            last_line = line;
        }
        if !errors.is_empty() {
            return;
        }
        for (key, value) in table.get_ref() {
            let name = key.get_ref().as_ref();
            match (name, value.get_ref()) {
                ("upstream", value_of) => self.upstream(source, value_of, value, written),
                ("route", _) => self.routes(source, value, written),
                (name, DeValue::Table(table)) if SECTIONS.contains(&name) && !name.is_empty() => {
                    self.table(source, name, table, written);
                }
                (name, _) if SECTIONS.contains(&name) && !name.is_empty() => {
                    let what = format!("`{name}` is a table: write [{name}] on a line of its own");
                    self.mistakes.push(source.mistake(key.span(), what));
                }
                _ => self.key(source, &mut written.top, "", key, value),
            }
        }
    }

    /// `upstream = "…"`, or `[[upstream]]`: the first is the one that is asked where no route says
    /// otherwise.
    fn upstream(
        &mut self,
        source: &SourceText,
        value_of: &DeValue<'_>,
        value: &Spanned<DeValue<'_>>,
        written: &mut File,
    ) {
        match value_of {
            DeValue::Array(items)
                if !items.is_empty() && items.iter().all(|i| i.get_ref().is_table()) =>
            {
                let elsewhere = self.sources.flags.upstream.is_some()
                    || ["LARDER_UPSTREAM", "LARDER_UPSTREAM__URL"]
                        .iter()
                        .any(|name| self.sources.variable(name).is_some());
                for (nth, item) in items.iter().enumerate() {
                    let Some(table) = item.get_ref().as_table() else { continue };
                    if nth == 0 {
                        self.table(source, "upstream", table, written);
                    } else {
                        let mut further = Upstream::default();
                        self.keys(source, &mut further, "upstream", table);
                        written.upstreams.push((source.place(item.span().start), further));
                    }
                    if !(nth == 0 && elsewhere) && table.get("url").is_none() {
                        let what =
                            "[[upstream]] has no `url`; write url = \"http://127.0.0.1:3000\"";
                        self.mistakes.push(source.mistake(item.span(), what));
                    }
                }
            }
            DeValue::Table(_) | DeValue::Array(_) => {
                let what = "expected upstream = \"http://127.0.0.1:3000\" or [[upstream]] tables \
                            (with two brackets)";
                self.mistakes.push(source.mistake(value.span(), what));
            }
            _ => self.set(source, &mut written.upstream, "url", "upstream", value),
        }
    }

    fn table(
        &mut self,
        source: &SourceText,
        section: &str,
        table: &DeTable<'_>,
        written: &mut File,
    ) {
        if let Some(into) = written.section_mut(section) {
            self.keys(source, into, section, table);
        }
    }

    fn keys(
        &mut self,
        source: &SourceText,
        into: &mut dyn Section,
        section: &str,
        table: &DeTable<'_>,
    ) {
        for (key, value) in table {
            self.key(source, into, section, key, value);
        }
    }

    pub(super) fn key(
        &mut self,
        source: &SourceText,
        into: &mut dyn Section,
        section: &str,
        key: &Spanned<Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let name = key.get_ref().as_ref();
        if into.keys().contains(&name) {
            let path =
                if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
            self.set(source, into, name, &path, value);
        } else {
            let what = unknown_key(section, name, into.keys());
            self.mistakes.push(source.mistake(key.span(), what));
        }
    }

    /// Sets one key that is known.
    fn set(
        &mut self,
        source: &SourceText,
        into: &mut dyn Section,
        key: &str,
        path: &str,
        value: &Spanned<DeValue<'_>>,
    ) {
        let mut expanded = value.get_ref().clone();
        let substituted = match self.expand(&mut expanded) {
            Ok(substituted) => substituted,
            Err(what) => {
                self.mistakes.push(source.mistake(value.span(), format!("`{path}`: {what}")));
                return;
            }
        };
        // A string that came out of ${VAR} may stand for a number: "${PORTS}" is all one can write.
        let raw = match (&expanded, substituted) {
            (DeValue::String(text), true) => Raw::Text(text),
            _ => Raw::Toml(&expanded),
        };
        let place = source.place(value.span().start);
        if let Err(what) = into.set(key, &raw, place) {
            self.mistakes.push(source.mistake(value.span(), format!("`{path}`: {what}")));
        }
    }

    /// Puts the environment's values in the place of `${VAR}`; true where there was one.
    fn expand(&self, value: &mut DeValue<'_>) -> Result<bool, String> {
        match value {
            DeValue::String(text) => {
                let expanded = expand_text(text, |name| self.sources.variable(name))?;
                let changed = expanded.is_some();
                if let Some(expanded) = expanded {
                    *text = expanded.into();
                }
                Ok(changed)
            }
            DeValue::Array(items) => {
                let mut changed = false;
                for item in items.iter_mut() {
                    changed |= self.expand(item.get_mut())?;
                }
                Ok(changed)
            }
            _ => Ok(false),
        }
    }
}

fn unknown_key(section: &str, name: &str, known: &[&str]) -> String {
    if section.is_empty() && LATER.contains(&name) {
        return format!("`{name}` is not supported yet; it comes in a later version");
    }
    let scope = match section {
        "" => String::new(),
        "upstream" | "route" => format!(" in [[{section}]]"),
        section => format!(" in [{section}]"),
    };
    let tables = SECTIONS.iter().copied().filter(|s| section.is_empty() && !s.is_empty());
    if let Some(near) = nearest(name, known.iter().copied().chain(tables)) {
        return format!("unknown key `{name}`{scope}, did you mean `{near}`?");
    }
    // The right key in the wrong table is the other common slip.
    let elsewhere = File::paths().into_iter().find_map(|path| {
        let (table, key) = path.split_once('.').unwrap_or(("", &path));
        (key == name && table != section).then(|| match table {
            "" => ", it belongs at the top of the file, above the first [table]".to_owned(),
            "upstream" => ", it belongs in [[upstream]]".to_owned(),
            table => format!(", it belongs in [{table}]"),
        })
    });
    let hint = elsewhere.unwrap_or_else(|| format!("; known are {}", known.join(", ")));
    format!("unknown key `{name}`{scope}{hint}")
}

/// `None`: nothing to expand. `$${` stands for `${` itself.
fn expand_text<'v>(
    text: &str,
    variable: impl Fn(&str) -> Option<&'v str>,
) -> Result<Option<String>, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    let mut changed = false;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = after;
        } else {
            let Some((name, behind)) = after.split_once('}') else {
                return Err(
                    "`${` without its `}`; write `$${` for the characters themselves".to_owned()
                );
            };
            let value = variable(name)
                .ok_or_else(|| format!("environment variable `{name}` is not set"))?;
            expanded.push_str(before);
            expanded.push_str(value);
            rest = behind;
        }
        changed = true;
    }
    expanded.push_str(rest);
    Ok(changed.then_some(expanded))
}
