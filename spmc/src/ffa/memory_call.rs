//! The registers of memory calls (FF-A v1.0 chapter 11 and section 12.2).

use super::{FunctionId, Handle, SmcFrame};
use crate::addr::{Ipa, PageRange};
use crate::error::{FfaError, Result};

/// The registers of a call with a transaction descriptor: a send or a retrieve request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DescriptorCall {
    /// Bytes of the descriptor.
    pub total: usize,
    /// Bytes of the descriptor that come with the call.
    pub fragment: usize,
    /// The buffer with the descriptor, if that is not TX.
    pub buffer: Option<PageRange<Ipa>>,
}

impl DescriptorCall {
    /// Decodes w1, w2, x3 and w4. `INVALID_PARAMETERS` for a fragment longer than the whole, and a
    /// buffer that is none.
    #[inline]
    pub fn decode(frame: &SmcFrame) -> Result<Self> {
        let invalid = FfaError::InvalidParameters;
        let (total, fragment, pages) = (frame.w(1), frame.w(2), frame.w(4));
        let address = if FunctionId::from_reg(frame.x[0]).is_64() {
            frame.x[3]
        } else {
            frame.w(3) as u64
        };
        if fragment > total {
            return Err(invalid);
        }
        let buffer = if address == 0 && pages == 0 {
            None
        } else {
            let buffer = PageRange::new(Ipa::new(address), pages as u64);
            Some(buffer.filter(|_| address != 0).ok_or(invalid)?)
        };
        Ok(Self {
            total: total as usize,
            fragment: fragment as usize,
            buffer,
        })
    }
}

/// The registers of `FFA_MEM_FRAG_TX`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FragmentTx {
    /// The transaction that the fragment belongs to.
    pub handle: Handle,
    /// Bytes of the fragment.
    pub length: usize,
    /// w4: the endpoint that the Hypervisor makes the call for, in bits 31 to 16.
    pub endpoint: u32,
}

impl FragmentTx {
    /// Decodes w1 to w4.
    pub fn decode(frame: &SmcFrame) -> Self {
        Self {
            handle: Handle::of_call(frame),
            length: frame.w(3) as usize,
            endpoint: frame.w(4),
        }
    }
}

/// The registers of `FFA_MEM_FRAG_RX`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FragmentRx {
    /// The transaction whose description is read.
    pub handle: Handle,
    /// Where in the description the fragment starts.
    pub offset: usize,
    /// w4: the endpoint that the Hypervisor makes the call for, in bits 31 to 16.
    pub endpoint: u32,
}

impl FragmentRx {
    /// Decodes w1 to w4.
    pub fn decode(frame: &SmcFrame) -> Self {
        Self {
            handle: Handle::of_call(frame),
            offset: frame.w(3) as usize,
            endpoint: frame.w(4),
        }
    }
}
