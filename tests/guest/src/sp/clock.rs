//! A partition that leaves nobody alone: its interrupts stop whatever runs on any PE, be that Linux
//! or OP-TEE, and with each of them it asks another partition something.
//!
//! A clock interrupts the boot PE once a second. Each time the partition raises [`EDGES`]
//! interrupts of another device, one after the other, each on the next PE: it has one execution
//! context, which so moves from PE to PE (FF-A v1.1 section 9.3). The console tells when every
//! interrupt that was raised was handled and every question answered, if only by BUSY.

use crate::ffa::{self, SP2, error, id, route};
use crate::nwd::source::{CLOCK_INTERRUPT, GPIO_INTERRUPT, Source, alarm_next_second};
use crate::println;
use crate::rt::call::call;
use crate::rt::check::{Check, equal, holds};
use crate::rt::stage1::{self, Attributes};
use crate::sp::Identity;
use crate::support::complement::COMPLEMENT;
use crate::support::helper_call;
use crate::support::virtual_interrupts::{DEACTIVATE, ENABLE, GET, NONE, RECONFIGURE, hf};

/// Interrupts raised in a second, besides that of the clock.
const EDGES: u64 = 64;
/// PEs that they go to, by turns: the most that there can be.
const PES: u64 = 8;
/// Seconds until the console tells the counts again.
const PERIOD: u64 = 10;

/// x2 of [`RECONFIGURE`]: the PE that an interrupt goes to.
const TARGET: u64 = 0;

/// Counts what the clock and its console saw.
#[derive(Default)]
struct Counts {
    seconds: u64,
    raised: u64,
    handled: u64,
    answers: u64,
    /// Questions that met a context of the other partition in the middle of its start, which waits
    /// for the end of this handler.
    busy: u64,
    /// Seconds when the console told them last.
    told: u64,
}

/// Handles interrupts for ever.
pub fn serve(identity: &'static Identity) -> ! {
    let mut counts = Counts::default();
    let mut outcome = begin();
    loop {
        outcome = outcome.and_then(|()| counts.handle(identity));
        if let Err(why) = outcome {
            println!("demo: failed: {}: {why}", identity.name);
            super::give_up();
        }
        ffa::call(id::MSG_WAIT, &[]);
    }
}

fn begin() -> Check {
    for (source, interrupt) in [
        (Source::Clock, CLOCK_INTERRUPT),
        (Source::Gpio, GPIO_INTERRUPT),
    ] {
        stage1::map(source.address(), Attributes::NonSecureDevice);
        equal(hf(ENABLE, &[interrupt, 1, 0]), 0u64)?;
    }
    alarm_next_second();
    Ok(())
}

impl Counts {
    /// Handles what is pending.
    fn handle(&mut self, identity: &Identity) -> Check {
        loop {
            let interrupt = hf(GET, &[]);
            match interrupt {
                NONE => return Ok(()),
                CLOCK_INTERRUPT => {
                    self.seconds += 1;
                    alarm_next_second();
                }
                GPIO_INTERRUPT => {
                    self.handled += 1;
                    // Neither lost nor twice.
                    equal(self.handled, self.raised)?;
                }
                other => return holds(false, other),
            }
            equal(hf(DEACTIVATE, &[interrupt, interrupt]), 0u64)?;
            self.ask(identity)?;
            self.go_on(identity)?;
        }
    }

    fn ask(&mut self, identity: &Identity) -> Check {
        let question = [self.seconds, self.raised, self.handled, self.answers];
        let route = route(identity.id, SP2);
        let request = helper_call::request(id::DIRECT_REQ_64, route, COMPLEMENT, question);
        let answer = call(ffa::conduit(), request);
        if answer[0] == u64::from(id::ERROR) && answer[2] as i32 == error::BUSY {
            self.busy += 1;
            return Ok(());
        }
        let answer = helper_call::answer(identity.id, SP2, &answer)?;
        for (got, sent) in answer.iter().zip(question) {
            equal(*got, !sent)?;
        }
        self.answers += 1;
        Ok(())
    }

    /// Raises the next interrupt when there is none on its way.
    fn go_on(&mut self, identity: &Identity) -> Check {
        if self.raised != self.handled {
            return Ok(());
        }
        if self.raised < self.seconds * EDGES {
            self.raised += 1;
            // Refused as long as that PE was never on: then it goes where the last one went.
            hf(RECONFIGURE, &[GPIO_INTERRUPT, TARGET, self.raised % PES]);
            Source::Gpio.raise();
        } else if self.seconds >= self.told + PERIOD {
            self.told = self.seconds;
            equal(self.answers + self.busy, self.seconds + self.handled)?;
            holds(self.answers > self.busy, self.busy)?;
            println!(
                "# {}: nothing lost in {} seconds, {} interrupts, {} answers, {} times busy",
                identity.name,
                self.seconds,
                self.seconds + self.handled,
                self.answers,
                self.busy
            );
        }
        Ok(())
    }
}
