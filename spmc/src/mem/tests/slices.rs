//! Calls that are paused between slices.

use super::*;
use crate::limits::SLICE_PAGES;

const SLICED: u32 = 1 << 1;
const PAGES: u32 = 3 * SLICE_PAGES as u32 - 1;
const LAND: u64 = 0x1000_0000;

/// Returns a machine where A has a large memory of its own.
fn machine() -> Machine {
    let machine = Machine::with(&VERSIONS[2..], 40, 3);
    machine.give(A, LAND, 4 * SLICE_PAGES, Permissions::all());
    machine
}

fn lend(flags: u32) -> Vec<u8> {
    // The region has two ranges of odd lengths, in descending order.
    let half = PAGES / 2 + 7;
    let end = LAND + half as u64 * 0x1000;
    Descriptor::offer(A, 0, &[(B, RW)], &[(end, PAGES - half), (LAND, half)])
        .with(|d| d.flags = flags)
        .bytes(Version::V1_2)
}

fn regs(function: u32, handle: u64) -> SmcFrame {
    SmcFrame::new([function as u64, handle & 0xffff_ffff, handle >> 32])
}

impl Machine {
    fn resume(&self, id: u16, handle: u64) -> Result<SmcFrame> {
        let mut call = regs(function::MEM_OP_RESUME, handle);
        // Registers from x8 on are not parameters, so their values must not matter.
        call.x[8..].fill(u64::MAX);
        self.call(id, call)
    }

    fn dirty(&self) {
        for page in 0..PAGES as u64 {
            let at = Pa::new(LAND + page * 0x1000);
            self.hal.write(World::Secure, at, &[0xaa]).unwrap();
        }
    }

    fn zeroed(&self) -> usize {
        let is_zero = |page: &u64| {
            let mut byte = [1];
            let at = Pa::new(LAND + page * 0x1000);
            self.hal.read(World::Secure, at, &mut byte).unwrap();
            byte == [0]
        };
        (0..PAGES as u64).filter(is_zero).count()
    }

    /// Resumes until the call is over. Returns the answer and the number of resumes.
    #[track_caller]
    fn resume_all(&self, id: u16, handle: u64) -> (SmcFrame, usize) {
        let mut times = 0;
        loop {
            times += 1;
            assert_eq!(self.zeroed(), times * SLICE_PAGES as usize);
            let answer = self.resume(id, handle).unwrap();
            if answer.w(0) != function::MEM_OP_PAUSE {
                assert_eq!(self.zeroed(), PAGES as usize);
                return (answer, times);
            }
            assert_eq!(answer.x, regs(function::MEM_OP_PAUSE, handle).x);
        }
    }
}

