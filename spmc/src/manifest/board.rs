//! The facts of a board that the platform needs before anything else: the console and the GIC.
//!
//! They are nodes of the SPMC manifest in the bindings that other device trees use, found by
//! `compatible` below the root or below a bus: `arm,pl011`, `arm,sbsa-uart`, `ns16550a` and
//! `arm,gic-v3` (Devicetree Specification v0.4 2.3 and 4.2; Linux's
//! `Documentation/devicetree/bindings`: serial/pl011.yaml, serial/8250.yaml, arm/secure.txt,
//! interrupt-controller/arm,gic-v3.yaml). The hardware configuration that a boot loader may pass
//! has the same nodes.
//!
//! A bus counts if its `ranges` has no value, which means that addresses below it are those of the
//! CPU. Other buses are not entered.

use core::ops::RangeInclusive;

use arrayvec::ArrayVec;

use super::error::{Found, ManifestError, Parsed, Report, go_on, limit_text};
use super::property::Property;
use super::tree::Node;
use crate::addr::{PAGE_SIZE, Pa, PageRange};
use crate::invariant::Invariant;
use crate::limits::MAX_REDISTRIBUTOR_REGIONS;

/// The facts of a board.
#[derive(Clone, Debug, Default)]
pub struct Board {
    /// The UART that logs go to. A board may have none.
    pub console: Option<Console>,
    /// The interrupt controller. The platform cannot go on without it.
    pub gic: Option<Gic>,
    /// `hypervisor/lends-cpu-interface` (ours): partitions at S-EL1 access the physical GIC CPU
    /// interface. False on hardware, where HCR_EL2.IMO and FMO turn these accesses into accesses to
    /// the virtual CPU interface; true on QEMU, where they do not.
    pub lends_cpu_interface: bool,
}

impl Board {
    /// Returns where registers are, and the names of the devices.
    pub fn ranges(&self) -> impl Iterator<Item = (&'static str, PageRange<Pa>)> {
        let console = self.console.and_then(|console| console.page());
        let gic = self.gic().map(|range| ("arm,gic-v3", range));
        gic.chain(console.map(|page| ("console", page)))
    }

    /// Returns where the registers of the GIC are.
    pub fn gic(&self) -> impl Iterator<Item = PageRange<Pa>> {
        self.gic.iter().flat_map(|gic| {
            let distributor = PageRange::from_bytes(gic.distributor, FRAME);
            distributor
                .into_iter()
                .chain(gic.redistributors.iter().copied())
        })
    }
}

/// A UART.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Console {
    /// The programming interface.
    pub kind: ConsoleKind,
    /// The address of the first register.
    pub base: Pa,
    /// `clock-frequency`. Without it the UART stays as the firmware set it up.
    pub clock_hz: Option<u32>,
    /// `current-speed`, in bits per second.
    pub baud: u32,
}

impl Console {
    /// Returns the page of its registers, which [`read`] found to be one.
    pub fn page(&self) -> Option<PageRange<Pa>> {
        let page = Pa::new(self.base.raw() & !PAGE_SIZE.wrapping_sub(1));
        PageRange::new(page, 1)
    }
}

/// The programming interface of a UART.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConsoleKind {
    /// PL011, with 32-bit registers.
    Pl011,
    /// 16550: `reg-shift`, and whether registers are accessed as 32-bit words (`reg-io-width` 4).
    Ns16550 {
        /// log2 of the distance between registers.
        shift: u8,
        /// Registers are words, not bytes.
        words: bool,
    },
}

/// A GIC of version 3 or 4.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gic {
    /// The address of the distributor's registers, of 64 KiB.
    pub distributor: Pa,
    /// Regions of redistributors, at least one.
    pub redistributors: ArrayVec<PageRange<Pa>, MAX_REDISTRIBUTOR_REGIONS>,
    /// `redistributor-stride`: the distance between the redistributors of two PEs, where
    /// GICR_TYPER does not say it.
    pub stride: Option<u64>,
}

/// The speed of a UART whose node does not state one.
const DEFAULT_BAUD: u32 = 115_200;

