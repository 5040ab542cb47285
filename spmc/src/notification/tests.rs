extern crate std;

use std::vec::Vec;

use super::*;
use crate::ffa::function;

const SP1: PartitionId = PartitionId(0x8001);
const SP2: PartitionId = PartitionId(0x8002);
const VM1: PartitionId = PartitionId(1);
/// No notifications: all are taken.
const NONE: Pending = Pending {
    partitions: 0,
    vms: 0,
    spm: 0,
    hypervisor: 0,
};
const ALL: u32 = 0xf;

/// vCPUs of VMs.
const MOST: u16 = 32;
const VMS: u16 = 8;

fn with_vcpus(vcpus: u16) -> Receiver {
    let mut receiver = Receiver::new(MOST);
    assert!(receiver.begin(vcpus));
    receiver
}

fn pending_on(receiver: &Receiver) -> Vec<u16> {
    let vcpus = 0..4;
    vcpus.filter(|vcpu| receiver.is_pending_on(*vcpu)).collect()
}

fn receiver() -> Receiver {
    with_vcpus(4)
}

// req: NTF-10, NTF-14, NTF-17
#[test]
fn a_notification_has_one_sender_until_it_is_unbound() {
    let mut receiver = receiver();
    receiver.bind(SP1, 0b11, false).unwrap();
    assert_eq!(receiver.bind(SP1, 0b10, false), Err(FfaError::Denied));
    assert_eq!(receiver.bind(SP2, 0b110, true), Err(FfaError::Denied));
    assert_eq!(receiver.unbind(SP2, 0b01), Err(FfaError::Denied));
    assert_eq!(receiver.unbind(SP1, 0b101), Err(FfaError::Denied));
    receiver.unbind(SP1, 0b01).unwrap();
    receiver.bind(SP2, 0b101, true).unwrap();
    // SP1 still has the other notification.
    assert_eq!(receiver.set(SP1, 0b10, Target::Global), Ok(true));
    // The set fails if any of its bits is bound to another sender; here bit 1 is.
    assert_eq!(
        receiver.set(SP2, 0b10, Target::Global),
        Err(FfaError::Denied)
    );
}

// req: NTF-13
#[test]
fn what_is_bound_anew_is_of_the_new_kind() {
    let mut receiver = receiver();
    receiver.bind(SP1, 0b11, true).unwrap();
    receiver.unbind(SP1, 0b01).unwrap();
    receiver.bind(SP1, 0b01, false).unwrap();
    assert_eq!(receiver.set(SP1, 0b01, Target::Global), Ok(true));
    assert_eq!(receiver.set(SP1, 0b10, Target::Vcpu(0)), Ok(true));
}

// FF-A v1.1 section 16.2: a bitmap is not destroyed while any notification is pending.
// req: NTF-06
#[test]
fn what_is_pending_for_one_vcpu_is_pending() {
    for sender in [SP1, VM1] {
        let mut receiver = receiver();
        receiver.bind(sender, 1, true).unwrap();
        receiver.set(sender, 1, Target::Vcpu(3)).unwrap();
        assert!(receiver.is_pending());
        receiver.take(0, ALL, &NONE).unwrap();
        assert!(receiver.is_pending());
        receiver.take(3, ALL, &NONE).unwrap();
        assert!(!receiver.is_pending());
    }
}

// req: NTF-27
#[test]
fn the_worlds_have_maps_of_their_own() {
    let mut receiver = receiver();
    receiver.bind(SP1, 1 << 63, false).unwrap();
    receiver.bind(VM1, 1 << 63, false).unwrap();
    receiver.set(VM1, 1 << 63, Target::Global).unwrap();
    let pending = receiver.take(0, ALL, &NONE).unwrap();
    assert_eq!((pending.partitions, pending.vms), (0, 1 << 63));
}

