//! The console and the GIC, in the SPMC manifest and in the hardware configuration.

use spmc::addr::Pa;
use spmc::limits::MAX_REDISTRIBUTOR_REGIONS;
use spmc::manifest::board::{self, Board, Console, ConsoleKind};
use spmc::manifest::{spmc_manifest, validate};

use crate::tree::{Node, range, spmc_manifest};

const GIC: &str = "interrupt-controller@8000000";
const UART: &str = "serial@9040000";

fn uart(compatible: &str) -> Node {
    Node::new(UART)
        .string("compatible", compatible)
        .cells("reg", &[0, 0x0904_0000, 0, 0x1000])
}

fn gic() -> Node {
    let reg = [0, 0x0800_0000, 0, 0x1_0000, 0, 0x080a_0000, 0, 0x10_0000];
    Node::new(GIC)
        .string("compatible", "arm,gic-v3")
        .cells("reg", &reg)
}

/// Returns an SPMC manifest with a PL011 and a GIC.
fn with_board(change: impl FnOnce(&mut Node)) -> Node {
    let mut tree = spmc_manifest().child(uart("arm,pl011")).child(gic());
    change(&mut tree);
    tree
}

#[track_caller]
fn found(change: impl FnOnce(&mut Node)) -> Board {
    let mut board = Board::default();
    let dtb = with_board(change).to_dtb();
    spmc_manifest::parse_with(&dtb, &mut board).unwrap();
    board
}

/// Checks that the manifest is refused with `line`. Returns what is known of the board anyway.
#[track_caller]
fn refused(change: impl FnOnce(&mut Node), line: &str) -> Board {
    let mut board = Board::default();
    let dtb = with_board(change).to_dtb();
    let error = spmc_manifest::parse_with(&dtb, &mut board).unwrap_err();
    assert_eq!(error.to_string(), line);
    board
}

#[test]
fn a_manifest_without_these_nodes_says_nothing() {
    let mut board = Board::default();
    spmc_manifest::parse_with(&spmc_manifest().to_dtb(), &mut board).unwrap();
    assert!(board.console.is_none() && board.gic.is_none() && !board.lends_cpu_interface);
}

#[test]
fn a_pl011_and_a_gic() {
    let board = found(|tree| tree.put("hypervisor", "lends-cpu-interface", &[]));
    let console = Console {
        kind: ConsoleKind::Pl011,
        base: Pa::new(0x0904_0000),
        clock_hz: None,
        baud: 115_200,
    };
    assert_eq!(board.console, Some(console));
    let gic = board.gic.unwrap();
    assert_eq!(gic.distributor, Pa::new(0x0800_0000));
    assert_eq!(gic.redistributors.as_slice(), [range(0x080a_0000, 0x100)]);
    assert_eq!(gic.stride, None);
    assert!(board.lends_cpu_interface);
}

#[test]
fn a_16550_with_every_property() {
    let board = found(|tree| {
        tree.put_string(UART, "compatible", "ns16550a");
        tree.put(UART, "reg-shift", &[2]);
        tree.put(UART, "reg-io-width", &[4]);
        tree.put(UART, "reg-offset", &[0x40]);
        tree.put(UART, "clock-frequency", &[1_843_200]);
        tree.put(UART, "current-speed", &[9_600]);
    });
    let console = Console {
        kind: ConsoleKind::Ns16550 {
            shift: 2,
            words: true,
        },
        base: Pa::new(0x0904_0040),
        clock_hz: Some(1_843_200),
        baud: 9_600,
    };
    assert_eq!(board.console, Some(console));
    let bytes = found(|tree| {
        tree.put_string(UART, "compatible", "ns16550a");
        tree.put(UART, "reg", &[0, 0x0904_03f9, 0, 8]);
    });
    let console = bytes.console.unwrap();
    assert_eq!(console.base, Pa::new(0x0904_03f9));
    let kind = ConsoleKind::Ns16550 {
        shift: 0,
        words: false,
    };
    assert_eq!(console.kind, kind);
    assert_eq!(console.page(), Some(range(0x0904_0000, 1)));
}

#[test]
fn the_first_uart_that_is_not_disabled_counts() {
    let disabled = found(|tree| tree.put_string(UART, "status", "disabled"));
    assert!(disabled.console.is_none());
    let secure = found(|tree| {
        tree.put_string(UART, "status", "disabled");
        tree.put_string(UART, "secure-status", "okay");
    });
    assert!(secure.console.is_some());
    let not_secure = found(|tree| tree.put_string(UART, "secure-status", "disabled"));
    assert!(not_secure.console.is_none());
    let second = found(|tree| {
        tree.put_string(UART, "status", "disabled");
        tree.put_string("uart2", "compatible", "arm,sbsa-uart");
        tree.put("uart2", "reg", &[0, 0x1000, 0, 0x1000]);
        tree.put_string("uart3", "compatible", "arm,pl011");
        tree.put("uart3", "reg", &[0, 0x2000, 0, 0x1000]);
    });
    assert_eq!(second.console.unwrap().base, Pa::new(0x1000));
}