/// Bytes of a frame of GIC registers (GICv3 architecture specification 12.8 and 12.10).
const FRAME: u64 = 0x1_0000;

/// Frames of one redistributor without virtual LPIs: RD_base and SGI_base.
const REDISTRIBUTOR: u64 = 2 * FRAME;

/// `#address-cells` and `#size-cells`, with the defaults of the Devicetree Specification.
#[derive(Clone, Copy)]
pub(super) struct CellCounts {
    pub address: usize,
    pub size: usize,
}

impl CellCounts {
    /// The values of a node that states none.
    pub const DEFAULT: Self = Self {
        address: 2,
        size: 1,
    };

    /// Takes over a property of the node, if it is one of the two.
    fn set(&mut self, property: &Property) {
        let count = match property.name {
            "#address-cells" => &mut self.address,
            "#size-cells" => &mut self.size,
            _ => return,
        };
        if let Some(value) = property.value.as_array() {
            *count = u32::from_be_bytes(*value) as usize;
        }
    }

    /// Returns whether an address and a size are numbers of 64 bits. Those on a PCI bus are not.
    fn are_readable(&self) -> bool {
        (1..=2).contains(&self.address) && (1..=2).contains(&self.size)
    }
}

/// The tree that a node is from, which decides which UARTs are the SPMC's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tree {
    /// The SPMC manifest: each UART that is not disabled.
    Manifest,
    /// The hardware configuration, which describes all of the board: the UARTs that the Secure
    /// world has alone.
    Hardware,
}

/// Reads the board from the hardware configuration, as far as `board` lacks it.
///
/// Errors: not a device tree; a wrong value in a node that `board` lacks; no GIC.
#[inline(never)]
pub fn complete(board: &mut Board, dtb: &[u8]) -> Result<(), ManifestError> {
    let report = Report::new();
    go_on(walk(dtb, &report, board));
    report.verdict()?;
    board.gic.as_ref().map(|_| ()).ok_or_else(missing_gic)
}

#[inline(never)]
fn walk<'a>(dtb: &'a [u8], report: &'a Report<'a>, board: &mut Board) -> Parsed<()> {
    let root = Node::root(dtb, report)?;
    let mut cells = CellCounts::DEFAULT;
    for property in root.properties() {
        cells.set(&property);
    }
    for node in root.children() {
        read(&node, cells, Tree::Hardware, board);
    }
    Ok(())
}

/// Returns the error for a board of which no tree describes the GIC.
#[cold]
pub fn missing_gic() -> ManifestError {
    ManifestError::new(
        "/",
        "interrupt-controller",
        "a node with \"arm,gic-v3\" and redistributors",
        Found::Nothing,
    )
}

/// Reads a child of the root, and the children of a bus, into what `board` lacks.
#[inline(never)]
pub(super) fn read(node: &Node, cells: CellCounts, tree: Tree, board: &mut Board) {
    if let Some(cells) = read_device(node, cells, tree, board) {
        for child in node.children() {
            read_device(&child, cells, tree, board);
        }
    }
}

/// The properties of a device that are read, by the numbers of [`Key`].
const NAMES: [&str; 11] = [
    "compatible",
    "reg",
    "status",
    "secure-status",
    "clock-frequency",
    "current-speed",
    "reg-shift",
    "reg-io-width",
    "reg-offset",
    "#redistributor-regions",
    "redistributor-stride",
];

/// A property of a device.
#[derive(Clone, Copy)]
enum Key {
    Compatible,
    Reg,
    Status,
    SecureStatus,
    Clock,
    Speed,
    Shift,
    Width,
    Offset,
    Regions,
    Stride,
}

/// The properties of a node that may be a device. They are judged only if it is one.
struct Device<'n, 'a>([Option<Property<'n, 'a>>; NAMES.len()]);