// req: NTF-13, NTF-17, NTF-19
#[test]
fn only_the_sender_sets_and_only_as_it_was_bound() {
    let mut receiver = receiver();
    receiver.bind(SP1, 0b01, false).unwrap();
    receiver.bind(SP1, 0b10, true).unwrap();
    let denied = Err(FfaError::Denied);
    assert_eq!(receiver.set(SP2, 0b01, Target::Global), denied);
    assert_eq!(receiver.set(SP1, 0b100, Target::Global), denied);
    assert_eq!(receiver.set(SP1, 0b110, Target::Global), denied);
    let invalid = Err(FfaError::InvalidParameters);
    assert_eq!(receiver.set(SP1, 0b10, Target::Global), invalid);
    assert_eq!(receiver.set(SP1, 0b11, Target::Global), invalid);
    assert_eq!(receiver.set(SP1, 0b01, Target::Vcpu(0)), invalid);
    assert_eq!(receiver.set(SP1, 0b10, Target::Vcpu(4)), invalid);
    assert!(!receiver.is_pending() && !receiver.has_news());
}

// req: NTF-15, NTF-21, NTF-24, NTF-26
#[test]
fn reading_clears_what_was_read() {
    let mut receiver = receiver();
    receiver.bind(SP1, 0b01, false).unwrap();
    receiver.bind(SP1, 0b10, true).unwrap();
    receiver.set(SP1, 0b01, Target::Global).unwrap();
    receiver.set(SP1, 0b10, Target::Vcpu(1)).unwrap();
    receiver.set(SP1, 0b10, Target::Vcpu(2)).unwrap();
    assert_eq!(
        receiver.take(4, ALL, &NONE),
        Err(FfaError::InvalidParameters)
    );
    assert_eq!(
        receiver.take(1, Pending::VMS, &NONE).unwrap(),
        Pending::default()
    );
    assert_eq!(receiver.take(1, ALL, &NONE).unwrap().partitions, 0b11);
    assert_eq!(receiver.take(1, ALL, &NONE).unwrap().partitions, 0);
    assert_eq!(receiver.unbind(SP1, 0b10), Err(FfaError::Denied));
    assert_eq!(receiver.take(2, ALL, &NONE).unwrap().partitions, 0b10);
    receiver.unbind(SP1, 0b11).unwrap();
}

// req: NTF-22, NTF-40
#[test]
fn the_framework_needs_no_binding() {
    let mut receiver = receiver();
    receiver.set_framework(Framework::RxFullSpm);
    receiver.set_framework(Framework::RxFullSpm);
    receiver.set_framework(Framework::RxFullHypervisor);
    let pending = receiver.take(3, Pending::HYPERVISOR, &NONE).unwrap();
    assert_eq!((pending.spm, pending.hypervisor), (0, 1));
    receiver.set_framework(Framework::RxFullHypervisor);
    assert_eq!(receiver.take(3, Pending::SPM, &NONE).unwrap().spm, 1);
    let rest = receiver.take(3, ALL, &NONE).unwrap();
    assert_eq!((rest.spm, rest.hypervisor), (0, 1));
}

// req: NTF-22
#[test]
fn a_message_is_pending_until_its_notification_is_taken() {
    for (which, of_others) in [
        (Framework::RxFullSpm, ALL & !Pending::SPM),
        (Framework::RxFullHypervisor, ALL & !Pending::HYPERVISOR),
    ] {
        let mut receiver = receiver();
        assert!(!receiver.has_unseen_message() && !receiver.is_pending());
        receiver.set_framework(which);
        receiver.take(0, of_others, &NONE).unwrap();
        assert!(receiver.has_unseen_message() && receiver.is_pending());
        assert!(receiver.has_news());
        assert_eq!(pending_on(&receiver), [0, 1, 2, 3]);
        receiver.take(0, ALL, &NONE).unwrap();
        assert!(!receiver.has_unseen_message() && !receiver.is_pending());
        assert!(pending_on(&receiver).is_empty());
    }
}

