//! The figures of the documents: drawings in `docs/figures`, each of which Pikchr makes from the
//! text beside it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, anyhow, ensure};
use pikchr::{Pikchr, PikchrFlags};

use crate::workspace::root;

/// The file extension of a source.
const SOURCE: &str = "pikchr";

/// Draws each figure, or with `check` fails if a figure in the tree differs from its source.
pub fn figures(check: bool) -> Result<()> {
    for source in sources()? {
        let text = fs::read_to_string(&source)?;
        let drawn = draw(&text).map_err(|error| anyhow!("{}:\n{error}", source.display()))?;
        let figure = source.with_extension("svg");
        if check {
            ensure!(
                fs::read_to_string(&figure).is_ok_and(|before| before == drawn),
                "{} is not what its source describes: run `cargo xtask book`",
                figure.display()
            );
        } else {
            fs::write(figure, drawn)?;
        }
    }
    Ok(())
}

fn sources() -> Result<Vec<PathBuf>> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(root().join("docs/figures"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == SOURCE) {
            sources.push(path);
        }
    }
    Ok(sources)
}

/// Returns the SVG for a source, or the place and the reason of its first error.
fn draw(source: &str) -> Result<String, String> {
    let mut flags = PikchrFlags::default();
    flags.generate_plain_errors();
    let drawing = Pikchr::render(source, None, flags)?;
    // The background is white even on dark pages, and the strokes of letters are as thin as lines.
    let style = "style='font-size:initial;";
    Ok(drawing.rendered().replacen(
        style,
        &format!("{style}font-family:sans-serif;background:white;"),
        1,
    ))
}
