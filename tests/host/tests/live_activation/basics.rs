//! Who can have what activated, and what is refused.

use host_tests::ffa::*;
use host_tests::manifest::partition_base;
use host_tests::{PartitionSpec, System};
use spmc::addr::World::Secure;

use super::stage::*;

// req: LIVE-01, LIVE-02, LIVE-05, LIVE-07, LIVE-11
#[test]
fn a_new_image_goes_on_with_the_state_of_the_old_one() {
    let spec = live("sp1", &[]).script(count);
    let system = boot(spec.clone());
    let nwd = system.nwd();
    let first = served(nwd);
    assert_eq!((first.0, first.1), (b's', 1));
    for (n, pe) in (1..5).zip([0, 3, 1, 0]) {
        let package = version(&spec, n);
        stage(&system, &package);
        assert_eq!(start(nwd, &package), 0);
        // The new image reads the state before it turns its caches on.
        let state = STATE..STATE + STATE_SIZE;
        assert_eq!(system.machine.memory().dirty(Secure, &state).next(), None);
        // It is stopped: whatever EL3 does with its memory now has no effect.
        stage(&system, &vec![0xff; package.len()]);
        nwd.refused([DIRECT_REQ_64, SP1.into()], BUSY);
        nwd.refused([RUN, u64::from(SP1) << 16], BUSY);
        assert_eq!(finish(system.pe(pe)), 0);
        assert_eq!(served(system.pe(pe)), (n, 2 * u64::from(n)));
        assert_eq!(served(nwd), (n, 2 * u64::from(n) + 1));
    }
}

// req: LIVE-01
#[test]
fn the_normal_world_may_ask_if_the_manifest_allows_it() {
    for is_allowed in [false, true] {
        let spec = live("sp1", &[]).script(count);
        let mut builder = System::builder().sp(spec.clone());
        if is_allowed {
            builder = builder.flag("live-activation-from-nwd");
        }
        let system = builder.boot();
        let nwd = system.nwd();
        let package = version(&spec, 2);
        stage(&system, &package);
        let pages = package.len().div_ceil(0x1000) as u64;
        let messages = [START, FINISH].map(|message| {
            let id = SP1.into();
            [DIRECT_REQ_64, SPMC.into(), message, id, STAGED, pages, 0, 0]
        });
        // A VM, an unknown message, and another receiver.
        let [mut vm, mut unknown, mut other] = [messages[0]; 3];
        vm[1] = route(5, SPMC);
        unknown[2] = 0x8000_000a;
        other[1] = SP1.into();
        for bad in [vm, unknown, other] {
            nwd.refused(bad, INVALID_PARAMETERS);
        }
        for message in messages {
            if is_allowed {
                let answer = nwd.call(message);
                let head = [DIRECT_RESP_32, route(SPMC, 0), message[2] + 1, 0];
                assert_eq!(answer.0[..4], head);
            } else {
                nwd.refused(message, INVALID_PARAMETERS);
            }
        }
        assert_eq!(served(nwd).0, if is_allowed { 2 } else { b's' });
    }
}

/// Starts an activation that must be refused with `code` and change nothing.
#[track_caller]
fn start_refused(system: &System, arguments: [u64; 5], code: i32) {
    let before = system.snapshot();
    assert_eq!(ask(system.nwd(), START, LSP, arguments), code);
    assert_eq!(before, system.snapshot(), "something has changed");
}

// req: LIVE-03
#[test]
fn what_cannot_be_activated_is_refused_and_runs_on() {
    let spec = live("sp1", &[]).script(count);
    let system = System::builder()
        .sp(spec.clone())
        .sp(PartitionSpec::new("sp2"))
        .sp(PartitionSpec::new("sp3").script(|sp| {
            sp.msg_wait();
            sp.call([ABORT_64]);
        }))
        .boot();
    let nwd = system.nwd();
    let package = version(&spec, 2);
    stage(&system, &package);
    let id = u64::from(SP1);
    let base = partition_base(0);
    for (arguments, code) in [
        // Who.
        ([0x8004, STAGED, 5], INVALID_PARAMETERS),
        ([0x8000, STAGED, 5], INVALID_PARAMETERS),
        ([0, STAGED, 5], INVALID_PARAMETERS),
        ([0x1_8001, STAGED, 5], INVALID_PARAMETERS),
        ([0x8002, STAGED, 5], NOT_SUPPORTED),
        // Where.
        ([0x8002, 0, 5], INVALID_PARAMETERS),
        ([id, 0, 5], INVALID_PARAMETERS),
        ([id, STAGED + 8, 5], INVALID_PARAMETERS),
        ([id, STAGED, 0], INVALID_PARAMETERS),
        ([id, STAGED, 1 << 52], INVALID_PARAMETERS),
        ([id, !0xfff, 5], INVALID_PARAMETERS),
        // Whose: a partition's, a region's, the SPMC's, the Normal world's, nobody's.
        ([id, base, 5], INVALID_PARAMETERS),
        ([id, base + 0xff000, 1], INVALID_PARAMETERS),
        ([id, partition_base(1) - 0x1000, 2], INVALID_PARAMETERS),
        ([id, STATE - 0x4000, 5], INVALID_PARAMETERS),
        ([id, 0x0e10_0000, 5], INVALID_PARAMETERS),
        ([id, 0x4000_0000, 5], INVALID_PARAMETERS),
        ([id, 0x0f00_0000, 5], INVALID_PARAMETERS),
        // The package does not end there, or begins elsewhere.
        ([id, STAGED, 4], INVALID_PARAMETERS),
        ([id, STAGED + 0x1000, 5], INVALID_PARAMETERS),
    ] {
        let [x3, x4, x5] = arguments;
        start_refused(&system, [x3, x4, x5, 0, 0], code);
    }
    nwd.call([DIRECT_REQ_64, 0x8003]);
    // What failed has no live activation either.
    start_refused(&system, [0x8003, STAGED, 5, 0, 0], NOT_SUPPORTED);
    for source in [OTHER_LSP, LSP] {
        let before = system.snapshot();
        for id in [SP1, 0x8002, 0x8009] {
            let code = match id {
                SP1 => DENIED,
                0x8002 => NOT_SUPPORTED,
                _ => INVALID_PARAMETERS,
            };
            assert_eq!(ask(nwd, FINISH, source, [id.into(), 0, 0, 0, 0]), code);
        }
        assert_eq!(before, system.snapshot());
    }
    // The 32-bit form has 32 bits of each argument.
    let high = 1 << 40;
    let answer = nwd.call([
        DIRECT_REQ_32,
        route(LSP, SPMC),
        START,
        high | id,
        high | STAGED,
        high | 5,
        // Where a manifest would be, but the package has one.
        high | 1,
        2,
    ]);
    assert_eq!(answer.0[2..4], [START + 1, 0]);
    assert_eq!(finish(nwd), 0);
    assert_eq!(served(nwd).0, 2);
}