// req: TIME-01, TIME-02, TIME-03, TIME-04, TIME-05, TIME-06, TIME-08, MEMD-80, MEMD-87, MEMRL-12
// req: MEMRC-04
#[test]
fn calls_are_paused_between_slices_and_nobody_else_comes_near() {
    let machine = machine();
    let before = machine.snapshot();
    machine.dirty();
    let call = |flags| machine.call_with(A, LEND, &lend(flags)).unwrap();
    // A call is paused only if its caller asks for that, and only if the call takes long.
    let done = call(1);
    assert_eq!(
        (done.w(0), machine.zeroed()),
        (function::SUCCESS_32, PAGES as usize)
    );
    machine.reclaim(A, done.x[3] << 32 | done.x[2], 0).unwrap();
    machine.dirty();
    let done = call(SLICED);
    assert_eq!((done.w(0), machine.zeroed()), (function::SUCCESS_32, 0));
    machine.reclaim(A, done.x[3] << 32 | done.x[2], 0).unwrap();

    let answer = call(SLICED | 1);
    let handle = answer.x[2] << 32 | answer.x[1];
    assert_eq!(answer.x, regs(function::MEM_OP_PAUSE, handle).x);
    assert_eq!(machine.state(A, LAND), Some(State::OwnerNoAccess));
    let request = |flags| Descriptor::request(A, handle, B, RW).with(|d| d.flags = flags);
    let nobody_else = |resumes: u16| {
        machine.refuses(Busy, || machine.retrieve(B, &request(0)));
        machine.refuses(Busy, || machine.relinquish(B, handle));
        machine.refuses(Busy, || machine.reclaim(A, handle, 0));
        machine.refuses(Denied, || {
            machine.send(A, SHARE, &Descriptor::share(A, C, LAND, 1))
        });
        for other in [NS, A, B, C].into_iter().filter(|id| *id != resumes) {
            machine.refuses(InvalidParameters, || machine.resume(other, handle));
        }
        for wrong in [0, handle + 1, handle + (1 << 16), u64::MAX] {
            machine.refuses(InvalidParameters, || machine.resume(resumes, wrong));
        }
    };
    nobody_else(A);
    let (answer, times) = machine.resume_all(A, handle);
    assert_eq!(times, 2);
    let success = told(Answer::success([handle as u32, (handle >> 32) as u32]));
    assert_eq!(answer.x, success.x);
    machine.refuses(InvalidParameters, || machine.resume(A, handle));

    // A retrieval may ask for pauses, but never takes long enough for one.
    machine.retrieve(B, &request(SLICED)).unwrap();
    machine.dirty();
    let answer = machine
        .relinquish_with(B, handle, SLICED | 1, &[B])
        .unwrap();
    assert_eq!(answer.x, regs(function::MEM_OP_PAUSE, handle).x);
    assert_eq!(machine.access(B, World::Secure, LAND), None);
    nobody_else(B);
    let (answer, times) = machine.resume_all(B, handle);
    assert_eq!((answer.x, times), (told(Answer::success([])).x, 2));

    machine.dirty();
    let answer = machine.reclaim(A, handle, 3).unwrap();
    assert_eq!(answer.x, regs(function::MEM_OP_PAUSE, handle).x);
    assert_eq!(machine.state(A, LAND), Some(State::OwnerNoAccess));
    nobody_else(A);
    let (answer, times) = machine.resume_all(A, handle);
    assert_eq!((answer.x, times), (told(Answer::success([])).x, 2));
    let after = machine.snapshot();
    assert_eq!((after.leaves, after.pools), (before.leaves, before.pools));
}

// req: TIME-01, TIME-09, MEMD-80
#[test]
fn the_normal_world_cannot_be_paused() {
    let machine = machine();
    let share = Descriptor::share(NS, A, RAM + 0x5000, 1);
    let handle = machine.send(NS, SHARE, &share).unwrap();
    for flags in [SLICED, SLICED | 1] {
        let offer = Descriptor::lend(NS, A, RAM + 0x9000, 1).with(|d| d.flags = flags);
        machine.refuses(InvalidParameters, || machine.send(NS, LEND, &offer));
        machine.refuses(InvalidParameters, || {
            machine.reclaim(NS, handle, flags as u64)
        });
    }
    // The other bits of the flags are reserved.
    for flags in [4, 1 << 31] {
        let offer = Descriptor::lend(A, B, LAND, 1).with(|d| d.flags = flags);
        machine.refuses(InvalidParameters, || machine.send(A, LEND, &offer));
        machine.refuses(InvalidParameters, || {
            machine.relinquish_with(A, handle, flags, &[A])
        });
    }
}

