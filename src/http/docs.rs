//! `/docs`: the documentation of the repository, as pages. The same files are read on a code host, so their links are those of files,
//! and are turned into addresses here. `docs/SUMMARY.md` lists the pages, as mdBook's does.

use std::{collections::HashMap, path::Path, sync::LazyLock};

use axum::{
    extract::Path as UrlPath,
    http::{StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};
use rust_embed::RustEmbed;

/// The pages of `docs/`.
#[derive(RustEmbed)]
#[folder = "docs/"]
#[include = "*.md"]
struct Docs;

/// Those that stand elsewhere in the repository.
const ELSEWHERE: [(&str, &str); 3] = [
    ("README.md", include_str!("../../README.md")),
    ("CHANGELOG.md", include_str!("../../CHANGELOG.md")),
    ("signaling/PROTOCOL.md", include_str!("../../signaling/PROTOCOL.md")),
];
/// Where files are looked at that are no pages.
const REPOSITORY: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/");
/// The page that opens first.
const FIRST: &str = "first-room";

/// Every page by its address below `/docs/`.
static PAGES: LazyLock<HashMap<String, String>> = LazyLock::new(make);

/// `/docs/`: the first page.
pub async fn first() -> Redirect {
    Redirect::temporary(&format!("/docs/{FIRST}"))
}

/// `/docs/{name}`.
pub async fn page(UrlPath(name): UrlPath<String>) -> Response {
    match PAGES.get(&name) {
        Some(html) => {
            let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
            (headers, html.as_str()).into_response()
        }
        None => (StatusCode::NOT_FOUND, "there is no such page\n").into_response(),
    }
}

/// One entry of the list of pages.
struct Entry {
    title: String,
    /// Below the repository's root.
    file: String,
}

/// The list of pages in its groups.
struct Contents(Vec<(String, Vec<Entry>)>);

impl Contents {
    /// Reads `## Group` and `- [Title](file)`.
    fn read(summary: &str) -> Contents {
        let mut groups: Vec<(String, Vec<Entry>)> = Vec::new();
        for line in summary.lines() {
            if let Some(name) = line.strip_prefix("## ") {
                groups.push((name.to_owned(), Vec::new()));
            } else if let Some((title, rest)) = line.strip_prefix("- [").and_then(|rest| rest.split_once("](")) {
                let file = resolve("docs/SUMMARY.md", rest.trim_end_matches(')'));
                let entry = Entry { title: title.to_owned(), file };
                if let Some((_, entries)) = groups.last_mut() {
                    entries.push(entry);
                }
            }
        }
        Contents(groups)
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter().flat_map(|(_, entries)| entries)
    }

    fn navigation(&self, current: &str) -> String {
        let mut out = String::new();
        for (group, entries) in &self.0 {
            out += &format!("<h2>{group}</h2><ul>");
            for Entry { title, file } in entries {
                let mark = if file == current { " aria-current=\"page\"" } else { "" };
                out += &format!("<li><a href=\"{}\"{mark}>{title}</a></li>", address(file));
            }
            out += "</ul>";
        }
        out
    }
}

fn make() -> HashMap<String, String> {
    let contents = Contents::read(&text_of("docs/SUMMARY.md").unwrap_or_default());
    let page = |entry: &Entry| {
        let text = text_of(&entry.file)?;
        let (body, _) = render(&entry.file, &text, &contents);
        let html = format!(
            include_str!("docs.html"),
            title = entry.title,
            navigation = contents.navigation(&entry.file),
            body = body
        );
        Some((address(&entry.file).trim_start_matches("/docs/").to_owned(), html))
    };
    contents.entries().filter_map(page).collect()
}

/// A file of the documentation, by its path below the repository's root.
fn text_of(file: &str) -> Option<String> {
    if let Some((_, text)) = ELSEWHERE.iter().find(|(name, _)| *name == file) {
        return Some((*text).to_owned());
    }
    let embedded = Docs::get(file.strip_prefix("docs/")?)?;
    Some(String::from_utf8_lossy(&embedded.data).into_owned())
}

/// The page as HTML, and where its links lead.
fn render(file: &str, markdown: &str, contents: &Contents) -> (String, Vec<String>) {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let mut events: Vec<Event<'_>> = Parser::new_ext(markdown, options).collect();
    let mut links = Vec::new();
    let mut slugs: HashMap<String, usize> = HashMap::new();
    for at in 0..events.len() {
        let slug = match &events[at] {
            Event::Start(Tag::Heading { .. }) => Some(slug_of(&events[at + 1..], &mut slugs)),
            _ => None,
        };
        match &mut events[at] {
            Event::Start(Tag::Heading { id, .. }) => *id = slug.map(CowStr::from),
            Event::Start(Tag::Link { dest_url, .. }) => {
                let link = link(file, dest_url, contents);
                links.push(link.clone());
                *dest_url = link.into();
            }
            _ => {}
        }
    }
    let mut body = String::new();
    // Wide tables scroll by themselves, on a phone.
    let events = events.into_iter().flat_map(|event| match event {
        Event::Start(Tag::Table(_)) => vec![Event::Html("<div class=\"wide\" tabindex=\"0\">".into()), event],
        Event::End(TagEnd::Table) => vec![event, Event::Html("</div>".into())],
        _ => vec![event],
    });
    html::push_html(&mut body, events);
    // Code that is wider than the page scrolls, which has to go by keyboard too.
    (body.replace("<pre>", "<pre tabindex=\"0\">"), links)
}

/// The anchor of a heading as code hosts make it: the words in small letters, joined by hyphens.
fn slug_of(events: &[Event<'_>], taken: &mut HashMap<String, usize>) -> String {
    let mut text = String::new();
    for event in events {
        match event {
            Event::End(TagEnd::Heading(_)) => break,
            Event::Text(part) | Event::Code(part) => text += part,
            _ => {}
        }
    }
    let kept =
        text.to_lowercase().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_')).collect::<String>();
    let slug = kept.replace(' ', "-");
    let count = taken.entry(slug.clone()).or_default();
    *count += 1;
    if *count == 1 { slug } else { format!("{slug}-{}", *count - 1) }
}

/// Where a link of a file leads on the site.
fn link(file: &str, target: &str, contents: &Contents) -> String {
    if target.contains("://") || target.starts_with(['#', '/']) || target.starts_with("mailto:") {
        return target.to_owned();
    }
    let (path, anchor) =
        target.split_once('#').map_or((target, String::new()), |(path, anchor)| (path, format!("#{anchor}")));
    let path = resolve(file, path);
    match contents.entries().any(|entry| entry.file == path) {
        true => address(&path) + &anchor,
        false => format!("{REPOSITORY}{path}{anchor}"),
    }
}

/// A path beside a file, below the repository's root.
fn resolve(file: &str, relative: &str) -> String {
    let mut parts: Vec<&str> = file.split('/').collect();
    parts.pop();
    for part in relative.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// `docs/tickets.md` is `/docs/tickets`, `docs/moving/mlvb.md` is `/docs/moving-mlvb`, and what stands elsewhere goes by its own name.
fn address(file: &str) -> String {
    let name = match file.strip_prefix("docs/") {
        Some(inside) => inside.trim_end_matches(".md").trim_end_matches("/README").replace('/', "-"),
        None => Path::new(file).file_stem().unwrap_or_default().to_string_lossy().to_lowercase(),
    };
    format!("/docs/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents() -> Contents {
        Contents::read(&text_of("docs/SUMMARY.md").expect("the list of pages"))
    }

    #[test]
    fn every_page_is_in_the_list_and_every_entry_is_a_page() {
        let contents = contents();
        for entry in contents.entries() {
            assert!(text_of(&entry.file).is_some(), "{} is no file", entry.file);
        }
        for file in Docs::iter().filter(|file| *file != "SUMMARY.md") {
            assert!(
                contents.entries().any(|entry| entry.file == format!("docs/{file}")),
                "docs/{file} is not in SUMMARY.md"
            );
        }
        assert_eq!(PAGES.len(), contents.entries().count(), "two pages have one address");
        assert!(PAGES.contains_key(FIRST));
    }

    #[test]
    fn every_link_between_pages_leads_somewhere() {
        let contents = contents();
        for entry in contents.entries() {
            let (_, links) = render(&entry.file, &text_of(&entry.file).expect("a page"), &contents);
            for link in links {
                if let Some(path) = link.strip_prefix(REPOSITORY) {
                    let path = path.split('#').next().unwrap_or_default();
                    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(), "{}: {link}", entry.file);
                }
                let Some(rest) = link.strip_prefix("/docs/") else { continue };
                let (name, anchor) = rest.split_once('#').unwrap_or((rest, ""));
                let html = PAGES.get(name).unwrap_or_else(|| panic!("{}: {link} is no page", entry.file));
                assert!(anchor.is_empty() || html.contains(&format!("id=\"{anchor}\"")), "{}: {link}", entry.file);
            }
        }
    }

    #[test]
    fn headings_have_anchors_and_tables_are_tables() {
        let text = "# A `b` & C!\n\n## Twice\n\n## Twice\n\n| a | b |\n|---|---|\n| 1 | [x](tickets.md#y) |\n";
        let (html, links) = render("docs/a.md", text, &contents());
        for part in ["<h1 id=\"a-b--c\">", "<h2 id=\"twice\">", "<h2 id=\"twice-1\">", "<table>"] {
            assert!(html.contains(part), "{part} is not in {html}");
        }
        assert_eq!(links, ["/docs/tickets#y"]);
    }
}
