//! Registers that a call does not use: they must be zero at 1.0 (MBZ) and are ignored from 1.1 on
//! (SBZ). All scenarios leave garbage in those that are ignored (`host_tests::careless`). Here each
//! such register is tried by itself, at each version.

use std::ops::RangeInclusive;

use host_tests::ffa::*;
use host_tests::system::{NWD_PAGES, NWD_RX, NWD_TX};
use host_tests::{Nwd, Regs, Sp};
use spmc::addr::World::Secure;

use crate::stage::{OWN_PAGES, SP1, SP2, SP3, Stage};

const GARBAGE: u64 = 0x8765_4321;

/// The Normal world or a partition, with buffers and pages of its own.
trait Caller {
    fn make(&mut self, call: [u64; 8]) -> Regs;
    fn write_tx(&mut self, descriptor: &[u8]);
}

impl Caller for Nwd<'_> {
    fn make(&mut self, call: [u64; 8]) -> Regs {
        self.call(call)
    }

    fn write_tx(&mut self, descriptor: &[u8]) {
        self.write(NWD_TX, descriptor);
    }
}

impl Caller for Sp {
    fn make(&mut self, call: [u64; 8]) -> Regs {
        self.call(call)
    }

    fn write_tx(&mut self, descriptor: &[u8]) {
        self.write(Secure, self.tx(), descriptor).unwrap();
    }
}

/// Puts garbage into each of `reserved` in turn, each time in the call that `prepare` makes
/// possible. At 1.0 that call is refused, and succeeds without the garbage; later it succeeds at
/// once. `prepare` gets the last answer (none at first) and undoes what that call did. Returns the
/// last answer.
#[track_caller]
fn each<C: Caller>(
    caller: &mut C,
    version: u64,
    reserved: RangeInclusive<usize>,
    mut prepare: impl FnMut(&mut C, Option<Regs>) -> [u64; 8],
) -> Regs {
    let mut last = None;
    for n in reserved {
        let call = prepare(caller, last);
        let mut spoilt = call;
        spoilt[n] = GARBAGE;
        let mut answer = caller.make(spoilt);
        if version == V1_0 {
            assert_eq!(answer.error(), Some(INVALID_PARAMETERS), "{spoilt:x?}");
            answer = caller.make(call);
        }
        assert_eq!(answer.error(), None, "{spoilt:x?} at {version:x}");
        last = Some(answer);
    }
    last.unwrap()
}

fn padded<const N: usize>(call: [u64; N]) -> [u64; 8] {
    Regs::new(call).0[..8].try_into().unwrap()
}

/// Returns a call that names a handle in w1 and w2.
fn of(function: u64, handle: u64) -> [u64; 8] {
    padded([function, handle & 0xffff_ffff, handle >> 32])
}

/// Tries calls for buffers and discovery, and the calls of an owner of memory. The pages at `page`
/// and 8 KiB behind it belong to the caller.
fn try_calls_of_owners<C: Caller>(
    caller: &mut C,
    version: u64,
    id: u16,
    [tx, rx]: [u64; 2],
    page: u64,
) {
    each(caller, version, 4..=7, |caller, _| {
        caller.make(padded([RXTX_UNMAP])).success();
        padded([RXTX_MAP_64, tx, rx, 1])
    });
    // Only the lower half of w1 is reserved.
    let unmap = padded([RXTX_UNMAP, 1]);
    if version == V1_0 {
        assert_eq!(caller.make(unmap).error(), Some(INVALID_PARAMETERS));
    } else {
        caller.make(unmap).success();
        caller.make(padded([RXTX_MAP_64, tx, rx, 1])).success();
    }
    each(caller, version, 6..=7, |caller, last| {
        if last.is_some() {
            caller.make(padded([RX_RELEASE])).success();
        }
        padded([PARTITION_INFO_GET])
    });
    caller.make(padded([RX_RELEASE])).success();

    let layout = Layout::of(version);
    let ranges = [(page, 1), (page + 0x2000, 1)];
    let share = Transaction::share(id, SP2, RW, &ranges).encode(layout);
    let lend = Transaction::lend(id, SP2, RW, &ranges).encode(layout);
    let donate = Transaction::donate(id, SP2, &ranges).encode(layout);
    let length = share.len() as u64;
    for (function, descriptor) in [
        (MEM_SHARE_32, &share),
        (MEM_SHARE_64, &share),
        (MEM_LEND_32, &lend),
        (MEM_LEND_64, &lend),
        (MEM_DONATE_32, &donate),
        (MEM_DONATE_64, &donate),
    ] {
        let answer = each(caller, version, 5..=7, |caller, last| {
            if let Some(answer) = last {
                caller.make(of(MEM_RECLAIM, answer.handle())).success();
            }
            caller.write_tx(descriptor);
            padded([function, length, length])
        });
        caller.make(of(MEM_RECLAIM, answer.handle())).success();
    }
    each(caller, version, 4..=7, |caller, _| {
        caller.write_tx(&share);
        let answer = caller.make(padded([MEM_SHARE_64, length, length]));
        of(MEM_RECLAIM, answer.handle())
    });
}

