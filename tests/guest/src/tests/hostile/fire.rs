//! A hostile partition for demos, which needs no help of the Normal world: beside Linux, OP-TEE or
//! U-Boot it attacks whenever one of its interrupts comes, on whichever PE that is.
//!
//! A clock interrupts it once a second. Each time the partition raises [`EDGES`] interrupts of
//! another device, one after the other and each on the next PE. In the time that an interrupt gives
//! it, the partition makes random calls and touches the memory of others as in the layout
//! `hostile`, shares pages until the SPMC refuses, or floods its PE with interrupts to itself. It
//! dies in two ways, and starts anew as long as the SPMC restarts it.

use super::inside::Inside;
use super::random::Random;
use crate::ffa::memory_descriptor::{NORMAL_WB, Transaction};
use crate::ffa::{SP1, SP2, id};
use crate::nwd::source::{CLOCK_INTERRUPT, GPIO_INTERRUPT, Source, alarm_next_second};
use crate::println;
use crate::rt::stage1::{self, Attributes};
use crate::rt::{counter, ticks_per_ms};
use crate::sp::{self, Identity};
use crate::support::sharing::receiver;
use crate::support::virtual_interrupts::{DEACTIVATE, ENABLE, GET, NONE, SEND_IPI, Tour, hf};

/// Interrupts raised in a second, besides that of the clock.
const EDGES: u64 = 48;
/// Attacks for each interrupt.
const STEPS: u64 = 24;
/// The most interrupts with which it attacks before it waits again. It takes all that are left: the
/// SPMC tells it only once of an interrupt that it does not take, and if that were so for both of
/// its devices, nothing would ever wake it again.
const AT_ONCE: u64 = 64;
/// Shares that are tried in a row, more than a partition may have.
const SHARES: usize = 2048;
/// Interrupts to itself in a row.
const FLOOD: usize = 64;

/// Seconds of each life. The SPMC allows twenty restarts at once, and one in ten seconds later on.
const YOUNG: u64 = 1;
const OLD: u64 = 12;
/// Seconds from power-on in which lives are short.
const YOUTH: u64 = 10;

/// Attacks for ever.
pub fn burn(identity: &'static Identity) -> ! {
    for device in [Source::Clock, Source::Gpio] {
        stage1::map(device.address(), Attributes::NonSecureDevice);
    }
    let mut inside = Inside::new(sp::caller(identity), true);
    let seed = counter();
    inside.attacker.random = Random::of_step(seed, 0, 0);
    println!("# fire: lives, seed {seed}");
    let mut seconds = 0;
    let mut edges = 0;
    let mut tour = Tour::START;
    let life = if age() < YOUTH { YOUNG } else { OLD };
    loop {
        listen();
        inside.end();
        for taken in 0.. {
            let interrupt = hf(GET, &[]);
            if interrupt == NONE {
                break;
            }
            if interrupt == CLOCK_INTERRUPT {
                alarm_next_second();
                seconds += 1;
                println!("# fire: burns in second {}", age());
                edges = EDGES;
                if seconds > life {
                    die(&mut inside);
                }
            }
            hf(DEACTIVATE, &[interrupt, interrupt]);
            if taken >= AT_ONCE {
                continue;
            }
            attack(&mut inside);
            if edges > 0 {
                edges -= 1;
                tour.go_on(GPIO_INTERRUPT);
                Source::Gpio.raise();
            }
        }
    }
}

/// Returns the time since power-on in seconds.
fn age() -> u64 {
    counter() / ticks_per_ms() / 1000
}

/// Makes its interrupts come again, which the SPMC may have masked.
fn listen() {
    for interrupt in [CLOCK_INTERRUPT, GPIO_INTERRUPT] {
        hf(ENABLE, &[interrupt, 1, 0]);
    }
    alarm_next_second();
}

fn attack(inside: &mut Inside) {
    match inside.attacker.random.below(8) {
        0 => exhaust(inside),
        1 => flood(),
        _ => (0..STEPS).for_each(|_| inside.step()),
    }
}

/// Shares one page again and again until the SPMC refuses.
fn exhaust(inside: &mut Inside) {
    let (page, _) = inside.attacker.pages;
    let receivers = [receiver(inside.attacker.random.one_of(&[SP1, SP2]), 2)];
    for _ in 0..SHARES {
        let transaction = Transaction {
            sender: inside.attacker.me.id,
            attributes: NORMAL_WB,
            flags: 0,
            handle: 0,
            tag: 0,
            receivers: &receivers,
            ranges: &[(page, 1)],
        };
        let total = transaction.encode(inside.attacker.me.version, inside.attacker.me.tx) as u64;
        let answer = inside.attacker.call(id::MEM_SHARE_64, &[total, total]);
        if answer[0] as u32 != id::SUCCESS {
            return;
        }
    }
}

/// Raises interrupts of its own again and again: to itself, and those of the device.
fn flood() {
    for _ in 0..FLOOD {
        hf(SEND_IPI, &[0]);
        Source::Gpio.raise();
    }
}

/// Tells how much it did and dies: by a call or by a fault.
fn die(inside: &mut Inside) {
    println!("# fire: dies after {} calls", inside.attacker.calls);
    inside.die();
}
