//! RX/TX pairs that a Hypervisor registers for its VMs, and their owners (FF-A v1.0 tables 8.17 to
//! 8.19, v1.1).

use host_tests::ffa::*;
use host_tests::manifest::partition_base;
use host_tests::system::{NWD_PAGES, NWD_RX, NWD_TX};
use host_tests::{Nwd, PartitionSpec, Sp, System};

use super::indirect::{Message, code, partition, send_to, tell};

/// Returns one page as a range.
fn range(base: u64) -> Vec<u8> {
    [base, 1].map(u64::to_le_bytes).concat()
}

/// Returns the descriptor by which a Hypervisor registers buffers of a VM, one page each.
fn vm_buffers(version: u64, id: u16, rx: u64, tx: u64) -> Vec<u8> {
    let mut bytes = u32::from(id).to_le_bytes().to_vec();
    if version == V1_0 {
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(range(rx));
        bytes.extend(range(tx));
        return bytes;
    }
    bytes.extend(16_u32.to_le_bytes());
    bytes.extend(48_u32.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend([rx, tx].map(list).concat());
    bytes
}

/// Returns one page as a list of ranges.
fn list(base: u64) -> Vec<u8> {
    [
        &1_u32.to_le_bytes()[..],
        &1_u32.to_le_bytes(),
        &[0; 8],
        &range(base),
    ]
    .concat()
}

const VM_RX: u64 = NWD_PAGES;
const VM_TX: u64 = NWD_PAGES + 0x1000;

fn map_vm(nwd: &Nwd<'_>, id: u16) -> Option<i32> {
    nwd.write(NWD_TX, &vm_buffers(V1_2, id, VM_RX, VM_TX));
    nwd.call([RXTX_MAP_64]).error()
}

// req: RXTX-23, NTF-03
#[test]
fn the_manifest_says_how_many_vms_there_can_be() {
    for (said, most) in [(None, 8), (Some(20), 20), (Some(1), 1), (Some(0), 0)] {
        let builder = System::builder();
        let system = match said {
            Some(vms) => builder.setting("vms", vms).boot(),
            None => builder.boot(),
        };
        let nwd = system.nwd();
        nwd.version(V1_2);
        nwd.map_buffers();
        for n in 1..=most {
            let buffers = VM_RX + u64::from(n) * 0x2000;
            nwd.write(NWD_TX, &vm_buffers(V1_2, n, buffers, buffers + 0x1000));
            nwd.call([RXTX_MAP_64]).success();
            nwd.call([NOTIFICATION_BITMAP_CREATE, n.into(), 1])
                .success();
        }
        let one_more = u64::from(most) + 1;
        nwd.refused([NOTIFICATION_BITMAP_CREATE, one_more, 1], NO_MEMORY);
        assert_eq!(map_vm(&nwd, most + 1), Some(NO_MEMORY), "{said:?}");
    }
}

// req: RXTX-06, RXTX-23, RXTX-26, RXTX-29, VMB-01, VMB-04, VMB-05, VMB-07, VMB-08
#[test]
fn a_hypervisor_registers_buffers_of_its_vms() {
    for version in [V1_0, V1_1, V1_2] {
        let system = System::boot([]);
        let nwd = system.nwd();
        nwd.version(version);
        nwd.refused([RXTX_MAP_64], INVALID_PARAMETERS);
        nwd.map_buffers();
        let before = system.snapshot();
        nwd.write(NWD_TX, &vm_buffers(version, 3, VM_RX, VM_TX));
        assert_eq!(nwd.call([RXTX_MAP_32]).success(), [0; 6]);
        nwd.refused([RXTX_MAP_64], DENIED);
        // The pages are buffers now, and can be neither other buffers nor in a transaction.
        nwd.write(NWD_TX, &vm_buffers(version, 4, VM_RX, VM_TX));
        nwd.refused([RXTX_MAP_64], DENIED);
        let share = Transaction::share(0, 0x8001, RW, &[(VM_RX, 1)]);
        assert!(
            nwd.memory_call(MEM_SHARE_64, &share.encode(Layout::of(version)))
                .error()
                .is_some()
        );
        nwd.refused([RXTX_UNMAP, 4 << 16], INVALID_PARAMETERS);
        nwd.refused([RX_RELEASE, 3], DENIED);
        assert_eq!(nwd.call([RXTX_UNMAP, 3 << 16]).success(), [0; 6]);
        nwd.refused([RXTX_UNMAP, 3 << 16], INVALID_PARAMETERS);
        assert_eq!(before, system.snapshot(), "everything is as before");
    }
}

// req: RXTX-19, RXTX-20, RXTX-22, RXTX-23, VMB-03, VMB-04, VMB-06
#[test]
fn buffers_that_no_vm_can_have() {
    let system = System::boot([PartitionSpec::new("sp1")]);
    let nwd = system.nwd();
    nwd.map_buffers();
    let cases = [
        // Ids that are not those of VMs.
        vm_buffers(V1_2, 0, VM_RX, VM_TX),
        vm_buffers(V1_2, 0x8001, VM_RX, VM_TX),
        // The same page twice, and an address that is no page.
        vm_buffers(V1_2, 3, VM_RX, VM_RX),
        vm_buffers(V1_2, 3, VM_RX + 8, VM_TX),
        // The layout of another version.
        vm_buffers(V1_0, 3, VM_RX, VM_TX),
    ];
    for descriptor in cases {
        nwd.write(NWD_TX, &[0; 128]);
        nwd.write(NWD_TX, &descriptor);
        nwd.refused([RXTX_MAP_64], INVALID_PARAMETERS);
    }
    // The Hypervisor's own buffer, memory of others, no memory.
    for descriptor in [
        vm_buffers(V1_2, 3, VM_RX, NWD_RX),
        vm_buffers(V1_2, 3, partition_base(0), VM_TX),
        vm_buffers(V1_2, 3, VM_RX, 0),
    ] {
        nwd.write(NWD_TX, &descriptor);
        nwd.refused([RXTX_MAP_64], DENIED);
    }
    // As many VMs as there is room for.
    for vm in 0..8 {
        let base = NWD_PAGES + 0x4000 * vm;
        nwd.write(
            NWD_TX,
            &vm_buffers(V1_2, 1 + vm as u16, base, base + 0x1000),
        );
        nwd.call([RXTX_MAP_64]).success();
    }
    let base = NWD_PAGES + 0x4000 * 8;
    nwd.write(NWD_TX, &vm_buffers(V1_2, 9, base, base + 0x1000));
    nwd.refused([RXTX_MAP_64], NO_MEMORY);
}

// Xen's first driver put the lists directly behind its header of 12 bytes.
// req: RXTX-19, RXTX-23, VMB-02
#[test]
fn lists_of_ranges_are_aligned() {
    let system = System::boot([]);
    let nwd = system.nwd();
    nwd.map_buffers();
    let at = |rx: u32, tx: u32| {
        let mut bytes = [3, rx, tx].map(u32::to_le_bytes).concat();
        for (place, base) in [(rx, VM_RX), (tx, VM_TX)] {
            bytes.resize(bytes.len().max(place as usize + 32), 0);
            bytes[place as usize..][..32].copy_from_slice(&list(base));
        }
        nwd.write(NWD_TX, &bytes);
        [RXTX_MAP_64]
    };
    for misaligned in [12, 13, 17, 20] {
        nwd.refused(at(misaligned, misaligned + 32), INVALID_PARAMETERS);
        nwd.refused(at(16, misaligned + 64), INVALID_PARAMETERS);
    }
    nwd.call(at(24, 64)).success();
}

// req: RXTX-06, RXTX-14, RXTX-29, IND-05, IND-06, IND-13, IND-22, VMB-08, VMB-09
#[test]
fn messages_of_vms_and_who_owns_their_rx() {
    let both = |sp: &mut Sp, request: [u64; 5]| {
        if request[4] == 0 {
            send_to(sp, request)
        } else {
            tell(sp, request)
        }
    };
    let system = System::boot([partition("sp1", both)]);
    let nwd = system.nwd();
    nwd.map_buffers();
    assert_eq!(
        nwd.ask(0x8001, [3, 4, 0, 0, 0])[0],
        code(BUSY),
        "no buffers"
    );
    assert_eq!(map_vm(&nwd, 3), None);
    // To the VM.
    assert_eq!(nwd.ask(0x8001, [3, 4, 0, 0, 0])[0], 0);
    assert_eq!(nwd.ask(0x8001, [3, 4, 0, 0, 0])[0], code(BUSY));
    let got = Message::decode(|at, bytes| nwd.read(VM_RX + at, bytes), V1_2);
    assert_eq!(got, Message::new(V1_2, 0x8001, 3, &[0xa5; 4]));
    nwd.refused([RX_ACQUIRE, 3], DENIED);
    nwd.call([RX_RELEASE, 3]).success();
    // While the Hypervisor owns RX, nobody else gets it.
    assert_eq!(nwd.call([RX_ACQUIRE, 3]).success(), [0; 6]);
    nwd.refused([RX_ACQUIRE, 3], DENIED);
    assert_eq!(nwd.ask(0x8001, [3, 4, 0, 0, 0])[0], code(BUSY));
    nwd.call([RX_RELEASE, 3]).success();
    assert_eq!(nwd.ask(0x8001, [3, 4, 0, 0, 0])[0], 0);
    // From the VM, by its own TX.
    let message = Message::new(V1_2, 3, 0x8001, &[0x77; 9]);
    nwd.write(VM_TX, &message.encode(V1_2));
    nwd.call([MSG_SEND2, 3 << 16]).success();
    assert_eq!(nwd.ask(0x8001, [0, 0, 0, 0, 1]), [3, 9, 0x77, 0, 0]);
    // VMs exchange messages through their Hypervisor.
    nwd.write(VM_TX, &Message::new(V1_2, 3, 0, &[1]).encode(V1_2));
    nwd.refused([MSG_SEND2, 3 << 16], INVALID_PARAMETERS);
}

// Negotiation is reopened when the Normal world unmaps its own buffers, not when one of its VMs
// does.
// req: VER-13, VER-16
#[test]
fn buffers_of_a_vm_do_not_reopen_negotiation() {
    const NONE: u64 = NOT_SUPPORTED as u32 as u64;
    let system = System::boot([]);
    let nwd = system.nwd();
    assert_eq!(nwd.version(V1_2), V1_2);
    nwd.map_buffers();
    assert_eq!(map_vm(&nwd, 3), None);
    assert_eq!(nwd.version(V1_1), NONE);
    nwd.call([RXTX_UNMAP, 3 << 16]).success();
    assert_eq!(nwd.version(V1_1), NONE);
    nwd.call([RXTX_UNMAP]).success();
    assert_eq!(nwd.version(V1_1), V1_2);
}

// req: VMB-10, VMB-11
#[test]
fn rx_is_acquired_by_hypervisors_for_vms_only() {
    let system = System::boot([PartitionSpec::new("sp1").script(|sp| {
        sp.refused([RX_ACQUIRE], NOT_SUPPORTED);
        sp.refused([RX_ACQUIRE, 3], NOT_SUPPORTED);
        sp.refused([FEATURES, RX_ACQUIRE], NOT_SUPPORTED);
        sp.msg_wait();
    })]);
    let nwd = system.nwd();
    nwd.map_buffers();
    for id in [0, 3, 0x8001] {
        nwd.refused([RX_ACQUIRE, id], INVALID_PARAMETERS);
    }
}

// Nothing is left of a descriptor that was read before.
// req: RXTX-06, RXTX-26, VMB-07
#[test]
fn a_descriptor_is_read_anew_each_time() {
    let system = System::boot([]);
    let nwd = system.nwd();
    nwd.map_buffers();
    assert_eq!(map_vm(&nwd, 1), None);
    nwd.call([RXTX_UNMAP, 1 << 16]).success();
    nwd.call([RXTX_UNMAP]).success();
    nwd.refused([RXTX_MAP_64], INVALID_PARAMETERS);
    nwd.map_buffers();
    assert_eq!(map_vm(&nwd, 1), None);
}
