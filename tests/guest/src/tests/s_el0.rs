//! Partitions at S-EL0 (FF-A v1.0 sections 2.2.1 and 12.1, v1.1 sections 16.8 and 16.9): sp3 serves
//! requests, sp4 to sp8 try what they may not. Only for the layout `s-el0`.

use core::arch::{asm, naked_asm};
use core::sync::atomic::{AtomicU64, Ordering};

use crate::board::{BL33, SPMC, package};
use crate::ffa::error::{ABORTED, BUSY, DENIED, INVALID_PARAMETERS, NOT_SUPPORTED};
use crate::ffa::memory_calls::reclaim;
use crate::ffa::memory_descriptor::{NORMAL_WB, NS, Receiver, Transaction, access};
use crate::ffa::{self, NWD, SP1, SP2, SP3, SP4, SP5, SP6, SP7, SP8, id, route};
use crate::nwd::{self, Nwd, Test, ask, page, pe, peek, poke};
use crate::rt::call::call;
use crate::rt::check::{Check, Failure, equal, fail, holds};
use crate::rt::page::{PAGE_SIZE, Shared};
use crate::rt::uart::SECURE_UART;
use crate::rt::{exception_level, fp};
use crate::sp::{self, Command, ENTRY, Sp};
use crate::support::borrowing::{Borrow, give_back, is_error, is_fine};
use crate::support::complement::{COMPLEMENT, answers};
use crate::support::helper_call::{self, request};
use crate::support::s_el0_helpers::{READ, SPIN, with_flag};
use crate::support::sharing::{receiver, share};
use crate::support::spinning::{CHECK_VECTORS, LOAD_VECTORS, is_busy, preempt, resume, same};
use crate::{command, helper, test};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    test!(el0_buffers, "The Normal world maps its buffers"),
    test!(
        el0_entry_state,
        "sp3 is entered at S-EL0 with its manifest as boot information"
    ),
    test!(
        el0_answers,
        "sp3 answers the Normal world and sp1, and asks sp1"
    ),
    test!(
        el0_permissions,
        "sp3 gave its memory permissions while it initialised"
    ),
    test!(
        el0_permissions_are_over,
        "Nobody else, and nobody later, can ask for permissions"
    ),
    test!(el0_borrows, "sp3 borrows memory of the Normal world"),
    test!(
        el0_lends,
        "sp3 lends memory to sp1: it has no access meanwhile"
    ),
    test!(
        el0_vectors,
        "FP/SIMD registers of sp3 and the Normal world survive messages"
    ),
    test!(
        el0_is_preempted,
        "A Non-secure interrupt stops sp3; FFA_RUN lets it go on"
    ),
    test!(
        el0_moves,
        "sp3 answers on every PE, and goes on on another one than it was stopped on",
        pes = 2
    ),
    test!(
        el0_storm,
        "All PEs ask sp3, sp1 and sp2 at the same time",
        pes = 2
    ),
    test!(
        el0_failures,
        "An S-EL0 partition that tries what it may not is stopped, and nobody else"
    ),
    test!(
        el0_reaches_no_partition,
        "sp3 does not reach sp1, and is stopped for trying"
    ),
];

/// Code of the partitions.
pub const HELPERS: &[Command] = &[
    helper!(entry_state),
    helper!(complement_of_other),
    helper!(initialisation),
    helper!(ask_for_permissions),
    helper!(increment),
    helper!(lend_own),
];

/// Permissions of `FFA_MEM_PERM_SET`.
const RW: u64 = 0b101;
const RO: u64 = 0b111;
const RX: u64 = 0b011;
const NONE: u64 = 0b100;

/// The page of the Normal world that the manifest of sp3 names.
const CONSTANTS: u64 = BL33 + 0x800_0000;

/// Offset of the region of the package that the manifest of sp3 names.
const HEAP: u64 = 0xc_0000;

/// Line and value of a check that failed while sp3 initialised.
static FAILED: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// A page for the code that sp3 writes.
static CODE: Shared<PAGE_SIZE> = Shared::new();
/// A page that sp3 lends.
static OWN: Shared<PAGE_SIZE> = Shared::new();

fn get(address: u64, more: u64) -> ffa::Answer {
    ffa::call(id::MEM_PERM_GET_64, &[address, more])
}

fn set(address: u64, pages: u64, permissions: u64) -> ffa::Answer {
    ffa::call(id::MEM_PERM_SET_64, &[address, pages, permissions])
}