/// Tries the calls of a borrower of the region with that handle.
fn try_calls_of_borrowers(sp: &mut Sp, version: u64, handle: u64) {
    let layout = Layout::of(version);
    let request = Transaction::retrieve(0, SP1, handle, RW).encode(layout);
    let length = request.len() as u64;
    let done = relinquish(handle, 0, &[SP1]);
    for function in [MEM_RETRIEVE_REQ_32, MEM_RETRIEVE_REQ_64] {
        each(sp, version, 5..=7, |sp, last| {
            if last.is_some() {
                sp.call([RX_RELEASE]).success();
                sp.relinquish(handle, 0).success();
            }
            sp.write_tx(&request);
            padded([function, length, length])
        });
        sp.call([RX_RELEASE]).success();
        sp.relinquish(handle, 0).success();
    }
    each(sp, version, 1..=7, |sp, _| {
        sp.write_tx(&request);
        sp.call([MEM_RETRIEVE_REQ_64, length, length]);
        sp.call([RX_RELEASE]).success();
        sp.write_tx(&done);
        padded([MEM_RELINQUISH])
    });
}

/// Returns a stage on which all endpoints have version 1.`minor`.
fn all_speak(minor: u32, version: u64) -> Stage {
    let stage = Stage::with(|spec| spec.version(minor));
    stage.nwd().call([RXTX_UNMAP]).success();
    stage.nwd().version(version);
    stage.nwd().map_buffers();
    stage
}

// req: GEN-28, COMP-03, RXTX-18, RXTX-19, PINFO-08, MEMX-01, MEMRQ-01, MEMRL-01, MEMRC-01, MSGW-11
// req: COMP-23
#[test]
fn reserved_registers_must_be_zero_at_1_0_and_are_ignored_later() {
    for (minor, version) in [(0, V1_0), (1, V1_1), (2, V1_2)] {
        let stage = all_speak(minor, version);
        let mut nwd = stage.nwd();
        try_calls_of_owners(&mut nwd, version, 0, [NWD_TX, NWD_RX], NWD_PAGES);
        each(&mut nwd, version, 2..=7, |_, _| padded([RUN, 0x8003_0000]));
        stage.run(SP1, move |sp| {
            let (tx, page) = (sp.tx(), sp.base() + OWN_PAGES);
            try_calls_of_owners(sp, version, SP1, [tx, tx + 0x1000], page);
        });
        let share = Transaction::share(0, SP1, RW, &[(NWD_PAGES, 1)]);
        let handle = nwd
            .memory_call(MEM_SHARE_64, &share.encode(Layout::of(version)))
            .handle();
        stage.run(SP1, move |sp| try_calls_of_borrowers(sp, version, handle));
        nwd.reclaim(handle).success();
    }
}

/// Fragments, the last one of a send and the last one of a response.
// req: MEMX-01, GEN-28, FRAG-11
#[test]
fn reserved_registers_of_fragments() {
    for (minor, version) in [(0, V1_0), (1, V1_1), (2, V1_2)] {
        let stage = all_speak(minor, version);
        let mut nwd = stage.nwd();
        let ranges = [(NWD_PAGES, 1), (NWD_PAGES + 0x2000, 1)];
        let share = Transaction::share(0, SP1, RW, &ranges).encode(Layout::of(version));
        let (first, last_range) = share.split_at(share.len() - 16);
        each(&mut nwd, version, 5..=7, |nwd, last| {
            if let Some(answer) = last {
                nwd.reclaim(answer.handle()).success();
            }
            nwd.write(NWD_TX, first);
            let (total, length) = (share.len() as u64, first.len() as u64);
            let [_, low, high, ..] = nwd.call([MEM_SHARE_64, total, length]).0;
            nwd.write(NWD_TX, last_range);
            padded([MEM_FRAG_TX, low, high, 16, 0])
        });
    }
}

// From 1.2 on, a partition may yield while it serves another partition, which then runs it.
// req: MSGW-11, MSGW-12
#[test]
fn reserved_registers_of_run_from_a_partition() {
    let stage = Stage::new();
    stage.leave(SP3, |sp| {
        for _ in 2..=7 {
            sp.call([YIELD]);
        }
    });
    stage.run(SP1, |sp| {
        let mut answer = sp.call([DIRECT_REQ_64, 0x8001_8003]);
        for n in 2..=7 {
            assert_eq!(answer.function(), YIELD);
            let mut call = padded([RUN, 0x8003_0000]);
            call[n] = GARBAGE;
            answer = sp.call(call);
        }
        assert_eq!(answer.function(), DIRECT_RESP_64);
    });
}
