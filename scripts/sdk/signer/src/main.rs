//! The partition `signer`: the service, fed by messages, by memory that callers share and by the
//! random numbers of the PE.

#![no_std]
#![no_main]

use partition::ffa::memory_management::{DataAccessPerm, Handle};
use partition::memory::Region;
use partition::{Memory, Message, Partition, Reply, Request, entropy, println};
use signer::{Lender, Signer};

/// The state of the partition.
struct This {
    signer: Signer,
}

partition::partition!(This);

impl Partition for This {
    fn start(id: u16, _: &mut Memory) -> Self {
        let signer = Signer::new(entropy::random).expect("the PE has random numbers");
        println!("partition {id:#06x} is ready, with a new key");
        Self { signer }
    }

    fn message(&mut self, _: Message, _: &mut Memory) -> Reply {
        // The service takes requests of the second kind only.
        [0; 5]
    }

    fn request(&mut self, request: Request, memory: &mut Memory) -> [u64; 14] {
        let mut lender = Caller {
            id: request.sender,
            memory,
        };
        self.signer.answer(&request.words, &mut lender)
    }
}

/// The endpoint that sent the request, as an owner of memory.
struct Caller<'a> {
    id: u16,
    memory: &'a mut Memory,
}

/// A region that was borrowed.
struct Borrowed(Region);

impl Lender for Caller<'_> {
    type Region = Borrowed;

    fn borrow(&mut self, handle: u64, is_written: bool) -> Option<Borrowed> {
        let access = if is_written {
            DataAccessPerm::ReadWrite
        } else {
            DataAccessPerm::ReadOnly
        };
        let region = self.memory.retrieve(self.id, Handle(handle), access);
        region.ok().map(Borrowed)
    }

    fn give_back(&mut self, handle: u64) {
        if let Err(error) = self.memory.relinquish(Handle(handle)) {
            println!("a region cannot be given back: {error}");
        }
    }
}

impl signer::Region for Borrowed {
    fn length(&self) -> usize {
        self.0.len()
    }

    fn read(&self, offset: usize, to: &mut [u8]) -> bool {
        self.0.read(offset, to)
    }

    fn write(&self, offset: usize, from: &[u8]) -> bool {
        self.0.write(offset, from)
    }
}
