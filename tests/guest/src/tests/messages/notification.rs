//! Notifications in both directions, and the schedule receiver interrupt (FF-A v1.1 chapters 10 and
//! 16).

use crate::ffa::error::{DENIED, INVALID_PARAMETERS, NO_DATA, NOT_SUPPORTED};
use crate::ffa::{self, NWD, SP1, SP2, id, route};
use crate::nwd::{Nwd, Test, ask, gic};
use crate::rt::call::call;
use crate::rt::check::{Check, equal, holds};
use crate::sp::{Command, Sp};
use crate::support::helper_call::{self, request};
use crate::support::spinning::run;
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(
        notification_bitmaps,
        "The Normal world makes and gives up the bitmap of a VM"
    ),
    test!(
        notification_preempts_sender,
        "A partition notifies the Normal world, whose interrupt stops it at once"
    ),
    test!(
        notification_delayed,
        "A partition notifies the Normal world, whose interrupt waits for the answer"
    ),
    test!(
        notification_of_vcpus,
        "Notifications of single vCPUs are told and fetched one by one"
    ),
    test!(
        notification_to_partition,
        "The Normal world and a partition notify the other partition"
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(set),
    helper!(bind),
    helper!(unbind),
    helper!(get),
    helper!(not_for_partitions),
];

/// Feature id of the schedule receiver interrupt.
const SCHEDULE_RECEIVER: u64 = 2;
/// w2 of BIND and SET: per-vCPU notifications.
const PER_VCPU: u64 = 1;
/// w2 of SET: the schedule receiver interrupt is delayed.
const DELAY: u64 = 2;
/// w2 of GET: notifications of partitions.
const FROM_SPS: u64 = 1;
const FROM_VMS: u64 = 2;
const FROM_SPM: u64 = 4;

fn words(map: u64) -> [u64; 2] {
    [map & 0xffff_ffff, map >> 32]
}

fn on_map(function: u32, sender: u16, receiver: u16, flags: u64, map: u64) -> ffa::Answer {
    let [low, high] = words(map);
    ffa::call(function, &[route(sender, receiver), flags, low, high])
}

fn create(vcpus: u64) -> ffa::Answer {
    ffa::call(id::NOTIFICATION_BITMAP_CREATE, &[NWD as u64, vcpus])
}

fn destroy() -> Check {
    ffa::done(&ffa::call(id::NOTIFICATION_BITMAP_DESTROY, &[NWD as u64]))
}

fn fetch(vcpu: u64) -> ffa::Answer {
    let flags = FROM_SPS | FROM_SPM;
    ffa::call(id::NOTIFICATION_GET, &[vcpu << 16 | NWD as u64, flags])
}

fn info() -> ffa::Answer {
    ffa::call(id::NOTIFICATION_INFO_GET_64, &[])
}

/// Fails unless the lists are these words, and no others.
fn told(answer: &ffa::Answer, lists: u64, counts: u64, ids: u64) -> Check {
    equal(answer[0], id::SUCCESS_64)?;
    equal(answer[2], lists << 7 | counts << 12)?;
    equal(answer[3], ids)?;
    ffa::refused(&info(), NO_DATA)
}

/// Enables the schedule receiver interrupt that `FFA_FEATURES` names on this PE, and returns its
/// INTID.
fn sri() -> Check<u32> {
    let answer = ffa::call(id::FEATURES, &[SCHEDULE_RECEIVER]);
    ffa::succeeded(&answer)?;
    let interrupt = answer[2] as u32;
    holds(interrupt < 16, interrupt)?;
    gic::open(0, interrupt);
    Ok(interrupt)
}

// FF-A v1.1 sections 16.1 and 16.2.
// req: NTF-01, NTF-02, NTF-03, NTF-08, NTF-09, NTF-10, NTF-28
fn notification_bitmaps(_: &Nwd) -> Check {
    let bind = || on_map(id::NOTIFICATION_BIND, SP1, NWD, 0, 1);
    ffa::refused(&bind(), NOT_SUPPORTED)?;
    ffa::refused(&create(0), INVALID_PARAMETERS)?;
    ffa::done(&create(2))?;
    ffa::refused(&create(2), DENIED)?;
    ffa::done(&bind())?;
    ffa::refused(&bind(), DENIED)?;
    ffa::refused(&info(), NO_DATA)?;
    destroy()?;
    for partition in [SP1, SP2] {
        ask(partition, command!(not_for_partitions), [0; 4])?;
    }
    Ok(())
}

fn not_for_partitions(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    for function in [
        id::NOTIFICATION_BITMAP_CREATE,
        id::NOTIFICATION_BITMAP_DESTROY,
        id::NOTIFICATION_INFO_GET_32,
        id::NOTIFICATION_INFO_GET_64,
    ] {
        ffa::refused(&ffa::call(function, &[1, 1]), NOT_SUPPORTED)?;
    }
    Ok([0; 4])
}

/// Sets notifications: receiver, flags, map.
fn set(sp: &Sp, [receiver, flags, map, _]: [u64; 4]) -> Check<[u64; 4]> {
    let answer = on_map(
        id::NOTIFICATION_SET,
        sp.identity.id,
        receiver as u16,
        flags,
        map,
    );
    ffa::done(&answer)?;
    Ok([0; 4])
}

