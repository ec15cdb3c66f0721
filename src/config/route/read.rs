//! `[[route]]` in the file.

use toml::Spanned;
use toml::de::DeValue;

use super::WrittenKey;
use super::written::{Keys, Route};
use crate::config::file::File;
use crate::config::load::Reader;
use crate::config::mistake::SourceText;

impl Reader<'_> {
    /// Takes in all rules.
    pub(in crate::config) fn routes(
        &mut self,
        source: &SourceText,
        value: &Spanned<DeValue<'_>>,
        written: &mut File,
    ) {
        let items = value.get_ref().as_array();
        let Some(items) = items.filter(|items| items.iter().all(|i| i.get_ref().is_table())) else {
            let what = "rules are tables: write [[route]] (with two brackets) on a line of its own";
            self.mistakes.push(source.mistake(value.span(), what));
            return;
        };
        for item in items {
            let Some(table) = item.get_ref().as_table() else { continue };
            let mut keys = Keys::default();
            let mut texts = Vec::new();
            for (key, value) in table {
                self.key(source, &mut keys, "route", key, value);
                let name = key.get_ref().as_ref();
                let text = source.text().get(value.span()).unwrap_or_default().to_owned();
                let place = source.place(value.span().start);
                texts.push((value.span().start, WrittenKey { key: name.to_owned(), text, place }));
            }
            texts.sort_by_key(|(at, _)| *at);
            let place = source.place(item.span().start);
            let keys_written = texts.into_iter().map(|(_, key)| key).collect();
            written.routes.push(Route { place, keys, written: keys_written });
        }
    }
}
