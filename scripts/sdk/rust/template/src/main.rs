//! A Secure Partition: it prints, answers a greeting, reads a page that the sender shares, and
//! rings back when the sender rings.

#![no_std]
#![no_main]

use core::time::Duration;

use partition::ffa::FfaError;
use partition::ffa::memory_management::{DataAccessPerm, Handle};
use partition::notification::Pending;
use partition::{Memory, Message, Partition, Reply, interrupt, notification, println, timer};

/// The operations, in the first word of a message, as `--normal-world ping` sends them.
const GREETING: u64 = u64::from_le_bytes(*b"hello\0\0\0");
const PAGE: u64 = u64::from_le_bytes(*b"page\0\0\0\0");

/// The answer to a greeting says that the partition knows the operation PAGE, BELL, and requests
/// with 32-bit registers.
const KNOWS: u64 = 7;

/// The OS or Hypervisor of the Normal world.
const NORMAL_WORLD: u16 = 0;
/// The notification by which the Normal world rings, and that by which the partition rings back.
const BELL: u64 = 1 << 0;
/// The time after which the partition rings back.
const DELAY: Duration = Duration::from_millis(10);

/// The state of the partition.
struct This {
    greetings: u64,
}

partition::partition!(This);

impl Partition for This {
    fn start(id: u16, _: &mut Memory) -> Self {
        notification::bind(NORMAL_WORLD, BELL).expect("the manifest has notification-support");
        assert!(interrupt::enable(timer::INTERRUPT, true));
        println!("partition {id:#06x} is ready");
        Self { greetings: 0 }
    }

    fn message(&mut self, message: Message, memory: &mut Memory) -> Reply {
        match message.words {
            [GREETING, ..] => {
                self.greetings += 1;
                println!("greeting {} from {:#06x}", self.greetings, message.sender);
                [GREETING, KNOWS, 0, 0, 0]
            }
            [PAGE, handle, length, ..] => {
                match read(message.sender, Handle(handle), length as usize, memory) {
                    Ok(sum) => [PAGE, sum, 0, 0, 0],
                    Err(error) => {
                        println!("the page cannot be read: {error}");
                        [0; 5]
                    }
                }
            }
            words => {
                println!("no operation: {words:x?}");
                [0; 5]
            }
        }
    }

    fn notified(&mut self, pending: Pending, _: &mut Memory) {
        println!("notifications {:#x} of the Normal world", pending.vms);
        timer::start(DELAY);
    }

    fn interrupt(&mut self, id: u32) {
        // Until the timer is stopped, its interrupt comes again.
        timer::stop();
        match notification::set(NORMAL_WORLD, BELL) {
            Ok(()) => println!("interrupt {id}: the partition rings back"),
            Err(error) => println!("the Normal world cannot be notified: {error}"),
        }
    }
}

/// Borrows a page from `owner`, prints the text in it, gives the page back, and returns the sum of
/// the bytes.
fn read(owner: u16, handle: Handle, length: usize, memory: &mut Memory) -> Result<u64, FfaError> {
    let mut text = [0; 256];
    let text = text.get_mut(..length).ok_or(FfaError::InvalidParameters)?;
    let page = memory.retrieve(owner, handle, DataAccessPerm::ReadOnly)?;
    let is_whole = page.read(0, text);
    memory.relinquish(handle)?;
    if !is_whole {
        return Err(FfaError::InvalidParameters);
    }
    println!(
        "the page says: {}",
        str::from_utf8(text).unwrap_or("no text")
    );
    Ok(text.iter().map(|byte| u64::from(*byte)).sum())
}