// Between two slices no lock is held, and only the next slice can change the region.
// req: TIME-02, TIME-05, TIME-07, TIME-09
#[test]
fn a_call_that_its_caller_does_not_resume_stops_after_each_slice() {
    let machine = machine();
    let before = machine.snapshot();
    let begin = || {
        machine.dirty();
        machine.put_tx(A, &lend(1));
        let length = lend(1).len() as u64;
        let call = SmcFrame::new([LEND as u64, length, length]);
        let answer = machine.first_step(A, call).unwrap();
        let handle = machine.engine().unfinished(&answer).unwrap().bits();
        assert_eq!(machine.zeroed(), SLICE_PAGES as usize);
        handle
    };
    let finish = |handle| machine.engine().finish(machine.of(A), Handle::new(handle));
    let handle = begin();
    machine.refuses(Busy, || machine.reclaim(A, handle, 0));
    machine.refuses(Denied, || {
        machine.send(A, SHARE, &Descriptor::share(A, C, LAND, 1))
    });
    // Nobody can resume the call, not even another context of its caller.
    for other in [NS, A, B, C] {
        machine.refuses(InvalidParameters, || machine.resume(other, handle));
    }
    let paused = finish(handle).unwrap();
    assert_eq!(
        machine.engine().unfinished(&paused),
        Some(Handle::new(handle))
    );
    // Only a pause can be unfinished, whatever the registers of another answer hold.
    let [_, low, high, ..] = paused.x;
    let other = Answer::new([function::MEM_RETRIEVE_RESP as u64, low, high]);
    assert_eq!(machine.engine().unfinished(&other), None);
    assert_eq!(machine.zeroed(), 2 * SLICE_PAGES as usize);
    let answer = finish(handle).unwrap();
    let success = Answer::success([handle as u32, (handle >> 32) as u32]);
    assert_eq!((answer, machine.zeroed()), (success, PAGES as usize));
    machine.reclaim(A, handle, 0).unwrap();

    // The SPMC does not end a pause that the caller asked for.
    machine.dirty();
    let agreed = machine.call_with(A, LEND, &lend(SLICED | 1)).unwrap();
    let handle = agreed.x[2] << 32 | agreed.x[1];
    let answer = Answer::new([agreed.x[0], agreed.x[1], agreed.x[2]]);
    assert_eq!(machine.engine().unfinished(&answer), None);
    machine.refuses(InvalidParameters, || finish(handle));
    machine.resume_all(A, handle);
    machine.reclaim(A, handle, 0).unwrap();

    // The memory cannot be accessed any more; after that, the caller dies.
    let handle = begin();
    machine.hal.faulty.store(true, Ordering::Relaxed);
    assert_eq!(finish(handle).unwrap_err(), Aborted);
    machine.hal.faulty.store(false, Ordering::Relaxed);
    assert_eq!(machine.shares.live(), 0);
    let handle = begin();
    machine.engine().bury(machine.of(A));
    assert_eq!(finish(handle).unwrap_err(), InvalidParameters);
    assert_eq!(machine.shares.live(), 0);
    let after = machine.snapshot();
    assert_eq!((after.leaves, after.pools), (before.leaves, before.pools));
}

// req: TIME-03, TIME-04, FRAG-12
#[test]
fn only_a_descriptor_that_is_whole_is_paused() {
    let machine = machine();
    machine.dirty();
    let bytes = lend(SLICED | 1);
    let first = bytes.len() - 16;
    machine.put_tx(A, &bytes[..first]);
    let (total, length) = (bytes.len() as u64, first as u64);
    let asked = machine
        .call(A, SmcFrame::new([LEND as u64, total, length]))
        .unwrap();
    assert_eq!((asked.w(0), machine.zeroed()), (function::MEM_FRAG_RX, 0));
    let handle = asked.x[2] << 32 | asked.x[1];
    machine.refuses(InvalidParameters, || machine.resume(A, handle));
    machine.put_tx(A, &bytes[first..]);
    let mut last = regs(function::MEM_FRAG_TX, handle);
    last.x[3] = 16;
    let answer = machine.call(A, last).unwrap();
    assert_eq!(answer.x, regs(function::MEM_OP_PAUSE, handle).x);
    assert_eq!(machine.resume_all(A, handle).0.w(0), function::SUCCESS_32);
}

// req: TIME-07, MEMX-18
#[test]
fn memory_that_stops_answering_undoes_a_paused_call() {
    let machine = machine();
    let before = machine.snapshot();
    let faulty = |on| machine.hal.faulty.store(on, Ordering::Relaxed);
    let begin = |answer: SmcFrame| {
        assert_eq!(answer.w(0), function::MEM_OP_PAUSE);
        answer.x[2] << 32 | answer.x[1]
    };
    let fails = |id, handle| {
        faulty(true);
        assert_eq!(machine.resume(id, handle).unwrap_err(), Aborted);
        faulty(false);
        machine.refuses(InvalidParameters, || machine.resume(id, handle));
    };
    let handle = begin(machine.call_with(A, LEND, &lend(3)).unwrap());
    fails(A, handle);
    let after = machine.snapshot();
    assert_eq!((after.leaves, after.pools), (before.leaves, before.pools));
    assert_eq!(machine.shares.live(), 0);

    let done = machine.call_with(A, LEND, &lend(0)).unwrap();
    let handle = done.x[3] << 32 | done.x[2];
    let sent = machine.snapshot();
    let request = Descriptor::request(A, handle, B, RW);
    machine.retrieve(B, &request).unwrap();
    let retrieved = machine.snapshot();
    begin(machine.relinquish_with(B, handle, 3, &[B]).unwrap());
    fails(B, handle);
    assert_eq!(machine.snapshot(), retrieved);
    machine.relinquish(B, handle).unwrap();
    begin(machine.reclaim(A, handle, 3).unwrap());
    fails(A, handle);
    assert_eq!(machine.snapshot().leaves, sent.leaves);
    machine.reclaim(A, handle, 0).unwrap();
}