fn told(receiver: &mut Receiver, is_64: bool) -> (SmcRegs, bool) {
    let mut list = InfoList::new(is_64);
    let done = receiver.report(SP1, &mut list);
    (list.answer(!done).x[..8].try_into().unwrap(), done)
}

type SmcRegs = [u64; 8];

// req: NTF-29, NTF-30
#[test]
fn news_are_told_once() {
    let mut receiver = receiver();
    receiver.bind(SP1, 0b01, false).unwrap();
    receiver.bind(SP1, 0b10, true).unwrap();
    receiver.set(SP1, 0b01, Target::Global).unwrap();
    receiver.set(SP1, 0b10, Target::Vcpu(3)).unwrap();
    // There are two lists: one without vCPUs, and one with one vCPU.
    let header = 2 << 7 | 1 << 14;
    let success = function::SUCCESS_64.into();
    assert_eq!(
        told(&mut receiver, true),
        ([success, 0, header, 0x0003_8001_8001, 0, 0, 0, 0], true)
    );
    assert!(!receiver.has_news() && receiver.is_pending());
    // The notification is pending already, and has been reported.
    assert_eq!(receiver.set(SP1, 0b01, Target::Global), Ok(false));
    assert!(!receiver.has_news());
    receiver.take(0, ALL, &NONE).unwrap();
    assert_eq!(receiver.set(SP1, 0b01, Target::Global), Ok(true));
    assert!(receiver.has_news());
    // A notification that was fetched is not reported.
    receiver.take(0, ALL, &NONE).unwrap();
    assert!(!receiver.has_news());
}

// req: NTF-30, NTF-31, NTF-32
#[test]
fn long_lists_are_split() {
    let mut receiver = with_vcpus(32);
    receiver.bind(SP1, 1, true).unwrap();
    for vcpu in 0..32 {
        receiver.set(SP1, 1, Target::Vcpu(vcpu)).unwrap();
    }
    // The 32-bit form has 10 ids: lists of 3, 3 and 1 vCPUs, each with the id of the receiver.
    let (regs, done) = told(&mut receiver, false);
    assert_eq!(
        regs,
        [
            function::SUCCESS_32.into(),
            0,
            1 | 3 << 7 | 3 << 12 | 3 << 14 | 1 << 16,
            0x0000_8001,
            0x0002_0001,
            0x0003_8001,
            0x0005_0004,
            0x0006_8001,
        ]
    );
    assert!(!done);
    // The 64-bit form has 20 ids: five lists of 3 vCPUs.
    let (regs, done) = told(&mut receiver, true);
    assert_eq!(regs[2], 1 | 5 << 7 | 0x3ff << 12);
    assert_eq!(regs[3], 0x0009_0008_0007_8001);
    assert_eq!(regs[7], 0x0015_0014_0013_8001);
    assert!(!done);
    let (regs, done) = told(&mut receiver, true);
    assert_eq!(regs[2], 4 << 7 | 0x7f << 12);
    assert_eq!(regs[6], 0x001f_8001);
    assert!(done && !receiver.has_news());
}

// FF-A v1.1 section 16.7: notifications that do not fit are reported by the next call.
// req: NTF-32
#[test]
fn a_list_that_is_full_loses_no_news() {
    let full_but_for = |room: usize| {
        let mut list = InfoList::new(true);
        for _ in room..20 {
            assert!(list.push(SP2, &[]));
        }
        list
    };
    let mut receiver = receiver();
    receiver.bind(SP1, 0b01, false).unwrap();
    receiver.bind(SP1, 0b10, true).unwrap();
    receiver.set(SP1, 0b01, Target::Global).unwrap();
    assert!(!receiver.report(SP1, &mut full_but_for(0)) && receiver.has_news());
    assert!(receiver.report(SP1, &mut full_but_for(1)) && !receiver.has_news());
    receiver.set(SP1, 0b10, Target::Vcpu(3)).unwrap();
    for room in [0, 1] {
        let mut list = full_but_for(room);
        assert!(!receiver.report(SP1, &mut list) && receiver.has_news());
        let untouched = full_but_for(room).answer(true);
        assert_eq!(list.answer(true).x, untouched.x, "no list without its vCPU");
    }
    assert!(receiver.report(SP1, &mut full_but_for(2)) && !receiver.has_news());
}