/// Tries permissions, before sp3 waits for the first time.
pub fn during_initialisation() {
    if let Err(Failure::Check { at, got, .. }) = try_permissions() {
        FAILED[0].store(at.line() as u64, Ordering::Relaxed);
        FAILED[1].store(got, Ordering::Relaxed);
    }
}

/// Returns 42. Its instructions are position-independent, so that a copy can run.
#[unsafe(naked)]
extern "C" fn forty_two() -> u64 {
    naked_asm!("mov x0, #42", "ret")
}

fn try_permissions() -> Check {
    let text = sp::memory_start() + 0x4000;
    let free = (sp::free_memory() + 0xfff) & !0xfff;
    let heap = sp::memory_start() + HEAP;
    for function in [
        id::MEM_PERM_GET_32,
        id::MEM_PERM_GET_64,
        id::MEM_PERM_SET_32,
        id::MEM_PERM_SET_64,
    ] {
        ffa::results(&ffa::call(id::FEATURES, &[function as u64]), [0; 6])?;
    }
    // The SPMC maps the image readable and executable; the start code made the data writable.
    ffa::results(&get(text, 0), [RX, 0, 0, 0, 0, 0])?;
    ffa::results(&get(sp::memory_start(), 3), [RX, 3, 0, 0, 0, 0])?;
    ffa::results(&get(OWN.address(), 0), [RW, 0, 0, 0, 0, 0])?;
    ffa::results(
        &ffa::call(id::MEM_PERM_GET_32, &[free]),
        [RX, 0, 0, 0, 0, 0],
    )?;
    // Regions of the manifest have the permissions that the manifest says.
    ffa::results(&get(heap, 99), [RW, 15, 0, 0, 0, 0])?;
    ffa::results(&get(CONSTANTS, 0), [RO, 0, 0, 0, 0, 0])?;
    ffa::results(&get(SECURE_UART as u64, 0), [RW, 0, 0, 0, 0, 0])?;

    for (address, pages, permissions) in [
        (free, 0, RW),
        (free + 1, 1, RW),
        (free, 1, 0b001),            // writable and executable
        (free, 1, 0b000),            // executable, but not readable
        (free, 1, 0b010),            // reserved
        (free, 1, 0b110),            // reserved
        (free, 1, 0b1101),           // reserved bit
        (SPMC, 1, RW),               // the SPMC
        (package(0), 1, RW),         // sp1
        (0x7f_ffff_f000, 1, RX),     // EL2's private addresses
        (SECURE_UART as u64, 1, RX), // a device
        (!0xfff, 2, RW),
    ] {
        ffa::refused(&set(address, pages, permissions), INVALID_PARAMETERS)?;
    }
    ffa::refused(&get(text + 4, 0), INVALID_PARAMETERS)?;
    ffa::refused(&get(SPMC, 0), INVALID_PARAMETERS)?;
    // The page is not the partition's alone.
    ffa::refused(&set(CONSTANTS, 1, RW), DENIED)?;

    // The refused calls changed nothing.
    ffa::results(&get(free, 3), [RX, 3, 0, 0, 0, 0])?;
    ffa::done(&ffa::call(id::MEM_PERM_SET_32, &[free, 2, NONE]))?;
    ffa::results(&get(free, 3), [NONE, 1, 0, 0, 0, 0])?;
    ffa::done(&set(free, 2, RO))?;
    ffa::results(&get(free, 3), [RO, 1, 0, 0, 0, 0])?;
    ffa::done(&set(free, 2, RW))?;
    // SAFETY: two pages of this partition behind its image that nothing uses; they can be written
    // now.
    unsafe { ((free + 0x1000) as *mut u64).write_volatile(7) };

    // The partition writes code, and runs it.
    let from = forty_two as *const () as u64;
    for n in [0, 4] {
        // SAFETY: two instructions of this image.
        let instruction = unsafe { ((from + n) as *const u32).read_volatile() };
        CODE.write(n as usize, &instruction.to_le_bytes());
    }
    // SAFETY: cache maintenance of this partition's own page.
    unsafe {
        asm!("dc cvau, {a}", "dsb ish", "ic ivau, {a}", "dsb ish", "isb", a = in(reg) CODE.address(), options(nostack))
    };
    ffa::done(&set(CODE.address(), 1, RX))?;
    let answer: u64;
    // SAFETY: the page holds a copy of a function without arguments that changes x0 only.
    unsafe {
        asm!("blr {}", in(reg) CODE.address(), lateout("x0") answer, out("x30") _, options(nostack))
    };
    equal(answer, 42u64)?;

    ffa::refused(&ffa::call(id::DIRECT_RESP_64, &[route(SP3, NWD)]), DENIED)?;
    ffa::refused(
        &ffa::call(id::SECONDARY_EP_REGISTER, &[text]),
        NOT_SUPPORTED,
    )
}