// req: MEMO-12, TIME-07
#[test]
fn who_dies_in_a_pause_holds_nobody_up() {
    let begin = |machine: &Machine| {
        machine.dirty();
        let done = machine.call_with(A, LEND, &lend(0)).unwrap();
        done.x[3] << 32 | done.x[2]
    };
    // The sender dies.
    let machine = machine();
    let before = machine.snapshot().leaves;
    machine.call_with(A, LEND, &lend(3)).unwrap();
    machine.engine().bury(machine.of(A));
    assert_eq!(
        (machine.shares.live(), machine.snapshot().leaves),
        (0, before)
    );
    // The borrower dies: its memory is zeroed to the end.
    let handle = begin(&machine);
    machine
        .retrieve(B, &Descriptor::request(A, handle, B, RW))
        .unwrap();
    machine.relinquish_with(B, handle, 3, &[B]).unwrap();
    assert!(machine.engine().bury(machine.of(B)));
    assert_eq!(machine.zeroed(), SLICE_PAGES as usize);
    machine.refuses(InvalidParameters, || machine.resume(B, handle));
    machine.settle(SLICE_PAGES as usize);
    // The owner dies while it takes the region back.
    machine.reclaim(A, handle, 3).unwrap();
    assert!(!machine.engine().bury(machine.of(A)));
    assert_eq!(machine.shares.live(), 0);
    assert_eq!(machine.state(A, LAND), Some(State::OwnerExclusive));
    // The owner dies while its borrower gives the region back.
    let handle = begin(&machine);
    machine
        .retrieve(B, &Descriptor::request(A, handle, B, RW))
        .unwrap();
    machine.relinquish_with(B, handle, 3, &[B]).unwrap();
    machine.engine().bury(machine.of(A));
    machine.resume_all(B, handle);
    assert_eq!(machine.shares.live(), 0);
}

// Paused memory is not zeroed yet, so the death of another partition must not give the memory to
// anybody.
// req: MEMO-12, TIME-04, TIME-07
#[test]
fn a_borrower_that_dies_does_not_end_a_pause_of_the_owner() {
    let machine = machine();
    machine.dirty();
    let lend = Descriptor::offer(A, WB, &[(B, RW), (C, RW)], &[(LAND, PAGES)]);
    let lend = lend.with(|d| d.flags = SLICED | 1).bytes(Version::V1_2);
    let answer = machine.call_with(A, LEND, &lend).unwrap();
    assert_eq!(answer.w(0), function::MEM_OP_PAUSE);
    let handle = answer.x[2] << 32 | answer.x[1];
    machine.engine().bury(machine.of(B));
    let request = Descriptor::request(A, handle, C, RW).with(|d| {
        (d.attributes, d.flags) = (WB, 1 << 10);
    });
    machine.refuses(Busy, || machine.retrieve(C, &request));
    let (answer, times) = machine.resume_all(A, handle);
    assert_eq!((answer.w(0), times), (function::SUCCESS_32, 2));
    machine.retrieve(C, &request).unwrap();
}

// req: MEMO-12, MEMRL-12, TIME-07
#[test]
fn memory_that_was_to_be_zeroed_does_not_come_back_as_it_is() {
    let machine = machine();
    machine.dirty();
    let done = machine.call_with(A, LEND, &lend(0)).unwrap();
    let handle = done.x[3] << 32 | done.x[2];
    machine
        .retrieve(B, &Descriptor::request(A, handle, B, RW))
        .unwrap();
    let answer = machine.relinquish_with(B, handle, SLICED | 1, &[B]);
    assert_eq!(answer.unwrap().w(0), function::MEM_OP_PAUSE);
    assert!(machine.engine().bury(machine.of(B)));
    let faulty = |on| machine.hal.faulty.store(on, Ordering::Relaxed);
    faulty(true);
    assert!(!machine.engine().settle());
    assert_eq!(machine.reclaim(A, handle, 0).unwrap_err(), Aborted);
    faulty(false);
    assert!(machine.zeroed() < PAGES as usize);
    assert_eq!(machine.state(A, LAND), Some(State::OwnerNoAccess));
    machine.dirty();
    machine.reclaim(A, handle, 0).unwrap();
    assert_eq!(machine.zeroed(), PAGES as usize);
}