fn bind(sp: &Sp, [sender, flags, map, _]: [u64; 4]) -> Check<[u64; 4]> {
    let (sender, receiver) = (sender as u16, sp.identity.id);
    ffa::done(&on_map(id::NOTIFICATION_BIND, sender, receiver, flags, map))?;
    Ok([0; 4])
}

fn unbind(sp: &Sp, [sender, map, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let (sender, receiver) = (sender as u16, sp.identity.id);
    ffa::done(&on_map(id::NOTIFICATION_UNBIND, sender, receiver, 0, map))?;
    Ok([0; 4])
}

/// Fetches the pending notifications of this vCPU: those of partitions, of VMs, and of the
/// framework.
fn get(sp: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let me = (sp.vcpu as u64) << 16 | sp.identity.id as u64;
    let answer = ffa::call(id::NOTIFICATION_GET, &[me, 0xf]);
    ffa::succeeded(&answer)?;
    Ok([
        answer[2] | answer[3] << 32,
        answer[4] | answer[5] << 32,
        answer[6],
        answer[7],
    ])
}

// FF-A v1.1 sections 10.4, 10.7, 16.3 to 16.7.
// req: NTF-15, NTF-16, NTF-21, NTF-30, NTF-33, NTF-36
fn notification_preempts_sender(_: &Nwd) -> Check {
    const MAP: u64 = 1 << 40 | 1;
    let line = sri()?;
    ffa::done(&create(1))?;
    ffa::done(&on_map(id::NOTIFICATION_BIND, SP1, NWD, 0, MAP))?;
    let message = request(
        id::DIRECT_REQ_64,
        route(NWD, SP1),
        command!(set),
        [NWD as u64, 0, MAP, 0],
    );
    let stopped = call(ffa::conduit(), message);
    equal(stopped[0], id::INTERRUPT)?;
    gic::take(0, line)?;
    helper_call::answer(NWD, SP1, &run(SP1, 0))?;
    told(&info(), 1, 0, NWD as u64)?;
    let still_bound = on_map(id::NOTIFICATION_UNBIND, SP1, NWD, 0, MAP);
    ffa::refused(&still_bound, DENIED)?;
    let [low, high] = words(MAP);
    ffa::results(&fetch(0), [low, high, 0, 0, 0, 0])?;
    ffa::results(&fetch(0), [0; 6])?;
    ffa::done(&on_map(id::NOTIFICATION_UNBIND, SP1, NWD, 0, MAP))?;
    destroy()
}

// FF-A v1.1 sections 10.7 and 16.5.
// req: NTF-34
fn notification_delayed(_: &Nwd) -> Check {
    for partition in [SP1, SP2] {
        let line = sri()?;
        ffa::done(&create(1))?;
        ffa::done(&on_map(id::NOTIFICATION_BIND, partition, NWD, 0, 4))?;
        ask(partition, command!(set), [NWD as u64, DELAY, 4, 0])?;
        gic::take(0, line)?;
        told(&info(), 1, 0, NWD as u64)?;
        ffa::results(&fetch(0), [4, 0, 0, 0, 0, 0])?;
        destroy()?;
    }
    Ok(())
}

// FF-A v1.1 sections 10.3 and 16.7.
// req: NTF-24, NTF-26, NTF-30
fn notification_of_vcpus(_: &Nwd) -> Check {
    ffa::done(&create(8))?;
    ffa::done(&on_map(id::NOTIFICATION_BIND, SP1, NWD, PER_VCPU, 2))?;
    for vcpu in [7, 2] {
        let flags = vcpu << 16 | DELAY | PER_VCPU;
        ask(SP1, command!(set), [NWD as u64, flags, 2, 0])?;
    }
    // Enabled only now: otherwise the interrupt would stop the second sender.
    let line = sri()?;
    gic::take(0, line)?;
    told(&info(), 1, 2, 7 << 32 | 2 << 16 | NWD as u64)?;
    for (vcpu, pending) in [(0, 0), (2, 2), (7, 2), (7, 0)] {
        ffa::results(&fetch(vcpu), [pending, 0, 0, 0, 0, 0])?;
    }
    ffa::refused(&fetch(8), INVALID_PARAMETERS)?;
    destroy()
}

// FF-A v1.1 sections 10.4 and 16.3 to 16.7.
// req: NTF-17, NTF-23, NTF-27, NTF-29
fn notification_to_partition(_: &Nwd) -> Check {
    let line = sri()?;
    ask(SP1, command!(bind), [NWD as u64, 0, 1, 0])?;
    ask(SP1, command!(bind), [SP2 as u64, 0, 1, 0])?;
    let from_us = || on_map(id::NOTIFICATION_SET, NWD, SP1, 0, 1);
    ffa::done(&from_us())?;
    gic::take(0, line)?;
    told(&info(), 1, 0, SP1 as u64)?;
    let fetched = ask(SP1, command!(get), [0; 4])?;
    holds(fetched == [0, 1, 0, 0], fetched[FROM_VMS as usize - 1])?;
    ask(SP2, command!(set), [SP1 as u64, DELAY, 1, 0])?;
    let fetched = ask(SP1, command!(get), [0; 4])?;
    holds(fetched == [1, 0, 0, 0], fetched[0])?;
    for sender in [NWD, SP2] {
        ask(SP1, command!(unbind), [sender as u64, 1, 0, 0])?;
    }
    ffa::refused(&from_us(), DENIED)?;
    // A notification that was fetched is in no list.
    ffa::refused(&info(), NO_DATA)
}
