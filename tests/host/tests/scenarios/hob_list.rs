//! HOB lists: what a partition that asks for one finds, and who is refused.

use std::sync::Arc;

use host_tests::ffa::*;
use host_tests::machine::NORMAL_RAM;
use host_tests::manifest::{PARTITION_SIZE, Region, partition_base};
use host_tests::{PartitionSpec, System};
use spmc::addr::World::Secure;

const HEAP: u64 = 0x3_0000;
const BUFFER: u64 = NORMAL_RAM.start + 0x10_0000;

fn region(name: &'static str, base: u64, pages: u32, attributes: u32) -> Region {
    Region {
        name,
        base,
        relative: base < 0x100_0000,
        pages,
        attributes,
    }
}

/// Asks for a HOB list in x2, and for the manifest too if `both`.
fn asks(both: bool) -> PartitionSpec {
    asks_in(Some(2), both)
}

/// Asks for it in another register, or without saying where.
fn asks_in(register: Option<u32>, both: bool) -> PartitionSpec {
    PartitionSpec::new("mm").with(|sp| {
        sp.regions = vec![
            region("heap", HEAP, 4, 3),
            region("uart_log", 0x2_0000, 1, 3),
            region("ns_comm_buffer", BUFFER, 2, 0xb),
        ];
        sp.extra = Some(Arc::new(move |fdt| {
            if let Some(register) = register {
                fdt.property_u32("gp-register-num", register).unwrap();
            }
            let node = fdt.begin_node("boot-info").unwrap();
            fdt.property_string("compatible", "arm,ffa-manifest-boot-info")
                .unwrap();
            if both {
                fdt.property_null("ffa_manifest").unwrap();
            }
            fdt.property_null("hob_list").unwrap();
            fdt.end_node(node).unwrap();
        }));
    })
}

fn words(bytes: &[u8]) -> Vec<u64> {
    let chunks = bytes.chunks_exact(8);
    chunks
        .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
        .collect()
}

// req: BOOT-19
#[test]
fn a_list_tells_where_image_heap_and_buffer_are() {
    for both in [false, true] {
        let system = System::boot([asks(both).script(move |sp| {
            let base = sp.base();
            assert_eq!(sp.regs[2], base);
            let mut blob = [0; 96];
            sp.read(Secure, base, &mut blob).unwrap();
            let count = if both { 2 } else { 1 };
            assert_eq!(blob[16..20], [count, 0, 0, 0]);
            let last = &blob[32 * usize::from(count)..][..32];
            assert_eq!(last[16..20], [1, 0, 0, 0], "a HOB list by its address");
            let size = u32::from_le_bytes(last[20..24].try_into().unwrap());
            let address = u64::from_le_bytes(last[24..].try_into().unwrap());
            let mut list = vec![0; size as usize];
            sp.read(Secure, address, &mut list).unwrap();
            let end = address + u64::from(size);
            let (image, memory) = (0x4000, PARTITION_SIZE);
            let list = words(&list);
            // Hand-off information, and the volume.
            assert_eq!(list[..3], [56 << 16 | 1, 10, base + memory]);
            assert_eq!(list[3..7], [base, base + 0x1000, end, end - 8]);
            assert_eq!(list[7..9], [24 << 16 | 5, base + image]);
            let length = list[9];
            let image_end = (image + length).next_multiple_of(0x1000);
            // The buffer, behind its GUID as EFI has it in memory.
            assert_eq!(list[10], 56 << 16 | 4);
            let guid: Vec<u8> = list[11..13].iter().flat_map(|x| x.to_le_bytes()).collect();
            let expected = [
                0xe3, 0x97, 0x04, 0xf0, 0xa2, 0xbf, 0xa1, 0x41, 0x9d, 0x29, 0x54, 0xc2, 0xe9, 0x37,
                0x21, 0xc5,
            ];
            assert_eq!(guid, expected);
            let buffer = [BUFFER, BUFFER, 0x2000, 0x18];
            assert_eq!(list[13..17], buffer);
            // All memory.
            assert_eq!(list[17], (32 + 5 * 32) << 16 | 4);
            let guid: Vec<u8> = list[18..20].iter().flat_map(|x| x.to_le_bytes()).collect();
            let expected = [
                0x12, 0xf9, 0x03, 0x07, 0x8d, 0xbf, 0x2a, 0x4e, 0xbe, 0x07, 0xab, 0x27, 0x25, 0x25,
                0xc5, 0x92,
            ];
            assert_eq!(guid, expected);
            assert_eq!(list[20], 5);
            assert_eq!(list[21..25], [base, base, image_end, 0x18]);
            assert_eq!(list[25..29], [base, base, 0, 0x18]);
            assert_eq!(list[29..33], buffer);
            assert_eq!(list[33..37], [base + HEAP, base + HEAP, 0x4000, 8]);
            let log = base + 0x2_0000;
            assert_eq!(list[37..41], [log, log, 0x1000, 0x18]);
            assert_eq!(list[41..], [8 << 16 | 0xffff]);
            sp.serve(|_, _| [0; 5])
        })]);
        assert_eq!(system.nwd().ask(0x8001, [0; 5]), [0; 5]);
        assert_eq!(partition_base(0) % 0x1000, 0);
    }
}

// req: BOOT-20
#[test]
fn who_can_get_no_list_is_refused() {
    let without =
        |name: &'static str| asks(true).with(|sp| sp.regions.retain(|region| region.name != name));
    for spec in [
        without("heap"),
        without("ns_comm_buffer"),
        asks(true).version(0),
        asks_in(None, false),
        asks_in(None, true),
    ] {
        let system = System::boot([spec, PartitionSpec::new("other")]);
        let nwd = system.nwd();
        assert_eq!(
            nwd.request(0x8001, [0; 5]).error(),
            Some(INVALID_PARAMETERS)
        );
        nwd.map_buffers();
        assert_eq!(nwd.call([PARTITION_INFO_GET]).success()[0], 1);
    }
}
