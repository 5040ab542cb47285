//! The picture of a [`Frame`]: a row for each range of addresses, a column for each holder.

use std::fmt::Write;

use spmc::manifest::config::Permissions;
use spmc::mm::State;

use super::memory::{Access, Frame};
use super::text::Writer;

/// Widths and heights in pixels.
const LABELS: f64 = 330.0;
const COLUMN: f64 = 128.0;
const LEAST_ROW: f64 = 20.0;
const HEAD: f64 = 84.0;
const MARGIN: f64 = 16.0;

/// The height of a gap between rows whose addresses do not follow each other.
const GAP: f64 = 8.0;

/// The most rows that a picture has.
const MOST_ROWS: usize = 120;

/// The states with their colours and names, in the order of the legend.
const STATES: [(State, &str, &str); 8] = [
    (State::OwnerExclusive, "#9ec9f5", "owner"),
    (State::OwnerShared, "#8fd9b6", "owner, shares"),
    (State::OwnerNoAccess, "#d9d9d9", "owner, lent"),
    (State::BorrowedExclusive, "#f6b26b", "borrows"),
    (State::BorrowedShared, "#ffe08a", "borrows, shared"),
    (State::Mailbox, "#cdb4f0", "RX/TX"),
    (State::Fixed, "#e6d5c3", "by manifest"),
    (State::Ceded, "#f0f0f0", "donated"),
];

/// A row: addresses for which every holder has one relation.
struct Row<'f> {
    base: u64,
    end: u64,
    cells: Vec<Option<&'f Access>>,
    /// Set for the cells that the frame before had otherwise.
    is_new: Vec<bool>,
}

impl Row<'_> {
    /// Returns the height, which grows with the logarithm of the size.
    fn height(&self) -> f64 {
        LEAST_ROW + 2.2 * ((self.end - self.base) as f64 / 4096.0).log2()
    }
}

fn rows<'f>(frame: &'f Frame, before: Option<&'f Frame>) -> Vec<Row<'f>> {
    let frames = [Some(frame), before].into_iter().flatten();
    let runs = frames.flat_map(|frame| frame.holders.iter().flat_map(|holder| &holder.runs));
    let mut bounds: Vec<u64> = runs.flat_map(|run| [run.base, run.end]).collect();
    bounds.sort_unstable();
    bounds.dedup();
    let mut rows: Vec<Row> = Vec::new();
    for pair in bounds.windows(2) {
        let [base, end] = *pair else { continue };
        let cells: Vec<_> = frame.holders.iter().map(|holder| holder.at(base)).collect();
        let is_new = frame.holders.iter().zip(&cells).map(|(holder, cell)| {
            before.is_some_and(|before| {
                let mut holders = before.holders.iter();
                let then = holders.find(|other| other.who == holder.who);
                then.is_some_and(|then| then.at(base) != *cell)
            })
        });
        let is_new: Vec<_> = is_new.collect();
        if cells.iter().all(Option::is_none) && !is_new.contains(&true) {
            continue;
        }
        match rows.last_mut() {
            Some(row) if row.end == base && row.cells == cells && row.is_new == is_new => {
                row.end = end;
            }
            _ => rows.push(Row {
                base,
                end,
                cells,
                is_new,
            }),
        }
    }
    rows
}

/// Returns a size in the largest unit of which there is one.
fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB")];
    let unit = units.into_iter().find(|(shift, _)| bytes >> shift > 0);
    let (shift, name) = unit.unwrap_or((10, "KiB"));
    let whole = bytes >> shift;
    if bytes == whole << shift {
        format!("{whole} {name}")
    } else {
        format!("{:.1} {name}", bytes as f64 / f64::from(1 << shift))
    }
}

