//! A Secure Partition: it prints, answers a greeting, and reads a page that the sender shares.

#![no_std]
#![no_main]

use partition::ffa::FfaError;
use partition::ffa::memory_management::{DataAccessPerm, Handle};
use partition::{Memory, Message, Partition, Reply, println};

/// The operations, in the first word of a message, as `--normal-world ping` sends them.
const GREETING: u64 = u64::from_le_bytes(*b"hello\0\0\0");
const PAGE: u64 = u64::from_le_bytes(*b"page\0\0\0\0");

/// The state of the partition.
struct This {
    greetings: u64,
}

partition::partition!(This);

impl Partition for This {
    fn start(id: u16, _: &mut Memory) -> Self {
        println!("partition {id:#06x} is ready");
        Self { greetings: 0 }
    }

    fn message(&mut self, message: Message, memory: &mut Memory) -> Reply {
        match message.words {
            [GREETING, ..] => {
                self.greetings += 1;
                println!("greeting {} from {:#06x}", self.greetings, message.sender);
                // The 1 says that this partition knows the operation PAGE.
                [GREETING, 1, 0, 0, 0]
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
                println!("no operation: {words:#x?}");
                [0; 5]
            }
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