fn el0_buffers(_: &Nwd) -> Check {
    let buffers = [nwd::TX.address(), nwd::RX.address(), 1];
    ffa::done(&ffa::call(id::RXTX_MAP_64, &buffers))
}

// req: BOOT-01, BOOT-08, BOOT-09, GEN-02, GEN-06, GEN-08, GEN-21, MAN-09, MAN-23
fn el0_entry_state(_: &Nwd) -> Check {
    ask(SP3, command!(entry_state), [0; 4])?;
    Ok(())
}

fn entry_state(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    equal(exception_level(), 0u64)?;
    let register = |n: usize| ENTRY[n].load(Ordering::Relaxed);
    equal(register(0), 0u64)?;
    equal(register(1), sp::memory_start())?;
    // SAFETY: the boot information, which this partition can read.
    let signature = unsafe { (register(1) as *const u32).read_volatile() };
    equal(signature, 0x0ffau32)?;
    for n in 2..8 {
        equal(register(n), 0u64)?;
    }
    Ok([0; 4])
}

fn complement_of_other(sp: &Sp, [other, word, ..]: [u64; 4]) -> Check<[u64; 4]> {
    sp.ask(other as u16, COMPLEMENT, [word, 0, 0, 0])
}

// req: SEL0-01, SEL0-04, GEN-06, GEN-08, COMP-15, MSGD-25
fn el0_answers(_: &Nwd) -> Check {
    for word in [0, 1, 0x1234_5678_9abc_def0] {
        answers(SP3, word)?;
        let narrow = request(
            id::DIRECT_REQ_32,
            route(NWD, SP3),
            COMPLEMENT,
            [word, 0, 0, 0],
        );
        let answer = call(ffa::conduit(), narrow);
        equal(answer[0], id::DIRECT_RESP_32)?;
        equal(answer[4], !word & 0xffff_ffff)?;
        for (first, second) in [(SP1, SP3), (SP3, SP1), (SP2, SP3), (SP3, SP2)] {
            let [answer, ..] = ask(
                first,
                command!(complement_of_other),
                [second as u64, word, 0, 0],
            )?;
            equal(answer, !word)?;
        }
    }
    Ok(())
}

// req: SEL0-08, MEMO-02, PERM-01, PERM-02, PERM-03, PERM-04, PERM-05, PERM-16
fn el0_permissions(_: &Nwd) -> Check {
    ask(SP3, command!(initialisation), [0; 4])?;
    Ok(())
}

/// Fails if a check failed during initialisation: `got` is the line of that check, `want` its
/// value.
fn initialisation(_: &Sp, _: [u64; 4]) -> Check<[u64; 4]> {
    let [line, value] = [0, 1].map(|n| FAILED[n].load(Ordering::Relaxed));
    if line == 0 {
        Ok([0; 4])
    } else {
        fail::<[u64; 4]>(line).and(equal(line, value).map(|()| [0; 4]))
    }
}

// req: SEL0-08, PERM-06, PERM-07, PERM-08
fn el0_permissions_are_over(_: &Nwd) -> Check {
    for function in [
        id::MEM_PERM_GET_32,
        id::MEM_PERM_GET_64,
        id::MEM_PERM_SET_32,
        id::MEM_PERM_SET_64,
    ] {
        ffa::refused(&ffa::call(function, &[page(0), 1, RO]), NOT_SUPPORTED)?;
        ffa::refused(&ffa::call(id::FEATURES, &[function as u64]), NOT_SUPPORTED)?;
    }
    ask(
        SP1,
        command!(ask_for_permissions),
        [NOT_SUPPORTED as u64, 0, 0, 0],
    )?;
    ask(SP3, command!(ask_for_permissions), [0; 4])?;
    Ok(())
}

