//! A test of the log at its levels: the SPMC that ships has no lines at `debug` and `trace`, and
//! one that is built for them says what happens.

use std::fs;

use anyhow::{Result, ensure};

use crate::board::QEMU_VIRT;
use crate::build::Extras;
use crate::consoles::Boot;
use crate::image::{Components, assemble};
use crate::layout::Layout;
use crate::qemu::{Machine, Purpose};

const ERROR: u32 = 1;
const DEBUG: u32 = 4;
const TRACE: u32 = 5;

/// Lines of a boot in which the Normal world shares a page, at `debug` and at `trace`.
const DEBUG_LINES: &[&str] = &[
    "[D] spmc: the Normal world may share 0x",
    "[D] spmc: sp1: has 0xe300000..0xe400000 rwx: its package",
    "[D] spmc: sp1: has 0x9040000..0x9041000 rw-, Secure: device-regions/uart1",
    "[D] spmc: sp1: has interrupt 40, priority 0x10",
    "[D] spmc: sp1: is told of its Manifest at 0xe301000",
    "[D] spmc: sp1 vcpu 0: enters at 0xe304000 on PE 0",
    "[D] spmc: sp1 is Running",
    ": Share of 1 pages by 0x0000 to 0x8001",
    ": 0x8001 retrieves it",
    ": 0x8001 relinquishes it",
    ": 0x0000 reclaims it",
];
const TRACE_LINES: &[&str] = &[
    "[T] spmc: sp1 vcpu 0 calls FFA_ID_GET: 84000069 ",
    "[T] spmc: sp1 vcpu 0 gets DENIED: 84000060 0 fffffffa ",
    "[T] spmc: NWd calls FFA_MEM_SHARE_",
    "[T] spmc: NWd gets FFA_SUCCESS_32: 84000061 ",
    "[T] spmc: EL3 calls FFA_MSG_SEND_DIRECT_REQ_32: 8400006f ffff8000 ",
];

/// Texts in the image of such lines.
const TEXTS: &[&str] = &[
    ": its package",
    ": enters at ",
    " retrieves it",
    " binds ",
    "FFA_MEM_PERM_SET_64",
];

/// Boots both images, and looks at their lines and texts.
pub fn check() -> Result<()> {
    let extras = Extras {
        log: true,
        ..Extras::default()
    };
    let verbose = Components::build_with(&QEMU_VIRT, None, extras)?;
    let all: Vec<_> = [DEBUG_LINES, TRACE_LINES].concat();
    shows(&boot(&verbose, "default", TRACE, "share_one_page")?, &all)?;
    let at_debug = boot(&verbose, "pes-16", DEBUG, "")?;
    shows(
        &at_debug,
        &["PE 1 used ", "PE 15 used ", "[D] spmc: PE 15 comes"],
    )?;
    shows_none(&at_debug, &["[T] spmc"])?;
    let texts = fs::read(&verbose.spmc.bin)?;

    let shipped = Components::build()?;
    let at_debug = boot(&shipped, "default", DEBUG, "console_log")?;
    shows(&at_debug, &["log-level: 4 needs an image"])?;
    shows_none(&at_debug, &["[D] spmc"])?;
    let at_error = boot(&shipped, "default", ERROR, "console_log")?;
    shows(&at_error, &["[I] spmc: sp1 vcpu 0: "])?;
    shows_none(&at_error, &["[I] spmc: memory", "[W] spmc"])?;
    let no_texts = fs::read(&shipped.spmc.bin)?;
    for text in TEXTS {
        ensure!(has(&texts, text), "no line has `{text}`");
        ensure!(!has(&no_texts, text), "the image that ships has `{text}`");
    }
    Ok(())
}

fn boot(components: &Components, layout: &str, level: u32, tests: &str) -> Result<Boot> {
    let layout = Layout::find(layout)?;
    let flash = assemble(components, &layout, Some(level))?;
    let mut machine = Machine {
        smp: layout.scenario.smp.first().copied().unwrap_or(4),
        purpose: Purpose::Tests(tests.into()),
        ..Machine::default()
    };
    machine.apply(&layout);
    let boot = machine.boot(&flash, "log-levels")?;
    boot.check()?;
    Ok(boot)
}

fn is_shown(boot: &Boot, text: &str) -> bool {
    boot.log.iter().any(|line| line.text.contains(text))
}

fn shows(boot: &Boot, texts: &[&str]) -> Result<()> {
    let missing: Vec<_> = texts.iter().filter(|text| !is_shown(boot, text)).collect();
    ensure!(missing.is_empty(), "no console shows {missing:?}");
    Ok(())
}

fn shows_none(boot: &Boot, texts: &[&str]) -> Result<()> {
    let shown: Vec<_> = texts.iter().filter(|text| is_shown(boot, text)).collect();
    ensure!(shown.is_empty(), "a console shows {shown:?}");
    Ok(())
}

fn has(image: &[u8], text: &str) -> bool {
    let mut parts = image.windows(text.len());
    parts.any(|part| part == text.as_bytes())
}
