//! Sitemaps and indexes of sitemaps (sitemaps.org, protocol 0.9).

use quick_xml::Reader;
use quick_xml::events::Event;

/// What a sitemap names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sitemap {
    pub(super) pages: Vec<String>,
    /// Further sitemaps, of an index.
    pub(super) sitemaps: Vec<String>,
}

/// Reads the `loc` of each `url` and `sitemap`; what else there is (images, languages) is no page.
///
/// # Errors
/// It is no well-formed XML.
pub(super) fn read(xml: &[u8]) -> Result<Sitemap, String> {
    let mut reader = Reader::from_reader(xml);
    let mut found = Sitemap::default();
    let mut open: Vec<Vec<u8>> = Vec::new();
    let mut text = String::new();
    loop {
        let event = reader
            .read_event()
            .map_err(|error| format!("no sitemap: {error}, at byte {}", reader.error_position()))?;
        match event {
            Event::Start(element) => {
                text.clear();
                open.push(element.local_name().as_ref().to_vec());
            }
            Event::End(_) => {
                let place = open.as_slice();
                if let [.., parent, name] = place
                    && name == b"loc"
                    && !text.trim().is_empty()
                {
                    match parent.as_slice() {
                        b"url" => found.pages.push(text.trim().to_owned()),
                        b"sitemap" => found.sitemaps.push(text.trim().to_owned()),
                        _ => {}
                    }
                }
                text.clear();
                open.pop();
            }
            Event::Text(part) => {
                text.push_str(&part.decode().map_err(|error| format!("no sitemap: {error}"))?);
            }
            Event::CData(part) => {
                text.push_str(&part.decode().map_err(|error| format!("no sitemap: {error}"))?);
            }
            Event::GeneralRef(name) => {
                if let Ok(Some(char)) = name.resolve_char_ref() {
                    text.push(char);
                } else {
                    let name = name.decode().map_err(|error| format!("no sitemap: {error}"))?;
                    let known = quick_xml::escape::resolve_predefined_entity(&name);
                    text.push_str(known.unwrap_or_default());
                }
            }
            Event::Eof if open.is_empty() => return Ok(found),
            Event::Eof => return Err("no sitemap: it breaks off".to_owned()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_sitemaps() {
        let xml = br#"<?xml version="1.0" encoding="UTF-8"?>
            <urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" xmlns:image="i">
              <url><loc> http://a/x?b=1&amp;c=&#50; </loc><priority>1</priority></url>
              <url><image:image><image:loc>http://a/i.png</image:loc></image:image>
                <loc><![CDATA[http://a/y]]></loc></url>
              <url><loc/></url>
            </urlset>"#;
        let found = read(xml).unwrap();
        assert_eq!(found.pages, ["http://a/x?b=1&c=2", "http://a/y"]);
        let index = b"<sitemapindex><sitemap><loc>http://a/1.xml.gz</loc></sitemap></sitemapindex>";
        assert_eq!(read(index).unwrap().sitemaps, ["http://a/1.xml.gz"]);
    }

    #[test]
    fn what_is_no_sitemap_is_told() {
        for xml in [&b"<urlset><url>"[..], b"<urlset></url>", b"<a", b"<urlset><loc>&amp</urlset>"]
        {
            assert!(read(xml).is_err(), "{}", xml.escape_ascii());
        }
        assert_eq!(read(b"<html></html>"), Ok(Sitemap::default()));
    }
}
