//! Indirect messages (FF-A v1.2 section 7.2.2): the header in TX and RX, and the notification that
//! announces one.

use crate::rt::page::{PAGE_SIZE, Shared};

use super::{Answer, call, id};

/// Size of the header from 1.2 on.
pub const HEADER: usize = 40;

/// w6 of `FFA_NOTIFICATION_GET`: RX was filled for a message of a partition.
const RX_FULL_OF_PARTITION: u64 = 1;
/// w7 of `FFA_NOTIFICATION_GET`: RX was filled for a message of a VM.
const RX_FULL_OF_VM: u64 = 1;

/// The header of a message.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Offset of the payload from the start of the buffer.
    pub offset: u32,
    /// The receiver.
    pub receiver: u16,
    /// The sender.
    pub sender: u16,
    /// Bytes of payload.
    pub size: u32,
}

impl Header {
    /// Reads the header from a buffer.
    pub fn read(buffer: &Shared<PAGE_SIZE>) -> Self {
        Self {
            offset: buffer.u32(8),
            receiver: buffer.u16(12),
            sender: buffer.u16(14),
            size: buffer.u32(16),
        }
    }
}

/// Writes a message of an endpoint at 1.2, for no service in particular, and sends it.
pub fn send(tx: &Shared<PAGE_SIZE>, me: u16, to: u16, payload: &[u8]) -> Answer {
    let mut header = [0; HEADER];
    header[8..12].copy_from_slice(&(HEADER as u32).to_le_bytes());
    header[12..14].copy_from_slice(&to.to_le_bytes());
    header[14..16].copy_from_slice(&me.to_le_bytes());
    header[16..20].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    tx.write(0, &header);
    tx.write(HEADER, payload);
    call(id::MSG_SEND2, &[])
}

/// Takes the framework notifications in `flags`, and returns whether they say that RX of `me` is
/// full.
pub fn is_announced(me: u16, flags: u64) -> bool {
    let pending = call(id::NOTIFICATION_GET, &[me as u64, flags]);
    pending[0] as u32 == id::SUCCESS
        && (pending[6] & RX_FULL_OF_PARTITION != 0 || pending[7] & RX_FULL_OF_VM != 0)
}
