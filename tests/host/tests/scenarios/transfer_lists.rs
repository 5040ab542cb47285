//! Partitions whose packages are transfer lists.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use host_tests::ffa::*;
use host_tests::manifest::{Region, partition_base};
use host_tests::transfer_list::{HOB_LIST, IMAGE, MANIFEST, VOID, hob_list, pack, seal};
use host_tests::{PartitionSpec, Sp, System};
use spmc::addr::World::Secure;

use crate::log_lines::{capture, lines};

/// Asks for contents of boot information in x3.
fn asks(name: &str, contents: &'static [&'static str]) -> PartitionSpec {
    PartitionSpec::new(name).with(|sp| {
        sp.extra = Some(Arc::new(move |fdt| {
            fdt.property_u32("gp-register-num", 3).unwrap();
            fdt.property_null("lifecycle-support").unwrap();
            let node = fdt.begin_node("boot-info").unwrap();
            fdt.property_string("compatible", "arm,ffa-manifest-boot-info")
                .unwrap();
            for content in contents {
                fdt.property_null(content).unwrap();
            }
            fdt.end_node(node).unwrap();
        }));
    })
}

/// Returns what the boot information has: kind, address and bytes of each content.
fn told(sp: &mut Sp) -> Vec<(u8, u64, Vec<u8>)> {
    let mut blob = [0; 96];
    sp.read(Secure, sp.regs[3], &mut blob).unwrap();
    assert_eq!(blob[..4], 0xffa_u32.to_le_bytes());
    let count = usize::from(blob[16]);
    let contents = blob[32..].chunks(32).take(count);
    let places: Vec<_> = contents
        .map(|content| {
            // Standard kinds, whose contents are an address.
            assert_eq!(content[17..20], [0; 3]);
            let size = u32::from_le_bytes(content[20..24].try_into().unwrap());
            let address = u64::from_le_bytes(content[24..].try_into().unwrap());
            (content[16], address, size)
        })
        .collect();
    places
        .into_iter()
        .map(|(kind, address, size)| {
            let mut bytes = vec![0; size as usize];
            sp.read(Secure, address, &mut bytes).unwrap();
            (kind, address, bytes)
        })
        .collect()
}

// A restart reads the package again.
// req: PMAN-27
#[test]
fn a_transfer_list_is_a_package_like_others() {
    let spec = asks("list", &["ffa_manifest"]).property("abort-action", 2);
    let spec = spec.with(|sp| sp.takes_exceptions = false);
    let manifest = spec.manifest();
    let lives = Arc::<AtomicU64>::default();
    let counted = Arc::clone(&lives);
    let system = System::boot([spec.in_transfer_list(None).script(move |sp| {
        let expected = (0, sp.base() + 0x1000, manifest.clone());
        assert_eq!(told(sp), [expected]);
        assert_eq!(sp.peek(Secure, sp.base() + 0x4000), Some(0xd5));
        counted.fetch_add(1, SeqCst);
        sp.serve(|sp, request| {
            if request.0[3] == 1 {
                sp.trap(0);
            }
            request.payload()
        })
    })]);
    let nwd = system.nwd();
    assert_eq!(nwd.ask(0x8001, [7; 5]), [7; 5]);
    assert_eq!(nwd.request(0x8001, [1; 5]).error(), Some(ABORTED));
    assert_eq!(nwd.ask(0x8001, [7; 5]), [7; 5]);
    assert_eq!(lives.load(SeqCst), 2);
}

// req: BOOT-21
#[test]
fn a_hob_list_of_the_package_is_passed_as_it_is() {
    capture();
    for both in [false, true] {
        let wanted: &[&str] = match both {
            true => &["ffa_manifest", "hob_list"],
            false => &["hob_list"],
        };
        // It has no regions of which a list could be made.
        let spec = asks("hobs", wanted);
        let manifest = spec.manifest();
        let base = partition_base(0);
        let list = hob_list(base, base + 0x2000);
        let spec = spec.in_transfer_list(Some(&list));
        let system = System::boot([spec.script(move |sp| {
            let expected = [
                (0, base + 0x1000, manifest.clone()),
                (1, base + 0x2000, list.clone()),
            ];
            assert_eq!(told(sp), expected[usize::from(!both)..]);
            sp.serve(|_, request| request.payload())
        })]);
        assert_eq!(system.nwd().ask(0x8001, [7; 5]), [7; 5]);
    }
    assert_eq!(lines("hobs: HOB list of the package, ").len(), 2);
    assert_eq!(lines("hobs: HOB list of the manifest, ").len(), 0);
}

