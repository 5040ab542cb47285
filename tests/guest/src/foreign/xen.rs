//! A Normal world in the style of Xen's mediator.
//!
//! Xen speaks 1.1, tells partitions of its VMs, and passes on what the VMs ask: requests and memory
//! come from the id of a VM, the buffers are the hypervisor's.

use super::{OPTEE, optee, outcome, request, send};
use crate::ffa::memory_calls::{Caller, reclaim, words};
use crate::ffa::memory_descriptor::{NORMAL_WB, Transaction, access};
use crate::ffa::{self, NWD, V1_1, call, id, route};
use crate::nwd::{self, Nwd, Test, page, peek, poke};
use crate::rt::check::{Check, equal, holds};
use crate::support::sharing::receiver;
use crate::test;

/// The tests of this file, in their order.
pub const TESTS: &[Test] = &[
    test!(
        xen_probes,
        "Xen negotiates, maps its buffers and lists the partitions"
    ),
    test!(xen_announces, "Xen tells OP-TEE of its VMs"),
    test!(xen_shares, "Xen passes on memory and requests of a VM"),
    test!(xen_notifies, "Xen passes on a notification for a VM"),
    test!(xen_forgets, "Xen tells OP-TEE that its VMs are gone"),
];

/// Id of its VM.
const VM: u16 = 1;

fn xen_probes(_: &Nwd) -> Check {
    let version = call(id::VERSION, &[V1_1.into()])[0];
    holds(version >> 16 == 1 && version & 0xffff >= 1, version)?;
    for function in [
        id::VERSION,
        id::PARTITION_INFO_GET,
        id::ID_GET,
        id::DIRECT_REQ_32,
        id::MEM_SHARE_64,
        id::RXTX_UNMAP,
        id::RXTX_MAP_64,
    ] {
        ffa::succeeded(&call(id::FEATURES, &[function.into()]))?;
    }
    let map = [nwd::TX.address(), nwd::RX.address(), 1];
    ffa::done(&call(id::RXTX_MAP_64, &map))?;
    let list = call(id::PARTITION_INFO_GET, &[]);
    ffa::succeeded(&list)?;
    equal(list[3], 24u64)?;
    let at = |n: u64| (n * list[3]) as usize;
    let entry = (0..list[2]).find(|n| nwd::RX.u16(at(*n)) == OPTEE);
    let properties = nwd::RX.u32(at(entry.unwrap_or(list[2])) + 4);
    // OP-TEE takes direct requests, and subscribes to messages about VMs.
    equal(properties & 0b1, 1u32)?;
    equal(properties >> 6 & 0b11, 0b11u32)?;
    ffa::done(&call(id::RX_RELEASE, &[]))
}

fn announce(kind: u64) -> Check {
    let told = send(&[
        id::DIRECT_REQ_32.into(),
        route(NWD, OPTEE),
        kind,
        0,
        0,
        VM.into(),
    ]);
    equal(told[0], id::DIRECT_RESP_32)?;
    equal(told[2], kind + 1)?;
    equal(told[3] as u32, 0u32)
}

fn xen_announces(_: &Nwd) -> Check {
    announce(optee::VM_CREATED)
}

#[track_caller]
fn ask(function: u64, first: u64, second: u64) -> Check<u64> {
    let answer = request(id::DIRECT_REQ_32, VM, OPTEE, &[function, first, second]);
    outcome(&answer, id::DIRECT_RESP_32, OPTEE, VM)
}

fn xen_shares(_: &Nwd) -> Check {
    equal(ask(optee::VERSION, 0, 0)?, optee::REVISION)?;
    poke(page(20), 7);
    let share = Transaction {
        sender: VM,
        attributes: NORMAL_WB,
        flags: 0,
        handle: 0,
        tag: 0,
        receivers: &[receiver(OPTEE, access::RW)],
        ranges: &[(page(20), 1)],
    };
    let hypervisor = Caller {
        version: V1_1,
        ..nwd::caller()
    };
    let handle = hypervisor.sent(id::MEM_SHARE_64, &share)?;
    let [low, high] = words(handle);
    equal(ask(optee::USE, low, high)?, 7u64)?;
    equal(peek(page(20)), 8u64)?;
    ask(optee::UNREGISTER, low, high)?;
    ffa::done(&reclaim(handle, 0))
}

fn xen_notifies(_: &Nwd) -> Check {
    ffa::done(&call(id::NOTIFICATION_BITMAP_CREATE, &[VM.into(), 1]))?;
    let bind = [route(OPTEE, VM), 0, 1 << 5, 0];
    ffa::done(&call(id::NOTIFICATION_BIND, &bind))?;
    ask(optee::NOTIFY, 5, 0)?;
    let got = call(id::NOTIFICATION_GET, &[VM.into(), 1]);
    ffa::results(&got, [1 << 5, 0, 0, 0, 0, 0])?;
    ffa::done(&call(id::NOTIFICATION_UNBIND, &bind))?;
    ffa::done(&call(id::NOTIFICATION_BITMAP_DESTROY, &[VM.into()]))
}

fn xen_forgets(_: &Nwd) -> Check {
    announce(optee::VM_DESTROYED)?;
    let answer = request(id::DIRECT_REQ_32, NWD, OPTEE, &[optee::VMS]);
    equal(outcome(&answer, id::DIRECT_RESP_32, OPTEE, NWD)?, 2u64)?;
    ffa::done(&call(id::RXTX_UNMAP, &[]))
}
