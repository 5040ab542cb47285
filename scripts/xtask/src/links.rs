//! Links between the pages of the book: each must lead to a file of the book, and to an anchor in
//! it.
//!
//! The check reads the pages and not the documents, so that the Markdown parser has already decided
//! what is a link, and which anchors a page has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Result, ensure};

/// The pages that mdBook derives from other pages.
const DERIVED: &[&str] = &["404.html", "print.html", "toc.html"];

/// Fails with a list of all links on the pages below `folder` that lead nowhere. Links to other
/// sites are not followed.
pub fn check(folder: &Path) -> Result<()> {
    let mut pages = BTreeMap::new();
    read_pages(folder, &mut pages)?;
    let places: BTreeMap<&Path, BTreeSet<&str>> = pages
        .iter()
        .map(|(path, text)| (path.as_path(), values(text, " id=\"").collect()))
        .collect();

    let mut broken = String::new();
    for (path, text) in &pages {
        let from = path.strip_prefix(folder).unwrap_or(path);
        if DERIVED.iter().any(|name| from == Path::new(name)) {
            continue;
        }
        for link in [" href=\"", " src=\""]
            .iter()
            .flat_map(|key| values(text, key))
        {
            if !is_external(link) && !leads_somewhere(path, link, &places) {
                broken += &format!("\n{}: {link}", from.display());
            }
        }
    }
    ensure!(broken.is_empty(), "links that lead nowhere:{broken}");
    Ok(())
}

fn read_pages(folder: &Path, pages: &mut BTreeMap<PathBuf, String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read_pages(&path, pages)?;
        } else if path.extension().is_some_and(|kind| kind == "html") {
            let text = fs::read_to_string(&path)?;
            pages.insert(path, text);
        }
    }
    Ok(())
}

/// Returns the texts between each `key`, which ends with a quotation mark, and the next quotation
/// mark.
fn values<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(key)
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
}

fn is_external(link: &str) -> bool {
    ["https:", "http:", "mailto:", "data:"]
        .iter()
        .any(|scheme| link.starts_with(scheme))
}

/// Returns whether `link` on the page `from` leads to a file and to an anchor in it.
fn leads_somewhere(from: &Path, link: &str, places: &BTreeMap<&Path, BTreeSet<&str>>) -> bool {
    let (file, place) = link.split_once('#').unwrap_or((link, ""));
    let to = if file.is_empty() {
        from.to_path_buf()
    } else {
        normalized(&from.with_file_name(file))
    };
    match places.get(to.as_path()) {
        Some(places) => place.is_empty() || places.contains(place),
        None => place.is_empty() && to.exists(),
    }
}

/// Resolves `..` by the names only, without the file system.
fn normalized(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut path, part| {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            part => path.push(part),
        }
        path
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> BTreeMap<&'static Path, BTreeSet<&'static str>> {
        BTreeMap::from([
            (Path::new("/b/a.html"), BTreeSet::from(["here"])),
            (Path::new("/b/docs/c.html"), BTreeSet::from(["there"])),
        ])
    }

    #[test]
    fn links_lead_to_pages_and_places() {
        let leads = |link| leads_somewhere(Path::new("/b/docs/c.html"), link, &places());
        for link in ["#there", "c.html", "../a.html#here", "../docs/c.html#there"] {
            assert!(leads(link), "{link}");
        }
        for link in [
            "#here",
            "a.html",
            "../a.html#there",
            "../docs/d.html",
            "../a.txt#here",
        ] {
            assert!(!leads(link), "{link}");
        }
    }

    #[test]
    fn values_end_with_the_quotation_mark() {
        let text = "<a href=\"one\">x</a><b id=\"y\"/><a class=\"c\" href=\"two#z\">";
        assert_eq!(
            values(text, " href=\"").collect::<Vec<_>>(),
            ["one", "two#z"]
        );
        assert_eq!(values(text, " id=\"").collect::<Vec<_>>(), ["y"]);
    }
}