/// Reads one node. Returns the cell counts for its children if it is a bus without translation.
#[inline(never)]
fn read_device(
    node: &Node,
    cells: CellCounts,
    tree: Tree,
    board: &mut Board,
) -> Option<CellCounts> {
    let mut device = Device([None; _]);
    let mut below = CellCounts::DEFAULT;
    let mut bus = false;
    for property in node.properties() {
        let mut places = NAMES.iter().zip(&mut device.0);
        match places.find(|(name, _)| **name == property.name) {
            Some((_, place)) => *place = Some(property),
            None if property.name == "ranges" => bus = property.value.is_empty(),
            None => below.set(&property),
        }
    }
    let [gic, pl011, sbsa, ns16550] = [
        &b"arm,gic-v3"[..],
        b"arm,pl011",
        b"arm,sbsa-uart",
        b"ns16550a",
    ]
    .map(|compatible| device.has(Key::Compatible, compatible));
    if gic {
        if board.gic.is_none() && device.has_redistributors(cells) {
            board.gic = device.gic(node, cells).ok();
        }
    } else if pl011 || sbsa || ns16550 {
        if board.console.is_none() && device.is_for_the_spmc(tree) {
            board.console = device.console(node, cells, ns16550).ok();
        }
    } else {
        return bus.then_some(below);
    }
    None
}

impl<'n, 'a> Device<'n, 'a> {
    fn get(&self, key: Key) -> Option<Property<'n, 'a>> {
        *self.0.get(key as usize)?
    }

    #[inline(never)]
    fn has(&self, key: Key, wanted: &[u8]) -> bool {
        let property = self.get(key);
        property.is_some_and(|property| property.has_string(wanted))
    }

    /// Returns whether the device is there for the SPMC. `secure-status` says it for the Secure
    /// world, and is `status` where it is absent (arm/secure.txt).
    fn is_for_the_spmc(&self, tree: Tree) -> bool {
        let is_okay = |key| {
            let okay = self.has(key, b"okay") || self.has(key, b"ok");
            self.get(key).map(|_| okay)
        };
        let normal = is_okay(Key::Status);
        let secure = is_okay(Key::SecureStatus);
        match tree {
            Tree::Manifest => secure.or(normal).unwrap_or(true),
            Tree::Hardware => secure == Some(true) && normal == Some(false),
        }
    }

    /// Reads a UART. `reg-offset`, `reg-shift` and `reg-io-width` are those of serial/8250.yaml.
    #[inline(never)]
    fn console(&self, node: &Node, cells: CellCounts, is_16550: bool) -> Parsed<Console> {
        let reg = self.reg(node)?;
        let (mut base, _) = entry(&reg, cells, 0)?;
        let mut kind = ConsoleKind::Pl011;
        let mut alignment = 4;
        if is_16550 {
            let shift = self.number(Key::Shift, 0, 0..=8, "at most 8")?;
            let width = self.number(Key::Width, 1, 1..=4, WIDTHS)?;
            if let (Some(property), 2 | 3) = (self.get(Key::Width), width) {
                return Err(property.error(WIDTHS, Found::Number(width.into())));
            }
            base = base.saturating_add(self.number(Key::Offset, 0, 0..=u32::MAX, "")?.into());
            alignment = width.into();
            kind = ConsoleKind::Ns16550 {
                shift: shift as u8,
                words: width == 4,
            };
        }
        let clock = self.number(Key::Clock, 0, 1..=u32::MAX, "at least 1")?;
        let console = Console {
            kind,
            base: Pa::new(base),
            clock_hz: Some(clock).filter(|clock| *clock != 0),
            baud: self.number(Key::Speed, DEFAULT_BAUD, 1..=u32::MAX, "at least 1")?,
        };
        if !base.is_multiple_of(alignment) || console.page().is_none() {
            let expected = "an aligned address within 48 bits";
            return Err(reg.error(expected, Found::Number(base)));
        }
        Ok(console)
    }

    /// Returns whether `reg` has more than the distributor. Some manifests name that alone, for
    /// other readers.
    fn has_redistributors(&self, cells: CellCounts) -> bool {
        let entry = cells.address.saturating_add(cells.size).saturating_mul(4);
        self.get(Key::Reg).is_none_or(|reg| reg.value.len() > entry)
    }

