//! Pages of the table pool that get another use while PEs may still walk them as tables. The fake
//! machine looks for such pages at every point of every schedule: see `Tlb::find_reused`. The
//! schedules are those of `races.rs`.

use host_tests::ffa::*;
use host_tests::manifest::partition_base;
use host_tests::schedule::explore;
use host_tests::system::NWD_TX;
use host_tests::{Nwd, PartitionSpec, Sp, System};
use spmc::addr::World::{self, NonSecure, Secure};

type Body<'a> = Box<dyn FnOnce(Nwd<'a>) + Send + 'a>;

/// Returns the address of a region of 2 MiB of the Normal world.
fn region(n: u64) -> u64 {
    0x4400_0000 + n * 0x20_0000
}

/// The offset of a page in a region, other than the first page.
const SPOT: u64 = 5 * 0x1000;

/// The number of tables, which is so small that the roots of a partition take its whole quota. All
/// other tables come from the reserve, which hands out the page first that was returned last.
const TABLES: usize = 64;

/// Request: retrieve the share with the given handle of the given owner.
const RETRIEVE: u64 = 1;
/// Request: relinquish that share.
const RELINQUISH: u64 = 2;
/// Request: write a byte to an address.
const POKE: u64 = 3;
/// Request: read a byte.
const PEEK: u64 = 4;
/// Request: lend a page to a partition.
const LEND: u64 = 5;

/// The answer to [`PEEK`] if nothing is mapped.
const NOTHING: u64 = 0xdead;

/// Returns a script that serves these requests, with memory of `world`.
fn script(world: World) -> impl Fn(&mut Sp) + Send + Sync + 'static {
    move |sp| {
        if sp.vcpu == 0 {
            sp.map_buffers();
        }
        sp.serve(move |sp, request| {
            let (operation, argument, more) = (request.0[3], request.0[4], request.0[5]);
            let value = match operation {
                RETRIEVE => {
                    let wanted = Transaction {
                        attributes: 0,
                        ..Transaction::retrieve(more as u16, sp.id, argument, RW)
                    };
                    sp.retrieve(&wanted).map_or_else(|code| code as u64, |_| 0)
                }
                RELINQUISH => {
                    sp.relinquish(argument, 0).success();
                    0
                }
                POKE => u64::from(!sp.poke(world, argument, more as u8)),
                PEEK => sp.peek(world, argument).map_or(NOTHING, u64::from),
                LEND => {
                    let lend = Transaction::lend(sp.id, more as u16, RW, &[(argument, 1)]);
                    sp.send(MEM_LEND_64, &lend)
                }
                other => panic!("{other}"),
            };
            [value, 0, 0, 0, 0]
        })
    }
}

fn ask(nwd: Nwd<'_>, id: u16, operation: u64, argument: u64, more: u64) -> u64 {
    nwd.ask(id, [operation, argument, more, 0, 0])[0]
}

fn lend(nwd: Nwd<'_>, id: u16, page: u64) -> u64 {
    nwd.send(MEM_LEND_64, &Transaction::lend(0, id, RW, &[(page, 1)]))
}

/// Boots a system with three PEs. The attacker can run on each of them.
fn boot(world: World) -> System {
    let partition = |name| PartitionSpec::new(name).script(script(world));
    let system = System::builder()
        .pes(3)
        .tables(TABLES)
        .sp(partition("attacker").vcpus(3))
        .sp(partition("victim"))
        .sp(partition("lender"))
        .boot();
    system.turn_on(1);
    system.turn_on(2);
    system.nwd().map_buffers();
    system
}