#[test]
fn several_regions_of_redistributors_and_a_stride() {
    let board = found(|tree| {
        let reg = [
            0,
            0x0800_0000,
            0,
            0x1_0000, // distributor
            0x80,
            0x1000_0000,
            0,
            0x80_0000, // redistributors of chip 0
            0x88,
            0x1000_0000,
            0,
            0x80_0000, // of chip 1
            0,
            0x2c00_0000,
            0,
            0x2000, // GICC, which is not read
        ];
        tree.put(GIC, "reg", &reg);
        tree.put(GIC, "#redistributor-regions", &[2]);
        tree.put(GIC, "redistributor-stride", &[0, 0x4_0000]);
    });
    let gic = board.gic.unwrap();
    let regions = [range(0x80_1000_0000, 0x800), range(0x88_1000_0000, 0x800)];
    assert_eq!(gic.redistributors.as_slice(), regions);
    assert_eq!(gic.stride, Some(0x4_0000));
    let automatic = found(|tree| tree.put(GIC, "redistributor-stride", &[0]));
    assert_eq!(automatic.gic.unwrap().stride, None);
}

#[test]
fn devices_below_a_bus_without_translation_are_found() {
    let bus = |ranges: &[u32]| {
        let child = Node::new("serial@0")
            .string("compatible", "ns16550a")
            .cells("reg", &[0x1234_0000, 0x100]);
        Node::new("soc")
            .string("compatible", "simple-bus")
            .cells("#address-cells", &[1])
            .cells("#size-cells", &[1])
            .cells("ranges", ranges)
            .child(child)
    };
    let read = |bus: Node| {
        let tree = spmc_manifest().child(bus);
        let mut board = Board::default();
        spmc_manifest::parse_with(&tree.to_dtb(), &mut board).unwrap();
        board.console.map(|console| console.base.raw())
    };
    assert_eq!(read(bus(&[])), Some(0x1234_0000));
    assert_eq!(read(bus(&[0, 0x1000_0000, 0x1000_0000])), None);
}

#[test]
fn wrong_values_are_refused() {
    let uart = |name: &'static str, cells: &'static [u32]| {
        move |tree: &mut Node| {
            tree.put_string(UART, "compatible", "ns16550a");
            tree.put(UART, name, cells);
        }
    };
    let place = "/serial@9040000: ";
    for (name, cells, text) in [
        ("reg-shift", &[9][..], "expected at most 8, found 0x9"),
        ("reg-io-width", &[2], "expected 1 or 4, found 0x2"),
        ("reg-io-width", &[8], "expected 1 or 4, found 0x8"),
        ("clock-frequency", &[0], "expected at least 1, found 0x0"),
        ("current-speed", &[0], "expected at least 1, found 0x0"),
        (
            "reg",
            &[1, 2],
            "expected ranges of #address-cells and #size-cells, found 8 bytes",
        ),
        (
            "reg",
            &[0x1_0000, 0, 0, 0x1000],
            "expected an aligned address within 48 bits, found 0x1000000000000",
        ),
    ] {
        let board = refused(uart(name, cells), &format!("{place}{name}: {text}"));
        assert!(board.console.is_none() && board.gic.is_some());
    }
    refused(
        |tree| tree.remove(UART, "reg"),
        "/serial@9040000: reg: expected an address and a size, found nothing",
    );
    refused(
        |tree| tree.put(UART, "reg", &[0, 0x0904_0002, 0, 0x1000]),
        "/serial@9040000: reg: expected an aligned address within 48 bits, found 0x9040002",
    );
    let most = MAX_REDISTRIBUTOR_REGIONS;
    let place = "/interrupt-controller@8000000: ";
    for (name, cells, text) in [
        (
            "reg",
            &[0, 0x0800_1000, 0, 0x1_0000, 0, 0x080a_0000, 0, 0x10_0000][..],
            "expected frames of 64 KiB, found 0x8001000".into(),
        ),
        (
            "reg",
            &[0, 0x0800_0000, 0, 0x1_0000, 0, 0x080a_0000, 0, 0x1_0000],
            "expected frames of 64 KiB, found 0x80a0000".into(),
        ),
        (
            "reg",
            &[0, 0x0800_0000, 0, 0x1_0000, 0],
            "expected ranges of #address-cells and #size-cells, found 20 bytes".into(),
        ),
        (
            "reg",
            &[0, 0x0800_0000, 0, 0x10_0000, 0, 0x0800_0000, 0, 0x10_0000],
            "expected ranges of their own, found 0x8000000..0x8100000, \
             which overlaps the one at 0x8000000"
                .into(),
        ),
        (
            "#redistributor-regions",
            &[0],
            format!("expected 1 to {most}, found 0x0"),
        ),
        (
            "#redistributor-regions",
            &[9],
            format!("expected 1 to {most}, found 0x9"),
        ),
        (
            "redistributor-stride",
            &[0, 0x1_0000],
            "expected a multiple of 64 KiB from 128 KiB on, found 0x10000".into(),
        ),
    ] {
        let change = |tree: &mut Node| tree.put(GIC, name, cells);
        let board = refused(change, &format!("{place}{name}: {text}"));
        assert!(board.gic.is_none() && board.console.is_some());
    }
}