/// Returns a machine where A has lent a region to B and C, and B retrieved it with `flags` and then
/// died.
fn legacy(flags: u32) -> (Machine, u64) {
    let machine = machine();
    machine.dirty();
    let lend = Descriptor::offer(A, WB, &[(B, RW), (C, RW)], &[(LAND, PAGES)]);
    let handle = machine.send(A, LEND, &lend).unwrap();
    machine.retrieve(B, &ask(handle, B, flags)).unwrap();
    assert!(machine.engine().bury(machine.of(B)));
    assert_eq!(machine.access(B, World::Secure, LAND), None);
    (machine, handle)
}

/// Returns the request of `id` for that region.
fn ask(handle: u64, id: u16, flags: u32) -> Descriptor {
    Descriptor::request(A, handle, id, RW).with(|d| {
        (d.attributes, d.flags) = (WB, flags | 1 << 10);
    })
}

impl Machine {
    /// Zeroes, slice by slice, what a dead borrower left. `done` pages are zeroed already.
    #[track_caller]
    fn settle(&self, mut done: usize) {
        while done < PAGES as usize {
            assert!(self.engine().settle());
            done = (done + SLICE_PAGES as usize).min(PAGES as usize);
            assert_eq!(self.zeroed(), done);
        }
        assert!(!self.engine().settle());
    }
}

// The death of a partition takes no longer if other partitions have lent it memory.
// req: MEMO-12, MEMD-88
#[test]
fn what_a_dead_borrower_leaves_is_zeroed_in_slices_before_anybody_gets_it() {
    let (machine, handle) = legacy(4);
    assert_eq!(machine.zeroed(), 0);
    // Nobody gets the memory while it cannot be zeroed.
    machine.hal.faulty.store(true, Ordering::Relaxed);
    assert!(!machine.engine().settle());
    assert_eq!(machine.reclaim(A, handle, 0).unwrap_err(), Aborted);
    machine.hal.faulty.store(false, Ordering::Relaxed);
    machine.refuses(Busy, || machine.retrieve(C, &ask(handle, C, 0)));
    assert!(machine.engine().settle());
    assert_eq!(machine.zeroed(), SLICE_PAGES as usize);
    machine.refuses(Busy, || machine.retrieve(C, &ask(handle, C, 0)));
    machine.refuses(Busy, || machine.relinquish(B, handle));
    for id in [NS, A, B, C] {
        machine.refuses(InvalidParameters, || machine.resume(id, handle));
    }
    machine.settle(SLICE_PAGES as usize);
    machine.retrieve(C, &ask(handle, C, 0)).unwrap();
    machine.dirty();
    machine.relinquish(C, handle).unwrap();
    machine.reclaim(A, handle, 0).unwrap();
    assert_eq!(machine.zeroed(), 0, "once only");
}

// req: MEMO-12, MEMD-88, TIME-02
#[test]
fn the_owner_of_what_a_dead_borrower_leaves_need_not_wait() {
    let (machine, handle) = legacy(4);
    machine.engine().settle();
    machine.refuses(InvalidParameters, || machine.reclaim(C, handle, 0));
    let answer = machine.reclaim(A, handle, SLICED.into()).unwrap();
    assert_eq!(answer.x, regs(function::MEM_OP_PAUSE, handle).x);
    assert_eq!(machine.zeroed(), 2 * SLICE_PAGES as usize);
    // The zeroing is part of the owner's call now.
    assert!(!machine.engine().settle());
    let answer = machine.resume(A, handle).unwrap();
    assert_eq!(answer.x, told(Answer::success([])).x);
    assert_eq!(machine.zeroed(), PAGES as usize);
    assert_eq!(machine.state(A, LAND), Some(State::OwnerExclusive));

    // If the owner dies in that pause, or before, the SPMC goes on with the zeroing.
    for reclaims in [false, true] {
        let (machine, handle) = legacy(4);
        if reclaims {
            machine.reclaim(A, handle, SLICED.into()).unwrap();
        }
        assert!(machine.engine().bury(machine.of(A)));
        assert_eq!(machine.state(A, LAND), Some(State::OwnerNoAccess));
        while machine.engine().settle() {}
        assert_eq!(machine.zeroed(), PAGES as usize);
        assert_eq!(machine.shares.live(), 0);
        assert_eq!(machine.state(A, LAND), Some(State::OwnerExclusive));
    }
}
