//! Calls to the SPMC: by registers, and as the messages of `arm-ffa`.

use core::sync::atomic::{AtomicU16, Ordering};

use arm_ffa::interface_args::SuccessArgsIdGet;
use arm_ffa::{FfaError, Interface, Version};
use smccc::smc64;

/// The version that the partition speaks.
pub const VERSION: Version = Version(1, 2);

/// `FFA_VERSION`.
const FFA_VERSION: u32 = 0x8400_0063;
/// `FFA_ABORT`.
const FFA_ABORT: u32 = 0x8400_0090;

static OWN_ID: AtomicU16 = AtomicU16::new(0);

/// Makes a call with all registers that FF-A 1.2 uses, and returns them.
pub fn exchange(registers: [u64; 18]) -> [u64; 18] {
    let [function, arguments @ ..] = registers;
    smc64(function as u32, arguments)
}

/// Makes a call and returns the message with which it completes. `FFA_ERROR` is an error.
pub fn call(request: Interface) -> Result<Interface, FfaError> {
    let mut registers = [0; 18];
    request.to_regs(VERSION, &mut registers);
    match Interface::from_regs(VERSION, &exchange(registers)) {
        Ok(Interface::Error { error_code, .. }) => Err(error_code),
        Ok(answer) => Ok(answer),
        Err(_) => Err(FfaError::NotSupported),
    }
}

/// Tells the SPMC which version the partition speaks, as its first call. Returns whether the SPMC
/// speaks it, too.
pub(crate) fn negotiate() -> bool {
    let mut registers = [0; 18];
    registers[0] = FFA_VERSION.into();
    registers[1] = u32::from(VERSION).into();
    let theirs = exchange(registers)[0] as u32;
    // A negative number is an error.
    theirs as i32 >= 0 && theirs >= u32::from(VERSION)
}

/// Returns the id of the partition.
pub fn own_id() -> u16 {
    OWN_ID.load(Ordering::Relaxed)
}

/// Asks the SPMC for the partition's id, before anything needs [`own_id`].
pub(crate) fn learn_own_id() {
    let Ok(Interface::Success { args, .. }) = call(Interface::IdGet) else {
        panic!("the SPMC does not tell the partition's id");
    };
    let own = SuccessArgsIdGet::try_from(args).expect("an id");
    OWN_ID.store(own.id, Ordering::Relaxed);
}

/// Ends the partition. Whoever waits for it gets `ABORTED`.
pub fn abort() -> ! {
    let mut registers = [0; 18];
    registers[0] = FFA_ABORT.into();
    exchange(registers);
    loop {
        core::hint::spin_loop();
    }
}
