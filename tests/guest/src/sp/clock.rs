//! A partition for demos that interrupts everybody: its interrupts stop whatever runs on any PE,
//! such as Linux or OP-TEE, and with each interrupt it asks another partition something.
//!
//! A clock interrupts the boot PE once a second. Each time the partition raises [`EDGES`]
//! interrupts of another device one after the other, each on the next PE. The partition has one
//! execution context, which so moves from PE to PE (FF-A v1.1 section 9.3). The console shows that
//! every interrupt was handled and that every question was answered, be it by BUSY.

use crate::ffa::{self, SP2, error, id, route};
use crate::nwd::source::{CLOCK_INTERRUPT, GPIO_INTERRUPT, Source, alarm_next_second};
use crate::println;
use crate::rt::call::call;
use crate::rt::check::{Check, equal, holds};
use crate::rt::stage1::{self, Attributes};
use crate::sp::Identity;
use crate::support::complement::COMPLEMENT;
use crate::support::helper_call;
use crate::support::virtual_interrupts::{DEACTIVATE, ENABLE, GET, NONE, Tour, hf};

/// Interrupts raised in a second, besides that of the clock.
const EDGES: u64 = 64;
/// Seconds between two lines of counts on the console.
const PERIOD: u64 = 10;

/// Counts of interrupts and answers.
struct Counts {
    /// The way of the interrupts from PE to PE.
    tour: Tour,
    seconds: u64,
    raised: u64,
    handled: u64,
    answers: u64,
    /// Questions that met a busy context: one that was starting when the interrupt came, and that
    /// waits until this handler ends.
    busy: u64,
    /// The value of `seconds` when the console showed the counts last.
    told: u64,
}

/// Handles interrupts for ever.
pub fn serve(identity: &'static Identity) -> ! {
    let mut counts = Counts::NEW;
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
    const NEW: Self = Self {
        tour: Tour::START,
        seconds: 0,
        raised: 0,
        handled: 0,
        answers: 0,
        busy: 0,
        told: 0,
    };

    /// Handles all pending interrupts.
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
                    // No interrupt was lost, and none came twice.
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

    /// Raises the next interrupt if no other one is under way.
    fn go_on(&mut self, identity: &Identity) -> Check {
        if self.raised != self.handled {
            return Ok(());
        }
        if self.raised < self.seconds * EDGES {
            self.raised += 1;
            self.tour.go_on(GPIO_INTERRUPT);
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
