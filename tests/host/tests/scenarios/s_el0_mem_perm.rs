//! SEL0: the effects of `FFA_MEM_PERM_GET` and `FFA_MEM_PERM_SET`, and when the calls are refused.

use host_tests::ffa::*;
use host_tests::manifest::Region;
use host_tests::snapshot::WATCHED;
use host_tests::system::NWD_PAGES;
use host_tests::{PartitionSpec, Sp, System};
use spmc::addr::World::Secure;
use spmc::hal::Conduit;

use super::s_el0::{
    LAST, NO_ACCESS, READ_EXECUTE, READ_ONLY, READ_WRITE, alone, dies, el0, get, map_buffers,
    serve, set,
};

// req: FEAT-01, SEL0-08
#[test]
fn the_calls_have_no_properties() {
    let system = alone(|sp| {
        for id in [
            MEM_PERM_GET_32,
            MEM_PERM_GET_64,
            MEM_PERM_SET_32,
            MEM_PERM_SET_64,
        ] {
            assert_eq!(sp.call([FEATURES, id]).success(), [0; 6]);
        }
        serve(sp)
    });
    assert_eq!(system.nwd().ask(0x8001, [1; 5]), [1; 5]);
}
// req: SEL0-08, RXTX-20, RXTX-28
#[test]
fn buffers_come_back_whatever_permissions_their_pages_have() {
    let script = |sp: &mut Sp| {
        let tx = sp.base() + 0x2_0000;
        let map = [RXTX_MAP_64, tx, tx + 0x2000, 2];
        for (page, permissions) in [
            (tx, READ_ONLY),
            (tx + 0x1000, NO_ACCESS),
            (tx + 0x2000, READ_EXECUTE),
            (tx + 0x3000, READ_ONLY),
        ] {
            set(sp, tx, 4, READ_WRITE);
            sp.call_by(Conduit::Svc, map).success();
            set(sp, page, 1, permissions);
            sp.call_by(Conduit::Svc, [RXTX_UNMAP]).success();
            assert_eq!(get(sp, page, 0), (permissions, 0));
            set(sp, page, 1, READ_WRITE);
        }
        // Memory that is not a buffer any more can be sent, all of it.
        map_buffers(sp);
        let lend = Transaction::lend(sp.id, 0x8002, RW, &[(tx, 4)]);
        sp.send(MEM_LEND_64, &lend);
        serve(sp)
    };
    let system = System::boot([el0("sp1", script), PartitionSpec::new("sp2")]);
    assert_eq!(system.nwd().ask(0x8001, [1, 2, 3, 4, 5]), [1, 2, 3, 4, 5]);
}

// req: SEL0-08, MEMO-02, PERM-01, PERM-02, PERM-16
#[test]
fn a_partition_gives_its_pages_permissions() {
    let system = alone(|sp| {
        let page = sp.base() + 0x2_0000;
        set(sp, page, 2, READ_WRITE);
        assert_eq!(get(sp, page, 9), (READ_WRITE, 1));
        assert_eq!(get(sp, page - 0x1000, 9), (READ_EXECUTE, 0));
        assert!(sp.poke(Secure, page + 0x1fff, 7));
        // The contents are kept, whatever the permissions are meanwhile.
        for permissions in [READ_ONLY, NO_ACCESS, READ_EXECUTE] {
            set(sp, page, 2, permissions);
            assert_eq!(get(sp, page, 1), (permissions, 1));
        }
        assert!(sp.execute(Secure, page).is_ok());
        assert_eq!(sp.peek(Secure, page + 0x1fff), Some(7));
        // The 32-bit forms do the same.
        let answer = sp.call([MEM_PERM_SET_32, page | 1 << 32, 1, READ_ONLY]);
        assert_eq!(answer.success(), [0; 6]);
        let answer = sp.call([MEM_PERM_GET_32, page]);
        assert_eq!(answer.success()[..2], [READ_ONLY, 0]);
        serve(sp)
    });
    system.nwd().ask(0x8001, [0; 5]);
    dies(|sp| {
        let page = sp.base() + 0x2_0000;
        set(sp, page, 1, READ_WRITE);
        assert!(sp.execute(Secure, page).is_err());
    });
    dies(|sp| {
        let page = sp.base() + 0x2_0000;
        set(sp, page, 1, READ_ONLY);
        assert!(!sp.poke(Secure, page, 1));
    });
    dies(|sp| {
        let page = sp.base() + 0x2_0000;
        set(sp, page, 1, NO_ACCESS);
        assert!(sp.peek(Secure, page).is_none());
    });
}

// req: SEL0-08, PERM-01
#[test]
fn buffers_are_not_counted_together_with_other_pages() {
    alone(|sp| {
        let (data, tx) = (sp.base() + 0x2_0000, sp.base() + 0x2_2000);
        set(sp, data, 5, READ_WRITE);
        assert_eq!(get(sp, data, 9), (READ_WRITE, 4));
        sp.call_by(Conduit::Svc, [RXTX_MAP_64, tx, tx + 0x1000, 1])
            .success();
        for (page, more) in [(data, 1), (tx, 1), (tx + 0x1000, 0), (tx + 0x2000, 0)] {
            assert_eq!(get(sp, page, 9), (READ_WRITE, more));
        }
        sp.call_by(Conduit::Svc, [RXTX_UNMAP]).success();
        assert_eq!(get(sp, data, 9), (READ_WRITE, 4));
        serve(sp)
    })
    .nwd()
    .ask(0x8001, [0; 5]);
}