fn access(access: &Access) -> String {
    let letter = |permission, letter| {
        if access.permissions.contains(permission) {
            letter
        } else {
            '-'
        }
    };
    let rights: String = [
        letter(Permissions::READ, 'r'),
        letter(Permissions::WRITE, 'w'),
        letter(Permissions::EXECUTE, 'x'),
    ]
    .into_iter()
    .collect();
    match (access.state, access.is_device) {
        (State::OwnerNoAccess, _) => "lent".into(),
        (State::Ceded, _) => "donated".into(),
        (_, true) => format!("{rights} device"),
        (_, false) => rights,
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn style(state: State) -> (&'static str, &'static str) {
    let found = STATES.iter().find(|(other, ..)| *other == state);
    found.map_or(("#ffffff", ""), |(_, colour, name)| (colour, name))
}

/// Draws a frame. What differs from the frame before has a red border. `caption` stands above all.
pub fn draw(frame: &Frame, before: Option<&Frame>, caption: &str, names: &Writer) -> String {
    let all = rows(frame, before);
    let shown = &all[..all.len().min(MOST_ROWS)];
    let gaps = shown.windows(2).filter(|pair| pair[0].end != pair[1].base);
    let rows_height = shown.iter().map(Row::height).sum::<f64>() + GAP * gaps.count() as f64;
    let width = LABELS + COLUMN * frame.holders.len() as f64 + 2.0 * MARGIN;
    let legend_rows = STATES.len().div_ceil(4) as f64;
    let height = HEAD + rows_height + 30.0 + 24.0 * legend_rows + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    let text = |svg: &mut String, x: f64, y: f64, more: &str, words: &str| {
        let words = escaped(words);
        let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\"{more}>{words}</text>");
    };
    text(
        &mut svg,
        MARGIN,
        24.0,
        " font-size=\"16\" font-weight=\"bold\"",
        "Who has which memory",
    );
    text(&mut svg, MARGIN, 44.0, " fill=\"#444\"", caption);
    for (n, holder) in frame.holders.iter().enumerate() {
        let x = MARGIN + LABELS + COLUMN * (n as f64 + 0.5);
        let more = " text-anchor=\"middle\" font-weight=\"bold\" font-size=\"13\"";
        text(&mut svg, x, HEAD - 8.0, more, &names.who(holder.who));
    }
    let mut y = HEAD;
    let mut end = None;
    for row in shown {
        if end.is_some_and(|end| end != row.base) {
            let _ = writeln!(
                svg,
                "<line x1=\"{MARGIN}\" x2=\"{:.0}\" y1=\"{:.1}\" y2=\"{1:.1}\" stroke=\"#888\" \
                 stroke-dasharray=\"2 3\"/>",
                width - MARGIN,
                y + GAP / 2.0
            );
            y += GAP;
        }
        let height = row.height();
        let middle = y + height / 2.0 + 4.0;
        end = Some(row.end);
        let range = format!("{:#014x} – {:#014x}", row.base, row.end - 1);
        text(
            &mut svg,
            MARGIN,
            middle,
            " font-family=\"monospace\"",
            &range,
        );
        let right = " text-anchor=\"end\" fill=\"#444\"";
        text(
            &mut svg,
            MARGIN + LABELS - 10.0,
            middle,
            right,
            &size(row.end - row.base),
        );
        for (n, (cell, is_new)) in row.cells.iter().zip(&row.is_new).enumerate() {
            let x = MARGIN + LABELS + COLUMN * n as f64;
            let colour = cell.map_or("none", |cell| style(cell.state).0);
            let border = if *is_new {
                "#d00000\" stroke-width=\"2.5"
            } else {
                "#bbb"
            };
            let _ = writeln!(
                svg,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\" \
                 stroke=\"{border}\"/>",
                x + 2.0,
                y + 1.0,
                COLUMN - 4.0,
                height - 2.0
            );
            if let Some(cell) = cell {
                let more = " text-anchor=\"middle\" font-family=\"monospace\"";
                text(&mut svg, x + COLUMN / 2.0, middle, more, &access(cell));
            }
        }
        y += height;
    }
    if all.len() > shown.len() {
        let more = format!("and {} ranges more", all.len() - shown.len());
        text(&mut svg, MARGIN, y + 14.0, "", &more);
    }
    let entry = (width - 2.0 * MARGIN) / 4.0;
    for (n, (_, colour, name)) in STATES.iter().enumerate() {
        let x = MARGIN + entry * (n % 4) as f64;
        let y = y + 30.0 + 24.0 * (n / 4) as f64;
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"16\" height=\"14\" fill=\"{colour}\" stroke=\"#bbb\"/>",
            y - 11.0
        );
        text(&mut svg, x + 22.0, y, "", name);
    }
    if before.is_some() {
        text(
            &mut svg,
            width - MARGIN,
            24.0,
            " text-anchor=\"end\" fill=\"#d00000\"",
            "red: changed since the moment before",
        );
    }
    svg += "</svg>\n";
    svg
}