// req: LIVE-03, LIVE-04
#[test]
fn a_package_that_is_no_new_version_is_refused_and_the_old_one_runs_on() {
    let spec = live("sp1", &[]).script(count);
    let system = boot(spec.clone());
    let good = version(&spec, 2);
    let change = |at: usize, to: u8| {
        let mut bad = good.clone();
        bad[at] ^= to;
        bad
    };
    let manifest = 0x1000;
    let mut other = spec.clone();
    other.boot_order = Some(4);
    let packages = [
        // Magic, version, offsets and sizes of the header.
        change(0, 1),
        change(4, 4),
        change(9, 0x20),
        change(12, 4),
        change(17, 1),
        change(22, 0x20),
        // One bit of the manifest, and another manifest that is good in itself.
        change(manifest + 0x48, 1),
        version(&other, 2),
        // Nothing.
        vec![0; 0x5000],
    ];
    for (n, package) in packages.iter().enumerate() {
        stage(&system, package);
        let pages = package.len().div_ceil(0x1000) as u64;
        start_refused(
            &system,
            [SP1.into(), STAGED, pages, 0, 0],
            INVALID_PARAMETERS,
        );
        assert_eq!(served(system.nwd()), (b's', n as u64 + 1));
    }
    // An image that the partition's memory cannot hold.
    let mut large = good.clone();
    large[20..24].copy_from_slice(&0xff_e000_u32.to_le_bytes());
    stage(&system, &large);
    start_refused(
        &system,
        [SP1.into(), STAGED, 0x200, 0, 0],
        INVALID_PARAMETERS,
    );
    // Memory that does not answer, at each access.
    stage(&system, &good);
    let mut others = 0;
    loop {
        system.machine.fail_access(STAGED..STAGED + 0x5000, others);
        let before = system.snapshot();
        let started = start(system.nwd(), &good);
        if system.machine.is_incident_ahead() {
            assert_eq!(started, 0);
            break;
        }
        assert_eq!((started, before), (INVALID_PARAMETERS, system.snapshot()));
        others += 1;
    }
    // The header, and then each page.
    assert_eq!(others, 6);
    assert_eq!(finish(system.nwd()), 0);
    assert_eq!(served(system.nwd()).0, 2);
}

// Only what was judged is loaded: EL3's memory is read by one access after the other, and can
// change before each.
// req: LIVE-04
#[test]
fn a_package_that_changes_while_it_is_copied_is_judged_as_it_was_copied() {
    let spec = live("sp1", &[]).script(count);
    let good = version(&spec, 2);
    let pages = good.len() as u64 / 0x1000;
    let manifest = 0x1000..0x1000 + u64::from(u32::from_le_bytes(good[12..16].try_into().unwrap()));
    // The offset of the manifest, the size of the image, and the manifest itself.
    for (at, page) in [(8, 0), (22, 0), (0x1000 + 0x48, 1)] {
        let mut others = 0;
        loop {
            let system = boot(spec.clone());
            let nwd = system.nwd();
            stage(&system, &good);
            let changed = [good[at as usize] ^ 0xc0];
            let staged = STAGED..STAGED + pages * 0x1000;
            system
                .machine
                .write_at_access(staged, others, STAGED + at, &changed);
            let before = system.snapshot();
            let status = start(nwd, &good);
            // First comes the header, and then one page after the other.
            if others <= 1 + page {
                assert_eq!(status, INVALID_PARAMETERS, "{at:#x} {others}");
                assert_eq!(before, system.snapshot());
                assert_eq!(served(nwd), (b's', 1));
            } else {
                assert_eq!(status, 0, "{at:#x} {others}");
                let mut loaded = vec![0; (manifest.end - manifest.start) as usize];
                let from = partition_base(0) + manifest.start;
                let read = system.machine.memory().read(Secure, from, &mut loaded);
                assert!(read.is_ok());
                assert!(loaded == good[manifest.start as usize..manifest.end as usize]);
                assert_eq!(finish(nwd), 0);
                assert_eq!(served(nwd), (2, 1));
            }
            if system.machine.is_incident_ahead() {
                assert_eq!(others, 1 + pages);
                break;
            }
            others += 1;
        }
    }
}
