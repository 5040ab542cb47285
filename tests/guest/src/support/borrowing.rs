//! Retrieve requests and relinquishes that a partition makes for a test.

use crate::ffa::memory_calls::Retrieved;
use crate::ffa::memory_descriptor::{NORMAL_WB, Receiver, Transaction, access};
use crate::ffa::{self, NWD, id};
use crate::rt::check::{Check, equal, holds};
use crate::sp::{Command, Sp};
use crate::support::helper_call::ask_from;
use crate::support::sharing::receiver;
use crate::{command, helper, nwd};

/// Code of the partitions.
pub const HELPERS: &[Command] = &[helper!(retrieve), helper!(relinquish)];

/// A retrieve request of one borrower, packed into the arguments of a helper.
#[derive(Clone, Copy)]
pub struct Borrow {
    /// The handle.
    pub handle: u64,
    /// The tag that the owner chose.
    pub tag: u64,
    /// Transaction flags.
    pub flags: u32,
    /// Memory region attributes.
    pub attributes: u16,
    /// Permissions for the caller.
    pub access: u8,
    /// The owner.
    pub owner: u16,
    /// Another borrower, with permission RW; 0 if there is none.
    pub other: u16,
}

impl Borrow {
    /// Returns a request for memory of the Normal world, to be read and written.
    pub const fn new(handle: u64) -> Self {
        Self {
            handle,
            tag: 0,
            flags: 0,
            attributes: NORMAL_WB,
            access: access::RW,
            owner: NWD,
            other: 0,
        }
    }

    fn pack(&self) -> [u64; 4] {
        let how = self.flags as u64 | (self.attributes as u64) << 32 | (self.access as u64) << 48;
        [
            self.handle,
            self.tag,
            how,
            self.owner as u64 | (self.other as u64) << 16,
        ]
    }

    fn unpack([handle, tag, how, who]: [u64; 4]) -> Self {
        Self {
            handle,
            tag,
            flags: how as u32,
            attributes: (how >> 32) as u16,
            access: (how >> 48) as u8,
            owner: who as u16,
            other: (who >> 16) as u16,
        }
    }

    /// Lets `partition` make the request, and returns the response or the error code.
    #[track_caller]
    pub fn by(&self, partition: u16) -> Check<Result<Retrieved, i32>> {
        nwd::ask(partition, command!(retrieve), self.pack()).map(unpack_retrieved)
    }

    /// Lets `me` ask `partition` to make the request, and returns the response or the error code.
    #[track_caller]
    pub fn asked_by(&self, me: &Sp, partition: u16) -> Check<Result<Retrieved, i32>> {
        me.ask(partition, command!(retrieve), self.pack())
            .map(unpack_retrieved)
    }
}

fn unpack_retrieved([code, address, size, how]: [u64; 4]) -> Result<Retrieved, i32> {
    if code != 0 {
        return Err(code as i32);
    }
    Ok(Retrieved {
        attributes: how as u16,
        access: (how >> 16) as u8,
        flags: (how >> 32) as u32,
        pages: size as u32,
        ranges: (size >> 32) as u32,
        first: address,
        last: address,
    })
}

/// Retrieves. Results: the error code or 0; the first address; pages and ranges; attributes,
/// permissions and flags.
fn retrieve(sp: &Sp, arguments: [u64; 4]) -> Check<[u64; 4]> {
    let caller = sp.caller();
    let borrow = Borrow::unpack(arguments);
    let both = [
        receiver(caller.id, borrow.access),
        Receiver {
            id: borrow.other,
            access: access::RW,
            flags: 1,
        },
    ];
    let request = Transaction {
        sender: borrow.owner,
        attributes: borrow.attributes,
        flags: borrow.flags,
        handle: borrow.handle,
        tag: borrow.tag,
        receivers: if borrow.other == 0 { &both[..1] } else { &both },
        ranges: &[],
    };
    let answer = caller.send(id::MEM_RETRIEVE_REQ_32, &request);
    if answer[0] == id::ERROR as u64 {
        ffa::refused(&answer, answer[2] as i32)?;
        return Ok([answer[2], 0, 0, 0]);
    }
    let got = caller.retrieved(&answer, &request)?;
    let how = got.attributes as u64 | (got.access as u64) << 16 | (got.flags as u64) << 32;
    Ok([
        0,
        got.first,
        got.pages as u64 | (got.ranges as u64) << 32,
        how,
    ])
}

/// Lets `partition` relinquish, and fails unless the call ends with `code`, 0 for success.
#[track_caller]
pub fn give_back(partition: u16, handle: u64, flags: u32, code: i32) -> Check {
    let [got, ..] = nwd::ask(
        partition,
        command!(relinquish),
        [handle, flags as u64, 0, 0],
    )?;
    equal(got, code as u32)
}

/// Lets `partition` relinquish, as the endpoint `me` asks it to.
#[track_caller]
pub fn asked_to_give_back(me: u16, partition: u16, handle: u64) -> Check {
    let [got, ..] = ask_from(me, partition, command!(relinquish), [handle, 0, 0, 0])?;
    equal(got, 0u64)
}

/// Lets `partition` relinquish a region that it may not relinquish, and fails unless the call ends
/// with some error.
#[track_caller]
pub fn cannot_give_back(partition: u16, handle: u64) -> Check {
    let [got, ..] = nwd::ask(partition, command!(relinquish), [handle, 0, 0, 0])?;
    holds(got != 0, got)
}

/// Relinquishes. Result: the error code or 0.
fn relinquish(sp: &Sp, [handle, flags, ..]: [u64; 4]) -> Check<[u64; 4]> {
    let answer = sp.caller().relinquish(handle, flags as u32);
    if answer[0] == id::ERROR as u64 {
        ffa::refused(&answer, answer[2] as i32)?;
        return Ok([answer[2], 0, 0, 0]);
    }
    ffa::done(&answer)?;
    Ok([0; 4])
}

/// Fails unless `result` is the error `code`.
#[track_caller]
pub fn is_error<T>(result: Result<T, i32>, code: i32) -> Check {
    match result {
        Ok(_) => holds(false, 0u64),
        Err(got) => equal(got as u32, code as u32),
    }
}

/// Fails if `result` is an error.
#[track_caller]
pub fn is_fine<T>(result: Result<T, i32>) -> Check<T> {
    match result {
        Ok(value) => Ok(value),
        Err(code) => crate::rt::check::fail(code as u32),
    }
}
