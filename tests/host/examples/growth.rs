//! One point of the growth table (`cargo xtask growth`): boots a system, prepares it, and makes the
//! first steps of one transaction. The cost of a step is the difference between two runs, so that
//! all other costs cancel out.
//!
//! Arguments: constituents, live handles, partitions, steps (0 to 4: send, retrieve, relinquish,
//! reclaim).

use host_tests::ffa::*;
use host_tests::machine::NORMAL_RAM;
use host_tests::system::{NWD_PAGES, NWD_TX};
use host_tests::{Nwd, PartitionSpec, Puppet, System};

/// The first constituent. Every other page from here on is one.
const PAGES: u64 = NORMAL_RAM.start + 0x100_0000;

/// Bytes of TX.
const BUFFER: usize = 4096;

fn main() {
    let arguments: Vec<u64> = std::env::args()
        .skip(1)
        .map(|argument| argument.parse().expect("a number"))
        .collect();
    let [constituents, handles, partitions, steps] = arguments[..] else {
        panic!("constituents, handles, partitions, steps");
    };

    let mut builder = System::builder().tables(8192);
    let mut puppets = Vec::new();
    for index in 0..partitions as usize {
        let spec = PartitionSpec::new(&format!("sp{index}"));
        let (spec, puppet) = Puppet::control(spec, index);
        builder = builder.sp(spec);
        puppets.push(puppet);
    }
    let system = builder.boot();
    let (nwd, puppet) = (system.nwd(), &puppets[0]);
    nwd.map_buffers();
    puppet.map_buffers(&system);
    for n in 1..handles {
        let page = NWD_PAGES + 0x10_0000 + n * 0x2000;
        nwd.send(
            MEM_SHARE_64,
            &Transaction::share(0, 0x8001, RW, &[(page, 1)]),
        );
    }
    let ranges: Vec<(u64, u32)> = (0..constituents).map(|n| (PAGES + n * 0x2000, 1)).collect();
    let share = Transaction::share(0, 0x8001, RW, &ranges);
    let descriptor = share.encode(Layout::V1_2);
    let first = descriptor.len().min(BUFFER);

    if steps < 1 {
        return;
    }
    let handle = send(nwd, &descriptor, first);
    let (low, high) = (handle & 0xffff_ffff, handle >> 32);
    if steps < 2 {
        return;
    }
    let request = Transaction::retrieve(0, puppet.id, handle, RW).encode(puppet.layout);
    let answer = puppet.memory_call(&system, MEM_RETRIEVE_REQ_64, &request);
    let [id, total, mut received, ..] = answer.0;
    assert_eq!(id, MEM_RETRIEVE_RESP, "{answer:?}");
    puppet.call(&system, [RX_RELEASE]).success();
    while received < total {
        let answer = puppet.call(&system, [MEM_FRAG_RX, low, high, received]);
        assert_eq!(answer.function(), MEM_FRAG_TX, "{answer:?}");
        received += answer.0[3];
        puppet.call(&system, [RX_RELEASE]).success();
    }
    if steps < 3 {
        return;
    }
    puppet.relinquish(&system, handle, 0).success();
    if steps < 4 {
        return;
    }
    nwd.reclaim(handle).success();
}

/// Sends the descriptor in fragments that fill TX. Returns the handle.
fn send(nwd: Nwd<'_>, descriptor: &[u8], first: usize) -> u64 {
    nwd.write(NWD_TX, &descriptor[..first]);
    let mut answer = nwd.call([MEM_SHARE_64, descriptor.len() as u64, first as u64]);
    let mut sent = first;
    while answer.function() == MEM_FRAG_RX {
        let [_, low, high, ..] = answer.0;
        let fragment = &descriptor[sent..descriptor.len().min(sent + BUFFER)];
        nwd.write(NWD_TX, fragment);
        sent += fragment.len();
        answer = nwd.call([MEM_FRAG_TX, low, high, fragment.len() as u64]);
    }
    answer.handle()
}