// req: SEL0-08, MEMO-02, PERM-03, PERM-04, PERM-05, PERM-12, PERM-15
#[test]
fn permissions_that_cannot_be_given_are_refused() {
    let fixed = Region {
        name: "fixed",
        base: WATCHED,
        relative: false,
        pages: 2,
        attributes: 9,
    };
    let partition = el0("sp1", |sp| {
        let page = sp.base() + 0x2_0000;
        let device = 0x0904_0000;
        for (address, pages, permissions) in [
            (page, 0, READ_WRITE),
            (page + 8, 1, READ_WRITE),
            (page, 1, 0b000),
            (page, 1, 0b001),
            (page, 1, 0b010),
            (page, 1, 0b110),
            (page, 1, READ_WRITE | 8),
            (page, 1, READ_WRITE | 1 << 31),
            (sp.base() - 0x1000, 1, READ_WRITE),
            (sp.base() + 0xf_f000, 2, READ_WRITE),
            (WATCHED + 0x2000, 1, READ_ONLY),
            (LAST, 1, READ_ONLY),
            (LAST + 0x1000, 1, READ_ONLY),
            (1 << 39, 1, READ_ONLY),
            (!0xfff, 2, READ_ONLY),
            (page, 0xffff_ffff, READ_ONLY),
            (device, 1, READ_EXECUTE),
        ] {
            sp.refused(
                [MEM_PERM_SET_64, address, pages, permissions],
                INVALID_PARAMETERS,
            );
        }
        for address in [
            page + 1,
            sp.base() - 0x1000,
            WATCHED + 0x2000,
            LAST,
            LAST + 0x1000,
            1 << 39,
            !0xfff,
        ] {
            sp.refused([MEM_PERM_GET_64, address], INVALID_PARAMETERS);
        }
        for call in [MEM_PERM_GET_32, MEM_PERM_GET_64] {
            sp.refused([call, page, 0xffff_ffff], INVALID_PARAMETERS);
        }
        // Memory that is not the partition's alone keeps at most the permissions of the manifest.
        sp.refused([MEM_PERM_SET_64, WATCHED, 1, READ_WRITE], DENIED);
        sp.refused([MEM_PERM_SET_64, WATCHED, 1, READ_EXECUTE], DENIED);
        assert_eq!(get(sp, WATCHED, 9), (READ_ONLY, 1));
        set(sp, WATCHED, 1, NO_ACCESS);
        sp.refused([MEM_PERM_SET_64, WATCHED, 1, READ_ONLY], DENIED);
        assert_eq!(get(sp, device, 0), (READ_WRITE, 0));
        set(sp, device, 1, READ_ONLY);
        // Nor do permissions of memory in a transaction change. Those of buffers may.
        map_buffers(sp);
        let (own, id) = (sp.base() + 0x3_0000, sp.id);
        set(sp, own, 1, READ_WRITE);
        let handle = sp.send(MEM_LEND_64, &Transaction::lend(id, 0x8002, RW, &[(own, 1)]));
        sp.refused([MEM_PERM_SET_64, own, 1, READ_ONLY], DENIED);
        sp.refused([MEM_PERM_GET_64, own], INVALID_PARAMETERS);
        sp.reclaim(handle, 0).success();
        set(sp, sp.tx(), 1, READ_ONLY);
        serve(sp)
    });
    let partition = partition.with(|sp| {
        sp.regions = vec![fixed];
        sp.device = true;
    });
    let system = System::boot([partition, PartitionSpec::new("sp2")]);
    system.nwd().ask(0x8001, [0; 5]);
}

// req: SEL0-08
#[test]
fn without_a_table_nothing_changes() {
    let script = |sp: &mut Sp| {
        let page = sp.base() + 0x2_0000;
        // Alternating pages in 2 MiB and more cannot be mapped by blocks, but one table is enough
        // here.
        for n in (0..8).step_by(2) {
            set(sp, page + n * 0x1000, 1, READ_WRITE);
        }
        for n in (0..8).step_by(2) {
            set(sp, page + n * 0x1000, 1, READ_EXECUTE);
        }
        assert_eq!(get(sp, page, 7), (READ_EXECUTE, 7));
        serve(sp)
    };
    alone(script).nwd().ask(0x8001, [0; 5]);
}

// req: SEL0-08, PERM-06, PERM-07, PERM-08
#[test]
fn permissions_are_for_s_el0_partitions_that_initialise() {
    const CALLS: [u64; 4] = [
        MEM_PERM_GET_32,
        MEM_PERM_GET_64,
        MEM_PERM_SET_32,
        MEM_PERM_SET_64,
    ];
    let later = |sp: &mut Sp, features: Option<i32>| {
        let request = sp.msg_wait();
        let page = sp.base() + 0x2_0000;
        for call in CALLS {
            sp.refused([call, page, 1, READ_ONLY], DENIED);
            assert_eq!(sp.call([FEATURES, call]).error(), features);
        }
        sp.respond(&request, [0; 5]);
    };
    let system = System::boot([
        el0("sp1", move |sp| {
            for call in CALLS {
                assert_eq!(sp.call([FEATURES, call]).success(), [0; 6]);
            }
            later(sp, None)
        }),
        PartitionSpec::new("sp2").script(move |sp| {
            for call in CALLS {
                sp.refused([call, sp.base(), 1, READ_ONLY], DENIED);
            }
            later(sp, Some(NOT_SUPPORTED))
        }),
    ]);
    let nwd = system.nwd();
    nwd.ask(0x8001, [0; 5]);
    nwd.ask(0x8002, [0; 5]);
    for call in CALLS {
        nwd.refused([call, NWD_PAGES, 1, READ_ONLY], NOT_SUPPORTED);
        nwd.refused([FEATURES, call], NOT_SUPPORTED);
    }
}