// req: NTF-03, NTF-04, NTF-05, NTF-06, NTF-07
#[test]
fn vms_come_and_go() {
    let all = Notifications::new([1, 1].into_iter(), VMS, MOST);
    let directory = &Directory::new();
    assert_eq!(all.create(VM1, 0), Err(FfaError::InvalidParameters));
    let most = u32::from(MOST);
    assert_eq!(all.create(VM1, most + 1), Err(FfaError::NoMemory));
    all.create(VM1, most).unwrap();
    all.destroy(VM1).unwrap();
    assert_eq!(all.destroy(VM1), Err(FfaError::Denied));
    for id in 0..VMS {
        all.create(PartitionId(id), 1).unwrap();
    }
    assert_eq!(all.create(VM1, 1), Err(FfaError::Denied));
    assert_eq!(all.create(PartitionId(100), 1), Err(FfaError::NoMemory));
    all.receiver(directory, VM1).unwrap().with(|receiver| {
        receiver.bind(SP1, 1, false).unwrap();
        receiver.set(SP1, 1, Target::Global).unwrap();
    });
    assert_eq!(all.destroy(VM1), Err(FfaError::Denied));
    let mut list = InfoList::new(true);
    assert!(!all.report(&mut list));
    assert_eq!(list.answer(false).x[3], 1);
    all.receiver(directory, VM1)
        .unwrap()
        .with(|receiver| receiver.take(0, ALL, &NONE))
        .unwrap();
    all.destroy(VM1).unwrap();
    assert!(all.receiver(directory, VM1).is_none());
    all.create(PartitionId(100), 1).unwrap();
    // The new VM has no bindings of the VM that had the slot before.
    let bound = all
        .receiver(directory, PartitionId(100))
        .unwrap()
        .with(|receiver| receiver.set(SP1, 1, Target::Global));
    assert_eq!(bound, Err(FfaError::Denied));
}

// req: NTF-47
#[test]
fn a_vm_that_ended_leaves_its_slot() {
    let all = Notifications::new([1, 1].into_iter(), 1, MOST);
    let directory = &Directory::new();
    all.end_vm(VM1);
    all.create(VM1, 2).unwrap();
    all.end_vm(VM1);
    assert_eq!(all.create(VM1, 2), Err(FfaError::Denied));
    let with = |action: fn(&mut Receiver)| all.receiver(directory, VM1).unwrap().with(action);
    for pend in [
        |receiver: &mut Receiver| {
            receiver.bind(SP1, 1, true).unwrap();
            receiver.set(SP1, 1, Target::Vcpu(1)).unwrap();
        },
        |receiver: &mut Receiver| receiver.set_framework(Framework::RxFullSpm),
    ] {
        with(pend);
        assert_eq!(all.destroy(VM1), Err(FfaError::Denied));
        all.end_vm(VM1);
        assert!(all.receiver(directory, VM1).is_none());
        let mut list = InfoList::new(true);
        assert!(!all.report(&mut list) && list.is_empty());
        all.create(VM1, 2).unwrap();
        with(|receiver| assert!(!receiver.is_pending()));
    }
    all.destroy(VM1).unwrap();
}

// req: NTF-41
#[test]
fn a_partition_that_failed_is_forgotten() {
    let all = Notifications::new([1, 1].into_iter(), VMS, MOST);
    let directory = &Directory::new();
    directory.enter(SP2, 1);
    all.enable_partition(1, SP2, 1);
    all.receiver(directory, SP2)
        .unwrap()
        .with(|receiver| receiver.set_framework(Framework::RxFullSpm));
    all.bury(directory, SP2);
    assert!(all.receiver(directory, SP2).is_none());
    let mut list = InfoList::new(true);
    assert!(!all.report(&mut list) && list.is_empty());
    let mut ids = Vec::new();
    all.for_each(|id, _| ids.push(id));
    assert!(ids.is_empty());
}