#[test]
fn a_gic_without_redistributors_is_for_other_readers() {
    let board = found(|tree| tree.put(GIC, "reg", &[0, 0x0800_0000, 0, 0x1_0000]));
    assert!(board.gic.is_none());
}

#[test]
fn registers_are_in_no_memory() {
    for (node, reg, line) in [
        (
            UART,
            &[0, 0x4000_0000, 0, 0x1000][..],
            "/: console: expected registers outside of memory, found 0x40000000..0x40001000, \
             which overlaps the one at 0x40000000",
        ),
        (
            GIC,
            &[0, 0x0800_0000, 0, 0x1_0000, 0, 0x3ff0_0000, 0, 0x20_0000],
            "/: arm,gic-v3: expected registers outside of memory, \
             found 0x3ff00000..0x40100000, which overlaps the one at 0x40000000",
        ),
    ] {
        let dtb = with_board(|tree| tree.put(node, "reg", reg)).to_dtb();
        let manifest = spmc_manifest::parse(&dtb).unwrap();
        let image = range(0x0610_0000, 0x80);
        for refused in [
            validate::board(&manifest),
            validate::spmc(&manifest, &image),
        ] {
            assert_eq!(refused.unwrap_err().to_string(), line);
        }
    }
}

#[test]
fn the_console_of_a_refused_manifest_is_known() {
    let board = refused(
        |tree| tree.remove_node("attribute"),
        "/: attribute: expected a node, found nothing",
    );
    assert!(board.console.is_some() && board.gic.is_some());
}

/// A hardware configuration: the Normal world's UART, the one of the Secure world, and a PCI bus,
/// whose addresses have three cells.
fn hardware() -> Node {
    let pci = Node::new("pcie@10000000")
        .cells("#address-cells", &[3])
        .cells("#size-cells", &[2])
        .cells("ranges", &[])
        .child(Node::new("nic").cells("reg", &[0, 0, 0, 0, 0]));
    let normal = Node::new("serial@9000000")
        .string("compatible", "arm,pl011")
        .cells("reg", &[0, 0x0900_0000, 0, 0x1000]);
    Node::new("")
        .cells("#address-cells", &[2])
        .cells("#size-cells", &[2])
        .child(pci)
        .child(normal)
        .child(
            uart("arm,pl011")
                .string("status", "disabled")
                .string("secure-status", "okay"),
        )
        .child(gic())
}

#[test]
fn the_hardware_configuration_completes_a_board() {
    let mut board = Board::default();
    board::complete(&mut board, &hardware().to_dtb()).unwrap();
    assert_eq!(board.console.unwrap().base, Pa::new(0x0904_0000));
    assert!(board.gic.is_some());

    let mut known = Board {
        console: Some(Console {
            kind: ConsoleKind::Pl011,
            base: Pa::new(0x1000),
            clock_hz: None,
            baud: 1,
        }),
        ..Board::default()
    };
    board::complete(&mut known, &hardware().to_dtb()).unwrap();
    assert_eq!(known.console.unwrap().base, Pa::new(0x1000));
}

#[test]
fn a_hardware_configuration_without_a_gic_is_an_error() {
    let mut tree = hardware();
    tree.remove_node(GIC);
    let mut board = Board::default();
    let error = board::complete(&mut board, &tree.to_dtb()).unwrap_err();
    let line = "/: interrupt-controller: expected a node with \"arm,gic-v3\" and redistributors, \
                found nothing";
    assert_eq!(error.to_string(), line);
    assert_eq!(board::missing_gic().to_string(), line);
    assert!(board.console.is_some(), "so that the error can be seen");
    assert!(board::complete(&mut board, &[0; 40]).is_err());
}