    /// Reads the GIC: `reg` is the distributor, and then as many regions of redistributors as
    /// `#redistributor-regions` says. What follows is the CPU interface of GICv2.
    #[inline(never)]
    fn gic(&self, node: &Node, cells: CellCounts) -> Parsed<Gic> {
        const MAX: u32 = MAX_REDISTRIBUTOR_REGIONS as u32;
        let reg = self.reg(node)?;
        let frames = |n, least| {
            let (base, size) = entry(&reg, cells, n)?;
            PageRange::from_bytes(Pa::new(base), size)
                .filter(|_| base.is_multiple_of(FRAME) && size >= least)
                .ok_or_else(|| {
                    let expected = "frames of 64 KiB";
                    reg.error(expected, Found::Number(base))
                })
        };
        let expected = limit_text!("1 to ", MAX_REDISTRIBUTOR_REGIONS, "");
        let regions = self.number(Key::Regions, 1, 1..=MAX, expected)?;
        // The binding also permits 0: GICR_TYPER says it.
        let stride = self
            .get(Key::Stride)
            .map_or(Ok(0), |property| property.u64())?;
        if let Some(property) = self.get(Key::Stride)
            && (!stride.is_multiple_of(FRAME) || (1..REDISTRIBUTOR).contains(&stride))
        {
            let expected = "a multiple of 64 KiB from 128 KiB on";
            return Err(property.error(expected, Found::Number(stride)));
        }
        let distributor = frames(0, FRAME)?;
        let mut redistributors = ArrayVec::<PageRange<Pa>, MAX_REDISTRIBUTOR_REGIONS>::new();
        for n in 1..=regions as usize {
            let region = frames(n, REDISTRIBUTOR)?;
            let mut others = redistributors.iter().chain(Some(&distributor));
            if let Some(other) = others.find(|other| other.overlaps(&region)) {
                let found = Found::Overlap(region, other.base());
                return Err(reg.error("ranges of their own", found));
            }
            Invariant::Capacity.expect(redistributors.try_push(region).is_ok());
        }
        Ok(Gic {
            distributor: distributor.base(),
            redistributors,
            stride: Some(stride).filter(|stride| *stride != 0),
        })
    }

    fn reg(&self, node: &Node) -> Parsed<Property<'n, 'a>> {
        self.get(Key::Reg)
            .ok_or_else(|| node.missing("reg", "an address and a size"))
    }

    /// Returns the value of a property of one cell, or `default` if it is absent.
    #[inline(never)]
    fn number(
        &self,
        key: Key,
        default: u32,
        range: RangeInclusive<u32>,
        expected: &'static str,
    ) -> Parsed<u32> {
        let Some(property) = self.get(key) else {
            return Ok(default);
        };
        let value = property.u32()?;
        if !range.contains(&value) {
            return Err(property.error(expected, Found::Number(value.into())));
        }
        Ok(value)
    }
}

/// The values of `reg-io-width` that are supported.
const WIDTHS: &str = "1 or 4";

/// Returns entry `n` of a `reg`: an address and a size.
fn entry(reg: &Property, cells: CellCounts, n: usize) -> Parsed<(u64, u64)> {
    let number = |cells: &[[u8; 4]]| {
        let cells = cells
            .iter()
            .map(|cell| u64::from(u32::from_be_bytes(*cell)));
        cells.fold(0, |number, cell| number << 32 | cell)
    };
    let (words, rest) = reg.value.as_chunks::<4>();
    let length = cells.address.saturating_add(cells.size);
    let start = length.saturating_mul(n);
    let entry = words.get(start..start.saturating_add(length));
    match entry.map(|entry| entry.split_at(cells.address)) {
        Some((address, size)) if cells.are_readable() && rest.is_empty() => {
            Ok((number(address), number(size)))
        }
        _ => {
            let expected = "ranges of #address-cells and #size-cells";
            Err(reg.error(expected, Found::Bytes(reg.value.len())))
        }
    }
}