// FF-A v1.1 section 10.4: notifications that VMs set become pending, and are news, like those that
// partitions set.
// req: NTF-22, NTF-26
#[test]
fn notifications_of_vms_count_like_those_of_partitions() {
    for (sender, of_others) in [(SP1, Pending::VMS), (VM1, Pending::PARTITIONS)] {
        let mut receiver = receiver();
        receiver.bind(sender, 0b01, false).unwrap();
        receiver.bind(sender, 0b10, true).unwrap();
        receiver.set(sender, 0b10, Target::Vcpu(0)).unwrap();
        assert_eq!(pending_on(&receiver), [0]);
        receiver.take(0, ALL, &NONE).unwrap();
        receiver.set(sender, 0b10, Target::Vcpu(2)).unwrap();
        assert_eq!(pending_on(&receiver), [2]);
        // The notification stays if another vCPU takes its own, or if the vCPU takes only those of
        // the other world.
        receiver.take(1, ALL, &NONE).unwrap();
        receiver.take(2, of_others, &NONE).unwrap();
        assert_eq!(pending_on(&receiver), [2]);
        assert!(receiver.has_news());
        receiver.take(2, ALL, &NONE).unwrap();
        assert!(pending_on(&receiver).is_empty() && !receiver.has_news());

        receiver.set(sender, 0b01, Target::Global).unwrap();
        assert_eq!(pending_on(&receiver), [0, 1, 2, 3]);
        receiver.take(1, of_others, &NONE).unwrap();
        assert!(receiver.has_news());
        receiver.take(1, ALL, &NONE).unwrap();
        assert!(!receiver.is_pending() && !receiver.has_news());
    }
}

// FF-A v1.1 section 16.7: a register holds two ids in the 32-bit form, and four in the 64-bit form.
// req: NTF-31
#[test]
fn a_list_takes_as_many_ids_as_registers_hold() {
    for (is_64, ids) in [(false, 10), (true, 20)] {
        let mut list = InfoList::new(is_64);
        assert!(!list.push(SP1, &[0, 1, 2, 3]), "its count has two bits");
        for _ in 1..ids {
            assert!(list.push(SP1, &[]));
        }
        assert!(!list.push(SP1, &[1]), "no room for two");
        assert!(list.push(SP1, &[]));
        assert!(!list.push(SP2, &[]));
        assert_eq!(list.answer(false).x[2] >> 7 & 0x1f, ids);
    }
}

// req: NTF-45
#[test]
fn notifications_in_the_mask_stay_pending() {
    let mut receiver = Receiver::new(2);
    receiver.begin(2);
    for sender in [SP1, PartitionId(1)] {
        receiver.bind(sender, 0b111, false).unwrap();
        receiver.bind(sender, 0b11000, true).unwrap();
        receiver.set(sender, 0b111, Target::Global).unwrap();
        receiver.set(sender, 0b11000, Target::Vcpu(1)).unwrap();
    }
    receiver.set_framework(Framework::RxFullSpm);
    receiver.set_framework(Framework::RxFullHypervisor);
    let kept = Pending {
        partitions: 0b10010,
        vms: u64::MAX,
        spm: 1,
        hypervisor: 0,
    };
    let taken = receiver.take(1, ALL, &kept).unwrap();
    assert_eq!((taken.partitions, taken.vms), (0b01101, 0));
    assert_eq!((taken.spm, taken.hypervisor), (0, 1));
    assert!(receiver.is_pending_on(1));
    let rest = receiver.take(1, ALL, &NONE).unwrap();
    assert_eq!((rest.partitions, rest.vms), (0b10010, 0b11111));
    assert_eq!((rest.spm, rest.hypervisor), (1, 0));
    assert!(!receiver.is_pending());
}