/// Repeatedly looks for memory that the attacker was never given.
fn looks_for<'a>(spot: u64) -> Body<'a> {
    Box::new(move |nwd| {
        for _ in 0..3 {
            assert_eq!(ask(nwd, 0x8001, PEEK, spot, 0), NOTHING, "a page of others");
        }
    })
}
// req: MEMX-18, MEMX-20
#[test]
fn a_table_becomes_a_table_of_another_partition() {
    explore(|plan| {
        let system = boot(NonSecure);
        let nwd = system.nwd();
        // The attacker has a table for a region of which it has one page, and another PE's TLB
        // knows the table.
        let mine = lend(nwd, 0x8001, region(0));
        assert_eq!(ask(nwd, 0x8001, RETRIEVE, mine, 0), 0);
        assert_eq!(ask(system.pe(1), 0x8001, POKE, region(0), 1), 0);
        let spot = region(0) + SPOT;
        assert_eq!(ask(system.pe(1), 0x8001, PEEK, spot, 0), NOTHING);
        let secret = region(60) + SPOT;
        nwd.write(secret, &[0x5a]);
        nwd.write(spot, &[0x11]);
        let handle = lend(nwd, 0x8002, secret);
        let points = system.interleave_by(
            plan,
            vec![
                Box::new(|nwd| assert_eq!(ask(nwd, 0x8001, RELINQUISH, mine, 0), 0)),
                Box::new(|nwd| assert_eq!(ask(nwd, 0x8002, RETRIEVE, handle, 0), 0)),
                looks_for(spot),
            ],
        );
        assert_eq!(ask(nwd, 0x8002, PEEK, secret, 0), 0x5a);
        assert_eq!(ask(nwd, 0x8002, RELINQUISH, handle, 0), 0);
        nwd.reclaim(mine).success();
        nwd.reclaim(handle).success();
        points
    });
}

/// Begins a share of `ranges` and of one more range. Returns whether the SPMC waits for that range.
fn begin(nwd: Nwd<'_>, ranges: &[(u64, u32)]) -> bool {
    let mut all = ranges.to_vec();
    all.push((region(2), 1));
    let bytes = Transaction::share(0, 0x8002, RW, &all).encode(Layout::V1_2);
    let first = bytes.len() - 16;
    nwd.write(NWD_TX, &bytes[..first]);
    let answer = nwd.call([MEM_SHARE_64, bytes.len() as u64, first as u64]);
    answer.function() == MEM_FRAG_RX
}
// req: MEMX-18, MEMX-20, FRAG-07
#[test]
fn a_table_becomes_a_list_that_the_normal_world_writes() {
    explore(|plan| {
        let system = boot(Secure);
        let nwd = system.nwd();
        // The Normal world uses up its quota, so that its lists come from the reserve, too.
        let quota = spmc::mm::Quotas::of(spmc::geometry::Geometry::SMALL, TABLES, 8).normal_world;
        for n in 0..quota as u64 {
            lend(nwd, 0x8002, region(10 + n));
        }
        let secret = partition_base(1) + 0x4_0000;
        assert_eq!(ask(nwd, 0x8002, POKE, secret, 0x77), 0);
        let lent = partition_base(2) + 0x4_0000;
        let mine = ask(nwd, 0x8003, LEND, lent, 0x8001);
        assert_eq!(ask(nwd, 0x8001, RETRIEVE, mine, 0x8003), 0);
        let spot = (lent & !0x1f_ffff) + SPOT;
        assert_eq!(ask(system.pe(1), 0x8001, POKE, lent, 1), 0);
        assert_eq!(ask(system.pe(1), 0x8001, PEEK, spot, 0), NOTHING);
        // The words of the list look like descriptors of pages that can be read and written.
        let own: Vec<_> = (0..24)
            .map(|n| (0x5000_0000 + n * 0x80_0000, 0x7ff))
            .collect();
        let mut others = vec![(region(1), 1); 4];
        others.extend([(secret, 0x7ff); 20]);
        system.interleave_by(
            plan,
            vec![
                Box::new(|nwd| assert_eq!(ask(nwd, 0x8001, RELINQUISH, mine, 0), 0)),
                Box::new(|nwd| {
                    assert!(begin(nwd, &own));
                    begin(nwd, &others);
                }),
                looks_for(spot),
            ],
        )
    });
}