// req: BOOT-19, PMAN-27
#[test]
fn a_transfer_list_without_a_hob_list_gets_one_that_is_made() {
    let region = |name, base, attributes| Region {
        name,
        base,
        relative: base < 0x100_0000,
        pages: 2,
        attributes,
    };
    let spec = asks("made", &["hob_list"]).with(|sp| {
        sp.regions = vec![
            region("heap", 0x3_0000, 3),
            region("ns_comm_buffer", 0x4810_0000, 0xb),
        ];
    });
    capture();
    let system = System::boot([spec.in_transfer_list(None).script(|sp| {
        let told = told(sp);
        let [(1, address, list)] = &told[..] else {
            panic!("{told:?}");
        };
        assert_eq!((*address, list[0]), (sp.base() + 96, 1));
        assert_eq!(list[list.len() - 8..], [0xff, 0xff, 8, 0, 0, 0, 0, 0]);
        sp.serve(|_, request| request.payload())
    })]);
    assert_eq!(system.nwd().ask(0x8001, [7; 5]), [7; 5]);
    assert_eq!(lines("made: HOB list of the manifest, ").len(), 1);
    assert_eq!(lines("made: HOB list of the package, ").len(), 0);
}

// req: PMAN-28, BOOT-20, BOOT-22, MAN-01
#[test]
fn a_bad_list_costs_its_partition_and_one_line() {
    capture();
    let spec = asks("damaged", &["hob_list"]);
    let manifest = spec.manifest();
    let base = partition_base(0);
    let list = hob_list(base, base + 0x2000);
    let good = spec.clone().in_transfer_list(Some(&list)).package();
    let sealed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut package = good.clone();
        change(&mut package);
        seal(&mut package);
        package
    };
    let mut unsealed = good.clone();
    unsealed[0x1010] ^= 1;
    let image = [1; 0x1000];
    let cases = [
        (unsealed, "transfer list: checksum: "),
        (
            sealed(&|package| package[5] = 0),
            "transfer list: version: ",
        ),
        (
            sealed(&|package| package[10] = 0x11),
            "transfer list: used size: ",
        ),
        (
            sealed(&|package| package[0xffc + 2] = 1),
            "transfer list: entry at 0xff8: size: ",
        ),
        (
            pack(&[(MANIFEST, &manifest), (HOB_LIST, &list)]),
            "transfer list: image: ",
        ),
        (
            pack(&[(IMAGE, &image), (MANIFEST, &manifest)]),
            "transfer list: entry at ",
        ),
        (
            pack(&[(VOID, &[]), (IMAGE, &image)]),
            "transfer list: manifest: ",
        ),
        (
            sealed(&|package| package[0x2000 + 58] = 0xf8),
            "HOB list: length of a block: ",
        ),
        (
            pack(&[(MANIFEST, &manifest), (IMAGE, &image)]),
            "hob_list needs a HOB list in the package, ",
        ),
    ];
    for (n, (package, reason)) in cases.into_iter().enumerate() {
        let name = format!("damaged{n}");
        let mut spec = spec.clone().script(|_| unreachable!("it must not start"));
        spec.name = name.clone();
        spec.package = Some(package);
        let other = PartitionSpec::new("other");
        let system = System::boot([spec, other]);
        let nwd = system.nwd();
        assert_eq!(nwd.ask(0x8002, [5; 5]), [5; 5]);
        assert_eq!(
            nwd.request(0x8001, [0; 5]).error(),
            Some(INVALID_PARAMETERS)
        );
        let told = lines(&format!("{name}: "));
        assert_eq!(told.len(), 1, "{told:?}");
        let expected = format!("{name}: not started: {reason}");
        assert!(told[0].starts_with(&expected), "{told:?}");
    }
}