/// Fails unless every call for permissions is denied. x4 is the answer of `FFA_FEATURES` for these
/// calls.
fn ask_for_permissions(_: &Sp, [features, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let free = sp::free_memory();
    ffa::refused(&get(free, 0), DENIED)?;
    ffa::refused(&set(free, 1, RO), DENIED)?;
    let answer = ffa::call(id::FEATURES, &[id::MEM_PERM_SET_64 as u64]);
    if features == 0 {
        ffa::done(&answer)?;
    } else {
        ffa::refused(&answer, features as i32)?;
    }
    Ok([0; 4])
}

/// Adds one to a word of memory that the partition has. Result: the word before.
fn increment(_: &Sp, [address, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let word = address as *mut u64;
    // SAFETY: the tests name memory that the partition has borrowed and does not use.
    unsafe {
        let before = word.read_volatile();
        word.write_volatile(before + 1);
        Ok([before, 0, 0, 0])
    }
}

// req: MEMO-01, MEMD-09, MEMRQ-26, SEL0-07
fn el0_borrows(_: &Nwd) -> Check {
    let address = page(80);
    for (round, ranges) in [(1, [(address, 1)]), (2, [(address, 40)])] {
        poke(address, round << 32);
        let handle = share(SP3, access::RW, &ranges)?;
        let got = is_fine(Borrow::new(handle).by(SP3)?)?;
        equal(got.first, address)?;
        equal(got.attributes, NORMAL_WB | NS)?;
        let [seen, ..] = ask(SP3, command!(increment), [address, 0, 0, 0])?;
        equal(seen, round << 32)?;
        equal(peek(address), round << 32 | 1)?;
        poke(address, round);
        let [seen, ..] = ask(SP3, command!(increment), [address, 0, 0, 0])?;
        equal(seen, round)?;
        // Borrowed memory cannot be borrowed again, nor reclaimed.
        is_error(Borrow::new(handle).by(SP3)?, DENIED)?;
        ffa::refused(&reclaim(handle, 0), DENIED)?;
        give_back(SP3, handle, 0, 0)?;
        ffa::done(&reclaim(handle, 0))?;
    }
    Ok(())
}

// req: MEMO-01, MEMD-09, MEMD-30, MEMD-52, SEL0-07
fn el0_lends(_: &Nwd) -> Check {
    ask(SP3, command!(lend_own), [SP1 as u64, 0, 0, 0])?;
    Ok(())
}

fn lend<'a>(sender: u16, receivers: &'a [Receiver], ranges: &'a [(u64, u32)]) -> Transaction<'a> {
    Transaction {
        sender,
        attributes: 0,
        flags: 0,
        handle: 0,
        tag: 0,
        receivers,
        ranges,
    }
}

/// Lends a page to another partition, which writes to it; then tries to lend with more access than
/// a page itself permits.
fn lend_own(sp: &Sp, [other, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let other = other as u16;
    let me = sp.identity.id;
    let receivers = [receiver(other, access::RW)];
    let own = [(OWN.address(), 1)];
    OWN.write(0, &0x1111_u32.to_le_bytes());
    let handle = sp
        .caller()
        .sent(id::MEM_LEND_64, &lend(me, &receivers, &own))?;
    ffa::refused(
        &sp.caller()
            .send(id::MEM_LEND_64, &lend(me, &receivers, &own)),
        DENIED,
    )?;
    let borrow = Borrow {
        owner: me,
        attributes: NORMAL_WB,
        ..Borrow::new(handle)
    };
    let got = is_fine(borrow.asked_by(sp, other)?)?;
    equal(got.first, OWN.address())?;
    crate::support::reach::reaches_from(
        sp,
        other,
        OWN.address(),
        crate::support::reach::Try::Write(0x2222),
        crate::support::reach::DONE,
    )?;
    crate::support::borrowing::asked_to_give_back(me, other, handle)?;
    ffa::done(&reclaim(handle, 0))?;
    equal(OWN.u32(0), 0x2222u32)?;

    // Code is read-only, and devices and memory of others cannot be sent.
    for address in [
        sp::memory_start() + 0x4000,
        SECURE_UART as u64,
        CONSTANTS,
        package(0),
        0x7f_ffff_f000,
    ] {
        let answer = sp
            .caller()
            .send(id::MEM_LEND_64, &lend(me, &receivers, &[(address, 1)]));
        ffa::refused(&answer, DENIED)?;
    }
    Ok([0; 4])
}

#[track_caller]
// req: GEN-20, MSGD-25
fn el0_vectors(_: &Nwd) -> Check {
    let own = fp::pattern(0);
    for partition in [SP3, SP1, SP3] {
        fp::load(&own);
        ask(partition, LOAD_VECTORS, [partition as u64, 0, 0, 0])?;
        same(&fp::store(), &own)?;
    }
    for partition in [SP3, SP1] {
        ask(partition, CHECK_VECTORS, [partition as u64, 0, 0, 0])?;
    }
    Ok(())
}

// req: SEL0-04, INT-01, GEN-25
fn el0_is_preempted(_: &Nwd) -> Check {
    with_flag(|flag| {
        preempt(SP3, 0, SPIN, [flag, 5, 0, 0], flag)?;
        is_busy(SP3)?;
        answers(SP1, 3)?;
        resume(SP3, 0, flag, 5)
    })
}

// req: SEL0-01, GEN-19, GEN-21
fn el0_moves(nwd: &Nwd) -> Check {
    for n in 1..nwd.pes {
        pe::run_on(n, |_| answers(SP3, 9).map(|()| [0; 4]), [0; 4])?;
    }
    with_flag(|flag| {
        preempt(SP3, 0, SPIN, [flag, 4, 0, 0], flag)?;
        let elsewhere = |[flag, ..]: [u64; 4]| resume(SP3, 0, flag, 4).map(|()| [0; 4]);
        pe::run_on(1, elsewhere, [flag, 0, 0, 0])?;
        answers(SP3, 6)
    })
}

const ROUNDS: u64 = 300;

/// Asks all three partitions, of which sp1 and sp3 may be busy. Result: how often sp3 answered.
fn ask_all([pe, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let mut answered = 0;
    for round in 0..ROUNDS {
        for partition in [SP3, SP1, SP2] {
            let word = pe << 32 | round;
            let message = request(
                id::DIRECT_REQ_64,
                route(NWD, partition),
                COMPLEMENT,
                [word, 0, 0, 0],
            );
            let got = call(ffa::conduit(), message);
            if got[0] == id::ERROR as u64 {
                holds(partition != SP2, got[2])?;
                ffa::refused(&got, BUSY)?;
                continue;
            }
            let [answer, ..] = helper_call::answer(NWD, partition, &got)?;
            equal(answer, !word)?;
            answered += u64::from(partition == SP3);
        }
    }
    Ok([answered, 0, 0, 0])
}

// req: SEL0-01, MSGD-07
fn el0_storm(nwd: &Nwd) -> Check {
    for n in 1..nwd.pes {
        pe::start(n, ask_all, [n as u64, 0, 0, 0])?;
    }
    let [mut answered, ..] = ask_all([0; 4])?;
    for n in 1..nwd.pes {
        let [more, ..] = pe::finish(n)?;
        answered += more;
    }
    holds(answered > 0, answered)
}

/// Partitions, what each of them tries (see `s_el0_victim`), and where.
const ATTEMPTS: [(u16, u64, u64); 5] = [
    (SP4, 2, package(3) + 0x4000), // to write to its code
    (SP5, 3, package(4) + 0x5000), // to execute its data
    (SP6, 1, SPMC),                // to read the SPMC
    (SP7, 1, 0x7f_ffff_6000),      // to read a stack of the SPMC
    (SP8, 4, 0),                   // to read an identification register
];

fn attempt(partition: u16, what: u64, address: u64) -> ffa::Answer {
    ffa::call(
        id::DIRECT_REQ_64,
        &[route(NWD, partition), 0, what, address],
    )
}

// req: GEN-03, MEMO-02, MSGD-07
fn el0_failures(_: &Nwd) -> Check {
    for (partition, what, address) in ATTEMPTS {
        // The partition can do what it may do.
        for (what, address) in [(0, 0), (1, address & !0xffff | 0x5000)] {
            if what == 1 && partition > SP5 {
                continue;
            }
            equal(attempt(partition, what, address)[0], id::DIRECT_RESP_64)?;
        }
        ffa::refused(&attempt(partition, what, address), ABORTED)?;
        ffa::refused(&attempt(partition, 0, 0), ABORTED)?;
        answers(SP1, what)?;
        answers(SP3, what)?;
    }
    Ok(())
}

// req: GEN-01, GEN-03, MEMO-01
fn el0_reaches_no_partition(_: &Nwd) -> Check {
    // Memory that sp3 has borrowed when it fails comes back to its owner.
    let address = page(81);
    let handle = share(SP3, access::RW, &[(address, 1)])?;
    is_fine(Borrow::new(handle).by(SP3)?)?;
    let message = request(
        id::DIRECT_REQ_64,
        route(NWD, SP3),
        READ,
        [package(0), 0, 0, 0],
    );
    ffa::refused(&call(ffa::conduit(), message), ABORTED)?;
    ffa::done(&reclaim(handle, 0))?;
    answers(SP1, 1)?;
    answers(SP2, 2)
}
